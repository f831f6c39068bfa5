//! Requests that differ in what they ask for: none, one or several replies, a connection of their
//! own, or nothing at all, since they are refused. Each in both modes.

use std::{
    future::{Future, poll_fn},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use millpond::{
    client::{Client, DemandError, Execution, Pipelining, RequestError, RequestErrorKind},
    framing::{Frame, Framing},
    pool::Eviction,
};
use tokio::time::Instant;

use crate::store::{Peer, Store};

type StoreClient = Client<Arc<dyn Framing>>;

/// One after the other, and many in flight.
fn clients(peer: &Peer) -> [StoreClient; 2] {
    // A trait object will do.
    let framing: Arc<dyn Framing> = Arc::new(Store);
    let builder = || {
        let builder = Client::to(&peer.endpoint).expect("an endpoint");
        builder
            .framing(Arc::clone(&framing))
            .deadline(Duration::from_secs(30))
            .pool(|pool| pool.max_size(2))
    };
    let exclusive = builder().build().expect("a client");
    let pipelined = builder().pipelined(Pipelining::default());
    [exclusive, pipelined.build().expect("a client")]
}

fn bodies(frames: &[Frame]) -> Vec<&str> {
    let bodies = frames.iter().map(Frame::body);
    bodies
        .map(|body| std::str::from_utf8(body).expect("text"))
        .collect()
}

#[tokio::test]
async fn a_replys_end_depends_on_its_request() {
    let peer = Peer::start().await;
    for client in clients(&peer) {
        assert_eq!(client.exchange(b"set a 1").await.unwrap(), "STORED");
        assert_eq!(client.exchange(b"set b 2").await.unwrap(), "STORED");
        assert_eq!(client.exchange(b"get a b c").await.unwrap(), "1\n2\nEND");
        assert_eq!(client.exchange(b"get c").await.unwrap(), "END");
        // The same word, where a line is the whole reply.
        assert_eq!(client.exchange(b"END").await.unwrap(), "END");
        let many = (0..50).map(|number| {
            let client = client.clone();
            tokio::spawn(async move {
                let (request, expected) = match number % 3 {
                    0 => ("get a b".to_owned(), "1\n2\nEND".to_owned()),
                    1 => (format!("get x{number}"), "END".to_owned()),
                    _ => (format!("echo {number}"), format!("echo {number}")),
                };
                assert_eq!(client.exchange(request.as_bytes()).await.unwrap(), expected);
            })
        });
        for one in many.collect::<Vec<_>>() {
            one.await.expect("its own reply");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_without_a_reply_ends_when_it_is_written_and_shifts_nobodys() {
    let peer = Peer::start().await;
    for client in clients(&peer) {
        let began = Instant::now();
        for round in 0..100 {
            let set = format!("set key {round} noreply");
            let (frames, echo) = tokio::join!(
                client.exchange_all(set.as_bytes()),
                client.exchange(b"echo other"),
            );
            assert_eq!(frames.unwrap(), []);
            assert_eq!(echo.unwrap(), "echo other");
        }
        assert!(
            began.elapsed() < Duration::from_millis(100),
            "nobody waits for a tick"
        );
        // Behind a reply, and between two.
        for round in 0..100 {
            let set = format!("set key {round} noreply");
            let (first, frames, last) = tokio::join!(
                client.exchange(b"echo first"),
                client.exchange_all(set.as_bytes()),
                client.exchange(b"echo last"),
            );
            assert_eq!(frames.unwrap(), []);
            assert_eq!(
                (&first.unwrap()[..], &last.unwrap()[..]),
                (&b"echo first"[..], &b"echo last"[..])
            );
            let (first, frames) = tokio::join!(
                client.exchange(b"echo first"),
                client.exchange_all(set.as_bytes()),
            );
            assert_eq!(frames.unwrap(), []);
            assert_eq!(first.unwrap(), "echo first");
        }
        assert!(
            began.elapsed() < Duration::from_millis(100),
            "nobody waits for a tick"
        );
        // It is on its way or there, on one of two connections.
        let last = "99\nEND";
        while client.exchange(b"get key").await.unwrap() != last {
            tokio::task::yield_now().await;
        }
        let evicted = client.snapshot().pool.totals;
        assert_eq!(evicted.evicted(Eviction::UnfinishedExchange), 0);
        assert_eq!(evicted.evicted(Eviction::UnsolicitedBytes), 0);
    }
}

#[tokio::test]
async fn what_a_caller_cannot_take_is_not_sent() {
    let peer = Peer::start().await;
    for client in clients(&peer) {
        let demand = async |request: &str| match client.exchange(request.as_bytes()).await {
            Err(error @ RequestError::Demand(_)) => {
                assert_eq!(error.kind(), RequestErrorKind::InvalidRequest);
                assert_eq!(error.execution(), Execution::Impossible);
                let RequestError::Demand(demand) = error else {
                    unreachable!()
                };
                demand
            }
            other => panic!("{request}: {other:?}"),
        };
        assert_eq!(demand("set a 1 noreply").await, DemandError::NoReply);
        assert_eq!(demand("unsubscribe").await, DemandError::Pins);
        assert_eq!(demand("multi").await, DemandError::Pins);
        let refused = demand("crash").await;
        assert_eq!(
            refused.to_string(),
            "the protocol refuses this request: crash is not for clients"
        );
        let all = client.exchange_all(b"multi").await;
        assert!(matches!(all, Err(RequestError::Demand(DemandError::Pins))));
        assert_eq!(client.exchange(b"echo 1").await.unwrap(), "echo 1");
    }
}

#[tokio::test]
async fn a_transaction_has_a_connection_of_its_own_until_it_ends() {
    let peer = Peer::start().await;
    for client in clients(&peer) {
        let mut pinned = client.pin().await.expect("a connection");
        assert_eq!(pinned.exchange(b"multi").await.unwrap(), "OK");
        assert!(!pinned.is_at_rest());
        assert_eq!(pinned.exchange(b"set a 5").await.unwrap(), "QUEUED");
        // Others meanwhile have another connection.
        assert_eq!(client.exchange(b"echo 1").await.unwrap(), "echo 1");
        assert_eq!(pinned.exchange(b"exec").await.unwrap(), r#"["set a 5"]"#);
        assert!(pinned.is_at_rest());
        drop(pinned);
        let evicted = client.snapshot().pool.totals;
        assert_eq!(evicted.evicted(Eviction::UnfinishedExchange), 0);

        let mut pinned = client.pin().await.expect("a connection");
        assert_eq!(pinned.exchange(b"multi").await.unwrap(), "OK");
        drop(pinned);
        let evicted = client.snapshot().pool.totals;
        assert_eq!(evicted.evicted(Eviction::UnfinishedExchange), 1);
        for _ in 0..4 {
            assert_eq!(client.exchange(b"echo 2").await.unwrap(), "echo 2");
        }
    }
}

#[tokio::test]
async fn several_replies_are_all_the_requests_and_news_between_them_is_kept() {
    let peer = Peer::start().await;
    for client in clients(&peer) {
        let mut pinned = client.pin().await.expect("a connection");
        let frames = pinned.exchange_all(b"subscribe x y z").await.unwrap();
        assert_eq!(
            bodies(&frames),
            ["subscribed x 1", "subscribed y 2", "subscribed z 3"]
        );
        assert_eq!(pinned.state().as_word(), 3);
        let news = std::iter::from_fn(|| pinned.take_push()).collect::<Vec<_>>();
        assert_eq!(bodies(&news), ["push x news", "push y news", "push z news"]);
        assert_eq!(
            pinned.exchange(b"unsubscribe").await.unwrap(),
            "unsubscribed x 0"
        );
        assert_eq!(
            pinned.exchange(b"unsubscribe").await.unwrap(),
            "unsubscribed - 0"
        );
        assert!(pinned.is_at_rest());
        let connections = peer.connections();
        drop(pinned);
        assert_eq!(client.exchange(b"echo 3").await.unwrap(), "echo 3");
        assert_eq!(peer.connections(), connections, "it went back");
    }
}

#[tokio::test]
async fn news_that_nobody_took_ends_a_connection_that_is_given_back() {
    let peer = Peer::start().await;
    let [client, _] = clients(&peer);
    let mut pinned = client.pin().await.expect("a connection");
    pinned.exchange_all(b"subscribe x").await.unwrap();
    pinned.exchange_all(b"unsubscribe").await.unwrap();
    assert!(!pinned.is_at_rest(), "it is nobody else's");
    drop(pinned);
    let evicted = client.snapshot().pool.totals;
    assert_eq!(evicted.evicted(Eviction::UnfinishedExchange), 1);
}

#[tokio::test]
async fn a_pinned_connection_that_is_left_in_an_exchange_is_of_no_more_use() {
    let peer = Peer::start().await;
    let [client, _] = clients(&peer);
    let mut pinned = client.pin().await.expect("a connection");
    {
        let mut exchange = std::pin::pin!(pinned.exchange(b"echo lost"));
        let polled = poll_fn(|cx| Poll::Ready(exchange.as_mut().poll(cx))).await;
        assert!(polled.is_pending());
    }
    let error = pinned.exchange(b"echo next").await.unwrap_err();
    assert_eq!(error.kind(), RequestErrorKind::Lost);
    assert_eq!(error.execution(), Execution::Impossible);
    drop(pinned);
    assert_eq!(client.exchange(b"echo 1").await.unwrap(), "echo 1");
}

#[tokio::test]
async fn whole_frames_are_sent_and_returned_as_they_are() {
    let peer = Peer::start().await;
    for client in clients(&peer) {
        client.forward(b"set a 1\n").await.unwrap();
        let frames = client.forward(b"get a\n").await.unwrap();
        assert_eq!(frames[0].as_bytes(), b"1\nEND\n");
        assert_eq!(client.forward(b"set a 2 noreply\n").await.unwrap(), []);
        for not_one in [&b""[..], b"get a", b"get a\nget b\n", b"get a\n "] {
            let error = client.forward(not_one).await.unwrap_err();
            assert_eq!(
                error.kind(),
                RequestErrorKind::InvalidRequest,
                "{not_one:?}"
            );
            assert!(matches!(error, RequestError::Unframeable(_)), "{error:?}");
        }
    }
}

#[tokio::test]
async fn a_body_that_would_be_two_requests_is_not_sent() {
    let peer = Peer::start().await;
    for client in clients(&peer) {
        let error = client.exchange(b"get a\nget b").await.unwrap_err();
        assert_eq!(error.kind(), RequestErrorKind::InvalidRequest);
        assert!(matches!(error, RequestError::Unframeable(_)), "{error:?}");
        assert_eq!(client.exchange(b"echo 1").await.unwrap(), "echo 1");
    }
}

#[tokio::test]
async fn news_is_waited_for_and_keeps_a_connection_of_ones_own() {
    let peer = Peer::start().await;
    let [client, _] = clients(&peer);
    let mut pinned = client.pin().await.expect("a connection");
    pinned.exchange_all(b"subscribe x").await.unwrap();
    assert_eq!(pinned.push().await.unwrap().body(), b"push x news");
    // While no request is under way, and together with a reply.
    assert_eq!(pinned.exchange(b"later push y more").await.unwrap(), "OK");
    assert_eq!(pinned.push().await.unwrap().body(), b"push y more");
    assert_eq!(
        pinned.exchange(b"unsubscribe").await.unwrap(),
        "unsubscribed x 0"
    );
    // What isn't news is nobody's.
    let error = pinned.exchange(b"later end").await.unwrap_err();
    assert_eq!(error.kind(), RequestErrorKind::Lost);
    let error = pinned.push().await.unwrap_err();
    assert_eq!(error.kind(), RequestErrorKind::Lost);
    assert_eq!(error.execution(), Execution::Impossible);
    drop(pinned);
    assert_eq!(client.exchange(b"echo 1").await.unwrap(), "echo 1");
}
