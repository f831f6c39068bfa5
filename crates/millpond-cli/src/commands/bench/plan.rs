//! What a benchmark is to do: the command line, read and checked.

use std::{fs, path::Path, sync::Arc, time::Duration};

use memchr::memmem::Finder;
use millpond::{
    Chain,
    framing::{LengthJson, json},
    net::{Endpoint, tls::ClientTls},
};

use super::{
    arguments::{Arguments, FramingName},
    escapes::parse_bytes,
    exchange::PlannedExchange,
    framing::{ChosenFraming, Ending},
    results::Mode,
};
use crate::{
    commands::endpoint,
    complaint::Complaint,
    descriptors::Shortage,
    load::{Limit, Load, threads},
    numbers::{counted, thousands},
    text::span,
};

/// A JSON string of 64 bytes.
const BODY: &str = r#""a request of 64 bytes, which says nothing and asks for nothing""#;

/// How long requests may go on when the benchmark is stopped early.
const STOP_GRACE: Duration = Duration::from_millis(500);

/// What is to be done.
pub(super) struct Plan {
    pub(super) endpoint: Endpoint,
    pub(super) tls: Option<ClientTls>,
    pub(super) framing: ChosenFraming,
    pub(super) framing_name: &'static str,
    pub(super) request: Arc<PlannedExchange>,
    pub(super) modes: Vec<Mode>,
    pub(super) callers: u32,
    pub(super) connections: u32,
    pub(super) rounds: u32,
    /// Of all rounds of one mode together.
    limit: Limit,
    /// `--expect` says what each reply must be.
    pub(super) expected: bool,
    pub(super) rate: Option<f64>,
    pub(super) warm_up: Duration,
    pub(super) heartbeat: Duration,
    pub(super) threads: usize,
    pub(super) cores: usize,
    /// `--exhaust`: short connections go on until no port is left.
    pub(super) exhaust: bool,
}

impl Plan {
    pub(super) fn of(arguments: &Arguments) -> Result<Plan, Complaint> {
        let endpoint = endpoint("--to", &arguments.to)?;
        let (framing, request) = spoken(arguments)?;
        let mut modes = arguments.modes.clone();
        modes.sort();
        modes.dedup();
        let (rounds, limit) = match arguments.requests {
            // No round is without a request.
            Some(requests) => {
                let most = u32::try_from(requests).unwrap_or(u32::MAX);
                (arguments.rounds.min(most), Limit::Requests(requests))
            }
            None => (arguments.rounds, Limit::Time(arguments.seconds)),
        };
        if let (Some(rate), Limit::Time(time)) = (arguments.rate, limit)
            && rate * time.as_secs_f64() < f64::from(rounds)
        {
            return Err(Complaint::usage(format!(
                "at {rate} requests a second there is no request in each of {rounds} rounds within {}: raise --seconds or \
                 --rate, or ask for fewer --rounds",
                span(time)
            )));
        }
        let callers = arguments.callers;
        enough_descriptors(callers, arguments.connections, &modes)?;
        Ok(Plan {
            tls: arguments.tls.towards(&endpoint)?,
            endpoint,
            framing,
            framing_name: arguments.framing.name(),
            request: Arc::new(request),
            modes,
            callers,
            connections: arguments.connections,
            rounds,
            limit,
            expected: arguments.expect.is_some(),
            rate: arguments.rate,
            warm_up: arguments.warm_up,
            heartbeat: arguments.heartbeat,
            threads: arguments.threads(),
            cores: threads::cores(),
            exhaust: arguments.exhaust,
        })
    }
}

impl Plan {
    /// The load of one round of one mode; rounds are numbered from 0.
    pub(super) fn load(&self, round: u32) -> Load {
        let limit = match self.limit {
            Limit::Time(time) => Limit::Time(time / self.rounds),
            Limit::Requests(requests) => {
                let rounds = u64::from(self.rounds);
                let one_more = u64::from(round) < requests % rounds;
                Limit::Requests(requests / rounds + u64::from(one_more))
            }
        };
        self.load_until(limit)
    }

    /// The warm-up of a mode: as fast as what is measured.
    pub(super) fn warm_up_load(&self) -> Load {
        self.load_until(Limit::Time(self.warm_up))
    }

    fn load_until(&self, limit: Limit) -> Load {
        Load {
            callers: self.callers,
            limit,
            rate: self.rate,
            patience: self.request.deadline,
            stop_grace: STOP_GRACE,
        }
    }
}

