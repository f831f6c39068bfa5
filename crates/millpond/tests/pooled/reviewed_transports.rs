//! What a reading of the transports by fresh eyes found wrong: each of these failed before it was
//! mended. Names are looked up in a scripted service, connections are made over loopback, and time
//! is tokio's paused clock.

use std::{
    collections::VecDeque,
    env, fs, future, io,
    net::SocketAddr,
    os::unix::fs::MetadataExt,
    path::PathBuf,
    process,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use crate::common::{Hand, MS, SECOND};
use millpond::{
    connectors::StreamConnector,
    net::{
        Dialer, Endpoint, HostName, IdleState, ListenError, ListenFailure, ListenOptions, Listener,
        Lookup, Resolve, Stream,
    },
    pool::Connector,
};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream, UnixStream},
    time::{advance, timeout},
};

/// What a name service says.
type Answer = Result<Vec<SocketAddr>, &'static str>;

/// A name service that knows one name.
#[derive(Clone)]
struct Service {
    /// Given in this order, the last one for good.
    answers: Arc<Mutex<VecDeque<Answer>>>,
    asked: Arc<AtomicUsize>,
}

impl Service {
    fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
        Service {
            answers: Arc::new(Mutex::new(answers.into_iter().collect())),
            asked: Arc::default(),
        }
    }

    /// Dials the name.
    fn dialer(&self) -> Dialer {
        let endpoint = "tcp://service.test:80".parse().unwrap();
        Dialer::new(endpoint).resolver(self.clone())
    }

    fn asked(&self) -> usize {
        self.asked.load(SeqCst)
    }
}

impl Resolve for Service {
    fn resolve<'r>(&'r self, _: &'r HostName, _: u16) -> Lookup<'r> {
        Box::pin(async move {
            let asked = self.asked.fetch_add(1, SeqCst);
            assert!(asked < 1_000, "it is asked without end");
            // So that others come while it is being asked.
            tokio::task::yield_now().await;
            let mut answers = self.answers.lock().unwrap();
            let answer = match answers.len() {
                1 => answers[0].clone(),
                _ => answers.pop_front().expect("an answer at least"),
            };
            answer.map_err(io::Error::other)
        })
    }
}

/// An address at which connections are accepted, by the kernel at least.
async fn live() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

/// An address at which connections are refused.
fn dead() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}

