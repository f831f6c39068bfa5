//! Finds out about a destination by connecting to it. Judges nothing.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use millpond::{
    Chain,
    kernel::{TcpInfo, tcp_info},
    net::{self, ConnectError, ConnectFailure, Endpoint, Host, HostPort, Stream},
};
use tokio::{
    net::lookup_host,
    task::{JoinSet, spawn_blocking},
    time::timeout,
};

use super::{
    dialling::{Destination, LIMITS},
    handshake::{self, Handshake, HandshakeError},
};
use crate::{commands::doctor::towards::PortsTowards, text::span};

/// The most addresses of a name that are tried.
const TRIED: usize = 16;

/// See the module.
#[derive(Debug)]
pub(super) struct Facts {
    /// As the endpoint is written.
    pub(super) destination: String,
    /// `None` where there is no name.
    pub(super) lookup: Option<Lookup>,
    /// Each address that was tried, in the order of the lookup.
    pub(super) tried: Vec<TriedAddress>,
    /// `None` if there is no TCP connection.
    pub(super) path: Option<NetworkPath>,
    /// The ports towards the first address that was reached, or else the first.
    pub(super) ports: Option<Result<PortsTowards, String>>,
    /// `None` if the endpoint has no TLS, or can't be reached.
    pub(super) tls: Option<Result<Handshake, HandshakeError>>,
}

/// A name, looked up.
#[derive(Debug)]
pub(super) struct Lookup {
    pub(super) name: String,
    pub(super) took: Duration,
    pub(super) answer: Result<Vec<SocketAddr>, String>,
}

/// One address, tried.
#[derive(Debug)]
pub(super) struct TriedAddress {
    /// `None` for a Unix socket.
    pub(super) address: Option<SocketAddr>,
    pub(super) outcome: DialOutcome,
}

/// The outcome of a dial. Errors are in the library's words, which name the address.
#[derive(Debug)]
pub(super) enum DialOutcome {
    /// Reached: how long the handshake took.
    Reached(Duration),
    /// This machine has no route to it. If other addresses are reached that does no harm, since it
    /// is known at once.
    NoRoute(String),
    Failed(String),
}

impl DialOutcome {
    fn failed(error: &ConnectError) -> DialOutcome {
        let text = Chain(&error.cause).to_string();
        let is_no_route = |attempt: &net::ConnectAttempt| {
            attempt.error.kind() == io::ErrorKind::NetworkUnreachable
        };
        match &error.cause {
            ConnectFailure::Unreachable { attempts, .. } if attempts.iter().all(is_no_route) => {
                DialOutcome::NoRoute(text)
            }
            _ => DialOutcome::Failed(text),
        }
    }
}

/// Measurements of the path to an address.
#[derive(Debug)]
pub(super) struct NetworkPath {
    pub(super) address: SocketAddr,
    pub(super) seen: Result<TcpInfo, String>,
}

impl Facts {
    pub(super) async fn gather(destination: &Destination) -> Facts {
        let mut facts = Facts {
            destination: destination.endpoint.to_string(),
            lookup: None,
            tried: Vec::new(),
            path: None,
            ports: None,
            tls: None,
        };
        let to = match &destination.endpoint {
            Endpoint::Tcp(to) | Endpoint::Tls(to) => to,
            _ => {
                facts.tried = try_each(destination, &[None]).await.0;
                return facts;
            }
        };
        let addresses = facts.addresses(to).await;
        let some: Vec<_> = addresses.iter().copied().take(TRIED).map(Some).collect();
        let (tried, plain) = try_each(destination, &some).await;
        let reached = plain.as_ref().and_then(Stream::peer_addr);
        facts.tried = tried;
        let mut measured = plain;
        if reached.is_some() && matches!(destination.endpoint, Endpoint::Tls(_)) {
            let (shaken, stream) =
                handshake::shake_hands(&destination.dialer(destination.endpoint.clone())).await;
            facts.tls = Some(shaken);
            // The TLS connection has measured more round trips.
            measured = stream.or(measured);
        }
        if let Some(stream) = measured {
            facts.path = path(&stream).await;
        }
        if let Some(address) = reached.or(addresses.first().copied()) {
            facts.ports = Some(ports(address).await);
        }
        facts
    }

    /// The addresses that the host has, or is.
    async fn addresses(&mut self, to: &HostPort) -> Vec<SocketAddr> {
        let name = match &to.host {
            Host::Address(ip) => return vec![SocketAddr::new(*ip, to.port)],
            Host::Name(name) => name.as_str(),
        };
        let began = Instant::now();
        let answer = match timeout(LIMITS.resolve, lookup_host((name, to.port))).await {
            Ok(Ok(found)) => Ok(distinct(found)),
            Ok(Err(error)) => Err(Chain(&error).to_string()),
            Err(_) => Err(format!("no answer within {}", span(LIMITS.resolve))),
        };
        let found = answer.clone().unwrap_or_default();
        self.lookup = Some(Lookup {
            name: name.to_owned(),
            took: began.elapsed(),
            answer,
        });
        found
    }
}

fn distinct(addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut found = Vec::new();
    for address in addresses {
        if !found.contains(&address) {
            found.push(address);
        }
    }
    found
}

/// Connects to all addresses at once, without TLS; keeps the connection to the first of them that
/// was reached.
async fn try_each(
    destination: &Destination,
    addresses: &[Option<SocketAddr>],
) -> (Vec<TriedAddress>, Option<Stream>) {
    let mut trying = JoinSet::new();
    for (number, address) in addresses.iter().copied().enumerate() {
        let endpoint = match address {
            Some(address) => Endpoint::from(address),
            None => destination.endpoint.clone(),
        };
        let dialer = destination.dialer(endpoint);
        trying.spawn(async move { (number, address, dialer.dial().await) });
    }
    // A dial doesn't panic, and isn't aborted.
    let mut dials: Vec<_> = trying.join_all().await;
    dials.sort_by_key(|(number, ..)| *number);
    let mut first = None;
    let tried = dials.into_iter().map(|(_, address, dialled)| TriedAddress {
        address,
        outcome: match dialled {
            Ok(dialled) => {
                first.get_or_insert(dialled.stream);
                DialOutcome::Reached(dialled.timings.connect)
            }
            Err(error) => DialOutcome::failed(&error),
        },
    });
    (tried.collect(), first)
}

async fn path(stream: &Stream) -> Option<NetworkPath> {
    let pair = (stream.local_addr()?, stream.peer_addr()?);
    let asked = spawn_blocking(move || tcp_info(&[pair])).await.ok()?;
    Some(NetworkPath {
        address: pair.1,
        seen: match asked.map(|answers| answers.into_iter().next().flatten()) {
            Ok(Some(seen)) => Ok(seen),
            Ok(None) => Err(String::from("the connection was closed by then")),
            Err(error) => Err(Chain(&error).to_string()),
        },
    })
}

async fn ports(address: SocketAddr) -> Result<PortsTowards, String> {
    match spawn_blocking(move || PortsTowards::ask(address)).await {
        Ok(asked) => asked.map_err(|error| Chain(&error).to_string()),
        Err(error) => Err(error.to_string()),
    }
}
