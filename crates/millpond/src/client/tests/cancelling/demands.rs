//! The same for requests that differ in what they ask for: those that get no reply, or several; all
//! that is done on a connection of one's own; and those that a server executes without an answer.
//! Each is dropped at its first, second … last `Pending`; on a pipeline, at every turn of the
//! scheduler, of which its driver has one too. The server remembers what it has read on which connection.

use std::collections::HashMap;

use parking_lot::Mutex;
use tokio::task::JoinHandle;

use super::{
    super::asking::{Asking, asking, bodies},
    *,
};
use crate::client::{Execution, RequestError};

/// What is dropped. Each request ends with a token of its own, and so do its replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Silent,
    Several,
    /// A connection of one's own from its lease to its return, with four requests.
    Pinned,
    /// One reply, which the server owes when it ends the connection.
    Ended,
    /// The same for a request that is idempotent: it is sent again.
    EndedIdempotent,
}

/// What the server has seen.
#[derive(Debug, Default)]
struct Seen {
    /// The requests that have arrived as a whole, by their connections.
    requests: Vec<Vec<String>>,
    connections: Vec<JoinHandle<()>>,
}

impl Kind {
    fn is_ended(self) -> bool {
        matches!(self, Kind::Ended | Kind::EndedIdempotent)
    }
}

/// What answers a request.
fn replies(request: &str) -> Vec<String> {
    match request.split_at(1) {
        ("s", _) => Vec::new(),
        ("m", token) => ["a", "b", "."]
            .map(|begin| format!("{begin}{token}"))
            .into(),
        // What it changes is in the request.
        ("p", change) => vec![change.to_owned()],
        _ => vec![request.to_owned()],
    }
}

/// Serves one connection. The second request on the first of all is executed without an answer,
/// if `ends`.
async fn serve_one(stream: MemoryStream, seen: Arc<Mutex<Seen>>, number: usize, ends: bool) {
    let mut far = Far(stream);
    for nth in 0.. {
        let Some(body) = far.request_or_end().await else {
            return;
        };
        let request = String::from_utf8(body).expect("text");
        seen.lock().requests[number].push(request.clone());
        if ends && (number, nth) == (0, 1) {
            return;
        }
        for reply in replies(&request) {
            if far.0.write_all(&frame(reply.as_bytes())).await.is_err() {
                return;
            }
        }
    }
}

async fn serve(
    mut port: mpsc::UnboundedReceiver<MemoryStream>,
    seen: Arc<Mutex<Seen>>,
    ends: bool,
) {
    for number in 0.. {
        let Some(stream) = port.recv().await else {
            return;
        };
        seen.lock().requests.push(Vec::new());
        let serving = tokio::spawn(serve_one(stream, Arc::clone(&seen), number, ends));
        seen.lock().connections.push(serving);
    }
}

/// A client and its server.
struct Trial {
    client: Client<Asking>,
    tally: Arc<Tally>,
    seen: Arc<Mutex<Seen>>,
    kind: Kind,
    pipelined: bool,
    token: u64,
}

impl Trial {
    async fn new(kind: Kind, pipelined: bool, is_warm: bool) -> Trial {
        let (builder, Port { accepted, tally }) = asking(pipelined, Pace::ByByte);
        let seen = Arc::<Mutex<Seen>>::default();
        tokio::spawn(serve(accepted, Arc::clone(&seen), kind.is_ended()));
        let mut trial = Trial {
            client: builder.build().expect("valid settings"),
            tally,
            seen,
            kind,
            pipelined,
            token: 100,
        };
        if is_warm {
            trial.gets_its_own_reply("e").await;
        }
        if trial.is_alone() {
            // A pipeline gives the connection back.
            tokio::time::sleep(SECOND).await;
        }
        trial
    }

    /// Nothing else is on its connection: it does its own reading and writing.
    fn is_alone(&self) -> bool {
        !self.pipelined || self.kind == Kind::Pinned
    }

    /// A request that begins so.
    fn request(&mut self, begin: &str) -> String {
        self.token += 1;
        format!("{begin}{}", self.token)
    }

    async fn gets_its_own_reply(&mut self, begin: &str) {
        let request = self.request(begin);
        let frames = self.client.exchange_all(request.as_bytes()).await;
        assert_eq!(bodies(&frames.expect("a reply")), replies(&request));
    }

