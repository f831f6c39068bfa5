//! `millpond completions`: what a shell needs to complete our command lines.

use clap_complete::Shell;

use crate::{complaint::Complaint, exit::Exit, output};

/// See the command's help.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  millpond completions bash \\
    > ~/.local/share/bash-completion/completions/millpond
  millpond completions fish \\
    > ~/.config/fish/completions/millpond.fish")]
pub(crate) struct Arguments {
    /// The shell
    shell: Shell,
}

/// `program` is the whole command line.
pub(crate) fn run(arguments: &Arguments, mut program: clap::Command) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut program, "millpond", &mut script);
    output::write(&script, Exit::Ok).unwrap_or_else(Complaint::report)
}
