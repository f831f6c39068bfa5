//! Judges what was found out about a destination. Pure.

use std::time::Duration;

use millpond::net::Endpoint;
use rustls::pki_types::UnixTime;

use super::{
    dialling::Destination,
    facts::{DialOutcome, Facts, Lookup, NetworkPath, TriedAddress},
    handshake::{Cure, Handshake, HandshakeError},
};
use crate::{
    certificate::{Certificate, RENEWED_BEFORE, long},
    commands::doctor::{
        finding::{Finding, Mark, NETLINK, ONLY_ON_LINUX},
        towards,
    },
    numbers::{counted, rounded, thousands},
    text::{escaped, span},
};

/// A lookup that takes longer has waited for a name server that doesn't answer.
const SLOW_LOOKUP: Duration = Duration::from_secs(1);

/// The kernel sends a SYN again after a second: a handshake that took longer has lost one.
const LOST_SYN: Duration = Duration::from_secs(1);

/// Ethernet's packets have 1,500 bytes, and PPPoE's 1,492: smaller ones indicate a tunnel.
const SMALLEST_UNTUNNELLED: u32 = 1_480;

/// The minimum that IPv6 demands of every path. Smaller packets indicate a misconfiguration.
const SMALLEST_PACKET: u32 = 1_280;

/// The most names of a certificate that are shown.
const NAMED: usize = 8;

pub(super) fn all(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(facts.lookup.as_ref().map(resolve));
    findings.extend(connect(&facts.destination, &facts.tried));
    findings.extend(facts.path.as_ref().map(path));
    if let Some(handshake) = &facts.tls {
        findings.push(match handshake {
            Ok(handshake) => session(handshake, UnixTime::now().as_secs()),
            Err(error) => no_session(error),
        });
    }
    findings.extend(facts.ports.as_ref().map(towards::judge));
    findings
}

pub(super) fn resolve(lookup: &Lookup) -> Finding {
    const CHECK: &str = "resolve";
    const WHY: &str = "Every dial begins with a lookup. A pool looks the name up again every 30 s, and follows it to new addresses.";
    let (name, took) = (&lookup.name, span(lookup.took));
    let finding = |mark, found: String| {
        Finding::new(CHECK, mark, found, WHY)
            .figure("resolve_seconds", rounded(lookup.took.as_secs_f64(), 6))
            .figure("addresses", lookup.answer.as_ref().map_or(0, Vec::len))
    };
    match &lookup.answer {
        Err(error) => finding(
            Mark::Bad,
            format!("The name {name} could not be looked up, after {took}: {}.", escaped(error)),
        )
        .advice("Check the name, and the settings of the system's resolver (/etc/resolv.conf, /etc/hosts)."),
        Ok(addresses) if addresses.is_empty() => finding(Mark::Bad, format!("The name {name} has no address."))
            .advice("Give the name an address (A or AAAA record)."),
        Ok(addresses) => {
            let listed: Vec<_> = addresses.iter().map(|address| address.ip().to_string()).collect();
            let what = counted(listed.len() as u64, "address", "addresses");
            let found = format!("The name {name} has {what}, found within {took}: {}.", listed.join(", "));
            match lookup.took > SLOW_LOOKUP {
                true => finding(Mark::Warning, found)
                    .advice("A name server doesn't answer, or answers late: check those in /etc/resolv.conf."),
                false => finding(Mark::Good, found),
            }
        }
    }
}

pub(super) fn connect(destination: &str, tried: &[TriedAddress]) -> Option<Finding> {
    const CHECK: &str = "connect";
    const WHY: &str = "A new connection waits for this handshake, which takes at least one round trip. If an address is dead, the first \
                       attempt of some dials fails.";
    const WHY_A_PATH: &str = "A Unix socket is a file that its server makes when it begins to listen. The kernel connects at once, without a \
                              network.";
    let why = match tried {
        [TriedAddress { address: None, .. }] => WHY_A_PATH,
        _ => WHY,
    };
    if tried.is_empty() {
        return None;
    }
    let times: Vec<Duration> = tried.iter().filter_map(reached).collect();
    let slowest = times.iter().copied().max().unwrap_or_default();
    let is_dead = |address: &&TriedAddress| matches!(address.outcome, DialOutcome::Failed(_));
    let dead = tried.iter().filter(is_dead).count();
    let mark = match times.len() {
        0 => Mark::Bad,
        _ if dead > 0 || slowest >= LOST_SYN => Mark::Warning,
        _ => Mark::Good,
    };
    let described: Vec<_> = tried
        .iter()
        .map(|tried| described(destination, tried))
        .collect();
    let how = match (times.len(), tried.len()) {
        (0, 1) => String::from("Not reached"),
        (0, count) => format!("None of {count} addresses reached"),
        (1, 1) => String::from("Reached"),
        (reached, count) if reached == count => format!("All {count} addresses reached"),
        (reached, count) => format!("{reached} of {count} addresses reached"),
    };
    let mut finding = Finding::new(
        CHECK,
        mark,
        format!("{how}: {}.", described.join("; ")),
        why,
    )
    .figure("addresses", tried.len())
    .figure("reached", times.len());
    if let Some(fastest) = times.iter().min() {
        finding = finding
            .figure("fastest_seconds", rounded(fastest.as_secs_f64(), 6))
            .figure("slowest_seconds", rounded(slowest.as_secs_f64(), 6));
    }
    Some(match (times.len(), mark) {
        (0, _) => finding.advice(reaching(tried)),
        (_, Mark::Good) => finding,
        _ if dead == 0 => {
            finding.advice("A handshake of more than a second has lost a packet: look at the path, and at the server's accept queue.")
        }
        _ => finding.advice("Repair what is behind the dead address, or take it out of the name."),
    })
}