/// An address from which no answer comes: its backlog is full. It stays so for as long as the
/// sockets are kept.
#[cfg(target_os = "linux")]
fn silent() -> (Vec<Socket>, SocketAddr) {
    let socket = || Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let listener = socket();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    listener.bind(&any.into()).expect("a port");
    listener.listen(0).expect("a listener");
    let address = listener.local_addr().expect("an address");
    let mut sockets = vec![listener];
    for _ in 0..3 {
        let caller = socket();
        caller.set_nonblocking(true).expect("a socket");
        // The first is answered; whether the others are isn't known yet.
        let _ = caller.connect(&address);
        sockets.push(caller);
    }
    (sockets, address.as_socket().expect("an address"))
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_never_to_be_refreshed_is_looked_up_once() {
    let (_listener, address) = live().await;
    let service = Service::new([Ok(vec![address])]);
    let dialer = service.dialer().refresh(Duration::MAX);
    for _ in 0..5 {
        dialer.dial().await.unwrap();
        advance(60 * 60 * SECOND).await;
    }
    let a_month = Duration::from_secs(30 * 24 * 60 * 60);
    timeout(a_month, dialer.moved())
        .await
        .expect_err("it stays");
    assert_eq!(service.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_to_be_refreshed_at_once_is_looked_up_ten_times_a_second() {
    let (_listener, address) = live().await;
    let service = Service::new([Ok(vec![address])]);
    let dialer = service.dialer().refresh(Duration::ZERO);
    dialer.dial().await.unwrap();
    timeout(SECOND + MS, dialer.moved())
        .await
        .expect_err("it stays");
    assert!((5..=11).contains(&service.asked()), "{}", service.asked());
}

#[tokio::test(start_paused = true)]
async fn a_first_lookup_that_fails_is_repeated_after_a_second() {
    let (_listener, address) = live().await;
    let service = Service::new([
        Err("temporary failure in name resolution"),
        Ok(vec![address]),
    ]);
    let dialer = service.dialer();
    for _ in 0..3 {
        let error = millpond::Chain(&dialer.dial().await.unwrap_err()).to_string();
        assert!(
            error.contains("temporary failure in name resolution"),
            "{error}"
        );
    }
    assert_eq!(service.asked(), 1, "the name service is spared");
    advance(SECOND).await;
    dialer.dial().await.unwrap();
    assert_eq!(service.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_connection_to_no_address_in_particular_is_current() {
    let (_listener, address) = live().await;
    let unspecified = SocketAddr::from(([0, 0, 0, 0], address.port()));
    let dialer = Service::new([Ok(vec![unspecified])]).dialer();
    let stream = dialer.dial().await.unwrap().stream;
    let peer = stream.peer_addr().unwrap();
    assert!(dialer.is_current(&peer), "{peer}");
    let connector = StreamConnector::new(dialer);
    assert!(connector.is_current(&connector.ends(&stream)));
}

#[tokio::test(start_paused = true)]
async fn dials_at_once_share_a_lookup_though_no_time_passes() {
    let (_listener, address) = live().await;
    let service = Service::new([Ok(vec![address])]);
    let dialer = service.dialer();
    let (one, two, three) = tokio::join!(dialer.dial(), dialer.dial(), dialer.dial());
    for dialled in [one, two, three] {
        dialled.unwrap();
    }
    assert_eq!(service.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn two_answers_of_the_same_moment_do_not_end_an_addresss_connections() {
    let (_listener, address) = live().await;
    let service = Service::new([Ok(vec![address]), Ok(vec![dead()])]);
    let dialer = service.dialer();
    dialer.dial().await.unwrap();
    // The name moves, and to where nothing listens yet: the next dial looks it up again after a
    // second.
    for (wait, asked) in [(30 * SECOND, 2), (SECOND, 3)] {
        advance(wait).await;
        dialer.dial().await.unwrap_err();
        assert_eq!(service.asked(), asked);
        assert!(dialer.is_current(&address));
        Hand::begun(dialer.moved());
    }
    advance(15 * SECOND).await;
    dialer.dial().await.unwrap_err();
    assert!(!dialer.is_current(&address));
    Hand::new(dialer.moved()).end();
}

#[tokio::test(start_paused = true)]
async fn an_address_that_refused_is_tried_last_the_next_time() {
    let (_listener, address) = live().await;
    let dialer = Service::new([Ok(vec![dead(), address])]).dialer();
    assert_eq!(dialer.dial().await.unwrap().timings.sockets, 2);
    assert_eq!(dialer.dial().await.unwrap().timings.sockets, 1);
}

#[cfg(target_os = "linux")]
#[tokio::test(start_paused = true)]
async fn an_address_that_was_outrun_is_tried_last_the_next_time() {
    let (_sockets, silent) = silent();
    let (_listener, address) = live().await;
    let dialer = Service::new([Ok(vec![silent, address])]).dialer();
    assert_eq!(dialer.dial().await.unwrap().timings.sockets, 2);
    assert_eq!(dialer.dial().await.unwrap().timings.sockets, 1);
}

#[cfg(target_os = "linux")]
#[tokio::test(start_paused = true)]
async fn an_address_that_does_not_answer_is_told() {
    let (_sockets, silent) = silent();
    let error = Service::new([Ok(vec![silent])])
        .dialer()
        .dial()
        .await
        .unwrap_err();
    assert!(error.to_string().contains(&silent.to_string()), "{error}");
}

#[cfg(target_os = "linux")]
#[tokio::test(start_paused = true)]
async fn what_a_pool_tells_of_a_dial_that_took_too_long_has_every_address() {
    let (_sockets, silent) = silent();
    let dead = dead();
    let dialer = Service::new([Ok(vec![dead, silent])]).dialer();
    let pool = millpond::pool::Pool::builder(StreamConnector::new(dialer))
        .build()
        .unwrap();
    let error = pool.acquire().await.unwrap_err();
    let error = millpond::Chain(&error).to_string();
    for address in [dead, silent] {
        assert!(error.contains(&address.to_string()), "{error}");
    }
}

#[tokio::test]
async fn a_hooks_own_failure_is_no_refusal_by_the_endpoint() {
    let (_listener, address) = live().await;
    for kind in [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused] {
        let connector = StreamConnector::new(Dialer::new(address.into()))
            .prepare(SECOND, move |_| {
                Box::pin(async move { Err(io::Error::from(kind).into()) })
            });
        let error = connector.connect().await.unwrap_err();
        assert!(!connector.refused(&error), "{error}");
    }
    let connector = StreamConnector::new(Dialer::new(dead().into()));
    let error = connector.connect().await.unwrap_err();
    assert!(connector.refused(&error), "{error}");
}

#[tokio::test]
async fn an_empty_read_is_told_from_the_end() {
    let (listener, address) = live().await;
    let mut stream = Stream::from(TcpStream::connect(address).await.unwrap());
    let (mut peer, _) = listener.accept().await.unwrap();
    let empty = |stream: &mut Stream| stream.try_read(&mut []).unwrap_err().kind();
    assert_eq!(empty(&mut stream), io::ErrorKind::InvalidInput);
    assert_eq!(stream.check_idle(), IdleState::Quiet);
    peer.write_all(b"x").await.unwrap();
    let ready = future::poll_fn(|cx| stream.poll_read_ready(cx));
    timeout(10 * SECOND, ready)
        .await
        .expect("it arrives")
        .unwrap();
    assert_eq!(empty(&mut stream), io::ErrorKind::InvalidInput);
    assert_eq!(stream.check_idle(), IdleState::Bytes);
}

/// A path for a Unix socket; whatever is there in the end is removed.
struct SocketPath(PathBuf);

impl SocketPath {
    fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("millpond-{}-{name}.sock", process::id()));
        let _ = fs::remove_file(&path);
        SocketPath(path)
    }

    /// A socket that is bound to this path, and doesn't listen.
    fn bound(&self) -> Socket {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
        let address = SockAddr::unix(&self.0).expect("a short path");
        socket.bind(&address).expect("a path that is free");
        socket
    }

    async fn listen(&self) -> Result<Listener, ListenError> {
        Listener::bind(&Endpoint::Unix(self.0.clone()), ListenOptions::default()).await
    }

    fn inode(&self) -> u64 {
        fs::symlink_metadata(&self.0).expect("a file").ino()
    }
}

impl Drop for SocketPath {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn is_taken(error: &ListenError) -> bool {
    matches!(&error.cause, ListenFailure::Socket(error) if error.kind() == io::ErrorKind::AddrInUse)
}

#[tokio::test(start_paused = true)]
async fn a_socket_that_is_about_to_listen_keeps_its_file() {
    let path = SocketPath::new("about-to-listen");
    let first = path.bound();
    let inode = path.inode();
    let mut second = Hand::begun(path.listen());
    first.listen(1).unwrap();
    advance(15 * MS).await;
    let error = second.end().expect_err("it listens");
    assert!(is_taken(&error), "{error}");
    assert_eq!(path.inode(), inode);
    UnixStream::connect(&path.0).await.expect("the first");
}

#[tokio::test(start_paused = true)]
async fn of_two_that_replace_an_abandoned_file_at_once_one_listens_and_keeps_its_file() {
    let path = SocketPath::new("abandoned");
    drop(path.bound());
    let (mut listener, error) = match tokio::join!(path.listen(), path.listen()) {
        (Ok(listener), Err(error)) | (Err(error), Ok(listener)) => (listener, error),
        both => panic!("{both:?}"),
    };
    assert!(is_taken(&error), "{error}");
    let connected = UnixStream::connect(&path.0);
    let (connected, accepted) = tokio::join!(connected, timeout(SECOND, listener.accept()));
    connected.expect("the one that listens");
    accepted.expect("it is the one").unwrap();
    drop(listener);
    assert!(!path.0.exists(), "its own file");
}

/// Spends everything that tokio lets a task do in one go.
#[cfg(feature = "tls")]
async fn exhaust_the_budget() {
    future::poll_fn(|cx| {
        while tokio::task::coop::has_budget_remaining() {
            let _ = std::pin::pin!(tokio::task::coop::consume_budget()).poll(cx);
        }
        std::task::Poll::Ready(())
    })
    .await;
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn a_tls_stream_is_closed_with_a_farewell_however_busy_its_task_has_been() {
    use crate::loopback::certificates::{Authority, handshake, within};
    use tokio::io::AsyncReadExt;

    let authority = Authority::new("authority");
    let server = authority.issue(&["localhost"]).server().build().unwrap();
    let client = authority.client().build().unwrap();
    for busy in [false, true] {
        let (client, peer) = within(handshake(&client, "localhost", &server)).await;
        let mut stream = Stream::from(tokio_rustls::TlsStream::from(client.unwrap()));
        let mut peer = peer.unwrap();
        // What is unread as it closes would reset the connection: the session tickets come before
        // this.
        within(peer.write_all(b"x")).await.unwrap();
        within(stream.read_exact(&mut [0])).await.unwrap();
        let closing = tokio::spawn(async move {
            if busy {
                exhaust_the_budget().await;
            }
            stream.close();
        });
        within(closing).await.unwrap();
        let read = within(peer.read(&mut [0])).await;
        assert_eq!(read.expect("a farewell"), 0, "busy: {busy}");
    }
}
