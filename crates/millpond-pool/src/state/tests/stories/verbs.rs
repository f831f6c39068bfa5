//! Close, drain, retire, pause, resize.

use super::*;
use crate::settings::Probe;

#[test]
fn shrinking_evicts_the_oldest_first() {
    let mut scene = Scene::with_idle(3, |settings| settings.max_size = 3);
    scene.does(|state, _, fx| state.resize(1, fx));
    assert_eq!(
        scene.evicted(),
        [(1, Eviction::Shrunk), (2, Eviction::Shrunk)]
    );
}

#[test]
fn what_is_released_beyond_the_size_is_closed() {
    let (mut scene, mut lent) = Scene::with_lent(2, |_| {});
    scene.does(|state, _, fx| state.resize(1, fx));
    scene.release(lent.remove(0));
    assert_eq!(scene.evicted(), [(2, Eviction::Shrunk)]);
    scene.release(lent.remove(0));
    assert_eq!(scene.count(StageName::Idle), 1);
}

#[test]
fn nothing_is_dialled_before_a_shrunk_pool_is_down_to_its_size() {
    let (mut scene, mut lent) = Scene::with_lent(2, |_| {});
    let _waits = scene.wait();
    scene.does(|state, _, fx| state.resize(1, fx));
    scene.discard(lent.remove(0), Eviction::Discarded);
    scene.all_closed();
    assert!(scene.dials.is_empty());
    scene.does(|state, _, fx| state.resize(2, fx));
    assert_eq!(scene.dials.len(), 1);
}

#[test]
fn what_arrives_after_close_is_closed() {
    let (mut scene, mut lent) = Scene::with_lent(2, |settings| settings.max_size = 3);
    let waits = scene.wait();
    scene.does(|state, _, fx| state.close(Lifecycle::Closed, fx));
    assert_eq!(scene.is_told(waits), Refusal::Closed);
    scene.release(lent.remove(0));
    let (key, number) = lent.remove(0);
    let reset = scene.does(|state, now, fx| state.release_to_reset(key, number, now, fx));
    assert!(reset.is_none());
    scene.dial_succeeds();
    let reasons = [2, 1, 3].map(|number| (number, Eviction::Closed));
    assert_eq!(scene.evicted(), reasons);
    scene.all_closed();
    assert_eq!(scene.state.slots().occupied(), 0);
    assert!(scene.dials.is_empty());
}

#[test]
fn close_takes_a_grant_away() {
    let (mut scene, mut lent) = Scene::with_lent(1, |settings| settings.max_size = 1);
    let waits = scene.wait();
    scene.release(lent.remove(0));
    scene.does(|state, _, fx| state.close(Lifecycle::RuntimeEnded, fx));
    assert_eq!(scene.is_told(waits), Refusal::RuntimeEnded);
    assert_eq!(scene.evicted(), [(1, Eviction::Closed)]);
}

#[test]
fn who_closed_the_pool_first_says_why() {
    let mut scene = Scene::new(|_| {});
    scene.does(|state, _, fx| state.close(Lifecycle::RuntimeEnded, fx));
    scene.does(|state, _, fx| state.close(Lifecycle::Closed, fx));
    assert_eq!(scene.try_wait(0), Err(Refusal::RuntimeEnded));
}

#[test]
fn retire_closes_a_dial_begun_before_it_and_replaces_it() {
    let mut scene = Scene::with_idle(1, |_| {});
    let held = scene.acquire();
    let waits = scene.wait();
    scene.does(|state, _, fx| state.retire(fx));
    scene.dial_succeeds();
    scene.release(held);
    assert_eq!(
        scene.evicted(),
        [(2, Eviction::Retired), (1, Eviction::Retired)]
    );
    scene.all_closed();
    scene.dial_succeeds();
    assert_eq!(scene.picks_up(waits).1, 3);
}

#[test]
fn pause_keeps_everything_and_lets_callers_wait() {
    let mut scene = Scene::with_idle(1, |settings| settings.max_waiting = 1);
    scene.does(|state, _, _| state.pause());
    assert!(matches!(scene.acquire_fails(), AcquireOutcome::MustWait));
    let waits = scene.wait();
    scene.tick_after(100);
    let waits = scene.still_waits(waits);
    assert!(scene.dials.is_empty());
    assert_eq!(scene.count(StageName::Idle), 1);
    scene.does(|state, now, fx| state.resume(now, fx));
    scene.picks_up(waits);
}

#[test]
fn a_pause_ends_with_the_pool() {
    let mut scene = Scene::with_idle(1, |_| {});
    scene.does(|state, _, _| state.pause());
    let waits = scene.wait();
    scene.does(|state, now, fx| state.drain(now, fx));
    scene.does(|state, _, _| state.pause());
    scene.picks_up(waits);
    assert!(!scene.state.paused());
}

