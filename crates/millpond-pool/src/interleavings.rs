//! Every interleaving of the small core: state, lock and wakers, explored by loom.
//!
//! Time stands still unless a test moves it, dials are finished by the tests, and upkeep is a call.
//! What is explored is what threads do to each other: hand-over against cancelling, closing,
//! resizing, revocation and a panic.

use std::{
    convert::Infallible,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, Waker},
    time::Duration,
};

use loom::{future::block_on, thread};

use super::{
    Acquire, AcquireError, Connection, Connector, Ends, PoolSettings, Shedding,
    boxed::Boxed,
    runtime::Runtime,
    shared::SharedPool,
    state::{GRANT_LIFETIME, Lifecycle, StageName},
};

/// Connections are numbers; they are made by [`World::finish_dials`].
struct Numbers;

impl Connector for Numbers {
    type Connection = u64;
    type Error = Infallible;

    async fn connect(&self) -> Result<u64, Infallible> {
        unreachable!("the tests finish the dials")
    }
}

/// A pool without tasks.
#[derive(Clone)]
struct World {
    shared: Arc<SharedPool<Numbers>>,
}

impl World {
    fn new(max_size: u32) -> Self {
        World::with_settings(PoolSettings {
            max_size,
            ..PoolSettings::default()
        })
    }

    fn with_settings(settings: PoolSettings) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime, whose handle is never used");
        World {
            shared: Arc::new(SharedPool::new(
                Numbers,
                settings,
                Runtime::new(runtime.handle().clone()),
            )),
        }
    }

    /// A pool whose only connection is lent.
    fn with_one_lent() -> (Self, Connection<Numbers>) {
        World::new(1).lending_one()
    }

    fn lending_one(self) -> (Self, Connection<Numbers>) {
        let world = self;
        let lent = {
            let mut acquire = pin!(world.acquire());
            let mut cx = Context::from_waker(Waker::noop());
            assert!(acquire.as_mut().poll(&mut cx).is_pending());
            world.finish_dials();
            match acquire.as_mut().poll(&mut cx) {
                Poll::Ready(lent) => lent.expect("dialled"),
                Poll::Pending => panic!("granted"),
            }
        };
        (world, lent)
    }

    fn acquire(&self) -> Acquire<'_, Numbers> {
        Acquire::new(&self.shared, std::panic::Location::caller())
    }

    /// Acquires like a task does, woken by its waker alone.
    fn acquire_and_release(&self) -> Result<(), AcquireError> {
        block_on(self.acquire()).map(drop)
    }

    fn finish_dials(&self) {
        let begun = std::mem::take(&mut *self.shared.dials_begun.lock());
        for key in begun {
            let now = self.shared.clock.now();
            let dialled = Ok((Boxed::new(0), Ends::default()));
            self.shared
                .transition(|state, fx| state.dial_finished(key, dialled, now, 0, fx));
        }
    }

    /// Lets time pass, and upkeep notice.
    fn tick_after(&self, span: Duration) {
        let millis = u64::try_from(span.as_millis()).expect("short");
        self.shared.clock.millis.fetch_add(millis, Ordering::SeqCst);
        let now = self.shared.clock.now();
        self.shared.transition(|state, fx| state.tick(now, fx));
    }

    /// Everything is at rest: this many idle, nobody waits, nothing is lost.
    fn is_at_rest_with(&self, idle: usize) {
        let state = self.shared.lock();
        state.check();
        assert_eq!(state.slots().count(StageName::Idle), idle, "idle");
        assert_eq!(state.slots().occupied(), idle, "occupied");
        assert_eq!(state.waiters().waiting(), 0, "waiting");
    }
}

/// Explores every interleaving: no bound on preemptions, unless `LOOM_MAX_PREEMPTIONS` sets one.
fn explore(scene: impl Fn() + Sync + Send + 'static) {
    loom::model::Builder::new().check(scene);
}

#[test]
fn a_hand_over_meets_a_cancelled_waiter() {
    explore(|| {
        let (world, lent) = World::with_one_lent();
        let cancelling = thread::spawn({
            let world = world.clone();
            move || {
                let mut acquire = pin!(world.acquire());
                let mut cx = Context::from_waker(Waker::noop());
                // Granted at once, or dropped while waiting or granted.
                let _ = acquire.as_mut().poll(&mut cx);
            }
        });
        let waiting = thread::spawn({
            let world = world.clone();
            move || world.acquire_and_release().expect("served in the end")
        });
        drop(lent);
        cancelling.join().unwrap();
        waiting.join().unwrap();
        world.is_at_rest_with(1);
    });
}

#[test]
fn a_hand_over_meets_close() {
    explore(|| {
        let (world, lent) = World::with_one_lent();
        let waiting = thread::spawn({
            let world = world.clone();
            move || match world.acquire_and_release() {
                Ok(()) | Err(AcquireError::Closed) => {}
                Err(other) => panic!("{other}"),
            }
        });
        let closing = thread::spawn({
            let world = world.clone();
            move || world.shared.close_now(Lifecycle::Closed)
        });
        drop(lent);
        waiting.join().unwrap();
        closing.join().unwrap();
        world.is_at_rest_with(0);
    });
}