    /// All that is to be dropped. It tells each request before it begins.
    async fn act(&mut self, begun: &mut Vec<String>) {
        let begins = match self.kind {
            Kind::Silent => &["s"][..],
            Kind::Several => &["m"],
            Kind::Pinned => &["p+", "s", "m", "p-"],
            Kind::Ended => &["e"],
            Kind::EndedIdempotent => &["i"],
        };
        let mut pinned = match self.kind {
            Kind::Pinned => Some(self.client.pin().await.expect("a connection")),
            _ => None,
        };
        for begin in begins {
            let request = self.request(begin);
            begun.push(request.clone());
            let exchanged = match &mut pinned {
                Some(pinned) => pinned.exchange_all(request.as_bytes()).await,
                None => self.client.exchange_all(request.as_bytes()).await,
            };
            match (self.kind, exchanged) {
                (Kind::Ended, Err(error)) => {
                    assert!(matches!(error, RequestError::Lost { .. }), "{error:?}");
                    assert_eq!(error.execution(), Execution::Possible);
                }
                (Kind::Ended, Ok(frames)) => panic!("nobody answers it: {frames:?}"),
                (_, frames) => assert_eq!(bodies(&frames.expect("replies")), replies(&request)),
            }
        }
    }

    /// Drops it at its `limit`-th `Pending`, and looks at what is left. Whether it had ended by
    /// then, and how many bytes it carried.
    async fn run(mut self, limit: usize) -> (bool, usize) {
        let before = self.tally.carried();
        let mut begun = Vec::new();
        let ended = match self.is_alone() {
            true => cut(limit, self.act(&mut begun)).await,
            false => cut_at_turn(limit, self.act(&mut begun)).await,
        };
        let carried = self.tally.carried() - before;
        self.look(ended.is_ok(), &begun).await;
        (ended.is_ok(), carried)
    }

    /// The next callers get their own replies, nothing is held, nothing was executed twice, and no
    /// connection was used again on which an exchange was left.
    async fn look(mut self, ended: bool, begun: &[String]) {
        for begin in ["i", "s", "m"] {
            self.gets_its_own_reply(begin).await;
        }
        tokio::time::sleep(SECOND).await;
        let snapshot = self.client.pool().snapshot();
        let under_way = [
            snapshot.connecting,
            snapshot.checking,
            snapshot.active,
            snapshot.closing,
        ];
        assert_eq!((under_way, snapshot.idle), ([0; 4], 1), "{snapshot}");
        assert_eq!(self.tally.open(), 1, "{snapshot}");
        self.client.pool().close(SECOND).await.expect("closed");
        assert_eq!(self.tally.open(), 0);
        let connections = std::mem::take(&mut self.seen.lock().connections);
        for connection in connections {
            connection.await.expect("nothing but whole requests");
        }

        let seen = self.seen.lock();
        let mut executed = HashMap::<&str, usize>::new();
        for request in seen.requests.iter().flatten() {
            *executed.entry(request).or_default() += 1;
        }
        for (request, &times) in &executed {
            let most = 1 + usize::from(request.starts_with('i') && self.kind.is_ended());
            assert!(times <= most, "{request} was executed {times} times");
        }
        // A pipeline reads the replies of those who have gone.
        if let Some(left) = begun.last().filter(|_| !ended && self.is_alone()) {
            for requests in &seen.requests {
                let at = requests.iter().position(|request| request == left);
                assert!(
                    at.is_none_or(|at| at + 1 == requests.len()),
                    "{left} was left unfinished among {requests:?}"
                );
            }
        }
    }
}

/// Drops it at every point, and answers how many there are.
async fn all_points(kind: Kind, pipelined: bool, is_warm: bool) -> usize {
    for limit in 1.. {
        let trial = Trial::new(kind, pipelined, is_warm).await;
        let (ended, carried) = trial.run(limit).await;
        if ended {
            let points = limit - 1;
            println!(
                "{kind:?}, pipelined: {pipelined}, warm: {is_warm}: K = {points}, bytes = {carried}"
            );
            assert!(points >= carried, "{points} points and {carried} bytes");
            return points;
        }
    }
    unreachable!()
}

/// Within a task, in which alone a turn is one.
async fn in_both_modes(kind: Kind, warm: &'static [bool]) {
    let all = tokio::spawn(async move {
        for pipelined in [false, true] {
            for &is_warm in warm {
                all_points(kind, pipelined, is_warm).await;
            }
        }
    });
    all.await.expect("no panic");
}

#[tokio::test(start_paused = true)]
async fn a_request_without_a_reply_dropped_at_any_point_costs_nobody_anything() {
    in_both_modes(Kind::Silent, &[false, true]).await;
}

#[tokio::test(start_paused = true)]
async fn a_request_with_several_replies_dropped_at_any_point_costs_nobody_a_reply() {
    in_both_modes(Kind::Several, &[false, true]).await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_of_ones_own_dropped_at_any_point_is_nobody_elses() {
    in_both_modes(Kind::Pinned, &[false, true]).await;
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_server_goes_is_executed_once_wherever_it_is_dropped() {
    in_both_modes(Kind::Ended, &[true]).await;
}

#[tokio::test(start_paused = true)]
async fn an_idempotent_one_is_sent_again_and_dropped_at_any_point_costs_nobody_a_reply() {
    in_both_modes(Kind::EndedIdempotent, &[true]).await;
}