#[test]
fn drain_serves_who_waits_then_closes() {
    let (mut scene, mut lent) = Scene::with_lent(1, |settings| settings.max_size = 1);
    let waits = scene.wait();
    scene.does(|state, now, fx| state.drain(now, fx));
    assert_eq!(scene.try_wait(5_000), Err(Refusal::Draining));
    assert!(matches!(
        scene.acquire_fails(),
        AcquireOutcome::Refused(Refusal::Draining)
    ));
    scene.release(lent.remove(0));
    assert_eq!(scene.evicted(), []);
    let last = scene.picks_up(waits);
    scene.release(last);
    assert_eq!(scene.evicted(), [(1, Eviction::Closed)]);
}

/// Three connections, idle for too long to be lent unprobed; one is lent all the same, one is
/// probed for the only one who waits, one is idle. Then the pool is drained.
fn drained_with_one_idle() -> (Scene, Lent, QueueTicket) {
    let (mut scene, mut lent) = Scene::with_lent(3, |settings| {
        settings.max_size = 3;
        settings.probe = Some(Probe::WhenIdleFor(Duration::from_millis(50)));
    });
    scene.release(lent.remove(0));
    scene.release(lent.remove(0));
    scene.tick_after(50);
    let waits = scene.try_wait(5).expect("may wait");
    assert_eq!(scene.probes.len(), 1);
    scene.does(|state, now, fx| state.drain(now, fx));
    assert_eq!(scene.count(StageName::Idle), 1);
    (scene, lent.remove(0), waits)
}

#[test]
fn the_last_waiter_of_a_drain_ends_it_by_running_into_its_deadline() {
    let (mut scene, _lent, waits) = drained_with_one_idle();
    scene.pass(5);
    assert_eq!(scene.is_told(waits), Refusal::TimedOut);
    assert_eq!(scene.count(StageName::Idle), 0);
}

#[test]
fn the_last_waiter_of_a_drain_ends_it_by_being_served() {
    let (mut scene, lent, waits) = drained_with_one_idle();
    scene.release(lent);
    assert_eq!(scene.count(StageName::Idle), 0);
    scene.picks_up(waits);
}

/// Two wait, and the first sleeps; the pool is drained, and then the second is called.
fn drained_with_one_called() -> (Scene, QueueTicket, QueueTicket) {
    let (mut scene, mut lent) = Scene::with_lent(1, |settings| settings.max_size = 1);
    let (sleeps, called) = (scene.wait(), scene.wait());
    scene.does(|state, now, fx| state.drain(now, fx));
    scene.release(lent.remove(0));
    scene.tick();
    scene.tick_after(5);
    assert_eq!(scene.woken(), [2, 3]);
    assert_eq!(scene.count(StageName::Idle), 1);
    (scene, sleeps, called)
}

#[test]
fn a_drain_serves_those_who_answer_when_they_are_called() {
    let (mut scene, _sleeps, called) = drained_with_one_called();
    scene.tick_after(4);
    let served = scene.picks_up(called);
    assert_eq!(scene.evicted(), []);
    scene.release(served);
    scene.tick_after(1);
    assert_eq!(
        scene.evicted(),
        [(1, Eviction::Closed)],
        "the sleeper holds up no drain"
    );
}

#[test]
fn a_drain_waits_no_longer_than_a_grant_would_for_those_who_are_called() {
    let (mut scene, _sleeps, called) = drained_with_one_called();
    assert_eq!(
        scene.state.planned_wake(),
        scene.now.after(Duration::from_millis(5))
    );
    scene.tick_after(5);
    assert_eq!(scene.evicted(), [(1, Eviction::Closed)]);
    scene.all_closed();
    scene.still_waits(called);
    assert_eq!(
        scene.dials.len(),
        1,
        "it was in line before the drain began, and is served"
    );
}

#[test]
fn a_drain_waits_for_nobody_once_all_who_were_called_have_gone() {
    let (mut scene, sleeps, called) = drained_with_one_called();
    scene.cancel(called);
    assert_eq!(scene.evicted(), []);
    scene.cancel(sleeps);
    assert_eq!(scene.evicted(), [(1, Eviction::Closed)]);
}

#[test]
fn a_pause_outlasts_a_call() {
    let (mut scene, mut lent) = Scene::with_lent(1, |settings| settings.max_size = 1);
    let (_sleeps, called) = (scene.wait(), scene.wait());
    scene.release(lent.remove(0));
    scene.tick();
    scene.does(|state, _, _| state.pause());
    scene.tick_after(5);
    let called = scene.still_waits(called);
    scene.does(|state, now, fx| state.resume(now, fx));
    scene.picks_up(called);
}

#[test]
fn close_tells_those_who_are_called() {
    let (mut scene, _sleeps, called) = drained_with_one_called();
    scene.does(|state, _, fx| state.close(Lifecycle::Closed, fx));
    assert_eq!(scene.is_told(called), Refusal::Closed);
}

#[test]
fn the_last_waiter_of_a_drain_ends_it_by_giving_up() {
    let (mut scene, _lent, waits) = drained_with_one_idle();
    scene.cancel(waits);
    assert_eq!(scene.count(StageName::Idle), 0);
}
