//! Connections whose I/O goes through `&self`: a lent one that was touched in any way has an open
//! exchange, and whoever borrows after a cancelled caller never reads that caller's reply.

use std::{
    future::{Future, pending},
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use millpond::{
    connectors::StreamConnector,
    pool::{Connection, Connector, Eviction, Pool, connect_with},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::{Semaphore, mpsc},
};

/// Far longer than anything takes that works.
const PATIENCE: Duration = Duration::from_secs(20);

async fn within<F: Future>(work: F) -> F::Output {
    tokio::time::timeout(PATIENCE, work)
        .await
        .expect("it doesn't hang")
}

/// Answers every request `x` with `reply to x`, each once the test lets it.
struct Server {
    address: SocketAddr,
    arrived: mpsc::UnboundedReceiver<String>,
    replies: Arc<Semaphore>,
}

/// What the tasks of a server share.
#[derive(Clone)]
struct Desk {
    arrived: mpsc::UnboundedSender<String>,
    replies: Arc<Semaphore>,
}

impl Desk {
    fn open(address: SocketAddr) -> (Desk, Server) {
        let (told, arrived) = mpsc::unbounded_channel();
        let replies = Arc::new(Semaphore::new(0));
        let desk = Desk {
            arrived: told,
            replies: Arc::clone(&replies),
        };
        let server = Server {
            address,
            arrived,
            replies,
        };
        (desk, server)
    }

    async fn reply(&self, request: &[u8]) -> String {
        let request = String::from_utf8_lossy(request).into_owned();
        let reply = format!("reply to {request}");
        let _ = self.arrived.send(request);
        self.replies.acquire().await.expect("never closed").forget();
        reply
    }
}

impl Server {
    async fn over_udp() -> Server {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a port");
        let socket = Arc::new(socket);
        let (desk, server) = Desk::open(socket.local_addr().expect("bound"));
        tokio::spawn(async move {
            let mut buffer = [0; 64];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let (desk, socket, request) =
                    (desk.clone(), Arc::clone(&socket), buffer[..length].to_vec());
                tokio::spawn(async move {
                    let reply = desk.reply(&request).await;
                    let _ = socket.send_to(reply.as_bytes(), from).await;
                });
            }
        });
        server
    }

    async fn over_tcp() -> Server {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a port");
        let (desk, server) = Desk::open(listener.local_addr().expect("bound"));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let desk = desk.clone();
                tokio::spawn(async move {
                    let mut buffer = [0; 64];
                    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                        let reply = desk.reply(&buffer[..length]).await;
                        if stream.write_all(reply.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        server
    }
}

/// One that is used through shared references only.
trait UsedThroughShared {
    async fn send(&self, request: &str);
    async fn receive(&self) -> String;
}

impl UsedThroughShared for UdpSocket {
    async fn send(&self, request: &str) {
        UdpSocket::send(self, request.as_bytes())
            .await
            .expect("sent");
    }
    async fn receive(&self) -> String {
        let mut buffer = [0; 64];
        let length = self.recv(&mut buffer).await.expect("received");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }
}

impl UsedThroughShared for TcpStream {
    async fn send(&self, request: &str) {
        self.writable().await.expect("connected");
        let written = self
            .try_write(request.as_bytes())
            .expect("room in its buffer");
        assert_eq!(written, request.len());
    }
    async fn receive(&self) -> String {
        let mut buffer = [0; 64];
        loop {
            self.readable().await.expect("connected");
            match self.try_read(&mut buffer) {
                Ok(length) => return String::from_utf8_lossy(&buffer[..length]).into_owned(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// The first caller sends and is cancelled; the second borrows before the first one's reply
/// arrives, and must read its own.
async fn a_cancelled_callers_reply_reaches_nobody<C, U>(
    connector: C,
    mut server: Server,
    used: impl Fn(&Connection<C>) -> &U,
) where
    C: Connector,
    U: UsedThroughShared,
{
    let pool = Pool::builder(connector)
        .max_size(1)
        .build()
        .expect("a runtime");
    let first = async {
        let lent = pool.acquire().await.expect("a connection");
        used(&lent).send("one").await;
        pending::<()>().await;
        drop(lent);
    };
    let arrived = async {
        tokio::select! {
            () = first => unreachable!("it waits for its reply"),
            request = server.arrived.recv() => request,
        }
    };
    assert_eq!(within(arrived).await.as_deref(), Some("one"));

    let second = within(pool.acquire()).await.expect("a connection");
    server.replies.add_permits(2);
    used(&second).send("two").await;
    assert_eq!(within(used(&second).receive()).await, "reply to two");
    second.release();

    let snapshot = pool.snapshot();
    assert_eq!(snapshot.totals.evicted(Eviction::UnfinishedExchange), 1);
    assert_eq!((snapshot.totals.dials, snapshot.idle), (2, 1), "{snapshot}");
}

#[tokio::test]
async fn a_cancelled_callers_reply_reaches_nobody_over_a_udp_socket() {
    let server = Server::over_udp().await;
    let address = server.address;
    let connector = connect_with(move || async move {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        socket.connect(address).await?;
        Ok::<_, io::Error>(socket)
    });
    a_cancelled_callers_reply_reaches_nobody(connector, server, |lent| &**lent).await;
}

#[tokio::test]
async fn a_cancelled_callers_reply_reaches_nobody_over_a_tcp_stream() {
    let server = Server::over_tcp().await;
    let address = server.address;
    let connector = connect_with(move || TcpStream::connect(address));
    a_cancelled_callers_reply_reaches_nobody(connector, server, |lent| &**lent).await;
}

#[tokio::test]
async fn a_cancelled_callers_reply_reaches_nobody_over_a_stream_connectors_socket() {
    let server = Server::over_tcp().await;
    let connector = StreamConnector::to(&server.address.to_string()).expect("an endpoint");
    a_cancelled_callers_reply_reaches_nobody(connector, server, |lent| lent.tcp().expect("TCP"))
        .await;
}

/// A pool of strings that counts nothing and knows nothing.
fn strings() -> Pool<impl Connector<Connection = String>> {
    let connector = connect_with(|| async { Ok::<_, io::Error>(String::from("a connection")) });
    Pool::builder(connector)
        .max_size(1)
        .build()
        .expect("a runtime")
}

#[tokio::test]
async fn a_shared_look_at_a_connection_opens_its_exchange() {
    let pool = strings();
    let lent = pool.acquire().await.expect("a connection");
    assert_eq!(*lent, "a connection");
    drop(lent);
    let snapshot = pool.snapshot();
    assert_eq!(snapshot.totals.evicted(Eviction::UnfinishedExchange), 1);
    assert_eq!(snapshot.idle, 0);
}

#[tokio::test]
async fn what_belongs_to_the_guard_opens_no_exchange() {
    let pool = strings();
    let lent = pool.acquire().await.expect("a connection");
    assert_eq!((lent.number(), lent.uses()), (1, 1));
    assert!(lent.age() < PATIENCE);
    assert_eq!(format!("{lent:?}"), r#"Connection("a connection")"#);
    drop(lent);
    assert_eq!(pool.snapshot().idle, 1, "nobody has used it");
}

#[tokio::test]
async fn a_guard_can_be_shared_between_threads_as_its_connection_can() {
    fn is_sync<T: Sync>(_: &T) {}
    let pool = strings();
    let lent = pool.acquire().await.expect("a connection");
    is_sync(&lent);
    std::thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| assert_eq!(lent.len(), 12));
        }
    });
    drop(lent);
    assert_eq!(pool.snapshot().idle, 0, "both have used it");
}
