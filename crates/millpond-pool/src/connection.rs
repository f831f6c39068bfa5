//! The guard of a lent connection: whoever has it has the connection, and dropping it gives the
//! connection back.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use super::{
    boxed::Boxed,
    connector::{Connector, LastExchange},
    eviction::Eviction,
    pooled::Pooled,
    shared::SharedPool,
    state::{Effects, SlotKey},
};

/// A connection, lent: it goes back to its pool when this is dropped.
///
/// On its way back the connector judges it ([`Connector::is_clean`]): a connection in the middle of
/// an exchange is closed and never lent again. Dropped by a panic it is closed as well.
///
/// **Any access to the connection opens its exchange**, through `&` as well as through `&mut`: a
/// `UdpSocket`, a `TcpStream` or a database client can send a request through a shared reference.
/// The exchange stays open until [`release`](Connection::release) says that it is complete. Dropped
/// with an open exchange the connection is closed, unless its connector knows better. What belongs
/// to the guard ([`number`](Connection::number), [`age`](Connection::age),
/// [`uses`](Connection::uses), `Debug`) opens nothing.
///
/// Dropping is synchronous and works anywhere: outside a runtime, after the pool's runtime has
/// ended, after the last handle of the pool is gone (the connection is then closed).
///
/// Leaked (`mem::forget`), it keeps its place for ever; the pool reports it after `leak_threshold`,
/// and its snapshot says where it was acquired.
#[must_use = "dropping it at once gives the connection back unused"]
pub struct Connection<C: Connector> {
    shared: Arc<SharedPool<C>>,
    /// Not 0: the connection was accessed. It is atomic for the sake of those who share the guard,
    /// and written without ordering, since whoever drops the guard has it alone.
    // A word, though a bit would do: a guard with seven bytes of padding is moved in pieces that
    // overlap, for which the processor waits at each move.
    accessed: AtomicUsize,
    /// There until it is given away.
    held: Option<(SlotKey, Boxed<C::Connection>)>,
}

impl<C: Connector> Connection<C> {
    pub(crate) fn new(
        shared: &Arc<SharedPool<C>>,
        key: SlotKey,
        connection: Boxed<C::Connection>,
    ) -> Self {
        Connection {
            shared: Arc::clone(shared),
            accessed: AtomicUsize::new(0),
            held: Some((key, connection)),
        }
    }

    /// The check before it is lent: one that doesn't pass is gone. A panic in there drops `self`,
    /// which discards.
    #[inline]
    pub(crate) fn pass_check(mut self) -> Option<Self> {
        let (_, connection) = self.held.as_mut().expect("just lent");
        match self.shared.connector.check(connection) {
            Ok(()) => Some(self),
            Err(reason) => {
                let (key, connection) = self.held.take().expect("just lent");
                let now = self.shared.clock.now();
                let random = fastrand::u64(..);
                self.shared.transition(|state, fx| {
                    state.reject(key, connection, reason, now, random, fx);
                });
                None
            }
        }
    }

    /// Gives it back, and says that its exchange is complete: nothing that was sent on it is still
    /// to be answered. Connectors that can't know that themselves close a connection that was
    /// used and is merely dropped.
    pub fn release(mut self) {
        let (_, connection) = self.held.as_mut().expect("held until it is given away");
        // A panic in there drops `self`, which discards.
        self.shared.connector.exchange_completed(connection);
        if let Some((key, connection)) = self.held.take() {
            self.shared
                .take_back(key, connection, LastExchange::Completed);
        }
    }

    /// Closes it instead of giving it back. The eviction's reason is what the connector's check
    /// finds wrong with it, else [`Eviction::Discarded`].
    pub fn discard(mut self) {
        let shared = Arc::clone(&self.shared);
        let reason = shared.died_of(&mut self);
        self.discard_because(reason.unwrap_or(Eviction::Discarded));
    }

