//! A protocol of lines in which requests differ in what they ask for, as those of Redis and
//! memcached do, and its framing, as somebody else might write it.
//!
//! | request | answered by |
//! |---|---|
//! | `get KEY…` | a line for each key that there is, then `END`: together one reply |
//! | `set KEY VALUE` | `STORED` |
//! | `set KEY VALUE noreply` | nothing |
//! | `multi` | `OK`; from then on `QUEUED`, until `exec` is answered by a line with all results |
//! | `subscribe NAME…` | a line for each name, with how many there are now; `push …` may come any time |
//! | `unsubscribe` | a line for each name that is left, or one if none is |
//! | `crash` | refused by the framing |
//! | `close` | nothing: the connection is closed |

#![allow(dead_code, reason = "each test binary uses its own part of this")]

pub(crate) mod numbered;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use millpond::framing::{
    Answer, Context, Demand, Direction, Extent, Failure, FrameError, Framing, Note, Replies, Scan,
    Step, Told,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
};

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Store;

/// What is noted of a request.
mod asked {
    pub(super) const LINE: u64 = 0;
    pub(super) const GET: u64 = 1;
    pub(super) const MULTI: u64 = 2;
    pub(super) const EXEC: u64 = 3;
    /// And above it how many names there are when all of its replies have come.
    pub(super) const SUBSCRIBE: u64 = 4;
    pub(super) const UNSUBSCRIBE: u64 = 5;
}

/// The state: in a transaction, or how many names are subscribed to.
const IN_TRANSACTION: u64 = 1 << 32;

fn words(line: &[u8]) -> Vec<&str> {
    let line = std::str::from_utf8(line).unwrap_or_default();
    line.split_whitespace().collect()
}

impl Framing for Store {
    fn next(
        &self,
        context: Context<'_>,
        bytes: &[u8],
        scan: &mut Scan,
    ) -> Result<Step, FrameError> {
        let many_lines = context.direction() == Direction::Reply
            && context
                .asked()
                .is_some_and(|asked| asked.as_word() == asked::GET);
        // From where on the line begins that is looked at.
        let mut begins = scan.note() as usize;
        let mut searched = scan.searched();
        while let Some(at) = bytes[searched..].iter().position(|&byte| byte == b'\n') {
            let end = searched + at;
            if !many_lines || &bytes[begins..end] == b"END" {
                return Ok(Step::Frame(Extent {
                    head: 0,
                    body: end,
                    tail: 1,
                }));
            }
            (begins, searched) = (end + 1, end + 1);
        }
        scan.set_note(begins as u64);
        scan.set_searched(bytes.len());
        Ok(Step::More { missing: 1 })
    }

    fn encode(&self, _: Context<'_>, body: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
        out.extend_from_slice(body);
        out.push(b'\n');
        Ok(())
    }

    fn max_frame(&self) -> usize {
        1 << 10
    }

    fn demand(&self, request: &[u8], state: &Note) -> Demand {
        let words = words(request);
        let noting = |word| Demand::default().noting(Note::word(word));
        let several = |word| Demand::replies(Replies::Several).noting(Note::word(word));
        match words[..] {
            ["get", ..] => noting(asked::GET).idempotent(),
            ["set", .., "noreply"] => Demand::replies(Replies::None),
            ["multi"] => noting(asked::MULTI).pins(),
            ["exec"] => noting(asked::EXEC).pins(),
            ["subscribe", ..] => {
                let in_all = state.as_word() + words.len() as u64 - 1;
                several(asked::SUBSCRIBE | in_all << 8).pins()
            }
            ["unsubscribe"] => several(asked::UNSUBSCRIBE).pins(),
            ["crash"] => Demand::default().refused(Failure::refused("crash is not for clients")),
            ["crash", "noreply"] => {
                Demand::replies(Replies::None).refused(Failure::refused("crash is not for clients"))
            }
            _ => noting(asked::LINE),
        }
    }

