//! Dialling by name, with resolvers that answer as told and real sockets on loopback: names with
//! dead addresses, names that move, and name servers in trouble.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use crate::loopback::*;
use millpond_net::{ConnectError, ConnectFailure, DialPhase, Dialer, PhaseLimits, Stream};
use tokio::sync::Notify;

/// A dialler of a name that this book knows.
fn dialer(book: &Book) -> Dialer {
    let endpoint = "tcp://backend.test:4242".parse().expect("an endpoint");
    Dialer::new(endpoint).resolver(book.clone())
}

async fn dial(dialer: &Dialer) -> (Stream, u32) {
    let dialled = within(dialer.dial()).await.expect("it is reached");
    (dialled.stream, dialled.timings.sockets)
}

async fn refused_dial(dialer: &Dialer) -> ConnectError {
    within(dialer.dial())
        .await
        .expect_err("it can't be reached")
}

/// Dials, and drops the dial when it has begun to connect.
async fn cancelled_while_connecting(dialer: &Dialer) {
    let connecting = Notify::new();
    let dial = dialer.dial_reporting(|phase| {
        if phase == DialPhase::Connect {
            connecting.notify_one();
        }
    });
    let begun = async {
        connecting.notified().await;
        tokio::task::yield_now().await;
    };
    tokio::select! {
        biased;
        _ = dial => panic!("it can't have ended"),
        () = within(begun) => {}
    }
}

#[tokio::test]
async fn a_dead_address_does_not_keep_a_live_one_from_being_reached_and_is_tried_last_afterwards() {
    let (dead, live) = (Refusing::new(), Site::open(Over::Tcp).await);
    let dialer = dialer(&Book::lists(&[dead.address(), live.address()]));
    let (stream, sockets) = dial(&dialer).await;
    assert_eq!(stream.peer_addr(), Some(live.address()));
    assert_eq!(sockets, 2, "the dead one was tried first");
    let (_, sockets) = dial(&dialer).await;
    assert_eq!(sockets, 1, "the dead one is known to be dead");
    jump(31 * SECOND).await;
    let (_, sockets) = dial(&dialer).await;
    assert_eq!(sockets, 2, "it is given another chance");
}

#[tokio::test]
async fn an_address_that_swallows_connections_costs_its_head_start_once() {
    let (swallowing, live) = (Swallowing::new(), Site::open(Over::Tcp).await);
    let dialer = dialer(&Book::lists(&[swallowing.address(), live.address()]));
    let (stream, sockets) = dial(&dialer).await;
    assert_eq!(stream.peer_addr(), Some(live.address()));
    assert_eq!(sockets, 2);
    let (_, sockets) = dial(&dialer).await;
    assert_eq!(sockets, 1, "the slow one isn't the first any more");
}

#[tokio::test]
async fn addresses_that_all_refuse_are_all_named() {
    let dead = [Refusing::new(), Refusing::new()];
    let addresses = dead.each_ref().map(Refusing::address);
    let error = refused_dial(&dialer(&Book::lists(&addresses))).await;
    let ConnectFailure::Unreachable { attempts, stale } = &error.cause else {
        panic!("{error}");
    };
    assert_eq!(attempts.len(), 2);
    assert!(stale.is_none());
    for address in addresses {
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }
}

#[tokio::test]
async fn a_lookup_that_fails_at_first_is_the_error_and_the_next_dial_asks_again() {
    let live = Site::open(Over::Tcp).await;
    let book = Book::says(Answer::Fails);
    let dialer = dialer(&book);
    let error = refused_dial(&dialer).await;
    assert!(matches!(error.cause, ConnectFailure::Resolve(_)), "{error}");
    assert!(
        millpond_words::Chain(&error)
            .to_string()
            .contains("on fire"),
        "{error}"
    );
    let again = refused_dial(&dialer).await;
    assert!(
        matches!(again.cause, ConnectFailure::Resolve(_)),
        "the name server still fails, but the dial says: {again}"
    );
    book.now_lists(&[live.address()]);
    jump(2 * SECOND).await;
    dial(&dialer).await;
}

#[tokio::test]
async fn a_name_without_an_address_is_told_as_such_and_the_next_dial_asks_again() {
    let live = Site::open(Over::Tcp).await;
    let book = Book::lists(&[]);
    let dialer = dialer(&book);
    let error = refused_dial(&dialer).await;
    assert!(matches!(error.cause, ConnectFailure::NoAddress), "{error}");
    book.now_lists(&[live.address()]);
    jump(2 * SECOND).await;
    dial(&dialer).await;
}

#[tokio::test]
async fn a_lookup_that_hangs_ends_at_its_limit() {
    let book = Book::says(Answer::Hangs);
    let dialer = dialer(&book).limits(PhaseLimits {
        resolve: 50 * MS,
        ..PhaseLimits::default()
    });
    let resolving = |error: &ConnectError| {
        matches!(
            error.cause,
            ConnectFailure::TimedOut {
                phase: DialPhase::Resolve,
                ..
            }
        )
    };
    let error = refused_dial(&dialer).await;
    assert!(resolving(&error), "{error}");
    assert!(error.to_string().contains("resolving the name"), "{error}");
    let again = refused_dial(&dialer).await;
    assert!(resolving(&again), "{again}");
}

