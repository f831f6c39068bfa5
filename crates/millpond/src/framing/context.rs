//! What is known of bytes before they are looked at: which way they go, what they answer, and the
//! state of their connection.

use std::fmt;

/// Which way bytes go: some protocols frame requests and replies differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the client to the server.
    Request,
    /// From the server to the client.
    Reply,
}

/// What a framing remembers of a request or of a connection: a word, and bytes where a word isn't
/// enough. Its callers keep it and compare it, and never look into it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Note {
    word: u64,
    bytes: Option<Box<[u8]>>,
}

static EMPTY: Note = Note {
    word: 0,
    bytes: None,
};

impl Note {
    /// A note of one word. It costs no allocation.
    pub const fn word(word: u64) -> Self {
        Note { word, bytes: None }
    }

    /// A note of bytes, the control id of a message for instance.
    pub fn bytes(bytes: &[u8]) -> Self {
        Note::default().with_bytes(bytes)
    }

    /// The same note, with these bytes.
    pub fn with_bytes(self, bytes: &[u8]) -> Self {
        Note {
            bytes: (!bytes.is_empty()).then(|| bytes.into()),
            ..self
        }
    }

    /// Its word: 0 if none was set.
    #[inline]
    pub fn as_word(&self) -> u64 {
        self.word
    }

    /// Its bytes: empty if none were set.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.as_deref().unwrap_or_default()
    }
}

/// Its length alone: it may quote a request.
impl fmt::Debug for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Note({}, {} bytes)", self.word, self.as_bytes().len())
    }
}

/// What is known of bytes before they are looked at.
///
/// Protocols whose frames end by themselves need no more of it than the
/// [`direction`](Context::direction), or nothing at all.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    direction: Direction,
    asked: Option<&'a Note>,
    state: &'a Note,
}

impl Context<'static> {
    /// A request on a new connection.
    pub const REQUEST: Self = Context {
        direction: Direction::Request,
        asked: None,
        state: &EMPTY,
    };

    /// What comes from the server on a new connection on which nothing was asked.
    pub const REPLY: Self = Context {
        direction: Direction::Reply,
        asked: None,
        state: &EMPTY,
    };
}

impl<'a> Context<'a> {
    /// A request on a connection of this state.
    pub fn request(state: &'a Note) -> Self {
        Context {
            state,
            ..Context::REQUEST
        }
    }

    /// What comes from the server on a connection of this state, on which nothing is asked.
    pub fn unasked(state: &'a Note) -> Self {
        Context {
            state,
            ..Context::REPLY
        }
    }

    /// A reply to a request of which this was noted, on a connection of this state.
    pub fn reply(asked: &'a Note, state: &'a Note) -> Self {
        Context {
            direction: Direction::Reply,
            asked: Some(asked),
            state,
        }
    }

    /// Which way the bytes go.
    #[inline]
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// Of a reply: what [`Framing::demand`](super::Framing::demand) has noted of the oldest request
    /// that isn't answered. None if all are answered, as when the server sends a greeting; and none
    /// for requests.
    #[inline]
    pub fn asked(&self) -> Option<&'a Note> {
        self.asked
    }

    /// The connection's state: empty at first, then what
    /// [`Framing::answers`](super::Framing::answers) has made of it.
    #[inline]
    pub fn state(&self) -> &'a Note {
        self.state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_equal_if_they_say_the_same() {
        assert_eq!(Note::default(), Note::word(0));
        assert_eq!(Note::default(), Note::bytes(b""));
        assert_ne!(Note::default(), Note::word(1));
        assert_ne!(Note::bytes(b"a"), Note::bytes(b"b"));
        let both = Note::word(7).with_bytes(b"id");
        assert_eq!((both.as_word(), both.as_bytes()), (7, &b"id"[..]));
        assert_eq!(both.with_bytes(b""), Note::word(7));
    }
}
