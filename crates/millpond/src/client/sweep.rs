//! What exchanges have instead of timers that have seconds, and nearly all of which end within a
//! millisecond: a sweep, 40 times a second while there are any, wakes those that it finds under
//! way. They look at the clock then, and set a timer.
//!
//! An exchange that ends before that has cost the clone of a waker, and a lock that only the sweep
//! contends for: neither a look at the clock nor a turn of the timers' lock.

use std::{
    sync::{Arc, atomic::Ordering},
    task::Waker,
    time::Duration,
};

use tokio::{sync::Notify, time::sleep};

use crate::pool::unstable::{AtomicU8, Mutex};

/// How long an exchange may be under way before it is told to look at the clock.
const STEP: Duration = Duration::from_millis(25);

/// Nobody sweeps.
const GONE: u8 = 0;
/// Nothing was under way when it last looked: the first that begins rings.
const ASLEEP: u8 = 1;
const AWAKE: u8 = 2;

/// See the module.
pub(super) struct Sweep {
    stage: AtomicU8,
    rung: Notify,
    marks: Mutex<Vec<Arc<Mark>>>,
}

/// Where a session's exchange waits for the sweep. What an exchange leaves there is found by the
/// next sweep, and woken for nothing.
pub(super) struct Mark(Mutex<Option<Waker>>);

impl Sweep {
    pub(super) fn new() -> Self {
        Sweep {
            stage: AtomicU8::new(GONE),
            rung: Notify::new(),
            marks: Mutex::new(Vec::new()),
        }
    }

    /// Somebody sweeps: an exchange may leave the clock to it.
    #[inline]
    pub(super) fn is_there(&self) -> bool {
        self.stage.load(Ordering::Relaxed) != GONE
    }

    /// An exchange begins to wait, and is woken by the sweep; unless that is gone, which is told.
    #[inline]
    pub(super) fn watch(&self, mark: &mut Option<Arc<Mark>>, waker: &Waker) -> bool {
        let mark = mark.get_or_insert_with(|| {
            let mark = Arc::new(Mark(Mutex::new(None)));
            self.marks.lock().push(Arc::clone(&mark));
            mark
        });
        mark.set(waker.clone());
        // In this order: a sweep that falls asleep, or goes, says so before it looks at the marks
        // for the last time.
        match self.stage.load(Ordering::Acquire) {
            AWAKE => true,
            GONE => false,
            _ => self.ring(),
        }
    }

    /// Whether there is anybody to be rung for.
    #[cold]
    fn ring(&self) -> bool {
        let rung =
            (self.stage).compare_exchange(ASLEEP, AWAKE, Ordering::AcqRel, Ordering::Acquire);
        if rung.is_ok() {
            self.rung.notify_one();
        }
        rung != Err(GONE)
    }

    /// Sweeps for as long as it is polled. Cancel safe: those under way are told when it is
    /// dropped, and that nobody sweeps any more.
    pub(super) async fn run(&self) {
        let _end = End(self);
        self.stage.store(AWAKE, Ordering::Release);
        loop {
            sleep(STEP).await;
            if !self.tell() && self.falls_asleep() {
                self.rung.notified().await;
            }
        }
    }

    /// Tells those under way to look, and forgets the marks that are no session's any more. Whether
    /// there was anybody.
    fn tell(&self) -> bool {
        let mut found = Vec::new();
        self.marks.lock().retain(|mark| {
            found.extend(mark.0.lock().take());
            Arc::strong_count(mark) > 1
        });
        let any = !found.is_empty();
        for waker in found {
            waker.wake();
        }
        any
    }

    /// Unless somebody has just begun.
    fn falls_asleep(&self) -> bool {
        self.stage.store(ASLEEP, Ordering::Release);
        let has_missed = self.marks.lock().iter().any(|mark| mark.0.lock().is_some());
        if has_missed {
            self.stage.store(AWAKE, Ordering::Release);
        }
        !has_missed
    }
}

impl Mark {
    fn set(&self, waker: Waker) {
        let replaced = self.0.lock().replace(waker);
        drop(replaced);
    }

    /// The exchange that waits here is polled by this task now. Whether the sweep is still to come;
    /// if not, it has come.
    pub(super) fn renew(&self, waker: &Waker) -> bool {
        let mut waker = waker.clone();
        let mut kept = self.0.lock();
        let is_to_come = match &mut *kept {
            Some(kept) => {
                std::mem::swap(kept, &mut waker);
                true
            }
            None => false,
        };
        drop(kept);
        drop(waker);
        is_to_come
    }
}

/// Nobody sweeps any more.
struct End<'s>(&'s Sweep);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.stage.store(GONE, Ordering::Release);
        self.0.tell();
    }
}

/// A waker that counts.
#[cfg(test)]
#[derive(Default)]
struct Told(std::sync::atomic::AtomicUsize);

#[cfg(test)]
impl Told {
    fn times(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
impl std::task::Wake for Told {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(millpond_loom)))]
mod tests {
    use std::future::Future;

