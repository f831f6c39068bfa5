//! Stopping early: the one flag that all of a command looks at, raised by Ctrl-C, by SIGTERM, and
//! when nobody reads the output any more.

use std::{
    process,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{
    runtime::Handle,
    select,
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// What shells expect of a program that a second Ctrl-C has ended.
const INTERRUPTED: i32 = 130;

/// Raised once, never lowered. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Stop(Arc<Flag>);

#[derive(Debug)]
struct Flag {
    /// Looked at before each request: a lock would cost as much as its bookkeeping.
    is_raised: AtomicBool,
    /// For those who wait; raised after the other.
    raised: watch::Sender<bool>,
}

impl Stop {
    pub(crate) fn new() -> Self {
        Stop(Arc::new(Flag {
            is_raised: AtomicBool::new(false),
            raised: watch::Sender::new(false),
        }))
    }

    pub(crate) fn stop(&self) {
        self.0.is_raised.store(true, Ordering::Relaxed);
        self.0.raised.send_replace(true);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.0.is_raised.load(Ordering::Relaxed)
    }

    /// Waits until it is raised.
    pub(crate) async fn stopped(&self) {
        // The sender is here, so waiting can't fail.
        let _ = self.0.raised.subscribe().wait_for(|raised| *raised).await;
    }

    /// Raises it at the first signal from now on, and ends the program at the second: whoever asks
    /// twice doesn't want to wait.
    pub(crate) fn raise_at_signals(&self, runtime: &Handle) {
        let stop = self.clone();
        // To listen for signals takes a runtime.
        let _entered = runtime.enter();
        let signals = [SignalKind::interrupt(), SignalKind::terminate()].map(signal);
        runtime.spawn(async move {
            let [Ok(mut interrupt), Ok(mut terminate)] = signals else {
                return;
            };
            select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            stop.stop();
            select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            process::exit(INTERRUPTED);
        });
    }
}
