//! millpond on the command line. What a command does is in a file of its own under `commands`; how what it found is shown stands apart from
//! that, so that the text and the JSON say the same.

mod commands;
mod complaint;
mod exit;
mod lines;
mod output;
mod text;

use clap::{Parser, Subcommand};

use exit::Exit;

/// Long-lived sockets, pooled: see them work, serve and call by the `length:` protocol.
#[derive(Parser)]
#[command(name = "millpond", version, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show sockets being reused, under a load that is partly unkind, beside a connection per request
    Demo(commands::demo::Arguments),
    /// Answer requests, by a handler of ours or a program of yours
    Serve(commands::serve::Arguments),
    /// Send a request and print its reply, or many through a pool of connections
    Call(commands::call::Arguments),
    /// Print the completions for a shell
    Completions(commands::completions::Arguments),
    /// Print the manual, as man reads it
    Man(commands::man::Arguments),
}

fn main() -> Exit {
    let arguments = Arguments::parse();
    match arguments.command {
        Command::Demo(arguments) => commands::demo::run(&arguments),
        Command::Serve(arguments) => commands::serve::run(&arguments),
        Command::Call(arguments) => commands::call::run(&arguments),
        Command::Completions(arguments) => commands::completions::run(&arguments),
        Command::Man(arguments) => commands::man::run(&arguments),
    }
}