#[test]
fn two_hand_overs_meet_a_resize() {
    explore(|| {
        let world = World::new(2);
        let (first, second) = {
            let mut one = pin!(world.acquire());
            let mut two = pin!(world.acquire());
            let mut cx = Context::from_waker(Waker::noop());
            assert!(one.as_mut().poll(&mut cx).is_pending());
            assert!(two.as_mut().poll(&mut cx).is_pending());
            world.finish_dials();
            match (one.as_mut().poll(&mut cx), two.as_mut().poll(&mut cx)) {
                (Poll::Ready(Ok(one)), Poll::Ready(Ok(two))) => (one, two),
                _ => panic!("both are granted"),
            }
        };
        let waiting = thread::spawn({
            let world = world.clone();
            move || {
                world
                    .acquire_and_release()
                    .expect("served within the new size")
            }
        });
        let resizing = thread::spawn({
            let world = world.clone();
            move || world.shared.transition(|state, fx| state.resize(1, fx))
        });
        drop(first);
        drop(second);
        resizing.join().unwrap();
        // All that were lent may have been closed as too many before the waiter came: then it has a
        // dial.
        world.finish_dials();
        waiting.join().unwrap();
        world.shared.lock().check();
        assert!(world.shared.lock().slots().occupied() <= 2);
    });
}

#[test]
fn a_grant_that_nobody_picks_up_goes_to_the_next() {
    explore(|| {
        let (world, lent) = World::with_one_lent();
        let mut forgetful = Box::pin(world.acquire());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(forgetful.as_mut().poll(&mut cx).is_pending());
        let waiting = thread::spawn({
            let world = world.clone();
            move || {
                world
                    .acquire_and_release()
                    .expect("served although another was first")
            }
        });
        let upkeep = thread::spawn({
            let world = world.clone();
            move || world.tick_after(GRANT_LIFETIME)
        });
        drop(lent);
        upkeep.join().unwrap();
        // Upkeep may have come before the grant, and a grant ages only from when upkeep has seen
        // it.
        world.tick_after(GRANT_LIFETIME);
        world.tick_after(GRANT_LIFETIME);
        waiting.join().unwrap();
        match forgetful.as_mut().poll(&mut cx) {
            Poll::Ready(lent) => drop(lent.expect("its turn")),
            Poll::Pending => panic!("the connection is idle, and nobody else waits"),
        }
        drop(forgetful);
        world.is_at_rest_with(1);
    });
}

#[test]
fn a_waiter_that_is_shed_meets_the_cancelling_of_the_next() {
    explore(|| {
        let (target, interval) = (Duration::from_millis(1), Duration::from_millis(1));
        let (world, lent) = World::with_settings(PoolSettings {
            max_size: 1,
            shed_waiting: Some(Shedding { target, interval }),
            ..PoolSettings::default()
        })
        .lending_one();
        let mut cx = Context::from_waker(Waker::noop());
        let [mut first, mut second] = [(); 2].map(|()| Box::pin(world.acquire()));
        assert!(first.as_mut().poll(&mut cx).is_pending());
        assert!(second.as_mut().poll(&mut cx).is_pending());
        world.shared.clock.millis.fetch_add(2, Ordering::SeqCst);
        drop(lent);
        let lent = match first.as_mut().poll(&mut cx) {
            Poll::Ready(lent) => lent.expect("nobody is refused yet"),
            Poll::Pending => panic!("it was first"),
        };
        world.shared.clock.millis.fetch_add(2, Ordering::SeqCst);
        let third = thread::spawn({
            let world = world.clone();
            move || {
                let mut acquire = pin!(world.acquire());
                let mut cx = Context::from_waker(Waker::noop());
                // Dropped while it waits, or served instead of the second.
                let _ = acquire.as_mut().poll(&mut cx);
            }
        });
        drop(lent);
        match second.as_mut().poll(&mut cx) {
            Poll::Ready(Ok(lent)) => drop(lent),
            Poll::Ready(Err(AcquireError::Shed { .. })) => {}
            other => panic!("refused, or last in line: {other:?}"),
        }
        third.join().unwrap();
        world.is_at_rest_with(1);
    });
}

#[test]
fn a_borrower_that_panics_frees_its_place_for_the_waiter() {
    explore(|| {
        let (world, lent) = World::with_one_lent();
        let waiting = thread::spawn({
            let world = world.clone();
            move || world.acquire_and_release().expect("dialled for")
        });
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _lent = lent;
            std::panic::resume_unwind(Box::new("without a message"));
        }));
        assert!(panicked.is_err());
        while world.shared.lock().totals().opened < 2 {
            world.finish_dials();
            thread::yield_now();
        }
        waiting.join().unwrap();
        world.is_at_rest_with(1);
    });
}

#[test]
fn a_wake_is_never_lost_between_two_waiters_and_two_releases() {
    explore(|| {
        let (world, lent) = World::with_one_lent();
        let threads = [0, 1].map(|_| {
            let world = world.clone();
            thread::spawn(move || world.acquire_and_release().expect("served"))
        });
        drop(lent);
        for thread in threads {
            thread.join().unwrap();
        }
        world.is_at_rest_with(1);
    });
}
