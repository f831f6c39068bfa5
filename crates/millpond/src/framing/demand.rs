//! What a request asks of its connection, and what a frame is to the request that is next to be
//! answered.

use std::time::Duration;

use super::{context::Note, failure::Failure};

/// What a request asks of its connection: how many replies, and whether the connection can be
/// another's afterwards. [`Framing::demand`](super::Framing::demand) says it.
///
/// ```
/// use millpond::framing::{Demand, Note, Replies};
///
/// // One reply; and asked twice, nothing changes.
/// let get = Demand::default().idempotent();
/// // Replies until the framing says that one is the last.
/// let list = Demand::replies(Replies::Several).noting(Note::word(3));
/// // The connection is the caller's own until its state is again what it was.
/// let transaction = Demand::default().pins();
/// # let _ = (get, list, transaction);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Demand {
    pub(crate) replies: Replies,
    pub(crate) idempotent: bool,
    pub(crate) pins: bool,
    pub(crate) note: Note,
    pub(crate) refusal: Option<Failure>,
    pub(crate) may_wait: Duration,
}

/// How many frames answer a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Replies {
    /// None ever comes, not even of an error. Of a request that is answered only if it fails, its
    /// framing must not say so: such a reply would be taken for that of the next request.
    None,
    /// One.
    #[default]
    One,
    /// Any number, at least one: until [`Framing::answers`](super::Framing::answers) says that a
    /// frame is the [last](Answer::Last).
    Several,
}

impl Demand {
    /// So many replies, and nothing else. The default is one.
    pub fn replies(replies: Replies) -> Self {
        Demand {
            replies,
            ..Demand::default()
        }
    }

    /// Executed twice, the request does the same as once, by the protocol's own rules. A client may
    /// send it again when a connection is lost before the reply came.
    pub fn idempotent(mut self) -> Self {
        self.idempotent = true;
        self
    }

    /// The request must be sent on a connection of its caller's own: since its replies may change the
    /// [state](super::Context::state) of the connection, such as the database that is selected, or
    /// since it occupies the connection for long. A client refuses to send it where others use the
    /// connection.
    ///
    /// Whether the connection can be another's afterwards is not said here but by the state, which
    /// [`answers`](super::Framing::answers) changes: it must equal the one that the connection had
    /// before. A request that pins and gets no reply has changed it for good, unless it is a part of
    /// the login, which is the same on each connection.
    ///
    /// Each request whose replies may change the state must pin. No other request is sent or read
    /// before they have come.
    pub fn pins(mut self) -> Self {
        self.pins = true;
        self
    }

    /// The request must not be sent, and why, in words that its sender is told. A server answers it
    /// with this failure, as the [replies](Demand::replies) say.
    pub fn refused(mut self, failure: Failure) -> Self {
        self.refusal = Some(failure);
        self
    }

    /// The server may wait for so long by itself before it replies, as the request asks it to;
    /// [`Duration::MAX`] is without a limit. This is added to the time that any request has. Only
    /// requests that [pin](Demand::pins) their connection may have it: on one that others use as
    /// well, they would wait too.
    pub fn may_wait(mut self, time: Duration) -> Self {
        self.may_wait = time;
        self
    }

    /// What the framing must know of the request when its replies come.
    pub fn noting(mut self, note: Note) -> Self {
        self.note = note;
        self
    }

    /// How many replies there are.
    pub fn awaits(&self) -> Replies {
        self.replies
    }

    /// Whether it is [idempotent](Demand::idempotent).
    pub fn is_idempotent(&self) -> bool {
        self.idempotent
    }

    /// Whether it [pins](Demand::pins) its connection.
    pub fn is_pinning(&self) -> bool {
        self.pins
    }

    /// How long the server [may wait](Demand::may_wait).
    pub fn waits(&self) -> Duration {
        self.may_wait
    }

    /// What was [noted](Demand::noting).
    pub fn note(&self) -> &Note {
        &self.note
    }

    /// Why it is [refused](Demand::refused).
    pub fn refusal(&self) -> Option<&Failure> {
        self.refusal.as_ref()
    }
}

/// What a frame that comes from the server is to the oldest request that isn't answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Answer {
    /// Its reply, or the last of its replies.
    Last,
    /// One of its replies. More will come.
    More,
    /// No reply to any request: the server sends it on its own, as it may in this protocol.
    Push,
    /// Not its reply: it answers another request, or none. Nobody knows then which reply is whose,
    /// and the connection is closed.
    Mismatch,
}