/// What to do if none was reached.
fn reaching(tried: &[TriedAddress]) -> &'static str {
    let is_no_route = |address: &TriedAddress| matches!(address.outcome, DialOutcome::NoRoute(_));
    match tried {
        [TriedAddress { address: None, .. }] => {
            "Check that the server runs and listens at this path, which must be the socket's, not its folder's."
        }
        tried if tried.iter().all(is_no_route) => {
            "Give this machine a route to there (`ip route`, and `ip -6 route` for IPv6)."
        }
        _ => "Check that the server runs and listens on this port, and that no firewall blocks it.",
    }
}

fn reached(address: &TriedAddress) -> Option<Duration> {
    match address.outcome {
        DialOutcome::Reached(took) => Some(took),
        DialOutcome::NoRoute(_) | DialOutcome::Failed(_) => None,
    }
}

fn described(destination: &str, tried: &TriedAddress) -> String {
    match (&tried.outcome, tried.address) {
        (DialOutcome::Reached(took), Some(address)) => format!("{address} in {}", span(*took)),
        (DialOutcome::Reached(took), None) => format!("{destination} in {}", span(*took)),
        (DialOutcome::NoRoute(error) | DialOutcome::Failed(error), Some(_)) => escaped(error),
        // The library's error names no path.
        (DialOutcome::NoRoute(error) | DialOutcome::Failed(error), None) => {
            format!("{destination}: {}", escaped(error))
        }
    }
}

pub(super) fn path(path: &NetworkPath) -> Finding {
    const CHECK: &str = "path";
    const WHY: &str = "A request takes at least one round trip, and longer if a packet has to be sent again. A path with small packets is \
                       usually a tunnel, and connections stall if large packets are silently dropped there.";
    let seen = match &path.seen {
        Ok(seen) => seen,
        Err(_) if !cfg!(target_os = "linux") => {
            return Finding::new(CHECK, Mark::Unknown, ONLY_ON_LINUX, WHY);
        }
        Err(error) => {
            let found = format!("Not known: {}.", escaped(error));
            return Finding::new(CHECK, Mark::Unknown, found, WHY).advice(NETLINK);
        }
    };
    // Both headers, and the timestamps that nearly all connections have.
    let headers = if path.address.is_ipv4() { 52 } else { 72 };
    let packet = seen.path_mtu.min(seen.send_mss.saturating_add(headers));
    let mark = match packet {
        packet if packet < SMALLEST_PACKET => Mark::Warning,
        _ if seen.retransmits > 0 => Mark::Warning,
        _ => Mark::Good,
    };
    let mut found = format!(
        "Round-trip time {} (± {}), segments of up to {} bytes (MSS), path MTU {}, {}.",
        span(seen.rtt),
        span(seen.rtt_variance),
        thousands(seen.send_mss.into()),
        thousands(seen.path_mtu.into()),
        match seen.retransmits {
            0 => String::from("nothing sent again"),
            count => counted(count.into(), "segment", "segments") + " sent again",
        }
    );
    if packet < SMALLEST_UNTUNNELLED {
        found += " That is less than Ethernet's 1,500 bytes: there is a tunnel on the way (a VPN, an overlay network).";
    }
    let finding = Finding::new(CHECK, mark, found, WHY)
        .figure("rtt_seconds", rounded(seen.rtt.as_secs_f64(), 6))
        .figure(
            "rtt_variance_seconds",
            rounded(seen.rtt_variance.as_secs_f64(), 6),
        )
        .figure("send_mss_bytes", seen.send_mss)
        .figure("path_mtu_bytes", seen.path_mtu)
        .figure("retransmits", seen.retransmits)
        .figure("congestion_window_segments", seen.congestion_window)
        .figure(
            "retransmission_timeout_seconds",
            rounded(seen.retransmission_timeout.as_secs_f64(), 6),
        );
    match mark {
        Mark::Good => finding,
        _ if packet < SMALLEST_PACKET => finding
            .advice("Look for the interface or tunnel whose MTU is that small (`ip link`, `tracepath`)."),
        _ => finding.advice(
            "Packets get lost on the way, or in an overloaded accept queue: look at both (`mtr`, `ss -ltn`).",
        ),
    }
}

