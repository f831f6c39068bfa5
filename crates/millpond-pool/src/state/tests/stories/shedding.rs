//! Who is refused for having waited too long, and who isn't.

use super::*;
use crate::shedding::Shedding;

/// One connection, which is lent; callers may wait 50 ms, and longer for 100 ms.
fn busy() -> (Scene, Lent) {
    let (scene, mut lent) = Scene::with_lent(1, |settings| {
        settings.max_size = 1;
        settings.shed_waiting = Some(Shedding::default());
    });
    (scene, lent.remove(0))
}

/// Uses the connection for so long; the next who is served has it then.
fn after(scene: &mut Scene, millis: u64, lent: Lent, next: QueueTicket) -> Lent {
    scene.pass(millis);
    scene.release(lent);
    scene.picks_up(next)
}

#[test]
fn once_all_have_waited_too_long_for_an_interval_the_next_in_time_is_served() {
    let (mut scene, lent) = busy();
    let [first, second, third, fourth, fifth] = std::array::from_fn(|_| scene.wait());
    let lent = after(&mut scene, 50, lent, first); // In time.
    let lent = after(&mut scene, 1, lent, second); // Late, since now.
    let lent = after(&mut scene, 99, lent, third);
    let in_time = scene.wait();
    let behind = scene.wait();
    scene.woken();
    let lent = after(&mut scene, 1, lent, in_time);
    assert_eq!(scene.woken(), [5, 6, 7], "those before are told at once");
    for late in [fourth, fifth] {
        assert_eq!(scene.is_told(late), Refusal::Shed);
    }
    assert_eq!(scene.state.totals().shed, 2);
    // It has stood for an interval: from now on nobody is late and served, except who is last.
    let last = scene.wait();
    after(&mut scene, 51, lent, last);
    assert_eq!(scene.is_told(behind), Refusal::Shed);
}

#[test]
fn a_line_that_was_empty_begins_anew() {
    for cancelled in [false, true] {
        let (mut scene, lent) = busy();
        let [first, second] = std::array::from_fn(|_| scene.wait());
        let mut lent = after(&mut scene, 100, lent, first); // Late, since now.
        if cancelled {
            scene.cancel(second);
        } else {
            lent = after(&mut scene, 100, lent, second);
        }
        let third = scene.wait();
        scene.wait();
        after(&mut scene, 100, lent, third);
        assert_eq!(scene.state.totals().shed, 0, "{cancelled}");
    }
}

#[test]
fn who_is_more_urgent_stands_in_a_line_of_its_own() {
    let (mut scene, lent) = busy();
    let [first, second, last] = std::array::from_fn(|_| scene.wait());
    let lent = after(&mut scene, 100, lent, first); // Late, since now.
    // Served in time, which says nothing of the others.
    let urgent = scene.wait_as(Priority::HIGHEST, None, 5_000);
    let lent = after(&mut scene, 10, lent, urgent.expect("may wait"));
    let urgent = scene.wait_as(Priority::HIGHEST, None, 5_000);
    let lent = after(&mut scene, 60, lent, urgent.expect("may wait")); // Late, but only now.
    after(&mut scene, 30, lent, last);
    assert_eq!(scene.is_told(second), Refusal::Shed);
    assert_eq!(scene.state.totals().shed, 1);
}

#[test]
fn who_is_to_hold_a_connection_for_long_is_never_refused_so() {
    let (mut scene, lent) = busy();
    let [first, second] = std::array::from_fn(|_| scene.wait());
    let shared = scene.wait_shared();
    let last = scene.wait();
    let lent = after(&mut scene, 100, lent, first);
    let lent = after(&mut scene, 50, lent, second);
    let lent = after(&mut scene, 50, lent, shared);
    after(&mut scene, 50, lent, last);
    assert_eq!(scene.state.totals().shed, 0);
}

#[test]
fn an_unfit_connection_does_not_make_a_caller_younger() {
    let (mut scene, lent) = busy();
    let [first, second, _third] = std::array::from_fn(|_| scene.wait());
    let lent = after(&mut scene, 100, lent, first);
    let lent = after(&mut scene, 50, lent, second);
    // It was given one that doesn't pass its check, as the others are late as well.
    scene.discard(lent, Eviction::Broken);
    scene.all_closed();
    let again = scene.wait_as_of(Moment::default(), Some(2));
    scene.pass(50);
    scene.dial_succeeds();
    assert_eq!(scene.is_told(again), Refusal::Shed);
}
