//! The handle of a server that runs: shows it, drains it, closes it.

use std::{fmt, io, sync::Arc, time::Duration};

use tokio::{sync::watch, task::JoinHandle};

use super::{
    ledger::Ledger,
    settings::ServerSettings,
    snapshot::{ServerSnapshot, ServerStatus},
};
use crate::net::Endpoint;

/// A server that runs, and owns all its tasks: dropped, it closes.
///
/// It has no type parameters, so a page or a tool can hold servers of different handlers and
/// framings in one list.
#[must_use = "dropped, it closes"]
pub struct Running {
    ledger: Arc<Ledger>,
    accepting: JoinHandle<()>,
    ended: watch::Receiver<Option<Ended>>,
}

/// How a server has ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Ended {
    /// How many connections had something under way at the deadline, and were closed by force.
    pub forced: usize,
    /// How many requests had arrived and got no answer: their handlers didn't end before the
    /// deadline, or their clients didn't take the replies. A reply counts as given when the kernel
    /// has taken the write that it was a part of. Requests of clients that went away themselves
    /// don't count. At most 64 KiB of unread bytes per connection are searched for requests.
    pub unanswered: u64,
    /// Why nothing could be accepted any more, if that ended it.
    pub failure: Option<Arc<io::Error>>,
}

impl Running {
    pub(super) fn new(
        ledger: Arc<Ledger>,
        accepting: JoinHandle<()>,
        ended: watch::Receiver<Option<Ended>>,
    ) -> Self {
        Running {
            ledger,
            accepting,
            ended,
        }
    }

    /// Where it listens. If port 0 was asked for, with the port that the system chose.
    pub fn endpoint(&self) -> &Endpoint {
        &self.ledger.endpoint
    }

    /// The settings that it was built with.
    pub fn settings(&self) -> &ServerSettings {
        &self.ledger.settings
    }

    /// Its state, and its totals since it began.
    pub fn snapshot(&self) -> ServerSnapshot {
        let mut snapshot = self.ledger.snapshot();
        if self.accepting.is_finished() {
            snapshot.status = ServerStatus::Ended;
        }
        snapshot
    }

    /// Stops accepting, and ends each connection without losing what its client has sent:
    ///
    /// 1. What is under way is finished, and so are the next
    ///    [`max_in_flight`](super::ServerBuilder::max_in_flight) requests of a connection.
    /// 2. Requests beyond those are refused, in order among the replies, with an error that says
    ///    that they were not executed: -32003,
    ///    [`FailureKind::NotTaken`](crate::framing::FailureKind::NotTaken). After 4,096 refusals on
    ///    one connection no more is read.
    /// 3. When nothing is owed and nothing more has arrived, the connection's sending side is
    ///    closed. A request whose bytes have begun to arrive is waited for as long as more of them
    ///    come, with pauses of half a second at most; a client that was refused something must be
    ///    silent for 100 ms, which is waited for half a second at most.
    /// 4. What still comes then is read and dropped until the client has closed its side, so that
    ///    no reset destroys a reply that the client hasn't read yet. A request that crosses the
    ///    close is never executed. A client that sends on and on is reset after 16 MiB.
    ///
    /// A TLS handshake that is under way isn't waited for: the connection is closed at once, so the
    /// client may see a reset instead of the end of a handshake. Nothing that it asks for has
    /// been executed.
    ///
    /// What is left after `within` is closed by force. A connection on which nothing was owed, and
    /// which its client hadn't closed yet, doesn't count as forced. [`Ended::unanswered`] tells
    /// what was lost.
    ///
    /// A framing that has no reply for failures can't refuse as step 2 says. There the first
    /// request that isn't taken closes the sending side, after the replies before it. The rest
    /// is as in step 4, and the requests that weren't taken count as unanswered.
    ///
    /// A second call may shorten the time, and never lengthens it.
    ///
    /// # Cancel safety
    ///
    /// The drain goes on when this is dropped.
    pub async fn drain(&self, within: Duration) -> Ended {
        self.ledger.drain(within);
        self.ended().await
    }

    /// Stops accepting and closes all connections, whatever is under way on them.
    ///
    /// # Cancel safety
    ///
    /// The server closes also when this is dropped.
    pub async fn close(&self) -> Ended {
        self.drain(Duration::ZERO).await
    }

    /// Waits until it has ended: drained, closed, or since its listener broke, after which it
    /// drains itself within 30 s.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn ended(&self) -> Ended {
        let mut ended = self.ended.clone();
        let told = ended.wait_for(Option::is_some).await;
        match told.as_deref() {
            Ok(Some(ended)) => ended.clone(),
            // Its runtime has ended, and all its tasks with that.
            _ => Ended {
                forced: 0,
                unanswered: 0,
                failure: None,
            },
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The connections' tasks are its own, and go with it.
        self.accepting.abort();
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("endpoint", self.endpoint())
            .finish_non_exhaustive()
    }
}
