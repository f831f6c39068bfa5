//! Waiting in line: grants, their revocation, seniority, and who may wait at all.

use super::*;

#[test]
fn a_grant_that_nobody_picks_up_goes_to_the_first_who_answers() {
    let (mut scene, mut lent) = Scene::with_lent(1, |settings| settings.max_size = 1);
    let _never_polled = scene.wait();
    let second = scene.wait();
    scene.release(lent.remove(0));
    assert_eq!(scene.woken(), [2]);
    scene.tick(); // From here on it ages.
    scene.tick_after(4);
    assert_eq!(scene.woken(), [0; 0], "it has 5 ms to come");
    scene.tick_after(1);
    assert_eq!(scene.woken(), [3]);
    assert_eq!(scene.count(StageName::Idle), 1);
    scene.picks_up(second);
}

#[test]
fn all_who_wait_are_called_at_once_and_those_who_sleep_cost_no_more_than_one() {
    let (mut scene, mut lent) = Scene::with_lent(1, |settings| settings.max_size = 1);
    let mut sleeping: Vec<QueueTicket> = (0..100).map(|_| scene.wait()).collect();
    let awake = [scene.wait(), scene.wait()];
    scene.release(lent.remove(0));
    scene.tick();
    scene.woken();
    scene.tick_after(5);
    assert_eq!(
        scene.woken(),
        (3..=103).collect::<Vec<u64>>(),
        "in their order"
    );
    let [first, second] = awake;
    let second = scene.picks_up(second);
    let first = scene.still_waits(first);
    scene.release(second);
    let first = scene.picks_up(first);
    scene.release(first);
    assert_eq!(scene.count(StageName::Idle), 1, "nobody is in line");
    assert_eq!(scene.state.totals().revoked, 1);
    scene.tick_after(1_000);
    let last = scene.picks_up(sleeping.pop().expect("it sleeps no longer"));
    // Those who come back stand where they stood.
    let newcomer = scene.wait();
    let [early, late] = [10, 60].map(|nth| sleeping.remove(nth));
    let late = scene.still_waits(late);
    let early = scene.still_waits(early);
    scene.release(last);
    let early = scene.picks_up(early);
    scene.release(early);
    let late = scene.picks_up(late);
    scene.release(late);
    scene.picks_up(newcomer);
}

#[test]
fn those_who_are_called_are_in_line_by_seniority_however_they_come_back() {
    for order in [
        [0, 1, 2, 3, 4],
        [4, 3, 2, 1, 0],
        [2, 0, 4, 1, 3],
        [3, 4, 0, 2, 1],
    ] {
        let (mut scene, mut lent) = Scene::with_lent(2, |_| {});
        let _sleeps = scene.wait();
        let mut called: Vec<Option<QueueTicket>> = (0..5).map(|_| Some(scene.wait())).collect();
        scene.release(lent.remove(0));
        scene.tick();
        scene.tick_after(5);
        let taken = scene.acquire();
        for nth in order {
            let ticket = called[nth].take().expect("comes back once");
            called[nth] = Some(scene.still_waits(ticket));
        }
        scene.release(taken);
        for ticket in called {
            let lent = scene.picks_up(ticket.expect("came back"));
            scene.release(lent);
        }
    }
}

#[test]
fn who_is_called_keeps_its_deadline_and_its_patience() {
    let (mut scene, mut lent) = Scene::with_lent(1, |settings| settings.max_size = 1);
    let _sleeps = scene.wait();
    let hurried = scene.try_wait(30).expect("may wait");
    let terms = WaitTerms {
        tag: 7,
        lease: Lease::Exclusive,
        priority: Priority::NORMAL,
        since: Moment::NEVER,
        deadline: Moment::NEVER,
        patience: Some(Duration::from_millis(50)),
        outage_policy: OutagePolicy::FailFast,
    };
    let patient = scene.does(|state, _, _| state.queue_at_once(None, terms, None, 7));
    let (patient, _) = patient.expect("everything is lent");
    scene.release(lent.remove(0));
    scene.tick();
    scene.tick_after(5);
    let taken = scene.acquire();
    scene.tick_after(25);
    assert_eq!(scene.is_told(hurried), Refusal::TimedOut);
    let patient = scene.still_waits(patient);
    scene.tick_after(25);
    assert_eq!(
        scene.is_told(patient),
        Refusal::TimedOut,
        "counted from the first tick"
    );
    scene.release(taken);
}