/// `now` in seconds since 1970.
pub(super) fn session(handshake: &Handshake, now: u64) -> Finding {
    const WHY: &str = "A new connection waits for this handshake as well. An expired certificate ends all of them at once.";
    let now = Duration::from_secs(now);
    let mut parts = vec![format!("{}, {}", handshake.version, handshake.cipher)];
    parts.extend(handshake.key_exchange.clone());
    parts.push(match &handshake.alpn {
        Some(protocol) => format!("ALPN {}", escaped(protocol)),
        None => String::from("no ALPN"),
    });
    parts.push(format!("handshake {}", span(handshake.took)));
    if let Some(second) = handshake.second {
        let how = if second.resumed {
            "resumed"
        } else {
            "not resumed"
        };
        parts.push(format!("a second one {} ({how})", span(second.took)));
    }
    let (mark, dated) = match &handshake.certificate {
        Err(error) => (
            Mark::Unknown,
            format!("Its certificate can't be read: {}", escaped(error)),
        ),
        Ok(certificate) => dates(certificate, now),
    };
    let chain = counted(handshake.chain as u64, "certificate", "certificates");
    let found = format!("{}. {dated}; a chain of {chain}.", parts.join(", "));
    let mut finding = Finding::new("tls", mark, found, WHY)
        .figure("version", handshake.version.clone())
        .figure("cipher_suite", handshake.cipher.clone())
        .figure(
            "handshake_seconds",
            rounded(handshake.took.as_secs_f64(), 6),
        )
        .figure("chain", handshake.chain);
    if let Some(second) = handshake.second {
        finding = finding.figure("resumed", second.resumed).figure(
            "second_handshake_seconds",
            rounded(second.took.as_secs_f64(), 6),
        );
    }
    if let Ok(certificate) = &handshake.certificate {
        let left = certificate.left(now).unwrap_or_default();
        finding = finding
            .figure("names", certificate.names.clone())
            .figure("issuer", certificate.issuer.clone())
            .figure("certificate_ends", certificate.ends_at.clone())
            .figure("certificate_left_seconds", left.as_secs());
    }
    match mark {
        Mark::Warning | Mark::Bad => finding
            .advice("Have the certificate renewed there now, and find out why that didn't happen by itself."),
        _ => finding,
    }
}

/// How the certificate's validity is judged and described.
fn dates(certificate: &Certificate, now: Duration) -> (Mark, String) {
    let (mark, when) = match certificate.left(now) {
        None => (Mark::Bad, format!("expired on {}", certificate.ends_at)),
        Some(left) => {
            let mark = if left < RENEWED_BEFORE {
                Mark::Warning
            } else {
                Mark::Good
            };
            (
                mark,
                format!(
                    "good for {} more, until {}",
                    long(left),
                    certificate.ends_at
                ),
            )
        }
    };
    let names: Vec<_> = certificate
        .names
        .iter()
        .take(NAMED)
        .map(|name| escaped(name))
        .collect();
    let names = match (
        names.is_empty(),
        certificate.names.len().saturating_sub(NAMED),
    ) {
        (true, _) => String::from("no name"),
        (false, 0) => names.join(", "),
        (false, more) => format!("{} and {more} more", names.join(", ")),
    };
    let issuer = escaped(&certificate.issuer);
    (
        mark,
        format!("Its certificate is for {names}, {when}, issued by {issuer}"),
    )
}

pub(super) fn no_session(error: &HandshakeError) -> Finding {
    const WHY: &str = "No request can be sent before the handshake has succeeded.";
    let text = escaped(&error.text);
    let end = if text.ends_with('?') { "" } else { "." };
    let found = format!("There is no TLS session: {text}{end}");
    let finding = Finding::new("tls", Mark::Bad, found, WHY);
    match error.cure {
        Cure::Renew => {
            finding.advice("Have the certificate renewed there, or set the clock of this machine right.")
        }
        Cure::Name => finding
            .advice("Connect by a name that the certificate has, or give such a name with --server-name."),
        Cure::Trust => finding.advice(
            "Give the certificate of its authority with --ca, or let the server send its whole chain.",
        ),
        Cure::Identity => finding.advice("Give a certificate that the server accepts with --cert and --key."),
        Cure::Read => finding,
    }
}

/// The finding of a check that was named and can't be run for this endpoint.
pub(super) fn absent(check: &'static str, destination: &Destination) -> Finding {
    const WHY: &str = "A check that can't be made says nothing, good or bad.";
    let to = &destination.endpoint;
    let found = match (check, to) {
        ("resolve", _) => format!("There is no name to look up in {to}."),
        ("tls", Endpoint::Tcp(_) | Endpoint::Unix(_)) => {
            format!("There is no TLS towards {to}: only tls:// has a handshake.")
        }
        ("path" | "ports-to", Endpoint::Unix(_)) => {
            format!("A Unix socket has neither a path across a network nor ports: {to}.")
        }
        _ => format!("There is no connection to {to} to look at."),
    };
    Finding::new(check, Mark::Unknown, found, WHY)
}
