//! Stopping early: the one flag that all of a command looks at, raised by Ctrl-C, by SIGTERM, and when nobody reads the output any more.

use std::{process, sync::Arc};

use tokio::{
    select,
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// What shells expect of a program that a second Ctrl-C has ended.
const INTERRUPTED: i32 = 130;

/// Raised once, never lowered. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Stop(Arc<watch::Sender<bool>>);

impl Stop {
    pub(crate) fn new() -> Self {
        Stop(Arc::new(watch::Sender::new(false)))
    }

    pub(crate) fn stop(&self) {
        self.0.send_replace(true);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it is raised.
    pub(crate) async fn stopped(&self) {
        // The sender is here, so waiting can't fail.
        let _ = self.0.subscribe().wait_for(|stopped| *stopped).await;
    }

    /// Raises it at the first signal, and ends the program at the second: whoever asks twice doesn't want to wait.
    pub(crate) async fn at_signals(self) {
        let (Ok(mut interrupt), Ok(mut terminate)) =
            (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            return;
        };
        select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        self.stop();
        select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        process::exit(INTERRUPTED);
    }
}
