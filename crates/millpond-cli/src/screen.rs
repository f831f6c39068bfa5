//! What a command shows while it runs: lines, and a line of counts that is rewritten in place on a
//! terminal. Owns stdout; when nobody reads it any more, it stops the command.

use std::{
    env,
    io::{self, IsTerminal, Write},
    time::Duration,
};

use textwrap::{Options, WordSplitter};

use crate::{
    color::{Paint, Tone},
    log,
    stop::Stop,
};

/// The widest text: longer lines are hard to read.
const WIDEST: usize = 80;

/// The widest table.
const WIDEST_TABLE: usize = 140;

/// The narrowest width that text is wrapped to.
const NARROWEST: usize = 40;

/// How often counts are shown: where the line is rewritten, and where each is a new line.
const REWRITTEN: Duration = Duration::from_millis(100);
const LINES: Duration = Duration::from_secs(1);

/// See the module.
pub(crate) struct Screen {
    drawing: Drawing,
    /// The terminal's.
    columns: usize,
    paint: Paint,
    /// The last line has no line end yet: the next line replaces it.
    unfinished: bool,
    /// A write that failed, though there was a reader.
    failed: Option<io::Error>,
    stop: Stop,
}

/// How counts are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drawing {
    /// One line, rewritten in place.
    Rewriting,
    /// Lines, one below the other.
    Lines,
    /// Nothing is drawn: the output is a document.
    Nothing,
}

impl Drawing {
    /// For text output. Counts are rewritten in place on a capable terminal, unless a log is
    /// printed meanwhile.
    pub(crate) fn of_text() -> Drawing {
        let is_dumb = env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
        let is_shared = log::is_on() && io::stderr().is_terminal();
        match io::stdout().is_terminal() && !is_dumb && !is_shared {
            true => Drawing::Rewriting,
            false => Drawing::Lines,
        }
    }
}

impl Screen {
    pub(crate) fn new(drawing: Drawing, stop: Stop) -> Self {
        let columns = match terminal_size::terminal_size_of(io::stdout()) {
            Some((terminal_size::Width(columns), _)) => columns.into(),
            // As for help.
            None => env::var("COLUMNS")
                .ok()
                .and_then(|columns| columns.parse().ok())
                .unwrap_or(WIDEST),
        };
        Screen {
            drawing,
            columns: columns.clamp(NARROWEST, WIDEST_TABLE),
            paint: Paint::of_stdout(),
            unfinished: false,
            failed: None,
            stop,
        }
    }

    /// The width for text, in columns.
    pub(crate) fn width(&self) -> usize {
        self.columns.min(WIDEST)
    }

    /// The width for tables, in columns: at least that for text.
    pub(crate) fn table_width(&self) -> usize {
        self.columns
    }

    /// Whether lines may be in colour.
    pub(crate) fn paint(&self) -> Paint {
        self.paint
    }

    /// How often counts should be shown.
    pub(crate) fn cadence(&self) -> Duration {
        match self.drawing {
            Drawing::Rewriting => REWRITTEN,
            Drawing::Lines | Drawing::Nothing => LINES,
        }
    }

    /// Shows a line. It replaces counts that were not kept.
    pub(crate) fn line(&mut self, line: &str) {
        let begin = self.begin();
        self.unfinished = false;
        self.write(&format!("{begin}{line}\n"));
    }

    /// Shows wrapped words beside a label.
    pub(crate) fn wrapped(&mut self, label: &str, text: &str) {
        self.words(label, text, |line| line);
    }

    /// As [`wrapped`](Screen::wrapped), as a heading.
    pub(crate) fn title(&mut self, label: &str, text: &str) {
        let paint = self.paint;
        self.words(label, text, |line| paint.tone(Tone::Heading, line));
    }

    fn words(&mut self, label: &str, text: &str, shown: impl Fn(String) -> String) {
        let later = " ".repeat(label.chars().count());
        let options = Options::new(self.width())
            .initial_indent(label)
            .subsequent_indent(&later)
            .word_splitter(WordSplitter::NoHyphenation);
        for line in textwrap::wrap(text, options) {
            self.line(&shown(line.into_owned()));
        }
    }

    /// Shows counts: in place of the last ones, or below them.
    pub(crate) fn counts(&mut self, counts: &str) {
        if self.drawing == Drawing::Lines {
            return self.line(counts);
        }
        let begin = self.begin();
        self.unfinished = true;
        // A line as wide as the terminal may already wrap.
        let shown: String = counts.chars().take(self.width() - 1).collect();
        self.write(&format!("{begin}{shown}"));
    }

    /// Ends the line of counts, so that it stays.
    pub(crate) fn keep(&mut self) {
        if std::mem::take(&mut self.unfinished) {
            self.write("\n");
        }
    }

    /// Prints a document, which is all of the output.
    pub(crate) fn document(&mut self, document: &str) -> io::Result<()> {
        match writeln!(io::stdout(), "{document}") {
            // If the reader has gone, nobody wants it.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written,
        }
    }

    /// Returns the first write that failed.
    pub(crate) fn written(&mut self) -> io::Result<()> {
        self.failed.take().map_or(Ok(()), Err)
    }

    /// Moves to the beginning of the line and clears it.
    fn begin(&self) -> &'static str {
        match self.unfinished {
            true => "\r\x1b[K",
            false => "",
        }
    }

    fn write(&mut self, text: &str) {
        if self.drawing == Drawing::Nothing {
            return;
        }
        let mut out = io::stdout().lock();
        if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            self.stop.stop();
            // If the reader has gone, nobody wants it.
            if error.kind() != io::ErrorKind::BrokenPipe {
                self.failed = Some(error);
            }
        }
    }
}