#[test]
fn a_newcomer_may_have_what_those_who_are_called_have_not_come_for() {
    let (mut scene, mut lent) = Scene::with_lent(1, |settings| {
        (settings.max_waiting, settings.max_size) = (1, 1)
    });
    let _never_polled = scene.wait();
    scene.release(lent.remove(0));
    let _neither = scene.wait();
    scene.pass(5);
    let newcomer = scene.wait();
    scene.picks_up(newcomer);
    assert_eq!(scene.try_wait(5_000), Err(Refusal::Full));
}

#[test]
fn who_is_called_is_dialled_for_as_soon_as_it_answers() {
    let (mut scene, mut lent) = Scene::with_lent(1, |settings| settings.max_size = 1);
    let _sleeps = scene.wait();
    let awake = scene.wait();
    scene.release(lent.remove(0));
    scene.tick();
    scene.does(|state, _, fx| state.resize(2, fx));
    assert_eq!(scene.dials.len(), 1);
    scene.dial_fails();
    scene.pass(5);
    scene.tick();
    let taken = scene.acquire();
    scene.tick_after(100);
    assert!(scene.dials.is_empty(), "nobody is in line");
    scene.still_waits(awake);
    assert_eq!(scene.dials.len(), 1);
    scene.release(taken);
}

#[test]
fn upkeep_is_told_when_a_grant_would_be_overdue() {
    let (mut scene, mut lent) = Scene::with_lent(1, |settings| settings.max_size = 1);
    let _first = scene.wait();
    let _second = scene.wait();
    scene.release(lent.remove(0));
    assert!(scene.kicked);
    assert_eq!(
        scene.state.planned_wake(),
        scene.now.after(Duration::from_millis(5))
    );
}

#[test]
fn a_waiter_that_lost_its_grant_keeps_its_seniority() {
    let (mut scene, mut lent) = Scene::with_lent(1, |settings| settings.max_size = 1);
    let first = scene.wait();
    let second = scene.wait();
    let third = scene.wait();
    scene.release(lent.remove(0));
    scene.tick();
    scene.tick_after(5);
    let lent = scene.picks_up(second);
    let first = scene.still_waits(first);
    scene.release(lent);
    scene.picks_up(first);
    scene.still_waits(third);
}

#[test]
fn a_waiter_that_lost_its_grant_gets_no_other_before_it_is_polled() {
    let (mut scene, mut lent) = Scene::with_lent(2, |_| {});
    let _never_polled = scene.wait();
    scene.release(lent.remove(0));
    scene.tick();
    scene.tick_after(5);
    scene.woken();
    scene.release(lent.remove(0));
    assert_eq!(scene.woken(), [0; 0]);
    assert_eq!(scene.count(StageName::Idle), 2);
}

#[test]
fn a_waiter_that_loses_its_grant_after_its_deadline_is_told_in_the_same_tick() {
    let (mut scene, mut lent) = Scene::with_lent(1, |settings| settings.max_size = 1);
    let first = scene.try_wait(3).expect("may wait");
    let _second = scene.wait();
    scene.release(lent.remove(0));
    scene.tick();
    scene.tick_after(5);
    assert!(scene.state.planned_wake() > scene.now);
    assert_eq!(scene.is_told(first), Refusal::TimedOut);
}

#[test]
fn a_grant_within_the_deadline_is_good_after_it() {
    let (mut scene, mut lent) = Scene::with_lent(1, |settings| settings.max_size = 1);
    let only = scene.try_wait(3).expect("may wait");
    scene.release(lent.remove(0));
    scene.pass(4);
    scene.picks_up(only);
}

#[test]
fn cancelling_a_granted_waiter_hands_its_connection_over() {
    let (mut scene, mut lent) = Scene::with_lent(1, |settings| settings.max_size = 1);
    let first = scene.wait();
    let second = scene.wait();
    scene.release(lent.remove(0));
    scene.woken();
    scene.cancel(first);
    assert_eq!(scene.woken(), [3]);
    scene.picks_up(second);
}

#[test]
fn cancelling_never_cancels_a_dial() {
    let mut scene = Scene::new(|_| {});
    let only = scene.wait();
    scene.cancel(only);
    assert_eq!(scene.count(StageName::Connecting), 1);
    scene.dial_succeeds();
    assert_eq!(scene.count(StageName::Idle), 1);
}

