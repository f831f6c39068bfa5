//! Where a server prints its events: one line each, on stdout. Each event is a struct; its text and
//! its JSON are made from it.

use std::{fmt, io};

use serde::Serialize;

use super::form::Form;
use crate::{lossy::Lossy, numbers::counted};

/// The version of the JSON: fields are added without a new one, renamed or removed only with one.
pub(super) const VERSION: u32 = 1;

/// Prints events on stdout. A missing or slow reader neither stops nor delays the server.
pub(super) struct Events {
    form: Form,
    stdout: Lossy,
}

impl Events {
    pub(super) fn new(form: Form) -> io::Result<Self> {
        let missing = match form {
            Form::Text => |events| Form::Text.line(&Dropped::new(events)),
            Form::Json => |events| Form::Json.line(&Dropped::new(events)),
        };
        let stdout = Lossy::to(io::stdout(), missing)?;
        Ok(Events { form, stdout })
    }

    pub(super) fn tell(&self, event: &(impl fmt::Display + Serialize)) {
        self.stdout
            .push(format!("{}\n", self.form.line(event)).as_bytes());
    }

    /// At the end: waits up to a second for what hasn't been written yet.
    pub(super) fn finish(&self) {
        self.stdout.finish();
    }
}

/// This many events are missing, since nobody read stdout.
#[derive(Serialize)]
#[serde(tag = "event", rename = "dropped")]
struct Dropped {
    version: u32,
    events: u64,
}

impl Dropped {
    fn new(events: u64) -> Self {
        Dropped {
            version: VERSION,
            events,
        }
    }
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let events = counted(self.events, "event", "events");
        write!(f, "{events} dropped here: nobody read stdout")
    }
}

/// The end of a line that tells of a drain: what wasn't finished by it. `one` and `many` are what
/// connections are called there.
pub(super) fn write_unfinished(
    f: &mut fmt::Formatter<'_>,
    unanswered: u64,
    forced: usize,
    [one, many]: [&str; 2],
) -> fmt::Result {
    if (forced, unanswered) == (0, 0) {
        return f.write_str("; all was finished");
    }
    if unanswered > 0 {
        let unanswered = counted(unanswered, "request", "requests");
        write!(f, "; {unanswered} left unanswered")?;
    }
    if forced > 0 {
        let forced = counted(forced as u64, one, many);
        write!(f, "; {forced} closed with something under way")?;
    }
    Ok(())
}
