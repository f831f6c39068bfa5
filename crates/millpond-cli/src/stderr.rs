//! What goes to stderr. Where a command serves strangers none of it may hold up the rest: then it
//! goes by way of [`Lossy`]. All others write it as programs do, and lose nothing.

use std::{
    io::{self, Write},
    sync::OnceLock,
};

use crate::{lossy::Lossy, numbers::counted};

/// Set once by whoever must never wait.
static LOSSY: OnceLock<Lossy> = OnceLock::new();

/// From now on nobody waits for stderr's reader.
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

/// At the program's end: what hasn't been written yet has a second to be.
pub(crate) fn finish() {
    if let Some(lossy) = LOSSY.get() {
        lossy.finish();
    }
}

/// Takes whole lines, one or several with each write.
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
        // It isn't buffered.
        Ok(())
    }
}
