//! The endpoint fails: who is told when, how often it is dialled, and what ends it.

use super::*;

#[test]
fn within_the_grace_a_restart_fails_no_one() {
    let mut scene = Scene::new(|settings| settings.max_size = 1);
    let only = scene.wait();
    scene.dial_fails();
    let only = scene.still_waits(only);
    for _ in 0..3 {
        scene.tick_after(200);
        scene.dial_fails();
    }
    scene.tick_after(399);
    assert!(!scene.state.outage().unavailable());
    scene.dial_succeeds();
    scene.picks_up(only);
}

#[test]
fn when_the_grace_is_over_all_who_wait_are_told() {
    let mut scene = Scene::new(|settings| settings.max_size = 1);
    let first = scene.wait();
    let second = scene.wait();
    scene.dial_fails();
    scene.tick_after(999);
    scene.dial_fails();
    assert!(!scene.state.outage().unavailable());
    assert_eq!(
        scene.state.planned_wake(),
        scene.now.after(Duration::from_millis(1))
    );
    scene.tick_after(1);
    scene.dial_fails();
    assert!(scene.state.outage().unavailable());
    assert_eq!(scene.is_told(first), Refusal::Unavailable);
    assert_eq!(scene.is_told(second), Refusal::Unavailable);
    assert_eq!(scene.state.totals().turned_away_unavailable, 2);
}

#[test]
fn the_dial_at_the_end_of_the_grace_is_waited_for_and_decides() {
    let mut scene = Scene::new(|settings| settings.max_size = 1);
    let only = scene.wait();
    scene.dial_fails();
    // It takes long, and fails after the grace: the endpoint may have come back since it began.
    scene.tick_after(990);
    assert_eq!(scene.dials.len(), 1);
    scene.tick_after(20);
    let only = scene.still_waits(only);
    scene.dial_fails();
    let only = scene.still_waits(only);
    assert_eq!(scene.dials.len(), 1, "another at once");
    scene.tick_after(100);
    scene.dial_succeeds();
    scene.picks_up(only);
}

#[test]
fn a_dial_that_gives_no_answer_for_a_fifth_of_the_grace_after_its_end_is_an_outage() {
    let mut scene = Scene::new(|settings| settings.max_size = 1);
    let only = scene.wait();
    scene.dial_fails();
    scene.tick_after(900);
    assert_eq!(
        scene.state.planned_wake(),
        scene.now.after(Duration::from_millis(25))
    );
    scene.tick_after(299);
    assert_eq!(
        scene.state.planned_wake(),
        scene.now.after(Duration::from_millis(1))
    );
    let only = scene.still_waits(only);
    scene.tick_after(1);
    assert_eq!(scene.is_told(only), Refusal::Unavailable);
    assert_eq!(scene.count(StageName::Connecting), 1);
}

#[test]
fn upkeep_finds_the_dark_in_the_tick_that_ends_the_last_connections_life() {
    let mut scene = Scene::new(|settings| settings.max_lifetime = Some(Duration::from_millis(300)));
    let only = scene.wait();
    scene.dial_fails();
    scene.cancel(only);
    scene.tick_after(1_100);
    let [_sleeps, also_waits] = [scene.wait(), scene.wait()];
    scene.dial_succeeds();
    assert_eq!(scene.dials.len(), 1, "for the second");
    scene.tick();
    scene.tick_after(5); // Nobody picks it up.
    assert_eq!(scene.count(StageName::Idle), 1);
    scene.tick_after(345);
    assert_eq!(scene.evicted(), [(2, Eviction::Lifetime)]);
    assert!(
        scene.state.outage().unavailable(),
        "the dial under way has been silent for longer than a fifth of the grace"
    );
    assert!(scene.state.planned_wake() > scene.now);
    assert_eq!(scene.is_told(also_waits), Refusal::Unavailable);
}

#[test]
fn who_comes_after_a_grace_in_which_nobody_asked_waits_for_a_dial_of_its_own() {
    let mut scene = Scene::new(|settings| settings.max_size = 2);
    let early = scene.wait();
    scene.dial_fails();
    scene.cancel(early);
    scene.tick_after(5_000);
    let tickets = [scene.wait(), scene.wait(), scene.wait()];
    assert_eq!(scene.dials.len(), 1);
    scene.dial_fails();
    for ticket in tickets {
        assert_eq!(scene.is_told(ticket), Refusal::Unavailable);
    }
}

