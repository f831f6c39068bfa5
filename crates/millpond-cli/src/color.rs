//! Colour: the one place that decides whether there is any, and the few tones there are. `--color`
//! comes first, then NO_COLOR, CLICOLOR_FORCE and CLICOLOR, then whether the stream is a terminal
//! with colours. JSON is never coloured.

use std::{ffi::OsString, fmt::Display, io};

use anstream::{AutoStream, stream::RawStream};
use clap::{
    Command, ValueEnum,
    builder::{
        StyledStr,
        styling::{AnsiColor, Style},
    },
};

/// When there is colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    /// On a terminal, unless the environment says otherwise
    Auto,
    /// Into files and pipes too
    Always,
    /// Nowhere
    Never,
}

/// What a colour means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// All is well.
    Good,
    /// Something is wrong.
    Bad,
    /// A warning.
    Warning,
    /// A heading.
    Heading,
    /// Of little importance.
    Faint,
}

impl Tone {
    fn style(self) -> Style {
        match self {
            Tone::Good => AnsiColor::Green.on_default().bold(),
            Tone::Bad => AnsiColor::Red.on_default().bold(),
            Tone::Warning => AnsiColor::Yellow.on_default().bold(),
            Tone::Heading => Style::new().bold(),
            Tone::Faint => Style::new().dimmed(),
        }
    }
}

/// Whether a stream gets colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paint {
    Colored,
    Plain,
}

impl Paint {
    pub(crate) fn of_stdout() -> Paint {
        Paint::of(&io::stdout())
    }

    pub(crate) fn of_stderr() -> Paint {
        Paint::of(&io::stderr())
    }

    fn of(stream: &impl RawStream) -> Paint {
        match AutoStream::choice(stream) {
            anstream::ColorChoice::Never => Paint::Plain,
            _ => Paint::Colored,
        }
    }

    /// The text in a tone; unchanged where there is no colour.
    pub(crate) fn tone(self, tone: Tone, text: impl Display) -> String {
        let style = tone.style();
        match self {
            Paint::Colored => format!("{style}{text}{style:#}"),
            Paint::Plain => text.to_string(),
        }
    }
}

/// Sets it for the whole program, clap's help and errors included.
pub(crate) fn settle(when: When) {
    let choice = match when {
        When::Auto => anstream::ColorChoice::Auto,
        When::Always => anstream::ColorChoice::Always,
        When::Never => anstream::ColorChoice::Never,
    };
    choice.write_global();
}

/// The value of `--color`, read before clap parses the command line: clap prints help and errors
/// before it has read all flags.
pub(crate) fn asked(mut arguments: impl Iterator<Item = OsString>) -> Option<When> {
    while let Some(argument) = arguments.next() {
        let value = match argument.to_str() {
            Some("--") => return None,
            Some("--color") => arguments.next()?,
            Some(flag) => match flag.strip_prefix("--color=") {
                Some(value) => value.into(),
                None => continue,
            },
            None => continue,
        };
        return When::from_str(value.to_str()?, false).ok();
    }
    None
}

/// Gives the headings after the flags of each command's help the look of clap's own headings.
pub(crate) fn with_headings(command: Command) -> Command {
    command.mut_subcommands(|command| match command.get_after_help() {
        Some(help) => {
            let style = Style::new().bold().underline();
            let shown = help
                .to_string()
                .replace("Examples:", &format!("{style}Examples:{style:#}"));
            command.after_help(StyledStr::from(shown))
        }
        None => command,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_is_found_on_a_command_line_whatever_else_is_wrong_there() {
        let found = |line: &str| asked(line.split(' ').map(OsString::from));
        assert_eq!(found("millpond --nope --color never"), Some(When::Never));
        assert_eq!(
            found("millpond call --color=always --help"),
            Some(When::Always)
        );
        assert_eq!(found("millpond call --color"), None);
        assert_eq!(found("millpond call --color=blue"), None);
        assert_eq!(found("millpond call -- --color=never"), None);
    }

    #[test]
    fn text_without_colour_is_as_it_was() {
        assert_eq!(Paint::Plain.tone(Tone::Bad, "error:"), "error:");
        assert_eq!(Paint::Colored.tone(Tone::Heading, "a"), "\x1b[1ma\x1b[0m");
    }
}
