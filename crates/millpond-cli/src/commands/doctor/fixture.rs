//! A machine made of texts, for tests: an ordinary one, and changes to it.

use std::{
    collections::BTreeMap,
    io::{self, BufRead},
    iter,
    net::SocketAddr,
};

use millpond::kernel::{TcpSocket, TcpState};

use super::{
    facts::{Descriptors, Facts},
    files::Files,
    reuse::Route,
};

/// The files of an ordinary machine with Linux 6.18.
const MACHINE: [(&str, &str); 25] = [
    ("/proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n"),
    ("/proc/sys/net/ipv4/ip_local_reserved_ports", "\n"),
    ("/proc/sys/net/ipv4/tcp_tw_reuse", "2\n"),
    ("/proc/sys/net/ipv4/tcp_tw_reuse_delay", "1000\n"),
    ("/proc/sys/net/ipv4/tcp_timestamps", "1\n"),
    ("/proc/sys/net/ipv4/tcp_max_tw_buckets", "131072\n"),
    ("/proc/sys/net/ipv4/tcp_fin_timeout", "60\n"),
    ("/proc/sys/net/ipv4/tcp_max_syn_backlog", "2048\n"),
    ("/proc/sys/net/ipv4/tcp_syncookies", "1\n"),
    ("/proc/sys/net/core/somaxconn", "4096\n"),
    ("/proc/sys/net/ipv4/tcp_mem", "287898\t383867\t575796\n"),
    ("/proc/sys/net/ipv4/tcp_max_orphans", "131072\n"),
    ("/proc/sys/net/ipv4/tcp_keepalive_time", "7200\n"),
    ("/proc/sys/net/ipv4/tcp_keepalive_intvl", "75\n"),
    ("/proc/sys/net/ipv4/tcp_keepalive_probes", "9\n"),
    ("/proc/sys/net/netfilter/nf_conntrack_count", "120\n"),
    ("/proc/sys/net/netfilter/nf_conntrack_max", "262144\n"),
    (
        "/proc/net/sockstat",
        "sockets: used 200\nTCP: inuse 31 orphan 0 tw 0 alloc 36 mem 147\n",
    ),
    (
        "/proc/net/netstat",
        "TcpExt: SyncookiesSent ListenOverflows ListenDrops TCPReqQFullDoCookies TCPReqQFullDrop TCPTimeWaitOverflow\nTcpExt: 0 0 0 0 0 0\n",
    ),
    (
        "/proc/net/snmp",
        "Tcp: MaxConn PassiveOpens\nTcp: -1 100000\n",
    ),
    ("/proc/self/cgroup", "0::/user.slice/shell\n"),
    (
        "/proc/self/mountinfo",
        "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n",
    ),
    ("/sys/fs/cgroup/user.slice/shell/pids.max", "max\n"),
    ("/sys/fs/cgroup/user.slice/pids.max", "20000\n"),
    ("/sys/fs/cgroup/user.slice/pids.current", "300\n"),
];

/// The files of a machine, and its sockets.
#[derive(Clone, Debug)]
pub(super) struct Fixture {
    files: BTreeMap<String, Result<String, io::ErrorKind>>,
    sockets: Result<Vec<TcpSocket>, io::ErrorKind>,
}

impl Fixture {
    pub(super) fn empty() -> Fixture {
        Fixture {
            files: BTreeMap::new(),
            sockets: Err(io::ErrorKind::NotFound),
        }
    }

    pub(super) fn machine() -> Fixture {
        let files = MACHINE.map(|(path, text)| (path.to_owned(), Ok(text.to_owned())));
        Fixture {
            files: BTreeMap::from(files),
            sockets: Ok(Vec::new()),
        }
    }

    /// With this text in place of the file's.
    pub(super) fn with(mut self, path: &str, text: &str) -> Fixture {
        self.files.insert(path.to_owned(), Ok(text.to_owned()));
        self
    }

    /// With this text in place of the setting's: `ipv4/tcp_tw_reuse`.
    pub(super) fn set(self, setting: &str, text: &str) -> Fixture {
        self.with(&format!("/proc/sys/net/{setting}"), text)
    }

    pub(super) fn without(mut self, path: &str) -> Fixture {
        self.files.remove(path);
        self
    }

    pub(super) fn forbidden(mut self, path: &str) -> Fixture {
        self.files
            .insert(path.to_owned(), Err(io::ErrorKind::PermissionDenied));
        self
    }

    /// With so many sockets in each state from 10.0.0.2 to 10.0.0.1:80 (or all from and to
    /// 127.0.0.1), from the first port on.
    pub(super) fn with_sockets(
        mut self,
        route: Route,
        first: u16,
        counts: &[(TcpState, u16)],
    ) -> Fixture {
        let (local, peer) = match route {
            Route::Loopback => ([127, 0, 0, 1], [127, 0, 0, 1]),
            Route::Network => ([10, 0, 0, 2], [10, 0, 0, 1]),
        };
        let states = counts
            .iter()
            .flat_map(|&(state, count)| iter::repeat_n(state, count.into()));
        let added = (first..).zip(states).map(|(port, state)| {
            TcpSocket::new(
                state,
                SocketAddr::from((local, port)),
                SocketAddr::from((peer, 80)),
            )
        });
        let before = self.sockets.unwrap_or_default();
        self.sockets = Ok(before.into_iter().chain(added).collect());
        self
    }

    pub(super) fn without_sockets(mut self) -> Fixture {
        self.sockets = Err(io::ErrorKind::PermissionDenied);
        self
    }

    pub(super) fn paths(&self) -> Vec<String> {
        self.files.keys().cloned().collect()
    }

    /// What is gathered from them, and a limit of 65,536 files.
    pub(super) fn facts(&self) -> Facts {
        let descriptors = Descriptors {
            soft: 65_536,
            hard: 524_288,
            system: Some((2_000, 2_466_170)),
        };
        Facts::gather(self, Ok(descriptors), &[], || {})
    }
}

impl Files for Fixture {
    fn open(&self, path: &str) -> io::Result<Box<dyn BufRead + '_>> {
        match self.files.get(path) {
            Some(Ok(text)) => Ok(Box::new(text.as_bytes())),
            Some(Err(kind)) => Err((*kind).into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn sockets(&self) -> io::Result<Vec<TcpSocket>> {
        self.sockets.clone().map_err(io::Error::from)
    }
}
