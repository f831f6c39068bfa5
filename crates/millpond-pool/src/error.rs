//! Errors: what was attempted, for how long, in what circumstances, and what the cause is.
//!
//! An error that has a source leaves the source's text to it; [`Chain`] puts them together for
//! people. What an error holds without being caused by it (the last failed dial of a caller who
//! waited too long) is in its text, causes included.

use std::{fmt, panic::Location, time::Duration};

use super::dial_error::DialError;
use millpond_words::{Ago, Span};

/// Why [`Pool::acquire`](super::Pool::acquire) and its like gave no connection.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcquireError {
    /// The pool has been closed, or its last handle dropped.
    #[error("the pool is closed")]
    Closed,
    /// The pool is being drained: callers that wait are served, new ones are not.
    #[error("the pool is being drained and takes no new callers")]
    Draining,
    /// The runtime on which the pool was built has ended, and with it all that dials and keeps
    /// time. Build the pool on a runtime that lives as long as the pool is used.
    #[error(
        "the runtime that the pool was built on has ended; build the pool on one that outlives its use"
    )]
    RuntimeEnded,
    /// As many callers wait as may.
    #[error("as many callers wait as may: {waiting}, and max_waiting is {max_waiting}")]
    Full {
        /// How many wait.
        waiting: usize,
        /// How many may.
        max_waiting: u32,
    },
    /// It was refused when its turn had come, since it had waited for longer than the target, and
    /// all others have for an interval: more callers come than are served. See
    /// [`PoolBuilder::shed_waiting`](super::PoolBuilder::shed_waiting).
    #[error(
        "shed after a wait of {}: for {} or more, all have waited longer than the target of {}; ask less often, or raise max_size or the target of shed_waiting",
        Span(*.waited),
        Span(*.interval),
        Span(*.target)
    )]
    Shed {
        /// How long it has waited.
        waited: Duration,
        /// How long callers may wait while more come than are served.
        target: Duration,
        /// For how long all must have waited longer before any is refused.
        interval: Duration,
    },
    /// The deadline passed. What the pool looked like at that moment says why.
    #[error("acquire timed out after {}", .0)]
    TimedOut(Box<Circumstances>),
    /// No connection is live, and dials have been failing for longer than `outage_grace`.
    #[error(
        "the endpoint is unavailable: dials have failed, {failures} in a row, the last {}",
        Ago(*.ago)
    )]
    Unavailable {
        /// How many dials in a row have failed, early deaths included.
        failures: u32,
        /// How long ago the last one failed.
        ago: Duration,
        /// Why.
        #[source]
        cause: DialError,
    },
    /// [`Pool::try_acquire`](super::Pool::try_acquire) found nothing that could be lent without
    /// waiting.
    #[error("no connection is idle")]
    NoneIdle,
    /// A blocking acquire would have to wait on a thread that runs asynchronous tasks, and so would
    /// stop those that it waits for. Await the acquire there, or move the blocking code to
    /// `spawn_blocking`.
    #[error(
        "a blocking acquire would stop the runtime whose thread this is; await it, or use spawn_blocking"
    )]
    WouldBlockRuntime,
}

/// A pool at the moment when a caller's deadline passed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Circumstances {
    /// How long the caller has waited.
    pub waited: Duration,
    /// The setting.
    pub max_size: u32,
    /// Connections lent, or granted and not yet picked up.
    pub active: usize,
    /// Connections nobody has.
    pub idle: usize,
    /// Dials under way.
    pub connecting: usize,
    /// Connections being probed or reset.
    pub checking: usize,
    /// Connections being closed.
    pub closing: usize,
    /// The one lent for longest: for how long, and where it was acquired.
    pub longest: Option<(Duration, &'static Location<'static>)>,
    /// How many of the lent ones were acquired by the task that waits: if all are, it waits for
    /// itself.
    pub by_this_task: usize,
    /// The same where an acquire outside of any task waits, as in the body of `#[tokio::main]`:
    /// how many were acquired on its thread, outside of any task as well.
    pub by_this_thread: usize,
    /// Callers that still wait, without this one.
    pub waiting: usize,
    /// The pool is paused: nobody is served.
    pub paused: bool,
    /// The last dial that failed: how long ago, and why.
    pub last_failure: Option<(Duration, DialError)>,
}

