//! SIGHUP: the certificates are read again, at once and whether or not they have changed. Knows
//! also when it means what it was made for, that the terminal has gone.

use std::io::{self, IsTerminal};

use millpond::Chain;
use tokio::task::spawn_blocking;

use super::{
    certificates::Certificates,
    events::{DoubtfulCertificate, Events, NotReloaded, Reloaded},
};

/// Reads them again, and tells what came of it. What can't be used changes nothing.
pub(super) async fn reload(certificates: Option<&Certificates>, events: &Events) {
    let Some(Certificates { tls, files }) = certificates else {
        return events.tell(&NotReloaded::new(
            "there are no certificates to read again, for no TLS is spoken here",
        ));
    };
    let tls = tls.clone();
    // The disk may take its time.
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

    /// Its window was closed: nobody can end by Ctrl-C what goes on then.
    pub(super) fn has_gone(self) -> bool {
        self.was_there && !is_there()
    }
}

/// A stream whose terminal has hung up is none any more.
fn is_there() -> bool {
    io::stdin().is_terminal() || io::stdout().is_terminal() || io::stderr().is_terminal()
}
