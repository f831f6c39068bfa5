//! What is done with each command, in groups that share a decision. The names of each group are in
//! order, with a comma between them.
//!
//! A command without an entry for its subcommands has one decision for all of them, those that its
//! server learns later as well.

use super::{
    decision::{Decision, Here, Pin},
    timeout::Timeout,
};

/// Commands with the same decision.
#[derive(Clone, Copy)]
pub(super) struct Group {
    pub(super) decision: Decision,
    pub(super) only_reads: bool,
    pub(super) reads_keys: bool,
    pub(super) runs_script: bool,
    pub(super) has_subcommands: bool,
    pub(super) names: &'static str,
}

impl Group {
    const fn new(decision: Decision, names: &'static str) -> Group {
        Group {
            decision,
            only_reads: false,
            reads_keys: false,
            runs_script: false,
            has_subcommands: false,
            names,
        }
    }

    const fn only_reads(mut self) -> Group {
        self.only_reads = true;
        self
    }

    /// What their caller doesn't say, such as a script, is not among it.
    const fn reads_keys(mut self) -> Group {
        self.reads_keys = true;
        self.only_reads()
    }

    /// What they reply is what a script says.
    const fn runs_script(mut self) -> Group {
        self.runs_script = true;
        self
    }

    /// What is done with the name alone.
    const fn has_subcommands(mut self) -> Group {
        self.has_subcommands = true;
        self
    }
}

const fn here(what: Here, name: &'static str) -> Group {
    Group::new(Decision::Here(what), name)
}

const fn pins(pin: Pin, name: &'static str) -> Group {
    Group::new(Decision::Pins(pin), name)
}

const fn blocks(timeout: Timeout, names: &'static str) -> Group {
    pins(Pin::Blocks(timeout), names)
}

const fn refused(why: &'static str, names: &'static str) -> Group {
    Group::new(Decision::Refused(why), names)
}

