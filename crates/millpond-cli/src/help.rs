//! Keeps a flag's default and environment variable on one line in the help, at any width. Clap
//! breaks lines at every space, so the spaces within these become no-break spaces; they are turned
//! back into plain ones when the help is printed.

use std::{
    fmt::Display,
    io::{self, Write},
    process,
};

use anstream::AutoStream;
use clap::{Arg, Command, Error};

/// A space at which clap doesn't break the line.
const HELD: char = '\u{a0}';

/// Appends each flag's default and variable to its help, unbroken.
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
    // A default that the help tells in words is kept together as well.
    let held = |help: &dyn Display| {
        let help = help
            .to_string()
            .replace("[default: ", &format!("[default:{HELD}"));
        help + &values
    };
    let short = held(help);
    let long = arg.get_long_help().map(|help| held(help));
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

/// Prints clap's help or error, and ends the program as clap would.
pub(crate) fn print_and_exit(error: &Error) -> ! {
    let text = error.render().ansi().to_string().replace(HELD, " ");
    let mut out: Box<dyn Write> = match error.use_stderr() {
        true => Box::new(AutoStream::auto(io::stderr())),
        false => Box::new(AutoStream::auto(io::stdout())),
    };
    for line in text.lines() {
        // It is no failure if nobody reads it.
        let _ = writeln!(out, "{}", line.trim_end());
    }
    let _ = out.flush();
    process::exit(error.exit_code())
}
