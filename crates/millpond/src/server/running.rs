//! A server that runs: who holds it can look at it, drain it and close it.

use std::{fmt, io, sync::Arc, time::Duration};

use tokio::{sync::watch, task::JoinHandle};

use super::{
    ledger::Ledger,
    snapshot::{Snapshot, Status},
};
use crate::transport::Endpoint;

/// A server that runs, and owns all its tasks: dropped, it closes.
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

    /// Where it listens: with the port that the system chose, where 0 was asked for.
    pub fn endpoint(&self) -> &Endpoint {
        &self.ledger.endpoint
    }

    /// How it is, and what has happened.
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = self.ledger.snapshot();
        if self.accepting.is_finished() {
            snapshot.status = Status::Ended;
        }
        snapshot
    }

    /// Stops accepting; answers what is under way and what has arrived as whole frames; closes each connection that has nothing left. What is left
    /// after `within` is closed by force.
    ///
    /// A second call may shorten that, and never lengthens it.
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

    /// Waits until it has ended: drained, closed, or since its listener broke, after which it drains itself within 30 s.
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
