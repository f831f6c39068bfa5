//! The main job, self-contained.

use crate::exit::Exit;

/// See the command's help.
#[derive(clap::Args)]
pub(crate) struct Arguments {}

pub(crate) fn run(_: &Arguments) -> Exit {
    Exit::Ok
}
