//! What the kernel says of real sockets on loopback. Where it can't be asked (a sandbox that
//! refuses netlink), the tests say so and check that the answer is an error.

use std::{
    io::{Read, Write},
    net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use millpond_kernel::{
    Facts, SocketDetail, SocketSource, TcpInfo, TcpSocket, TcpState, descriptor_limits, explain,
    port_use, port_use_from, sockets, sockets_beside, tcp_info,
};

/// The answers, or `None` where netlink is refused: then it was quick to say so.
fn ask(pairs: &[(SocketAddr, SocketAddr)]) -> Option<Vec<Option<TcpInfo>>> {
    let begin = Instant::now();
    match tcp_info(pairs) {
        Ok(answers) => {
            assert_eq!(answers.len(), pairs.len());
            Some(answers)
        }
        Err(error) => {
            assert!(begin.elapsed() < Duration::from_secs(5), "it hung");
            eprintln!("SKIPPED: the kernel can't be asked here: {error}");
            None
        }
    }
}

/// A listener, or `None` where this address can't be had.
fn listen(address: &str) -> Option<TcpListener> {
    TcpListener::bind(address)
        .inspect_err(|error| eprintln!("SKIPPED: {address} can't be bound: {error}"))
        .ok()
}

/// Connects to the listener at `address`, and sends a few bytes there and back.
fn exchange(listener: &TcpListener, address: SocketAddr) -> (TcpStream, TcpStream) {
    let mut near = TcpStream::connect(address).expect("connects");
    let (mut far, _) = listener.accept().expect("accepts");
    let mut bytes = [0; 4];
    near.write_all(b"ping").expect("sends");
    far.read_exact(&mut bytes).expect("receives");
    far.write_all(b"pong").expect("sends");
    near.read_exact(&mut bytes).expect("receives");
    (near, far)
}

fn ends(stream: &TcpStream) -> (SocketAddr, SocketAddr) {
    (
        stream.local_addr().expect("an address"),
        stream.peer_addr().expect("an address"),
    )
}

#[test]
fn a_live_connection_has_a_round_trip_time_and_a_gone_one_nothing() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let Some(listener) = listen(address) else {
            continue;
        };
        let (near, far) = exchange(&listener, listener.local_addr().expect("an address"));
        let (closed, accepted) = exchange(&listener, listener.local_addr().expect("an address"));
        let pairs = [ends(&near), ends(&far), ends(&closed), ends(&accepted)];
        drop(closed);
        drop(accepted);
        let Some(answers) = ask(&pairs) else { return };
        for answer in &answers[..2] {
            let tcp_info = answer.expect("it is live");
            assert!(tcp_info.rtt > Duration::ZERO, "{tcp_info:?}");
            assert!(tcp_info.rtt < Duration::from_secs(5), "{tcp_info:?}");
        }
        // The accepted one had the listener's address: what listens there isn't it.
        assert_eq!(answers[2..], [None, None]);
    }
}

#[test]
fn a_connection_that_only_the_peer_has_closed_is_still_here() {
    let listener = listen("127.0.0.1:0").expect("loopback");
    let (mut near, far) = exchange(&listener, listener.local_addr().expect("an address"));
    let pairs = [ends(&near), ends(&far)];
    drop(far);
    assert_eq!(near.read(&mut [0]).expect("an end"), 0);
    let Some(answers) = ask(&pairs) else { return };
    assert!(answers[0].is_some());
    assert_eq!(answers[1], None);
}

#[test]
fn a_v4_connection_of_a_v6_socket_is_found_by_both_of_its_names() {
    let Some(listener) = listen("[::]:0") else {
        return;
    };
    let port = listener.local_addr().expect("an address").port();
    let (near, far) = exchange(&listener, SocketAddr::from(([127, 0, 0, 1], port)));
    let mapped = ends(&far);
    assert!(mapped.0.is_ipv6(), "{mapped:?}");
    let plain = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    let pairs = [ends(&near), mapped, (plain(mapped.0), plain(mapped.1))];
    let Some(answers) = ask(&pairs) else { return };
    assert!(answers.iter().all(Option::is_some), "{answers:?}");
}

