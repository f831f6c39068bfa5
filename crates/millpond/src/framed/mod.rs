//! A stream whose bytes are frames: [`FramedStream`]. It reads them as they come, however they are
//! cut, and keeps what came beyond them. The client and the server are built of the same parts; what
//! an exchange is, and whose turn it is, they know.
//!
//! # Where the bytes lie
//!
//! A read goes to a buffer of the thread, and what it brought is taken from there, so a connection
//! on which nothing is under way holds no buffer at all. Only what is left over, a part of a frame
//! or the frames behind the first, is kept in one of the connection's own; that grows with what
//! arrives, never with what was announced. Of a long frame of which as much has come as the
//! thread's buffer holds, the rest is read straight into the connection's.
//!
//! # What it costs
//!
//! Work and memory are proportional to the bytes received, however they are cut, if the framing
//! uses its [`Scan`](crate::framing::Scan). For that the framing is asked once or twice for each read and each item,
//! never for each byte.

mod allowance;
mod buffers;
mod decoder;
mod item;
mod outgoing;
mod outstanding;
mod pulse;
mod reading;
mod received;
mod replied;
mod stream;

pub use self::{
    allowance::HeartbeatLimit,
    stream::{FramedStream, ReceiveError, SendError},
};
pub(crate) use self::{
    allowance::{Allowance, validate_heartbeats},
    item::{Item, Items, ReadError},
    outgoing::{Outgoing, Sink},
    outstanding::{
        Asked, Doubt, Message, Outstanding, Prepared, Unsendable, Verdict, with_request,
        with_requests,
    },
    pulse::Pulse,
    reading::{Framed, READ_AT_ONCE},
    replied::Replied,
};

#[cfg(all(test, not(millpond_loom)))]
mod tests;
