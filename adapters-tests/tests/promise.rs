//! A cancelled call's reply is never given to the next borrower: measured in our pool and in bb8
//! and deadpool, with the same managers.
//!
//! What the other pools do is asserted as well, for our pages say it.

use std::{
    error::Error,
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
};

use bb8_redis::RedisConnectionManager;
use deadpool_redis::Manager;
use millpond::pool::{
    Connection, FromBb8, FromDeadpool, Pool, Probe, Recyclable, from_bb8, from_deadpool,
};
use millpond_adapters_tests::{Line, Lines, url};
use redis::aio::MultiplexedConnection;
use tokio::task::LocalSet;

type Failed = Box<dyn Error + Send + Sync>;

/// What can be asked to send back a text.
trait Echo {
    async fn echo(&mut self, text: &str) -> Result<String, Failed>;
}

impl Echo for Line {
    async fn echo(&mut self, text: &str) -> Result<String, Failed> {
        Ok(self.command(&["ECHO", text]).await?)
    }
}

impl Echo for MultiplexedConnection {
    async fn echo(&mut self, text: &str) -> Result<String, Failed> {
        Ok(redis::cmd("ECHO").arg(text).query_async(self).await?)
    }
}

/// A pool, whosever it is.
trait Lend {
    type Lent;
    type Echo: Echo;
    async fn lend(&self) -> Result<Self::Lent, Failed>;
    fn connection(lent: &mut Self::Lent) -> &mut Self::Echo;
    /// The reply has been read.
    fn done(lent: Self::Lent);
}

impl<M> Lend for bb8::Pool<M>
where
    M: bb8::ManageConnection<Connection: Echo, Error: Error + Send + Sync>,
{
    type Lent = bb8::PooledConnection<'static, M>;
    type Echo = M::Connection;

    async fn lend(&self) -> Result<Self::Lent, Failed> {
        Ok(self.get_owned().await?)
    }
    fn connection(lent: &mut Self::Lent) -> &mut M::Connection {
        lent
    }
    fn done(_: Self::Lent) {}
}

impl<M> Lend for deadpool::managed::Pool<M>
where
    M: deadpool::managed::Manager<Type: Echo, Error: Error + Send + Sync + 'static>,
{
    type Lent = deadpool::managed::Object<M>;
    type Echo = M::Type;

    async fn lend(&self) -> Result<Self::Lent, Failed> {
        Ok(self.get().await?)
    }
    fn connection(lent: &mut Self::Lent) -> &mut M::Type {
        lent
    }
    fn done(_: Self::Lent) {}
}

impl<M> Lend for Pool<FromBb8<M>>
where
    M: bb8::ManageConnection<Connection: Echo, Error: Error + Send + Sync>,
{
    type Lent = Connection<FromBb8<M>>;
    type Echo = M::Connection;

    async fn lend(&self) -> Result<Self::Lent, Failed> {
        Ok(self.acquire().await?)
    }
    fn connection(lent: &mut Self::Lent) -> &mut M::Connection {
        lent
    }
    fn done(lent: Self::Lent) {
        lent.release();
    }
}

impl<M> Lend for Pool<FromDeadpool<M>>
where
    M: deadpool::managed::Manager<Type: Echo, Error: Error + Send + Sync> + 'static,
{
    type Lent = Connection<FromDeadpool<M>>;
    type Echo = M::Type;

    async fn lend(&self) -> Result<Self::Lent, Failed> {
        Ok(self.acquire().await?)
    }
    fn connection(lent: &mut Self::Lent) -> &mut M::Type {
        let recyclable: &mut Recyclable<M> = lent;
        recyclable
    }
    fn done(lent: Self::Lent) {
        lent.release();
    }
}

