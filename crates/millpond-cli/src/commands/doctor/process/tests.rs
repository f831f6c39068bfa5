//! Made-up processes for each judgement.

use std::{net::SocketAddr, time::Duration};

use millpond::kernel::{SocketQueue, TcpInfo, TcpSocket, TcpState};

use super::{
    facts::{Facts, Look, OpenDescriptors, Seen, Source, Unseen, inode, soft_limit},
    judge,
};
use crate::commands::doctor::{
    finding::{Finding, Mark},
    ports::PortRange,
    sockets::Uses,
    towards::PortsTowards,
};

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn peer() -> SocketAddr {
    at("10.0.0.1:5432")
}

/// One of the process's sockets, to [`peer`].
fn socket(number: u64, state: TcpState) -> TcpSocket {
    let local = SocketAddr::from(([10, 0, 0, 9], 40_000 + number as u16));
    let mut socket = TcpSocket::new(state, local, peer());
    socket.inode = Some(number);
    socket
}

fn connection(number: u64, transmission: TcpInfo) -> TcpSocket {
    let mut socket = socket(number, TcpState::Established);
    socket.tcp_info = Some(transmission);
    socket
}

/// One whose round-trip time is so many milliseconds.
fn quick(rtt: u64) -> TcpInfo {
    let mut transmission = TcpInfo::default();
    transmission.rtt = Duration::from_millis(rtt);
    transmission
}

fn listener(waiting: u32, limit: Option<u32>) -> TcpSocket {
    let mut listener = TcpSocket::new(TcpState::Listen, at("0.0.0.0:7070"), at("0.0.0.0:0"));
    listener.inode = Some(900);
    listener.queue = SocketQueue::Connections { waiting, limit };
    listener
}

fn process(seen: Seen) -> Facts {
    Facts {
        pid: 4_711,
        name: String::from("app\x1b"),
        descriptors: OpenDescriptors {
            open: Some(10),
            soft_limit: Some(1_024),
        },
        sockets: Ok(seen),
    }
}

fn owning(own: Vec<TcpSocket>) -> Seen {
    Seen {
        own,
        destinations: [peer()].into(),
        ..Seen::default()
    }
}

fn judged(check: &str, facts: &Facts) -> Finding {
    let all = judge::all(facts);
    let found = all.iter().find(|finding| finding.check == check);
    found
        .unwrap_or_else(|| panic!("no {check} in {all:?}"))
        .clone()
}

fn mark(check: &str, facts: &Facts) -> Mark {
    judged(check, facts).mark
}

#[test]
fn the_fewer_files_are_left_the_worse() {
    let marks = [819, 820, 972, 973].map(|open| {
        let mut facts = process(Seen::default());
        facts.descriptors.open = Some(open);
        mark("process-descriptors", &facts)
    });
    assert_eq!(marks, [Mark::Good, Mark::Warning, Mark::Warning, Mark::Bad]);
    let mut facts = process(Seen::default());
    facts.descriptors = OpenDescriptors::default();
    assert_eq!(mark("process-descriptors", &facts), Mark::Unknown);
}

#[test]
fn sockets_that_may_not_be_read_are_unknown_with_what_to_do() {
    let mut facts = process(Seen::default());
    facts.sockets = Err(Unseen::NotAllowed);
    let finding = judged("process-sockets", &facts);
    assert_eq!(finding.mark, Mark::Unknown);
    assert!(finding.advice.is_some_and(|advice| advice.contains("root")));
    facts.sockets = Err(Unseen::Failed(String::from("no /proc")));
    let finding = judged("process-sockets", &facts);
    assert!(finding.found.contains("no /proc"), "{}", finding.found);
    assert_eq!(judge::all(&facts).len(), 2);
}

#[test]
fn sockets_are_counted_by_state_and_by_peer_and_names_are_escaped() {
    let mut accepted = socket(3, TcpState::Established);
    accepted.local = at("10.0.0.9:7070");
    let mut seen = owning(vec![
        listener(0, Some(128)),
        accepted,
        socket(4, TcpState::Established),
        socket(5, TcpState::CloseWait),
    ]);
    seen.listening.insert(7_070);
    let found = judged("process-sockets", &process(seen)).found;
    assert_eq!(
        found,
        "Process 4711 (app\\u{1b}) has 4 TCP sockets open: 2 ESTABLISHED, 1 CLOSE_WAIT, 1 LISTEN. Connections: 2 to 10.0.0.1:5432, 1 from 10.0.0.1."
    );
}

#[test]
fn the_source_is_named_where_it_was_not_netlink() {
    let mut seen = owning(vec![socket(1, TcpState::Established)]);
    seen.source = Source::Proc(String::from("sandboxed"));
    let facts = process(seen);
    assert!(
        judged("process-sockets", &facts)
            .found
            .contains("sandboxed")
    );
    assert_eq!(mark("process-transmission", &facts), Mark::Unknown);
    let mut seen = owning(vec![socket(1, TcpState::Established)]);
    seen.source = Source::OtherNamespace;
    let facts = process(seen);
    assert!(
        judged("process-sockets", &facts)
            .found
            .contains("another network namespace")
    );
    let advice = judged("process-transmission", &facts).advice;
    assert!(advice.is_some_and(|advice| advice.contains("nsenter")));
}