#[test]
fn of_hundreds_each_gets_its_own_answer() {
    let listener = listen("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("an address");
    let streams: Vec<_> = (0..300).map(|_| exchange(&listener, address)).collect();
    let mut pairs: Vec<_> = streams
        .iter()
        .flat_map(|(near, far)| [ends(near), ends(far)])
        .collect();
    // Nobody ever had these.
    pairs.push((address, address));
    pairs.push((address, SocketAddr::from((Ipv6Addr::LOCALHOST, 1))));
    let mut index = 0..;
    let mut kept = streams;
    kept.retain(|_| {
        index
            .next()
            .is_some_and(|index: usize| !index.is_multiple_of(3))
    });
    // Both when all are asked for, which is most of what the machine has, and when few are.
    for asked in [pairs.len(), 50] {
        let asked = &pairs[pairs.len() - asked..];
        let Some(answers) = ask(asked) else { return };
        let first = pairs.len() - asked.len();
        for (offset, answer) in answers.iter().enumerate() {
            let index = first + offset;
            let live = index < 600 && (index / 2) % 3 != 0;
            assert_eq!(answer.is_some(), live, "{index} of {}", asked.len());
        }
    }
    assert_eq!(tcp_info(&[]).expect("nothing to ask").len(), 0);
}

#[test]
fn what_waits_for_a_deaf_peer_is_told_until_it_is_closed_here() {
    let listener = listen("127.0.0.1:0").expect("loopback");
    let (mut near, far) = exchange(&listener, listener.local_addr().expect("an address"));
    near.set_nonblocking(true).expect("an option");
    while near.write(&[0; 65_536]).is_ok() {}
    let Some(answers) = ask(&[ends(&near)]) else {
        return;
    };
    let tcp_info = answers[0].expect("it is live");
    assert!(
        tcp_info.unsent.is_none_or(|bytes| bytes > 0),
        "{tcp_info:?}"
    );
    drop(far);
}

#[test]
fn live_connections_to_a_listener_are_counted() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let Some(listener) = listen(address) else {
            continue;
        };
        let destination = listener.local_addr().expect("an address");
        let streams: Vec<_> = (0..40).map(|_| exchange(&listener, destination)).collect();
        let ports = match port_use(destination) {
            Ok(ports) => ports,
            Err(error) => {
                eprintln!("SKIPPED: the kernel can't be asked here: {error}");
                return;
            }
        };
        assert_eq!(
            (ports.in_use_towards, ports.in_time_wait_towards),
            (40, 0),
            "{ports}"
        );
        assert_eq!(ports.source, Some(destination.ip()));
        assert_eq!(ports.free(), ports.available() - 40);
        assert!(ports.first <= ports.last);

        // Closed by this side first, they stay in TIME_WAIT.
        for (near, mut far) in streams.into_iter().take(10) {
            drop(near);
            assert_eq!(far.read(&mut [0]).expect("an end"), 0);
            drop(far);
        }
        let from =
            port_use_from(destination.ip(), destination).expect("it could be asked just now");
        assert!(from.in_time_wait_towards <= from.in_use_towards, "{from}");
        assert!(from.in_time_wait_towards > 0, "{from}");
    }
}

