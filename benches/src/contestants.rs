//! The pools that are compared, each behind the same few lines: build, acquire, and a guard that
//! gives back when it is dropped.
//!
//! What is pooled is a `u64` that costs nothing to open and nothing to check, so that only the pool
//! itself is measured.

use std::{
    convert::Infallible,
    future::Future,
    ops::{Deref, DerefMut},
    time::Duration,
};

use clap::ValueEnum;
use serde::Serialize;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Which pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Who {
    Millpond,
    Deadpool,
    DeadpoolTimeouts,
    Bb8,
    Mobc,
    Semaphore,
    Nothing,
}

impl Who {
    /// The last is no pool, and beside them only where it tells something: see `Case::has`.
    pub const ALL: [Who; 7] = [
        Who::Millpond,
        Who::Deadpool,
        Who::DeadpoolTimeouts,
        Who::Bb8,
        Who::Mobc,
        Who::Semaphore,
        Who::Nothing,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Who::Millpond => "millpond",
            Who::Deadpool => "deadpool",
            Who::DeadpoolTimeouts => "deadpool+timeouts",
            Who::Bb8 => "bb8",
            Who::Mobc => "mobc",
            Who::Semaphore => "semaphore",
            Who::Nothing => "nothing",
        }
    }

    /// What it is, and how it is set.
    pub fn describe(self) -> &'static str {
        match self {
            Who::Millpond => {
                "every default on: acquire_timeout 5 s, max_lifetime, idle_timeout, leak_threshold, upkeep"
            }
            Who::Deadpool => "0.13, managed, its defaults: no timeouts",
            Who::DeadpoolTimeouts => "the same with a wait timeout of 5 s; for information",
            Who::Bb8 => {
                "0.9, its defaults: get timeout 30 s, test_on_check_out (a check that is free)"
            }
            Who::Mobc => {
                "0.9, its defaults, but max_idle = max_open, without which it would dial all the time"
            }
            Who::Semaphore => {
                "tokio Semaphore + parking_lot Mutex<Vec>: no timeouts, no checks, no states"
            }
            Who::Nothing => {
                "no pool: nobody shares anything or waits; 100 ns of work that use up tokio's budget as an acquire does"
            }
        }
    }
}

/// A pool of `u64`s.
pub trait Contestant: Send + Sync + Sized + 'static {
    type Lent<'p>: DerefMut<Target = u64> + Send
    where
        Self: 'p;

    /// Builds it on the current runtime.
    fn build(size: u32) -> impl Future<Output = Self> + Send;

    fn acquire(&self) -> impl Future<Output = Self::Lent<'_>> + Send;

    /// The size of the future that a caller of this pool awaits.
    fn future_size(&self) -> usize;
}

pub struct Millpond(millpond::pool::Pool<InMemory>);

impl Contestant for Millpond {
    type Lent<'p> = millpond::pool::Connection<InMemory>;

    async fn build(size: u32) -> Self {
        let pool = millpond::pool::Pool::builder(InMemory)
            .max_size(size)
            .build();
        Millpond(pool.expect("a runtime is there"))
    }
    async fn acquire(&self) -> Self::Lent<'_> {
        self.0.acquire().await.expect("nothing fails in memory")
    }
    fn future_size(&self) -> usize {
        size_of_val(&self.0.acquire())
    }
}

pub struct Deadpool(deadpool::managed::Pool<InMemory>);

impl Contestant for Deadpool {
    type Lent<'p> = deadpool::managed::Object<InMemory>;

    async fn build(size: u32) -> Self {
        let pool = deadpool::managed::Pool::builder(InMemory).max_size(size as usize);
        Deadpool(pool.build().expect("nothing needs a runtime"))
    }
    async fn acquire(&self) -> Self::Lent<'_> {
        self.0.get().await.expect("nothing fails in memory")
    }
    fn future_size(&self) -> usize {
        size_of_val(&self.0.get())
    }
}

pub struct DeadpoolTimeouts(deadpool::managed::Pool<InMemory>);

impl Contestant for DeadpoolTimeouts {
    type Lent<'p> = deadpool::managed::Object<InMemory>;

    async fn build(size: u32) -> Self {
        let pool = deadpool::managed::Pool::builder(InMemory)
            .max_size(size as usize)
            .wait_timeout(Some(Duration::from_secs(5)))
            .runtime(deadpool::Runtime::Tokio1);
        DeadpoolTimeouts(pool.build().expect("its runtime is named"))
    }
    async fn acquire(&self) -> Self::Lent<'_> {
        self.0.get().await.expect("nothing fails in memory")
    }
    fn future_size(&self) -> usize {
        size_of_val(&self.0.get())
    }
}

pub struct Bb8(bb8::Pool<InMemory>);

