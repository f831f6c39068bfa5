//! What a request brings to each of its attempts.

use std::panic::Location;

use super::demands::Accepts;
use crate::framed::Message;

/// One request as it is attempted, and how its replies are read.
#[derive(Clone, Copy)]
pub(super) struct Payload<'b> {
    /// Where the caller's code asks.
    pub(super) place: &'static Location<'static>,
    pub(super) message: Message<'b>,
    /// What its caller can take.
    pub(super) accepts: Accepts,
    /// Whether a reply says that the server didn't take the request, and so has not executed it.
    pub(super) is_not_taken: fn(&[u8]) -> bool,
    /// Others are about to bring requests too: pipelined, they are written together, by the driver.
    pub(super) in_company: bool,
}