/// The framing, and the planned exchange.
fn spoken(arguments: &Arguments) -> Result<(ChosenFraming, PlannedExchange), Complaint> {
    let given = match (&arguments.body, &arguments.body_file) {
        (Some(body), _) => Some(match arguments.framing {
            FramingName::Raw => bytes("--body", body)?,
            FramingName::LengthJson => body.clone().into_bytes(),
        }),
        (None, Some(file)) => Some(read(file)?),
        (None, None) => None,
    };
    let ending = ending(arguments)?;
    let (framing, body) = match (arguments.framing, ending) {
        (FramingName::LengthJson, None) => {
            let body = given.unwrap_or_else(|| BODY.into());
            json::check(&body).map_err(|error| {
                Complaint::usage(format!("the request isn't JSON: {}", Chain(&error)))
            })?;
            let longest = LengthJson::DEFAULT_MAX_BODY.max(body.len());
            (
                ChosenFraming::LengthJson(LengthJson::with_max_body(longest)),
                body,
            )
        }
        (FramingName::LengthJson, Some(_)) => {
            return Err(Complaint::usage(
                "--expect-end and --expect-length say where a reply ends, which the framing length-json knows by itself; \
                 they are for --framing raw",
            ));
        }
        (FramingName::Raw, Some(ending)) => {
            let body = given.filter(|body| !body.is_empty()).ok_or_else(|| {
                Complaint::usage(
                    "--framing raw sends what --body or --body-file says, and neither says anything",
                )
            })?;
            (ChosenFraming::Raw(ending), body)
        }
        (FramingName::Raw, None) => {
            return Err(Complaint::usage(
                "--framing raw needs to know where a reply ends: give --expect, --expect-end or --expect-length",
            ));
        }
    };
    let expected = match (arguments.framing, &arguments.expect) {
        (FramingName::LengthJson, Some(expected)) => {
            json::check(expected.as_bytes()).map_err(|error| {
                Complaint::usage(format!(
                    "--expect isn't JSON, which replies must be: {error}"
                ))
            })?;
            Some(expected.clone().into_bytes())
        }
        // The framing compares it.
        (FramingName::Raw, _) | (_, None) => None,
    };
    Ok((
        framing,
        PlannedExchange {
            body,
            expected,
            deadline: arguments.deadline,
        },
    ))
}

fn ending(arguments: &Arguments) -> Result<Option<Ending>, Complaint> {
    let some = |flag: &str, text: &str| match bytes(flag, text)? {
        bytes if bytes.is_empty() => Err(Complaint::usage(format!("{flag} says nothing"))),
        bytes => Ok(bytes),
    };
    if let Some(end) = &arguments.expect_end {
        let end = some("--expect-end", end)?;
        return Ok(Some(Ending::With(Box::new(Finder::new(&end).into_owned()))));
    }
    if let Some(length) = arguments.expect_length {
        return Ok(Some(Ending::After(length.get())));
    }
    match (&arguments.expect, arguments.framing) {
        (Some(expected), FramingName::Raw) => {
            Ok(Some(Ending::Exactly(some("--expect", expected)?)))
        }
        _ => Ok(None),
    }
}

fn bytes(flag: &str, text: &str) -> Result<Vec<u8>, Complaint> {
    parse_bytes(text).map_err(|error| Complaint::usage(format!("{flag}: {error}")))
}

fn read(file: &Path) -> Result<Vec<u8>, Complaint> {
    fs::read(file)
        .map_err(|error| Complaint::usage(format!("--body-file {}: {error}", file.display())))
}

/// Enough for all modes together: short connections that are closing overlap with the next mode's.
fn enough_descriptors(callers: u32, connections: u32, modes: &[Mode]) -> Result<(), Complaint> {
    let needed = |mode: &Mode| match mode {
        Mode::Short => u64::from(callers),
        Mode::Exclusive | Mode::Pipelined => u64::from(connections),
    };
    match Shortage::of(modes.iter().map(needed).sum()) {
        Some(shortage) => Err(Complaint::usage(format!(
            "{} and {} need up to {} descriptors, and {shortage}, or ask for fewer",
            counted(callers.into(), "caller", "callers"),
            counted(connections.into(), "connection", "connections"),
            thousands(shortage.needed),
        ))),
        None => Ok(()),
    }
}
