//! What a request asks of its connection, and what a frame is to the request that is next to be
//! answered.

use super::context::Note;

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
}

/// How many frames answer a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Replies {
    /// None ever comes, not even of an error.
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

    /// The request changes the state of its connection, such as the database that is selected. The
    /// connection is the caller's own then, from this request on until its
    /// [state](super::Context::state) equals the one that it had before.
    ///
    /// Requests that share a connection with others must not pin it: a client refuses to send them
    /// there.
    pub fn pins(mut self) -> Self {
        self.pins = true;
        self
    }

    /// What the framing must know of the request when its replies come.
    pub fn noting(mut self, note: Note) -> Self {
        self.note = note;
        self
    }
}

/// What a frame that comes from the server is to the oldest request that isn't answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
