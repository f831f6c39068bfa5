//! Exchanges alone and in groups, without a connection.

use std::{
    cell::Cell,
    future::{pending, ready},
    sync::Arc,
    task::Waker,
};

use parking_lot::Mutex;

use super::*;
use crate::{
    framing::FailureKind,
    net::Endpoint,
    server::{group::Answers, ledger::Ledger, settings::ServerSettings},
};

type Answer = Pin<Box<dyn Future<Output = Result<Reply, Failure>>>>;

const LIMIT: Duration = Duration::from_secs(30);

fn running(
    answer: impl Future<Output = Result<Reply, Failure>> + 'static,
    now: Instant,
) -> Exchange<Answer> {
    Exchange {
        request: None,
        asked: None,
        state: ExchangeState::Running {
            answer: Box::pin(Box::pin(answer)),
            held: 0,
            deadline: Some(now + LIMIT),
        },
    }
}

fn take(exchanges: &mut Exchanges<Answer>) -> Vec<Result<Reply, FailureKind>> {
    std::iter::from_fn(|| exchanges.take_answer())
        .map(|answered| answered.answer.map_err(|failure| failure.kind()))
        .collect()
}

#[test]
fn answers_come_in_the_order_of_the_requests() {
    let now = Instant::now();
    let cx = &mut Context::from_waker(Waker::noop());
    let open = std::rc::Rc::new(Cell::new(false));
    let gate = open.clone();
    let mut exchanges = Exchanges::<Answer>::new();
    exchanges.push(running(
        std::future::poll_fn(move |_| match gate.get() {
            true => Poll::Ready(Ok(Reply::from("first"))),
            false => Poll::Pending,
        }),
        now,
    ));
    exchanges.push(running(ready(Ok(Reply::from("second"))), now));
    exchanges.poll(cx, now, LIMIT);
    assert_eq!(take(&mut exchanges), [], "the second waits for the first");
    open.set(true);
    exchanges.poll(cx, now, LIMIT);
    assert_eq!(
        take(&mut exchanges),
        [Ok("first".into()), Ok("second".into())]
    );
}

#[test]
fn a_panic_and_a_deadline_cost_one_exchange_each() {
    let now = Instant::now();
    let cx = &mut Context::from_waker(Waker::noop());
    let mut exchanges = Exchanges::<Answer>::new();
    exchanges.push(running(async { panic!("secret") }, now));
    exchanges.push(running(pending(), now));
    exchanges.push(running(ready(Ok(Reply::from(""))), now));
    assert_eq!(exchanges.next_deadline(), Some(now + LIMIT));
    exchanges.poll(cx, now + LIMIT - Duration::from_nanos(1), LIMIT);
    let told = exchanges
        .take_answer()
        .expect("it panicked")
        .answer
        .unwrap_err();
    assert_eq!(told.message(), "the handler panicked", "and not with what");
    assert!(exchanges.take_answer().is_none());
    exchanges.poll(cx, now + LIMIT, LIMIT);
    assert_eq!(
        take(&mut exchanges),
        [Err(FailureKind::TimedOut), Ok(Reply::from(""))]
    );
    assert_eq!((exchanges.next_deadline(), exchanges.len()), (None, 0));
    assert!(exchanges.keeps_room());
    exchanges.clear();
    assert!(!exchanges.keeps_room());
}

/// A group whose answers a test gives.
#[derive(Clone, Default)]
struct Scripted(Arc<Mutex<Script>>);

