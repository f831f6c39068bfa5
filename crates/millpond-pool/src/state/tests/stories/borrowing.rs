//! Connections between two exchanges: order, age, looks, probes, resets, leaks.

use super::*;
use crate::settings::{Order, Probe};

#[test]
fn the_one_used_last_is_lent_first_unless_all_are_to_be_kept_warm() {
    let mut scene = Scene::with_idle(2, |_| {});
    assert_eq!(scene.acquire().1, 2);
    let mut scene = Scene::with_idle(2, |settings| settings.order = Order::Fifo);
    assert_eq!(scene.acquire().1, 1);
}

impl Scene {
    fn idle_order(&self) -> Vec<u64> {
        self.state
            .slots()
            .in_stage(StageName::Idle)
            .map(|slot| slot.number)
            .collect()
    }

    fn look_at(&mut self, number: u64) -> Look<Numbered> {
        let idle = self.state.slots().indices(StageName::Idle);
        let at = idle
            .into_iter()
            .find(|&at| self.state.slots().at(at).number == number);
        let look = self.does(|state, _, _| state.look_at(at.expect("it is idle"), number));
        look.expect("it is idle")
    }

    fn looked(&mut self, look: Look<Numbered>) {
        self.does(|state, _, fx| state.looked(look, Ok(()), 0, fx));
    }
}

#[test]
fn a_connection_that_was_looked_at_returns_to_its_place_even_among_those_of_its_age() {
    let mut scene = Scene::new(|settings| (settings.max_size, settings.min_idle) = (3, 3));
    for _ in 0..3 {
        scene.dial_succeeds();
    }
    for number in 1..=3 {
        let look = scene.look_at(number);
        scene.looked(look);
        assert_eq!(scene.idle_order(), [1, 2, 3]);
    }
}

#[test]
fn a_connection_that_was_looked_at_returns_by_age_when_its_neighbour_has_moved() {
    let mut scene = Scene::with_idle(4, |settings| settings.max_size = 4);
    let look = scene.look_at(2);
    let [fourth, third] = [scene.acquire(), scene.acquire()];
    scene.release(fourth);
    scene.pass(1);
    scene.release(third);
    scene.looked(look);
    assert_eq!(scene.idle_order(), [1, 2, 4, 3]);
}

#[test]
fn an_event_of_an_earlier_connection_in_the_same_slot_is_old_news() {
    let mut scene = Scene::with_idle(1, |_| {});
    let at = scene
        .state
        .slots()
        .front(StageName::Idle)
        .expect("one is idle");
    assert!(scene.does(|state, _, _| state.look_at(at, 0)).is_none());
    assert!(scene.does(|state, _, _| state.look_at(at, 1)).is_some());
}

#[test]
fn each_connection_is_handed_over_once_to_be_watched_after_a_tick_idle() {
    let mut scene = Scene::with_idle(1, |_| {});
    assert!(
        scene
            .does(|state, _, _| state.look_at_unwatched(None))
            .is_none(),
        "not idle for a tick"
    );
    scene.tick_after(100);
    let look = scene
        .does(|state, _, _| state.look_at_unwatched(None))
        .expect("idle for a tick");
    scene.does(|state, _, fx| state.looked(look, Ok(()), 0, fx));
    assert!(
        scene
            .does(|state, _, _| state.look_at_unwatched(None))
            .is_none(),
        "it is watched"
    );
    let lent = scene.acquire();
    scene.release(lent);
    scene.tick_after(100);
    assert!(
        scene
            .does(|state, _, _| state.look_at_unwatched(None))
            .is_some(),
        "its watch ended as it was lent"
    );
}

#[test]
fn a_round_of_looks_goes_on_where_it_was_and_begins_again_where_that_is_gone() {
    let mut scene = Scene::with_idle(3, |settings| settings.max_size = 3);
    scene.tick_after(100);
    let (mut last, mut seen) = (None, Vec::new());
    while let Some(look) = scene.does(|state, _, _| state.look_at_unwatched(last)) {
        last = Some((look.index(), look.number));
        seen.push(look.number);
        let verdict = match look.number {
            2 => Err(Eviction::PeerClosed),
            _ => Ok(()),
        };
        scene.does(|state, _, fx| state.looked(look, verdict, 0, fx));
    }
    assert_eq!(seen, [1, 2, 3], "each of them once");
    assert_eq!(scene.idle_order(), [1, 3]);
    // What comes before the place is not looked at in this round; a new one begins at the front.
    let oldest = scene
        .state
        .slots()
        .front(StageName::Idle)
        .expect("two are idle");
    scene.state.slots.at_mut(oldest).watched = false;
    assert!(
        scene
            .does(|state, _, _| state.look_at_unwatched(last))
            .is_none()
    );
    let look = scene.does(|state, _, _| state.look_at_unwatched(None));
    assert_eq!(look.expect("the unwatched one").number, 1);
}

