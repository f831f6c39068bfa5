//! The writing side of a pipeline: the socket, and what it hasn't taken yet. The driver writes, or
//! a caller that finds it unlocked.

use std::{
    io,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use super::machine::{Carried, Id, Machine};
use crate::{
    client::failure::ExchangeFailure,
    framed::{Outgoing, Sink},
    pool::unstable::Mutex,
};

/// What a pipeline is written to.
pub(super) trait Socket: Sink {
    /// What is kept of a request until its reply comes, for framings that look at requests.
    type Asked;

    /// Judges it while no reply is owed on it, from what the reactor has seen arrive.
    fn look(&mut self) -> Result<(), ExchangeFailure>;

    /// A request is about to be written.
    fn asked(&mut self, asked: Self::Asked);
}

/// See the module.
pub(super) struct Writer<S: Socket> {
    /// Gone when the pipeline has ended.
    pub(super) socket: Option<S>,
    /// What was taken to be written.
    outgoing: Outgoing,
    /// Empty, but for a moment.
    asked: Vec<S::Asked>,
    /// A request that gets no reply was taken: the driver answers it when it has been written.
    pub(super) has_silent: bool,
    /// Why nothing more can be written.
    pub(super) error: Option<io::Error>,
    /// What a look before writing has found: the pipeline has to end, and nothing more is written.
    pub(super) found: Option<ExchangeFailure>,
}

/// A writer that is shared by the callers and the driver.
pub(super) type SharedWriter<S> = Arc<Mutex<Writer<S>>>;

/// How large a buffer is kept for what comes next.
const KEPT: u32 = 64 << 10;

impl<S: Socket> Writer<S> {
    pub(super) fn new(socket: S) -> Self {
        Writer {
            socket: Some(socket),
            outgoing: Outgoing::keeping(KEPT),
            asked: Vec::new(),
            has_silent: false,
            error: None,
            found: None,
        }
    }

    /// How many bytes that were taken the socket hasn't.
    pub(super) fn unwritten(&self) -> usize {
        self.outgoing.remaining()
    }

    /// Nothing is left of what was taken, and nothing has failed.
    pub(super) fn is_done(&self) -> bool {
        self.outgoing.is_empty() && !self.has_failed()
    }

    /// Nothing more can be written.
    pub(super) fn has_failed(&self) -> bool {
        self.error.is_some() || self.found.is_some()
    }

    /// Writes what is left of what was taken; an error is kept as well. Cancel safe: what was
    /// written is remembered.
    pub(super) fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let failed = self.has_failed();
        let Some(socket) = self.socket.as_mut().filter(|_| !failed) else {
            return Poll::Ready(());
        };
        self.error = ready!(self.outgoing.poll_rest(socket, cx)).err();
        Poll::Ready(())
    }

    /// Takes what is outgoing, and writes as much of it as the socket takes now. Whether there was
    /// anything.
    ///
    /// While no reply is owed, nothing but heartbeats may have arrived: what is there before a
    /// request is written can't be its reply. So this looks first. It costs no system call
    /// while the reactor has seen nothing arrive.
    pub(super) fn poll_outgoing<K: Carried<Asked = S::Asked>>(
        &mut self,
        state: &Mutex<Machine<K>>,
        id: Id,
        cx: &mut Context<'_>,
    ) -> Poll<bool> {
        let is_owed = {
            let mut state = state.lock();
            let is_owed = state.owes(id, 0);
            let asked = &mut self.asked;
            if !self.outgoing.append(|rest| state.take(id, rest, asked)) {
                return Poll::Ready(false);
            }
            is_owed
        };
        if !is_owed && let Some(socket) = self.socket.as_mut() {
            self.found = socket.look().err();
        }
        for asked in self.asked.drain(..) {
            self.has_silent |= K::is_silent(&asked);
            if let Some(socket) = self.socket.as_mut() {
                socket.asked(asked);
            }
        }
        self.poll_rest(cx).map(|()| true)
    }
}

/// A caller writes what is outgoing, unless another one is writing. If anything is left, this is
/// the waker of the driver, which has to write it.
pub(super) fn write_as_caller<K, S>(
    state: &Mutex<Machine<K>>,
    id: Id,
    wire: &Mutex<Writer<S>>,
) -> Option<Waker>
where
    K: Carried,
    S: Socket<Asked = K::Asked>,
{
    let free = wire.try_lock().filter(|wire| wire.is_done());
    let Some(mut wire) = free else {
        return state.lock().leave_to_driver(id);
    };
    // This caller isn't woken when the socket takes more: the driver asks for itself.
    let mut cx = Context::from_waker(Waker::noop());
    let written = wire.poll_outgoing(state, id, &mut cx);
    let left = written.is_pending() || wire.has_failed() || wire.has_silent;
    drop(wire);
    left.then(|| state.lock().leave_to_driver(id)).flatten()
}