impl Contestant for Bb8 {
    type Lent<'p> = bb8::PooledConnection<'p, InMemory>;

    async fn build(size: u32) -> Self {
        let pool = bb8::Pool::builder().max_size(size).build(InMemory).await;
        Bb8(pool.expect("nothing fails in memory"))
    }
    async fn acquire(&self) -> Self::Lent<'_> {
        self.0.get().await.expect("nothing fails in memory")
    }
    fn future_size(&self) -> usize {
        size_of_val(&self.0.get())
    }
}

pub struct Mobc(mobc::Pool<InMemory>);

impl Contestant for Mobc {
    type Lent<'p> = mobc::Connection<InMemory>;

    async fn build(size: u32) -> Self {
        let pool = mobc::Pool::builder()
            .max_open(size.into())
            .max_idle(size.into());
        Mobc(pool.build(InMemory))
    }
    async fn acquire(&self) -> Self::Lent<'_> {
        self.0.get().await.expect("nothing fails in memory")
    }
    fn future_size(&self) -> usize {
        size_of_val(&self.0.get())
    }
}

/// What one writes by hand: the least that a pool can cost.
pub struct SemaphoreAndVec {
    permits: Semaphore,
    idle: parking_lot::Mutex<Vec<u64>>,
}

pub struct Permitted<'p> {
    pool: &'p SemaphoreAndVec,
    value: u64,
    /// Released when the value is back: fields are dropped after `Drop::drop` has run.
    _permit: SemaphorePermit<'p>,
}

impl Deref for Permitted<'_> {
    type Target = u64;
    fn deref(&self) -> &u64 {
        &self.value
    }
}

impl DerefMut for Permitted<'_> {
    fn deref_mut(&mut self) -> &mut u64 {
        &mut self.value
    }
}

impl Drop for Permitted<'_> {
    fn drop(&mut self) {
        self.pool.idle.lock().push(self.value);
    }
}

impl SemaphoreAndVec {
    async fn get(&self) -> Permitted<'_> {
        let permit = self.permits.acquire().await.expect("never closed");
        let value = self.idle.lock().pop().unwrap_or_default();
        Permitted {
            pool: self,
            value,
            _permit: permit,
        }
    }
}

impl Contestant for SemaphoreAndVec {
    type Lent<'p> = Permitted<'p>;

    async fn build(size: u32) -> Self {
        SemaphoreAndVec {
            permits: Semaphore::new(size as usize),
            idle: parking_lot::Mutex::new(Vec::with_capacity(size as usize)),
        }
    }
    async fn acquire(&self) -> Self::Lent<'_> {
        self.get().await
    }
    fn future_size(&self) -> usize {
        size_of_val(&self.get())
    }
}

/// No pool: what tokio's scheduler does to tasks that never wait for each other.
pub struct Nothing;

impl Contestant for Nothing {
    type Lent<'p> = Box<u64>;

    async fn build(_: u32) -> Self {
        Nothing
    }
    async fn acquire(&self) -> Box<u64> {
        tokio::task::coop::consume_budget().await;
        let mut work = Box::new(0);
        for _ in 0..100 {
            *work = std::hint::black_box(*work + 1);
        }
        work
    }
    fn future_size(&self) -> usize {
        size_of_val(&self.acquire())
    }
}

/// Opens `u64`s, for whichever pool asks.
pub struct InMemory;

impl millpond::pool::Connector for InMemory {
    type Connection = u64;
    type Error = Infallible;

    async fn connect(&self) -> Result<u64, Infallible> {
        Ok(0)
    }
    /// As the others are told by their `recycle` and `has_broken`.
    fn is_clean(&self, _: &u64, _: millpond::pool::LastExchange) -> bool {
        true
    }
}

impl deadpool::managed::Manager for InMemory {
    type Type = u64;
    type Error = Infallible;

    async fn create(&self) -> Result<u64, Infallible> {
        Ok(0)
    }
    async fn recycle(
        &self,
        _: &mut u64,
        _: &deadpool::managed::Metrics,
    ) -> deadpool::managed::RecycleResult<Infallible> {
        Ok(())
    }
}

impl bb8::ManageConnection for InMemory {
    type Connection = u64;
    type Error = Infallible;

    async fn connect(&self) -> Result<u64, Infallible> {
        Ok(0)
    }
    async fn is_valid(&self, _: &mut u64) -> Result<(), Infallible> {
        Ok(())
    }
    fn has_broken(&self, _: &mut u64) -> bool {
        false
    }
}

#[mobc::async_trait]
impl mobc::Manager for InMemory {
    type Connection = u64;
    type Error = Infallible;

    async fn connect(&self) -> Result<u64, Infallible> {
        Ok(0)
    }
    async fn check(&self, connection: u64) -> Result<u64, Infallible> {
        Ok(connection)
    }
}
