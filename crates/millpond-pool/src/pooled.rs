//! What the state machine carries for a pool: connections, who holds them, why dials failed.

use std::{fmt, marker::PhantomData, panic::Location};

use super::{
    asker::Asker,
    boxed::Boxed,
    connector::Connector,
    dial_error::DialError,
    ends::Ends,
    eviction::Eviction,
    state::{DialCause, Payload},
};

/// What the state machine carries for the pool of a connector.
pub(crate) struct Pooled<C>(PhantomData<fn() -> C>);

impl<C> fmt::Debug for Pooled<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pooled")
    }
}

impl<C: Connector> Payload for Pooled<C> {
    type Connection = Boxed<C::Connection>;
    type Waker = std::task::Waker;
    type Tag = Borrower;
    type Label = Ends;
    type Cause = Judged;
}

/// Who holds a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Borrower {
    /// The call that acquired it.
    pub(crate) acquired_at: &'static Location<'static>,
    pub(crate) asker: Asker,
}

/// Why a dial failed, and whether it was refused. Found out before the lock is taken, for that runs
/// the connector's code.
#[derive(Clone, Debug)]
pub(crate) struct Judged {
    pub(crate) error: DialError,
    pub(crate) refused: bool,
}

impl From<Eviction> for Judged {
    fn from(reason: Eviction) -> Self {
        Judged {
            error: DialError::DiedEarly(reason),
            refused: false,
        }
    }
}

impl DialCause for Judged {
    fn refused(&self) -> bool {
        self.refused
    }
}
