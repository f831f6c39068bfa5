//! Why a caller wasn't served: the state, put into the words of an error.

use std::{panic::Location, time::Duration};

use super::{
    asker::Asker,
    connector::Connector,
    dial_error::DialError,
    error::{AcquireError, Circumstances},
    pooled::Pooled,
    shared::SharedPool,
    state::{Moment, Refusal, Stage, StageName, State},
};

impl<C: Connector> SharedPool<C> {
    /// The error that a refused caller gets. `waited` and `asker` are those of the caller.
    pub(crate) fn explain(
        &self,
        refusal: Refusal,
        waited: Duration,
        asker: Option<Asker>,
    ) -> AcquireError {
        let now = self.clock.now();
        let state = self.lock();
        match refusal {
            Refusal::Closed => AcquireError::Closed,
            Refusal::Draining => AcquireError::Draining,
            Refusal::RuntimeEnded => AcquireError::RuntimeEnded,
            Refusal::Full => AcquireError::Full {
                waiting: state.waiters().waiting(),
                max_waiting: state.settings().max_waiting,
            },
            Refusal::Shed => {
                let shedding = state.settings().shed_waiting.unwrap_or_default();
                AcquireError::Shed {
                    waited,
                    target: shedding.target,
                    interval: shedding.interval,
                }
            }
            Refusal::TimedOut => {
                AcquireError::TimedOut(Box::new(circumstances(&state, now, waited, asker)))
            }
            Refusal::Unavailable => {
                let (ago, cause) =
                    last_failure(&state, now).expect("unavailable because dials have failed");
                AcquireError::Unavailable {
                    failures: state.outage().failures().max(1),
                    ago,
                    cause,
                }
            }
        }
    }
}

/// The last failed dial: how long ago, and why.
pub(crate) fn last_failure<C: Connector>(
    state: &State<Pooled<C>>,
    now: Moment,
) -> Option<(Duration, DialError)> {
    let last = state.outage().last()?;
    Some((now.since(last.at), last.cause.error.clone()))
}

/// The connection lent for longest: for how long, and where it was acquired.
pub(crate) fn longest_lent<C: Connector>(
    state: &State<Pooled<C>>,
    now: Moment,
) -> Option<(Duration, &'static Location<'static>)> {
    state
        .slots()
        .in_stage(StageName::Active)
        .find_map(|slot| match slot.stage {
            Stage::Active { tag, .. } => Some((now.since(slot.since), tag.acquired_at)),
            _ => None,
        })
}

fn circumstances<C: Connector>(
    state: &State<Pooled<C>>,
    now: Moment,
    waited: Duration,
    asker: Option<Asker>,
) -> Circumstances {
    let slots = state.slots();
    let by_this_asker = slots
        .in_stage(StageName::Active)
        .filter(|slot| matches!(slot.stage, Stage::Active { tag, .. } if Some(tag.asker) == asker))
        .count();
    let (by_this_task, by_this_thread) = match asker {
        Some(asker) if asker.is_thread() => (0, by_this_asker),
        _ => (by_this_asker, 0),
    };
    Circumstances {
        waited,
        max_size: state.settings().max_size,
        active: slots.count(StageName::Active) + slots.count(StageName::Granted),
        idle: slots.count(StageName::Idle),
        connecting: slots.count(StageName::Connecting),
        checking: slots.count(StageName::Checking),
        closing: slots.count(StageName::Closing),
        longest: longest_lent(state, now),
        by_this_task,
        by_this_thread,
        waiting: state.waiters().waiting(),
        paused: state.paused(),
        last_failure: last_failure(state, now),
    }
}
