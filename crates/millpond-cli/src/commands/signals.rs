//! The signals that a server handles: SIGTERM and Ctrl-C end it, SIGHUP makes it read its certificates
//! again. If the program's terminal has gone, SIGHUP means the end instead.

use std::io::{self, IsTerminal};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for.
pub(super) enum Signalled {
    End,
    Reload,
}

/// The signals that the server handles.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    terminal: Terminal,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            terminal: Terminal::at_start(),
        })
    }

    /// Cancel safe.
    pub(super) async fn next(&mut self) -> Signalled {
        tokio::select! {
            () = end(&mut self.terminate, &mut self.interrupt) => Signalled::End,
            _ = self.hangup.recv() => match self.terminal.has_gone() {
                true => Signalled::End,
                false => Signalled::Reload,
            },
        }
    }

    /// Waits for a second signal while draining. SIGHUP doesn't count: when a terminal closes, both
    /// the kernel and the shell send it. Cancel safe.
    pub(super) async fn end(&mut self) {
        end(&mut self.terminate, &mut self.interrupt).await;
    }
}

async fn end(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Whether the program was started at a terminal.
#[derive(Clone, Copy, Debug)]
struct Terminal {
    was_there: bool,
}

impl Terminal {
    fn at_start() -> Self {
        Terminal {
            was_there: is_there(),
        }
    }

    /// Whether the terminal was closed: then nobody could end the program by Ctrl-C.
    fn has_gone(self) -> bool {
        self.was_there && !is_there()
    }
}

/// A stream whose terminal has hung up is no terminal any more.
fn is_there() -> bool {
    io::stdin().is_terminal() || io::stdout().is_terminal() || io::stderr().is_terminal()
}
