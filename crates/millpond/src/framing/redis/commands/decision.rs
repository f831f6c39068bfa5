//! What can be done with a command.

use std::fmt;

use super::timeout::Timeout;

/// What is done with a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::framing::redis) enum Decision {
    /// Any connection will do, and it leaves nothing behind on it.
    Plain,
    /// It goes on with a cursor, which is one of the server that it began on.
    Cursor,
    /// It isn't sent, but answered here.
    Here(Here),
    /// Its connection is its client's own until the state is gone.
    Pins(Pin),
    /// It is never sent. The words say why. They follow the command's name.
    Refused(&'static str),
}

/// What is answered here, since each client has a state of its own, whichever connection it uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::framing::redis) enum Here {
    Auth,
    ClientGetName,
    ClientId,
    ClientSetInfo,
    ClientSetName,
    Hello,
    Ping,
    Quit,
    Reset,
    Select,
}

/// What pins a connection, or ends a pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::framing::redis) enum Pin {
    /// It may wait at the server, which reads nothing more from the connection until then.
    Blocks(Timeout),
    /// For the next command only, and only of a client that tracks.
    Caching,
    Discard,
    Exec,
    Monitor,
    Multi,
    PSubscribe,
    PUnsubscribe,
    SSubscribe,
    SUnsubscribe,
    Subscribe,
    Tracking,
    Unsubscribe,
    Unwatch,
    Watch,
}

/// In words, for the documentation.
impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Decision::Plain => "sent on any connection",
            Decision::Cursor => "sent to the server on which the cursor began",
            Decision::Here(_) => "answered by the sidecar itself",
            Decision::Pins(Pin::Blocks(_)) => {
                "sent on a connection of the client's own while it waits"
            }
            Decision::Pins(Pin::Multi | Pin::Exec | Pin::Discard | Pin::Watch | Pin::Unwatch) => {
                "on a connection of the client's own, until no transaction is open and no key is \
                 watched"
            }
            Decision::Pins(Pin::Tracking | Pin::Caching) => {
                "on a connection of the client's own, until tracking is off"
            }
            Decision::Pins(Pin::Monitor) => {
                "on a connection of the client's own, until `RESET` or the end"
            }
            Decision::Pins(
                Pin::Subscribe
                | Pin::PSubscribe
                | Pin::SSubscribe
                | Pin::Unsubscribe
                | Pin::PUnsubscribe
                | Pin::SUnsubscribe,
            ) => "on a connection of the client's own, until it is subscribed to nothing",
            Decision::Refused(why) => return write!(f, "refused: it {why}"),
        })
    }
}
