//! What the tests' managers have in common: a script for what takes time, and what they were asked.

use std::{
    error::Error,
    fmt,
    future::pending,
    sync::{Arc, Mutex},
};

use millpond_pool::{AcquireError, Connector, Eviction, Pool};

/// How a method of a manager goes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Act {
    #[default]
    Pass,
    Fail,
    Hang,
}

/// The manager's own error: found again where callers and operators look.
#[derive(Debug, PartialEq)]
pub(crate) struct Refused(pub(crate) &'static str);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Error for Refused {}

/// A connection, by its number, from 1.
#[derive(Debug, Default)]
pub(crate) struct Line {
    pub(crate) nth: usize,
    pub(crate) broken: bool,
    /// A test or a recycling has begun on it and hasn't ended.
    pub(crate) in_test: bool,
    pub(crate) used: u32,
}

#[derive(Debug, Default)]
struct State {
    made: usize,
    making: Act,
    testing: Act,
    asked: Vec<String>,
}

/// Shared by a manager and its test.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script(Arc<Mutex<State>>);

impl Script {
    pub(crate) fn making(&self, act: Act) {
        self.0.lock().unwrap().making = act;
    }

    pub(crate) fn testing(&self, act: Act) {
        self.0.lock().unwrap().testing = act;
    }

    /// What the manager has been asked since this was called last.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().asked)
    }

    pub(crate) fn note(&self, asked: impl Into<String>) {
        self.0.lock().unwrap().asked.push(asked.into());
    }

    pub(crate) async fn make(&self, called: &str) -> Result<Line, Refused> {
        self.note(called);
        let act = self.0.lock().unwrap().making;
        play(act).await?;
        let mut state = self.0.lock().unwrap();
        state.made += 1;
        Ok(Line {
            nth: state.made,
            ..Line::default()
        })
    }

    pub(crate) async fn test(&self, line: &mut Line) -> Result<(), Refused> {
        let act = self.0.lock().unwrap().testing;
        line.in_test = true;
        play(act).await?;
        line.in_test = false;
        Ok(())
    }
}

async fn play(act: Act) -> Result<(), Refused> {
    match act {
        Act::Pass => Ok(()),
        Act::Fail => Err(Refused("as scripted")),
        Act::Hang => pending().await,
    }
}

/// How many were evicted for this reason, and for any.
pub(crate) fn evicted<C: Connector>(pool: &Pool<C>, reason: Eviction) -> (u64, u64) {
    let totals = pool.snapshot().totals;
    let all = Eviction::ALL.iter().map(|&any| totals.evicted(any));
    (totals.evicted(reason), all.sum())
}

/// The manager's error is the source of the dial's, as the type that it is.
#[track_caller]
pub(crate) fn assert_has_source(failed: &AcquireError) {
    let AcquireError::Unavailable { cause, .. } = failed else {
        panic!("{failed:?}");
    };
    let source = cause.source().expect("a source");
    assert_eq!(source.downcast_ref(), Some(&Refused("as scripted")));
}
