//! bb8-redis' and deadpool-redis' managers as connectors: what they are asked, and what becomes of
//! connections that the server ends.

use std::{net::TcpListener, time::Duration};

use bb8_redis::RedisConnectionManager;
use deadpool_redis::Manager;
use millpond::pool::{AcquireError, Connector, DialError, Eviction, Pool, from_bb8, from_deadpool};
use millpond_adapters_tests::url;
use redis::{RedisError, Value, aio::MultiplexedConnection, cmd};

type Failed = Box<dyn std::error::Error + Send + Sync>;

async fn id(connection: &mut MultiplexedConnection) -> Result<i64, RedisError> {
    cmd("CLIENT").arg("ID").query_async(connection).await
}

/// The server hangs up on this client.
async fn kill(id: i64) -> Result<(), Failed> {
    let mut other = redis::Client::open(url())?
        .get_multiplexed_async_connection()
        .await?;
    let killed: i64 = cmd("CLIENT")
        .arg(&["KILL", "ID"])
        .arg(id)
        .query_async(&mut other)
        .await?;
    assert_eq!(killed, 1);
    Ok(())
}

/// How often the server has been sent this command.
async fn calls(command: &str) -> Result<u64, Failed> {
    let mut other = redis::Client::open(url())?
        .get_multiplexed_async_connection()
        .await?;
    let stats: String = cmd("INFO")
        .arg("commandstats")
        .query_async(&mut other)
        .await?;
    let calls = stats
        .lines()
        .find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")))
        .and_then(|line| line.split(',').next());
    Ok(calls.map_or(Ok(0), str::parse)?)
}

#[tokio::test]
async fn one_of_bb8_redis_is_tested_lent_again_and_replaced_when_the_server_ends_it()
-> Result<(), Failed> {
    let manager = RedisConnectionManager::new(url())?;
    let connector = from_bb8(manager).connections_manage_exchanges();
    let pool = Pool::builder(connector).max_size(1).build()?;
    let first = id(&mut *pool.acquire().await?).await?;
    let before = calls("ping").await?;
    assert_eq!(id(&mut *pool.acquire().await?).await?, first);
    assert!(calls("ping").await? > before, "is_valid pings");

    // While it is idle: nobody notices.
    kill(first).await?;
    let second = id(&mut *pool.acquire().await?).await?;
    assert_ne!(second, first);
    let totals = pool.snapshot().totals;
    assert_eq!(totals.evicted(Eviction::ProbeFailed), 1);

    // While it is lent: its borrower is told, nobody else.
    let mut lent = pool.acquire().await?;
    kill(second).await?;
    id(&mut lent).await.expect_err("it is dead");
    drop(lent);
    let third = id(&mut *pool.acquire().await?).await?;
    assert_ne!(third, second);
    assert_eq!(pool.snapshot().totals.dials, 3);
    Ok(())
}

#[tokio::test]
async fn one_of_deadpool_redis_is_recycled_lent_again_and_replaced_when_the_server_ends_it()
-> Result<(), Failed> {
    let connector = from_deadpool(Manager::new(url())?).connections_manage_exchanges();
    let pool = Pool::builder(connector).max_size(1).build()?;
    let first = id(&mut **pool.acquire().await?).await?;
    assert_eq!(id(&mut **pool.acquire().await?).await?, first);

    // While it is idle, for longer than a second: nobody notices.
    tokio::time::sleep(Duration::from_millis(1_300)).await;
    kill(first).await?;
    let second = id(&mut **pool.acquire().await?).await?;
    assert_ne!(second, first);
    let totals = pool.snapshot().totals;
    assert_eq!(totals.evicted(Eviction::ProbeFailed), 1);

    // While it is lent: its borrower is told, nobody else.
    let mut lent = pool.acquire().await?;
    kill(second).await?;
    id(&mut lent).await.expect_err("it is dead");
    drop(lent);
    let third = id(&mut **pool.acquire().await?).await?;
    assert_ne!(third, second);
    let totals = pool.snapshot().totals;
    assert_eq!(totals.evicted(Eviction::ResetFailed), 1);
    assert_eq!(totals.dials, 3);
    Ok(())
}

/// deadpool-redis' `recycle` sends UNWATCH: what the first borrower watched doesn't fail the
/// second one's transaction.
#[tokio::test]
async fn recycle_undoes_what_the_last_borrower_left() -> Result<(), Failed> {
    let connector = from_deadpool(Manager::new(url())?).connections_manage_exchanges();
    let pool = Pool::builder(connector).max_size(1).build()?;
    let mut lent = pool.acquire().await?;
    let () = cmd("WATCH").arg("watched").query_async(&mut **lent).await?;
    let () = cmd("SET")
        .arg(&["watched", "changed"])
        .query_async(&mut **lent)
        .await?;
    drop(lent);

    let mut lent = pool.acquire().await?;
    let done: Value = redis::pipe()
        .atomic()
        .set("watched", "again")
        .query_async(&mut **lent)
        .await?;
    assert_ne!(done, Value::Nil, "the transaction was carried out");
    Ok(())
}

#[tokio::test]
async fn a_failed_dial_has_the_redis_error_as_its_source() -> Result<(), Failed> {
    // Nothing listens on a port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let nobody = format!("redis://127.0.0.1:{port}");
    let of_bb8 = from_bb8(RedisConnectionManager::new(&*nobody)?);
    let of_bb8 = Pool::builder(of_bb8).outage_grace(Duration::ZERO).build()?;
    let of_deadpool = from_deadpool(Manager::new(&*nobody)?);
    let of_deadpool = Pool::builder(of_deadpool).outage_grace(Duration::ZERO);
    let of_deadpool = of_deadpool.build()?;
    let failures = [
        of_bb8.acquire().await.map(drop),
        of_deadpool.acquire().await.map(drop),
    ];
    for failed in failures {
        let Err(AcquireError::Unavailable { cause, .. }) = failed else {
            panic!("{failed:?}");
        };
        let source = std::error::Error::source(&cause).expect("a source");
        let error: &RedisError = source.downcast_ref().expect("redis' own error");
        assert!(error.is_connection_refusal(), "{error}");
        // The next dial may follow soon.
        let DialError::Failed(error) = &cause else {
            panic!("{cause:?}");
        };
        assert!(of_bb8.connector().refused(&**error));
    }
    Ok(())
}