#[derive(Default)]
struct Script {
    /// What the next poll tells.
    tells: Vec<(usize, &'static str)>,
    is_over: bool,
    panics: bool,
    is_dropped: bool,
    /// Its name, and where it notes that it was polled.
    notes: Option<(&'static str, Order)>,
}

/// Who was polled.
type Order = Arc<Mutex<Vec<&'static str>>>;

impl Answers for Scripted {
    fn poll(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        tell: &mut dyn FnMut(usize, Result<Reply, Failure>),
    ) -> Poll<()> {
        let mut script = self.0.lock();
        if let Some((name, order)) = &script.notes {
            order.lock().push(*name);
        }
        for (index, answer) in script.tells.drain(..) {
            tell(index, Ok(answer.into()));
        }
        assert!(!script.panics, "secret");
        match script.is_over {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

struct Told(Scripted);

impl Answers for Told {
    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        tell: &mut dyn FnMut(usize, Result<Reply, Failure>),
    ) -> Poll<()> {
        Pin::new(&mut self.0).poll(cx, tell)
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.0.0.lock().is_dropped = true;
    }
}

fn ledger(max_handled: usize) -> Arc<Ledger> {
    let settings = ServerSettings {
        max_handled,
        ..ServerSettings::default()
    };
    let endpoint: Endpoint = "tcp://127.0.0.1:1".parse().expect("an endpoint");
    Arc::new(Ledger::new(settings, endpoint, 1))
}

/// So many requests of ten bytes each that came together.
fn grouped(
    exchanges: &mut Exchanges<Answer>,
    ledger: &Arc<Ledger>,
    count: usize,
    deadline: Instant,
) -> Scripted {
    for _ in 0..count {
        exchanges.push(Exchange {
            request: None,
            asked: None,
            state: ExchangeState::Grouped { held: 10 },
        });
    }
    let script = Scripted::default();
    let handled = Handled::up_to(ledger, count);
    let answers = Box::pin(Told(script.clone()));
    let others = Failure::overloaded("too many");
    exchanges.group(count, handled, Some(deadline), answers, Some(&others));
    script
}

#[test]
fn what_has_come_for_the_first_of_a_group_waits_for_no_other() {
    let now = Instant::now();
    let cx = &mut Context::from_waker(Waker::noop());
    let (mut exchanges, ledger) = (Exchanges::new(), ledger(100));
    let script = grouped(&mut exchanges, &ledger, 3, now + LIMIT);
    assert_eq!((exchanges.bytes(), ledger.snapshot().handled), (30, 3));
    script.0.lock().tells = vec![(0, "a"), (2, "ccc")];
    exchanges.poll(cx, now, LIMIT);
    assert_eq!((exchanges.bytes(), ledger.snapshot().handled), (14, 1));
    assert_eq!(
        take(&mut exchanges),
        [Ok("a".into())],
        "the second is missing"
    );
    assert_eq!((exchanges.bytes(), exchanges.len()), (13, 2));
    assert!(!exchanges.are_answered() && !exchanges.has_answer());
    script.0.lock().tells = vec![(1, "b")];
    script.0.lock().is_over = true;
    exchanges.poll(cx, now, LIMIT);
    assert_eq!(take(&mut exchanges), [Ok("b".into()), Ok("ccc".into())]);
    assert!(script.0.lock().is_dropped, "its memory isn't kept");
    assert_eq!((exchanges.bytes(), ledger.snapshot().handled), (0, 0));
    assert!(exchanges.are_answered() && exchanges.next_deadline().is_none());
}

#[test]
fn handlers_are_polled_in_the_order_of_their_requests() {
    let now = Instant::now();
    let cx = &mut Context::from_waker(Waker::noop());
    let (mut exchanges, ledger) = (Exchanges::new(), ledger(100));
    let order = Order::default();
    let alone = |name: &'static str| {
        let order = Arc::clone(&order);
        let polled = std::future::poll_fn(move |_| {
            order.lock().push(name);
            Poll::Pending
        });
        running(polled, now)
    };
    let together = |exchanges: &mut Exchanges<Answer>, name, count| {
        let script = grouped(exchanges, &ledger, count, now + LIMIT);
        script.0.lock().notes = Some((name, Arc::clone(&order)));
        script
    };
    let before = together(&mut exchanges, "before", 2);
    exchanges.push(alone("first"));
    let between = together(&mut exchanges, "between", 2);
    exchanges.push(alone("second"));
    let behind = together(&mut exchanges, "behind", 1);
    before.0.lock().tells = vec![(0, "a"), (1, "b")];
    exchanges.poll(cx, now, LIMIT);
    let all = ["before", "first", "between", "second", "behind"];
    assert_eq!(*order.lock(), all);
    assert_eq!(take(&mut exchanges).len(), 2, "the first group has answers");
    // The places in the queue have moved.
    // The last of these isn't the group's.
    between.0.lock().tells = vec![(1, "d"), (0, "c"), (2, "x")];
    behind.0.lock().tells = vec![(0, "e")];
    order.lock().clear();
    exchanges.poll(cx, now, LIMIT);
    assert_eq!(*order.lock(), all[1..]);
    assert_eq!(exchanges.len(), 5);
    let answered = |at: usize| match &exchanges.queue[at].state {
        ExchangeState::Answered(Ok(reply)) => Some(reply.clone()),
        _ => None,
    };
    let answers = [None, Some("c"), Some("d"), None, Some("e")];
    assert_eq!(
        [0, 1, 2, 3, 4].map(answered),
        answers.map(|it| it.map(Reply::from))
    );
}

#[test]
fn a_groups_deadline_and_its_panic_are_those_of_its_unanswered_requests() {
    let now = Instant::now();
    let cx = &mut Context::from_waker(Waker::noop());
    let (mut exchanges, ledger) = (Exchanges::new(), ledger(100));
    let late = grouped(&mut exchanges, &ledger, 3, now + LIMIT);
    let panics = grouped(&mut exchanges, &ledger, 2, now + 2 * LIMIT);
    late.0.lock().tells = vec![(1, "b")];
    panics.0.lock().tells = vec![(0, "d")];
    panics.0.lock().panics = true;
    assert_eq!(exchanges.next_deadline(), Some(now + LIMIT));
    exchanges.poll(cx, now + LIMIT - Duration::from_nanos(1), LIMIT);
    assert!(!late.0.lock().is_dropped && panics.0.lock().is_dropped);
    assert_eq!(
        (exchanges.next_deadline(), exchanges.len()),
        (Some(now + LIMIT), 5)
    );
    exchanges.poll(cx, now + LIMIT, LIMIT);
    assert!(late.0.lock().is_dropped);
    let told = [
        Err(FailureKind::TimedOut),
        Ok("b".into()),
        Err(FailureKind::TimedOut),
        Ok("d".into()),
        Err(FailureKind::HandlerFailed),
    ];
    assert_eq!(take(&mut exchanges), told);
    assert_eq!((exchanges.bytes(), ledger.snapshot().handled), (0, 0));
}

#[test]
fn of_a_group_as_many_are_handled_as_may_be() {
    let now = Instant::now();
    let cx = &mut Context::from_waker(Waker::noop());
    let (mut exchanges, ledger) = (Exchanges::new(), ledger(3));
    let first = grouped(&mut exchanges, &ledger, 2, now + LIMIT);
    let second = grouped(&mut exchanges, &ledger, 2, now + LIMIT);
    let third = grouped(&mut exchanges, &ledger, 1, now + LIMIT);
    assert!(third.0.lock().is_dropped, "none of it is handled");
    assert_eq!(ledger.snapshot().handled, 3);
    first.0.lock().tells = vec![(0, "a"), (1, "b")];
    // Whom it answers that isn't of the group, or was told, isn't told by it.
    second.0.lock().tells = vec![(1, "x"), (0, "c"), (0, "x")];
    exchanges.poll(cx, now, LIMIT);
    let overloaded = || Err(FailureKind::Overloaded);
    let told = [
        Ok("a".into()),
        Ok("b".into()),
        Ok("c".into()),
        overloaded(),
        overloaded(),
    ];
    assert_eq!(take(&mut exchanges), told);
    assert_eq!(ledger.snapshot().handled, 0);
    // Dropped with their client, they aren't handled any more.
    let left = grouped(&mut exchanges, &ledger, 2, now + LIMIT);
    assert_eq!(ledger.snapshot().handled, 2);
    exchanges.clear();
    assert!(left.0.lock().is_dropped);
    assert_eq!(ledger.snapshot().handled, 0);
}
