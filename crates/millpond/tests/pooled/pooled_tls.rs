//! Pooled TLS streams: what is no data on an idle one, handshakes that stall or fail, and peers
//! that don't speak TLS, or do where they shouldn't.

use std::{net::SocketAddr, pin::pin, time::Duration};

use crate::loopback::{
    certificates::{Authority, Issued, ServerStream},
    *,
};
use crate::pools::*;
use millpond::{
    Chain,
    connectors::StreamConnector,
    net::{
        ConnectError, ConnectFailure, Dialer, Endpoint, PhaseLimits, Stream,
        tls::{ClientTls, ServerTls, TlsError},
    },
    pool::{AcquireError, Connection, DialError, Eviction, Pool},
};
use rustls::ProtocolVersion;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// A server whose TLS session the test has in its hands.
struct Server {
    listener: TcpListener,
    tls: ServerTls,
    client: ClientTls,
}

impl Server {
    async fn new() -> Server {
        Server::with(|issued| issued.server().build().expect("settings")).await
    }

    async fn with(tls: impl FnOnce(&Issued) -> ServerTls) -> Server {
        let authority = Authority::new("tests");
        Server {
            listener: TcpListener::bind("127.0.0.1:0").await.expect("a port"),
            tls: tls(&authority.issue(&["127.0.0.1"])),
            client: authority.client().build().expect("settings"),
        }
    }

    fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("bound")
    }

    fn endpoint(&self) -> Endpoint {
        let text = format!("tls://{}", self.address());
        text.parse().expect("an endpoint")
    }

    fn dialer(&self) -> Dialer {
        Dialer::new(self.endpoint()).tls(self.client.clone())
    }

    fn pool(&self) -> Pool<StreamConnector> {
        let builder = Pool::builder(StreamConnector::new(self.dialer()));
        builder.acquire_timeout(PATIENCE).build().expect("a pool")
    }

    async fn accept_tcp(&self) -> TcpStream {
        within(self.listener.accept()).await.expect("a client").0
    }

    async fn accept(&self) -> ServerStream {
        let accepted = self.accept_tcp().await;
        within(self.tls.accept(accepted))
            .await
            .expect("a handshake")
    }

    async fn lend(
        &self,
        pool: &Pool<StreamConnector>,
    ) -> (Connection<StreamConnector>, ServerStream) {
        let (lent, peer) = tokio::join!(within(pool.acquire()), self.accept());
        (lent.expect("a connection"), peer)
    }
}

/// One request and its reply, with a server whose session is in the test's hands.
async fn converse(client: &mut Stream, server: &mut ServerStream) {
    client.write_all(b"ping").await.expect("a write");
    client.flush().await.expect("a write");
    let mut read = [0; 4];
    within(server.read_exact(&mut read))
        .await
        .expect("a request");
    server.write_all(b"pong").await.expect("a write");
    server.flush().await.expect("a write");
    within(client.read_exact(&mut read)).await.expect("a reply");
    assert_eq!(&read, b"pong");
}

/// Whether an error is the expected one.
type Judge = fn(&TlsError) -> bool;

/// Fails its callers at once.
fn impatient(dialer: Dialer) -> Pool<StreamConnector> {
    let builder = Pool::builder(StreamConnector::new(dialer)).outage_grace(Duration::ZERO);
    builder.acquire_timeout(PATIENCE).build().expect("a pool")
}

fn connect_error(error: &AcquireError) -> &ConnectError {
    let AcquireError::Unavailable { cause, .. } = error else {
        panic!("{error}");
    };
    let DialError::Failed(error) = cause else {
        panic!("{cause}");
    };
    error.downcast_ref().expect("the dialler's")
}

fn tls_error(error: &AcquireError) -> &TlsError {
    match &connect_error(error).cause {
        ConnectFailure::Tls { error, .. } => error,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn session_tickets_and_key_updates_are_no_data() {
    for is_watched in [false, true] {
        let server = Server::new().await;
        let pool = server.pool();
        let (lent, mut peer) = server.lend(&pool).await;
        let number = lent.number();
        assert_eq!(
            lent.tls().expect("TLS").protocol_version(),
            Some(ProtocolVersion::TLSv1_3),
            "the version that sends two tickets after its handshake"
        );
        lent.release(); // The tickets lie unread.
        if is_watched {
            watched(&pool).await;
        }
        for _ in 0..3 {
            peer.get_mut()
                .1
                .refresh_traffic_keys()
                .expect("TLS 1.3 can");
            peer.flush().await.expect("a write");
            reactor_has_seen().await;
        }
        assert_eq!(evictions(&pool), [], "watched: {is_watched}");
        let mut lent = within(pool.acquire()).await.expect("it is idle");
        assert_eq!(lent.number(), number);
        converse(&mut lent, &mut peer).await;
        converse(&mut lent, &mut peer).await;
        lent.release();
        // And what comes after them is still seen.
        watched(&pool).await;
        peer.get_mut()
            .1
            .refresh_traffic_keys()
            .expect("TLS 1.3 can");
        peer.write_all(b"stray").await.expect("a write");
        peer.flush().await.expect("a write");
        eventually("it is evicted", || pool.snapshot().connections.is_empty()).await;
        assert_eq!(evictions(&pool), [Eviction::UnsolicitedBytes]);
    }
}

#[tokio::test]
async fn tls_1_2_is_watched_alike() {
    let authority = Authority::new("tests");
    let issued = authority.issue(&["127.0.0.1"]);
    let provider = rustls::crypto::ring::default_provider().into();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12])
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(issued.certificates(), issued.key())
        .expect("an identity");
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
    let server = Server::new().await;
    let client = authority.client().build().expect("settings");
    let pool = impatient(Dialer::new(server.endpoint()).tls(client));
    let accept = async { acceptor.accept(server.accept_tcp().await).await };
    let (lent, peer) = tokio::join!(within(pool.acquire()), within(accept));
    let (mut lent, mut peer) = (lent.expect("a connection"), peer.expect("a handshake"));
    let version = lent.tls().expect("TLS").protocol_version();
    assert_eq!(version, Some(ProtocolVersion::TLSv1_2));
    converse(&mut lent, &mut peer).await;
    lent.release();
    watched(&pool).await;
    peer.shutdown().await.expect("a farewell");
    eventually("it is evicted", || pool.snapshot().connections.is_empty()).await;
    assert_eq!(evictions(&pool), [Eviction::PeerClosed]);
}

