//! Explains failed attempts. The facts for that are gathered on threads for blocking work, and not
//! too often.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::Path,
    time::Duration,
};

use nix::errno::Errno;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};

use millpond_kernel::{Facts, NoSocket, explain};

use super::ConnectAttempt;

/// How long gathered facts are reused: while ports are used up, every dial fails for the same
/// reason.
const GOOD_FOR: Duration = Duration::from_secs(1);

/// The longest time that an error is delayed for its explanation, however many addresses it has.
const WORTH_WAITING: Duration = Duration::from_millis(500);

/// What was gathered last, when, and for which error towards where.
type Gathered = (Instant, i32, Option<SocketAddr>, Facts);

/// Who gathers facts: [`Facts::gather`]. It blocks.
type Gather = fn(&io::Error, Option<SocketAddr>, Option<IpAddr>) -> Facts;

/// Explains the failures of one dialler.
#[derive(Debug)]
pub(super) struct Explanations {
    gather: Gather,
    gathered: Mutex<Option<Gathered>>,
}

impl Default for Explanations {
    fn default() -> Self {
        Explanations {
            gather: Facts::gather,
            gathered: Mutex::default(),
        }
    }
}

impl Explanations {
    /// Explains a failed lookup: without a free descriptor the system says that the name isn't
    /// known.
    pub(super) async fn of_lookup(&self, error: io::Error) -> io::Error {
        let no_descriptor = io::Error::from(Errno::EMFILE);
        let deadline = Instant::now() + WORTH_WAITING;
        let facts = self
            .gather(Errno::EMFILE as i32, None, None, deadline)
            .await;
        let used_up = facts
            .descriptors
            .as_ref()
            .is_some_and(|limits| limits.open >= Some(limits.soft));
        match explain(&no_descriptor, &facts).filter(|_| used_up) {
            Some(explanation) => io::Error::new(error.kind(), format!("{error} ({explanation})")),
            None => error,
        }
    }

    /// Of attempts to connect by TCP, from `bind` if that was asked for.
    pub(super) async fn of_tcp(
        &self,
        failures: Vec<(SocketAddr, io::Error)>,
        bind: Option<SocketAddr>,
    ) -> Vec<ConnectAttempt> {
        let deadline = Instant::now() + WORTH_WAITING;
        let mut attempts = Vec::with_capacity(failures.len());
        for (address, error) in failures {
            attempts.push(self.of(error, Some(address), bind, deadline).await);
        }
        attempts
    }

    /// Of an attempt to connect to the Unix socket at this path.
    pub(super) async fn of_unix(&self, error: io::Error, path: &Path) -> Vec<ConnectAttempt> {
        let deadline = Instant::now() + WORTH_WAITING;
        if error.kind() == io::ErrorKind::ConnectionRefused {
            let path = path.to_owned();
            let looking = tokio::task::spawn_blocking(move || NoSocket::at(&path));
            if let Ok(Ok(found @ Some(_))) = timeout_at(deadline, looking).await {
                let mut facts = Facts::of(None);
                facts.no_socket = found;
                let explanation = explain(&error, &facts);
                return vec![ConnectAttempt {
                    address: None,
                    error,
                    explanation,
                }];
            }
        }
        vec![self.of(error, None, None, deadline).await]
    }

    async fn of(
        &self,
        error: io::Error,
        address: Option<SocketAddr>,
        bind: Option<SocketAddr>,
        deadline: Instant,
    ) -> ConnectAttempt {
        let facts = match error.raw_os_error() {
            Some(code) if Facts::worth_gathering(&error) => {
                self.gather(code, address, bind, deadline).await
            }
            _ => Facts::of(address),
        };
        let silence = error.raw_os_error().is_none() && error.kind() == io::ErrorKind::TimedOut;
        let explanation = match silence {
            // Our own timeout, shorter than the kernel's.
            true => explain(&Errno::ETIMEDOUT.into(), &facts),
            false => explain(&error, &facts),
        };
        ConnectAttempt {
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
        let gather = self.gather;
        let gathering = tokio::task::spawn_blocking(move || {
            gather(&io::Error::from_raw_os_error(code), address, source)
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Whether somebody else had a turn while facts were gathered.
    static GO_ON: Mutex<Option<mpsc::Receiver<()>>> = Mutex::new(None);

    /// All descriptors are used up; found out only once another task of the runtime says so.
    fn gather_late(_: &io::Error, _: Option<SocketAddr>, _: Option<IpAddr>) -> Facts {
        let go_on = GO_ON.lock().take().expect("gathered once");
        let told = go_on.recv_timeout(Duration::from_secs(20));
        told.expect("the runtime's thread is free meanwhile");
        let limits = millpond_kernel::descriptor_limits().expect("limits");
        let mut facts = Facts::of(None);
        facts.descriptors = Some(limits);
        if let Some(limits) = &mut facts.descriptors {
            limits.open = Some(limits.soft);
        }
        facts
    }

    #[tokio::test]
    async fn a_failed_lookup_is_explained_off_the_runtimes_threads() {
        let (tell, go_on) = mpsc::channel();
        *GO_ON.lock() = Some(go_on);
        let explanations = Explanations {
            gather: gather_late,
            gathered: Mutex::default(),
        };
        let not_found = || io::Error::new(io::ErrorKind::NotFound, "no such name");
        let (first, ()) = tokio::join!(explanations.of_lookup(not_found()), async {
            tell.send(()).expect("it is waited for");
        });
        assert!(first.to_string().contains("ulimit -n"), "{first}");
        // What was gathered serves for a second.
        let second = explanations.of_lookup(not_found()).await;
        assert_eq!(second.to_string(), first.to_string());
    }
}
