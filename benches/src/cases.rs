//! What is measured: each case is a short slice of the same work, done with one contestant on a
//! runtime of its own.

use std::{
    future::Future,
    hint::black_box,
    pin::pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::{Duration, Instant},
};

use cpu_time::ProcessTime;
use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::{
    runtime::{Builder, Runtime},
    task::{JoinSet, yield_now},
};

use crate::{
    allocations,
    contestants::{
        Bb8, Contestant, Deadpool, DeadpoolTimeouts, Millpond, Mobc, Nothing, SemaphoreAndVec, Who,
    },
};

/// A case that all contestants go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    OneTask,
    OneTaskMulti,
    TwoTasks,
    Crowd,
    CrowdMulti,
    Throng,
    ThrongMulti,
    HastyMulti,
    Cancel,
    CancelCrowd,
}

impl Case {
    pub const ALL: [Case; 10] = [
        Case::OneTask,
        Case::OneTaskMulti,
        Case::TwoTasks,
        Case::Crowd,
        Case::CrowdMulti,
        Case::Throng,
        Case::ThrongMulti,
        Case::HastyMulti,
        Case::Cancel,
        Case::CancelCrowd,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Case::OneTask => "one-task",
            Case::OneTaskMulti => "one-task-multi",
            Case::TwoTasks => "two-tasks",
            Case::Crowd => "64-over-8",
            Case::CrowdMulti => "64-over-8-multi",
            Case::Throng => "256-over-2",
            Case::ThrongMulti => "256-over-2-multi",
            Case::HastyMulti => "64-over-8-hasty-multi",
            Case::Cancel => "cancel",
            Case::CancelCrowd => "cancel-crowd",
        }
    }

    /// What the figures are of.
    pub fn describe(self) -> &'static str {
        match self {
            Case::OneTask => "acquire + release, one task, current_thread",
            Case::OneTaskMulti => "acquire + release, one task, 2 workers",
            Case::TwoTasks => {
                "acquire + release, two tasks in parallel, 2 workers; ns are wall time per operation of one task"
            }
            Case::Crowd => {
                "64 tasks over 8 connections, each held across one yield_now, current_thread"
            }
            Case::CrowdMulti => {
                "64 tasks over 8 connections, each held across one yield_now, 2 workers"
            }
            Case::Throng => {
                "256 tasks over 2 connections, each held across one yield_now, current_thread"
            }
            Case::ThrongMulti => {
                "256 tasks over 2 connections, each held across one yield_now, 2 workers"
            }
            Case::HastyMulti => {
                "64 tasks over 8 connections, nothing awaited while one is held, 2 workers"
            }
            Case::Cancel => {
                "one task over 1 connection: acquire, begin to wait for a second and drop that, release; CPU time per attempt (two a turn)"
            }
            Case::CancelCrowd => {
                "16 tasks over 4 connections: begin an acquire and drop it, then acquire, yield_now, release; CPU time per attempt"
            }
        }
    }

    fn is_multi_thread(self) -> bool {
        matches!(
            self,
            Case::OneTaskMulti
                | Case::TwoTasks
                | Case::CrowdMulti
                | Case::ThrongMulti
                | Case::HastyMulti
        )
    }

    /// How many tasks, and over how many connections.
    fn dimensions(self) -> (usize, u32) {
        match self {
            Case::OneTask | Case::OneTaskMulti => (1, 4),
            Case::TwoTasks => (2, 4),
            Case::Crowd | Case::CrowdMulti | Case::HastyMulti => (64, 8),
            Case::Throng | Case::ThrongMulti => (256, 2),
            Case::Cancel => (1, 1),
            Case::CancelCrowd => (16, 4),
        }
    }

    /// Whether there are more callers than connections, so that waits and fairness mean something.
    pub fn is_contended(self) -> bool {
        matches!(
            self,
            Case::Crowd | Case::CrowdMulti | Case::Throng | Case::ThrongMulti | Case::HastyMulti
        )
    }

    /// Whether this contestant tells something here: without a pool nobody waits, so all that is
    /// left is how a scheduler shares out turns.
    pub fn has(self, who: Who) -> bool {
        who != Who::Nothing || self == Case::HastyMulti
    }

    pub fn is_cancelling(self) -> bool {
        matches!(self, Case::Cancel | Case::CancelCrowd)
    }
}

