//! Connections that a client has to itself: from the request that pins until its state is over.

use std::time::Duration;

use millpond::{
    client::{Client, Pipelining},
    pool::Eviction,
    proxy::{PinReason, Route, RouteBuilder},
};

use crate::{
    Plain, serve,
    store::{Peer, Store},
};

/// Routes in exchange and pipeline mode.
fn routes(peer: &Peer) -> [RouteBuilder<Store>; 2] {
    [false, true].map(|pipelined| {
        let builder = Client::to(&peer.endpoint)
            .expect("an endpoint")
            .framing(Store)
            .pool(|pool| pool.max_size(4).acquire_timeout(Duration::from_millis(500)));
        let client = match pipelined {
            true => builder.pipelined(Pipelining::default()),
            false => builder,
        };
        Route::builder(client.build().expect("a client"))
    })
}

/// Waits for what another task does.
async fn until(what: impl Fn() -> bool) {
    let waiting = async {
        while !what() {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(30), waiting).await;
    waited.expect("it comes to that");
}

#[tokio::test]
async fn a_transaction_is_its_clients_own() {
    let peer = Peer::start().await;
    for route in routes(&peer) {
        let route = route.build();
        let (path, _running) = serve(&route).await;
        let (mut one, mut other) = (Plain::connect(&path).await, Plain::connect(&path).await);
        for round in 0..3 {
            assert_eq!(one.ask("multi").await, "OK");
            assert_eq!(one.ask("set a 1").await, "QUEUED");
            let pins = route.snapshot().pins;
            assert_eq!(pins.len(), 1);
            assert_eq!(pins[0].reason, PinReason::Demand);
            // Others aren't in it.
            assert_eq!(other.ask("echo 1").await, "echo 1");
            assert_eq!(one.ask("set b 2").await, "QUEUED");
            assert_eq!(one.ask("exec").await, r#"["set a 1", "set b 2"]"#);
            assert_eq!(route.snapshot().pins, []);
            assert_eq!(one.ask("echo 2").await, "echo 2");
            assert_eq!(route.snapshot().totals.pinned, round + 1);
        }
        let evicted = route.snapshot().upstream.pool.totals;
        assert_eq!(evicted.evicted(Eviction::UnfinishedExchange), 0);
    }
}

/// The upstream holds back a reply: nothing of what is behind it has reached another connection.
#[tokio::test]
async fn it_waits_for_all_that_its_client_has_in_flight() {
    let path = crate::path();
    let listener = tokio::net::UnixListener::bind(&path).expect("a socket");
    let client = Client::builder(crate::endpoint(&path)).framing(Store);
    let client = client.pipelined(Pipelining::default());
    let route = Route::to(client.build().expect("a client"));
    let (path, _running) = serve(&route).await;
    let mut client = Plain::connect(&path).await;
    client.write(b"echo 1\nmulti\n").await;
    let (shared, _) = listener.accept().await.expect("a pipeline");
    let mut shared = Plain(tokio::io::BufReader::new(shared));
    assert_eq!(shared.line().await, "echo 1");
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
    let pool = route.client().snapshot().pool;
    assert_eq!((pool.active, pool.connecting), (1, 0));
    shared.write(b"echo 1\n").await;
    let (own, _) = listener.accept().await.expect("a pin");
    let mut own = Plain(tokio::io::BufReader::new(own));
    assert_eq!(own.line().await, "multi");
    own.write(b"OK\n").await;
    assert_eq!(client.line().await, "echo 1");
    assert_eq!(client.line().await, "OK");
}

#[tokio::test]
async fn it_begins_behind_the_replies_before_it() {
    let peer = Peer::start().await;
    for route in routes(&peer) {
        let route = route.build();
        let (path, _running) = serve(&route).await;
        let mut client = Plain::connect(&path).await;
        let lines = b"echo 1\necho 2\nmulti\nset a 1\nexec\necho 3\nset b 2 noreply\necho 4\n";
        client.write(lines).await;
        for expected in [
            "echo 1",
            "echo 2",
            "OK",
            "QUEUED",
            r#"["set a 1"]"#,
            "echo 3",
            "echo 4",
        ] {
            assert_eq!(client.line().await, expected);
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_in_a_transaction_leaves_it_to_nobody() {
    let peer = Peer::start().await;
    for route in routes(&peer) {
        let route = route.max_pins(1).build();
        let (path, _running) = serve(&route).await;
        for round in 1..=3 {
            let mut client = Plain::connect(&path).await;
            assert_eq!(client.ask("multi").await, "OK");
            drop(client);
            until(|| route.snapshot().pins.is_empty()).await;
            let totals = route.snapshot().upstream.pool.totals;
            assert_eq!(totals.evicted(Eviction::UnfinishedExchange), round);
            // Whichever connections there are, none is in it.
            let mut next = Plain::connect(&path).await;
            for _ in 0..8 {
                assert_eq!(next.ask("echo 1").await, "echo 1");
            }
        }
    }
}

#[tokio::test]
async fn who_finds_no_place_is_told_and_others_go_on() {
    let peer = Peer::start().await;
    for route in routes(&peer) {
        let route = route.build();
        let (path, _running) = serve(&route).await;
        let mut pinning = Vec::new();
        for _ in 0..2 {
            let mut client = Plain::connect(&path).await;
            assert_eq!(client.ask("multi").await, "OK");
            pinning.push(client);
        }
        // Half of four.
        let mut third = Plain::connect(&path).await;
        let told = third.ask("multi").await;
        assert!(told.starts_with("ERROR too many clients"), "{told}");
        assert!(told.ends_with("it was not executed"), "{told}");
        assert_eq!(third.ask("echo 1").await, "echo 1");
        assert_eq!(route.snapshot().totals.overloaded, 1);
        assert_eq!(pinning[0].ask("exec").await, "[]");
        assert_eq!(third.ask("multi").await, "OK", "there is a place again");
    }
}

#[tokio::test]
async fn a_pin_that_is_too_old_is_taken_away_and_its_client_is_told() {
    let peer = Peer::start().await;
    for route in routes(&peer) {
        let age = Some(Duration::from_millis(30));
        let route = route.max_pin_age(age).build();
        let (path, _running) = serve(&route).await;
        let mut client = Plain::connect(&path).await;
        assert_eq!(client.ask("multi").await, "OK");
        until(|| route.snapshot().totals.pins_expired == 1).await;
        assert_eq!(route.snapshot().pins, []);
        // It mustn't go on outside of its transaction.
        let told = client.ask("set a stray").await;
        assert!(told.contains("connect again"), "{told}");
        assert_eq!(client.line().await, "", "it is closed");
        let mut next = Plain::connect(&path).await;
        assert_eq!(next.ask("get stray").await, "END");
        // One that ends in time isn't.
        assert_eq!(next.ask("multi").await, "OK");
        assert_eq!(next.ask("exec").await, "[]");
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert_eq!(next.ask("echo 1").await, "echo 1");
        assert_eq!(route.snapshot().totals.pins_expired, 1);
    }
}

#[tokio::test]
async fn a_pin_that_is_lost_is_not_replaced() {
    let peer = Peer::start().await;
    for route in routes(&peer) {
        let route = route.build();
        let (path, _running) = serve(&route).await;
        let mut client = Plain::connect(&path).await;
        assert_eq!(client.ask("multi").await, "OK");
        client.write(b"close\nset a stray\n").await;
        let told = client.line().await;
        assert!(told.contains("it may have been executed"), "{told}");
        // On another connection its next request would be executed at once.
        assert_eq!(client.line().await, "", "it is closed");
        assert_eq!(route.snapshot().pins, []);
        let mut next = Plain::connect(&path).await;
        assert_eq!(next.ask("get stray").await, "END");
    }
}

#[tokio::test]
async fn a_session_has_one_connection_for_as_long_as_it_stays() {
    let peer = Peer::start().await;
    let [route, _] = routes(&peer);
    let route = route.session(true).build();
    let (path, _running) = serve(&route).await;
    let mut first = Plain::connect(&path).await;
    assert_eq!(route.snapshot().pins, [], "it has asked for nothing yet");
    assert_eq!(first.ask("echo 1").await, "echo 1");
    let pins = route.snapshot().pins;
    assert_eq!((pins.len(), pins[0].reason), (1, PinReason::Session));
    let mut second = Plain::connect(&path).await;
    assert_eq!(second.ask("multi").await, "OK");
    assert_eq!(first.ask("echo 2").await, "echo 2");
    assert_eq!(peer.connections(), 2);
    // At rest, the next client gets it; in a transaction, nobody.
    drop(first);
    until(|| route.snapshot().pins.len() == 1).await;
    let mut third = Plain::connect(&path).await;
    assert_eq!(third.ask("echo 3").await, "echo 3");
    assert_eq!(peer.connections(), 2);
    drop(second);
    until(|| route.snapshot().pins.len() == 1).await;
    let mut fourth = Plain::connect(&path).await;
    assert_eq!(fourth.ask("echo 4").await, "echo 4");
    assert_eq!(peer.connections(), 3);
}

#[tokio::test]
async fn what_the_framing_refuses_reaches_no_upstream() {
    let peer = Peer::start().await;
    for route in routes(&peer) {
        let route = route.build();
        let (path, _running) = serve(&route).await;
        let mut client = Plain::connect(&path).await;
        let told = client.ask("crash").await;
        assert_eq!(told, "ERROR crash is not for clients");
        assert_eq!(client.ask("echo 1").await, "echo 1");
        assert_eq!(route.snapshot().totals.answered, 1);
    }
}
