//! millpond on the command line. What a command does is in a file of its own under `commands`; how
//! what it found is shown stands apart from that, so that the text and the JSON say the same.

mod allocator;
mod certificate;
mod color;
mod commands;
mod complaint;
mod descriptors;
mod exit;
mod help;
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

/// Where the flags that every command has stand in its help: behind its own.
const GLOBAL: usize = 900;

/// Long-lived sockets, pooled: see them work, measure what they cost, find what limits them; serve
/// and call by the `length:` protocol.
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
    /// What to log on stderr: off, error, warn, info, debug or trace [default: warn for serve,
    /// else off]
    ///
    /// Also for parts: `warn,millpond::pool=debug`. The parts are millpond::pool, millpond::server
    /// and millpond::net. No request and no reply is ever logged.
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

/// A negative number is a wrong value of its flag, and no flag that isn't known.
fn with_negative_numbers(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|arg| match arg.get_action().takes_values() {
        true => arg.allow_negative_numbers(true),
        false => arg,
    });
    command.mut_subcommands(with_negative_numbers)
}

#[derive(Subcommand)]
enum Command {
    /// Show sockets being reused, under a load that is partly unkind, beside a connection per
    /// request
    Demo(commands::demo::Arguments),
    /// Answer requests, by a handler of ours or a program of yours
    Serve(commands::serve::Arguments),
    /// Send a request and print its reply, or many through a pool of connections
    Call(commands::call::Arguments),
    /// Measure what short, pooled and pipelined connections cost against a server
    Bench(Box<commands::bench::Arguments>),
    /// Tell what of this machine limits connections: ports, descriptors, queues, timeouts
    Doctor(commands::doctor::Arguments),
    /// Print the completions for a shell
    Completions(commands::completions::Arguments),
    /// Print the manual, as man reads it
    Man(commands::man::Arguments),
}

fn main() -> Exit {
    let arguments = Arguments::read();
    let level = match arguments.command {
        // It runs for long, and nobody else tells what it had to refuse.
        Command::Serve(_) => LevelFilter::WARN,
        _ => LevelFilter::OFF,
    };
    log::begin(arguments.log.unwrap_or_else(|| log::Filter::of(level)));
    match arguments.command {
        Command::Demo(arguments) => commands::demo::run(&arguments),
        Command::Serve(arguments) => commands::serve::run(&arguments),
        Command::Call(arguments) => commands::call::run(&arguments),
        Command::Bench(arguments) => commands::bench::run(&arguments),
        Command::Doctor(arguments) => commands::doctor::run(&arguments),
        Command::Completions(arguments) => {
            commands::completions::run(&arguments, Arguments::command_line())
        }
        Command::Man(arguments) => commands::man::run(&arguments, Arguments::command_line()),
    }
}
