//! Tests of gathering, on this very process.

use std::{
    collections::VecDeque,
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process,
    sync::{
        Barrier,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use millpond::kernel::{SocketDetail, SocketQueue, TcpSocket, TcpState, sockets};

use super::facts::{Facts, Seen};

/// How long to wait for the kernel.
const PATIENCE: Duration = Duration::from_secs(30);

/// The sockets of this process.
fn seen_of_us() -> Seen {
    let facts = Facts::gather(process::id()).unwrap_or_else(|_| panic!("we run"));
    let limit = facts.descriptors.soft_limit.expect("a limit");
    assert!(
        facts
            .descriptors
            .open
            .is_some_and(|open| open > 2 && open <= limit),
        "{:?}",
        facts.descriptors
    );
    assert_eq!(
        facts.name,
        fs::read_to_string("/proc/self/comm")
            .expect("a name")
            .trim_end()
    );
    facts.sockets.expect("our own")
}

#[test]
fn of_this_process_a_connection_that_it_does_not_close_is_found() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let mut leaked = TcpStream::connect(address).expect("connects");
    let (mut accepted, _) = listener.accept().expect("accepts");
    let kept = TcpStream::connect(address).expect("connects");
    let from = leaked.local_addr().expect("an address");
    accepted.write_all(b"bye").expect("sends");
    drop(accepted);
    leaked.read_exact(&mut [0; 2]).expect("bytes");
    let is_leaked =
        |socket: &TcpSocket| socket.local == from && socket.state == TcpState::CloseWait;
    let began = Instant::now();
    while sockets(SocketDetail::Basic, is_leaked).is_ok_and(|found| found.sockets.is_empty()) {
        assert!(began.elapsed() < PATIENCE, "its end hasn't arrived");
    }

    let seen = seen_of_us();
    let ours = |socket: &&TcpSocket| socket.local == from;
    let found = seen.own.iter().find(ours).expect("the leak");
    assert_eq!((found.state, found.peer), (TcpState::CloseWait, address));
    assert_eq!(
        found.queue,
        SocketQueue::Bytes {
            // With the FIN, which counts as one.
            received: 2,
            unacknowledged: 0
        }
    );
    assert!(
        seen.lasting_close_wait
            .contains(&found.inode.expect("a number"))
    );
    assert!(seen.destinations.contains(&address));
    let listening = seen
        .own
        .iter()
        .find(|socket| socket.state == TcpState::Listen && socket.local == address);
    // The second connection waits.
    assert!(matches!(
        listening.expect("the listener").queue,
        SocketQueue::Connections { waiting: 1, .. }
    ));
    drop(kept);
}

#[test]
fn a_process_that_opens_a_connection_for_each_request_is_found_out_by_its_remnants() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let (stop, begun) = (AtomicBool::new(false), Barrier::new(2));
    let seen = thread::scope(|scope| {
        scope.spawn(|| {
            let connect = || {
                let near = TcpStream::connect(address).expect("connects");
                (near, listener.accept().expect("accepts").0)
            };
            // Many are open at once: a look takes time, and one of them must be open from its
            // beginning to its end.
            let mut open: VecDeque<_> = std::iter::repeat_with(connect).take(100).collect();
            begun.wait();
            while !stop.load(Relaxed) {
                // This side closes first.
                drop(open.pop_front());
                open.push_back(connect());
                thread::sleep(Duration::from_millis(1));
            }
        });
        begun.wait();
        let seen = seen_of_us();
        stop.store(true, Relaxed);
        seen
    });
    assert!(seen.destinations.contains(&address));
    let remnants = seen.remnants_towards();
    let towards = remnants.iter().find(|(peer, _)| *peer == address);
    assert!(towards.is_some_and(|(_, count)| *count > 0), "{remnants:?}");
}

#[test]
fn a_process_that_does_not_exist_is_missing() {
    // Above the ports that Linux gives to outgoing connections.
    assert!(Facts::gather(4_194_305).is_err());
}
