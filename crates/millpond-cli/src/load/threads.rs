//! The threads that carry the callers.

use std::{io, num::NonZero, thread};

use tokio::runtime::{self, Runtime};

/// Cores that this process may use.
pub(crate) fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// Half of the cores, for the server and the kernel need the others.
pub(crate) fn by_default() -> usize {
    (cores() / 2).max(1)
}

/// A runtime of so many threads.
pub(crate) fn runtime(threads: usize) -> io::Result<Runtime> {
    runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
}
