//! `millpond man`: the manual, as man reads it.

use crate::{complaint::Complaint, exit::Exit, output};

/// See the command's help.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  millpond man > millpond.1 && man ./millpond.1
  millpond man call | man -l -")]
pub(crate) struct Arguments {
    /// The command whose page to print; without it, the program's page
    command: Option<String>,
}

/// `program` is the whole command line.
pub(crate) fn run(arguments: &Arguments, program: clap::Command) -> Exit {
    carry_out(arguments, program).unwrap_or_else(Complaint::report)
}

fn carry_out(arguments: &Arguments, mut program: clap::Command) -> Result<Exit, Complaint> {
    // Without this the page of a command is headed by its name alone.
    program.build();
    let page = match &arguments.command {
        None => program,
        Some(name) => {
            let command = program.find_subcommand(name).cloned();
            command.ok_or_else(|| unknown(name, &program))?
        }
    };
    let title = page.get_display_name().unwrap_or("millpond").to_owned();
    let mut text = Vec::new();
    let rendered = clap_mangen::Man::new(page).title(title).render(&mut text);
    rendered.map_err(|error| Complaint::of(Exit::Failure, &error))?;
    output::write(&text, Exit::Ok)
}

fn unknown(name: &str, program: &clap::Command) -> Complaint {
    let known: Vec<_> = program
        .get_subcommands()
        .map(clap::Command::get_name)
        .collect();
    Complaint::usage(format!(
        "there is no command '{name}'; there are {}",
        known.join(", ")
    ))
}