#[tokio::test]
async fn addresses_of_an_earlier_answer_serve_when_a_lookup_fails_and_the_error_tells() {
    let live = Site::open(Over::Tcp).await;
    let address = live.address();
    let book = Book::lists(&[address]);
    let dialer = dialer(&book).limits(PhaseLimits {
        resolve: 50 * MS,
        ..PhaseLimits::default()
    });
    dial(&dialer).await;
    for trouble in [Answer::Fails, Answer::Hangs, Answer::Addresses(Vec::new())] {
        book.now_says(trouble.clone());
        jump(31 * SECOND).await;
        let before = book.lookups();
        let (stream, _) = dial(&dialer).await;
        assert_eq!(stream.peer_addr(), Some(address), "{trouble:?}");
        assert_eq!(book.lookups(), before + 1, "{trouble:?}");
        assert!(dialer.is_current(&address), "{trouble:?}");
    }
    drop(live);
    book.now_says(Answer::Fails);
    jump(31 * SECOND).await;
    let error = refused_dial(&dialer).await;
    let explains = error.to_string().contains("nothing listens there");
    assert_eq!(explains, cfg!(feature = "kernel"), "{error}");
    assert!(
        error
            .to_string()
            .contains("looking its name up again failed"),
        "{error}"
    );
    assert!(error.to_string().contains("on fire"), "{error}");
}

#[tokio::test]
async fn a_name_that_has_moved_is_found_by_the_second_dial_after_a_failure() {
    let (old, new) = (Refusing::new(), Site::open(Over::Tcp).await);
    let book = Book::lists(&[old.address()]);
    let dialer = dialer(&book);
    refused_dial(&dialer).await;
    book.now_lists(&[new.address()]);
    refused_dial(&dialer).await;
    assert_eq!(
        book.lookups(),
        1,
        "an answer is good for a second whatever happens"
    );
    jump(SECOND).await;
    let (stream, sockets) = dial(&dialer).await;
    assert_eq!(stream.peer_addr(), Some(new.address()));
    assert_eq!((book.lookups(), sockets), (2, 1));
}

#[tokio::test]
async fn an_answer_that_is_in_no_doubt_is_asked_for_again_when_it_is_old() {
    let live = Site::open(Over::Tcp).await;
    let book = Book::lists(&[live.address()]);
    let dialer = dialer(&book).refresh(10 * SECOND);
    for _ in 0..3 {
        dial(&dialer).await;
    }
    assert_eq!(book.lookups(), 1);
    jump(11 * SECOND).await;
    dial(&dialer).await;
    assert_eq!(book.lookups(), 2);
}

/// What many dials that begin together come to, when the lookup goes like this.
async fn dial_together(dialer: Dialer, book: &Book, dials: usize) -> Vec<Result<(), ConnectError>> {
    let dialer = Arc::new(dialer);
    let resolving = Arc::new(Mutex::new(0));
    let mut together = tokio::task::JoinSet::new();
    for _ in 0..dials {
        let (dialer, resolving) = (Arc::clone(&dialer), Arc::clone(&resolving));
        together.spawn(async move {
            let tell = |phase| {
                if phase == DialPhase::Resolve {
                    *resolving.lock().unwrap() += 1;
                }
            };
            dialer.dial_reporting(tell).await.map(drop)
        });
    }
    eventually("all wait for the lookup", || {
        *resolving.lock().unwrap() == dials
    })
    .await;
    reactor_has_seen().await;
    book.open_gate();
    within(together.join_all()).await
}

#[tokio::test]
async fn many_dials_at_once_make_one_lookup() {
    let live = Site::open(Over::Tcp).await;
    let book = Book::says(Answer::AtTheGate(vec![live.address()]));
    let outcomes = dial_together(dialer(&book), &book, 20).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(book.lookups(), 1);
}

#[tokio::test]
async fn many_dials_at_once_that_share_a_failed_lookup_are_all_told_of_it() {
    let book = Book::says(Answer::Hangs);
    let dialer = dialer(&book).limits(PhaseLimits {
        resolve: 100 * MS,
        ..PhaseLimits::default()
    });
    let outcomes = dial_together(dialer, &book, 5).await;
    for outcome in outcomes {
        let error = outcome.expect_err("nobody knows the name");
        let resolving = matches!(
            error.cause,
            ConnectFailure::TimedOut {
                phase: DialPhase::Resolve,
                ..
            }
        );
        assert!(resolving, "{error}");
    }
    assert_eq!(book.lookups(), 1);
}

#[tokio::test]
async fn a_lookup_whose_dial_is_cancelled_is_made_by_the_next_in_line() {
    let live = Site::open(Over::Tcp).await;
    let book = Book::says(Answer::Hangs);
    let dialer = Arc::new(dialer(&book));
    let first = tokio::spawn({
        let dialer = Arc::clone(&dialer);
        async move { dialer.dial().await.map(drop) }
    });
    eventually("a lookup", || book.lookups() == 1).await;
    book.now_lists(&[live.address()]);
    let second = tokio::spawn({
        let dialer = Arc::clone(&dialer);
        async move { dialer.dial().await.map(drop) }
    });
    reactor_has_seen().await;
    first.abort();
    within(second)
        .await
        .expect("no panic")
        .expect("it is reached");
    assert_eq!(book.lookups(), 2);
}

