//! Judges a process by its sockets. Pure. `quality` judges how its connections transmit.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
};

use millpond::kernel::{SocketQueue, TcpSocket, TcpState};

use super::{
    facts::{Facts, Seen, Source, Unseen},
    peer::Peer,
    quality,
};
use crate::{
    commands::doctor::{
        finding::{Finding, Mark},
        reuse::TIME_WAIT,
        towards::PortsTowards,
    },
    numbers::{counted, rate, rounded, thousands},
    text::escaped,
};

/// Shares of its file limit: the first is a warning; at the second the files are nearly used up.
const MANY_FILES: f64 = 0.8;
const NEARLY_ALL_FILES: f64 = 0.95;

/// The most peers that are named.
const NAMED: usize = 8;

/// From this many unclosed connections on, the process leaks them and will use up its files.
const MANY_UNCLOSED: usize = 100;

/// From this many new connections a second to one destination on, there is probably one for each
/// request.
const CONNECTIONS_A_SECOND: f64 = 10.0;

/// The share of the ports towards a destination from which on they are mentioned.
const WORTH_TELLING: f64 = 0.1;

pub(super) fn all(facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![descriptors(facts)];
    match &facts.sockets {
        Err(unseen) => findings.push(not_seen("process-sockets", facts, unseen)),
        Ok(seen) => {
            findings.push(sockets(facts, seen));
            // A process that opens a connection for each request often has none open at the moment.
            if !(seen.own.is_empty() && seen.destinations.is_empty()) {
                findings.extend([
                    quality::transmission(seen),
                    close_wait(facts, seen),
                    time_wait(seen),
                    listeners(seen),
                ]);
            }
        }
    }
    findings
}

fn descriptors(facts: &Facts) -> Finding {
    const CHECK: &str = "process-descriptors";
    const WHY: &str = "Each socket takes a file descriptor; when none is left, connecting and accepting fail (EMFILE).";
    let whose = whose(facts);
    let (Some(open), Some(limit)) = (facts.descriptors.open, facts.descriptors.soft_limit) else {
        let found = format!("The open files of process {whose} and their limit can't be read.");
        return Finding::new(CHECK, Mark::Unknown, found, WHY)
            .advice("Run this as its user, or as root.");
    };
    let share = open as f64 / limit.max(1) as f64;
    let mark = match share {
        share if share >= NEARLY_ALL_FILES => Mark::Bad,
        share if share >= MANY_FILES => Mark::Warning,
        _ => Mark::Good,
    };
    let of = match limit {
        u64::MAX => String::from("without a limit"),
        limit => format!("of the {} that it may", thousands(limit)),
    };
    let found = format!(
        "Process {whose} has {} open {of}.",
        counted(open, "file", "files")
    );
    let finding = Finding::new(CHECK, mark, found, WHY)
        .figure("open", open)
        .figure("soft_limit", limit);
    match mark {
        Mark::Good => finding,
        _ => finding.advice(
            "Raise its limit (LimitNOFILE= of its systemd unit, or `ulimit -n` before it starts), and look whether it leaks \
             connections.",
        ),
    }
}

fn not_seen(check: &'static str, facts: &Facts, unseen: &Unseen) -> Finding {
    let whose = whose(facts);
    let (found, advice) = match unseen {
        Unseen::NotAllowed => (
            format!(
                "The sockets of process {whose} may not be read: it belongs to another user, or is protected."
            ),
            "Run this as its user, or as root; in a container that needs the right to trace (CAP_SYS_PTRACE).",
        ),
        Unseen::Failed(error) => (
            format!(
                "The sockets of process {whose} can't be read: {}.",
                escaped(error)
            ),
            "Check that /proc is mounted and that netlink is allowed.",
        ),
    };
    const WHY: &str = "Without them nothing can be said of its connections.";
    Finding::new(check, Mark::Unknown, found, WHY).advice(advice)
}

