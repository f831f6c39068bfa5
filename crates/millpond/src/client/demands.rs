//! Which demands a caller can take: how many replies, and whether the connection may be pinned.

use crate::framing::{Demand, Failure, Replies};

/// What a caller can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Accepts {
    /// Any number of replies, not only one.
    pub(super) any_number: bool,
    /// The connection is the caller's own.
    pub(super) pins: bool,
}

/// Why a request wasn't sent: because of what it asks of its connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DemandError {
    /// The framing refuses it.
    #[error("the protocol refuses this request: {0}")]
    Refused(Failure),
    /// It gets no reply, and one was asked for.
    #[error("no reply comes to this request; send it by exchange_all or forward")]
    NoReply,
    /// It gets any number of replies, and one was asked for.
    #[error("any number of replies come to this request; send it by exchange_all or forward")]
    SeveralReplies,
    /// It changes the state of the connection that it is sent on, and others use that as well.
    #[error("this request changes the state of its connection; send it on one of its own, by pin")]
    Pins,
}

impl Accepts {
    /// One reply, on a connection that others use as well.
    pub(super) const ONE_REPLY: Accepts = Accepts {
        any_number: false,
        pins: false,
    };

    /// Any number of replies, on a connection that others use as well.
    pub(super) const ANY_NUMBER: Accepts = Accepts {
        any_number: true,
        pins: false,
    };

    /// Anything, on a connection of the caller's own.
    pub(super) const ANYTHING: Accepts = Accepts {
        any_number: true,
        pins: true,
    };

    /// Whether the caller can take what a request asks for.
    pub(super) fn check(self, demand: &Demand) -> Result<(), DemandError> {
        if demand.pins && !self.pins {
            return Err(DemandError::Pins);
        }
        match demand.replies {
            Replies::None if !self.any_number => Err(DemandError::NoReply),
            Replies::Several if !self.any_number => Err(DemandError::SeveralReplies),
            Replies::None | Replies::One | Replies::Several => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_gets_what_it_can_take() {
        let (none, one, several) = (
            Demand::replies(Replies::None),
            Demand::default(),
            Demand::replies(Replies::Several),
        );
        let pins = Demand::default().pins();
        for (accepts, demand, checked) in [
            (Accepts::ONE_REPLY, &one, Ok(())),
            (Accepts::ONE_REPLY, &none, Err(DemandError::NoReply)),
            (
                Accepts::ONE_REPLY,
                &several,
                Err(DemandError::SeveralReplies),
            ),
            (Accepts::ONE_REPLY, &pins, Err(DemandError::Pins)),
            (Accepts::ANY_NUMBER, &none, Ok(())),
            (Accepts::ANY_NUMBER, &several, Ok(())),
            (Accepts::ANY_NUMBER, &pins, Err(DemandError::Pins)),
            (Accepts::ANYTHING, &pins, Ok(())),
        ] {
            assert_eq!(accepts.check(demand), checked, "{accepts:?} {demand:?}");
        }
    }
}
