//! Holds the machine against its model: everything that can be observed must be the same.

use super::{
    Lifecycle, Moment, Stage, StageName, Standing, State, TICK, WAITING_TICK,
    model::{At, Model, Stands},
    numbered::Numbered,
};

/// Panics at the first difference.
pub(super) fn compare(state: &State<Numbered>, model: &Model) {
    connections(state, model);
    callers(state, model);
    assert_eq!(state.lifecycle(), model.lifecycle);
    assert_eq!(state.paused(), model.paused);
    assert_eq!(state.settings().max_size, model.settings.max_size);
    assert_eq!(state.now(), model.now);
    assert_eq!(state.shortfall(), model.shortfall(), "shortfall");
    assert_eq!(state.somebody_waits(), model.in_line() > 0);
    assert_eq!(state.totals(), &model.totals);
    outage(state, model);
    evictions(state, model);
}

fn connections(state: &State<Numbered>, model: &Model) {
    let slots = state.slots();
    assert_eq!(slots.occupied(), model.connections.len(), "occupied");
    assert_eq!(slots.live(), model.live(), "live");
    let mut compared = 0;
    for stage in StageName::ALL {
        if stage == StageName::Vacant {
            continue;
        }
        let mut expected = model.connections.iter().filter(|c| stage_of(c.at) == stage);
        for slot in slots.in_stage(stage) {
            let Some(expected) = expected.next() else {
                panic!("{} is {stage:?}, and shouldn't be", slot.number);
            };
            compared += 1;
            assert_eq!(slot.number, expected.number, "order of the {stage:?}");
            let number = slot.number;
            match (&slot.stage, expected.at) {
                (Stage::Granted { connection, to }, At::Granted(caller)) => {
                    assert_eq!(*connection, number);
                    let holder = state.waiters().at(*to).terms.tag;
                    assert_eq!(holder, caller, "whom {number} is granted to");
                }
                (Stage::Idle(connection), _) => assert_eq!(*connection, number),
                (Stage::Checking(why), At::Checking(expected)) => assert_eq!(*why, expected),
                (
                    Stage::Active {
                        tag,
                        lease,
                        reported,
                    },
                    At::Active {
                        tag: expected_tag,
                        lease: expected_lease,
                        reported: expected_reported,
                    },
                ) => assert_eq!(
                    (*tag, *lease, *reported),
                    (expected_tag, expected_lease, expected_reported)
                ),
                _ => {}
            }
            assert_eq!(
                slot.since, expected.since,
                "since when {number} is {stage:?}"
            );
            assert_eq!(slot.opened, expected.opened, "when {number} was opened");
            assert_eq!(slot.expires, expected.expires, "when {number} expires");
            assert_eq!(
                slot.generation, expected.generation,
                "generation of {number}"
            );
            assert_eq!(slot.uses, expected.uses, "uses of {number}");
            assert_eq!(slot.proven, expected.proven, "whether {number} is proven");
            assert_eq!(
                slot.watched, expected.watched,
                "whether {number} is watched"
            );
            if stage != StageName::Connecting {
                assert_eq!(slot.label, number);
            }
        }
        assert!(expected.next().is_none(), "another should be {stage:?}");
    }
    assert_eq!(compared, model.connections.len());
}

fn stage_of(at: At) -> StageName {
    match at {
        At::Connecting => StageName::Connecting,
        At::Idle => StageName::Idle,
        At::Checking(_) => StageName::Checking,
        At::Granted(_) => StageName::Granted,
        At::Active { .. } => StageName::Active,
        At::Closing => StageName::Closing,
    }
}

