//! Who drops connections after use, as other pools want it, is told once per pool, with the place
//! and the cure.
//!
//! The only test of its process: see `warnings`.

mod warnings;

use std::{io, panic::AssertUnwindSafe};

use millpond_pool::{Connection, Connector, Eviction, Pool, connect_with};

/// A pool of connections that are used like others: they know nothing of exchanges.
fn pool(name: &str) -> Pool<impl Connector<Connection = Vec<u8>>> {
    let connector = connect_with(|| async { Ok::<_, io::Error>(Vec::new()) });
    let builder = Pool::builder(connector).name(name).max_size(4);
    builder.build().expect("a runtime")
}

async fn used<C: Connector<Connection = Vec<u8>>>(pool: &Pool<C>) -> Connection<C> {
    let mut lent = pool.acquire().await.expect("a connection");
    lent.push(1);
    lent
}

#[tokio::test]
async fn who_merely_drops_connections_after_use_is_told_once() {
    let warnings = warnings::Warnings::default();
    let _heard = tracing::subscriber::set_default(warnings.clone());

    // Dropped after use, always: told at the eighth.
    let dropping = pool("ponds");
    for nth in 1..=100 {
        let mut lent = dropping.acquire().await.expect("a connection");
        lent.push(nth);
        drop(lent);
        assert_eq!(
            warnings.heard().len(),
            usize::from(nth >= 8),
            "{nth} dropped"
        );
    }
    let line = line!() - 9;
    let heard = warnings.heard();
    let place = format!("acquired_at=crates/millpond-pool/tests/unreleased.rs:{line}:");
    assert!(heard[0].contains(&place), "{heard:?}");
    for part in [
        "pool=\"ponds\"",
        "unreleased=8 ",
        "released=8 ",
        "release()",
        "Pool::with",
    ] {
        assert!(heard[0].contains(part), "{part} in {heard:?}");
    }
    let totals = dropping.snapshot().totals;
    assert_eq!((totals.unreleased, totals.dials), (100, 100));
    assert_eq!(totals.evicted(Eviction::UnfinishedExchange), 100);

    // As many, among more that are released: callers that give up now and then are no habit.
    let now_and_then = pool("now and then");
    for nth in 0..100 {
        let lent = used(&now_and_then).await;
        match nth % 3 {
            2 => drop(lent),
            _ => lent.release(),
        }
    }
    assert_eq!(now_and_then.snapshot().totals.unreleased, 33);
    assert_eq!(warnings.heard().len(), 1);

    // What else closes a connection after its use, or leaves it unused, doesn't count.
    let otherwise = pool("otherwise");
    for _ in 0..10 {
        used(&otherwise).await.discard();
        let lent = used(&otherwise).await;
        let panics = AssertUnwindSafe(move || {
            let _lent = lent;
            panic!("as the test wants it");
        });
        std::panic::catch_unwind(panics).expect_err("it panics");
        let failed = otherwise
            .with(async |_| Err::<(), _>("no such table"))
            .await;
        failed.expect_err("it fails");
        let mut unfinished = Box::pin(otherwise.with(async |lent| {
            lent.push(1);
            std::future::pending::<Result<(), io::Error>>().await
        }));
        let polled = std::future::poll_fn(|cx| {
            std::task::Poll::Ready(unfinished.as_mut().poll(cx).is_pending())
        });
        assert!(polled.await);
        drop(unfinished);
        drop(otherwise.acquire().await.expect("a connection"));
    }
    assert_eq!(otherwise.snapshot().totals.unreleased, 0);
    assert_eq!(warnings.heard().len(), 1);

    // Connections that manage their exchanges may be dropped.
    let connector = connect_with(|| async { Ok::<_, io::Error>(Vec::new()) });
    let managed = Pool::builder(connector.connections_manage_exchanges(|_| true)).build();
    let managed = managed.expect("a runtime");
    for _ in 0..100 {
        drop(used(&managed).await);
    }
    let totals = managed.snapshot().totals;
    assert_eq!((totals.unreleased, totals.dials), (0, 1));
    assert_eq!(warnings.heard().len(), 1);
}
