//! `millpond proxy`: routes, from their start to the end of their drain.

mod arguments;
mod config;
mod demo;
mod events;
mod passing;
mod place;
mod plan;
mod secrets;
mod serving;
mod tables;
mod users;

use std::time::Duration;

use millpond::Chain;
use tokio::runtime::{self, Runtime};

pub(crate) use self::arguments::Arguments;
use self::plan::Plan;
use super::{events::Events, form::Form};
use crate::{complaint::Complaint, exit::Exit, numbers::counted, output, stderr};

/// How long tasks may take to end after the routes have closed.
const LAST_MOMENTS: Duration = Duration::from_secs(2);

pub(crate) fn run(arguments: &Arguments) -> Exit {
    let exit = carry_out(arguments).unwrap_or_else(Complaint::report);
    stderr::finish();
    exit
}

fn carry_out(arguments: &Arguments) -> Result<Exit, Complaint> {
    let form = match arguments.json {
        true => Form::Json,
        false => Form::Text,
    };
    arguments.check_given(std::env::args_os())?;
    if arguments.demo {
        return demo::run(form);
    }
    let plans = match &arguments.config {
        Some(file) => config::read(file)?,
        None => vec![Plan::of_flags(arguments)?],
    };
    let runtime = runtime(arguments.threads)?;
    let routes = serving::routes(plans, &runtime)?;
    if arguments.check {
        let routes = counted(routes.len() as u64, "route", "routes");
        return output::write(
            format!("{routes}, and nothing wrong\n").as_bytes(),
            Exit::Ok,
        );
    }
    let no_thread = |error| {
        Complaint::of(
            Exit::Failure,
            &format!("no thread could be started: {error}"),
        )
    };
    stderr::never_wait().map_err(no_thread)?;
    let events = Events::new(form).map_err(no_thread)?.into();
    let ended = runtime.block_on(serving::serve(routes, arguments.drain, &events));
    runtime.shutdown_timeout(LAST_MOMENTS);
    events.finish();
    ended
}

/// One thread is the main thread itself.
fn runtime(threads: usize) -> Result<Runtime, Complaint> {
    let mut builder = match threads {
        1 => runtime::Builder::new_current_thread(),
        _ => runtime::Builder::new_multi_thread(),
    };
    if threads > 1 {
        builder.worker_threads(threads);
    }
    builder.enable_all().build().map_err(|error| {
        Complaint::of(
            Exit::Failure,
            &format!("no runtime could be started: {}", Chain(&error)),
        )
    })
}
