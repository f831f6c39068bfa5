//! What failed attempts mean: gathers the facts that an explanation needs where the system must be asked for them, off the runtime's
//! threads and not too often.

use std::{io, net::SocketAddr, time::Duration};

use nix::errno::Errno;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};

use super::{
    Attempt,
    system::{Facts, explain},
};

/// How long gathered facts serve: while ports are used up every dial fails for the same reason.
const GOOD_FOR: Duration = Duration::from_secs(1);

/// How long an error is kept back for its explanation, however many addresses it is about.
const WORTH_WAITING: Duration = Duration::from_millis(500);

/// A failed lookup: the system says that the name isn't known also when it has no descriptor left to ask with.
pub(super) fn of_lookup(error: io::Error) -> io::Error {
    let no_descriptor = io::Error::from(Errno::EMFILE);
    let facts = Facts::gather(&no_descriptor, None, None);
    let used_up = facts
        .descriptors
        .as_ref()
        .is_some_and(|limits| limits.open >= Some(limits.soft));
    match explain(&no_descriptor, &facts).filter(|_| used_up) {
        Some(explanation) => io::Error::new(error.kind(), format!("{error} ({explanation})")),
        None => error,
    }
}

/// What was gathered last, when, and for which error towards where.
type Gathered = (Instant, i32, Option<SocketAddr>, Facts);

/// Explains the failures of one dialler.
#[derive(Debug, Default)]
pub(super) struct Explanations {
    gathered: Mutex<Option<Gathered>>,
}

impl Explanations {
    /// Of attempts to connect by TCP, from `bind` if that was asked for.
    pub(super) async fn of_tcp(
        &self,
        failures: Vec<(SocketAddr, io::Error)>,
        bind: Option<SocketAddr>,
    ) -> Vec<Attempt> {
        let deadline = Instant::now() + WORTH_WAITING;
        let mut attempts = Vec::with_capacity(failures.len());
        for (address, error) in failures {
            attempts.push(self.of(error, Some(address), bind, deadline).await);
        }
        attempts
    }

    /// Of an attempt to connect to a Unix socket.
    pub(super) async fn of_unix(&self, error: io::Error) -> Vec<Attempt> {
        vec![self.of(error, None, None, Instant::now() + WORTH_WAITING).await]
    }

    async fn of(
        &self,
        error: io::Error,
        address: Option<SocketAddr>,
        bind: Option<SocketAddr>,
        deadline: Instant,
    ) -> Attempt {
        let facts = match error.raw_os_error() {
            Some(code) if Facts::worth_gathering(&error) => self.gather(code, address, bind, deadline).await,
            _ => Facts::of(address),
        };
        let silence = error.raw_os_error().is_none() && error.kind() == io::ErrorKind::TimedOut;
        let explanation = match silence {
            // We gave up before the kernel did.
            true => explain(&Errno::ETIMEDOUT.into(), &facts),
            false => explain(&error, &facts),
        };
        Attempt {
            address,
            error,
            explanation,
        }
    }

    async fn gather(
        &self,
        code: i32,
        address: Option<SocketAddr>,
        bind: Option<SocketAddr>,
        deadline: Instant,
    ) -> Facts {
        if let Some((at, of, towards, facts)) = &*self.gathered.lock()
            && (*of, *towards) == (code, address)
            && at.elapsed() < GOOD_FOR
        {
            return facts.clone();
        }
        let source = bind.map(|bind| bind.ip());
        let gathering = tokio::task::spawn_blocking(move || {
            Facts::gather(&io::Error::from_raw_os_error(code), address, source)
        });
        match timeout_at(deadline, gathering).await {
            Ok(Ok(facts)) => {
                *self.gathered.lock() = Some((Instant::now(), code, address, facts.clone()));
                facts
            }
            _ => Facts::of(address),
        }
    }
}
