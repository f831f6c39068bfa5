//! What the log says of connections that other pools' managers made: why one of them was closed,
//! with the manager's error; and once, that they are dropped without a word, with the cure.
//!
//! The only test of its process: see `warnings`.

#![cfg(all(feature = "bb8", feature = "deadpool"))]

mod warnings;

use std::io;

use deadpool::managed::{Metrics, RecycleResult};
use millpond_pool::{Connection, Connector, Pool, from_bb8, from_deadpool};

/// Makes numbers, of which 1 is bad.
struct Numbers;

/// With a cause of its own, which isn't in its text.
#[derive(Debug, thiserror::Error)]
#[error("the number is bad")]
struct Bad(#[source] io::Error);

fn judge(number: u32) -> Result<(), Bad> {
    match number {
        1 => Err(Bad(io::Error::other("it is odd"))),
        _ => Ok(()),
    }
}

impl bb8::ManageConnection for Numbers {
    type Connection = u32;
    type Error = Bad;

    async fn connect(&self) -> Result<u32, Bad> {
        Ok(0)
    }

    async fn is_valid(&self, number: &mut u32) -> Result<(), Bad> {
        judge(*number)
    }

    fn has_broken(&self, number: &mut u32) -> bool {
        *number == 2
    }
}

impl deadpool::managed::Manager for Numbers {
    type Type = u32;
    type Error = Bad;

    async fn create(&self) -> Result<u32, Bad> {
        Ok(0)
    }

    async fn recycle(&self, number: &mut u32, _: &Metrics) -> RecycleResult<Bad> {
        match number {
            2 => Err(deadpool::managed::RecycleError::message("twos are out")),
            number => Ok(judge(*number)?),
        }
    }
}

fn pool<C: Connector>(connector: C, name: &str) -> Pool<C> {
    let builder = Pool::builder(connector).name(name).max_size(1);
    builder.build().expect("a runtime")
}

async fn lent<C: Connector>(pool: &Pool<C>) -> Connection<C> {
    pool.acquire().await.expect("a number")
}

#[tokio::test]
async fn evictions_carry_the_managers_error_and_dropping_is_told_once() {
    let log = warnings::Warnings::default().and_debug();
    let _heard = tracing::subscriber::set_default(log.clone());
    let said = |parts: &[&str]| {
        let heard = log.heard();
        let fits = |line: &&String| parts.iter().all(|&part| line.contains(part));
        heard.iter().filter(fits).count()
    };

    let of_bb8 = pool(from_bb8(Numbers), "of bb8");
    let mut number = lent(&of_bb8).await;
    *number = 1;
    number.release();
    lent(&of_bb8).await.release();
    let bad = "error=the number is bad: it is odd";
    let failed = "message=check failed";
    assert_eq!(said(&["of bb8", failed, bad, "probe_failed"]), 1);
    let mut number = lent(&of_bb8).await;
    *number = 2;
    number.release();
    let refused = "message=the release hook refused a connection";
    assert_eq!(said(&["of bb8", refused, "has_broken"]), 1);
    assert_eq!(said(&["of bb8", "message=evicted", "broken"]), 1);

    let of_deadpool = pool(from_deadpool(Numbers), "of deadpool");
    let mut number = lent(&of_deadpool).await;
    **number = 1;
    number.release();
    let mut number = lent(&of_deadpool).await;
    assert_eq!(said(&["of deadpool", failed, bad, "reset_failed"]), 1);
    **number = 2;
    number.release();
    drop(lent(&of_deadpool).await);
    assert_eq!(said(&["of deadpool", failed, "error=twos are out"]), 1);

    for _ in 0..100 {
        *lent(&of_bb8).await = 0;
        **lent(&of_deadpool).await = 0;
    }
    for name in ["of bb8", "of deadpool"] {
        let cure = "build the connector with connections_manage_exchanges()";
        assert_eq!(said(&[name, "are used and then merely dropped", cure]), 1);
    }

    let of_bb8 = from_bb8(Numbers).connections_manage_exchanges();
    let of_bb8 = pool(of_bb8, "bb8 knows");
    let of_deadpool = from_deadpool(Numbers).connections_manage_exchanges();
    let of_deadpool = pool(of_deadpool, "deadpool knows");
    for _ in 0..100 {
        *lent(&of_bb8).await = 0;
        **lent(&of_deadpool).await = 0;
    }
    assert_eq!(said(&["knows"]), 0, "{:?}", log.heard());
}