/// What one slice of one contestant has shown.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Operations, or attempts where they are cancelled, in the measured window.
    pub operations: u64,
    pub window_ns: u64,
    pub cpu_ns: u64,
    /// Wall time per operation (of one task where several run in parallel without waiting); CPU
    /// time where acquires are cancelled.
    pub ns_per_operation: f64,
    pub operations_per_second: f64,
    pub allocations_per_operation: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crowd: Option<CrowdFigures>,
    /// Tasks that were still waiting seconds after everybody had been told to stop.
    pub never_ended: usize,
}

/// How the callers of a crowd fared.
#[derive(Clone, Debug, Serialize)]
pub struct CrowdFigures {
    pub wait_p50_us: f64,
    pub wait_p99_us: f64,
    pub wait_max_us: f64,
    /// The operations of the task that got most, and of the one that got least.
    pub luckiest: u64,
    pub unluckiest: u64,
    /// Tasks that got less than a tenth of the average.
    pub starved: usize,
}

impl CrowdFigures {
    /// The luckiest task's operations over the unluckiest's; infinite where somebody got nothing.
    pub fn spread(&self) -> f64 {
        self.luckiest as f64 / self.unluckiest as f64
    }
}

/// Runs one slice of this long (after a warm-up of a tenth of it, and at least 5 ms).
pub fn run(case: Case, who: Who, slice: Duration) -> Figures {
    match who {
        Who::Millpond => run_with::<Millpond>(case, slice),
        Who::Deadpool => run_with::<Deadpool>(case, slice),
        Who::DeadpoolTimeouts => run_with::<DeadpoolTimeouts>(case, slice),
        Who::Bb8 => run_with::<Bb8>(case, slice),
        Who::Mobc => run_with::<Mobc>(case, slice),
        Who::Semaphore => run_with::<SemaphoreAndVec>(case, slice),
        Who::Nothing => run_with::<Nothing>(case, slice),
    }
}