#[rustfmt::skip]
pub(super) const GROUPS: &[Group] = &[
    // They read keys.
    Group::new(Decision::Plain, "
        ARCOUNT, ARGET, ARGETRANGE, ARGREP, ARINFO, ARLASTITEMS, ARLEN, ARMGET, ARNEXT, AROP,
        ARSCAN, BITCOUNT, BITFIELD_RO, BITPOS, BITRANGEINTARRAY, BLESS COUNT, BLESS GET, DBSIZE,
        DIGEST, DUMP, EXISTS, EXPIRETIME, GEODIST, GEOHASH, GEOPOS,
        GEORADIUSBYMEMBER_RO, GEORADIUS_RO, GEOSEARCH, GET, GETBIT, GETRANGE, HEXISTS, HEXPIRETIME,
        HGET, HGETALL, HKEYS, HLEN, HMGET, HPEXPIRETIME, HPTTL, HRANDFIELD, HSTRLEN, HTTL, HVALS,
        KEYS, LCS, LINDEX, LLEN, LOLWUT, LPOS, LRANGE, MEMORY USAGE, MGET, OBJECT ENCODING,
        OBJECT FREQ, OBJECT IDLETIME, OBJECT REFCOUNT, PEXPIRETIME, PFCOUNT, PTTL, RANDOMKEY, SCARD,
        SDIFF, SDIFFCARD, SEXPIRETIME, SINTER, SINTERCARD, SISMEMBER, SMEMBERS, SMISMEMBER, SORT_RO,
        SPEXPIRETIME, SPTTL, SRANDMEMBER, STRLEN, STTL, SUBSTR, SUNION, SUNIONCARD, TOUCH, TTL,
        TYPE, VCARD, VDIM, VEMB, VGETATTR, VINFO, VISMEMBER, VLINKS, VRANDMEMBER, VRANGE, VSIM,
        XINFO CONSUMERS, XINFO GROUPS, XINFO STREAM, XLEN, XPENDING, XRANGE, XREVRANGE, ZCARD,
        ZCOUNT, ZDIFF, ZINTER, ZINTERCARD, ZLEXCOUNT, ZMSCORE, ZRANDMEMBER, ZRANGE, ZRANGEBYLEX,
        ZRANGEBYSCORE, ZRANK, ZREVRANGE, ZREVRANGEBYLEX, ZREVRANGEBYSCORE, ZREVRANK, ZSCORE, ZUNION"
    ).reads_keys(),
    // They read keys of types that come with modules.
    Group::new(Decision::Plain, "
        BF.CARD, BF.EXISTS, BF.INFO, BF.MEXISTS, BF.SCANDUMP, CF.COUNT, CF.EXISTS, CF.INFO,
        CF.MEXISTS, CF.SCANDUMP, CMS.INFO, CMS.QUERY, FT.AGGREGATE, FT.ALIASLIST, FT.DICTDUMP,
        FT.EXPLAIN, FT.EXPLAINCLI, FT.GET, FT.HYBRID, FT.INFO, FT.MGET, FT.PROFILE, FT.SEARCH,
        FT.SPELLCHECK, FT.SUGGET, FT.SUGLEN, FT.SYNDUMP, FT.TAGVALS, FT._LIST, JSON.ARRINDEX,
        JSON.ARRLEN, JSON.DEBUG, JSON.GET, JSON.MGET, JSON.OBJKEYS, JSON.OBJLEN, JSON.RESP,
        JSON.STRLEN, JSON.TYPE, TDIGEST.BYRANK, TDIGEST.BYREVRANK, TDIGEST.CDF, TDIGEST.INFO,
        TDIGEST.MAX, TDIGEST.MIN, TDIGEST.QUANTILE, TDIGEST.RANK, TDIGEST.REVRANK,
        TDIGEST.TRIMMED_MEAN, TOPK.COUNT, TOPK.INFO, TOPK.LIST, TOPK.QUERY, TS.GET, TS.INFO,
        TS.MGET, TS.MRANGE, TS.MREVRANGE, TS.NRANGE, TS.NREVRANGE, TS.QUERYINDEX, TS.QUERYLABELS,
        TS.RANGE, TS.REVRANGE"
    ).reads_keys(),
    // They read what isn't in keys, or what a script says, or change nothing when they are
    // repeated.
    Group::new(Decision::Plain, "
        BLESS HELP, CLIENT HELP, CLUSTER COUNTKEYSINSLOT, CLUSTER GETKEYSINSLOT, CLUSTER HELP,
        CLUSTER INFO, CLUSTER KEYSLOT, CLUSTER MYID, CLUSTER MYSHARDID, CLUSTER SLOT-STATS,
        COMMAND COUNT, COMMAND DOCS, COMMAND GETKEYS, COMMAND GETKEYSANDFLAGS, COMMAND HELP,
        COMMAND INFO, COMMAND LIST, ECHO, FUNCTION DUMP, FUNCTION HELP, FUNCTION LIST,
        FUNCTION STATS, INFO, LASTSAVE, MEMORY HELP, MEMORY STATS, OBJECT HELP, PUBSUB CHANNELS,
        PUBSUB HELP, PUBSUB NUMPAT, PUBSUB NUMSUB, PUBSUB SHARDCHANNELS, PUBSUB SHARDNUMSUB, ROLE,
        SCRIPT EXISTS, SCRIPT HELP, SCRIPT LOAD, SCRIPT SHOW, TIME, XGROUP HELP, XINFO HELP"
    ).only_reads(),
    // They write, or may. FLUSHALL, SWAPDB and what changes scripts and functions change what all
    // clients see, but they do so from any connection, and nothing stays on it.
    Group::new(Decision::Plain, "
        APPEND, ARDEL, ARDELRANGE, ARINSERT, ARMSET, ARRING, ARSEEK, ARSET, BITFIELD, BITOP,
        BLESS CLEAR, BLESS SET, COPY, DECR, DECRBY, DEL, DELEX, DELIFEQ, EXPIRE,
        EXPIREAT, FLUSHALL, FLUSHDB, FUNCTION DELETE, FUNCTION FLUSH, FUNCTION LOAD,
        FUNCTION RESTORE, GEOADD, GEORADIUS, GEORADIUSBYMEMBER, GEOSEARCHSTORE, GETDEL, GETEX,
        GETSET, HDEL, HEXPIRE, HEXPIREAT, HGETDEL, HGETEX, HINCRBY, HINCRBYFLOAT, HMSET, HPERSIST,
        HPEXPIRE, HPEXPIREAT, HSET, HSETEX, HSETNX, INCR, INCRBY, INCRBYFLOAT, INCREX, LINSERT,
        LMOVE, LMOVEM, LMPOP, LPOP, LPUSH, LPUSHX, LREM, LSET, LTRIM, MOVE, MSET, MSETEX, MSETNX,
        PERSIST, PEXPIRE, PEXPIREAT, PFADD, PFMERGE, PSETEX, PUBLISH, RENAME, RENAMENX, RESTORE,
        RPOP, RPOPLPUSH, RPUSH, RPUSHX, SADD, SADDEX, SCRIPT FLUSH, SDIFFSTORE, SET, SETBIT, SETEX,
        SETNX, SETRANGE, SEXPIRE, SEXPIREAT, SINTERSTORE, SMOVE, SORT, SPERSIST, SPEXPIRE,
        SPEXPIREAT, SPOP, SPUBLISH, SREM, SUNIONSTORE, SWAPDB, UNLINK, VADD, VREM, VSETATTR, XACK,
        XACKDEL, XADD, XAUTOCLAIM, XCFGSET, XCLAIM, XDEL, XDELEX, XGROUP CREATE,
        XGROUP CREATECONSUMER, XGROUP DELCONSUMER, XGROUP DESTROY, XGROUP SETID, XNACK, XSETID,
        XTRIM, ZADD, ZDIFFSTORE, ZINCRBY, ZINTERSTORE, ZMOVE, ZMOVEMEMBER, ZMPOP, ZPOPMAX, ZPOPMIN,
        ZRANGESTORE, ZREM, ZREMRANGEBYLEX, ZREMRANGEBYRANK, ZREMRANGEBYSCORE, ZUNIONSTORE"
    ),
    // They run what a client has written. Those for reading are told apart by the server.
    Group::new(Decision::Plain, "
        EVALSHA_RO, EVAL_RO, FCALL_RO"
    ).only_reads().runs_script(),
    Group::new(Decision::Plain, "
        EVAL, EVALSHA, FCALL"
    ).runs_script(),
    // They write keys of types that come with modules, or change an index.
    Group::new(Decision::Plain, "
        BF.ADD, BF.INSERT, BF.LOADCHUNK, BF.MADD, BF.RESERVE, CF.ADD, CF.ADDNX, CF.COMPACT, CF.DEL,
        CF.INSERT, CF.INSERTNX, CF.LOADCHUNK, CF.RESERVE, CMS.INCRBY, CMS.INITBYDIM, CMS.INITBYPROB,
        CMS.MERGE, FT.ADD, FT.ADDHASH, FT.ALIASADD, FT.ALIASDEL, FT.ALIASUPDATE, FT.ALTER,
        FT.CREATE, FT.DEL, FT.DICTADD, FT.DICTDEL, FT.DROP, FT.DROPINDEX, FT.SUGADD, FT.SUGDEL,
        FT.SYNADD, FT.SYNUPDATE, JSON.ARRAPPEND, JSON.ARRINSERT, JSON.ARRPOP, JSON.ARRTRIM,
        JSON.CLEAR, JSON.DEL, JSON.FORGET, JSON.MERGE, JSON.MSET, JSON.NUMINCRBY, JSON.NUMMULTBY,
        JSON.SET, JSON.STRAPPEND, JSON.TOGGLE, TDIGEST.ADD, TDIGEST.CREATE, TDIGEST.MERGE,
        TDIGEST.RESET, TOPK.ADD, TOPK.INCRBY, TOPK.RESERVE, TS.ADD, TS.ALTER, TS.CREATE,
        TS.CREATERULE, TS.DECRBY, TS.DEL, TS.DELETERULE, TS.INCRBY, TS.MADD"
    ),
    // Two servers with the same keys have different cursors.
    Group::new(Decision::Cursor, "
        BLESS SCAN, HSCAN, SCAN, SSCAN, ZSCAN"
    ).reads_keys(),
    Group::new(Decision::Plain, "COMMAND").only_reads().has_subcommands(),
    // The server refuses them as well, in words that say no more.
    refused("needs a subcommand", "
        BLESS, CLIENT, CLUSTER, FUNCTION, HIMPORT, MEMORY, OBJECT, PUBSUB, SCRIPT, XGROUP, XINFO"
    ).has_subcommands(),
    here(Here::Auth, "AUTH"),
    here(Here::ClientGetName, "CLIENT GETNAME"),
    here(Here::ClientId, "CLIENT ID"),
    here(Here::ClientSetInfo, "CLIENT SETINFO"),
    here(Here::ClientSetName, "CLIENT SETNAME"),
    here(Here::Hello, "HELLO"),
    here(Here::Ping, "PING"),
    here(Here::Quit, "QUIT"),
    here(Here::Reset, "RESET"),
    here(Here::Select, "SELECT"),
    blocks(Timeout::Last, "BLPOP, BRPOP, BZPOPMAX, BZPOPMIN"),
    blocks(Timeout::At(0), "BLMPOP, BZMPOP"),
    blocks(Timeout::At(2), "BRPOPLPUSH"),
    blocks(Timeout::At(3), "BZMOVE"),
    blocks(Timeout::At(4), "BLMOVE, BLMOVEM"),
    blocks(Timeout::AfterBlock(0), "XREAD").reads_keys(),
    blocks(Timeout::AfterBlock(0), "XREADGROUP"),
    blocks(Timeout::AfterBlock(2), "TS.READ").reads_keys(),
    pins(Pin::Discard, "DISCARD"),
    pins(Pin::Exec, "EXEC"),
    pins(Pin::Monitor, "MONITOR"),
    pins(Pin::Multi, "MULTI"),
    pins(Pin::PSubscribe, "PSUBSCRIBE"),
    pins(Pin::PUnsubscribe, "PUNSUBSCRIBE"),
    pins(Pin::SSubscribe, "SSUBSCRIBE"),
    pins(Pin::SUnsubscribe, "SUNSUBSCRIBE"),
    pins(Pin::Subscribe, "SUBSCRIBE"),
    pins(Pin::Unsubscribe, "UNSUBSCRIBE"),
    pins(Pin::Unwatch, "UNWATCH"),
    pins(Pin::Watch, "WATCH"),
    pins(Pin::Caching, "CLIENT CACHING"),
    pins(Pin::Tracking, "CLIENT TRACKING"),
    refused("would stop the server for all of its clients", "SHUTDOWN"),
    refused("would change which server is the master", "FAILOVER, REPLICAOF, SLAVEOF"),
    refused("is for servers among themselves", "
        PSYNC, REPLCONF, RESTORE-ASKING, SYNC, TRIMSLOTS, XIDMPRECORD"
    ),
    refused("would let the server send data to any address", "MIGRATE"),
    refused("would tell or change the server's settings, its passwords among them", "
        CONFIG, FT.CONFIG"
    ),
    refused("would load code into the server, or tell which code that is", "MODULE"),
    refused("would tell or change who may log in at the server, the sidecar among them", "ACL"),
    refused("is for those who develop the server", "
        BF.DEBUG, CF.DEBUG, DEBUG, FT.DEBUG, PFDEBUG, PFSELFTEST, SCRIPT DEBUG, _FT.DEBUG"
    ),
    refused("is for those who run the server, and not on a shared connection", "
        BACKUP, BGREWRITEAOF, BGSAVE, CLUSTER COUNT-FAILURE-REPORTS, HOTKEYS, LATENCY,
        MEMORY DOCTOR, MEMORY MALLOC-STATS, MEMORY PURGE, SAVE, SENTINEL"
    ),
    refused("would tell or forget what other clients have sent", "COMMANDLOG, SLOWLOG"),
    refused("would stop a script that may be another client's", "FUNCTION KILL, SCRIPT KILL"),
    refused("is about the connection to the server, which clients share", "
        CLIENT CAPA, CLIENT GETREDIR, CLIENT IMPORT-SOURCE, CLIENT INFO, CLIENT NO-EVICT,
        CLIENT NO-TOUCH, CLIENT REPLY, CLIENT TRACKINGINFO"
    ),
    refused("is about the connections of other clients", "
        CLIENT KILL, CLIENT LIST, CLIENT PAUSE, CLIENT UNBLOCK, CLIENT UNPAUSE"
    ),
    refused("would leave fields on the connection to the server, which clients share", "
        HIMPORT DISCARD, HIMPORT DISCARDALL, HIMPORT PREPARE, HIMPORT SET"
    ),
    refused("waits for the writes of its connection to the server, which clients share", "
        WAIT, WAITAOF"
    ),
    refused("goes on with a cursor of one server, and it can't be told which", "
        CLUSTERSCAN, FT.CURSOR"
    ),
    refused("would lead clients past the sidecar, to the servers of a cluster", "
        CLUSTER LINKS, CLUSTER NODES, CLUSTER REPLICAS, CLUSTER SHARDS, CLUSTER SLAVES,
        CLUSTER SLOTS"
    ),
    refused("is for clients that talk to the servers of a cluster themselves", "
        ASKING, READONLY, READWRITE"
    ),
    refused("would change the server's cluster", "
        CLUSTER ADDSLOTS, CLUSTER ADDSLOTSRANGE, CLUSTER BUMPEPOCH, CLUSTER CANCELSLOTMIGRATIONS,
        CLUSTER DELSLOTS, CLUSTER DELSLOTSRANGE, CLUSTER FAILOVER, CLUSTER FLUSHSLOT,
        CLUSTER FLUSHSLOTS, CLUSTER FORGET, CLUSTER GETSLOTMIGRATIONS, CLUSTER MEET,
        CLUSTER MIGRATESLOTS, CLUSTER MIGRATION, CLUSTER REPLICATE, CLUSTER RESET,
        CLUSTER SAVECONFIG, CLUSTER SET-CONFIG-EPOCH, CLUSTER SETSLOT, CLUSTER SYNCSLOTS"
    ),
];