/// The finding of a check that was named and wasn't made.
pub(super) fn absent(check: &'static str, facts: &Facts) -> Finding {
    match &facts.sockets {
        Err(unseen) => not_seen(check, facts, unseen),
        Ok(_) => Finding::new(check, Mark::Good, no_socket(facts), SOCKETS_WHY),
    }
}

const SOCKETS_WHY: &str = "A pool keeps few connections to each peer, open and in use.";

fn no_socket(facts: &Facts) -> String {
    format!(
        "Process {} has no TCP socket open at the moment.",
        whose(facts)
    )
}

/// The text for connections that were seen, but are already closed.
fn passing(facts: &Facts, seen: &Seen) -> String {
    let mut peers: Vec<_> = seen.destinations.iter().copied().collect();
    peers.sort_unstable();
    let named = peers.iter().take(NAMED).map(SocketAddr::to_string);
    format!(
        "No TCP socket of process {} stays open, but within half a second it was connected to {}{}.",
        whose(facts),
        named.collect::<Vec<_>>().join(", "),
        and_more(peers.len())
    )
}

fn sockets(facts: &Facts, seen: &Seen) -> Finding {
    let mut states: BTreeMap<TcpState, usize> = BTreeMap::new();
    for socket in &seen.own {
        *states.entry(socket.state).or_default() += 1;
    }
    let states: Vec<_> = states
        .iter()
        .map(|(state, count)| format!("{} {state}", thousands(*count as u64)))
        .collect();
    let mut found = match seen.own.len() as u64 {
        0 if seen.destinations.is_empty() => no_socket(facts),
        0 => passing(facts, seen),
        count => format!(
            "Process {} has {} open: {}.",
            whose(facts),
            counted(count, "TCP socket", "TCP sockets"),
            states.join(", ")
        ),
    };
    let peers = peers(seen);
    if !peers.is_empty() {
        found += &format!(" Connections: {}.", listed(&peers));
    }
    found += &match &seen.source {
        Source::Netlink => String::new(),
        Source::Proc(refused) => format!(
            " This is from /proc alone, because netlink was refused: {}.",
            escaped(refused)
        ),
        Source::OtherNamespace => String::from(
            " It is in another network namespace than this program (a container), so this is from /proc alone.",
        ),
    };
    Finding::new("process-sockets", Mark::Good, found, SOCKETS_WHY)
        .figure("sockets", seen.own.len())
        .figure("peers", peers.len())
}

fn close_wait(facts: &Facts, seen: &Seen) -> Finding {
    const CHECK: &str = "process-close-wait";
    const WHY: &str = "The peer has closed these connections and the process hasn't. Each takes a file until the process closes it, and \
                       a request that is sent on it is lost.";
    let lasts = |socket: &&TcpSocket| {
        socket
            .inode
            .is_some_and(|inode| seen.lasting_close_wait.contains(&inode))
    };
    let lasting: Vec<_> = seen.own.iter().filter(lasts).collect();
    let unread = lasting
        .iter()
        .filter(|socket| unread_bytes(socket) > END)
        .count();
    let read_to_end = lasting
        .iter()
        .filter(|socket| unread_bytes(socket) < END)
        .count();
    let share = match facts.descriptors.soft_limit {
        Some(limit) => lasting.len() as f64 / limit.max(1) as f64,
        None => 0.0,
    };
    let mark = match lasting.len() {
        0 => Mark::Good,
        count if count >= MANY_UNCLOSED || unread > 0 || share > 0.1 => Mark::Bad,
        _ => Mark::Warning,
    };
    let found = match lasting.len() {
        0 => String::from("No connection stays in CLOSE_WAIT."),
        count => {
            let data = match (unread, read_to_end) {
                (0, 0) => String::from(" (the process hasn't looked at them since)"),
                (0, read_to_end) => {
                    let read_to_end = thousands(read_to_end as u64);
                    format!(" (the process has read the end of {read_to_end}, and not closed them)")
                }
                (unread, _) => {
                    let unread = thousands(unread as u64);
                    format!(" ({unread} of them with bytes that the process hasn't read)")
                }
            };
            let peers = grouped(seen, lasting.iter().copied());
            format!("{} in CLOSE_WAIT{data}: {}.", stay(count), listed(&peers))
        }
    };
    let finding = Finding::new(CHECK, mark, found, WHY)
        .figure("close_wait", lasting.len())
        .figure("with_unread_bytes", unread);
    match mark {
        Mark::Good => finding,
        _ => finding.advice(
            "The process has to notice the end and close: read idle connections (a pool that watches them does), close them where \
             an error path returns early, and keep the pool's idle_timeout below the peer's.",
        ),
    }
}

