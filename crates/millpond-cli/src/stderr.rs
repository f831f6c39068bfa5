//! Writes to stderr. A command that serves strangers must not wait for stderr's reader, so its
//! lines go through [`Lossy`]. The other commands write directly, and lose nothing.

use std::{
    io::{self, Write},
    sync::OnceLock,
};

use crate::{lossy::Lossy, numbers::counted};

/// Set once, by [`never_wait`].
static LOSSY: OnceLock<Lossy> = OnceLock::new();

/// From now on writing to stderr never waits.
pub(crate) fn never_wait() -> io::Result<()> {
    let missing = |lines| {
        let (lines, were) = (
            counted(lines, "line", "lines"),
            if lines == 1 { "was" } else { "were" },
        );
        format!("{lines} of the log {were} dropped here: nobody read stderr")
    };
    let begun = LOSSY.set(Lossy::to(io::stderr(), missing)?);
    debug_assert!(begun.is_ok(), "it begins once");
    Ok(())
}

/// At the end of the program: waits up to a second for what hasn't been written yet.
pub(crate) fn finish() {
    if let Some(lossy) = LOSSY.get() {
        lossy.finish();
    }
}

/// A writer of whole lines, one or more with each write.
#[derive(Clone, Copy)]
pub(crate) struct Stderr;

impl Write for Stderr {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        match LOSSY.get() {
            Some(mut lossy) => lossy.write(lines),
            None => io::stderr().write(lines),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        // Nothing is buffered.
        Ok(())
    }
}