#[test]
fn lifetimes_are_spread_over_a_fifth() {
    let lifetime = Duration::from_secs(10);
    let ages = [0, u64::MAX].map(|random| {
        let mut scene =
            Scene::new(|settings| (settings.min_idle, settings.max_lifetime) = (1, Some(lifetime)));
        let key = scene.dials.remove(0);
        scene.does(|state, now, fx| state.dial_finished(key, Ok((1, 1)), now, random, fx));
        scene.tick_until(100, |scene| !scene.evicted.is_empty());
        assert_eq!(scene.evicted(), [(1, Eviction::Lifetime)]);
        scene.now.since_built()
    });
    assert_eq!(ages, [Duration::from_secs(9), Duration::from_secs(11)]);
}

#[test]
fn what_min_idle_asks_for_is_not_idled_out() {
    let mut scene = Scene::with_idle(2, |settings| {
        (settings.min_idle, settings.idle_timeout) = (1, Some(Duration::from_secs(1)));
    });
    scene.tick_after(1_100);
    assert_eq!(scene.evicted(), [(1, Eviction::IdleTimeout)]);
    scene.tick_after(60_000);
    assert_eq!(scene.evicted(), []);
}

#[test]
fn a_leak_is_reported_once_and_a_shared_lease_never() {
    let mut scene = Scene::with_idle(2, |settings| {
        settings.leak_threshold = Some(Duration::from_secs(1))
    });
    scene.does(|state, _, fx| state.acquire(7, Lease::Shared, fx));
    scene.does(|state, _, fx| state.acquire(8, Lease::Exclusive, fx));
    let mut leaks = Vec::new();
    for _ in 0..3 {
        scene.pass(600);
        let mut fx = Effects::none();
        scene.state.tick(scene.now, &mut fx);
        leaks.extend(fx.leaks.iter().map(|leak| (leak.number, leak.tag)));
    }
    assert_eq!(leaks, [(1, 8)]);
}

#[test]
fn as_many_probes_run_as_callers_wait() {
    let mut scene = Scene::with_idle(3, |settings| {
        (settings.max_size, settings.probe) = (3, Some(Probe::Always))
    });
    let first = scene.wait();
    let second = scene.wait();
    assert_eq!((scene.probes.len(), scene.count(StageName::Idle)), (2, 1));
    assert!(scene.dials.is_empty());
    let (key, number) = scene.probes.remove(0);
    scene.does(|state, now, fx| state.checked(key, number, Ok(()), now, 0, fx));
    scene.picks_up(first);
    scene.still_waits(second);
}

#[test]
fn a_failed_probe_is_followed_by_another_or_by_a_dial() {
    let mut scene = Scene::with_idle(1, |settings| settings.probe = Some(Probe::Always));
    let waits = scene.wait();
    let (key, number) = scene.probes.remove(0);
    let unfit = Err(Eviction::ProbeFailed);
    scene.does(|state, now, fx| state.checked(key, number, unfit, now, 0, fx));
    assert!(!scene.state.outage().failing(), "it had served before");
    scene.dial_succeeds();
    scene.picks_up(waits);
}

#[test]
fn a_connection_that_passed_its_reset_serves_who_waits() {
    let (mut scene, mut lent) = Scene::with_lent(1, |settings| settings.max_size = 1);
    let waits = scene.wait();
    let (key, number) = lent.remove(0);
    let (key, number) = scene
        .does(|state, now, fx| state.release_to_reset(key, number, now, fx))
        .expect("it may be reset");
    let waits = scene.still_waits(waits);
    scene.does(|state, now, fx| state.checked(key, number, Ok(()), now, 0, fx));
    scene.picks_up(waits);
}