#[test]
fn timeouts_in_a_row_are_a_peer_that_is_gone() {
    let with_timeouts = |timeouts| {
        let mut troubled = quick(20);
        troubled.timeouts = timeouts;
        troubled.retransmits = 7;
        owning(vec![
            connection(1, quick(10)),
            connection(2, quick(11)),
            connection(3, troubled),
        ])
    };
    let marks = [0, 1, 2, 4, 5]
        .map(|timeouts| mark("process-transmission", &process(with_timeouts(timeouts))));
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
    let found = judged("process-transmission", &process(with_timeouts(5))).found;
    assert_eq!(
        found,
        "3 connections, round-trip time 11 ms at the median, 20 ms at worst (to 10.0.0.1:5432), 7 segments sent again in all. The \
         worst: to 10.0.0.1:5432: 5 timeouts in a row, 7 segments sent again."
    );
}

#[test]
fn connecting_without_an_answer_is_shown() {
    let mut connecting = socket(1, TcpState::SynSent);
    connecting.tcp_info = Some(TcpInfo::default());
    assert_eq!(
        mark("process-transmission", &process(owning(vec![connecting]))),
        Mark::Good
    );
    let mut asked_again = TcpInfo::default();
    asked_again.timeouts = 1;
    connecting.tcp_info = Some(asked_again);
    let finding = judged("process-transmission", &process(owning(vec![connecting])));
    assert_eq!(finding.mark, Mark::Warning);
    assert!(
        finding
            .found
            .contains("1 attempt to connect without an answer"),
        "{}",
        finding.found
    );
}

#[test]
fn connections_that_stay_in_close_wait_are_a_leak() {
    let leaking = |count: u64, lasting: u64, received: u32| {
        let mut own: Vec<_> = (1..=count)
            .map(|number| socket(number, TcpState::CloseWait))
            .collect();
        if let Some(first) = own.first_mut() {
            first.queue = SocketQueue::Bytes {
                received,
                unacknowledged: 0,
            };
        }
        let mut seen = owning(own);
        seen.lasting_close_wait = (1..=lasting).collect();
        process(seen)
    };
    // Those that weren't there before may be closed the next moment.
    assert_eq!(mark("process-close-wait", &leaking(3, 0, 0)), Mark::Good);
    assert_eq!(mark("process-close-wait", &leaking(3, 3, 0)), Mark::Warning);
    // An end that isn't read yet counts as a byte.
    assert_eq!(mark("process-close-wait", &leaking(3, 3, 1)), Mark::Warning);
    assert_eq!(mark("process-close-wait", &leaking(3, 3, 2)), Mark::Bad);
    assert_eq!(
        mark("process-close-wait", &leaking(100, 99, 0)),
        Mark::Warning
    );
    assert_eq!(mark("process-close-wait", &leaking(100, 100, 0)), Mark::Bad);
    let mut few_files = leaking(3, 3, 0);
    few_files.descriptors.soft_limit = Some(20);
    assert_eq!(mark("process-close-wait", &few_files), Mark::Bad);
}

#[test]
fn many_remnants_towards_its_peers_are_a_connection_for_each_request() {
    let with_remnants = |count: u16, peer: SocketAddr| {
        let mut seen = owning(vec![socket(1, TcpState::Established)]);
        seen.remnants = (0..count)
            .map(|number| {
                let local = SocketAddr::from(([10, 0, 0, 9], 10_000 + number));
                TcpSocket::new(TcpState::TimeWait, local, peer)
            })
            .collect();
        seen
    };
    let marks = [0, 599, 600]
        .map(|count| mark("process-time-wait", &process(with_remnants(count, peer()))));
    assert_eq!(marks, [Mark::Good, Mark::Good, Mark::Warning]);
    let elsewhere = process(with_remnants(5_000, at("10.0.0.2:80")));
    assert_eq!(mark("process-time-wait", &elsewhere), Mark::Good);

    let finding = judged("process-time-wait", &process(with_remnants(1_200, peer())));
    assert!(
        finding.found.contains("20 new connections a second"),
        "{}",
        finding.found
    );
    assert!(
        finding
            .advice
            .is_some_and(|advice| advice.contains("20 handshakes a second"))
    );

    let mut used_up = with_remnants(10, peer());
    let towards = |held| PortsTowards {
        destination: peer(),
        range: PortRange {
            first: 40_000,
            last: 40_099,
        },
        reserved: 0,
        uses: Uses {
            ports: 80,
            time_wait: 10,
        },
        held,
        lasting_rate: None,
    };
    used_up.ports = vec![towards(80)];
    let mut facts = process(used_up);
    let finding = judged("process-time-wait", &facts);
    assert_eq!(finding.mark, Mark::Bad);
    let end = "In use towards 10.0.0.1:5432: 80, 10 of them in TIME_WAIT.";
    assert!(finding.found.ends_with(end), "{}", finding.found);
    // What may be taken again at once is nothing that connecting fails by.
    if let Ok(seen) = &mut facts.sockets {
        seen.ports = vec![towards(70)];
    }
    assert_eq!(mark("process-time-wait", &facts), Mark::Good);

    // The process has closed first what others had opened: that costs no port.
    let mut accepted = owning(vec![listener(0, Some(128))]);
    accepted.listening.insert(7_070);
    accepted.remnants = vec![TcpSocket::new(
        TcpState::TimeWait,
        at("10.0.0.9:7070"),
        peer(),
    )];
    let finding = judged("process-time-wait", &process(accepted));
    assert_eq!(
        (
            &finding.figures["towards_peers"],
            &finding.figures["of_accepted"]
        ),
        (&0.into(), &1.into())
    );
}