#[test]
fn with_no_waiting_allowed_a_caller_may_still_wait_for_the_dial_started_for_it() {
    let mut scene = Scene::new(|settings| (settings.max_waiting, settings.max_size) = (0, 1));
    let first = scene
        .try_wait(5_000)
        .expect("there is room for a connection of its own");
    assert_eq!(scene.try_wait(5_000), Err(Refusal::Full));
    scene.dial_succeeds();
    scene.picks_up(first);
    assert_eq!(scene.try_wait(5_000), Err(Refusal::Full));
    assert_eq!(scene.state.totals().turned_away_full, 2);
}

#[test]
fn a_newcomer_who_finds_an_overdue_grant_calls_all_who_wait() {
    let (mut scene, mut lent) = Scene::with_lent(1, |settings| settings.max_size = 1);
    let _never_polled = scene.wait();
    scene.release(lent.remove(0));
    let second = scene.wait();
    scene.pass(5);
    scene.woken();
    let newcomer = scene.wait();
    assert_eq!(
        scene.woken(),
        [3, 4],
        "the newcomer, who is there, is granted it"
    );
    let second = scene.still_waits(second);
    let newcomer = scene.picks_up(newcomer);
    scene.release(newcomer);
    scene.picks_up(second);
}

#[test]
fn a_newcomer_is_not_counted_against_those_whom_a_revoked_grant_serves() {
    let (mut scene, mut lent) = Scene::with_lent(1, |settings| {
        (settings.max_waiting, settings.max_size) = (2, 1)
    });
    let _never_polled = scene.wait();
    scene.release(lent.remove(0));
    let _second = scene.wait();
    scene.pass(5);
    assert!(
        scene.try_wait(5_000).is_ok(),
        "two are parked, and what they haven't come for serves the newcomer"
    );
}

#[test]
fn a_more_urgent_caller_overtakes() {
    let (mut scene, mut lent) = Scene::with_lent(2, |_| {});
    let normal = scene.wait();
    let urgent = scene
        .wait_as(Priority::HIGHEST, None, 5_000)
        .expect("may wait");
    let patient = scene
        .wait_as(Priority::LOWEST, None, 5_000)
        .expect("may wait");
    scene.release(lent.remove(0));
    scene.release(lent.remove(0));
    assert_eq!(scene.woken(), [4, 3]);
    scene.picks_up(urgent);
    scene.picks_up(normal);
    scene.still_waits(patient);
}

#[test]
fn who_was_given_an_unfit_connection_is_next_again_and_never_turned_away_as_full() {
    let (mut scene, mut lent) = Scene::with_lent(1, |settings| {
        (settings.max_waiting, settings.max_size) = (1, 1)
    });
    let first = scene.wait();
    scene.release(lent.remove(0));
    let second = scene.wait();
    let Polled::Lent {
        key,
        connection,
        arrival,
        ..
    } = scene.poll(first)
    else {
        panic!("the first is served");
    };
    scene.does(|state, now, fx| state.reject(key, connection, Eviction::PeerClosed, now, 0, fx));
    let again = scene
        .wait_as(Priority::NORMAL, Some(arrival), 5_000)
        .expect("never full for it");
    scene.all_closed();
    scene.dial_succeeds();
    scene.picks_up(again);
    scene.still_waits(second);
    assert_eq!(
        scene.state.totals().lent,
        3,
        "what was rejected was never lent"
    );
}

#[test]
fn a_waiter_too_late_is_told_by_its_own_poll_and_by_upkeep() {
    let (mut scene, _lent) = Scene::with_lent(1, |settings| settings.max_size = 1);
    let first = scene.try_wait(10).expect("may wait");
    let second = scene.try_wait(20).expect("may wait");
    assert_eq!(
        scene.state.planned_wake(),
        scene.now.after(Duration::from_millis(10))
    );
    scene.pass(10);
    assert_eq!(scene.is_told(first), Refusal::TimedOut);
    scene.tick_after(10);
    assert_eq!(scene.woken(), [3]);
    assert_eq!(scene.is_told(second), Refusal::TimedOut);
    assert_eq!(scene.state.totals().timed_out, 2);
}
