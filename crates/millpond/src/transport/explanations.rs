//! What failed attempts mean: gathers the facts that an explanation needs where the system must be asked for them, off the runtime's
//! threads and not too often.

use std::{io, net::SocketAddr, time::Duration};

use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use super::{
    Attempt,
    system::{Facts, explain},
};

/// How long gathered facts serve: while ports are used up every dial fails for the same reason.
const GOOD_FOR: Duration = Duration::from_secs(1);

/// How long an error is kept back for its explanation.
const WORTH_WAITING: Duration = Duration::from_millis(500);

/// Explains the failures of one dialler.
#[derive(Debug, Default)]
pub(super) struct Explanations {
    gathered: Mutex<Option<(Instant, Option<i32>, Facts)>>,
}

impl Explanations {
    /// Of attempts to connect by TCP, from `bind` if that was asked for.
    pub(super) async fn of_tcp(
        &self,
        failures: Vec<(SocketAddr, io::Error)>,
        bind: Option<SocketAddr>,
    ) -> Vec<Attempt> {
        let mut attempts = Vec::with_capacity(failures.len());
        for (address, error) in failures {
            let facts = match Facts::worth_gathering(&error) {
                true => self.gather(&error, address, bind).await,
                false => Facts::of(Some(address)),
            };
            attempts.push(Attempt {
                address: Some(address),
                explanation: explain(&error, &facts),
                error,
            });
        }
        attempts
    }

    /// Of an attempt to connect to a Unix socket.
    pub(super) fn of_unix(&self, error: io::Error) -> Vec<Attempt> {
        let facts = match Facts::worth_gathering(&error) {
            true => Facts::gather(&error, None, None),
            false => Facts::of(None),
        };
        vec![Attempt {
            address: None,
            explanation: explain(&error, &facts),
            error,
        }]
    }

    async fn gather(&self, error: &io::Error, address: SocketAddr, bind: Option<SocketAddr>) -> Facts {
        let code = error.raw_os_error();
        let known = self.gathered.lock().clone();
        if let Some((at, of, facts)) = known
            && of == code
            && facts.destination == Some(address)
            && at.elapsed() < GOOD_FOR
        {
            return facts;
        }
        let error = code.map_or_else(|| io::Error::from(error.kind()), io::Error::from_raw_os_error);
        let source = bind.map(|bind| bind.ip());
        let gathering = tokio::task::spawn_blocking(move || Facts::gather(&error, Some(address), source));
        match timeout(WORTH_WAITING, gathering).await {
            Ok(Ok(facts)) => {
                *self.gathered.lock() = Some((Instant::now(), code, facts.clone()));
                facts
            }
            _ => Facts::of(Some(address)),
        }
    }
}