#[tokio::test]
async fn a_cancelled_dial_puts_its_address_in_doubt_and_closes_its_socket() {
    let (mut swallowing, live) = (Swallowing::new(), Site::open(Over::Tcp).await);
    let book = Book::lists(&[swallowing.address(), live.address()]);
    let dialer = dialer(&book);
    cancelled_while_connecting(&dialer).await;
    let (stream, sockets) = dial(&dialer).await;
    assert_eq!(
        stream.peer_addr(),
        Some(live.address()),
        "the other one first"
    );
    assert_eq!(sockets, 1);
    jump(2 * SECOND).await;
    dial(&dialer).await;
    assert_eq!(book.lookups(), 2, "the answer was in doubt as well");
    swallowing.relent();
}

#[tokio::test]
async fn an_address_that_is_reached_again_is_in_doubt_no_more() {
    let (dead, mut revived) = (Refusing::new(), Swallowing::new());
    let addresses = [dead.address(), revived.address()];
    let dialer = dialer(&Book::lists(&addresses)).limits(PhaseLimits {
        connect: 50 * MS,
        ..PhaseLimits::default()
    });
    refused_dial(&dialer).await;
    revived.relent();
    // Both are in doubt, so the answer's order holds.
    let (_, sockets) = dial(&dialer).await;
    assert_eq!(sockets, 2);
    revived.listener.accept().expect("a client");
    let (_, sockets) = dial(&dialer).await;
    assert_eq!(sockets, 1, "its success is remembered");
}

#[tokio::test]
async fn a_move_is_noticed_without_dials_when_two_answers_lack_an_address() {
    let (old, new) = (Site::open(Over::Tcp).await, Site::open(Over::Tcp).await);
    let book = Book::lists(&[old.address()]);
    let dialer = dialer(&book).refresh(20 * MS);
    dial(&dialer).await;
    book.now_lists(&[new.address()]);
    within(dialer.moved()).await;
    assert!(!dialer.is_current(&old.address()));
    assert!(dialer.is_current(&new.address()));
    assert!(book.lookups() >= 3, "{}", book.lookups());
}

#[tokio::test]
async fn answers_that_take_turns_with_the_addresses_are_no_move() {
    let sites = [
        Site::open(Over::Tcp).await,
        Site::open(Over::Tcp).await,
        Site::open(Over::Tcp).await,
    ];
    let [a, b, c] = sites.each_ref().map(Site::address);
    let book = Book::lists(&[]);
    book.takes_turns(&[vec![a, b], vec![b, c], vec![c, a]]);
    let dialer = dialer(&book).refresh(MS);
    dial(&dialer).await;
    let all_current = async {
        while book.lookups() < 100 {
            tokio::time::sleep(MS).await;
            let current = |address: &SocketAddr| dialer.is_current(address);
            assert!(
                [a, b].iter().all(current),
                "{a} and {b} are in two answers of three"
            );
        }
    };
    tokio::select! {
        () = dialer.moved() => panic!("nothing has moved"),
        () = within(all_current) => {}
    }
}

#[tokio::test]
async fn a_refresh_of_0_does_not_keep_the_runtime_from_running() {
    let live = Site::open(Over::Tcp).await;
    let book = Book::lists(&[live.address()]);
    let dialer = dialer(&book).refresh(std::time::Duration::ZERO);
    dial(&dialer).await;
    tokio::select! {
        biased;
        () = dialer.moved() => panic!("nothing has moved"),
        () = tokio::time::sleep(10 * MS) => {}
    }
}

#[tokio::test]
async fn a_dial_that_times_out_names_the_address_that_did_not_answer() {
    let swallowing = Swallowing::new();
    let dialer = dialer(&Book::lists(&[swallowing.address()])).limits(PhaseLimits {
        connect: 50 * MS,
        ..PhaseLimits::default()
    });
    let error = refused_dial(&dialer).await;
    let silent = match cfg!(feature = "kernel") {
        true => format!("{} (no answer: ", swallowing.address()),
        false => format!("{}: no answer within ", swallowing.address()),
    };
    assert!(
        millpond_words::Chain(&error).to_string().contains(&silent),
        "{error}"
    );
}

#[tokio::test]
async fn a_dial_that_times_out_tells_that_its_addresses_are_of_an_earlier_answer() {
    let swallowing = Swallowing::new();
    let book = Book::lists(&[swallowing.address()]);
    let dialer = dialer(&book).limits(PhaseLimits {
        connect: 50 * MS,
        ..PhaseLimits::default()
    });
    refused_dial(&dialer).await;
    book.now_says(Answer::Fails);
    jump(2 * SECOND).await;
    let error = refused_dial(&dialer).await;
    assert!(
        millpond_words::Chain(&error)
            .to_string()
            .contains("on fire"),
        "{error}"
    );
}
