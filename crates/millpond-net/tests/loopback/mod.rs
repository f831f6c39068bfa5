//! What the tests of streams share: sites to dial over every transport, resolvers that answer as
//! told, addresses that refuse or swallow connections, and waiting for a condition.

#![allow(dead_code, reason = "each test binary uses its own part of this")]

#[cfg(feature = "tls")]
#[path = "../certificates/mod.rs"]
pub(crate) mod certificates;

use std::{
    collections::VecDeque,
    env, fs,
    future::pending,
    io,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use millpond_net::{Dialer, Endpoint, HostName, ListenOptions, Listener, Lookup, Resolve, Stream};
use socket2::{Domain, SockRef, Socket, Type};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Notify,
};

pub(crate) const MS: Duration = Duration::from_millis(1);
pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// Far longer than anything takes that works.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// For what must not hang.
pub(crate) async fn within<F: Future>(work: F) -> F::Output {
    tokio::time::timeout(PATIENCE, work)
        .await
        .expect("it doesn't hang")
}

/// Waits until this holds.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(MS).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, waiting).await;
    assert!(waited.is_ok(), "it never came to this: {what}");
}

/// Lets the reactor see what has been sent over loopback before this: there it has arrived when the
/// call that sends it returns.
pub(crate) async fn reactor_has_seen() {
    for _ in 0..3 {
        tokio::time::sleep(MS).await;
    }
}

/// Lets the runtime's clock jump, without anything else happening.
pub(crate) async fn jump(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

/// A folder of its own, removed in the end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Folder {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let name = format!("millpond-{}-{}", process::id(), MADE.fetch_add(1, SeqCst));
        let path = env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Over what a connection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    Tcp,
    Unix,
    #[cfg(feature = "tls")]
    Tls,
}

impl Over {
    pub(crate) const ALL: &[Over] = &[
        Over::Tcp,
        Over::Unix,
        #[cfg(feature = "tls")]
        Over::Tls,
    ];
}

/// A listener, and how to dial it.
pub(crate) struct Site {
    pub(crate) listener: Listener,
    pub(crate) endpoint: Endpoint,
    #[cfg(feature = "tls")]
    pub(crate) client: millpond_net::tls::ClientTls,
    pub(crate) folder: Folder,
}

impl Site {
    pub(crate) async fn open(over: Over) -> Site {
        let folder = Folder::new();
        let endpoint = match over {
            Over::Tcp => Endpoint::from(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
            Over::Unix => Endpoint::Unix(folder.path("socket")),
            #[cfg(feature = "tls")]
            Over::Tls => "tls://127.0.0.1:0".parse().expect("an endpoint"),
        };
        #[cfg_attr(not(feature = "tls"), allow(unused_mut))]
        let mut options = ListenOptions::default();
        #[cfg(feature = "tls")]
        let client = {
            let authority = certificates::Authority::new("tests");
            let server = authority.issue(&["127.0.0.1", "backend.test"]).server();
            options = options.tls(server.build().expect("settings"));
            authority.client().build().expect("settings")
        };
        let listener = Listener::bind(&endpoint, options)
            .await
            .expect("it listens");
        Site {
            endpoint: listener.endpoint().expect("an endpoint"),
            listener,
            #[cfg(feature = "tls")]
            client,
            folder,
        }
    }

    /// Where it listens; a Unix socket has no such address.
    pub(crate) fn address(&self) -> SocketAddr {
        let text = self.endpoint.to_string();
        let (_, address) = text.split_once("://").expect("a scheme");
        address.parse().expect("an address")
    }

    pub(crate) fn dialer(&self) -> Dialer {
        self.dialer_to(self.endpoint.clone())
    }

    /// Dials this endpoint, and trusts what the site says it is.
    pub(crate) fn dialer_to(&self, endpoint: Endpoint) -> Dialer {
        let dialer = Dialer::new(endpoint);
        #[cfg(feature = "tls")]
        let dialer = dialer.tls(self.client.clone());
        dialer
    }

    pub(crate) async fn accept(&mut self) -> Stream {
        let accepted = within(self.listener.accept()).await.expect("a client");
        within(accepted.into_stream()).await.expect("a handshake")
    }
}

/// One request and its reply.
pub(crate) async fn exchange(client: &mut Stream, server: &mut Stream) {
    client.write_all(b"ping").await.expect("a write");
    let mut read = [0; 4];
    within(server.read_exact(&mut read))
        .await
        .expect("a request");
    server.write_all(b"pong").await.expect("a write");
    within(client.read_exact(&mut read)).await.expect("a reply");
    assert_eq!(&read, b"pong");
}

/// Reads until the peer has closed.
pub(crate) async fn closed(server: &mut Stream) {
    let mut rest = Vec::new();
    let _ = within(server.read_to_end(&mut rest)).await;
    assert_eq!(rest, b"", "nothing was sent that nobody expects");
}

/// Closes with a reset instead of a FIN.
pub(crate) fn reset(stream: Stream) {
    let socket = SockRef::from(stream.tcp().expect("TCP"));
    socket.set_linger(Some(Duration::ZERO)).expect("a socket");
    drop(stream);
}

/// An address that refuses: it is bound, so that nobody else gets it, and nobody listens.
pub(crate) struct Refusing(Socket);

impl Refusing {
    pub(crate) fn new() -> Refusing {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        socket.bind(&any.into()).expect("a port");
        Refusing(socket)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        let address = self.0.local_addr().expect("bound");
        address.as_socket().expect("an IP address")
    }
}

/// An address that swallows connections: its backlog is full, so that SYNs are dropped.
pub(crate) struct Swallowing {
    pub(crate) listener: std::net::TcpListener,
    fillers: Vec<std::net::TcpStream>,
}

impl Swallowing {
    pub(crate) fn new() -> Swallowing {
        let Refusing(socket) = Refusing::new();
        socket.listen(0).expect("it listens");
        let listener = std::net::TcpListener::from(socket);
        let address = listener.local_addr().expect("bound");
        let mut fillers = Vec::new();
        // On Linux a backlog of 0 takes one connection.
        while let Ok(filler) = std::net::TcpStream::connect_timeout(&address, 100 * MS) {
            fillers.push(filler);
            assert!(fillers.len() < 16, "this backlog is never full");
        }
        Swallowing { listener, fillers }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("bound")
    }

