//! The runtime that a pool lives on: where its tasks are spawned, who can stop them, and how upkeep
//! is woken.

use std::{
    future::Future,
    panic::catch_unwind,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{
    sync::Notify,
    time::{Instant, Sleep, Timeout},
};

use super::{state::ConnectionNumber, sync::Mutex};

/// Spawns the pool's tasks and remembers those that closing the pool must stop.
#[derive(Debug)]
pub struct Runtime {
    handle: tokio::runtime::Handle,
    /// It has no threads of its own: a runtime of the flavor `current_thread`.
    is_driven_by_callers: bool,
    /// Dials and checks under way, and what the connector runs. Closings aren't here: they are
    /// bounded by `close_timeout`.
    stoppable: Mutex<Vec<tokio::task::AbortHandle>>,
}

impl Runtime {
    /// This runtime.
    pub fn new(handle: tokio::runtime::Handle) -> Self {
        let flavor = handle.runtime_flavor();
        Runtime {
            handle,
            is_driven_by_callers: flavor == tokio::runtime::RuntimeFlavor::CurrentThread,
            stoppable: Mutex::new(Vec::new()),
        }
    }

    /// Spawns a task that ends by itself soon. On a runtime that is shutting down it is dropped at
    /// once.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        drop(self.handle.spawn(task));
    }

    /// Spawns a task that its owner stops.
    pub fn spawn_owned(
        &self,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> tokio::task::AbortHandle {
        self.handle.spawn(task).abort_handle()
    }

    /// Spawns a task that [`Runtime::stop`] stops.
    pub(crate) fn spawn_stoppable(&self, task: impl Future<Output = ()> + Send + 'static) {
        // Not under the lock: where the runtime is shutting down the task is dropped right here,
        // and its drop tells the pool.
        let handle = self.handle.spawn(task).abort_handle();
        let mut stoppable = self.stoppable.lock();
        stoppable.retain(|task| !task.is_finished());
        stoppable.push(handle);
    }

    /// Stops them: their futures are dropped, soon.
    pub(crate) fn stop(&self) {
        let stoppable = std::mem::take(&mut *self.stoppable.lock());
        for task in stoppable {
            task.abort();
        }
    }

    /// Whether this is called within a runtime, whichever.
    pub(crate) fn is_here() -> bool {
        tokio::runtime::Handle::try_current().is_ok()
    }

    /// Tokio's `timeout_at`. Outside a runtime it uses the timers of the pool's own.
    #[inline]
    pub fn timeout_at<F: Future>(&self, deadline: Instant, future: F) -> Timeout<F> {
        let _entered = (!Runtime::is_here()).then(|| self.handle.enter());
        tokio::time::timeout_at(deadline, future)
    }

    /// The runtime that this is called in; the pool's own where there is none.
    #[inline]
    pub fn here(&self) -> tokio::runtime::Handle {
        tokio::runtime::Handle::try_current().unwrap_or_else(|_| self.handle.clone())
    }

    /// A timer of the runtime that this is called in; of the pool's own where there is none, or it
    /// has no timers.
    #[inline]
    pub fn sleep_until(&self, deadline: Instant) -> Sleep {
        let here = Runtime::is_here().then(|| timer(deadline)).flatten();
        here.unwrap_or_else(|| {
            let _entered = self.handle.enter();
            tokio::time::sleep_until(deadline)
        })
    }

    /// Whether a caller here could wait in vain. A runtime without threads of its own runs only
    /// while somebody blocks on it, and that may not be this caller.
    #[inline]
    pub fn may_stand_still(&self) -> bool {
        self.is_driven_by_callers
            && tokio::runtime::Handle::try_current().is_ok_and(|here| here.id() != self.handle.id())
    }
}

/// What wakes upkeep before its tick: an earlier plan, or an idle connection whose watch reported
/// something.
#[derive(Debug)]
pub(crate) struct Bell {
    rung: Notify,
    /// Idle connections whose watch reported something: slot and number.
    spoke: Mutex<Vec<(u32, ConnectionNumber)>>,
}

impl Bell {
    pub(crate) fn new() -> Self {
        Bell {
            rung: Notify::new(),
            spoke: Mutex::new(Vec::new()),
        }
    }

    pub(crate) fn ring(&self) {
        self.rung.notify_one();
    }

    pub(crate) async fn rung(&self) {
        self.rung.notified().await;
    }

    /// A connection's watch has been woken. Only the first report since upkeep last asked has to
    /// wake it.
    fn report(&self, at: u32, number: ConnectionNumber) {
        let mut spoke = self.spoke.lock();
        spoke.push((at, number));
        let is_first = spoke.len() == 1;
        drop(spoke);
        if is_first {
            self.ring();
        }
    }

    /// The connections that have reported something since the last call.
    pub(crate) fn take_spoken(&self) -> Vec<(u32, ConnectionNumber)> {
        std::mem::take(&mut *self.spoke.lock())
    }
}

/// The waker that an idle connection is given. It reports once until the next look.
#[derive(Debug)]
pub(crate) struct Watch {
    bell: Arc<Bell>,
    at: u32,
    number: ConnectionNumber,
    reported: AtomicBool,
}

impl Watch {
    pub(crate) fn new(bell: &Arc<Bell>, at: u32, number: ConnectionNumber) -> Self {
        Watch {
            bell: Arc::clone(bell),
            at,
            number,
            reported: AtomicBool::new(false),
        }
    }

    /// A look begins: from here on it reports again.
    ///
    /// A wake before this that wasn't reported has left its mark on the connection, and the look
    /// must see that: hence the memory ordering, here and in the report.
    pub(crate) fn listen(&self) {
        self.reported.swap(false, Ordering::AcqRel);
    }
}

impl std::task::Wake for Watch {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Once until the next look: a connection that is lent meanwhile may wake this often.
        if !self.reported.swap(true, Ordering::AcqRel) {
            self.bell.report(self.at, self.number);
        }
    }
}

/// A timer of the runtime in this context, if it has timers. Tokio panics where it has none; there
/// is no other way to ask.
pub(crate) fn timer(deadline: Instant) -> Option<tokio::time::Sleep> {
    catch_unwind(|| tokio::time::sleep_until(deadline)).ok()
}
