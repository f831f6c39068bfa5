//! Why a command did not do what it was asked: said on stderr, in the manner of clap, and by the
//! exit code.

use std::{fmt, io::Write};

use crate::{
    color::{Paint, Tone},
    exit::Exit,
    stderr::Stderr,
    text::{escaped, escaped_lines},
};

/// What is said, and how the program ends.
#[derive(Debug)]
pub(crate) struct Complaint {
    exit: Exit,
    text: String,
}

impl Complaint {
    /// The command line is wrong. Several lines may say so.
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Complaint {
            exit: Exit::Usage,
            text: text.into(),
        }
    }

    /// Something has failed. An error's text is one line, whatever it quotes.
    pub(crate) fn of(exit: Exit, error: &dyn fmt::Display) -> Self {
        Complaint {
            exit,
            text: escaped(&error.to_string()),
        }
    }

    /// Says so.
    pub(crate) fn report(self) -> Exit {
        say_error(&self.text);
        self.exit
    }
}

/// That something is wrong, on stderr.
pub(crate) fn say_error(text: &str) {
    let label = Paint::of_stderr().tone(Tone::Bad, "error:");
    write(&format!("{label} {}", escaped_lines(text)));
}

/// A line on stderr, or several. That nobody may be reading it is no reason to fail.
pub(crate) fn say(text: &str) {
    write(&escaped_lines(text));
}

fn write(text: &str) {
    let _ = Stderr.write_all(format!("{text}\n").as_bytes());
}