#[test]
fn failures_of_dials_that_began_before_the_last_one_that_counted_make_nothing_longer() {
    // Refused together.
    let mut scene = Scene::new(|settings| settings.max_size = 4);
    let _waiting: Vec<QueueTicket> = (0..4).map(|_| scene.wait()).collect();
    for _ in 0..4 {
        scene.dial_fails();
    }
    assert_eq!(scene.state.outage().failures(), 4, "they are counted");
    scene.tick_after(50);
    assert_eq!(scene.dials.len(), 1, "and made the first wait no longer");
    scene.dial_fails();
    scene.tick_after(99);
    assert!(scene.dials.is_empty(), "the next dial is news");
    scene.tick_after(1);
    assert_eq!(scene.dials.len(), 1);
}

#[test]
fn connections_that_die_together_count_as_one_failure() {
    let mut scene = Scene::new(|settings| (settings.max_size, settings.max_connecting) = (16, 16));
    let tickets: Vec<QueueTicket> = (0..16).map(|_| scene.wait()).collect();
    let mut lent = Vec::new();
    for ticket in tickets {
        scene.pass(1);
        scene.dial_succeeds();
        lent.push(scene.picks_up(ticket));
    }
    for connection in lent {
        scene.discard(connection, Eviction::PeerReset);
    }
    scene.all_closed();
    let _waits = scene.wait();
    scene.tick_after(50);
    assert_eq!(scene.dials.len(), 1);
}

#[test]
fn while_the_grace_lasts_the_endpoint_is_dialled_every_fifth_of_it_and_at_its_end() {
    let mut scene = Scene::new(|settings| {
        settings.max_size = 1;
        settings.outage_grace = Duration::from_millis(500);
        settings.backoff.max_while_waiting = Duration::from_secs(2);
    });
    let only = scene.try_wait(60_000).expect("may wait");
    let mut pauses = Vec::new();
    while !scene.state.outage().unavailable() {
        scene.dial_fails();
        let since = scene.now;
        scene.tick_until(1, |scene| {
            scene.state.outage().unavailable() || !scene.dials.is_empty()
        });
        pauses.push(scene.now.since(since).as_millis());
    }
    assert_eq!(pauses, [50, 100, 100, 100, 100, 50, 0]);
    scene.is_told(only);
    assert!(
        scene.now.since_built() < Duration::from_millis(510),
        "told {:?}",
        scene.now
    );
    let since = scene.now;
    scene.tick_after(1_999);
    assert_eq!(scene.try_wait(5_000), Err(Refusal::Unavailable));
    scene.pass(1);
    scene.wait();
    assert_eq!(
        scene.now.since(since),
        Duration::from_secs(2),
        "while unavailable it is the backoff's wait"
    );
}

#[test]
fn a_connection_that_dies_young_by_nobodys_fault_does_not_interrupt_the_grace_either() {
    let mut scene = Scene::new(|settings| settings.max_size = 1);
    let first = scene.try_wait(60_000).expect("may wait");
    let _second = scene.try_wait(60_000).expect("may wait");
    for wait in [50, 100, 200, 200] {
        let key = scene.dials.remove(0);
        let cause = Cause::Dial(1);
        scene.does(|state, now, fx| state.dial_finished(key, Err(cause), now, u64::MAX, fx));
        scene.tick_after(wait);
    }
    let key = scene.dials.remove(0);
    let failed = Err(Cause::Dial(1));
    scene.does(|state, now, fx| state.dial_finished(key, failed, now, u64::MAX, fx));
    scene.tick_after(200);
    scene.dial_succeeds();
    let lent = scene.picks_up(first);
    scene.pass(1);
    scene.discard(lent, Eviction::UnfinishedExchange);
    scene.all_closed();
    assert_eq!(scene.dials.len(), 1, "the wait within the grace is over");
    scene.tick_after(249); // A second since the first failure.
    scene.dial_fails();
    assert!(
        !scene.state.outage().unavailable(),
        "it began before the end"
    );
    scene.dial_fails();
    assert!(scene.state.outage().unavailable());
}

#[test]
fn a_grace_caps_no_wait_while_something_is_live() {
    let (mut scene, _lent) = Scene::with_lent(1, |settings| {
        settings.outage_grace = Duration::from_millis(50);
    });
    let _waits = scene.try_wait(60_000).expect("may wait");
    for wait in [50, 100, 200] {
        scene.dial_fails();
        scene.tick_after(wait - 1);
        assert!(scene.dials.is_empty());
        scene.tick_after(1);
        assert_eq!(scene.dials.len(), 1);
    }
}

#[test]
fn without_grace_callers_are_told_at_once() {
    let mut scene = Scene::new(|settings| settings.outage_grace = Duration::ZERO);
    let only = scene.wait();
    scene.dial_fails();
    assert_eq!(scene.woken(), [1]);
    assert_eq!(scene.is_told(only), Refusal::Unavailable);
}

