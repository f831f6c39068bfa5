//! Many callers over one pool: each asks, checks what comes back, and asks again; the unkind ones
//! drop some of their requests at random points. Knows nothing of what the server does to them.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
    time::Duration,
};

use millpond::{
    Chain,
    client::{Client, RequestError},
    framing::json,
};
use tokio::{
    select,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};

use super::{
    question::{Question, Questions},
    tally::{Failing, Outcome, Repetition, Tally},
};
use crate::stop::Stop;

/// One request in so many is cancelled, by unkind callers.
const CANCELLED: u32 = 50;

/// After how many turns at most: at the first it waits for a connection or has just been sent, and
/// later ones lie within the reply.
const TURNS: std::ops::RangeInclusive<u32> = 1..=3;

/// Or after how long at most.
const CANCELLED_WITHIN_US: u64 = 5_000;

/// How long a caller waits whom the server has turned away, for it is about to end.
const AFTER_TURNED_AWAY: Duration = Duration::from_millis(10);

/// Far longer than anything takes here: a request that reaches it has been forgotten by somebody.
const DEADLINE: Duration = Duration::from_secs(10);

/// Whether callers cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manners {
    Kind,
    Unkind,
}

/// What is to be done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) callers: u32,
    pub(super) length: Duration,
    pub(super) seed: u64,
}

/// What was done, and how long it took.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) tally: Tally,
    pub(super) took: Duration,
    /// Callers that panicked: none does.
    pub(super) panicked: u64,
}

/// Runs `callers`, told apart by their numbers, until all have ended; meanwhile `look` is shown, at
/// this cadence and once at least, how many requests are over.
pub(super) async fn run<F>(
    plan: Plan,
    cadence: Duration,
    caller: impl Fn(u32, Until) -> F,
    stop: &Stop,
    mut look: impl FnMut(Duration, u64),
) -> Run
where
    F: Future<Output = Tally> + Send + 'static,
{
    let began = Instant::now();
    let until = Until {
        end: began + plan.length,
        stop: stop.clone(),
        over: Arc::default(),
    };
    let mut callers: JoinSet<Tally> = (0..plan.callers)
        .map(|number| caller(number, until.clone()))
        .collect();
    let mut run = Run {
        tally: Tally::default(),
        took: Duration::ZERO,
        panicked: 0,
    };
    let mut ticks = interval(cadence);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks.reset();
    let mut is_seen = false;
    loop {
        select! {
            ended = callers.join_next() => match ended {
                Some(Ok(tally)) => run.tally.merge(&tally),
                Some(Err(_)) => run.panicked += 1,
                None => break,
            },
            _ = ticks.tick() => {
                look(began.elapsed(), until.over.load(Ordering::Relaxed));
                is_seen = true;
            }
        }
    }
    run.took = began.elapsed();
    if !is_seen {
        look(run.took, until.over.load(Ordering::Relaxed));
    }
    run
}

/// Until when callers go on, and how far they have come together.
#[derive(Clone)]
pub(super) struct Until {
    end: Instant,
    stop: Stop,
    over: Arc<AtomicU64>,
}

impl Until {
    pub(super) fn is_over(&self) -> bool {
        Instant::now() >= self.end || self.stop.is_stopped()
    }

    pub(super) fn count(&self) {
        self.over.fetch_add(1, Ordering::Relaxed);
    }
}

/// One caller over the pool, until it is over.
pub(super) async fn call(
    client: Client,
    manners: Manners,
    number: u32,
    seed: u64,
    until: Until,
) -> Tally {
    let mut rng =
        fastrand::Rng::with_seed(seed ^ u64::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let mut questions = Questions::of(number);
    let mut tally = Tally::default();
    while !until.is_over() {
        let repetition = match rng.bool() {
            true => Repetition::Harmless,
            false => Repetition::Harmful,
        };
        let patience = match manners {
            Manners::Kind => Patience::Endless,
            Manners::Unkind => Patience::draw(&mut rng),
        };
        let question = questions.ask(&mut rng);
        let outcome = ask(&client, &question, repetition, patience).await;
        let is_turned_away = matches!(outcome, Outcome::Failed(Failing::NotTaken, _));
        tally.add(outcome);
        until.count();
        if is_turned_away {
            // The server is about to end: what is asked at once is turned away as well.
            sleep(AFTER_TURNED_AWAY).await;
        }
    }
    tally
}

async fn ask(
    client: &Client,
    question: &Question<'_>,
    repetition: Repetition,
    patience: Patience,
) -> Outcome {
    let requests = client.within(DEADLINE);
    let requests = match repetition {
        Repetition::Harmless => requests.idempotent(),
        Repetition::Harmful => requests,
    };
    let failed = |error: &RequestError| {
        Outcome::Failed(Failing::of(error, repetition), Chain(error).to_string())
    };
    let body = question.body();
    let began = Instant::now();
    match patience.wait_for(requests.exchange(&body)).await {
        Some(Ok(reply)) => match json::as_error_reply(&reply) {
            Some(error) => failed(&RequestError::Refused(error)),
            None => Outcome::Replied(question.check(&reply), began.elapsed()),
        },
        Some(Err(error)) => failed(&error),
        None => Outcome::Cancelled,
    }
}

/// When a caller drops its request.
#[derive(Clone, Copy, Debug)]
enum Patience {
    Endless,
    /// As the request has found nothing to do for the so-manieth time: no later than that, its
    /// reply on the way.
    Turns(u32),
    /// After this time, whatever it is doing.
    Time(Duration),
}

impl Patience {
    fn draw(rng: &mut fastrand::Rng) -> Patience {
        match rng.u32(..CANCELLED) {
            0 if rng.bool() => Patience::Turns(rng.u32(TURNS)),
            0 => Patience::Time(Duration::from_micros(rng.u64(..CANCELLED_WITHIN_US))),
            _ => Patience::Endless,
        }
    }

    /// What comes of it, if it comes in time; else it is dropped.
    async fn wait_for<T>(self, request: impl Future<Output = T>) -> Option<T> {
        match self {
            Patience::Endless => Some(request.await),
            Patience::Time(limit) => timeout(limit, request).await.ok(),
            Patience::Turns(mut left) => {
                let mut request = pin!(request);
                poll_fn(|cx| {
                    let polled = request.as_mut().poll(cx).map(Some);
                    left = left.saturating_sub(u32::from(polled.is_pending()));
                    match left {
                        0 if polled.is_pending() => Poll::Ready(None),
                        _ => polled,
                    }
                })
                .await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request that is over after so many turns.
    async fn over_after(turns: u32) {
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_request_is_dropped_at_its_turn_and_one_that_is_over_before_is_not() {
        assert_eq!(Patience::Turns(2).wait_for(over_after(1)).await, Some(()));
        assert_eq!(Patience::Turns(2).wait_for(over_after(2)).await, None);
        assert_eq!(Patience::Turns(1).wait_for(over_after(0)).await, Some(()));
        assert_eq!(Patience::Endless.wait_for(over_after(9)).await, Some(()));
    }

    #[test]
    fn about_one_request_in_fifty_is_cancelled() {
        let mut rng = fastrand::Rng::with_seed(7);
        let cancelled = (0..100_000)
            .filter(|_| !matches!(Patience::draw(&mut rng), Patience::Endless))
            .count();
        assert!((1_800..=2_200).contains(&cancelled), "{cancelled}");
    }
}
