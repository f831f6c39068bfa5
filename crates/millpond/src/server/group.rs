//! Requests of one connection that came together and are handled together: what such a handler is
//! given, and how it answers.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::Instant;

use super::{reply::Reply, request::Request};
use crate::framing::{Failure, Frame};

/// A handler that takes requests together. `C` is what it keeps for a connection.
pub trait HandlesGroups<C> {
    /// Begins to answer them, once it is polled.
    fn handle_group(&self, connection: &Arc<C>, requests: RequestGroup) -> BoxedAnswers;
}

/// The answers to a group of requests, whatever gives them.
pub(crate) type BoxedAnswers = Pin<Box<dyn Answers>>;

/// The answers to a group of requests.
pub trait Answers: Send {
    /// Tells what the requests at these places are answered, and is ready when all are. Each is told
    /// once. Dropped, it answers no more.
    fn poll(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        tell: &mut dyn FnMut(usize, Result<Reply, Failure>),
    ) -> Poll<()>;
}

/// Requests that came one behind the other. Each gets one reply, and none pins its connection.
#[derive(Debug)]
pub struct RequestGroup {
    pub(crate) frames: Vec<Frame>,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) deadline: Option<Instant>,
    /// The lane of their sender.
    pub(crate) lane: u16,
}

impl RequestGroup {
    /// One of them, to be handled alone.
    pub(crate) fn alone(&self, at: usize) -> Request {
        Request {
            frame: self.frames[at].clone(),
            peer: self.peer,
            deadline: self.deadline,
            pins: false,
            lane: self.lane,
            may_wait: Duration::ZERO,
            local: None,
        }
    }
}
