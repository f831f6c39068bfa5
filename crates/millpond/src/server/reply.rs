//! What a handler answers with.

use std::fmt;

use bytes::Bytes;

use crate::{
    framed::Replied,
    framing::{Frame, LocalReply},
};

/// What a handler answers with: nearly always one body, which a [`Vec`], a string or [`Bytes`] turn
/// into.
///
/// It must be what the request [demands](crate::framing::Framing::demand), else the request has
/// failed as the handler's. Of a reply to a request that gets none, nothing is sent.
///
/// ```
/// use millpond::server::Reply;
///
/// let one: Reply = "pong".into();
/// let several = Reply::bodies(["first", "second"]);
/// # let _ = (one, several);
/// ```
#[derive(Clone, PartialEq, Eq)]
#[must_use]
pub struct Reply(pub(super) Parts);

/// What a reply is made of.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Parts {
    Body(Bytes),
    Bodies(Vec<Bytes>),
    Frames(Vec<Frame>),
    /// What another server has replied.
    PassedOn(Replied),
    /// What the framing has replied.
    Local(Box<LocalReply>),
}

impl Reply {
    /// Several bodies, each of which gets a frame of its own.
    pub fn bodies<B: Into<Bytes>>(bodies: impl IntoIterator<Item = B>) -> Self {
        Reply(Parts::Bodies(bodies.into_iter().map(Into::into).collect()))
    }

    /// Whole frames, which are sent as they are: for proxies. Only their id is that of the request,
    /// if the framing [has one](crate::framing::Framing::id).
    pub fn frames(frames: Vec<Frame>) -> Self {
        Reply(Parts::Frames(frames))
    }

    /// What another server has replied.
    pub(crate) fn passed_on(replied: Replied) -> Self {
        Reply(Parts::PassedOn(replied))
    }

    /// What the framing has replied.
    pub(super) fn local(reply: LocalReply) -> Self {
        Reply(Parts::Local(Box::new(reply)))
    }

    /// Whether the client's connection is closed behind it.
    pub(super) fn closes(&self) -> bool {
        matches!(&self.0, Parts::Local(reply) if reply.closes())
    }

    /// How many bytes it holds.
    pub(super) fn len(&self) -> usize {
        match &self.0 {
            Parts::Body(body) => body.len(),
            Parts::Bodies(bodies) => bodies.iter().map(Bytes::len).sum(),
            Parts::Frames(frames) => frames.iter().map(Frame::length).sum(),
            Parts::PassedOn(replied) => replied.frames().map(Frame::length).sum(),
            Parts::Local(reply) => reply.frame().len(),
        }
    }
}

/// Its length alone: payloads reach no log.
impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reply({} bytes)", self.len())
    }
}

impl From<Frame> for Reply {
    /// A whole frame: [`Reply::frames`].
    fn from(frame: Frame) -> Self {
        Reply::frames(vec![frame])
    }
}

impl From<Bytes> for Reply {
    fn from(body: Bytes) -> Self {
        Reply(Parts::Body(body))
    }
}

impl From<Vec<u8>> for Reply {
    fn from(body: Vec<u8>) -> Self {
        Bytes::from(body).into()
    }
}

impl From<String> for Reply {
    fn from(body: String) -> Self {
        Bytes::from(body).into()
    }
}

impl From<&'static str> for Reply {
    fn from(body: &'static str) -> Self {
        Bytes::from(body).into()
    }
}

impl From<&'static [u8]> for Reply {
    fn from(body: &'static [u8]) -> Self {
        Bytes::from(body).into()
    }
}
