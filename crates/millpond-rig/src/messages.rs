//! The messages that a scene and its servers send to the process that started them. They are lines
//! of standard output; a mark distinguishes them from everything else that is printed there.

use std::io::{self, Write};

/// Stands before each message.
const MARK: char = '\u{1e}';

/// A message that begins with this is one of [`report`]'s.
pub(crate) const REPORT: &str = "report ";

/// The message that a line of output carries, if it carries one.
pub(crate) fn message(line: &str) -> Option<&str> {
    line.split_once(MARK).map(|(_, message)| message)
}

/// Sends a message, past a test harness that captures what is printed.
pub(crate) fn send(message: &str) {
    let mut out = io::stdout().lock();
    // This fails if the process that listens has ended. Then the message isn't needed.
    let _ = writeln!(out, "{MARK}{message}");
    let _ = out.flush();
}

/// Reports a line to the process that plays the scene.
pub(crate) fn report(line: &str) {
    send(&format!("{REPORT}{}", line.replace(['\n', MARK], " ")));
}
