//! What a benchmark sends, and what it asks of the reply.

use std::time::Duration;

use super::results::ErrorKind;
use crate::load::tally::Miss;

/// No more of a wrong reply is shown.
const SHOWN: usize = 60;

/// See the module.
pub(super) struct PlannedExchange {
    pub(super) body: Vec<u8>,
    /// What the reply's body must be; `None`: any.
    pub(super) expected: Option<Vec<u8>>,
    pub(super) deadline: Duration,
}

impl PlannedExchange {
    /// Whether this is the right reply.
    pub(super) fn judge(&self, reply: &[u8]) -> Result<(), Miss<ErrorKind>> {
        match &self.expected {
            Some(expected) if reply != expected => {
                let shown = String::from_utf8_lossy(&reply[..reply.len().min(SHOWN)]);
                let rest = if reply.len() > SHOWN { "…" } else { "" };
                Err(Miss {
                    kind: ErrorKind::Protocol,
                    text: format!("the reply isn't what --expect says: {shown}{rest}"),
                })
            }
            _ => Ok(()),
        }
    }
}
