//! Log lines that strangers can cause: whoever causes thousands of the same kind gets a line and then sums. What is told when, each kind's
//! [`Storm`] decides; here are the kinds, and the lines of their sums.

use std::{
    future::{Future, pending, poll_fn},
    pin::pin,
    task::Poll,
};

use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use crate::{
    span::Span,
    storm::{Storm, Sum},
    transport::Endpoint,
};

/// What strangers can cause to be logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    MaxConnections,
    PerAddress,
    HandshakeFailed,
    OtherProtocol,
    FrameTooLong,
    WrongAnswer,
    HeartbeatFlood,
    ToldFailure,
}

impl Event {
    const ALL: [Event; 8] = [
        Event::MaxConnections,
        Event::PerAddress,
        Event::HandshakeFailed,
        Event::OtherProtocol,
        Event::FrameTooLong,
        Event::WrongAnswer,
        Event::HeartbeatFlood,
        Event::ToldFailure,
    ];

    /// What has happened several times, at the level of the line that each would be.
    fn tell(self, endpoint: &Endpoint, sum: Sum) {
        let Sum { events, within } = sum;
        let within = Span(within);
        macro_rules! tell {
            ($level:ident, $what:literal) => {
                tracing::$level!(target: "millpond::server", %endpoint, others = events, %within, $what)
            };
        }
        match self {
            Event::MaxConnections => tell!(warn, "more connections refused: max_connections is reached"),
            Event::PerAddress => tell!(
                warn,
                "more connections refused: max_connections_per_address is reached"
            ),
            Event::HandshakeFailed => tell!(info, "more TLS handshakes failed"),
            Event::OtherProtocol => tell!(info, "more connections closed: they spoke another protocol"),
            Event::FrameTooLong => tell!(warn, "more connections closed: a frame was longer than the limit"),
            Event::WrongAnswer => tell!(
                error,
                "more connections closed: where their frames end isn't known"
            ),
            Event::HeartbeatFlood => {
                tell!(
                    warn,
                    "more connections closed: more heartbeats than heartbeat_limit allows"
                );
            }
            Event::ToldFailure => {
                tell!(
                    warn,
                    "more connections closed: the protocol has no reply for a failure"
                );
            }
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Storms {
    storms: Mutex<[Storm; Event::ALL.len()]>,
    began: Notify,
}

impl Storms {
    /// One more has happened. Answers whether it gets a line of its own.
    pub(super) fn happened(&self, event: Event) -> bool {
        let is_told = self.storms.lock()[event as usize].happened(Instant::now());
        if is_told {
            self.began.notify_one();
        }
        is_told
    }

    /// Tells the sums as they are due. Never ends.
    pub(super) async fn tell_sums(&self, endpoint: &Endpoint) {
        loop {
            let due = self.storms.lock().iter().filter_map(Storm::due).min();
            let due = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => pending().await,
                }
            };
            // A storm that begins may have its first sum before that of one that lasts.
            either(due, self.began.notified()).await;
            self.tell(endpoint, Storm::sum_up);
        }
    }

    /// Tells what is left: there will be no later sum.
    pub(super) fn tell_rest(&self, endpoint: &Endpoint) {
        self.tell(endpoint, Storm::rest);
    }

    fn tell(&self, endpoint: &Endpoint, sum: fn(&mut Storm, Instant) -> Option<Sum>) {
        let now = Instant::now();
        // Who logs may take its time: the lock is free by then.
        let mut sums = [None; Event::ALL.len()];
        for (storm, told) in self.storms.lock().iter_mut().zip(&mut sums) {
            *told = sum(storm, now);
        }
        for (event, sum) in Event::ALL.into_iter().zip(sums) {
            if let Some(sum) = sum {
                event.tell(endpoint, sum);
            }
        }
    }
}

/// Waits for either.
async fn either(one: impl Future<Output = ()>, other: impl Future<Output = ()>) {
    let (mut one, mut other) = (pin!(one), pin!(other));
    poll_fn(|cx| match one.as_mut().poll(cx) {
        Poll::Ready(()) => Poll::Ready(()),
        Poll::Pending => other.as_mut().poll(cx),
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_a_storm_of_its_own() {
        let storms = Storms::default();
        for event in Event::ALL {
            assert!(storms.happened(event), "{event:?}");
            assert!(!storms.happened(event), "{event:?}");
        }
    }
}
