//! What callers do and how it is watched: one that waits, one that comes again and again. Every
//! watch has an end.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    runtime::Runtime,
    task::{JoinHandle, spawn},
    time::{sleep, timeout},
};

use super::contestant::{Contestant, Lent};

/// How long an acquire is watched.
pub const WATCH: Duration = Duration::from_secs(10);

/// How often a contestant plays what costs nothing but time, all at once; medians are printed.
pub const RUNS: u16 = 3;

/// A runtime for a scene: the pools' tasks run on its two workers, the scene itself on its own
/// thread.
pub fn runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
}

/// How an acquire went.
pub struct Asked {
    /// How long it took; `None`: it wasn't over when the watch was.
    pub took: Option<Duration>,
    /// The connection, or what the caller was told.
    pub outcome: Result<Box<dyn Lent>, String>,
}

/// Acquires, for at most `watch`.
pub async fn ask(pool: &dyn Contestant, watch: Duration) -> Asked {
    let start = Instant::now();
    match timeout(watch, pool.acquire()).await {
        Ok(outcome) => Asked {
            took: Some(start.elapsed()),
            outcome,
        },
        Err(_) => Asked {
            took: None,
            outcome: Err(format!("nothing within {} s", watch.as_secs())),
        },
    }
}

impl Asked {
    /// What the caller was told.
    pub fn told(&self) -> String {
        match &self.outcome {
            Ok(_) => "(was lent a connection)".to_owned(),
            Err(told) => told.clone(),
        }
    }
}

/// Makes the pool dial `count` connections, has an exchange on each, and keeps them.
///
/// # Errors
///
/// If the pool doesn't lend as many, or an exchange fails.
pub async fn hold(pool: &dyn Contestant, count: usize) -> millpond_rig::Result<Vec<Box<dyn Lent>>> {
    let mut held = Vec::new();
    for _ in 0..count {
        let mut lent = ask(pool, WATCH).await.outcome?;
        lent.exchange().await?;
        held.push(lent);
    }
    Ok(held)
}

/// Makes the pool dial `count` connections, which are then idle.
///
/// # Errors
///
/// If the pool doesn't lend as many, or an exchange fails.
pub async fn warm(pool: &dyn Contestant, count: usize) -> millpond_rig::Result {
    hold(pool, count)
        .await?
        .into_iter()
        .for_each(Lent::complete);
    Ok(())
}

/// What a caller got who came again and again.
#[derive(Clone, Debug, Default)]
pub struct Got {
    /// Replies.
    pub replies: u64,
    /// Exchanges that failed, or took longer than the caller gave them.
    pub failures: u64,
    /// Acquires that gave an error.
    pub told: u64,
    /// After how long the first acquire ended.
    pub first_answer: Option<Duration>,
    /// What the first acquire that gave an error said.
    pub first_error: Option<String>,
    /// What the last one said.
    pub last_error: Option<String>,
}

/// How a caller comes again.
#[derive(Clone, Copy)]
pub struct Habit {
    /// How long it gives an exchange.
    pub exchange: Duration,
    /// How long it waits before it comes again.
    pub pause: Duration,
    /// Until when it comes.
    pub until: Instant,
}

/// Acquires and exchanges until `enough` says of a reply that it is what the caller came for, or
/// the habit's end. Returns after how long that was, if it was.
pub async fn come_again(
    pool: &dyn Contestant,
    habit: Habit,
    enough: impl Fn(u8) -> bool,
) -> (Option<Duration>, Got) {
    let start = Instant::now();
    let mut got = Got::default();
    while let Some(left) = habit.until.checked_duration_since(Instant::now()) {
        let asked = ask(pool, left).await;
        if asked.took.is_some() {
            got.first_answer.get_or_insert(start.elapsed());
        }
        match asked.outcome {
            Ok(mut lent) => match timeout(habit.exchange.min(left), lent.exchange()).await {
                Ok(Ok(by)) => {
                    got.replies += 1;
                    lent.complete();
                    if enough(by) {
                        return (Some(start.elapsed()), got);
                    }
                }
                Ok(Err(_)) | Err(_) => got.failures += 1,
            },
            Err(_) if asked.took.is_none() => break,
            Err(error) => {
                got.told += 1;
                got.first_error.get_or_insert_with(|| error.clone());
                got.last_error = Some(error);
            }
        }
        if habit.pause > Duration::ZERO {
            sleep(habit.pause).await;
        }
    }
    (None, got)
}

/// 8 callers who come again at once, whatever they get.
pub async fn crowd(pool: &Arc<dyn Contestant>, habit: Habit) -> Vec<Got> {
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let pool = pool.clone();
            spawn(async move { come_again(&*pool, habit, |_| false).await.1 })
        })
        .collect();
    all(callers).await
}

/// What these tasks return.
pub async fn all<T>(tasks: impl IntoIterator<Item = JoinHandle<T>>) -> Vec<T> {
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.expect("callers don't panic"));
    }
    results
}

/// Runs a scene's asynchronous part on this thread, and what is left of it no longer than a moment.
pub fn block_on<T>(runtime: Runtime, scene: impl Future<Output = T>) -> T {
    let result = runtime.block_on(scene);
    // A lookup of a name may be stuck in a thread; the scene's process ends next.
    runtime.shutdown_background();
    result
}
