//! A pool that dials real sockets: hooks, callers who give up, listeners that are restarted or
//! silent, and what the errors say.

use std::{pin::pin, time::Duration};

use crate::loopback::*;
use crate::pools::*;
use millpond::{
    Chain,
    connectors::StreamConnector,
    net::{ConnectError, ConnectFailure, DialPhase, Dialer, PhaseLimits},
    pool::{AcquireError, ConnectionState, Connector, DialError, Pool},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

/// What a failed dial's error is made of.
fn connect_error(error: &AcquireError) -> &ConnectError {
    let AcquireError::Unavailable { cause, .. } = error else {
        panic!("{error}");
    };
    let DialError::Failed(error) = cause else {
        panic!("{cause}");
    };
    error.downcast_ref().expect("the dialler's")
}

/// A pool whose callers are told of a failed dial at once.
fn impatient(connector: StreamConnector) -> Pool<StreamConnector> {
    let builder = Pool::builder(connector).outage_grace(Duration::ZERO);
    builder.acquire_timeout(PATIENCE).build().expect("a pool")
}

#[tokio::test]
async fn a_hook_that_fails_fails_the_dial_and_keeps_no_connection() {
    for &over in Over::ALL {
        let mut site = Site::open(over).await;
        let connector = StreamConnector::new(site.dialer()).prepare(SECOND, |_| {
            Box::pin(async { Err("the login was refused".into()) })
        });
        let pool = impatient(connector);
        let (error, mut peer) = tokio::join!(within(pool.acquire()), site.accept());
        let error = error.expect_err("nobody logs in");
        assert!(said(&error).contains("the login was refused"), "{error}");
        assert!(
            matches!(connect_error(&error).cause, ConnectFailure::Hook(_)),
            "{error}"
        );
        closed(&mut peer).await;
        assert_eq!(pool.snapshot().connections.len(), 0, "{over:?}");
    }
}

#[tokio::test]
async fn a_hook_that_hangs_ends_at_its_limit_and_one_that_panics_costs_its_dial() {
    let mut site = Site::open(Over::Tcp).await;
    let connector = StreamConnector::new(site.dialer());
    let pool = impatient(connector.prepare(50 * MS, |_| Box::pin(std::future::pending())));
    let (error, mut peer) = tokio::join!(within(pool.acquire()), site.accept());
    let error = error.expect_err("it hangs");
    let phase = &connect_error(&error).cause;
    assert!(
        matches!(
            phase,
            ConnectFailure::TimedOut {
                phase: DialPhase::Hook,
                ..
            }
        ),
        "{error}"
    );
    assert!(
        said(&error).contains("while preparing the connection"),
        "{error}"
    );
    closed(&mut peer).await;

    let connector = StreamConnector::new(site.dialer());
    let pool = impatient(connector.prepare(SECOND, |_| Box::pin(async { panic!("as scripted") })));
    let (error, mut peer) = tokio::join!(within(pool.acquire()), site.accept());
    let error = error.expect_err("it panics");
    assert!(said(&error).contains("panicked"), "{error}");
    closed(&mut peer).await;
    assert_eq!(pool.snapshot().connections.len(), 0);
}

#[tokio::test]
async fn a_hook_prepares_each_stream_once_before_it_is_lent() {
    for &over in Over::ALL {
        let mut site = Site::open(over).await;
        let connector = StreamConnector::new(site.dialer()).prepare(SECOND, |stream| {
            Box::pin(async move { Ok(stream.write_all(b"LOGIN").await?) })
        });
        let pool = impatient(connector);
        let (mut lent, mut peer) = lend(&pool, &mut site).await;
        let mut login = [0; 5];
        within(peer.read_exact(&mut login)).await.expect("a login");
        assert_eq!(&login, b"LOGIN");
        exchange(&mut lent, &mut peer).await;
        lent.release();
        let mut lent = within(pool.acquire()).await.expect("it is idle");
        exchange(&mut lent, &mut peer).await;
        let timings = pool.connector().last_timings().expect("a dial");
        assert!(timings.hook.is_some(), "{over:?}");
    }
}

#[tokio::test]
async fn a_dial_whose_caller_gives_up_while_it_connects_serves_the_next() {
    let mut swallowing = Swallowing::new();
    let endpoint = swallowing.address().into();
    let pool = Pool::builder(StreamConnector::new(Dialer::new(endpoint)))
        .acquire_timeout(PATIENCE)
        .max_size(1)
        .build()
        .expect("a pool");
    {
        let mut caller = pin!(pool.acquire());
        let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(caller.as_mut().poll(cx)));
        assert!(polled.await.is_pending());
        eventually("it connects", || pool.snapshot().connecting == 1).await;
        reactor_has_seen().await;
    }
    assert_eq!(pool.snapshot().connecting, 1, "the dial goes on");
    swallowing.relent();
    // The kernel sends the SYN again after a second.
    let lent = within(pool.acquire())
        .await
        .expect("the dial has ended well");
    assert_eq!(lent.number(), pool.snapshot().connections[0].number);
    assert_eq!(pool.snapshot().totals.dials, 1);
}