    /// Accepts what has filled the backlog: the next SYN is answered.
    pub(crate) fn relent(&mut self) {
        for _ in self.fillers.drain(..) {
            self.listener.accept().expect("a filler");
        }
    }
}

/// How a lookup goes.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Addresses(Vec<SocketAddr>),
    Fails,
    Hangs,
    /// Waits until [`Book::open_gate`], then answers.
    AtTheGate(Vec<SocketAddr>),
}

/// A resolver that answers as told, and counts.
#[derive(Clone, Default)]
pub(crate) struct Book(Arc<Pages>);

#[derive(Default)]
struct Pages {
    next: Mutex<VecDeque<Answer>>,
    last: Mutex<Option<Answer>>,
    lookups: AtomicUsize,
    gate: Notify,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Book {
    /// Answers like this from now on.
    pub(crate) fn says(answer: Answer) -> Book {
        let book = Book::default();
        book.now_says(answer);
        book
    }

    pub(crate) fn lists(addresses: &[SocketAddr]) -> Book {
        Book::says(Answer::Addresses(addresses.to_vec()))
    }

    pub(crate) fn now_says(&self, answer: Answer) {
        locked(&self.0.next).clear();
        *locked(&self.0.last) = Some(answer);
    }

    pub(crate) fn now_lists(&self, addresses: &[SocketAddr]) {
        self.now_says(Answer::Addresses(addresses.to_vec()));
    }

    /// These answers in turn, over and over.
    pub(crate) fn takes_turns(&self, answers: &[Vec<SocketAddr>]) {
        let mut next = locked(&self.0.next);
        for _ in 0..1_000 {
            next.extend(answers.iter().cloned().map(Answer::Addresses));
        }
    }

    pub(crate) fn lookups(&self) -> usize {
        self.0.lookups.load(SeqCst)
    }

    pub(crate) fn open_gate(&self) {
        self.0.gate.notify_one();
    }
}

impl Resolve for Book {
    fn resolve<'r>(&'r self, _: &'r HostName, _: u16) -> Lookup<'r> {
        self.0.lookups.fetch_add(1, SeqCst);
        let next = locked(&self.0.next).pop_front();
        let answer = next
            .or_else(|| locked(&self.0.last).clone())
            .expect("an answer");
        Box::pin(async move {
            match answer {
                Answer::Addresses(addresses) => Ok(addresses),
                Answer::Fails => Err(io::Error::other("the name server is on fire")),
                Answer::Hangs => pending().await,
                Answer::AtTheGate(addresses) => {
                    self.0.gate.notified().await;
                    Ok(addresses)
                }
            }
        })
    }
}
