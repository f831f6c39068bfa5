//! What a benchmark is to do: the command line, read and checked.

use std::{sync::Arc, time::Duration};

use millpond::net::{Endpoint, tls::ClientTls};

use super::{
    arguments::Arguments,
    exchange::PlannedExchange,
    framing::ChosenFraming,
    results::Mode,
    spoken::{Spoken, spoken},
};
use crate::{
    commands::endpoint,
    complaint::Complaint,
    descriptors::Shortage,
    load::{Limit, Load, threads},
    numbers::{counted, thousands},
    text::span,
};

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
        let Spoken {
            framing,
            name,
            request,
        } = spoken(arguments)?;
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
            framing_name: name,
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
