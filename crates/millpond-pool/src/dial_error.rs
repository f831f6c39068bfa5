//! Why a dial failed.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use millpond_words::{Chain, Span};

use super::eviction::Eviction;

/// Why there is no connection: a dial that failed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum DialError {
    /// [`Connector::connect`](super::Connector::connect) or
    /// [`on_connect`](super::Connector::on_connect) said so: the [`source`](Error::source) is
    /// the connector's own error.
    Failed(Arc<dyn Error + Send + Sync>),
    /// It took longer than `connect_timeout`.
    TimedOut {
        /// The setting.
        limit: Duration,
        /// What it was doing then, as it told [`dial_phase`](super::dial_phase).
        phase: Option<&'static str>,
    },
    /// The connector panicked.
    Panicked,
    /// Dials succeed, but what they open dies before it has served once: a listener that accepts
    /// and hangs up.
    DiedEarly(Eviction),
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DialError::Failed(_) => f.write_str("the dial failed"),
            DialError::TimedOut { limit, phase } => {
                write!(f, "no answer within {}", Span(*limit))?;
                match phase {
                    Some(phase) => write!(f, ", while {phase}"),
                    None => Ok(()),
                }
            }
            DialError::Panicked => f.write_str("the connector panicked"),
            DialError::DiedEarly(reason) => {
                write!(
                    f,
                    "connected, but the connection died before it first served: {reason}"
                )
            }
        }
    }
}

impl Error for DialError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            // What is in the `Arc`: an `Arc` is an error as well, and of no type that anybody looks
            // for.
            DialError::Failed(error) => Some(&**error),
            DialError::TimedOut { .. } | DialError::Panicked | DialError::DiedEarly(_) => None,
        }
    }
}

impl DialError {
    /// For people who know that it was a dial: the connector's own error with its causes, or why
    /// there is none.
    pub fn cause(&self) -> Chain<'_> {
        match self {
            DialError::Failed(error) => Chain(&**error),
            other => Chain(other),
        }
    }
}