#[test]
fn a_full_accept_queue_is_bad() {
    let with_queue = |waiting, limit| process(owning(vec![listener(waiting, limit)]));
    let marks = [
        (0, Some(128)),
        (63, Some(128)),
        (64, Some(128)),
        (128, Some(128)),
        (0, Some(0)),
        (1, Some(0)),
    ]
    .map(|(waiting, limit)| mark("process-listeners", &with_queue(waiting, limit)));
    assert_eq!(
        marks,
        [
            Mark::Good,
            Mark::Good,
            Mark::Warning,
            Mark::Bad,
            Mark::Good,
            Mark::Bad
        ]
    );
    assert_eq!(
        mark("process-listeners", &with_queue(5, None)),
        Mark::Unknown
    );
    assert_eq!(mark("process-listeners", &with_queue(0, None)), Mark::Good);
    let deaf = process(owning(vec![socket(1, TcpState::Established)]));
    assert_eq!(mark("process-listeners", &deaf), Mark::Good);
}

#[test]
fn looks_add_up_to_what_lasts_and_whom_it_has_dialled() {
    let mut seen = Seen::default();
    let own = [1, 2, 3, 4, 900].into();
    let close_wait = |number| socket(number, TcpState::CloseWait);
    let mut passing = socket(4, TcpState::Established);
    passing.peer = at("10.0.0.3:443");
    let mut accepted = socket(3, TcpState::Established);
    (accepted.local, accepted.peer) = (at("10.0.0.9:7070"), at("10.0.0.8:50000"));
    let first = vec![
        close_wait(1),
        close_wait(2),
        passing,
        accepted,
        listener(0, None),
    ];
    seen.take_in(first, &own, Look::First);
    seen.take_in(
        vec![close_wait(1), accepted, listener(0, None)],
        &own,
        Look::Passing,
    );
    // One that changes meanwhile comes twice, and another is of another process.
    let last = vec![
        close_wait(2),
        close_wait(2),
        close_wait(99),
        TcpSocket::new(TcpState::TimeWait, at("10.0.0.9:41000"), at("10.0.0.3:443")),
        TcpSocket::new(
            TcpState::TimeWait,
            at("10.0.0.9:7070"),
            at("10.0.0.8:50001"),
        ),
        TcpSocket::new(TcpState::TimeWait, at("10.0.0.9:41001"), at("10.0.0.4:443")),
        close_wait(1),
        listener(0, None),
    ];
    seen.take_in(last, &own, Look::Last);
    let numbers: Vec<_> = seen.own.iter().filter_map(|socket| socket.inode).collect();
    assert_eq!(numbers, [2, 1, 900]);
    assert_eq!(seen.lasting_close_wait, [1].into());
    assert_eq!(seen.destinations, [peer(), at("10.0.0.3:443")].into());
    assert_eq!(seen.remnants_towards(), [(at("10.0.0.3:443"), 1)]);
}

#[test]
fn the_files_of_proc_are_read() {
    assert_eq!(inode("socket:[4711]"), Some(4_711));
    for other in ["/dev/null", "pipe:[1]", "socket:[x]", "socket:[1", ""] {
        assert_eq!(inode(other), None, "{other}");
    }
    let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                  Max open files            1024                 524288               files\n";
    assert_eq!(soft_limit(limits), Some(1_024));
    assert_eq!(
        soft_limit("Max open files unlimited unlimited files"),
        Some(u64::MAX)
    );
    assert_eq!(soft_limit("Max open files\n"), None);
    assert_eq!(soft_limit(""), None);
}

#[test]
fn a_process_between_two_connections_is_judged_by_its_remnants_all_the_same() {
    let mut seen = owning(Vec::new());
    seen.remnants = vec![TcpSocket::new(TcpState::TimeWait, at("10.0.0.9:40000"), peer()); 900];
    let facts = process(seen);
    assert_eq!(mark("process-time-wait", &facts), Mark::Warning);
    let found = judged("process-sockets", &facts).found;
    assert!(
        found.contains("it was connected to 10.0.0.1:5432."),
        "{found}"
    );
    assert_eq!(judge::all(&process(Seen::default())).len(), 2);
}