fn time_wait(seen: &Seen) -> Finding {
    const CHECK: &str = "process-time-wait";
    const WHY: &str = "The side that closes first keeps the pair of addresses and ports for 60 s. Thousands of them are a connection for \
                       each request, and when the ports towards a peer are used up connecting fails (EADDRNOTAVAIL).";
    let towards = seen.remnants_towards();
    let total: u32 = towards.iter().map(|(_, count)| count).sum();
    let a_second = f64::from(total) / TIME_WAIT.as_secs_f64();
    let most = towards.first().map_or(0, |(_, count)| *count);
    let used_up = seen
        .ports
        .iter()
        .map(PortsTowards::share)
        .fold(0.0, f64::max);
    let worst = seen.ports.iter().map(PortsTowards::mark).max();
    let mark = match f64::from(most) / TIME_WAIT.as_secs_f64() {
        _ if worst == Some(Mark::Bad) => Mark::Bad,
        rate if rate >= CONNECTIONS_A_SECOND => Mark::Warning,
        _ => Mark::Good,
    };
    let mut found = match total {
        0 => String::from("No socket is in TIME_WAIT towards peers of this process."),
        total => {
            let peers: Vec<_> = towards
                .iter()
                .map(|(peer, count)| (Peer::To(*peer), *count as usize))
                .collect();
            format!(
                "{} in TIME_WAIT towards peers of this process, which is at least {} new connections a second: {}. Such sockets have no \
                 owner, so some may be other processes'.",
                counted(total.into(), "socket", "sockets"),
                shown(a_second),
                listed(&peers)
            )
        }
    };
    for ports in seen
        .ports
        .iter()
        .filter(|ports| ports.share() >= WORTH_TELLING)
    {
        found += &format!(" {}", ports.in_use());
    }
    let accepted = seen
        .remnants
        .iter()
        .filter(|remnant| is_at_own_listener(seen, remnant))
        .count();
    if accepted > 0 {
        found += &format!(
            " Of connections that it accepted and closed first: {}.",
            thousands(accepted as u64)
        );
    }
    let finding = Finding::new(CHECK, mark, found, WHY)
        .figure("towards_peers", total)
        .figure("of_accepted", accepted)
        .figure("connections_per_second", rounded(a_second, 1))
        .figure("share_of_ports_in_use", rounded(used_up, 3));
    match mark {
        Mark::Good => finding,
        _ => finding.advice(format!(
            "Keep connections and share them (a pool): that saves about {} handshakes a second, the round trip before each \
             request, and {} ports.",
            shown(a_second),
            thousands(total.into())
        )),
    }
}

/// A number per second: whole, unless it is small.
fn shown(a_second: f64) -> String {
    match a_second {
        few if few < 10.0 => rounded(few, 1).to_string(),
        many => rate(many),
    }
}

