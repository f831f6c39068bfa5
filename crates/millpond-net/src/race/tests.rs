//! On a paused clock, with attempts that only pretend.

use std::cell::{Cell, RefCell};

use super::*;

/// How an attempt goes: after how long, and whether it succeeds.
type Course = (u64, bool);

const LIMIT: Duration = Duration::from_millis(3_000);

const HANGS: Course = (1_000_000, false);

#[derive(Default)]
struct Seen {
    started: RefCell<Vec<(u16, u64)>>,
    at_once: Cell<usize>,
    most_at_once: Cell<usize>,
}

struct Under<'s>(&'s Seen);

impl Drop for Under<'_> {
    fn drop(&mut self) {
        self.0.at_once.set(self.0.at_once.get() - 1);
    }
}

fn address(number: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], u16::try_from(number).unwrap()))
}

/// Who won and after how many milliseconds, who failed, and when each attempt began.
async fn run(courses: &[Course]) -> (Option<(u16, u64)>, Vec<u16>, Vec<(u16, u64)>) {
    let addresses: Vec<_> = (0..courses.len()).map(address).collect();
    let (seen, began) = (Seen::default(), Instant::now());
    let elapsed = || u64::try_from(began.elapsed().as_millis()).unwrap();
    let attempt = |address: SocketAddr| {
        seen.started.borrow_mut().push((address.port(), elapsed()));
        seen.at_once.set(seen.at_once.get() + 1);
        seen.most_at_once
            .set(seen.most_at_once.get().max(seen.at_once.get()));
        let under = Under(&seen);
        let (millis, succeeds) = courses[usize::from(address.port())];
        async move {
            let _under = under;
            tokio::time::sleep(Duration::from_millis(millis)).await;
            if succeeds { Ok(()) } else { Err(()) }
        }
    };
    let ended = race(&addresses, attempt, |_| (), LIMIT).await;
    assert!(
        seen.most_at_once.get() <= AT_ONCE,
        "more than two at a time"
    );
    assert_eq!(seen.at_once.get(), 0, "an attempt outlived its race");
    let (won, failures) = match ended {
        Ok(Won {
            address,
            won: (),
            failures,
        }) => (Some((address.port(), elapsed())), failures),
        Err(failures) => (None, failures),
    };
    let failed = failures
        .iter()
        .map(|(address, ())| address.port())
        .collect();
    (won, failed, seen.started.take())
}

#[tokio::test(start_paused = true)]
async fn the_first_address_has_the_field_to_itself_for_250_ms() {
    let (won, failed, started) = run(&[(249, true), (0, true)]).await;
    assert_eq!((won, failed.len()), (Some((0, 249)), 0));
    assert_eq!(started, [(0, 0)]);
    let (won, _, started) = run(&[(300, true), (200, true)]).await;
    assert_eq!(
        won,
        Some((0, 300)),
        "the first is not given up for the second"
    );
    assert_eq!(started, [(0, 0), (1, 250)]);
}

#[tokio::test(start_paused = true)]
async fn an_address_that_fails_is_followed_by_the_next_at_once() {
    let (won, failed, started) = run(&[(5, false), (5, false), (5, true), (0, true)]).await;
    assert_eq!(won, Some((2, 15)));
    assert_eq!(failed, [0, 1]);
    assert_eq!(started, [(0, 0), (1, 5), (2, 10)]);
}

#[tokio::test(start_paused = true)]
async fn a_dead_address_costs_a_quarter_of_a_second() {
    let (won, failed, started) = run(&[HANGS, (10, true)]).await;
    assert_eq!(won, Some((1, 260)));
    assert_eq!(failed, [0], "and is tried last the next time");
    assert_eq!(started.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn two_dead_addresses_do_not_keep_the_third_from_its_turn() {
    let (won, failed, started) = run(&[HANGS, HANGS, (10, true)]).await;
    assert_eq!(won, Some((2, 1_260)));
    assert_eq!(failed, [0, 1], "the first given up, the second outrun");
    assert_eq!(started, [(0, 0), (1, 250), (2, 1_250)]);
}

#[tokio::test(start_paused = true)]
async fn when_all_fail_each_of_them_is_told() {
    let (won, failed, _) = run(&[(5, false), (400, false), (1, false)]).await;
    assert_eq!((won, failed), (None, vec![0, 2, 1]));
    assert_eq!(run(&[]).await.0, None);
}

#[tokio::test(start_paused = true)]
async fn at_the_limit_those_that_have_not_been_heard_of_are_told_as_well() {
    assert_eq!(run(&[HANGS]).await, (None, vec![0], vec![(0, 0)]));
    assert_eq!(run(&[(20, false), HANGS]).await.1, [0, 1]);
    assert_eq!(
        run(&[(2_999, true)]).await.0,
        Some((0, 2_999)),
        "a lone address has all the time there is"
    );
}

#[test]
fn families_take_turns_and_what_failed_lately_comes_last() {
    let at = |text: &str| -> SocketAddr { text.parse().unwrap() };
    let names: Vec<_> = ["[::1]:1", "[::2]:1", "1.1.1.1:1", "[::3]:1", "2.2.2.2:1"]
        .map(at)
        .to_vec();
    let turns = in_turn(&names, |_| false);
    assert_eq!(
        turns,
        ["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"].map(at)
    );
    let turns = in_turn(&names, |address| *address == at("[::1]:1"));
    assert_eq!(
        turns,
        ["[::2]:1", "1.1.1.1:1", "[::3]:1", "2.2.2.2:1", "[::1]:1"].map(at)
    );
    assert_eq!(in_turn(&[], |_| false), []);
}