#[tokio::test]
async fn dials_in_flight_never_exceed_their_limit() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint = listener.local_addr().expect("bound").into();
    // A dial lasts until it is greeted.
    let connector = StreamConnector::new(Dialer::new(endpoint)).prepare(PATIENCE, |stream| {
        Box::pin(async move { Ok(stream.read_exact(&mut [0]).await.map(drop)?) })
    });
    let pool = Pool::builder(connector)
        .max_size(8)
        .max_connecting(3)
        .connect_timeout(PATIENCE)
        .acquire_timeout(PATIENCE);
    let pool = pool.build().expect("a pool");
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let pool = pool.clone();
        callers.spawn(async move { pool.acquire().await.expect("a connection") });
    }
    let mut dialling: Vec<tokio::net::TcpStream> = Vec::new();
    let (mut open, mut most) = (Vec::new(), 0);
    while open.len() < 8 {
        // All that come.
        while let Ok(accepted) = tokio::time::timeout(20 * MS, listener.accept()).await {
            dialling.push(accepted.expect("a dial").0);
            most = most.max(dialling.len());
            assert!(dialling.len() <= 3, "{} at once", dialling.len());
        }
        let Some(mut oldest) = (!dialling.is_empty()).then(|| dialling.remove(0)) else {
            continue;
        };
        oldest.write_all(b"!").await.expect("a write");
        open.push(oldest);
    }
    within(callers.join_all()).await;
    assert_eq!(most, 3, "and they do run beside each other");
}

#[tokio::test]
async fn a_listener_that_is_restarted_on_its_port_fails_nobody_within_the_grace() {
    for over in [Over::Tcp, Over::Unix] {
        let mut site = Site::open(over).await;
        let endpoint = site.endpoint.clone();
        let builder = site.pool().outage_grace(PATIENCE);
        let pool = builder.build().expect("a pool");
        let (mut lent, mut peer) = lend(&pool, &mut site).await;
        exchange(&mut lent, &mut peer).await;
        lent.release();
        let Site {
            listener,
            folder: _folder,
            ..
        } = site;
        drop((peer, listener));
        reactor_has_seen().await;
        let caller = tokio::spawn({
            let pool = pool.clone();
            async move { pool.acquire().await.map(|lent| lent.number()) }
        });
        eventually("a dial is refused", || pool.snapshot().failing).await;
        let again = millpond::net::Listener::bind(&endpoint, Default::default()).await;
        let mut again = again.expect("the place is free");
        let _peer = within(again.accept()).await.expect("the pool comes back");
        within(caller).await.expect("no panic").expect("served");
    }
}

