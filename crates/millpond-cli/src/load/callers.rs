//! Runs a load: starts the callers, lets each send as its turn comes, and waits for their end.

use std::{
    any::Any,
    future::Future,
    panic::resume_unwind,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{select, task::JoinSet, time::sleep};

use super::{
    Load,
    recorder::{Batch, Recorder},
    tally::{Miss, MissKind, Times},
    turns::{Turn, Turns},
};
use crate::{ports::Ports, stop::Stop};

/// How long a caller pauses after a miss that calls for it ([`MissKind::calls_for_a_pause`]): it
/// would fail a million times otherwise. After other misses callers go on at once, else a server
/// that fails would be asked less than one that doesn't.
const PAUSE: Duration = Duration::from_millis(10);

/// Sends requests of a command's own, one after the other.
pub(crate) trait Caller: Send + 'static {
    type Kind: MissKind;

    /// Sends one request and judges its reply.
    fn exchange(&mut self) -> impl Future<Output = Result<(), Miss<Self::Kind>>> + Send;
}

/// A load that is over.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) took: Duration,
    /// The panics of callers.
    pub(crate) panics: Vec<Box<dyn Any + Send>>,
}

impl Finished {
    /// How long it took.
    ///
    /// # Panics
    ///
    /// As a caller has.
    pub(crate) fn took_or_panic(mut self) -> Duration {
        match self.panics.pop() {
            Some(panic) => resume_unwind(panic),
            None => self.took,
        }
    }
}

/// Runs a load until it is over: its time has passed, its requests are sent, the ports are nearly
/// used up, or it is stopped.
///
/// `caller` makes the callers, which are numbered from 0. They write into `recorder`.
pub(crate) async fn run<C: Caller>(
    load: Load,
    caller: impl FnMut(u32) -> C,
    ports: Option<&Ports>,
    recorder: &Arc<Recorder<C::Kind>>,
    stop: &Stop,
) -> Finished {
    let began = Instant::now();
    let turns = Turns::of(&load, ports, stop);
    let mut callers: JoinSet<()> = (0..load.callers)
        .map(caller)
        .map(|caller| call(caller, turns.clone(), Arc::clone(recorder)))
        .collect();
    let mut panics = Vec::new();
    let all_ended = async {
        while let Some(ended) = callers.join_next().await {
            panics.extend(ended.err().map(|error| error.into_panic()));
        }
    };
    let cut_short = async {
        stop.stopped().await;
        turns.give_up();
        sleep(load.stop_grace).await;
    };
    select! {
        () = all_ended => {}
        () = cut_short => callers.shutdown().await,
    }
    Finished {
        // The last request of an open loop has an interval of its own, though nothing is sent at
        // its end.
        took: began.elapsed() + load.interval(),
        panics,
    }
}

/// One caller, until its last turn.
async fn call<C: Caller>(mut caller: C, turns: Turns, recorder: Arc<Recorder<C::Kind>>) {
    let mut batch = Batch::of(&recorder);
    let mut after = Instant::now();
    loop {
        let (now, intended) = match turns.next(after).await {
            Turn::Send { now, intended } => (now, intended),
            Turn::TooLate { requests } => {
                batch.miss(requests, not_sent());
                continue;
            }
            Turn::Over => return,
        };
        batch.begin();
        let outcome = caller.exchange().await;
        after = Instant::now();
        match outcome {
            Ok(()) => batch.reply(Times {
                latency: after - intended,
                service: after - now,
            }),
            Err(miss) => {
                let pauses = miss.kind.calls_for_a_pause();
                batch.miss(1, miss);
                if pauses {
                    sleep(PAUSE).await;
                    after = Instant::now();
                }
            }
        }
    }
}

fn not_sent<K: MissKind>() -> Miss<K> {
    Miss {
        kind: K::NOT_SENT,
        text: String::from(
            "all callers were still waiting for replies when it should have been sent",
        ),
    }
}