fn listeners(seen: &Seen) -> Finding {
    const CHECK: &str = "process-listeners";
    const WHY: &str = "A connection waits in the listener's queue until the process accepts it. When the queue is full new connections \
                       are dropped, and their clients wait for a second or more.";
    let queues: Vec<_> = seen.own.iter().filter_map(queue).collect();
    if queues.is_empty() {
        return Finding::new(CHECK, Mark::Good, "It doesn't listen.", WHY).figure("listeners", 0);
    }
    let marks = queues.iter().map(|(_, waiting, limit)| match limit {
        // The kernel lets in one more than the limit.
        Some(limit) if waiting >= limit && *waiting > 0 => Mark::Bad,
        Some(limit) if u64::from(*waiting) * 2 >= u64::from(*limit) && *waiting > 0 => {
            Mark::Warning
        }
        None if *waiting > 0 => Mark::Unknown,
        _ => Mark::Good,
    });
    let mark = marks.max().unwrap_or(Mark::Good);
    let mut fullest = queues.clone();
    fullest.sort_by_key(|(_, waiting, _)| std::cmp::Reverse(*waiting));
    let queued = fullest
        .iter()
        .take(NAMED)
        .map(|(at, waiting, limit)| match limit {
            Some(limit) => format!(
                "{at}, {} of at most {} waiting",
                thousands(u64::from(*waiting)),
                thousands(u64::from(*limit))
            ),
            None => format!("{at}, {} waiting", thousands(u64::from(*waiting))),
        });
    let queued: Vec<_> = queued.collect();
    let mut found = format!(
        "It listens: {}{}.",
        queued.join("; "),
        and_more(queues.len())
    );
    if mark == Mark::Unknown {
        found += " Only netlink shows how many may wait.";
    }
    let finding = Finding::new(CHECK, mark, found, WHY)
        .figure("listeners", queues.len())
        .figure(
            "waiting",
            queues
                .iter()
                .map(|(_, waiting, _)| u64::from(*waiting))
                .sum::<u64>(),
        );
    match mark {
        Mark::Warning | Mark::Bad => finding.advice(
            "It doesn't accept as fast as clients connect: let it accept in a task of its own, give listen a longer backlog (and raise \
             net.core.somaxconn, which cuts it), or let the clients keep their connections.",
        ),
        _ => finding,
    }
}

/// The address of a listener, how many connections wait, and how many may.
fn queue(socket: &TcpSocket) -> Option<(SocketAddr, u32, Option<u32>)> {
    match socket.queue {
        SocketQueue::Connections { waiting, limit } => Some((socket.local, waiting, limit)),
        _ => None,
    }
}

/// The peer's FIN counts as a byte until the process has read it.
const END: u32 = 1;

fn unread_bytes(socket: &TcpSocket) -> u32 {
    match socket.queue {
        SocketQueue::Bytes { received, .. } => received,
        _ => 0,
    }
}

fn is_at_own_listener(seen: &Seen, remnant: &TcpSocket) -> bool {
    let mut listeners = seen
        .own
        .iter()
        .filter(|socket| socket.state == TcpState::Listen);
    listeners.any(|listener| listener.local.port() == remnant.local.port())
}

fn peers(seen: &Seen) -> Vec<(Peer, usize)> {
    let connected =
        |socket: &&TcpSocket| !matches!(socket.state, TcpState::Listen | TcpState::Closed);
    grouped(seen, seen.own.iter().filter(connected))
}

/// By peer, those with the most first.
fn grouped<'s>(seen: &Seen, sockets: impl Iterator<Item = &'s TcpSocket>) -> Vec<(Peer, usize)> {
    let mut counts: HashMap<Peer, usize> = HashMap::new();
    for socket in sockets {
        *counts.entry(Peer::of(seen, socket)).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(peer, count)| (std::cmp::Reverse(*count), *peer));
    counts
}

fn listed(peers: &[(Peer, usize)]) -> String {
    let named = peers.iter().take(NAMED);
    let named: Vec<_> = named
        .map(|(peer, count)| format!("{} {peer}", thousands(*count as u64)))
        .collect();
    format!("{}{}", named.join(", "), and_more(peers.len()))
}

fn and_more(count: usize) -> String {
    match count.saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {} more", thousands(more as u64)),
    }
}

fn stay(count: usize) -> String {
    match count {
        1 => String::from("1 connection stays"),
        count => format!("{} connections stay", thousands(count as u64)),
    }
}

/// `4711 (app)`.
fn whose(facts: &Facts) -> String {
    format!("{} ({})", facts.pid, escaped(&facts.name))
}