#[test]
fn in_the_dark_one_caller_rides_with_the_dial_and_the_others_are_told() {
    let mut scene = Scene::new(|settings| settings.outage_grace = Duration::ZERO);
    let first = scene.wait();
    scene.dial_fails();
    scene.is_told(first);
    assert_eq!(
        scene.try_wait(5_000),
        Err(Refusal::Unavailable),
        "the backoff isn't over"
    );
    scene.pass(50);
    let rider = scene.wait();
    assert_eq!(scene.dials.len(), 1);
    assert_eq!(
        scene.try_wait(5_000),
        Err(Refusal::Unavailable),
        "one at a time"
    );
    scene.dial_succeeds();
    assert!(!scene.state.outage().unavailable());
    scene.picks_up(rider);
    scene.wait();
}

#[test]
fn who_waits_through_an_outage_stays_in_line_until_its_deadline() {
    let mut scene = Scene::new(|settings| {
        (settings.max_size, settings.max_waiting) = (1, 2);
        settings.outage_grace = Duration::ZERO;
    });
    let told = scene.wait();
    let stays = scene.wait_through(10_000).expect("may wait");
    scene.dial_fails();
    assert_eq!(scene.is_told(told), Refusal::Unavailable);
    let mut stays = scene.still_waits(stays);
    let comes_later = scene
        .wait_through(60)
        .expect("an outage turns nobody away who would wait");
    assert_eq!(scene.try_wait(5_000), Err(Refusal::Unavailable));
    assert_eq!(
        scene.wait_through(60),
        Err(Refusal::Full),
        "max_waiting holds"
    );
    assert!(scene.dials.is_empty(), "the backoff isn't over");
    // Dialled for as often as the backoff allows, and no more often.
    let mut pauses = Vec::new();
    for _ in 0..5 {
        let since = scene.now;
        scene.tick_until(1, |scene| !scene.dials.is_empty());
        pauses.push(scene.now.since(since).as_millis());
        assert_eq!(scene.dials.len(), 1);
        scene.dial_fails();
        stays = scene.still_waits(stays);
    }
    assert_eq!(pauses, [50, 100, 200, 200, 200]);
    assert_eq!(scene.is_told(comes_later), Refusal::TimedOut);
    scene.tick_after(200);
    scene.dial_succeeds();
    scene.picks_up(stays);
}

#[test]
fn a_failed_dial_fails_nobody_while_something_is_live() {
    let (mut scene, _lent) = Scene::with_lent(1, |settings| settings.outage_grace = Duration::ZERO);
    let waits = scene.wait();
    scene.dial_fails();
    scene.tick_after(100);
    assert!(scene.state.outage().failing());
    assert!(!scene.state.outage().unavailable());
    scene.still_waits(waits);
}