    use tokio::time::timeout;

    use super::*;

    /// An exchange of a session: its mark, and how often it has been told.
    #[derive(Default)]
    struct Watched {
        mark: Option<Arc<Mark>>,
        told: Arc<Told>,
    }

    impl Watched {
        fn waits(&mut self, sweep: &Sweep) -> bool {
            sweep.watch(&mut self.mark, &Waker::from(Arc::clone(&self.told)))
        }

        fn is_polled(&self) -> bool {
            let mark = self.mark.as_ref().expect("it waits");
            mark.renew(&Waker::from(Arc::clone(&self.told)))
        }
    }

    /// Lets the sweep run for so long.
    async fn pass(run: &mut std::pin::Pin<Box<impl Future<Output = ()>>>, time: Duration) {
        timeout(time, run).await.expect_err("it doesn't end");
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_under_way_is_told_once_within_a_step() {
        let sweep = Sweep::new();
        let mut run = Box::pin(sweep.run());
        pass(&mut run, 10 * STEP).await;
        assert_eq!(
            sweep.stage.load(Ordering::Relaxed),
            ASLEEP,
            "it doesn't sweep for nobody"
        );
        let [mut one, mut other] = [Watched::default(), Watched::default()];
        for round in 1..=3 {
            assert!(one.waits(&sweep) && other.waits(&sweep), "round {round}");
            assert!(one.is_polled(), "polled for another reason it still waits");
            pass(&mut run, STEP / 2).await;
            assert_eq!(one.told.times(), round - 1, "not at once");
            pass(&mut run, STEP).await;
            assert!(!one.is_polled(), "it has been told");
            pass(&mut run, 10 * STEP).await;
            assert_eq!([&one, &other].map(|each| each.told.times()), [round; 2]);
            assert_eq!(sweep.stage.load(Ordering::Relaxed), ASLEEP);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn where_nobody_sweeps_that_is_told() {
        let sweep = Sweep::new();
        let mut watched = Watched::default();
        assert!(!sweep.is_there() && !watched.waits(&sweep), "not yet");
        for round in 1..=2 {
            let mut run = Box::pin(sweep.run());
            pass(&mut run, 4 * STEP).await;
            let before = watched.told.times();
            assert!(sweep.is_there() && watched.waits(&sweep), "round {round}");
            drop(run);
            assert_eq!(
                watched.told.times(),
                before + 1,
                "who is under way is told that it ends"
            );
            assert!(
                !watched.is_polled() && !sweep.is_there() && !watched.waits(&sweep),
                "no more"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_marks_of_sessions_that_have_gone_are_forgotten() {
        let sweep = Sweep::new();
        let mut run = Box::pin(sweep.run());
        pass(&mut run, STEP / 2).await;
        let mut all: [Watched; 10] = Default::default();
        assert!(all.iter_mut().all(|each| each.waits(&sweep)));
        for each in &mut all[1..] {
            each.mark = None;
        }
        assert_eq!(sweep.marks.lock().len(), 10);
        pass(&mut run, STEP).await;
        assert_eq!(sweep.marks.lock().len(), 1);
        assert_eq!(all[9].told.times(), 1, "woken for nothing, and not kept");
    }
}

/// Every order of an exchange that begins and a sweep that falls asleep or goes, explored by loom.
#[cfg(all(test, millpond_loom))]
mod interleavings {
    use loom::thread;

    use super::*;

    /// An exchange begins, on a session that has a mark or none, while the sweep does something. It
    /// must be told, or know that it won't be.
    fn explore(is_new: bool, does: fn(&Sweep)) {
        loom::model(move || {
            let sweep = Arc::new(Sweep::new());
            sweep.stage.store(AWAKE, Ordering::Release);
            let mut mark = None;
            if !is_new {
                sweep.watch(&mut mark, Waker::noop());
                sweep.tell();
            }
            let told = Arc::new(Told::default());
            let exchange = thread::spawn({
                let (sweep, told) = (Arc::clone(&sweep), Arc::clone(&told));
                move || {
                    let waits = sweep.watch(&mut mark, &Waker::from(told));
                    (mark, waits)
                }
            });
            does(&sweep);
            let (_mark, waits) = exchange.join().unwrap();
            let is_told = told.times() > 0;
            let will_be = sweep.stage.load(Ordering::Relaxed) == AWAKE && sweep.tell();
            assert!(is_told || will_be || !waits, "it waits for nobody");
        });
    }

    #[test]
    fn an_exchange_begins_while_the_sweep_falls_asleep() {
        for is_new in [false, true] {
            explore(is_new, |sweep| {
                if !sweep.tell() {
                    sweep.falls_asleep();
                }
            });
        }
    }

    #[test]
    fn an_exchange_begins_while_the_sweep_goes() {
        for is_new in [false, true] {
            explore(is_new, |sweep| drop(End(sweep)));
        }
    }
}