#[test]
fn ports_are_counted_for_each_local_address_and_for_mapped_destinations() {
    // At an address of its own: no port that another test has just used towards 127.0.0.1 counts.
    let listener = listen("127.0.0.9:0").expect("loopback");
    let destination = listener.local_addr().expect("an address");
    let dial_from = |source: [u8; 4]| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
            .expect("a socket");
        socket
            .bind(&SocketAddr::from((source, 0)).into())
            .expect("an address of loopback");
        socket.connect(&destination.into()).expect("connects");
        socket
    };
    let few: Vec<_> = (0..3).map(|_| dial_from([127, 0, 0, 3])).collect();
    let many: Vec<_> = (0..5).map(|_| dial_from([127, 0, 0, 5])).collect();
    let Ok(most) = port_use(destination) else {
        eprintln!("SKIPPED: the kernel can't be asked here");
        return;
    };
    assert_eq!(
        (most.source, most.in_use_towards),
        (Some([127, 0, 0, 5].into()), 5)
    );
    let from = |source: [u8; 4]| {
        port_use_from(source.into(), destination)
            .expect("numbers")
            .in_use_towards
    };
    assert_eq!(
        [
            from([127, 0, 0, 3]),
            from([127, 0, 0, 5]),
            from([127, 0, 0, 7])
        ],
        [3, 5, 0]
    );
    assert_eq!(
        port_use_from([0, 0, 0, 0].into(), destination)
            .expect("numbers")
            .in_use_towards,
        5
    );

    let mapped = SocketAddr::new(
        std::net::Ipv4Addr::new(127, 0, 0, 9)
            .to_ipv6_mapped()
            .into(),
        destination.port(),
    );
    let through_v6 = TcpStream::connect(mapped);
    match through_v6 {
        Ok(_stream) => {
            let from = port_use_from([127, 0, 0, 1].into(), destination).expect("numbers");
            assert_eq!(from.in_use_towards, 1);
            assert_eq!(port_use(mapped).expect("numbers").in_use_towards, 5);
        }
        Err(error) => eprintln!("SKIPPED: no v4-mapped addresses here: {error}"),
    }
    drop((few, many));
}

#[test]
fn a_dial_from_a_foreign_address_is_explained() {
    let destination = SocketAddr::from(([127, 0, 0, 1], 9));
    let foreign = SocketAddr::from(([192, 0, 2, 1], 0));
    let error = TcpListener::bind(foreign).expect_err("not an address of this machine");
    let facts = Facts::gather(&error, Some(destination), Some(foreign.ip()));
    assert_eq!(
        explain(&error, &facts).as_deref(),
        Some("192.0.2.1, to be dialled from, is not an address of this machine")
    );
}

#[test]
fn the_limits_of_files_are_those_of_this_process() {
    let limits = descriptor_limits().expect("limits");
    assert!(limits.soft > 0 && limits.soft <= limits.hard);
    assert!(limits.open.is_some_and(|open| open >= 3));
}

#[test]
fn a_connection_is_among_all_sockets_of_this_namespace_and_of_this_process() {
    let listener = listen("127.0.0.1:0").expect("loopback");
    let (near, _far) = exchange(&listener, listener.local_addr().expect("an address"));
    let (local, peer) = ends(&near);
    // Another that had this port, towards somewhere else, may be in TIME_WAIT still.
    let keep = |socket: &TcpSocket| (socket.local, socket.peer) == (local, peer);
    let ours = sockets(SocketDetail::TcpInfo, keep).expect("netlink or /proc");
    let beside = sockets_beside(std::process::id(), keep).expect("/proc");
    assert!(matches!(
        beside.source,
        SocketSource::Proc { refused: None }
    ));
    for found in [&ours, &beside] {
        let [socket] = found.sockets[..] else {
            panic!("one: {found:?}")
        };
        assert_eq!(socket.state, TcpState::Established);
    }
    if let SocketSource::Netlink = ours.source {
        let tcp_info = ours.sockets[0].tcp_info.expect("it was asked for");
        assert!(tcp_info.rtt > Duration::ZERO, "{tcp_info:?}");
        assert!(
            tcp_info.send_mss > 0 && tcp_info.congestion_window > 0,
            "{tcp_info:?}"
        );
        assert!(tcp_info.path_mtu >= tcp_info.send_mss, "{tcp_info:?}");
        assert!(
            tcp_info.retransmission_timeout > tcp_info.rtt,
            "{tcp_info:?}"
        );
    }
    // Above what Linux gives to any process.
    let error = sockets_beside(4_194_305, keep).expect_err("nobody");
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
}
