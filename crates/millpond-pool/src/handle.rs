//! What makes a pool close when nobody has a handle of it any more.

use std::sync::Arc;

use super::{connector::Connector, shared::SharedPool, state::Lifecycle};

/// Closes the pool when the last handle is dropped.
pub(crate) struct Handle<C: Connector> {
    pub(crate) shared: Arc<SharedPool<C>>,
}

impl<C: Connector> Drop for Handle<C> {
    fn drop(&mut self) {
        self.shared.close_now(Lifecycle::Closed);
        self.shared.bell.ring();
    }
}
