//! Prints the library's `tracing` events as lines on stderr. Owns the syntax of `--log` and the
//! format of a line. A line never holds a payload, nor anything that a terminal would act upon.

use std::{fmt, str::FromStr, time::Instant};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    fmt::{
        FmtContext, MakeWriter,
        format::{FormatEvent, FormatFields, Writer},
        layer,
    },
    layer::SubscriberExt,
    registry::LookupSpan,
    util::SubscriberInitExt,
};

use crate::{
    color::{Paint, Tone},
    stderr::Stderr,
    text::escaped,
};

/// Where events come from.
const ALL: &str = "millpond";
const PARTS: [&str; 4] = [
    "millpond::pool",
    "millpond::client",
    "millpond::server",
    "millpond::net",
];

/// Which events are shown.
#[derive(Clone, Debug)]
pub(crate) struct Filter(Targets);

impl Filter {
    /// All events of this level and above.
    pub(crate) fn of(level: LevelFilter) -> Self {
        Filter(Targets::new().with_target(ALL, level))
    }
}

/// A part of `--log` that can't be read.
#[derive(Debug, thiserror::Error)]
#[error(
    "'{0}' is neither a level ({levels}) nor PART=LEVEL (parts: {ALL}, {parts}); write 'debug', or 'warn,{part}=debug'",
    levels = "off, error, warn, info, debug, trace",
    parts = PARTS.join(", "),
    part = PARTS[0]
)]
pub(crate) struct FilterError(String);

impl FromStr for Filter {
    type Err = FilterError;

    /// Levels and `PART=LEVEL`, separated by commas. An empty text is `off`.
    ///
    /// [`Targets`] has a parser of its own, but it takes a misspelt level for the name of an
    /// unknown part.
    fn from_str(text: &str) -> Result<Self, FilterError> {
        let mut targets = Targets::new();
        for directive in text
            .split(',')
            .map(str::trim)
            .filter(|text| !text.is_empty())
        {
            let (part, level) = directive.split_once('=').unwrap_or((ALL, directive));
            let level = level_named(level);
            let is_known = part == ALL || PARTS.contains(&part);
            let level = level
                .filter(|_| is_known)
                .ok_or_else(|| FilterError(escaped(directive)))?;
            targets = targets.with_target(part, level);
        }
        Ok(Filter(targets))
    }
}

/// Reads a level by its name only: `LevelFilter` would also take numbers and the empty string.
fn level_named(name: &str) -> Option<LevelFilter> {
    let is_name = !name.is_empty()
        && name
            .chars()
            .all(|character| character.is_ascii_alphabetic());
    is_name.then(|| name.parse().ok()).flatten()
}

/// Starts to print the events that pass the filter.
pub(crate) fn begin(filter: Filter) {
    let begun = subscriber(filter, Paint::of_stderr(), || Stderr).try_init();
    debug_assert!(begun.is_ok(), "it begins once");
}

fn subscriber<W>(filter: Filter, paint: Paint, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = Lines {
        began: Instant::now(),
        paint,
    };
    let layer = layer()
        .with_writer(writer)
        .event_format(lines)
        .log_internal_errors(false);
    tracing_subscriber::registry().with(filter.0).with(layer)
}

/// Whether any event can be printed.
pub(crate) fn is_on() -> bool {
    LevelFilter::current() != LevelFilter::OFF
}

/// Formats an event as one line: time, level, part, message.
struct Lines {
    began: Instant,
    paint: Paint,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut said = String::new();
        context.format_fields(Writer::new(&mut said), event)?;
        let (level, tone) = match *event.metadata().level() {
            Level::ERROR => ("error", Tone::Bad),
            Level::WARN => ("warn", Tone::Warning),
            Level::INFO => ("info", Tone::Good),
            Level::DEBUG => ("debug", Tone::Faint),
            Level::TRACE => ("trace", Tone::Faint),
        };
        let at = format!("{:.3} s", self.began.elapsed().as_secs_f64());
        let before = self.paint.tone(Tone::Faint, format_args!("{at:>9}"));
        let level = self.paint.tone(tone, format_args!("{level:<5}"));
        let part = self
            .paint
            .tone(Tone::Faint, format_args!("{}:", event.metadata().target()));
        writeln!(writer, "{before} {level} {part} {}", escaped(&said))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use super::*;

    /// What was written.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("nobody panics with it").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_event_is_one_line_that_a_terminal_only_shows() {
        let written = Written::default();
        let to = written.clone();
        let subscriber = subscriber(Filter::of(LevelFilter::WARN), Paint::Plain, move || {
            to.clone()
        });
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(target: "millpond::pool", cause = %"a\x1b[31m\nb\u{9b}", "dial \u{202e}failed");
            tracing::info!(target: "millpond::pool", "never shown");
        });
        let text = String::from_utf8(written.0.lock().expect("it is over").clone()).expect("text");
        let (at, said) = text.split_once(" s ").expect("a time");
        assert!(at.trim().parse::<f64>().is_ok(), "{text:?}");
        assert!(
            said.starts_with("warn  millpond::pool: dial \\u{202e}failed cause=a\\"),
            "{text:?}"
        );
        assert!(
            text.ends_with('\n') && text.lines().count() == 1,
            "{text:?}"
        );
        assert!(!text.contains(['\x1b', '\u{9b}']), "{text:?}");
    }

    #[test]
    fn a_level_is_for_all_parts_and_a_part_may_have_its_own() {
        let Filter(targets) = "warn, millpond::pool=debug".parse().expect("a filter");
        assert!(targets.would_enable("millpond::pool", &Level::DEBUG));
        assert!(targets.would_enable("millpond::server", &Level::WARN));
        assert!(!targets.would_enable("millpond::server", &Level::INFO));
        assert!(!targets.would_enable("another", &Level::ERROR));
        let Filter(none) = "".parse().expect("a filter");
        assert!(!none.would_enable("millpond::pool", &Level::ERROR));
    }

    #[test]
    fn what_is_misspelt_is_named_with_what_is_read() {
        for wrong in [
            "wran",
            "pool=debug",
            "millpond::pool",
            "millpond=",
            "3",
            "a\x1b=warn",
        ] {
            let error = format!("warn,{wrong}")
                .parse::<Filter>()
                .expect_err(wrong)
                .to_string();
            let named = error.contains(&format!("'{}' is neither", escaped(wrong)));
            assert!(named && error.contains("trace"), "{error}");
            assert!(error.contains("millpond::net"), "{error}");
        }
    }
}