    /// Closes it instead of giving it back, for a reason that the borrower knows.
    pub fn discard_because(mut self, reason: Eviction) {
        if let Some((key, connection)) = self.held.take() {
            self.shared.discard(key, connection, reason);
        }
    }

    /// Takes it out of the pool for good: it has left the pool's count, and is the caller's to
    /// close.
    pub fn detach(mut self) -> C::Connection {
        let (key, connection) = self.held.take().expect("held until it is given away");
        let now = self.shared.clock.now();
        self.shared
            .transition(|state, fx| state.detach(key, now, fx));
        connection.into_connection()
    }

    /// The connection's number in its pool, as snapshots and events show it.
    pub fn number(&self) -> u64 {
        self.shared.lock().slots().of(self.key()).number
    }

    /// How long ago its dial ended, to within a tick of upkeep (100 ms).
    pub fn age(&self) -> Duration {
        let state = self.shared.lock();
        state.now().since(state.slots().of(self.key()).opened)
    }

    /// How often it has been lent, this time included.
    pub fn uses(&self) -> u64 {
        self.shared.lock().slots().of(self.key()).uses
    }

    /// The connection, and the connector that made it.
    #[doc(hidden)]
    pub fn with_connector(&mut self) -> (&mut C::Connection, &C) {
        *self.accessed.get_mut() = 1;
        let (_, connection) = self.held.as_mut().expect("held until it is given away");
        (connection, &self.shared.connector)
    }

    /// Its slot, for as long as it is lent.
    #[doc(hidden)]
    pub fn slot(&self) -> SlotId {
        SlotId {
            at: self.key().index(),
            number: self.number(),
        }
    }

    /// It has served, and is kept for more exchanges: its end won't count as a failed dial. What
    /// follows for others is done when the returned value is dropped. Wakers may be called there,
    /// so hold no lock then.
    #[doc(hidden)]
    #[must_use = "what follows is done where this is dropped"]
    pub fn note_served(&self) -> Served<C> {
        let mut effects = Effects::none();
        self.shared.lock().served(self.key(), &mut effects);
        Served {
            shared: Arc::clone(&self.shared),
            effects,
        }
    }

    /// The connection, where reading it is no access.
    fn untouched(&self) -> &C::Connection {
        let (_, connection) = self.held.as_ref().expect("held until it is given away");
        connection
    }

    fn key(&self) -> &SlotKey {
        let (key, _) = self.held.as_ref().expect("held until it is given away");
        key
    }
}

/// See [`Connection::note_served`].
pub struct Served<C: Connector> {
    shared: Arc<SharedPool<C>>,
    effects: Effects<Pooled<C>>,
}

impl<C: Connector> Drop for Served<C> {
    fn drop(&mut self) {
        self.shared.carry_out(&mut self.effects);
    }
}

/// Names a lent connection's slot, for those who ask about it without having the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotId {
    /// Its index.
    pub at: u32,
    /// The connection's number.
    pub number: u64,
}

impl<C: Connector> Deref for Connection<C> {
    type Target = C::Connection;

    fn deref(&self) -> &C::Connection {
        self.accessed.store(1, Relaxed);
        self.untouched()
    }
}

impl<C: Connector> DerefMut for Connection<C> {
    fn deref_mut(&mut self) -> &mut C::Connection {
        *self.accessed.get_mut() = 1;
        let (_, connection) = self.held.as_mut().expect("held until it is given away");
        connection
    }
}

impl<C: Connector> Drop for Connection<C> {
    fn drop(&mut self) {
        if let Some((key, connection)) = self.held.take() {
            let exchange = match *self.accessed.get_mut() {
                0 => LastExchange::None,
                _ => LastExchange::Open,
            };
            self.shared.take_back(key, connection, exchange);
        }
    }
}

impl<C: Connector> fmt::Debug for Connection<C>
where
    C::Connection: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not through `Deref`: printing a connection is no access.
        f.debug_tuple("Connection").field(self.untouched()).finish()
    }
}
