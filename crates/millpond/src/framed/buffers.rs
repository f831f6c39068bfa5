//! The buffers of a thread: one for what a read brings, and one for frames that are being encoded.
//! Connections share them, so a connection on which nothing is under way holds no buffer.

use std::cell::RefCell;

/// The size of a thread's read buffer. A read that doesn't fill it tells the reactor, at no further
/// system call, that nothing more has arrived.
pub(super) const THREAD_BUFFER: usize = 16 << 10;

thread_local! {
    static READ_BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; THREAD_BUFFER].into_boxed_slice());
    static WRITE_BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Calls `read` with this thread's read buffer. `read` must not call this again.
#[inline]
pub(super) fn with_read_buffer<R>(read: impl FnOnce(&mut [u8]) -> R) -> R {
    READ_BUFFER.with_borrow_mut(|buffer| read(buffer))
}

/// Calls `show` with what `encode` puts into this thread's write buffer. Neither may call this
/// again, or [`Outgoing::begin`](super::Outgoing::begin).
///
/// # Errors
///
/// That of `encode`.
pub(crate) fn with_encoded<R, E>(
    encode: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    show: impl FnOnce(&[u8]) -> R,
) -> Result<R, E> {
    WRITE_BUFFER.with_borrow_mut(|buffer| {
        buffer.clear();
        let encoded = encode(buffer);
        let shown = encoded.map(|()| show(buffer));
        buffer.clear();
        buffer.shrink_to(THREAD_BUFFER);
        shown
    })
}