#[test]
fn a_listener_that_accepts_and_hangs_up_is_dialled_ever_less_often() {
    let mut scene = Scene::new(|settings| (settings.max_size, settings.min_idle) = (1, 1));
    let mut pauses = Vec::new();
    for _ in 0..9 {
        scene.dial_succeeds();
        let lent = scene.acquire();
        scene.discard(lent, Eviction::PeerClosed);
        scene.all_closed();
        let since = scene.now;
        scene.tick_until(10, |scene| !scene.dials.is_empty());
        pauses.push(scene.now.since(since).as_millis());
    }
    assert_eq!(pauses, [50, 100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
}

#[test]
fn requests_that_kill_their_connections_pace_the_dials_and_have_nobody_refused() {
    let mut scene = Scene::new(|settings| {
        settings.max_size = 1;
        settings.outage_grace = Duration::ZERO;
    });
    let mut pauses = Vec::new();
    for _ in 0..20 {
        let poison = scene.wait();
        let asked = scene.now;
        scene.tick_until(10, |scene| !scene.dials.is_empty());
        pauses.push(scene.now.since(asked).as_millis());
        scene.dial_succeeds();
        let lent = scene.picks_up(poison);
        scene.died_in_exchange(lent, Eviction::PeerClosed);
        scene.all_closed();
        assert!(!scene.state.outage().unavailable());
    }
    assert_eq!(pauses[..4], [0, 50, 100, 200]);
    assert!(pauses[4..].iter().all(|&pause| pause <= 200), "{pauses:?}");
    // A neighbour is served, and that ends it.
    let waits = scene.try_wait(60_000).expect("may wait");
    scene.tick_until(10, |scene| !scene.dials.is_empty());
    scene.dial_succeeds();
    let lent = scene.picks_up(waits);
    scene.release(lent);
    assert!(!scene.state.outage().failing());
}

#[test]
fn while_the_endpoint_fails_one_dial_is_under_way_at_a_time() {
    let mut scene = Scene::new(|settings| (settings.max_size, settings.max_connecting) = (4, 2));
    let _waiting: Vec<QueueTicket> = (0..4).map(|_| scene.wait()).collect();
    assert_eq!(scene.dials.len(), 2);
    scene.dial_fails();
    scene.dial_fails();
    for _ in 0..3 {
        scene.tick_after(200);
        assert_eq!(scene.dials.len(), 1);
        scene.dial_fails();
    }
}

#[test]
fn while_somebody_waits_the_endpoint_is_dialled_more_often() {
    let (mut scene, _lent) = Scene::with_lent(1, |_| {});
    let _waits = scene.try_wait(60_000).expect("may wait");
    for _ in 0..8 {
        scene.dial_fails();
        scene.tick_after(200);
        assert_eq!(scene.dials.len(), 1);
    }
}

#[test]
fn a_clean_release_ends_an_outage_and_dials_for_all_who_wait() {
    let mut scene = Scene::new(|settings| settings.max_size = 4);
    let mut tickets: Vec<QueueTicket> = (0..4).map(|_| scene.wait()).collect();
    for _ in 0..4 {
        scene.dial_fails();
    }
    scene.tick_after(400);
    assert_eq!(scene.dials.len(), 1);
    scene.dial_succeeds();
    assert_eq!(scene.dials.len(), 1, "a connection is no proof");
    let lent = scene.picks_up(tickets.remove(0));
    scene.release(lent);
    assert!(!scene.state.outage().failing());
    assert_eq!(
        scene.dials.len(),
        2,
        "for the two whom neither the released nor the one under way serves"
    );
}

/// The only connection is looked at, and this is found.
fn look_finds(scene: &mut Scene, verdict: Result<(), Eviction>) {
    let look = scene
        .does(|state, _, _| state.look_at_unwatched(None))
        .expect("unwatched for a tick");
    scene.does(|state, _, fx| state.looked(look, verdict, 0, fx));
}

#[test]
fn being_found_alive_after_an_idle_tick_ends_an_outage() {
    let mut scene = Scene::new(|settings| (settings.max_size, settings.min_idle) = (1, 1));
    scene.dial_fails();
    scene.tick_after(100);
    scene.dial_succeeds();
    scene.tick_after(99);
    assert!(
        scene
            .does(|state, _, _| state.look_at_unwatched(None))
            .is_none(),
        "not yet a tick"
    );
    scene.tick_after(1);
    assert!(
        scene.state.outage().failing(),
        "a tick alone proves nothing"
    );
    look_finds(&mut scene, Ok(()));
    assert!(!scene.state.outage().failing());
}

#[test]
fn a_connection_found_dead_at_the_first_look_counts_as_a_failed_dial() {
    let mut scene = Scene::new(|settings| (settings.max_size, settings.min_idle) = (1, 1));
    scene.dial_succeeds();
    scene.tick_after(100);
    look_finds(&mut scene, Err(Eviction::PeerClosed));
    assert!(scene.state.outage().failing());
}

#[test]
fn a_long_idle_connection_that_its_peer_closes_is_no_failed_dial() {
    let mut scene = Scene::new(|settings| (settings.max_size, settings.min_idle) = (1, 1));
    scene.dial_succeeds();
    scene.tick_after(100);
    look_finds(&mut scene, Ok(()));
    scene.tick_after(100);
    let slot = &scene.state.slots().all()[0];
    let (at, number) = (0, slot.number);
    let look = scene
        .does(|state, _, _| state.look_at(at, number))
        .expect("idle");
    scene.does(|state, _, fx| state.looked(look, Err(Eviction::PeerClosed), 0, fx));
    assert!(!scene.state.outage().failing());
    scene.all_closed();
    assert_eq!(scene.dials.len(), 1, "it is replaced at once");
}

#[test]
fn what_a_caller_does_to_a_new_connection_is_not_held_against_the_endpoint() {
    let mut scene = Scene::new(|_| {});
    let only = scene.wait();
    scene.dial_succeeds();
    let lent = scene.picks_up(only);
    scene.discard(lent, Eviction::UnfinishedExchange);
    assert!(!scene.state.outage().failing());
}

#[test]
fn a_probe_that_panics_on_a_new_connection_is_the_pools_own_fault() {
    let mut scene = Scene::new(|settings| settings.probe = Some(crate::settings::Probe::Always));
    let first = scene.wait();
    scene.dial_succeeds();
    scene.cancel(first);
    let _second = scene.wait();
    let (key, connection) = scene.probes.remove(0);
    let panicked = Err(Eviction::Panicked);
    scene.does(|state, now, fx| state.checked(key, connection, panicked, now, 0, fx));
    assert!(!scene.state.outage().failing());
    scene.all_closed();
    assert_eq!(scene.dials.len(), 1);
}

#[test]
fn serving_at_a_tick_plans_nothing_for_a_dial_that_starts_in_it() {
    let (mut scene, mut lent) = Scene::with_lent(1, |settings| settings.max_size = 3);
    let _first = scene.wait();
    scene.dial_fails();
    let _second = scene.wait();
    let _third = scene.wait();
    scene.release(lent.remove(0));
    scene.tick_after(60);
    assert_eq!(
        scene.dials.len(),
        1,
        "the second has the first's grant, and there's a dial for the third"
    );
    assert!(scene.state.planned_wake() > scene.now);
}

#[test]
fn a_dial_that_hangs_keeps_nobody_from_dialling_within_the_grace() {
    let mut scene = Scene::new(|settings| (settings.max_size, settings.max_connecting) = (4, 4));
    let only = scene.try_wait(60_000).expect("may wait");
    scene.dial_fails();
    let mut begun = Vec::new();
    for _ in 0..1_300 {
        if scene.dials.len() > begun.len() {
            begun.push(scene.now.since_built().as_millis());
        }
        assert!(
            scene.count(StageName::Connecting) <= 4,
            "max_connecting and max_size hold"
        );
        if scene.state.outage().unavailable() {
            break;
        }
        scene.tick_after(1);
    }
    assert_eq!(begun, [50, 250, 450, 650]);
    // The endpoint is back, and answers the last of them.
    let last = scene.dials.pop().expect("the fourth");
    let number = scene.state.slots().of(&last).number;
    assert_eq!(scene.is_told(only), Refusal::Unavailable);
    scene.does(|state, now, fx| state.dial_finished(last, Ok((number, number)), now, 0, fx));
    assert_eq!(scene.count(StageName::Idle), 1);
}

#[test]
fn an_endpoint_that_is_back_within_the_grace_serves_who_waits_though_an_earlier_dial_hangs() {
    let mut scene = Scene::new(|_| {});
    let only = scene.try_wait(60_000).expect("may wait");
    scene.dial_fails();
    scene.tick_until(1, |scene| scene.dials.len() == 1);
    scene.tick_after(199);
    assert_eq!(
        scene.dials.len(),
        1,
        "it has a fifth of the grace to answer"
    );
    assert_eq!(
        scene.state.planned_wake(),
        scene.now.after(Duration::from_millis(1))
    );
    scene.tick_after(1);
    assert_eq!(scene.dials.len(), 2);
    let _hangs = scene.dials.remove(0);
    scene.dial_succeeds();
    scene.picks_up(only);
}

#[test]
fn at_the_end_of_the_grace_one_more_dial_decides_whatever_hangs() {
    let mut scene = Scene::new(|settings| (settings.max_size, settings.max_connecting) = (9, 9));
    let only = scene.try_wait(60_000).expect("may wait");
    scene.dial_fails();
    scene.tick_until(2, |scene| scene.state.outage().unavailable());
    assert_eq!(scene.dials.len(), 6, "at 50, 250, … 850 ms, and at the end");
    assert_eq!(scene.now.since_built(), Duration::from_millis(1_200));
    assert_eq!(scene.is_told(only), Refusal::Unavailable);
    assert_eq!(
        scene.try_wait(5_000),
        Err(Refusal::Unavailable),
        "while unavailable one at a time"
    );
    assert_eq!(scene.dials.len(), 6);
}

#[test]
fn nothing_is_dialled_beside_a_dial_that_hangs_where_nobody_waits_or_something_is_live() {
    let mut scene = Scene::new(|settings| (settings.max_size, settings.min_idle) = (4, 4));
    for _ in 0..4 {
        scene.dial_fails();
    }
    scene.tick_after(1_000);
    assert_eq!(scene.dials.len(), 1, "nobody waits");

    let (mut scene, _lent) = Scene::with_lent(1, |settings| settings.max_size = 4);
    let _waits = [scene.wait(), scene.wait()];
    scene.dial_fails();
    scene.tick_after(1_000);
    assert_eq!(
        scene.dials.len(),
        1,
        "something is live, so nobody is about to be told"
    );
}
