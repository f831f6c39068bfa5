//! What memory the pools take: the future that a caller awaits, and what is kept for each idle
//! connection.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use millpond::pool::{Connector, Eviction, Pool};
use serde::Serialize;

use crate::{
    allocations,
    contestants::{
        Bb8, Contestant, Deadpool, DeadpoolTimeouts, Millpond, Mobc, SemaphoreAndVec, Who,
    },
};

/// How many connections lie idle.
pub const IDLE: u32 = 10_000;

/// The memory of one contestant.
#[derive(Clone, Debug, Serialize)]
pub struct Sizes {
    pub contestant: Who,
    pub future_bytes: usize,
    /// Beyond the `u64` itself; bytes asked of the allocator, the pool's own share included.
    pub per_idle_bytes: f64,
}

/// What connections take that keep the waker with which upkeep watches them, as sockets do.
#[derive(Clone, Debug, Serialize)]
pub struct WatchedSizes {
    /// Beyond the connection's own size, before anybody has looked at them.
    pub unwatched_bytes: f64,
    /// The same when each has been looked at and has kept its waker.
    pub watched_bytes: f64,
    /// How many had been looked at by then, and how long that took.
    pub looked_at: usize,
    pub took: Duration,
}

pub fn of(who: Who) -> Sizes {
    let (future_bytes, per_idle_bytes) = match who {
        Who::Millpond => measure::<Millpond>(),
        Who::Deadpool => measure::<Deadpool>(),
        Who::DeadpoolTimeouts => measure::<DeadpoolTimeouts>(),
        Who::Bb8 => measure::<Bb8>(),
        Who::Mobc => measure::<Mobc>(),
        Who::Semaphore => measure::<SemaphoreAndVec>(),
        Who::Nothing => unreachable!("it is no pool"),
    };
    Sizes {
        contestant: who,
        future_bytes,
        per_idle_bytes,
    }
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder
        .enable_time()
        .build()
        .expect("a timer needs nothing")
}

fn measure<P: Contestant>() -> (usize, f64) {
    runtime().block_on(async {
        let before = allocations::live_bytes();
        let pool = P::build(IDLE).await;
        let mut held = Vec::new();
        for _ in 0..IDLE {
            held.push(pool.acquire().await);
        }
        drop(held);
        // What gives connections back, or tidies up, in tasks of its own gets the time for it.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let taken = allocations::live_bytes() - before;
        (pool.future_size(), per_connection(taken, size_of::<u64>()))
    })
}

fn per_connection(bytes: i64, own: usize) -> f64 {
    bytes as f64 / f64::from(IDLE) - own as f64
}

/// Watches 10,000 connections of the pool that this is all about.
pub fn watched() -> WatchedSizes {
    let looks = Arc::new(AtomicUsize::new(0));
    let connector = KeepsItsWaker(Arc::clone(&looks));
    runtime().block_on(async {
        let before = allocations::live_bytes();
        let pool = Pool::builder(connector).max_size(IDLE).build();
        let pool = pool.expect("a runtime is there");
        let mut held = Vec::new();
        for _ in 0..IDLE {
            held.push(pool.acquire().await.expect("nothing fails in memory"));
        }
        drop(held);
        let unwatched = allocations::live_bytes() - before;
        let begun = Instant::now();
        while looks.load(Ordering::Relaxed) < IDLE as usize
            && begun.elapsed() < Duration::from_secs(10)
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let watched = allocations::live_bytes() - before;
        WatchedSizes {
            unwatched_bytes: per_connection(unwatched, size_of::<Watched>()),
            watched_bytes: per_connection(watched, size_of::<Watched>()),
            looked_at: looks.load(Ordering::Relaxed),
            took: begun.elapsed(),
        }
    })
}

struct KeepsItsWaker(Arc<AtomicUsize>);

struct Watched {
    _number: u64,
    waker: Option<Waker>,
}

impl Connector for KeepsItsWaker {
    type Connection = Watched;
    type Error = Infallible;

    async fn connect(&self) -> Result<Watched, Infallible> {
        Ok(Watched {
            _number: 0,
            waker: None,
        })
    }
    fn poll_idle(&self, connection: &mut Watched, cx: &mut Context<'_>) -> Poll<Eviction> {
        connection.waker = Some(cx.waker().clone());
        self.0.fetch_add(1, Ordering::Relaxed);
        Poll::Pending
    }
}