#[tokio::test]
async fn what_is_no_tls_on_an_idle_stream_breaks_it() {
    let server = Server::new().await;
    let pool = server.pool();
    let (mut lent, mut peer) = server.lend(&pool).await;
    converse(&mut lent, &mut peer).await;
    lent.release();
    watched(&pool).await;
    peer.get_mut()
        .0
        .write_all(b"this is no record")
        .await
        .expect("a write");
    eventually("it is evicted", || pool.snapshot().connections.is_empty()).await;
    assert_eq!(evictions(&pool), [Eviction::PeerReset]);
}

#[tokio::test]
async fn half_a_record_on_an_idle_stream_is_nothing_yet() {
    let server = Server::new().await;
    let pool = server.pool();
    let (mut lent, mut peer) = server.lend(&pool).await;
    converse(&mut lent, &mut peer).await;
    let number = lent.number();
    lent.release();
    watched(&pool).await;
    // The header of a record of application data, and a part of that.
    let begin = [0x17, 0x03, 0x03, 0x00, 0x40, 1, 2, 3];
    peer.get_mut().0.write_all(&begin).await.expect("a write");
    reactor_has_seen().await;
    let lent = within(pool.acquire()).await.expect("it is idle");
    assert_eq!(lent.number(), number);
    assert_eq!(evictions(&pool), []);
}

#[tokio::test]
async fn a_stream_that_leaves_the_pool_says_farewell() {
    let server = Server::new().await;
    let pool = server.pool();
    let (mut lent, mut peer) = server.lend(&pool).await;
    converse(&mut lent, &mut peer).await;
    lent.release();
    let (lent, mut second) = {
        let first = within(pool.acquire()).await.expect("it is idle");
        let second = server.lend(&pool).await;
        drop(first);
        second
    };
    lent.discard();
    let mut rest = Vec::new();
    let ended = within(second.read_to_end(&mut rest)).await;
    ended.expect("a close_notify when it is discarded");
    within(pool.close(PATIENCE)).await.expect("nothing is lent");
    let ended = within(peer.read_to_end(&mut rest)).await;
    ended.expect("a close_notify when the pool is closed");
    assert_eq!(rest, b"");
}

#[tokio::test]
async fn a_dial_whose_caller_gives_up_in_the_handshake_serves_the_next() {
    let server = Server::new().await;
    let pool = server.pool();
    let accepted = {
        let mut caller = pin!(pool.acquire());
        let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(caller.as_mut().poll(cx)));
        assert!(polled.await.is_pending());
        let accepted = server.accept_tcp().await;
        reactor_has_seen().await;
        accepted
    };
    assert_eq!(pool.snapshot().connecting, 1, "the dial goes on");
    let mut next = pin!(pool.acquire());
    let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(next.as_mut().poll(cx)));
    assert!(polled.await.is_pending());
    let mut peer = within(server.tls.accept(accepted))
        .await
        .expect("a handshake");
    let mut lent = within(next).await.expect("the dial has ended well");
    converse(&mut lent, &mut peer).await;
    assert_eq!(pool.snapshot().totals.dials, 1);
}

#[tokio::test]
async fn a_dial_whose_caller_gives_up_in_the_handshake_becomes_idle() {
    let server = Server::new().await;
    let pool = server.pool();
    let accepted = {
        let mut caller = pin!(pool.acquire());
        let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(caller.as_mut().poll(cx)));
        assert!(polled.await.is_pending());
        server.accept_tcp().await
    };
    let _peer = within(server.tls.accept(accepted))
        .await
        .expect("a handshake");
    eventually("it is idle", || pool.snapshot().idle == 1).await;
    assert_eq!(evictions(&pool), []);
}

