//! How the acts under load are set up, according to the flags.

use std::time::Duration;

use serde::Serialize;

use super::callers::DEADLINE;
use crate::load::{Limit, Load};

/// How many callers over how many connections, for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setup {
    pub(super) callers: u32,
    pub(super) length: Duration,
    pub(super) seed: u64,
    /// How many connections the pool may have.
    pub(super) connections: u32,
    pub(super) mode: Mode,
}

impl Setup {
    /// A closed loop: each caller sends as soon as it has its reply.
    pub(super) fn load(self) -> Load {
        Load {
            callers: self.callers,
            limit: Limit::Time(self.length),
            rate: None,
            patience: Duration::ZERO,
            // No request takes longer.
            stop_grace: DEADLINE,
        }
    }
}

/// How many exchanges the client keeps on a connection at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Mode {
    /// One.
    Exclusive,
    /// Several, answered in order.
    Pipelined,
}
