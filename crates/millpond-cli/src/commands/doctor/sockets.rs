//! Counts the machine's TCP sockets by where they lead.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
};

use millpond::kernel::{TcpSocket, TcpState};

/// The most destinations that are counted separately. A crawler may have more; each takes some 100
/// bytes.
const MOST_DESTINATIONS: usize = 100_000;

/// From a local address to a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Way {
    pub(super) from: IpAddr,
    pub(super) to: SocketAddr,
}

/// The sockets of one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Uses {
    /// Sockets whose local port is one that the kernel gives to outgoing connections.
    pub(super) ports: u32,
    /// Of these, in TIME_WAIT.
    pub(super) time_wait: u32,
}

/// How many sockets there are, by where they lead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sockets {
    pub(super) outgoing: HashMap<Way, Uses>,
    /// Accepted sockets in TIME_WAIT, by the port that accepted them: this side closed first.
    pub(super) accepted_time_wait: HashMap<u16, u32>,
    /// All in TIME_WAIT.
    pub(super) time_wait: u64,
}

impl Sockets {
    /// Counts sockets; `is_given_away` says whether the kernel gives a port to outgoing
    /// connections.
    pub(super) fn count(sockets: &[TcpSocket], is_given_away: impl Fn(u16) -> bool) -> Sockets {
        let listeners = sockets
            .iter()
            .filter(|socket| socket.state == TcpState::Listen);
        let listening: HashSet<u16> = listeners.map(|socket| socket.local.port()).collect();
        let mut counted = Sockets::default();
        for socket in sockets
            .iter()
            .filter(|socket| socket.state != TcpState::Listen)
        {
            let port = socket.local.port();
            let is_accepted = listening.contains(&port) || !is_given_away(port);
            counted.add(socket, is_accepted);
        }
        counted
    }

    fn add(&mut self, socket: &TcpSocket, is_accepted: bool) {
        let in_time_wait = u32::from(socket.state == TcpState::TimeWait);
        self.time_wait += u64::from(in_time_wait);
        if is_accepted {
            if in_time_wait > 0 {
                *self
                    .accepted_time_wait
                    .entry(socket.local.port())
                    .or_default() += 1;
            }
            return;
        }
        let way = Way {
            from: socket.local.ip(),
            to: socket.peer,
        };
        if self.outgoing.len() < MOST_DESTINATIONS || self.outgoing.contains_key(&way) {
            let uses = self.outgoing.entry(way).or_default();
            uses.ports += 1;
            uses.time_wait += in_time_wait;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn sockets_are_counted_by_where_they_lead() {
        let sockets = [
            (TcpState::TimeWait, "10.0.0.2:40000", "10.0.0.1:80"),
            (TcpState::Established, "10.0.0.2:40001", "10.0.0.1:80"),
            (TcpState::TimeWait, "10.0.0.2:40002", "10.0.0.1:80"),
            (TcpState::CloseWait, "[::1]:40003", "[::1]:81"),
            // Accepted: a socket listens on that port, or it isn't a port for outgoing connections.
            (TcpState::TimeWait, "10.0.0.2:8080", "10.0.0.3:49152"),
            (TcpState::TimeWait, "10.0.0.2:443", "10.0.0.3:49153"),
            (TcpState::Established, "10.0.0.2:443", "10.0.0.3:49154"),
            (TcpState::Listen, "0.0.0.0:8080", "0.0.0.0:0"),
        ]
        .map(|(state, local, peer)| TcpSocket::new(state, at(local), at(peer)));
        let sockets = Sockets::count(&sockets, |port| port >= 8_000);
        let way = |from: &str, to: &str| Way {
            from: at(from).ip(),
            to: at(to),
        };
        let uses = |ports, time_wait| Uses { ports, time_wait };
        assert_eq!(
            sockets.outgoing,
            HashMap::from([
                (way("10.0.0.2:0", "10.0.0.1:80"), uses(3, 2)),
                (way("[::1]:0", "[::1]:81"), uses(1, 0)),
            ])
        );
        assert_eq!(
            sockets.accepted_time_wait,
            HashMap::from([(8_080, 1), (443, 1)])
        );
        assert_eq!(sockets.time_wait, 4);
    }

    #[test]
    fn destinations_beyond_the_most_are_left_out() {
        let number = u32::try_from(MOST_DESTINATIONS).expect("a small number") + 5;
        let sockets: Vec<_> = (0..number)
            .map(|last| {
                let peer = SocketAddr::from((last.to_be_bytes(), 80));
                TcpSocket::new(TcpState::TimeWait, at("10.0.0.1:40000"), peer)
            })
            .collect();
        let sockets = Sockets::count(&sockets, |_| true);
        assert_eq!(
            (sockets.outgoing.len(), sockets.time_wait),
            (MOST_DESTINATIONS, u64::from(number))
        );
    }
}