#[test]
fn a_connection_that_passed_its_reset_is_still_probed_where_that_is_always_done() {
    let (mut scene, mut lent) = Scene::with_lent(1, |settings| settings.max_size = 1);
    scene.state.probe = Probe::Always;
    let (key, number) = lent.remove(0);
    let (key, number) = scene
        .does(|state, now, fx| state.release_to_reset(key, number, now, fx))
        .expect("it may be reset");
    let waits = scene.wait();
    scene.does(|state, now, fx| state.checked(key, number, Ok(()), now, 0, fx));
    let waits = scene.still_waits(waits);
    let (key, number) = scene.probes.remove(0);
    scene.does(|state, now, fx| state.checked(key, number, Ok(()), now, 0, fx));
    scene.picks_up(waits);
}

#[test]
fn a_detached_connection_makes_room_at_once() {
    let (mut scene, mut lent) = Scene::with_lent(1, |settings| settings.max_size = 1);
    let waits = scene.wait();
    let (key, _) = lent.remove(0);
    scene.does(|state, now, fx| state.detach(key, now, fx));
    scene.dial_succeeds();
    assert_eq!(scene.picks_up(waits).1, 2);
    assert_eq!(scene.state.totals().detached, 1);
}

#[test]
fn a_closing_connection_holds_its_place_until_it_is_closed() {
    let (mut scene, mut lent) = Scene::with_lent(1, |settings| settings.max_size = 1);
    let _waits = scene.wait();
    scene.discard(lent.remove(0), Eviction::Discarded);
    assert!(scene.dials.is_empty());
    scene.all_closed();
    assert_eq!(scene.dials.len(), 1);
}

#[test]
fn only_the_last_evictions_are_remembered() {
    let mut scene = Scene::new(|settings| settings.max_size = 1);
    for _ in 0..70 {
        let waits = scene.wait();
        scene.dial_succeeds();
        let lent = scene.picks_up(waits);
        scene.discard(lent, Eviction::Discarded);
        scene.all_closed();
    }
    let numbers: Vec<u64> = scene
        .state
        .evictions()
        .map(|record| record.number)
        .collect();
    assert_eq!(numbers, (7..=70).collect::<Vec<u64>>());
    assert_eq!(scene.state.totals().evicted(Eviction::Discarded), 70);
    assert_eq!(
        scene.state.slots().all().len(),
        1,
        "one slot serves them all"
    );
}

/// One connection after the other, dialled and lent: what is done with each is said by `ends`.
fn lend_and_end(scene: &mut Scene, times: usize, mut ends: impl FnMut(&mut Scene, Lent)) {
    for _ in 0..times {
        let lent = match scene.acquire_fails() {
            AcquireOutcome::Lent(key, connection) => (key, connection),
            _ => {
                let waits = scene.wait();
                scene.dial_succeeds();
                scene.picks_up(waits)
            }
        };
        ends(scene, lent);
        scene.all_closed();
    }
}

#[test]
fn connections_dropped_without_a_word_are_told_of_once_at_the_eighth() {
    let mut scene = Scene::new(|settings| settings.max_size = 1);
    let mut told = Vec::new();
    lend_and_end(&mut scene, 20, |scene, lent| {
        told.push(scene.drop_unreleased(lent))
    });
    let mut expected = vec![None; 20];
    expected[7] = Some(8);
    assert_eq!(told, expected);
    let totals = scene.state.totals();
    assert_eq!((totals.unreleased, totals.released), (20, 20));
    assert_eq!(totals.evicted(Eviction::UnfinishedExchange), 20);
}

#[test]
fn connections_dropped_without_a_word_are_told_of_when_they_are_half_of_all_that_came_back() {
    let mut scene = Scene::new(|settings| settings.max_size = 1);
    lend_and_end(&mut scene, 10, |scene, lent| scene.release(lent));
    lend_and_end(&mut scene, 5, |scene, lent| {
        scene.discard(lent, Eviction::UnfinishedExchange)
    });
    lend_and_end(&mut scene, 14, |scene, lent| {
        assert_eq!(scene.drop_unreleased(lent), None)
    });
    lend_and_end(&mut scene, 1, |scene, lent| {
        assert_eq!(scene.drop_unreleased(lent), Some(15))
    });
}
