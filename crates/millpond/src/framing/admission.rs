//! What a server makes of a request that has come, before its handler sees it.

use std::fmt;

use super::{demand::Demand, failure::Failure};

/// What a server makes of a request that has come: [`Framing::admit`](super::Framing::admit). Nearly
/// always it goes to the handler as it is.
///
/// ```
/// use millpond::framing::{Admission, Demand, LocalReply};
///
/// // To the handler.
/// let get = Admission::from(Demand::default().idempotent());
/// // Answered by the server itself: nobody behind it is asked.
/// let ping = Admission::answered(Demand::default(), LocalReply::new(b"+PONG\r\n"));
/// # let _ = (get, ping);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Admission {
    pub(crate) demand: Demand,
    /// Another form of the request, in which the handler gets it.
    pub(crate) rewritten: Option<Vec<u8>>,
    /// The reply, if no handler is asked for it.
    pub(crate) local: Option<Box<LocalReply>>,
}

/// A reply that a server gives itself, by its framing: to what concerns the client's connection
/// alone, such as a ping, a login, or the version of the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct LocalReply {
    pub(crate) frame: Vec<u8>,
    pub(crate) closes: bool,
    pub(crate) resets: bool,
    pub(crate) lane: Option<u16>,
    /// And what is told if they are wrong.
    pub(crate) credentials: Option<(Credentials, Failure)>,
}

/// Who a client says it is, and by which secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user's name.
    pub user: Vec<u8>,
    /// The secret, as the client has sent it.
    pub secret: Vec<u8>,
}

impl Admission {
    /// The server answers it by itself. What the reply makes of the connection's
    /// [state](super::Context::state), [`answers`](super::Framing::answers) says of it as of any other
    /// reply; then the request must [pin](Demand::pins).
    pub fn answered(demand: Demand, reply: LocalReply) -> Self {
        Admission {
            demand,
            rewritten: None,
            local: Some(Box::new(reply)),
        }
    }

    /// The handler gets this whole frame in the place of the one that came. Both demand the same.
    pub fn rewritten(mut self, frame: Vec<u8>) -> Self {
        self.rewritten = Some(frame);
        self
    }

    /// What the request asks of its connection.
    pub fn demand(&self) -> &Demand {
        &self.demand
    }

    /// The frame that the handler gets, if it isn't the one that came.
    pub fn rewritten_frame(&self) -> Option<&[u8]> {
        self.rewritten.as_deref()
    }

    /// The reply, if no handler is asked for it.
    pub fn local(&self) -> Option<&LocalReply> {
        self.local.as_deref()
    }
}

impl From<Demand> for Admission {
    fn from(demand: Demand) -> Self {
        Admission {
            demand,
            ..Admission::default()
        }
    }
}

impl LocalReply {
    /// This whole frame.
    pub fn new(frame: impl Into<Vec<u8>>) -> Self {
        LocalReply {
            frame: frame.into(),
            closes: false,
            resets: false,
            lane: None,
            credentials: None,
        }
    }

    /// The client's connection is closed behind it.
    pub fn closing(mut self) -> Self {
        self.closes = true;
        self
    }

    /// Whatever the client has made of its connection is over: a connection that a proxy has lent it
    /// for that is given up.
    pub fn resetting(mut self) -> Self {
        self.resets = true;
        self
    }

    /// From here on the client's requests belong to another [lane](super::Framing::lane). A proxy that
    /// has no connections for that refuses the request.
    pub fn for_lane(mut self, lane: u16) -> Self {
        self.lane = Some(lane);
        self
    }

    /// It is given only if these are right; else the client is told what the protocol says of a
    /// wrong secret, whether there is such a user or not. A server without users refuses all.
    pub fn if_right(mut self, credentials: Credentials, otherwise: Failure) -> Self {
        self.credentials = Some((credentials, otherwise));
        self
    }

    /// The whole frame.
    pub fn frame(&self) -> &[u8] {
        &self.frame
    }

    /// Whether the connection is [closed](LocalReply::closing) behind it.
    pub fn closes(&self) -> bool {
        self.closes
    }

    /// Whether the client's connection is as new [with it](LocalReply::resetting).
    pub fn resets(&self) -> bool {
        self.resets
    }

    /// The lane that the client's requests [are of](LocalReply::for_lane) from here on.
    pub fn lane(&self) -> Option<u16> {
        self.lane
    }

    /// What must be [right](LocalReply::if_right).
    pub fn credentials(&self) -> Option<&Credentials> {
        self.credentials
            .as_ref()
            .map(|(credentials, _)| credentials)
    }

    /// What is told if they [are wrong](LocalReply::if_right).
    pub fn otherwise(&self) -> Option<&Failure> {
        self.credentials.as_ref().map(|(_, otherwise)| otherwise)
    }

    /// Whether it depends on what is kept for the connection, or changes that.
    pub(crate) fn concerns_handler(&self) -> bool {
        self.resets || self.lane.is_some() || self.credentials.is_some()
    }
}

/// The user alone.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &String::from_utf8_lossy(&self.user))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_shown() {
        let credentials = Credentials {
            user: b"ann".into(),
            secret: b"sesame".into(),
        };
        let reply = LocalReply::new(b"+OK\r\n").if_right(credentials, Failure::refused("wrong"));
        let shown = format!("{:?}", Admission::answered(Demand::default(), reply));
        assert!(
            shown.contains("ann") && !shown.contains("sesame"),
            "{shown}"
        );
    }
}
