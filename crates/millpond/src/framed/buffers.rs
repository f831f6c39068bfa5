//! The buffers of a thread: one for what a read brings, and one for frames that are being encoded.
//! Connections share them, so a connection on which nothing is under way holds no buffer.
//!
//! Who uses one takes it from the thread, and puts it back afterwards: a stream of somebody else's
//! may use frames itself while it is read or written. It finds none then, and gets a new one.

use std::cell::Cell;

/// The size of a thread's read buffer. A read that doesn't fill it tells the reactor, at no further
/// system call, that nothing more has arrived.
pub(super) const THREAD_BUFFER: usize = 16 << 10;

thread_local! {
    static READ_BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    static WRITE_BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Calls `read` with this thread's read buffer.
#[inline]
pub(super) fn with_read_buffer<R>(read: impl FnOnce(&mut [u8]) -> R) -> R {
    let mut buffer = READ_BUFFER.take();
    if buffer.is_empty() {
        buffer = vec![0; THREAD_BUFFER];
    }
    let read = read(&mut buffer);
    READ_BUFFER.set(buffer);
    read
}

/// Calls `show` with what `encode` puts into this thread's write buffer, which is empty before.
///
/// # Errors
///
/// That of `encode`.
#[inline]
pub(crate) fn with_encoded<R, E>(
    encode: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    show: impl FnOnce(&[u8]) -> R,
) -> Result<R, E> {
    let mut buffer = WRITE_BUFFER.take();
    let encoded = encode(&mut buffer);
    let shown = encoded.map(|()| show(&buffer));
    buffer.clear();
    buffer.shrink_to(THREAD_BUFFER);
    WRITE_BUFFER.set(buffer);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn puts(byte: u8) -> impl FnOnce(&mut Vec<u8>) -> Result<(), ()> {
        move |out| {
            assert!(out.is_empty());
            out.push(byte);
            Ok(())
        }
    }

    #[test]
    fn a_buffer_in_use_is_not_given_to_another() {
        for _ in 0..2 {
            with_read_buffer(|outer| {
                outer[0] = 1;
                with_read_buffer(|nested| {
                    assert_eq!(nested.len(), THREAD_BUFFER);
                    nested[0] = 2;
                });
                assert_eq!((outer.len(), outer[0]), (THREAD_BUFFER, 1));
            });
            let shown = with_encoded(puts(1), |outer| {
                with_encoded(puts(2), |nested| assert_eq!(nested, [2])).unwrap();
                assert_eq!(outer, [1]);
            });
            shown.unwrap();
        }
    }
}
