//! The local ports towards one destination: how many there are, how many are in use, and how many new connections a second they allow.

use std::{io, net::SocketAddr};

use millpond::transport::system::port_use;

use super::finding::{Finding, Mark};
use crate::numbers::{rate, rounded};

/// A port stays in TIME_WAIT for so many seconds; no setting changes that.
const TIME_WAIT: f64 = 60.0;

/// From these shares on somebody should know, and connecting fails soon.
const MANY: f64 = 0.5;
const NEARLY_ALL: f64 = 0.9;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Towards {
    pub(super) in_use: u32,
    pub(super) in_time_wait: u32,
    pub(super) available: u32,
    /// All of it, as one clause.
    pub(super) told: String,
}

impl Towards {
    /// This blocks, for tens of milliseconds if all ports are in use.
    pub(super) fn ask(destination: SocketAddr) -> io::Result<Towards> {
        let ports = port_use(destination)?;
        Ok(Towards {
            in_use: ports.in_use_towards,
            in_time_wait: ports.in_time_wait_towards,
            available: ports.available(),
            told: ports.to_string(),
        })
    }

    /// How much of them is in use: 0 to 1.
    pub(super) fn share(&self) -> f64 {
        f64::from(self.in_use) / f64::from(self.available.max(1))
    }

    /// New connections a second, if each is closed by this side and that goes on for more than a minute.
    fn connections_a_second(&self) -> f64 {
        f64::from(self.available) / TIME_WAIT
    }
}

/// How far the ports are used up; pure.
pub(super) fn judge(ports: &Result<Towards, String>) -> Finding {
    const CHECK: &str = "ports-to";
    const WHY: &str = "each connection to one address and port takes a local port, and keeps it for a minute after it was closed here; \
                       with none left connecting fails (EADDRNOTAVAIL)";
    let ports = match ports {
        Ok(ports) => ports,
        Err(error) => {
            let found = format!("the local ports towards it can't be counted: {error}");
            return Finding::new(CHECK, Mark::Unknown, found, WHY)
                .advice("allow netlink (AF_NETLINK) where this runs; on other systems than Linux there is no such check");
        }
    };
    let mark = match ports.share() {
        share if share >= NEARLY_ALL => Mark::Bad,
        share if share >= MANY => Mark::Warning,
        _ => Mark::Good,
    };
    let found = format!(
        "{}; a connection for each request can be opened {} times a second for long, and no more",
        ports.told,
        rate(ports.connections_a_second())
    );
    let finding = Finding::new(CHECK, mark, found, WHY)
        .figure("in_use", ports.in_use)
        .figure("in_time_wait", ports.in_time_wait)
        .figure("available", ports.available)
        .figure("connections_per_second", rounded(ports.connections_a_second(), 1));
    match mark {
        Mark::Good => finding,
        _ => finding.advice(
            "share long connections through a pool; if that can't be, widen net.ipv4.ip_local_port_range, or let the server listen on \
             more ports",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(in_use: u32) -> Result<Towards, String> {
        Ok(Towards {
            in_use,
            in_time_wait: in_use,
            available: 28_232,
            told: String::from("so many"),
        })
    }

    #[test]
    fn the_more_ports_are_in_use_the_worse() {
        let marks = [0, 14_000, 14_200, 25_400, 25_500].map(|in_use| judge(&ports(in_use)).mark);
        assert_eq!(
            marks,
            [Mark::Good, Mark::Good, Mark::Warning, Mark::Warning, Mark::Bad]
        );
        let finding = judge(&ports(0));
        assert!(finding.found.contains("471 times a second"), "{}", finding.found);
        assert_eq!(judge(&Err(String::from("refused"))).mark, Mark::Unknown);
    }
}
