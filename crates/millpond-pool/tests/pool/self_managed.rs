//! `connections_manage_exchanges`: connections that match replies to requests by themselves go back
//! when they are dropped, as long as they work.

use std::{
    convert::Infallible,
    future::{Future, pending, poll_fn},
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::Poll,
};

use millpond_pool::{Connector, Eviction, Pool, connect_with};

/// A client with a task of its own that reads what arrives, as a database's has: here nothing ever
/// does.
#[derive(Clone, Default)]
struct Client {
    ended: Arc<AtomicBool>,
}

impl Client {
    fn is_closed(&self) -> bool {
        self.ended.load(SeqCst)
    }

    async fn query(&self) -> u64 {
        pending().await
    }
}

/// A pool of one client, and every client that was ever connected.
fn pool() -> (
    Pool<impl Connector<Connection = Client>>,
    Arc<Mutex<Vec<Client>>>,
) {
    let clients = Arc::new(Mutex::new(Vec::new()));
    let made = Arc::clone(&clients);
    let connector = connect_with(move || {
        let client = Client::default();
        made.lock().unwrap().push(client.clone());
        async move { Ok::<_, Infallible>(client) }
    });
    let connector = connector.connections_manage_exchanges(|client| !client.is_closed());
    let pool = Pool::builder(connector)
        .max_size(1)
        .build()
        .expect("a runtime");
    (pool, clients)
}

#[tokio::test]
async fn one_that_works_is_kept_however_its_caller_ends() {
    let (pool, _) = pool();
    for _ in 0..10 {
        let lent = pool.acquire().await.expect("a client");
        assert!(!lent.is_closed());
        drop(lent);

        let lent = pool.acquire().await.expect("a client");
        {
            let mut cancelled = pin!(lent.query());
            let polled = poll_fn(|cx| Poll::Ready(cancelled.as_mut().poll(cx)));
            assert!(polled.await.is_pending());
        }
        drop(lent);
        pool.acquire().await.expect("a client").release();
    }
    let totals = pool.snapshot().totals;
    assert_eq!(
        (totals.dials, totals.lent, totals.closed, totals.unreleased),
        (1, 30, 0, 0)
    );
}

#[tokio::test]
async fn one_that_has_ended_is_never_lent_again() {
    let (pool, clients) = pool();
    let end_the_last = || {
        clients
            .lock()
            .unwrap()
            .last()
            .expect("one")
            .ended
            .store(true, SeqCst)
    };

    // While it is idle.
    drop(pool.acquire().await.expect("a client"));
    end_the_last();
    let lent = pool.acquire().await.expect("another client");
    assert!(!lent.is_closed());
    assert_eq!(pool.snapshot().totals.evicted(Eviction::PeerClosed), 1);

    // While it is lent.
    end_the_last();
    drop(lent);
    assert_eq!(pool.snapshot().idle, 0);
    assert_eq!(pool.snapshot().totals.evicted(Eviction::PeerClosed), 2);
    assert!(!pool.acquire().await.expect("another client").is_closed());
    assert_eq!(clients.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn one_whose_borrower_panics_or_fails_is_closed_all_the_same() {
    let (pool, _) = pool();
    let task = tokio::spawn({
        let pool = pool.clone();
        async move {
            let _lent = pool.acquire().await.expect("a client");
            panic!("as the test wants it");
        }
    });
    task.await.expect_err("it panics");
    let failed = pool.with(async |_| Err::<(), _>("no such table")).await;
    failed.expect_err("it fails");
    let totals = pool.snapshot().totals;
    assert_eq!(totals.evicted(Eviction::Panicked), 1);
    assert_eq!(totals.evicted(Eviction::Discarded), 1);
}
