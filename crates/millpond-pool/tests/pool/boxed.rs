//! A pool that names no connector: everything that the pool asks reaches the one in the box, and its
//! errors come out as they are.

use std::{sync::atomic::Ordering::SeqCst, task::Poll};

use crate::common::{Act, Conn, Dial, Endpoint, MS, REFUSED, SECOND, Said, Scripted, pass, settle};
use millpond_pool::{
    AcquireError, BoxConnector, Connector, DialError, Eviction, Pool, Probe, connect_with,
};

/// A type that names neither the connector nor a closure.
struct App {
    pool: Pool<BoxConnector<Conn>>,
}

#[tokio::test(start_paused = true)]
async fn every_question_reaches_the_connector_in_the_box() {
    let endpoint = Endpoint::new();
    let connector = BoxConnector::new(Scripted(endpoint.clone()));
    let pool = Pool::builder(connector).max_size(1).probe(Probe::Always);
    let app = App {
        pool: pool.build().unwrap(),
    };
    let mut lent = app.pool.acquire().await.unwrap();
    let snapshot = app.pool.snapshot();
    let peer = format!("{:?}", snapshot.connections[0].ends);
    assert!(peer.contains("endpoint/1"), "ends: {peer}");

    lent.dirty = true;
    lent.release(); // Clean again: exchange_completed and is_clean are asked.
    settle().await;
    assert_eq!(app.pool.snapshot().idle, 1);

    endpoint.script().needs_reset = true;
    app.pool.acquire().await.unwrap().release();
    assert_eq!(endpoint.probes.load(SeqCst), 1, "probe");
    settle().await;
    assert_eq!(endpoint.resets.load(SeqCst), 1, "on_release and reset");

    pass(300 * MS).await;
    assert!(endpoint.looks.load(SeqCst) > 0, "poll_idle");
    endpoint.script().needs_reset = false;
    endpoint.script().checks.push_back(Err(Eviction::PeerReset));
    let lent = app.pool.acquire().await.unwrap();
    assert_eq!(lent.nth, 2, "check");
    lent.release();
    assert_eq!(endpoint.farewells.load(SeqCst), 1, "close");

    endpoint.script().on_release = Act::Fail;
    app.pool.acquire().await.unwrap().release();
    let evictions = app.pool.snapshot().evictions;
    assert_eq!(evictions.last().unwrap().reason, Eviction::HookFailed);
    app.pool.close(SECOND).await.unwrap();
    assert_eq!(endpoint.open(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_error_comes_out_as_the_connectors_own() {
    let endpoint = Endpoint::new();
    endpoint.script().dial = Dial::Fail(REFUSED);
    let connector = BoxConnector::new(Scripted(endpoint.clone()));
    let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
    assert!(connector.refused(&refused), "refused is asked");
    let pool = Pool::builder(connector).outage_grace(std::time::Duration::ZERO);
    let pool = pool.build().unwrap();
    let Err(AcquireError::Unavailable { cause, .. }) = pool.acquire().await else {
        panic!("the dial fails")
    };
    let DialError::Failed(error) = cause else {
        panic!("{cause}")
    };
    assert!(error.downcast_ref::<Said>().is_some(), "{error:?}");

    // A failed on_connect is a failed dial as well.
    endpoint.script().dial = Dial::Succeed;
    endpoint.script().on_connect = Act::Fail;
    pass(SECOND).await;
    assert!(pool.acquire().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn what_runs_in_the_background_runs_in_the_box_too() {
    struct Runs(std::sync::Arc<std::sync::atomic::AtomicUsize>);
    impl Connector for Runs {
        type Connection = ();
        type Error = std::convert::Infallible;
        async fn connect(&self) -> Result<(), std::convert::Infallible> {
            Ok(())
        }
        async fn run(&self) {
            self.0.fetch_add(1, SeqCst);
        }
        async fn endpoint_changed(&self) {
            self.0.fetch_add(10, SeqCst);
            std::future::pending().await
        }
        fn is_current(&self, _: &millpond_pool::Ends) -> bool {
            false
        }
    }
    let runs = std::sync::Arc::default();
    let connector = BoxConnector::new(Runs(std::sync::Arc::clone(&runs)));
    assert!(!connector.is_current(&millpond_pool::Ends::default()));
    let _pool = Pool::builder(connector).build().unwrap();
    settle().await;
    assert_eq!(runs.load(SeqCst), 11);
}

#[tokio::test(start_paused = true)]
async fn pools_of_different_connectors_have_one_type() {
    let one = BoxConnector::new(connect_with(|| async { Ok::<_, Said>(1) }));
    let two = BoxConnector::new(connect_with(|| async { Err::<i32, _>(Said("no")) }));
    let pools: Vec<Pool<BoxConnector<i32>>> = [one, two]
        .map(|connector| Pool::builder(connector).build().unwrap())
        .into();
    let mut acquire = std::pin::pin!(pools[0].acquire());
    let polled = std::future::poll_fn(|cx| Poll::Ready(acquire.as_mut().poll(cx).is_pending()));
    assert!(polled.await);
    assert_eq!(*acquire.await.unwrap(), 1);
}
