//! Writes to stdout. If its reader has gone, the program ends quietly, as programs in a pipe do.

use std::io::{self, IsTerminal, Write};

use crate::{complaint::Complaint, exit::Exit};

/// Whether a person reads stdout.
pub(crate) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Writes all of it. Returns `exit` on success, and also if the reader has gone.
pub(crate) fn write(bytes: &[u8], exit: Exit) -> Result<Exit, Complaint> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(cant_write(&error)),
        Ok(()) | Err(_) => Ok(exit),
    }
}

pub(crate) fn cant_write(error: &io::Error) -> Complaint {
    Complaint::of(Exit::Failure, &format!("stdout can't be written: {error}"))
}
