//! The faults of a rig's wire: packets that vanish, ports that refuse, the wire cut, connections
//! destroyed. Also what a test can observe: which connections there are, and how many dials have
//! arrived.

use std::{
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
};

use crate::{Error, Flow, Rig, Side};

/// Matches only the first packet of a dial.
const SYN: &str = "tcp flags & (fin|syn|rst|ack) == syn";

/// Counts the dials that arrive at an address of the server side, including those whose SYN is then
/// dropped or refused.
#[derive(Debug)]
pub struct SynCounter {
    number: u32,
}

/// What a [`SynCounter`] has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Syns {
    /// How many SYNs, retransmitted ones included.
    pub packets: u64,
    /// From how many ports of the client they came. This is the number of dials, unless two dials
    /// used the same port.
    pub ports: u64,
}

impl Rig {
    /// From now on SYNs to this address of the server side vanish. Existing connections still work.
    ///
    /// # Errors
    ///
    /// If nft fails.
    pub fn lose_syns(&self, to: SocketAddr) -> Result<(), Error> {
        Side::Server.nft(&format!(
            "add rule inet rig input {} {SYN} drop",
            toward(to)
        ))
    }

    /// From now on everything to and from this address of the server side vanishes.
    ///
    /// # Errors
    ///
    /// If nft fails.
    pub fn lose_packets(&self, of: SocketAddr) -> Result<(), Error> {
        Side::Server.nft(&format!("add rule inet rig input {} drop", toward(of)))?;
        Side::Client.nft(&format!("add rule inet rig input {} drop", from(of)))
    }

    /// From now on the packets of these connections vanish in both directions, as when a middlebox
    /// has forgotten them. New connections work.
    ///
    /// # Errors
    ///
    /// If nft fails.
    pub fn lose_connections(&self, flows: &[Flow]) -> Result<(), Error> {
        let (mut there, mut back) = (String::new(), String::new());
        for Flow { local, peer } in flows {
            let port = local.port();
            let _ = writeln!(
                there,
                "add rule inet rig input {} tcp sport {port} drop",
                toward(*peer)
            );
            let _ = writeln!(
                back,
                "add rule inet rig input {} tcp dport {port} drop",
                from(*peer)
            );
        }
        Side::Server.nft(&there)?;
        Side::Client.nft(&back)
    }

    /// From now on this address of the server side answers every packet with a reset.
    ///
    /// # Errors
    ///
    /// If nft fails.
    pub fn refuse(&self, at: SocketAddr) -> Result<(), Error> {
        Side::Server.nft(&format!(
            "add rule inet rig input {} reject with tcp reset",
            toward(at)
        ))
    }

    /// Ends these faults: removes all rules from the chains `input` and `output` of both sides.
    /// [`cut_wire`](Rig::cut_wire) is undone by [`mend_wire`](Rig::mend_wire) only.
    ///
    /// # Errors
    ///
    /// If nft fails.
    pub fn lift_rules(&self) -> Result<(), Error> {
        for side in [Side::Client, Side::Server] {
            side.nft("flush chain inet rig input\nflush chain inet rig output")?;
        }
        Ok(())
    }

    /// Cuts the wire.
    ///
    /// # Errors
    ///
    /// If ip fails.
    pub fn cut_wire(&self) -> Result<(), Error> {
        let down = ["link", "set", "client0", "down"];
        Side::Client.run("ip", &down).map(drop)
    }

    /// Mends the wire.
    ///
    /// # Errors
    ///
    /// If ip fails.
    pub fn mend_wire(&self) -> Result<(), Error> {
        let up = ["link", "set", "client0", "up"];
        Side::Client.run("ip", &up).map(drop)
    }

    /// The established connections of the client side to this address.
    ///
    /// # Errors
    ///
    /// If ss fails.
    pub fn connections(&self, to: SocketAddr) -> Result<Vec<Flow>, Error> {
        let peer = to.ip().to_string();
        let port = format!(":{}", to.port());
        let arguments = [
            "-Htn",
            "state",
            "established",
            "dst",
            &peer,
            "and",
            "dport",
            "=",
            &port,
        ];
        let table = Side::Client.run("ss", &arguments)?;
        let flow = |line: &str| {
            let mut columns = line.split_whitespace().skip(2);
            let local = columns.next()?.parse().ok()?;
            let peer = columns.next()?.parse().ok()?;
            Some(Flow { local, peer })
        };
        table
            .lines()
            .filter(|line| !line.trim().is_empty())
            .map(|line| {
                flow(line).ok_or_else(|| Error::Unintelligible {
                    command: "ss -Htn".to_owned(),
                    said: line.to_owned(),
                })
            })
            .collect()
    }

    /// Destroys the connections to this address on one side, as `ss -K` does. The process that
    /// owns such a connection gets the error `ECONNABORTED`, and the peer gets a reset. The kernel
    /// must have been built with `CONFIG_INET_DIAG_DESTROY`.
    ///
    /// # Errors
    ///
    /// If ss fails.
    pub fn destroy_connections(&self, side: Side, to: SocketAddr) -> Result<(), Error> {
        let address = to.ip().to_string();
        let port = format!(":{}", to.port());
        let (host, door) = match side {
            Side::Client => ("dst", "dport"),
            Side::Server => ("src", "sport"),
        };
        let arguments = [
            "-K",
            "-Htn",
            "state",
            "established",
            host,
            &address,
            "and",
            door,
            "=",
            &port,
        ];
        side.run("ss", &arguments).map(drop)
    }

    /// Starts to count the dials that arrive at an address of the server side.
    ///
    /// # Errors
    ///
    /// If nft fails.
    pub fn count_syns(&self, to: SocketAddr) -> Result<SynCounter, Error> {
        let number = self.counters.get();
        self.counters.set(number + 1);
        Side::Server.nft(&format!(
            "add counter inet rig syns{number}
             add set inet rig ports{number} {{ type inet_service; size 65535; flags dynamic; }}
             add rule inet rig counting {} {SYN} counter name syns{number} add @ports{number} {{ tcp sport }}",
            toward(to)
        ))?;
        Ok(SynCounter { number })
    }
}

impl SynCounter {
    /// What it has seen so far.
    ///
    /// # Errors
    ///
    /// If nft fails.
    pub fn seen(&self) -> Result<Syns, Error> {
        let list = |kind: &str, name: &str| {
            let name = format!("{name}{}", self.number);
            Side::Server.run("nft", &["list", kind, "inet", "rig", &name])
        };
        let counter = list("counter", "syns")?;
        let packets = counter
            .split_once("packets ")
            .and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok())
            .ok_or_else(|| Error::Unintelligible {
                command: "nft list counter".to_owned(),
                said: counter.clone(),
            })?;
        let set = list("set", "ports")?;
        let elements = set.split_once("elements = {").map(|(_, elements)| elements);
        Ok(Syns {
            packets,
            ports: elements.map_or(0, |elements| elements.split(',').count() as u64),
        })
    }
}

/// An nft expression that matches packets to this address.
fn toward(address: SocketAddr) -> String {
    format!(
        "{} daddr {} tcp dport {}",
        family(address),
        address.ip(),
        address.port()
    )
}

/// An nft expression that matches packets from this address.
fn from(address: SocketAddr) -> String {
    format!(
        "{} saddr {} tcp sport {}",
        family(address),
        address.ip(),
        address.port()
    )
}

fn family(address: SocketAddr) -> &'static str {
    match address.ip() {
        IpAddr::V4(_) => "ip",
        IpAddr::V6(_) => "ip6",
    }
}