    fn answers(&self, asked: Option<&Note>, reply: &[u8], state: &mut Note) -> Answer {
        let words = words(reply);
        if let ["push", ..] = words[..] {
            return Answer::Push;
        }
        let Some(asked) = asked else {
            return Answer::Mismatch;
        };
        let (kind, in_all) = (asked.as_word() & 0xff, asked.as_word() >> 8);
        match (kind, &words[..]) {
            (asked::MULTI, ["OK"]) => *state = Note::word(IN_TRANSACTION),
            (asked::EXEC, _) => *state = Note::default(),
            (asked::SUBSCRIBE, ["subscribed", _, count]) => {
                let now = count.parse().unwrap_or_default();
                *state = Note::word(now);
                if now < in_all {
                    return Answer::More;
                }
            }
            (asked::UNSUBSCRIBE, ["unsubscribed", _, count]) => {
                let left = count.parse().unwrap_or_default();
                *state = Note::word(left);
                if left > 0 {
                    return Answer::More;
                }
            }
            _ => {}
        }
        Answer::Last
    }

    fn encode_failure(
        &self,
        _: Context<'_>,
        _: &[u8],
        failure: &Failure,
        out: &mut Vec<u8>,
    ) -> Told {
        out.extend_from_slice(format!("ERROR {}\n", failure.message()).as_bytes());
        Told::ByReply
    }
}

/// A server of the protocol, written by hand: it knows nothing of this library.
pub(crate) struct Peer {
    pub(crate) endpoint: String,
    pub(crate) connections: Arc<AtomicUsize>,
}

impl Peer {
    /// Serves on a Unix socket, until the test ends.
    pub(crate) async fn start() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Relaxed);
        let name = format!("millpond-store-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).expect("a socket");
        let endpoint = format!("unix://{}", path.display());
        let connections = Arc::new(AtomicUsize::new(0));
        let values = Arc::new(Mutex::new(HashMap::new()));
        let count = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Relaxed);
                tokio::spawn(serve(stream, Arc::clone(&values)));
            }
        });
        Peer {
            endpoint,
            connections,
        }
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Relaxed)
    }
}

type Values = Arc<Mutex<HashMap<String, String>>>;

async fn serve(stream: UnixStream, values: Values) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    let (mut queued, mut names) = (None::<Vec<String>>, Vec::<String>::new());
    while let Some(line) = lines.next_line().await? {
        let words: Vec<&str> = line.split_whitespace().collect();
        let reply = match (&words[..], &mut queued) {
            (["close"], _) => return Ok(()),
            (["multi"], _) => {
                queued = Some(Vec::new());
                "OK\n".to_owned()
            }
            (["exec"], Some(_)) => {
                let queued = queued.take().unwrap_or_default();
                format!("{queued:?}\n")
            }
            (_, Some(queued)) => {
                queued.push(line.clone());
                "QUEUED\n".to_owned()
            }
            (["get", keys @ ..], None) => {
                let values = values.lock().unwrap();
                let found = keys.iter().filter_map(|key| values.get(*key));
                let found: String = found.map(|value| format!("{value}\n")).collect();
                found + "END\n"
            }
            (["set", key, value, rest @ ..], None) => {
                let mut values = values.lock().unwrap();
                values.insert((*key).to_owned(), (*value).to_owned());
                match rest {
                    ["noreply"] => String::new(),
                    _ => "STORED\n".to_owned(),
                }
            }
            (["subscribe", more @ ..], None) => {
                let mut reply = String::new();
                for name in more {
                    names.push((*name).to_owned());
                    // News comes between the replies.
                    reply += &format!("push {name} news\nsubscribed {name} {}\n", names.len());
                }
                reply
            }
            (["unsubscribe"], None) => {
                let mut reply = String::new();
                while let Some(name) = names.pop() {
                    reply += &format!("unsubscribed {name} {}\n", names.len());
                }
                match reply.is_empty() {
                    true => "unsubscribed - 0\n".to_owned(),
                    false => reply,
                }
            }
            (["later", rest @ ..], None) => format!("OK\n{}\n", rest.join(" ")),
            _ => format!("{line}\n"),
        };
        writer.write_all(reply.as_bytes()).await?;
    }
    Ok(())
}
