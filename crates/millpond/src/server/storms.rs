//! Log lines that clients can cause. The first event of a kind is logged, and those that follow
//! closely are summed up: when, [`Storm`](millpond_words::Storm) decides. Here are the kinds, and
//! the lines of their sums.

use millpond_words::{Span, Sum};

use crate::net::Endpoint;

/// What clients can cause to be logged.
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
    NotServed,
}

impl Event {
    pub(super) const ALL: [Event; 9] = [
        Event::MaxConnections,
        Event::PerAddress,
        Event::HandshakeFailed,
        Event::OtherProtocol,
        Event::FrameTooLong,
        Event::WrongAnswer,
        Event::HeartbeatFlood,
        Event::ToldFailure,
        Event::NotServed,
    ];

    /// Logs the sum of several events, at the level of a single one's line.
    pub(super) fn tell(self, endpoint: &Endpoint, sum: Sum) {
        let Sum { events, within } = sum;
        let within = Span(within);
        macro_rules! tell {
            ($level:ident, $what:literal) => {
                tracing::$level!(target: "millpond::server", %endpoint, others = events, %within, $what)
            };
        }
        match self {
            Event::MaxConnections => {
                tell!(warn, "more connections refused: max_connections is reached")
            }
            Event::PerAddress => tell!(
                warn,
                "more connections refused: max_connections_per_address is reached"
            ),
            Event::HandshakeFailed => tell!(info, "more TLS handshakes failed"),
            Event::OtherProtocol => {
                tell!(info, "more connections closed: they spoke another protocol")
            }
            Event::FrameTooLong => tell!(
                warn,
                "more connections closed: a frame was longer than the limit"
            ),
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
            Event::NotServed => {
                tell!(warn, "more clients that can't be served, and are closed");
            }
        }
    }
}

/// One storm for each kind.
pub(super) type Storms = millpond_words::Storms<Event, { Event::ALL.len() }>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_a_storm_of_its_own() {
        let storms = Storms::new(Event::ALL);
        for event in Event::ALL {
            assert!(storms.happened(event), "{event:?}");
            assert!(!storms.happened(event), "{event:?}");
        }
    }
}
