//! The subtle rules, one sentence each.

use std::{task::Waker, time::Duration};

use super::*;

struct Plain;

const NORMAL: Order = Order::Any(Priority::NORMAL);

impl Carried for Plain {
    type Reply = u8;
    type Body = ();
    type Asked = ();
    type Writer = ();

    fn is_silent((): &()) -> bool {
        true
    }
}

fn machine(depth: usize, max_waiting: usize, max_pipelines: usize) -> Machine<Plain> {
    let limits = Limits {
        depth,
        max_bytes: 100,
        max_waiting,
        max_waiting_bytes: usize::MAX,
        spread: 1,
        shedding: None,
    };
    Machine::new(limits, max_pipelines)
}

/// Of a request that comes at any time before.
fn until(deadline: Instant) -> Times {
    Times {
        began: deadline,
        deadline,
    }
}

fn comes(state: &mut Machine<Plain>, name: u8, deadline: Instant) -> Entry<Plain> {
    state.begin(&[name], &until(deadline), NORMAL, false, name, None)
}

fn starts(state: &mut Machine<Plain>, now: Instant) -> Id {
    let slot = SlotId { at: 0, number: 1 };
    let id = state.started(slot, (), Waker::noop().clone(), now);
    state.serve(id, now, &mut LeftOut::nobody());
    state.take(id, &mut Vec::new(), &mut Vec::new());
    id
}

/// A pipeline whose peer has answered two that came together.
fn proven(state: &mut Machine<Plain>, now: Instant) -> Id {
    let later = now + Duration::from_secs(9);
    for name in [1, 2] {
        assert!(matches!(comes(state, name, later), Entry::Waits { .. }));
    }
    let id = starts(state, now);
    let mut told = Vec::new();
    for _ in 0..2 {
        assert_eq!(state.came(id, (), 0, &mut told), Came::Expected);
    }
    assert_eq!(
        told.iter().map(|told| told.reply).collect::<Vec<_>>(),
        [1, 2]
    );
    id
}

#[test]
fn a_caller_who_comes_while_the_driver_decides_when_to_look_is_seen_in_time() {
    let now = Instant::now();
    let mut state = machine(4, 4, 1);
    let id = proven(&mut state, now);
    let looked = now + Duration::from_millis(10);
    assert_eq!(state.overdue(id, looked, looked, |_| false).next, None);
    let soon = now + Duration::from_millis(20);
    assert!(matches!(
        comes(&mut state, 3, soon),
        Entry::Begun {
            begun: Begun { wake: Some(_), .. },
            ..
        }
    ));
    state.will_look(id, now + Duration::from_millis(100));
    assert!(state.duties(id).look, "it would look 80 ms too late");
}

#[test]
fn any_depth_will_do() {
    let now = Instant::now();
    let mut state = machine(usize::MAX, 0, 3);
    let id = proven(&mut state, now);
    let long = [0; 200];
    let later = now + Duration::from_secs(9);
    for name in [3, 4, 5] {
        let entry = state.begin(&long, &until(later), NORMAL, false, name, None);
        assert!(
            !matches!(entry, Entry::Refused(_)),
            "a second lease may come"
        );
    }
    assert_eq!(state.end(id, 0, false).unanswered.len(), 1);
}

#[test]
fn without_a_queue_a_peer_is_tried_all_the_same() {
    let now = Instant::now();
    let later = now + Duration::from_secs(9);
    let mut state = machine(4, 0, 1);
    assert!(matches!(
        comes(&mut state, 1, later),
        Entry::Waits { leases: 1, .. }
    ));
    let id = starts(&mut state, now);
    // Nothing may follow the first, and once its reply is there the two others are written
    // together.
    for name in [2, 3] {
        assert!(matches!(
            comes(&mut state, name, later),
            Entry::Waits { .. }
        ));
    }
    let mut told = Vec::new();
    assert_eq!(state.came(id, (), 0, &mut told), Came::Expected);
    state.serve(id, now, &mut LeftOut::nobody());
    assert!(state.waiting() == 0, "both are under way");
}

/// The bytes that the peer sees don't tell which of the two it has read as one.
#[test]
fn a_request_without_a_reply_proves_nothing_of_the_peer() {
    let now = Instant::now();
    let later = now + Duration::from_secs(9);
    let mut state = machine(4, 4, 1);
    let silent = |state: &mut Machine<Plain>, name| {
        state.begin(&[name], &until(later), NORMAL, false, name, Some(()))
    };
    assert!(matches!(silent(&mut state, 1), Entry::Waits { .. }));
    assert!(matches!(comes(&mut state, 2, later), Entry::Waits { .. }));
    let id = starts(&mut state, now);
    assert_eq!(state.waiting(), 1, "the second doesn't follow the first");
    let mut told = Vec::new();
    state.settle_silent(id, 0, &mut told);
    assert_eq!(told.len(), 1, "it is answered as soon as it is written");
    state.serve(id, now, &mut LeftOut::nobody());
    state.take(id, &mut Vec::new(), &mut Vec::new());
    assert!(matches!(silent(&mut state, 3), Entry::Waits { .. }));
    assert_eq!(state.came(id, (), 0, &mut told), Came::Expected);
    assert!(matches!(comes(&mut state, 4, later), Entry::Waits { .. }));
    state.serve(id, now, &mut LeftOut::nobody());
    assert_eq!(state.waiting(), 1, "nor does another follow a silent one");
}
