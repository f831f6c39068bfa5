//! Why a command failed: a message on stderr, in the style of clap, and an exit code.

use std::{fmt, io::Write};

use crate::{
    color::{Paint, Tone},
    exit::Exit,
    stderr::Stderr,
    text::{escaped, escaped_lines},
};

/// The message and the exit code.
#[derive(Debug)]
pub(crate) struct Complaint {
    exit: Exit,
    text: String,
}

impl Complaint {
    /// The command line is wrong. The message may have several lines.
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Complaint {
            exit: Exit::Usage,
            text: text.into(),
        }
    }

    /// Something failed. The message is one line, whatever the error's text holds.
    pub(crate) fn of(exit: Exit, error: &dyn fmt::Display) -> Self {
        Complaint {
            exit,
            text: escaped(&error.to_string()),
        }
    }

    /// The message.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Prints the message.
    pub(crate) fn report(self) -> Exit {
        say_error(&self.text);
        self.exit
    }
}

/// Prints an error on stderr.
pub(crate) fn say_error(text: &str) {
    let label = Paint::of_stderr().tone(Tone::Bad, "error:");
    write(&format!("{label} {}", escaped_lines(text)));
}

/// Prints one or more lines on stderr. It is no failure if nobody reads them.
pub(crate) fn say(text: &str) {
    write(&escaped_lines(text));
}

fn write(text: &str) {
    let _ = Stderr.write_all(format!("{text}\n").as_bytes());
}
