//! A connection in a box of its own: lending moves a pointer, however large the connection is. Its
//! watch lives with it, so that looking at an idle connection again and again allocates nothing.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::Arc,
    task::Waker,
};

use super::runtime::Watch;

/// See the module.
pub(crate) struct Boxed<T>(Box<Content<T>>);

struct Content<T> {
    connection: T,
    /// Once it has been looked at while idle.
    watch: Option<Arc<Watch>>,
}

impl<T> Boxed<T> {
    pub(crate) fn new(connection: T) -> Self {
        let watch = None;
        Boxed(Box::new(Content { connection, watch }))
    }

    pub(crate) fn into_connection(self) -> T {
        self.0.connection
    }

    /// The waker for a look that begins now.
    pub(crate) fn listen(&mut self, watch: impl FnOnce() -> Watch) -> Waker {
        let watch = self.0.watch.get_or_insert_with(|| Arc::new(watch()));
        watch.listen();
        Waker::from(Arc::clone(watch))
    }
}

impl<T> Deref for Boxed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.connection
    }
}

impl<T> DerefMut for Boxed<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0.connection
    }
}

impl<T> fmt::Debug for Boxed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("connection")
    }
}
