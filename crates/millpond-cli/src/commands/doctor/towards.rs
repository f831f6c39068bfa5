//! The local ports towards one destination: how many there are, how many are in use, and how many
//! new connections a second they last for.

use std::{io, net::SocketAddr};

use millpond::kernel::port_use;

use super::{
    files::Machine,
    finding::{Finding, Mark, NETLINK, ONLY_ON_LINUX},
    ports::{self, PortRange},
    reuse::{Reuse, Route},
    sockets::Uses,
};
use crate::numbers::rounded;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(super) struct PortsTowards {
    pub(super) destination: SocketAddr,
    pub(super) range: PortRange,
    pub(super) reserved: u32,
    pub(super) uses: Uses,
    /// Of these, those that can't be taken again at once.
    pub(super) held: u32,
    /// New connections a second in the long run, if this side closes first; `None` without a limit.
    pub(super) lasting_rate: Option<f64>,
}

impl PortsTowards {
    /// Asks the kernel. Blocks, for tens of milliseconds if all ports are in use.
    pub(super) fn ask(destination: SocketAddr) -> io::Result<PortsTowards> {
        let ports = port_use(destination)?;
        let uses = Uses {
            ports: ports.in_use_towards,
            time_wait: ports.in_time_wait_towards,
        };
        let (reuse, route) = (Reuse::read(&Machine), Route::to(destination.ip()));
        Ok(PortsTowards {
            destination,
            range: PortRange {
                first: ports.first,
                last: ports.last,
            },
            reserved: ports.reserved,
            uses,
            held: reuse.held(uses, route),
            lasting_rate: reuse.lasting_rate(ports.available(), route),
        })
    }

    pub(super) fn available(&self) -> u32 {
        self.range.length().saturating_sub(self.reserved)
    }

    pub(super) fn mark(&self) -> Mark {
        ports::mark(self.held, self.available())
    }

    /// How much of them is in use: 0 to 1.
    pub(super) fn share(&self) -> f64 {
        f64::from(self.uses.ports) / f64::from(self.available().max(1))
    }

    /// How many are in use, as a sentence.
    pub(super) fn in_use(&self) -> String {
        match self.uses.ports {
            0 => format!("None is in use towards {}.", self.destination),
            _ => format!(
                "In use towards {}: {}.",
                self.destination,
                ports::in_use(self.uses, self.held)
            ),
        }
    }
}

/// Judges how far the ports are used up. Pure.
pub(super) fn judge(ports: &Result<PortsTowards, String>) -> Finding {
    const CHECK: &str = "ports-to";
    const WHY: &str = "Each connection to the same address and port needs a local port of its own, which the side that closes first keeps \
                       for 60 s more (TIME_WAIT). With none left connecting fails (EADDRNOTAVAIL).";
    let towards = match ports {
        Ok(towards) => towards,
        Err(_) if !cfg!(target_os = "linux") => {
            return Finding::new(CHECK, Mark::Unknown, ONLY_ON_LINUX, WHY);
        }
        Err(error) => {
            return Finding::new(CHECK, Mark::Unknown, format!("Not known: {error}."), WHY)
                .advice(NETLINK);
        }
    };
    let found = format!(
        "{} for this destination. In the long run they last for {} new connections a second. {}",
        ports::described(towards.range, towards.reserved),
        ports::rate(towards.lasting_rate),
        towards.in_use(),
    );
    let finding = Finding::new(CHECK, towards.mark(), found, WHY)
        .figure("in_use", towards.uses.ports)
        .figure("in_time_wait", towards.uses.time_wait)
        .figure("available", towards.available())
        .figure(
            "limit_per_second",
            towards.lasting_rate.map(|rate| rounded(rate, 2)),
        );
    match towards.mark() {
        Mark::Good => finding,
        _ => finding.advice(ports::ADVICE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn towards(in_use: u32, held: u32) -> Finding {
        judge(&Ok(PortsTowards {
            destination: SocketAddr::from(([10, 0, 0, 1], 80)),
            range: PortRange {
                first: 32_768,
                last: 60_999,
            },
            reserved: 0,
            uses: Uses {
                ports: in_use,
                time_wait: in_use,
            },
            held,
            lasting_rate: Some(470.5),
        }))
    }

    #[test]
    fn ports_that_cannot_be_taken_again_make_it_worse_and_others_do_not() {
        let marks = [0, 14_000, 14_200, 22_500, 22_600].map(|in_use| towards(in_use, in_use).mark);
        assert_eq!(
            marks,
            [
                Mark::Good,
                Mark::Good,
                Mark::Warning,
                Mark::Warning,
                Mark::Bad
            ]
        );
        assert_eq!(towards(28_000, 0).mark, Mark::Good);
        assert_eq!(
            towards(9, 9).found,
            "28,232 local ports (32768-60999) for this destination. In the long run they last for 470 new connections a second. In use \
             towards 10.0.0.1:80: 9, all of them in TIME_WAIT."
        );
        assert_eq!(judge(&Err(String::from("refused"))).mark, Mark::Unknown);
    }
}
