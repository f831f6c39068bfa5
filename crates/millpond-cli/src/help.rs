//! Help as it is shown: what belongs together stays on one line, whatever the width. Clap breaks
//! lines at any space; so the values behind a flag's words get spaces that it doesn't know, and
//! these become plain ones as the help is printed.

use std::{
    io::{self, Write},
    process,
};

use anstream::AutoStream;
use clap::{Arg, Command, Error};

/// Where no line is broken.
const HELD: char = '\u{a0}';

/// Lets each flag say its default and its variable at the end of its words, unbroken.
pub(crate) fn held_together(command: Command) -> Command {
    let command = command.mut_args(with_values);
    command.mut_subcommands(held_together)
}

fn with_values(arg: Arg) -> Arg {
    if !arg.get_action().takes_values() {
        return arg;
    }
    let values = values(&arg);
    let Some(help) = arg.get_help() else {
        return arg;
    };
    let short = format!("{help}{values}");
    let long = arg.get_long_help().map(|help| format!("{help}{values}"));
    let arg = match long {
        Some(long) => arg.long_help(long),
        None => arg,
    };
    arg.help(short).hide_default_value(true).hide_env(true)
}

fn values(arg: &Arg) -> String {
    let mut values = String::new();
    let defaults: Vec<_> = arg
        .get_default_values()
        .iter()
        .map(|value| value.to_string_lossy())
        .collect();
    if !defaults.is_empty() {
        values += &format!(" [default:{HELD}{}]", defaults.join(","));
    }
    if let Some(variable) = arg.get_env() {
        values += &format!(" [env:{HELD}{}]", variable.to_string_lossy());
    }
    values
}

/// Prints what clap has to say, help or an error, and ends the program as it would.
pub(crate) fn print_and_exit(error: &Error) -> ! {
    let text = error.render().ansi().to_string().replace(HELD, " ");
    let mut out: Box<dyn Write> = match error.use_stderr() {
        true => Box::new(AutoStream::auto(io::stderr())),
        false => Box::new(AutoStream::auto(io::stdout())),
    };
    for line in text.lines() {
        // That nobody may be reading it is no reason to fail.
        let _ = writeln!(out, "{}", line.trim_end());
    }
    let _ = out.flush();
    process::exit(error.exit_code())
}
