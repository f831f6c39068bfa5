//! `millpond call`: one request, or one per line of stdin, over pooled connections.

mod arguments;
mod check;
mod error;
mod pipe;
mod plan;
mod report;
mod single;

use std::{os::unix::ffi::OsStrExt, sync::Arc};

use millpond::client::{ErrorReplies, Pipelining};
use tokio::sync::OnceCell;

pub(crate) use self::arguments::Arguments;
use self::{
    check::check,
    plan::{Bodies, Plan},
    report::Form,
};
use crate::{complaint::Complaint, exit::Exit};

/// What is sent.
enum Input {
    One(Form, Vec<u8>),
    Lines(pipe::Settings),
}

pub(crate) fn run(arguments: &Arguments) -> Exit {
    carry_out(arguments).unwrap_or_else(Complaint::report)
}

fn carry_out(arguments: &Arguments) -> Result<Exit, Complaint> {
    let plan = Arc::new(plan(arguments)?);
    let input = input(arguments, &plan)?;
    let runtime = super::runtime()?;
    let exit = runtime.block_on(async {
        match &input {
            Input::One(form, body) => single::run(&plan, *form, body).await,
            Input::Lines(settings) => pipe::run(&plan, settings).await,
        }
    });
    // A read of stdin can't be cancelled, so it isn't waited for.
    runtime.shutdown_background();
    exit
}

fn plan(arguments: &Arguments) -> Result<Plan, Complaint> {
    let endpoint = super::endpoint("--to", &arguments.to)?;
    Ok(Plan {
        tls: arguments.tls.towards(&endpoint)?,
        endpoint,
        deadline: arguments.deadline,
        idempotent: arguments.idempotent,
        bodies: match arguments.raw {
            true => Bodies::Raw,
            false => Bodies::Json,
        },
        error_replies: match arguments.accept_errors {
            true => ErrorReplies::AreReplies,
            false => ErrorReplies::AreErrors,
        },
        heartbeat: arguments.heartbeat,
        max_frame: arguments.max_frame.get(),
        refusal: OnceCell::new(),
    })
}

fn input(arguments: &Arguments, plan: &Plan) -> Result<Input, Complaint> {
    Ok(match arguments.request.as_bytes() {
        b"-" => Input::Lines(pipe::Settings {
            connections: arguments.connections,
            in_flight: arguments.in_flight,
            pipelining: arguments.pipelined.then(Pipelining::default),
            verbose: arguments.verbose,
        }),
        body => {
            check(body, plan.bodies, plan.max_frame)?;
            let form = Form {
                json: arguments.json,
                verbose: arguments.verbose,
            };
            Input::One(form, body.to_owned())
        }
    })
}
