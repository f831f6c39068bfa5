//! File descriptors: none is left behind, and what happens when they are used up. These tests count
//! and use up what the whole process has, so they are in a binary of their own, one after the
//! other.

#![cfg(all(target_os = "linux", feature = "kernel"))]

#[path = "../../millpond-net/tests/loopback/mod.rs"]
mod loopback;
mod pools;

use std::{
    fs::File,
    future::Future,
    io::Write,
    sync::{Mutex, MutexGuard, PoisonError},
    task::Poll,
};

use bytes::Bytes;

use loopback::*;
use millpond::{
    Chain,
    client::Client,
    connectors::StreamConnector,
    net::{ConnectFailure, DialPhase, Dialer, ListenOptions, Listener, PhaseLimits},
    pool::{AcquireError, Pool},
    proxy::{RawRoute, Route},
    server::{Server, ServerSettings, ServerStatus, raw},
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use pools::*;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// On one thread, without `tokio::test`, so that the lock is taken before there is a runtime: that
/// has descriptors, too.
fn run(test: impl Future<Output = ()>) {
    let _alone = alone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(test);
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("procfs").count()
}

/// All descriptors that this process may have, used up; given back when it is dropped.
struct UsedUp {
    files: Vec<File>,
    limits: (u64, u64),
}

impl UsedUp {
    fn now() -> UsedUp {
        let limits = getrlimit(Resource::RLIMIT_NOFILE).expect("limits");
        let few = u64::try_from(open_descriptors()).expect("few") + 8;
        setrlimit(Resource::RLIMIT_NOFILE, few.min(limits.1), limits.1).expect("a lower limit");
        let mut used_up = UsedUp {
            files: Vec::new(),
            limits,
        };
        while let Ok(file) = File::open("/dev/null") {
            used_up.files.push(file);
        }
        assert!(!used_up.files.is_empty(), "there was room for some");
        used_up
    }

    fn give_back(&mut self, descriptors: usize) {
        for _ in 0..descriptors {
            self.files.pop();
        }
    }
}

impl Drop for UsedUp {
    fn drop(&mut self) {
        self.files.clear();
        let _ = setrlimit(Resource::RLIMIT_NOFILE, self.limits.0, self.limits.1);
    }
}

#[test]
fn cancelled_and_failed_dials_leave_no_descriptor() {
    run(async {
        let (swallowing, refusing) = (Swallowing::new(), Refusing::new());
        let folder = Folder::new();
        let book = Book::lists(&[
            swallowing.address(),
            refusing.address(),
            swallowing.address(),
        ]);
        let limits = PhaseLimits {
            connect: 20 * MS,
            ..PhaseLimits::default()
        };
        let by_name = Dialer::new("tcp://backend.test:1".parse().expect("an endpoint"))
            .resolver(book)
            .limits(limits);
        let refused = Dialer::new(refusing.address().into());
        let unix = Dialer::new(millpond::net::Endpoint::Unix(folder.path("missing")));
        let before = open_descriptors();
        for polls in 0..10 {
            let connecting = std::sync::atomic::AtomicBool::new(false);
            let mut dial = Box::pin(by_name.dial_reporting(|phase| {
                if phase == DialPhase::Connect {
                    connecting.store(true, std::sync::atomic::Ordering::SeqCst);
                }
            }));
            for _ in 0..=polls {
                let poll = std::future::poll_fn(|cx| Poll::Ready(dial.as_mut().poll(cx)));
                assert!(poll.await.is_pending());
                tokio::task::yield_now().await;
            }
            assert!(connecting.load(std::sync::atomic::Ordering::SeqCst));
            assert!(open_descriptors() > before, "it has opened a socket");
            drop(dial);
            assert_eq!(open_descriptors(), before, "polled {polls} times");
        }
        within(by_name.dial()).await.expect_err("swallowed");
        within(refused.dial()).await.expect_err("refused");
        within(unix.dial()).await.expect_err("not there");
        assert_eq!(open_descriptors(), before);
    });
}

#[test]
fn a_pools_connections_leave_no_descriptor() {
    run(async {
        for &over in Over::ALL {
            let mut site = Site::open(over).await;
            let before = open_descriptors();
            let pool = site.pool().build().expect("a pool");
            for _ in 0..5 {
                let (lent, peer) = lend(&pool, &mut site).await;
                lent.discard();
                drop(peer);
            }
            let (lent, peer) = lend(&pool, &mut site).await;
            drop(peer);
            drop(lent);
            eventually("it is evicted", || pool.snapshot().connections.is_empty()).await;
            within(pool.close(PATIENCE)).await.expect("nothing is lent");
            drop(pool);
            eventually("all are closed", || open_descriptors() == before).await;
        }
    });
}

#[test]
fn accepting_pauses_while_descriptors_are_used_up_and_goes_on_when_they_are_back() {
    run(async {
        for &over in Over::ALL {
            let mut site = Site::open(over).await;
            let client = match over {
                Over::Unix => Dialer::new(site.endpoint.clone()),
                _ => Dialer::new(site.address().into()),
            };
            let _client = within(client.dial()).await.expect("the kernel accepts");
            let mut used_up = UsedUp::now();
            let mut polls = 0;
            {
                let mut accepting = Box::pin(site.listener.accept());
                let counted = std::future::poll_fn(|cx| {
                    polls += 1;
                    accepting.as_mut().poll(cx)
                });
                let paused = tokio::time::timeout(300 * MS, counted).await;
                assert!(
                    paused.is_err(),
                    "{over:?}: there was no descriptor for {paused:?}"
                );
            }
            // 10, 20, 40 … ms, each with a poll before and behind it: were there no pauses, there
            // would be thousands.
            assert!(polls < 50, "{over:?}: it spins, {polls} polls");
            used_up.give_back(1);
            within(site.listener.accept())
                .await
                .expect("there is room again");
        }
    });
}

#[test]
fn a_server_without_descriptors_serves_whom_it_has_without_spinning_and_takes_the_next_when_they_are_back()
 {
    const FRAME: &[u8] = b"length:00000000000011";
    run(async {
        let any = "tcp://127.0.0.1:0".parse().expect("an endpoint");
        let listener = Listener::bind(&any, ListenOptions::default())
            .await
            .expect("a port");
        let server = Server::builder(raw(async |body: Bytes| Ok(body)));
        let running = server.serve(listener).expect("a runtime");
        let (host, port) = ("127.0.0.1", running.endpoint().to_string());
        let port: u16 = port
            .rsplit_once(':')
            .and_then(|(_, port)| port.parse().ok())
            .expect("a port");
        let mut first = TcpStream::connect((host, port)).await.expect("it listens");
        exchange(&mut first, FRAME).await;

        let mut used_up = UsedUp::now();
        used_up.give_back(1);
        // The last one is the client's: nothing is awaited here, so the server has no turn.
        let mut next = std::net::TcpStream::connect((host, port)).expect("the kernel accepts");
        next.write_all(FRAME).expect("the kernel takes it");
        next.set_nonblocking(true).expect("an option");
        let next = TcpStream::from_std(next);
        let metrics = tokio::runtime::Handle::current().metrics();
        let (parked, busy) = (
            metrics.worker_park_count(0),
            metrics.worker_total_busy_duration(0),
        );
        tokio::time::sleep(500 * MS).await;
        let parked = metrics.worker_park_count(0) - parked;
        let busy = metrics.worker_total_busy_duration(0) - busy;
        // 10, 20, 40 … ms between two attempts: half a second has room for six. Were there no
        // pauses, it would be one long turn.
        assert!(
            parked < 50 && busy < 250 * MS,
            "it spins: {parked} turns, busy for {busy:?}"
        );
        exchange(&mut first, FRAME).await;
        let snapshot = running.snapshot();
        assert_eq!((snapshot.status, snapshot.open), (ServerStatus::Open, 1));

        used_up.give_back(1);
        let mut reply = [0; FRAME.len()];
        within(next.expect("a reactor").read_exact(&mut reply))
            .await
            .expect("a reply");
        assert_eq!(reply, FRAME);
        assert_eq!(running.snapshot().totals.accepted, 2);
    });
}

/// Sends a frame to a server that sends it back.
async fn exchange(stream: &mut TcpStream, frame: &[u8]) {
    let mut reply = vec![0; frame.len()];
    within(stream.write_all(frame)).await.expect("it is open");
    within(stream.read_exact(&mut reply))
        .await
        .expect("a reply");
    assert_eq!(reply, frame);
}

#[test]
fn a_dial_without_a_descriptor_says_so_and_works_when_they_are_back() {
    run(async {
        for &over in Over::ALL {
            let mut site = Site::open(over).await;
            let dialer = site.dialer();
            // What the runtime's thread for blocking work needs must be there.
            tokio::task::spawn_blocking(|| {}).await.expect("a thread");
            let mut used_up = UsedUp::now();
            let error = within(dialer.dial())
                .await
                .expect_err("there is no descriptor");
            used_up.give_back(4);
            assert!(
                matches!(error.cause, ConnectFailure::Unreachable { .. }),
                "{over:?}: {error}"
            );
            let said = error.to_string();
            assert!(said.contains("this process may open"), "{over:?}: {said}");
            assert!(said.contains("ulimit -n"), "{over:?}: {said}");
            let (dialled, _server) = tokio::join!(within(dialer.dial()), site.accept());
            dialled.expect("there is room again");
        }
    });
}

#[test]
fn raw_sessions_leave_no_descriptor_however_they_end() {
    run(async {
        let mut site = Site::open(Over::Tcp).await;
        let connector = StreamConnector::new(site.dialer());
        let before = open_descriptors();
        let route = RawRoute::to(connector).pool(|pool| pool.max_size(2));
        let route = route.build().expect("valid settings");
        let anywhere = "127.0.0.1:0".parse().expect("an endpoint");
        let listener = Listener::bind(&anywhere, ListenOptions::default()).await;
        let listener = listener.expect("a port");
        let running = route.serve(ServerSettings::default(), listener);
        let running = running.expect("valid settings");
        let address = running.endpoint().to_string();
        let address = address.trim_start_matches("tcp://");
        for number in 0..12 {
            let mut client = within(TcpStream::connect(address)).await.expect("a route");
            client.write_all(b"?").await.expect("open");
            let mut upstream = site.accept().await;
            within(upstream.read_exact(&mut [0])).await.expect("open");
            match number % 3 {
                0 => drop((upstream, client)),
                1 => {
                    drop(client);
                    let _ = within(upstream.read_to_end(&mut Vec::new())).await;
                }
                _ => {
                    drop(upstream);
                    let _ = within(client.read_to_end(&mut Vec::new())).await;
                }
            }
        }
        within(running.drain(PATIENCE)).await;
        within(route.pool().close(PATIENCE)).await.expect("closed");
        let totals = route.snapshot().totals;
        assert_eq!((totals.sessions, totals.forced), (12, 0));
        drop((running, route));
        let back = async {
            while open_descriptors() > before {
                tokio::time::sleep(MS).await;
            }
        };
        within(back).await;
    });
}

#[test]
fn a_pool_without_descriptors_tells_its_callers_and_recovers() {
    run(async {
        let mut site = Site::open(Over::Tcp).await;
        let connector = StreamConnector::new(site.dialer());
        let pool = Pool::builder(connector)
            .acquire_timeout(PATIENCE)
            .outage_grace(50 * MS)
            .build()
            .expect("a pool");
        tokio::task::spawn_blocking(|| {}).await.expect("a thread");
        let mut used_up = UsedUp::now();
        let error = within(pool.acquire())
            .await
            .expect_err("there is no descriptor");
        used_up.give_back(4);
        assert!(matches!(error, AcquireError::Unavailable { .. }), "{error}");
        assert!(Chain(&error).to_string().contains("ulimit -n"), "{error}");
        let retrying = async {
            loop {
                if let Ok(lent) = pool.acquire().await {
                    return lent;
                }
                tokio::time::sleep(MS).await;
            }
        };
        let (_lent, _peer) = tokio::join!(within(retrying), site.accept());
    });
}

#[test]
fn a_name_that_can_not_be_looked_up_without_a_descriptor_says_so() {
    run(async {
        let site = Site::open(Over::Tcp).await;
        let text = format!("tcp://localhost:{}", site.address().port());
        let dialer = Dialer::new(text.parse().expect("an endpoint"));
        tokio::task::spawn_blocking(|| {}).await.expect("a thread");
        let mut used_up = UsedUp::now();
        let error = within(dialer.dial())
            .await
            .expect_err("there is no descriptor");
        used_up.give_back(4);
        assert!(Chain(&error).to_string().contains("ulimit -n"), "{error}");
    });
}

/// Sends a frame to a server; the body of the reply.
async fn asked(stream: &mut TcpStream, frame: &[u8]) -> String {
    stream.write_all(frame).await.expect("it is open");
    let mut head = [0; 20];
    stream.read_exact(&mut head).await.expect("a reply");
    let length = std::str::from_utf8(&head[7..]).expect("digits");
    let mut body = vec![0; length.parse().expect("a length")];
    stream.read_exact(&mut body).await.expect("a reply");
    String::from_utf8(body).expect("text")
}

#[test]
fn a_route_without_descriptors_serves_whom_it_has_tells_the_others_and_recovers() {
    const FRAME: &[u8] = b"length:00000000000011";
    run(async {
        let listen = async || {
            let any = "tcp://127.0.0.1:0".parse().expect("an endpoint");
            let listener = Listener::bind(&any, ListenOptions::default()).await;
            listener.expect("a port")
        };
        let before = open_descriptors();
        let upstream = Server::builder(raw(async |body: Bytes| Ok(body)));
        let upstream = upstream.serve(listen().await).expect("a runtime");
        let client = Client::builder(upstream.endpoint().clone())
            .pool(|pool| pool.max_size(4).acquire_timeout(200 * MS))
            .build()
            .expect("a client");
        // Each client needs a connection of its own, and so a dial.
        let route = Route::builder(client).session(true).build();
        let running = route.server().serve(listen().await).expect("a runtime");
        let address = running.endpoint().to_string();
        let address = address.trim_start_matches("tcp://");
        let connect = async || TcpStream::connect(address).await.expect("it listens");
        let (mut first, mut second) = (connect().await, connect().await);
        exchange(&mut first, FRAME).await;
        while running.snapshot().open < 2 {
            tokio::task::yield_now().await;
        }

        let mut used_up = UsedUp::now();
        exchange(&mut first, FRAME).await;
        let told = within(asked(&mut second, FRAME)).await;
        assert!(told.contains("it was not executed"), "{told}");
        for name in ["127.0.0.1", "ulimit", "this process"] {
            assert!(!told.contains(name), "{told}");
        }
        exchange(&mut first, FRAME).await;

        // All are back, and so are both sides.
        used_up.give_back(used_up.files.len());
        let mut third = connect().await;
        for client in [&mut second, &mut third] {
            let served = async {
                while asked(client, FRAME).await != "1" {
                    tokio::time::sleep(MS).await;
                }
            };
            within(served).await;
        }
        drop((first, second, third, used_up));
        let ended = running.drain(PATIENCE).await;
        assert_eq!(ended.forced, 0);
        assert!(route.snapshot().pins.is_empty());
        let closed = route.client().pool().close(PATIENCE).await;
        closed.expect("nothing is lent");
        upstream.drain(PATIENCE).await;
        drop((running, route, upstream));
        eventually("all are closed", || open_descriptors() == before).await;
    });
}
