//! SIGHUP: reads the certificates again, whether or not they have changed. If the program's
//! terminal has gone, SIGHUP means the end instead.

use std::io::{self, IsTerminal};

use millpond::Chain;
use tokio::task::spawn_blocking;

use super::{
    certificates::Certificates,
    events::{DoubtfulCertificate, Events, NotReloaded, Reloaded},
};

/// Reads them again, and prints the outcome. Files that can't be used change nothing.
pub(super) async fn reload(certificates: Option<&Certificates>, events: &Events) {
    let Some(Certificates { tls, files }) = certificates else {
        return events.tell(&NotReloaded::new(
            "there are no certificates to read again, for no TLS is spoken here",
        ));
    };
    let tls = tls.clone();
    // Reading files may block.
    match spawn_blocking(move || tls.reload()).await {
        Ok(Ok(())) => {
            events.tell(&Reloaded::new(files));
            if let Some(doubtful) = DoubtfulCertificate::of(files) {
                events.tell(&doubtful);
            }
        }
        Ok(Err(error)) => events.tell(&NotReloaded::new(&format!(
            "{}; the old certificates stay in use",
            Chain(&error)
        ))),
        Err(error) => events.tell(&NotReloaded::new(&error.to_string())),
    }
}

/// Whether the program was started at a terminal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terminal {
    was_there: bool,
}

impl Terminal {
    pub(super) fn at_start() -> Self {
        Terminal {
            was_there: is_there(),
        }
    }

    /// Whether the terminal was closed: then nobody could end the program by Ctrl-C.
    pub(super) fn has_gone(self) -> bool {
        self.was_there && !is_there()
    }
}

/// A stream whose terminal has hung up is no terminal any more.
fn is_there() -> bool {
    io::stdin().is_terminal() || io::stdout().is_terminal() || io::stderr().is_terminal()
}