fn run_with<P: Contestant>(case: Case, slice: Duration) -> Figures {
    let runtime = runtime(case.is_multi_thread());
    let (tasks, size) = case.dimensions();
    let warm_up = (slice / 10).max(Duration::from_millis(5));
    let window = Window::new(warm_up, slice);
    let figures = runtime.block_on(async {
        let pool = Arc::new(P::build(size).await);
        fill(&*pool, size).await;
        let start = Arc::new(Start::of(tasks));
        let mut running = JoinSet::new();
        for _ in 0..tasks {
            let (pool, start) = (Arc::clone(&pool), Arc::clone(&start));
            match case {
                Case::OneTask | Case::OneTaskMulti | Case::TwoTasks => {
                    running.spawn(async move { back_to_back(&*pool, &start, window).await });
                }
                Case::Crowd | Case::CrowdMulti | Case::Throng | Case::ThrongMulti => {
                    running.spawn(async move { crowded(&*pool, &start, window, true).await });
                }
                Case::HastyMulti => {
                    running.spawn(async move { crowded(&*pool, &start, window, false).await });
                }
                Case::Cancel => {
                    running.spawn(async move { cancelling(&*pool, &start, window).await });
                }
                Case::CancelCrowd => {
                    running
                        .spawn(async move { cancelling_in_a_crowd(&*pool, &start, window).await });
                }
            }
        }
        measure(case, running, &start, window).await
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    figures
}

fn runtime(multi_thread: bool) -> Runtime {
    let mut builder = if multi_thread {
        Builder::new_multi_thread()
    } else {
        Builder::new_current_thread()
    };
    let runtime = builder.worker_threads(2).enable_time().build();
    runtime.expect("two threads can be started")
}

/// Opens every connection there may be.
async fn fill<P: Contestant>(pool: &P, size: u32) {
    let mut held = Vec::new();
    for _ in 0..size {
        held.push(pool.acquire().await);
    }
}

/// The part of a slice that counts, from the start of all tasks on.
#[derive(Clone, Copy)]
struct Window {
    warm_up: Duration,
    measured: Duration,
}

impl Window {
    fn new(warm_up: Duration, measured: Duration) -> Self {
        Window { warm_up, measured }
    }
}

/// Where the tasks of a slice wait for each other, and what they note at both ends of the window.
///
/// They note it themselves: somebody beside them may not run at all while they do.
struct Start {
    missing: AtomicUsize,
    opened: OnceLock<Reading>,
    closed: OnceLock<Reading>,
}

/// What the process had used by some instant.
#[derive(Clone, Copy)]
struct Reading {
    at: Instant,
    cpu: ProcessTime,
    allocations: u64,
}

impl Reading {
    fn now() -> Self {
        Reading {
            at: Instant::now(),
            cpu: ProcessTime::now(),
            allocations: allocations::count(),
        }
    }
}

impl Start {
    fn of(tasks: usize) -> Self {
        Start {
            missing: AtomicUsize::new(tasks),
            opened: OnceLock::new(),
            closed: OnceLock::new(),
        }
    }

    /// The first task is in the window.
    fn open(&self) {
        self.opened.get_or_init(Reading::now);
    }

    /// The first task is beyond it.
    fn close(&self) {
        self.closed.get_or_init(Reading::now);
    }

    /// Waits until all are there. Two tasks spin, so that the second is stolen by the second
    /// worker; a crowd yields.
    async fn line_up(&self, spin: bool) -> Instant {
        self.missing.fetch_sub(1, Ordering::AcqRel);
        let patience = Instant::now() + Duration::from_millis(100);
        while self.missing.load(Ordering::Acquire) > 0 {
            if spin && Instant::now() < patience {
                std::hint::spin_loop();
            } else {
                yield_now().await;
            }
        }
        Instant::now()
    }
}

/// What one task counted in the window.
#[derive(Default)]
struct Tally {
    operations: u64,
    /// From its first counted operation to the end of its last, where each task has a window of
    /// its own.
    took: Duration,
    /// Nanoseconds.
    waits: Option<Histogram<u32>>,
}

/// Acquires and releases without a pause. The clock is read once in a while, not once per
/// operation.
async fn back_to_back<P: Contestant>(pool: &P, start: &Start, window: Window) -> Tally {
    const BATCH: u64 = 256;
    let begun = start.line_up(true).await;
    let turn = async || {
        for _ in 0..BATCH {
            let mut lent = pool.acquire().await;
            touch(&mut lent);
        }
    };
    while begun.elapsed() < window.warm_up {
        turn().await;
    }
    start.open();
    let from = Instant::now();
    let mut operations = 0;
    loop {
        turn().await;
        operations += BATCH;
        let took = from.elapsed();
        if took >= window.measured {
            start.close();
            return Tally {
                operations,
                took,
                waits: None,
            };
        }
    }
}

/// Acquires, releases, and asks again at once. `holds`: across one `yield_now`, without which
/// nobody would ever wait on one thread.
async fn crowded<P: Contestant>(pool: &P, start: &Start, window: Window, holds: bool) -> Tally {
    let mut waits = Histogram::new_with_bounds(1, 60_000_000_000, 2).expect("bounds in order");
    let begun = start.line_up(false).await;
    let from = begun + window.warm_up;
    let until = from + window.measured;
    let mut operations = 0;
    loop {
        let asked = Instant::now();
        let mut lent = pool.acquire().await;
        let got = Instant::now();
        touch(&mut lent);
        if holds {
            yield_now().await;
        }
        drop(lent);
        // Every wait that lies in the window at least in part: one who starves would otherwise
        // record nothing.
        if got >= from && asked < until {
            waits.saturating_record(nanos(got - asked).max(1));
        }
        if got >= until {
            start.close();
            return Tally {
                operations,
                took: window.measured,
                waits: Some(waits),
            };
        }
        if got >= from {
            if operations == 0 {
                start.open();
            }
            operations += 1;
        }
    }
}

/// Holds the only connection, begins to wait for another and gives that up. Two attempts a turn.
async fn cancelling<P: Contestant>(pool: &P, start: &Start, window: Window) -> Tally {
    const BATCH: u64 = 64;
    let begun = start.line_up(true).await;
    let until = begun + window.warm_up + window.measured;
    let from = begun + window.warm_up;
    let mut tally = Tally {
        took: window.measured,
        ..Tally::default()
    };
    loop {
        for _ in 0..BATCH {
            let mut lent = pool.acquire().await;
            touch(&mut lent);
            let got_a_second = begin_and_drop(pool).await;
            assert!(!got_a_second, "there is only one");
            drop(lent);
        }
        let now = Instant::now();
        if now >= until {
            start.close();
            return tally;
        }
        if now >= from {
            if tally.operations == 0 {
                start.open();
            }
            tally.operations += 2 * BATCH;
        }
    }
}

/// As [`crowded`], but each acquire comes after one that was begun and dropped.
async fn cancelling_in_a_crowd<P: Contestant>(pool: &P, start: &Start, window: Window) -> Tally {
    let begun = start.line_up(false).await;
    let from = begun + window.warm_up;
    let until = from + window.measured;
    let mut tally = Tally {
        took: window.measured,
        ..Tally::default()
    };
    loop {
        begin_and_drop(pool).await;
        let mut lent = pool.acquire().await;
        touch(&mut lent);
        yield_now().await;
        drop(lent);
        let now = Instant::now();
        if now >= until {
            start.close();
            return tally;
        }
        if now >= from {
            if tally.operations == 0 {
                start.open();
            }
            tally.operations += 2;
        }
    }
}

/// Polls an acquire once and drops it; says whether it was served.
async fn begin_and_drop<P: Contestant>(pool: &P) -> bool {
    let mut acquire = pin!(pool.acquire());
    std::future::poll_fn(|cx| Poll::Ready(acquire.as_mut().poll(cx).is_ready())).await
}

#[inline]
fn touch(lent: &mut u64) {
    *lent = black_box(lent.wrapping_add(1));
}

/// Waits for the tasks of a slice, and sums up.
async fn measure(
    case: Case,
    mut running: JoinSet<Tally>,
    start: &Start,
    window: Window,
) -> Figures {
    /// After the end of the window each task has at most one operation left; nobody needs this long
    /// for that.
    const PATIENCE: Duration = Duration::from_secs(3);

    let mut tallies = Vec::new();
    let mut never_ended = 0;
    loop {
        match tokio::time::timeout(2 * window.measured + PATIENCE, running.join_next()).await {
            Ok(Some(Ok(tally))) => tallies.push(tally),
            // An acquire that timed out: its wait would not have ended either.
            Ok(Some(Err(_))) => never_ended += 1,
            Ok(None) => break,
            Err(_) => {
                never_ended += running.len();
                break;
            }
        }
    }
    let operations: u64 = tallies.iter().map(|tally| tally.operations).sum();
    let took: Duration = tallies.iter().map(|tally| tally.took).sum();
    let tasks = tallies.len().max(1) as f64;
    let each_ns = nanos(took) as f64 / operations as f64;
    let seconds = took.as_secs_f64() / tasks;
    // Nobody opened or closed the window where everybody waited for ever, or for longer than it
    // was.
    let opened = start.opened.get().copied().unwrap_or_else(Reading::now);
    let closed = start.closed.get().copied().unwrap_or_else(Reading::now);
    let watched = closed.at.saturating_duration_since(opened.at);
    // Clocks of a process have been seen to go back a little on virtual machines.
    let cpu = closed
        .cpu
        .as_duration()
        .saturating_sub(opened.cpu.as_duration());
    let allocated = closed.allocations.saturating_sub(opened.allocations);
    // What the process used between the two readings is shared out among the operations between
    // them.
    let operations_watched = operations as f64 * watched.as_secs_f64() / seconds;
    let cpu_ns = nanos(cpu) as f64 / operations_watched;
    Figures {
        operations,
        window_ns: nanos(watched),
        cpu_ns: nanos(cpu),
        ns_per_operation: match case {
            _ if case.is_cancelling() => cpu_ns,
            _ if case.is_contended() => each_ns / tasks,
            _ => each_ns,
        },
        operations_per_second: operations as f64 / seconds,
        allocations_per_operation: allocated as f64 / operations_watched,
        crowd: case.is_contended().then(|| crowd(&tallies, never_ended)),
        never_ended,
    }
}

fn crowd(tallies: &[Tally], never_ended: usize) -> CrowdFigures {
    let mut waits =
        Histogram::<u32>::new_with_bounds(1, 60_000_000_000, 2).expect("bounds in order");
    for tally in tallies {
        if let Some(own) = &tally.waits {
            waits.add(own).expect("of the same bounds");
        }
    }
    let micros = |quantile| waits.value_at_quantile(quantile) as f64 / 1000.0;
    // Who never ended may have got something, but nobody can say what.
    let counts = || {
        let ended = tallies.iter().map(|tally| tally.operations);
        ended.chain(std::iter::repeat_n(0, never_ended))
    };
    let average = counts().sum::<u64>() as f64 / counts().count().max(1) as f64;
    CrowdFigures {
        wait_p50_us: micros(0.5),
        wait_p99_us: micros(0.99),
        wait_max_us: waits.max() as f64 / 1000.0,
        luckiest: counts().max().unwrap_or(0),
        unluckiest: counts().min().unwrap_or(0),
        starved: counts()
            .filter(|&count| (count as f64) < average / 10.0)
            .count(),
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