fn callers(state: &State<Numbered>, model: &Model) {
    let waiters = state.waiters();
    assert_eq!(waiters.queued(), model.in_line(), "in line");
    assert_eq!(waiters.waiting(), model.waiting(), "waiting");
    let first = waiters.first().map(|first| waiters.at(first).terms.tag);
    assert_eq!(first, model.first_in_line(), "who is served next");
    let mut compared = 0;
    for waiter in waiters.all() {
        let stands = match waiter.standing {
            Standing::Vacant => continue,
            Standing::Queued => Stands::InLine,
            Standing::Parked => Stands::Parked,
            Standing::Called => Stands::Called,
            Standing::Granted(at) => Stands::Granted(state.slots().at(at).number),
            Standing::Refused(why) => Stands::Refused(why),
        };
        let id = waiter.terms.tag;
        let expected = model.callers.iter().find(|caller| caller.id == id);
        let expected = expected.unwrap_or_else(|| panic!("caller {id} should be gone"));
        compared += 1;
        assert_eq!(stands, expected.stands, "how caller {id} stands");
        assert_eq!(waiter.arrival, expected.arrival, "seniority of caller {id}");
        assert_eq!(waiter.terms.deadline, expected.deadline);
        assert_eq!(waiter.terms.priority, expected.priority);
    }
    assert_eq!(compared, model.callers.len(), "callers");
}

fn outage(state: &State<Numbered>, model: &Model) {
    let outage = state.outage();
    assert_eq!(outage.failures(), model.failures, "failures");
    assert_eq!(outage.failing(), model.failures > 0, "failing");
    assert_eq!(outage.unavailable(), model.unavailable, "unavailable");
    let last = outage.last().map(|last| (last.cause, last.at));
    assert_eq!(last, model.last_failure, "the last failure");
}

fn evictions(state: &State<Numbered>, model: &Model) {
    // Older ones were compared when they were new.
    let newest = |length: usize| length.saturating_sub(4);
    let expected = &model.evictions[newest(model.evictions.len())..];
    let remembered = state.evictions().skip(newest(state.evictions().len()));
    for (record, expected) in remembered.zip(expected) {
        let record = (
            record.number,
            record.reason,
            record.at,
            record.age,
            record.uses,
        );
        assert_eq!(record, *expected, "a remembered eviction");
    }
}

/// Upkeep must not be asleep when time alone is about to bring something; `lazily` when the machine
/// has put off the dials that `min_idle` wants until the next tick.
pub(super) fn upkeep_comes_in_time(state: &State<Numbered>, model: &Model, lazily: bool) {
    let planned = state.planned_wake();
    // What has been due before is needed now: the end of a last connection may bring a grace back that
    // was over meanwhile.
    let promised = model.next_event().max(model.now);
    assert!(
        planned <= promised,
        "upkeep comes at {planned:?}, and is needed at {promised:?}"
    );
    if lazily {
        return;
    }
    if let Some(from) = model.dial_due_from() {
        assert!(
            from > Moment::default(),
            "a dial is wanted and allowed, and wasn't started"
        );
        assert!(
            planned <= from,
            "upkeep comes at {planned:?}, a dial is due at {from:?}"
        );
    }
}

/// After a tick, upkeep sleeps until the next one, unless it has a reason to come earlier. A
/// deadline may be that of a waiter who has left.
pub(super) fn upkeep_comes_with_a_reason(state: &State<Numbered>, model: &Model) {
    let dial = model.dial_due_from().unwrap_or(Moment::NEVER);
    let needed = model.next_event().min(dial);
    let step = if model.waiting() > 0 {
        WAITING_TICK
    } else {
        TICK
    };
    let regular = state.now().after(step);
    let planned = state.planned_wake();
    assert!(
        planned == needed.min(regular) || planned == state.waiters().earliest_deadline(),
        "upkeep comes at {planned:?}, is needed at {needed:?}, and would come by itself at {regular:?}"
    );
}

/// Nothing is left of a pool that has been closed and given everything back.
pub(super) fn nothing_is_left(state: &State<Numbered>) {
    let totals = state.totals();
    assert_ne!(state.lifecycle(), Lifecycle::Open);
    assert_eq!(state.slots().occupied(), 0, "a place is lost");
    assert_eq!(totals.opened, totals.closed + totals.detached);
    assert_eq!(totals.lent, totals.released + totals.detached);
    let still_there = |standing: &Standing| !matches!(standing, Standing::Vacant);
    assert!(
        !state
            .waiters()
            .all()
            .iter()
            .any(|waiter| still_there(&waiter.standing))
    );
}