#[tokio::test]
async fn a_stalled_handshake_ends_at_its_limit_and_closes_its_socket() {
    let server = Server::new().await;
    let limits = PhaseLimits {
        tls: 50 * MS,
        ..PhaseLimits::default()
    };
    let pool = impatient(server.dialer().limits(limits));
    let (error, mut accepted) = tokio::join!(within(pool.acquire()), server.accept_tcp());
    let error = error.expect_err("it stalls");
    assert!(
        Chain(&error).to_string().contains("in the TLS handshake"),
        "{error}"
    );
    let mut hello = Vec::new();
    let _ = within(accepted.read_to_end(&mut hello)).await;
    assert!(!hello.is_empty(), "it has said hello, and closed");
}

#[tokio::test]
async fn a_pool_of_tls_streams_that_meets_a_plain_port_is_told_so() {
    for says in [
        &b"220 mail.test ESMTP\r\n"[..],
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
    ] {
        let server = Server::new().await;
        let pool = impatient(server.dialer());
        let speaks = async {
            let mut plain = server.accept_tcp().await;
            plain.write_all(says).await.expect("a write");
            plain
        };
        let (error, _plain) = tokio::join!(within(pool.acquire()), speaks);
        let error = error.expect_err("that is no TLS");
        assert!(
            matches!(tls_error(&error), TlsError::NotTls { .. }),
            "{error}"
        );
        assert_eq!(pool.snapshot().connections.len(), 0);
    }
    // One that hangs up when it is shown a ClientHello.
    let server = Server::new().await;
    let pool = impatient(server.dialer());
    let hangs_up = async {
        let mut plain = server.accept_tcp().await;
        let _ = plain.read(&mut [0; 4096]).await;
    };
    let (error, ()) = tokio::join!(within(pool.acquire()), hangs_up);
    let error = error.expect_err("that is no TLS");
    let _typed = tls_error(&error);
    // One that sends everything back.
    let server = Server::new().await;
    let pool = impatient(server.dialer());
    let echoes = async {
        let mut plain = server.accept_tcp().await;
        let (mut reader, mut writer) = plain.split();
        let _ = tokio::io::copy(&mut reader, &mut writer).await;
    };
    let (error, ()) = tokio::join!(within(pool.acquire()), within(echoes));
    let error = error.expect_err("that is no TLS");
    let _typed = tls_error(&error);
}

#[tokio::test]
async fn a_plain_pool_that_meets_a_tls_port_keeps_nothing_of_it() {
    let server = Server::new().await;
    let pool = impatient(Dialer::new(server.address().into()));
    let (lent, accepted) = tokio::join!(within(pool.acquire()), server.accept_tcp());
    let mut lent = lent.expect("TCP connects");
    lent.write_all(b"PING\r\n").await.expect("a write");
    let refused = within(server.tls.accept(accepted)).await;
    assert!(
        matches!(refused, Err(TlsError::NotTls { .. })),
        "{refused:?}"
    );
    let mut alert = [0; 64];
    let read = within(lent.read(&mut alert)).await;
    if let Ok(length) = read
        && length > 0
    {
        assert_eq!(
            alert[0], 0x15,
            "an alert, which no protocol takes for a reply"
        );
    }
    lent.discard();
    assert_eq!(pool.snapshot().idle, 0);
    assert_eq!(evictions(&pool).len(), 1);
}

#[tokio::test]
async fn certificates_that_can_not_be_accepted_are_typed_errors_and_dials_stay_few() {
    use crate::loopback::certificates::Authority;
    let authority = Authority::new("tests");
    let expired = authority.issue_with(&["127.0.0.1"], |params| {
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    });
    let wrong_name = authority.issue(&["elsewhere.test"]);
    let stranger = Authority::new("stranger").issue(&["127.0.0.1"]);
    let is_expired = |error: &TlsError| matches!(error, TlsError::CertificateExpired { .. });
    let is_wrong_name = |error: &TlsError| matches!(error, TlsError::WrongName { .. });
    let is_unknown = |error: &TlsError| matches!(error, TlsError::UnknownIssuer { .. });
    let cases: [(Issued, Judge); 3] = [
        (expired, is_expired),
        (wrong_name, is_wrong_name),
        (stranger, is_unknown),
    ];
    for (issued, expected) in cases {
        let server = Server::with(|_| issued.server().build().expect("settings")).await;
        let client = authority.client().build().expect("settings");
        let pool = impatient(Dialer::new(server.endpoint()).tls(client));
        let mut callers = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let pool = pool.clone();
            callers.spawn(async move { pool.acquire().await.map(drop) });
        }
        let serving = async {
            loop {
                let accepted = server.accept_tcp().await;
                let _ = server.tls.accept(accepted).await;
            }
        };
        let told = tokio::select! {
            told = within(callers.join_all()) => told,
            () = serving => unreachable!("it serves for ever"),
        };
        for told in told {
            let error = told.expect_err("it isn't to be trusted");
            assert!(expected(tls_error(&error)), "{error}");
        }
        let totals = pool.snapshot().totals;
        assert!(totals.dials <= 8, "20 callers, {totals:?}");
        assert_eq!(totals.opened, 0);
    }
}