/// Polls a future so often and no more: then its caller has given up.
async fn poll_at_most<F: Future>(times: u32, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = times;
    poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Where a caller gives up.
#[derive(Clone, Copy, Debug, PartialEq)]
enum GivesUp {
    /// Its command has been sent.
    InItsCommand,
    /// While the pool tests the connection for it.
    WhileItIsTested,
}

/// What those got who came next.
#[derive(Debug, Default, PartialEq)]
struct Got {
    right: u32,
    wrong: u32,
    failed: u32,
}

impl Got {
    fn count(&mut self, asked: &str, answered: Result<String, Failed>) {
        match answered {
            Ok(answer) if answer == asked => self.right += 1,
            Ok(_) => self.wrong += 1,
            Err(_) => self.failed += 1,
        }
    }
}

async fn lend_and_echo<L: Lend>(pool: &L, text: &str) -> Result<String, Failed> {
    let mut lent = pool.lend().await?;
    let answer = L::connection(&mut lent).echo(text).await?;
    L::done(lent);
    Ok(answer)
}

/// Twenty times: somebody gives up, and the next one asks. One connection, one at a time.
async fn measure<L: Lend>(name: &str, gives_up: GivesUp, pool: L) -> Got {
    let mut got = Got::default();
    for round in 0..20 {
        match gives_up {
            GivesUp::InItsCommand => {
                let mut lent = pool.lend().await.expect("a connection");
                let command = L::connection(&mut lent).echo("somebody else's");
                // Where an earlier reply is still there, even this one ends.
                let _ = poll_at_most(1, command).await;
            }
            GivesUp::WhileItIsTested => {
                let _ = lend_and_echo(&pool, "there is a connection now").await;
                let _ = poll_at_most(1, pool.lend()).await;
            }
        }
        let mine = format!("mine, {round}");
        got.count(&mine, lend_and_echo(&pool, &mine).await);
    }
    let gives_up = match gives_up {
        GivesUp::InItsCommand => "in its command",
        GivesUp::WhileItIsTested => "while it is tested",
    };
    println!("{name:56} | {gives_up:18} | {got:?}");
    got
}

const ALL_RIGHT: Got = Got {
    right: 20,
    wrong: 0,
    failed: 0,
};

fn redis_of_bb8() -> RedisConnectionManager {
    RedisConnectionManager::new(url()).expect("a url")
}

fn redis_of_deadpool() -> Manager {
    Manager::new(url()).expect("a url")
}

const LINES: Lines = Lines {
    recycle_pings: true,
};
const TRUSTING_LINES: Lines = Lines {
    recycle_pings: false,
};

async fn bb8_pool<M: bb8::ManageConnection>(manager: M, test: bool) -> bb8::Pool<M> {
    let builder = bb8::Pool::builder().max_size(1).test_on_check_out(test);
    builder.build(manager).await.expect("a pool")
}

fn deadpool_pool<M: deadpool::managed::Manager>(manager: M) -> deadpool::managed::Pool<M> {
    let builder = deadpool::managed::Pool::builder(manager).max_size(1);
    builder.build().expect("a pool")
}

fn ours<C: millpond::pool::Connector>(connector: C) -> Pool<C> {
    Pool::builder(connector)
        .max_size(1)
        .build()
        .expect("a pool")
}

#[tokio::test]
async fn in_our_pool_everybody_gets_their_own_reply() {
    for gives_up in [GivesUp::InItsCommand, GivesUp::WhileItIsTested] {
        let pool = ours(from_bb8(redis_of_bb8()));
        assert_eq!(measure("ours, bb8-redis", gives_up, pool).await, ALL_RIGHT);
        let pool = ours(from_bb8(redis_of_bb8()).connections_manage_exchanges());
        let name = "ours, bb8-redis, which minds its exchanges";
        assert_eq!(measure(name, gives_up, pool).await, ALL_RIGHT);
        let pool = ours(from_bb8(LINES));
        let name = "ours, a stream by bb8's trait";
        assert_eq!(measure(name, gives_up, pool).await, ALL_RIGHT);
        let pool = Pool::builder(from_bb8(LINES)).max_size(1);
        let pool = pool.probe(Probe::Never).build().expect("a pool");
        let name = "ours, a stream by bb8's trait, no is_valid";
        assert_eq!(measure(name, gives_up, pool).await, ALL_RIGHT);

        let pool = ours(from_deadpool(redis_of_deadpool()));
        let name = "ours, deadpool-redis";
        assert_eq!(measure(name, gives_up, pool).await, ALL_RIGHT);
        let pool = ours(from_deadpool(redis_of_deadpool()).connections_manage_exchanges());
        let name = "ours, deadpool-redis, which minds its exchanges";
        assert_eq!(measure(name, gives_up, pool).await, ALL_RIGHT);
        for (lines, name) in [
            (LINES, "ours, a stream by deadpool's trait"),
            (
                TRUSTING_LINES,
                "ours, a stream by deadpool's trait, recycle asks nothing",
            ),
        ] {
            let pool = ours(from_deadpool(lines));
            assert_eq!(measure(name, gives_up, pool).await, ALL_RIGHT);
        }
    }
}

/// A multiplexed connection matches replies to requests by itself, in any pool.
#[tokio::test]
async fn in_the_other_pools_their_redis_managers_mix_up_nothing() {
    for gives_up in [GivesUp::InItsCommand, GivesUp::WhileItIsTested] {
        let pool = bb8_pool(redis_of_bb8(), true).await;
        assert_eq!(measure("bb8, bb8-redis", gives_up, pool).await, ALL_RIGHT);
        let pool = deadpool_pool(redis_of_deadpool());
        let name = "deadpool, deadpool-redis";
        assert_eq!(measure(name, gives_up, pool).await, ALL_RIGHT);
    }
}

/// With a stream it depends on whether something reads from the connection between two borrowers,
/// and minds what it reads.
#[tokio::test]
async fn in_the_other_pools_a_stream_gives_replies_to_others_unless_a_test_reads_them() {
    let in_command = GivesUp::InItsCommand;
    let in_test = GivesUp::WhileItIsTested;

    let pool = bb8_pool(LINES, true).await;
    let name = "bb8, a stream";
    assert_eq!(measure(name, in_command, pool).await, ALL_RIGHT);
    let pool = bb8_pool(LINES, true).await;
    assert!(measure(name, in_test, pool).await.wrong > 0);
    let pool = bb8_pool(LINES, false).await;
    let name = "bb8, a stream, test_on_check_out(false)";
    assert!(measure(name, in_command, pool).await.wrong > 0);

    let name = "deadpool, a stream";
    let pool = deadpool_pool(LINES);
    assert_eq!(measure(name, in_command, pool).await, ALL_RIGHT);
    let pool = deadpool_pool(LINES);
    assert_eq!(measure(name, in_test, pool).await, ALL_RIGHT);
    let pool = deadpool_pool(TRUSTING_LINES);
    let name = "deadpool, a stream, recycle asks nothing";
    assert!(measure(name, in_command, pool).await.wrong > 0);
}

/// To say of a stream that it minds its exchanges is to have the other pools' behaviour.
#[tokio::test]
async fn a_false_word_to_our_pool_mixes_replies_up() {
    let connector = from_bb8(LINES).connections_manage_exchanges();
    let pool = Pool::builder(connector).max_size(1).probe(Probe::Never);
    let pool = pool.build().expect("a pool");
    let name = "ours, a stream falsely said to mind its exchanges";
    assert!(measure(name, GivesUp::InItsCommand, pool).await.wrong > 0);
}

/// Eight at once over two connections, who give up anywhere.
async fn crowd<L: Lend + Clone + 'static>(name: &str, pool: L) {
    let local = LocalSet::new();
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let pool = pool.clone();
            local.spawn_local(async move {
                let mut got = Got::default();
                for nth in 0..300 {
                    let mine = format!("task {task}, request {nth}");
                    let patience = fastrand::u32(0..8);
                    let exchange = lend_and_echo(&pool, &mine);
                    let answered = match patience {
                        0..4 => poll_at_most(patience, exchange).await,
                        _ => Some(exchange.await),
                    };
                    if let Some(answered) = answered {
                        got.count(&mine, answered);
                    }
                }
                got
            })
        })
        .collect();
    local.await;
    let mut all = Got::default();
    for task in tasks {
        let got = task.await.expect("a task that ends");
        all.right += got.right;
        all.wrong += got.wrong;
        all.failed += got.failed;
    }
    println!("{name:56} | {:18} | {all:?}", "a crowd, anywhere");
    assert!(all.right > 1_000 && all.wrong == 0 && all.failed == 0);
}

#[tokio::test]
async fn in_our_pool_a_crowd_that_gives_up_anywhere_gets_no_wrong_reply() {
    fn two<C: millpond::pool::Connector>(connector: C) -> Pool<C> {
        Pool::builder(connector)
            .max_size(2)
            .build()
            .expect("a pool")
    }
    crowd("ours, bb8-redis", two(from_bb8(redis_of_bb8()))).await;
    let pool = two(from_bb8(redis_of_bb8()).connections_manage_exchanges());
    crowd("ours, bb8-redis, which minds its exchanges", pool).await;
    crowd("ours, a stream by bb8's trait", two(from_bb8(LINES))).await;
    crowd(
        "ours, deadpool-redis",
        two(from_deadpool(redis_of_deadpool())),
    )
    .await;
    let pool = two(from_deadpool(redis_of_deadpool()).connections_manage_exchanges());
    crowd("ours, deadpool-redis, which minds its exchanges", pool).await;
    let pool = two(from_deadpool(TRUSTING_LINES));
    crowd(
        "ours, a stream by deadpool's trait, recycle asks nothing",
        pool,
    )
    .await;
}
