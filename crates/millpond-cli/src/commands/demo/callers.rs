//! The demo's callers: over a pool, kind or unkind, and with a connection for each request. Each
//! sends requests with a token and checks that the reply is its own. They know nothing of what the
//! server does to them.

use std::{error::Error, sync::Arc, time::Duration};

use millpond::{
    Chain,
    client::{Client, RequestError},
    framing::{LengthJson, json},
    net::Dialer,
};

use super::{
    error_kind::{ErrorKind, Repetition},
    patience::Patience,
};
use crate::load::{
    callers::Caller,
    exchange::exchange,
    tally::Miss,
    tokens::{TokenRequests, Verdict},
};

/// Far longer than any request takes here: one that reaches it was forgotten.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);

/// Whether callers cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manners {
    Kind,
    Unkind,
}

/// One caller over the pool.
pub(super) struct PooledCaller {
    client: Client,
    manners: Manners,
    rng: fastrand::Rng,
    requests: TokenRequests,
}

impl PooledCaller {
    pub(super) fn new(client: Client, manners: Manners, number: u32, seed: u64) -> Self {
        PooledCaller {
            client,
            manners,
            rng: rng(number, seed),
            requests: TokenRequests::of(number),
        }
    }
}

impl Caller for PooledCaller {
    type Kind = ErrorKind;

    async fn exchange(&mut self) -> Result<(), Miss<ErrorKind>> {
        let repetition = match self.rng.bool() {
            true => Repetition::Harmless,
            false => Repetition::Harmful,
        };
        let patience = match self.manners {
            Manners::Kind => Patience::Endless,
            Manners::Unkind => Patience::draw(&mut self.rng),
        };
        let request = self.requests.next(&mut self.rng);
        let requests = self.client.within(DEADLINE);
        let requests = match repetition {
            Repetition::Harmless => requests.idempotent(),
            Repetition::Harmful => requests,
        };
        let failed = |error: &RequestError| Miss {
            kind: ErrorKind::of(error, repetition),
            text: Chain(error).to_string(),
        };
        let body = request.body();
        let reply = match patience.wait_for(requests.exchange(&body)).await {
            Some(reply) => reply.map_err(|error| failed(&error))?,
            None => return Err(cancelled()),
        };
        match json::as_error_reply(&reply) {
            Some(error) => Err(failed(&RequestError::Refused(error))),
            None => judged(request.check(&reply)),
        }
    }
}

/// One caller with a connection for each request, opened before it and closed after it: what
/// pooling is compared with.
pub(super) struct ShortCaller {
    dialer: Arc<Dialer>,
    rng: fastrand::Rng,
    requests: TokenRequests,
}

impl ShortCaller {
    pub(super) fn new(dialer: Arc<Dialer>, number: u32, seed: u64) -> Self {
        ShortCaller {
            dialer,
            rng: rng(number, seed),
            requests: TokenRequests::of(number),
        }
    }
}

impl Caller for ShortCaller {
    type Kind = ErrorKind;

    async fn exchange(&mut self) -> Result<(), Miss<ErrorKind>> {
        let request = self.requests.next(&mut self.rng);
        let dialled = self.dialer.dial().await;
        let stream = dialled.map_err(|error| other(&error))?.stream;
        let replied = exchange(stream, LengthJson::default(), &request.body()).await;
        let reply = replied.map_err(|error| other(&error))?;
        judged(request.check(&reply.body))
    }
}

/// A caller's random numbers: the same for the same seed.
fn rng(number: u32, seed: u64) -> fastrand::Rng {
    fastrand::Rng::with_seed(seed ^ u64::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

fn judged(verdict: Verdict) -> Result<(), Miss<ErrorKind>> {
    match verdict {
        Verdict::Right => Ok(()),
        Verdict::Wrong => Err(Miss {
            kind: ErrorKind::Wrong,
            text: String::from("the reply was that of another request"),
        }),
    }
}

fn cancelled() -> Miss<ErrorKind> {
    Miss {
        kind: ErrorKind::Cancelled,
        text: String::from("its caller dropped it"),
    }
}

fn other(error: &(dyn Error + 'static)) -> Miss<ErrorKind> {
    Miss {
        kind: ErrorKind::Other,
        text: Chain(error).to_string(),
    }
}