#[tokio::test]
async fn the_error_of_a_dial_that_timed_out_names_its_phase() {
    let swallowing = Swallowing::new();
    let connecting = Dialer::new(swallowing.address().into());
    let hangs = Book::says(Answer::Hangs);
    let resolving =
        Dialer::new("tcp://backend.test:1".parse().expect("an endpoint")).resolver(hangs);
    let site = Site::open(Over::Tcp).await;
    let preparing =
        StreamConnector::new(site.dialer()).prepare(PATIENCE, |_| Box::pin(std::future::pending()));
    #[cfg_attr(not(feature = "tls"), allow(unused_mut))]
    let mut dials = vec![
        (StreamConnector::new(connecting), "connecting"),
        (StreamConnector::new(resolving), "resolving the name"),
        (preparing, "preparing the connection"),
    ];
    #[cfg(feature = "tls")]
    let encrypted = Site::open(Over::Tls).await;
    #[cfg(feature = "tls")]
    dials.push((
        StreamConnector::new(encrypted.dialer()),
        "in the TLS handshake",
    ));
    for (connector, doing) in dials {
        let pool = Pool::builder(connector)
            .connect_timeout(100 * MS)
            .outage_grace(Duration::ZERO)
            .acquire_timeout(PATIENCE)
            .build()
            .expect("a pool");
        let error = within(pool.acquire()).await.expect_err("nobody answers");
        let AcquireError::Unavailable { cause, .. } = &error else {
            panic!("{error}");
        };
        assert!(
            matches!(cause, DialError::TimedOut { phase: Some(phase), .. } if *phase == doing),
            "{doing}: {error}"
        );
        assert!(said(&error).contains(doing), "{error}");
        assert_eq!(pool.snapshot().active, 0);
    }
}

/// With its causes.
fn said(error: &AcquireError) -> String {
    Chain(error).to_string()
}

fn is_refused(pool: &Pool<StreamConnector>, cause: &DialError) -> bool {
    matches!(cause, DialError::Failed(error) if pool.connector().refused(&**error))
}

#[tokio::test]
async fn a_refused_dial_is_an_outage_with_its_cause() {
    let nobody = Refusing::new();
    let pool = impatient(StreamConnector::new(Dialer::new(nobody.address().into())));
    let error = within(pool.acquire()).await.expect_err("nobody is there");
    let AcquireError::Unavailable { cause, .. } = &error else {
        panic!("{error}");
    };
    assert!(is_refused(&pool, cause), "{error}");
    let itself = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("bound")
    };
    let options = millpond::net::TcpOptions {
        bind: Some(itself),
        ..Default::default()
    };
    let pool = impatient(StreamConnector::new(
        Dialer::new(itself.into()).tcp_options(options),
    ));
    let error = within(pool.acquire()).await.expect_err("it is itself");
    assert!(said(&error).contains("connected to itself"), "{error}");
    let AcquireError::Unavailable { cause, .. } = &error else {
        panic!("{error}");
    };
    assert!(is_refused(&pool, cause), "nothing listens there: {error}");
    assert_eq!(pool.snapshot().connections.len(), 0);
}

#[tokio::test]
async fn dials_towards_silence_are_bounded_by_the_pool_however_many_wait() {
    let swallowing = Swallowing::new();
    let dialer = Dialer::new(swallowing.address().into()).limits(PhaseLimits {
        connect: 50 * MS,
        ..PhaseLimits::default()
    });
    let pool = impatient(StreamConnector::new(dialer));
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let pool = pool.clone();
        callers.spawn(async move { pool.acquire().await.map(drop) });
    }
    for told in within(callers.join_all()).await {
        let error = told.expect_err("nobody answers");
        assert!(said(&error).contains(": no answer within"), "{error}");
    }
    assert!(
        pool.snapshot().totals.dials <= 8,
        "{:?}",
        pool.snapshot().totals
    );
    let connecting = || {
        let connections = pool.snapshot().connections;
        let dials = connections
            .iter()
            .filter(|one| one.state == ConnectionState::Connecting);
        dials.count()
    };
    // The first that failed told all callers; those that began with it may last a moment longer.
    eventually("one dial at most looks whether it has ended", || {
        connecting() <= 1
    })
    .await;
}

/// Else the pool's error, which knows no addresses, always comes first.
#[tokio::test]
async fn by_default_the_diallers_errors_come_before_the_pools() {
    let site = Site::open(Over::Tcp).await;
    let pool = site.pool().build().expect("a pool");
    assert!(PhaseLimits::default().connect < pool.settings().connect_timeout);
}
