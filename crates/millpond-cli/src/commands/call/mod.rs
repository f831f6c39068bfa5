//! `millpond call`: one request, or one per line of stdin, over pooled connections.

mod arguments;
mod body;
mod check;
mod error;
mod pipe;
mod plan;
mod report;
mod single;

use std::{
    fs::File,
    io::{self, Read},
    os::unix::ffi::OsStrExt,
    path::Path,
    sync::Arc,
};

use millpond::client::{ErrorReplies, Pipelining};
use tokio::sync::OnceCell;

pub(crate) use self::arguments::Arguments;
use self::{
    body::Notation,
    check::check,
    plan::{Bodies, Plan},
    report::Form,
};
use crate::{complaint::Complaint, exit::Exit, numbers::counted};

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
    let spoken = arguments.framing.spoken()?;
    Ok(Plan {
        tls: arguments.tls.towards(&endpoint)?,
        endpoint,
        deadline: arguments.deadline,
        idempotent: arguments.idempotent,
        bodies: match arguments.raw || !spoken.carries_json() {
            true => Bodies::Raw,
            false => Bodies::Json,
        },
        error_replies: match arguments.accept_errors || !spoken.carries_json() {
            true => ErrorReplies::AreReplies,
            false => ErrorReplies::AreErrors,
        },
        heartbeat: arguments.heartbeat,
        spoken,
        refusal: OnceCell::new(),
    })
}

fn input(arguments: &Arguments, plan: &Plan) -> Result<Input, Complaint> {
    let notation = match arguments.hex {
        true => Notation::Hex,
        false => Notation::Plain,
    };
    let written = arguments.request.as_ref().map(|text| text.as_bytes());
    if written == Some(b"-") {
        return Ok(Input::Lines(pipe::Settings {
            connections: arguments.connections,
            in_flight: arguments.in_flight,
            pipelining: arguments.pipelined.then(Pipelining::default),
            notation,
            json: arguments.json,
            verbose: arguments.verbose,
        }));
    }
    let body = match &arguments.request_file {
        Some(file) => read(file, plan.spoken.max_body)?,
        None => notation
            .read(written.unwrap_or_default())
            .map_err(|error| Complaint::usage(format!("--hex: {error}")))?,
    };
    check(&body, plan.bodies, plan.spoken.max_body)?;
    let form = Form {
        json: arguments.json,
        verbose: arguments.verbose,
        notation,
    };
    Ok(Input::One(form, body))
}

/// The whole file, or stdin, unless it is longer than a body can be.
fn read(file: &Path, longest: usize) -> Result<Vec<u8>, Complaint> {
    let told =
        |text: String| Complaint::usage(format!("--request-file {}: {text}", file.display()));
    let from: io::Result<Box<dyn Read>> = match file.as_os_str().as_bytes() {
        b"-" => Ok(Box::new(io::stdin())),
        _ => File::open(file).map(|file| Box::new(file) as Box<dyn Read>),
    };
    let mut body = Vec::new();
    from.and_then(|from| {
        from.take((longest as u64).saturating_add(1))
            .read_to_end(&mut body)
    })
    .map_err(|error| told(error.to_string()))?;
    match body.len() > longest {
        true => Err(told(format!(
            "it has more than {}, which is the longest body; --max-frame raises that",
            counted(longest as u64, "byte", "bytes")
        ))),
        false => Ok(body),
    }
}
