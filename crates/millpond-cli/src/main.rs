//! millpond on the command line. Each command has a folder or a file under `commands`. What a
//! command finds is a struct; text and JSON are both made from it, so they say the same.

mod allocator;
mod certificate;
mod color;
mod commands;
mod complaint;
mod descriptors;
mod exit;
mod fault;
mod framing;
mod help;
mod hex;
mod lines;
mod load;
mod log;
mod lossy;
mod numbers;
mod output;
mod page;
mod ports;
mod screen;
mod sockstat;
mod stderr;
mod stop;
mod text;

use std::env;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, ValueHint};
use tracing_subscriber::filter::LevelFilter;

use exit::Exit;

/// The position of the flags that every command has: below the command's own.
const GLOBAL: usize = 900;

/// A connection pool for long-lived sockets: see it work, measure what it saves, find what limits
/// connections; serve, proxy and call with the `length:` protocol and others
#[derive(Parser)]
#[command(name = "millpond", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// When to use colour: auto, always or never; auto heeds NO_COLOR, CLICOLOR_FORCE and
    /// TERM=dumb
    #[arg(
        long,
        global = true,
        display_order = GLOBAL,
        value_name = "WHEN",
        value_enum,
        default_value = "auto",
        hide_possible_values = true
    )]
    color: color::When,
    /// What to log on stderr: off, error, warn, info, debug or trace [default: warn for serve and
    /// proxy, else off]
    ///
    /// Parts may have their own levels: `warn,millpond::pool=debug`. The parts are millpond::pool,
    /// millpond::client, millpond::server and millpond::net. Requests and replies are never logged.
    #[arg(long, global = true, display_order = GLOBAL, value_name = "LEVEL", value_hint = ValueHint::Other, env = "MILLPOND_LOG")]
    log: Option<log::Filter>,
}

impl Arguments {
    /// The command line, which is also what the manual and the completions are made from.
    fn command_line() -> clap::Command {
        color::with_headings(with_negative_numbers(Arguments::command()))
    }

    fn read() -> Arguments {
        color::settle(color::asked(env::args_os()).unwrap_or(color::When::Auto));
        let read = help::held_together(Arguments::command_line()).try_get_matches();
        let read = read.and_then(|matches| Arguments::from_arg_matches(&matches));
        let arguments = read.unwrap_or_else(|error| help::print_and_exit(&error));
        color::settle(arguments.color);
        arguments
    }
}

/// Makes clap treat a negative number as the value of a flag, not as an unknown flag.
fn with_negative_numbers(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|arg| match arg.get_action().takes_values() {
        true => arg.allow_negative_numbers(true),
        false => arg,
    });
    command.mut_subcommands(with_negative_numbers)
}

#[derive(Subcommand)]
enum Command {
    /// Show a pool reusing sockets, under a load with faults, compared with a connection per
    /// request
    Demo(commands::demo::Arguments),
    /// Answer requests with a built-in handler or a program of yours
    Serve(commands::serve::Arguments),
    /// Pass the requests of many clients on over a few connections to an upstream
    Proxy(Box<commands::proxy::Arguments>),
    /// Send a request and print the reply, or send many over a pool of connections
    Call(commands::call::Arguments),
    /// Measure what short, pooled and pipelined connections cost with a server of yours
    Bench(Box<commands::bench::Arguments>),
    /// Find what limits connections on this machine: ports, descriptors, queues, timeouts
    Doctor(commands::doctor::Arguments),
    /// Print the hash by which a route knows a user's secret
    HashSecret(commands::hash_secret::Arguments),
    /// Print completions for a shell
    Completions(commands::completions::Arguments),
    /// Print the manual page
    Man(commands::man::Arguments),
}

fn main() -> Exit {
    let arguments = Arguments::read();
    let level = match arguments.command {
        // A server runs for long, and only its log says what it had to refuse.
        Command::Serve(_) | Command::Proxy(_) => LevelFilter::WARN,
        _ => LevelFilter::OFF,
    };
    log::begin(arguments.log.unwrap_or_else(|| log::Filter::of(level)));
    match arguments.command {
        Command::Demo(arguments) => commands::demo::run(&arguments),
        Command::Serve(arguments) => commands::serve::run(&arguments),
        Command::Proxy(arguments) => commands::proxy::run(&arguments),
        Command::Call(arguments) => commands::call::run(&arguments),
        Command::Bench(arguments) => commands::bench::run(&arguments),
        Command::Doctor(arguments) => commands::doctor::run(&arguments),
        Command::HashSecret(arguments) => commands::hash_secret::run(&arguments),
        Command::Completions(arguments) => {
            commands::completions::run(&arguments, Arguments::command_line())
        }
        Command::Man(arguments) => commands::man::run(&arguments, Arguments::command_line()),
    }
}