impl fmt::Display for Circumstances {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} of {} active",
            Span(self.waited),
            self.active,
            self.max_size
        )?;
        if let Some((lent_for, call)) = self.longest {
            write!(f, " (longest {}, acquired at {call}", Span(lent_for))?;
            if self.by_this_task > 0 {
                write!(f, "; {} by this task", self.by_this_task)?;
            }
            if self.by_this_thread > 0 {
                write!(
                    f,
                    "; {} on this thread, outside of tasks",
                    self.by_this_thread
                )?;
            }
            f.write_str(")")?;
        }
        for (count, what) in [
            (self.idle, "idle"),
            (self.connecting, "connecting"),
            (self.checking, "being checked"),
            (self.closing, "closing"),
            (self.waiting, "waiting"),
        ] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        if self.paused {
            f.write_str(", the pool is paused")?;
        }
        LastFailed(&self.last_failure).fmt(f)
    }
}

/// Why [`Pool::ready`](super::Pool::ready) gave up.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "not ready after {}: {live} of {min_idle} connections{}{}",
    Span(*.waited),
    if *.closed { ", and the pool takes no callers any more" } else { "" },
    LastFailed(.last_failure)
)]
#[non_exhaustive]
pub struct NotReady {
    /// How long it has waited.
    pub waited: Duration,
    /// How many connections there are.
    pub live: usize,
    /// How many there should be: `min_idle`, or `max_size` if that is smaller.
    pub min_idle: usize,
    /// The last dial that failed: how long ago, and why.
    pub last_failure: Option<(Duration, DialError)>,
    /// The pool doesn't take callers any more.
    pub closed: bool,
}

struct LastFailed<'e>(&'e Option<(Duration, DialError)>);

impl fmt::Display for LastFailed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some((ago, error)) => write!(f, ", last dial failed {}: {}", Ago(*ago), error.cause()),
            None => Ok(()),
        }
    }
}

/// What [`Pool::close`](super::Pool::close) and [`Pool::drain`](super::Pool::drain) had to leave
/// behind at their deadline. What is still lent is closed when it comes back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{lent} still lent{} after {}{}", StillWaiting(*.waiting), Span(*.waited), Longest(.longest))]
#[non_exhaustive]
pub struct StillLent {
    /// How long it has waited.
    pub waited: Duration,
    /// How many connections are still lent.
    pub lent: usize,
    /// How many callers were still waiting, and have been told that the pool is closed.
    pub waiting: usize,
    /// The one lent for longest: for how long, and where it was acquired.
    pub longest: Option<(Duration, &'static Location<'static>)>,
}

struct StillWaiting(usize);

impl fmt::Display for StillWaiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            waiting => write!(f, ", {waiting} still waiting"),
        }
    }
}

struct Longest<'e>(&'e Option<(Duration, &'static Location<'static>)>);

impl fmt::Display for Longest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some((lent_for, call)) => {
                write!(
                    f,
                    ", the longest for {}, acquired at {call}",
                    Span(*lent_for)
                )
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{error::Error, sync::Arc};

    use super::*;

    #[test]
    fn a_timeout_says_why() {
        let here = Location::caller();
        let circumstances = Circumstances {
            waited: Duration::from_secs(5),
            max_size: 10,
            active: 10,
            idle: 0,
            connecting: 0,
            checking: 0,
            closing: 0,
            longest: Some((Duration::from_millis(4_900), here)),
            by_this_task: 1,
            by_this_thread: 0,
            waiting: 37,
            paused: false,
            last_failure: Some((
                Duration::from_secs(2),
                DialError::Failed(Arc::from(Box::<dyn Error + Send + Sync>::from(
                    "connection refused",
                ))),
            )),
        };
        assert_eq!(
            AcquireError::TimedOut(Box::new(circumstances)).to_string(),
            format!(
                "acquire timed out after 5 s: 10 of 10 active (longest 4.9 s, acquired at {here}; 1 by this task), \
                 37 waiting, last dial failed 2 s ago: connection refused"
            )
        );
    }
}
