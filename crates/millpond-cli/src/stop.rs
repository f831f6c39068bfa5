//! The stop flag of a command. Raised by Ctrl-C, by SIGTERM, and when nobody reads the output any
//! more.

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

/// The exit code after a second Ctrl-C, as shells expect it.
const INTERRUPTED: i32 = 130;

/// Raised once, never lowered. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Stop(Arc<Flag>);

#[derive(Debug)]
struct Flag {
    /// Read before each request, where a lock would cost too much.
    is_raised: AtomicBool,
    /// For tasks that wait; raised after `is_raised`.
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
        // The sender is alive, so this can't fail.
        let _ = self.0.raised.subscribe().wait_for(|raised| *raised).await;
    }

    /// Raises it at the first signal, and ends the program at the second.
    pub(crate) fn raise_at_signals(&self, runtime: &Handle) {
        let stop = self.clone();
        // Signal handlers need a runtime.
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
