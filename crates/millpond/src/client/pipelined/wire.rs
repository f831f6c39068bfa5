//! What a pipeline is written to: the socket, and what it hasn't taken yet. Whoever has it writes: the driver, or a caller who finds
//! nobody else at it.

use std::{
    io,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use super::state::{Id, Kinds, State};
use crate::pool::sync::Mutex;

/// What takes bytes.
pub(super) trait Socket {
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

/// See the module.
pub(super) struct Wire<S> {
    /// Gone when the pipeline has ended.
    pub(super) socket: Option<S>,
    /// Taken to be written.
    rest: Vec<u8>,
    /// How much of that the socket has taken.
    written: usize,
    /// TLS may hold a record back that it has taken.
    unflushed: bool,
    /// Why nothing more can be written.
    pub(super) error: Option<io::Error>,
}

/// A wire, shared.
pub(super) type SharedWire<S> = Arc<Mutex<Wire<S>>>;

impl<S: Socket> Wire<S> {
    pub(super) fn new(socket: S) -> Self {
        Wire {
            socket: Some(socket),
            rest: Vec::new(),
            written: 0,
            unflushed: false,
            error: None,
        }
    }

    /// How many bytes that were taken the socket hasn't.
    pub(super) fn unwritten(&self) -> usize {
        self.rest.len() - self.written
    }

    /// Nothing is left of what was taken, and nothing has failed.
    pub(super) fn is_done(&self) -> bool {
        self.rest.is_empty() && !self.unflushed && self.error.is_none()
    }

    /// Writes what is left of what was taken; an error is kept as well. Cancel safe: what was written is remembered.
    pub(super) fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(socket) = self.socket.as_mut().filter(|_| self.error.is_none()) else {
            return Poll::Ready(());
        };
        let written = loop {
            if self.written == self.rest.len() {
                break ready!(socket.poll_flush(cx));
            }
            match ready!(socket.poll_write(cx, &self.rest[self.written..])) {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(more) => self.written += more,
                Err(error) => break Err(error),
            }
        };
        match written {
            Ok(()) => {
                self.rest.clear();
                self.rest.shrink_to(KEPT);
                self.written = 0;
                self.unflushed = false;
            }
            Err(error) => self.error = Some(error),
        }
        Poll::Ready(())
    }

    /// Takes what is outgoing, and writes as much of it as the socket takes now. Whether there was anything.
    pub(super) fn poll_outgoing<K: Kinds>(
        &mut self,
        state: &Mutex<State<K>>,
        id: Id,
        cx: &mut Context<'_>,
    ) -> Poll<bool> {
        if !state.lock().take(id, &mut self.rest) {
            return Poll::Ready(false);
        }
        self.unflushed = true;
        self.poll_rest(cx).map(|()| true)
    }
}

/// How large a buffer is kept for what comes next.
const KEPT: usize = 64 << 10;

/// A caller writes what is outgoing, unless somebody else is at it; whatever is left is the driver's, whose waker this is then.
pub(super) fn write_as_caller<K, S>(state: &Mutex<State<K>>, id: Id, wire: &Mutex<Wire<S>>) -> Option<Waker>
where
    K: Kinds,
    S: Socket,
{
    let free = wire.try_lock().filter(|wire| wire.is_done());
    let Some(mut wire) = free else {
        return state.lock().leave_to_driver(id);
    };
    // Nobody is woken when the socket takes more: the driver asks for itself.
    let mut cx = Context::from_waker(Waker::noop());
    let written = wire.poll_outgoing(state, id, &mut cx);
    let left = written.is_pending() || wire.error.is_some();
    drop(wire);
    left.then(|| state.lock().leave_to_driver(id)).flatten()
}
