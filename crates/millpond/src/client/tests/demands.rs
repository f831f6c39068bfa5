//! What requests ask of their connection, where that is a matter of moments: those that get no
//! reply beside heartbeats, and those that change a connection for good.

use super::{
    asking::{Asking, asking, bodies},
    *,
};
use crate::client::{DemandError, RequestError};

const MODES: [bool; 2] = [false, true];

/// A request that gets no reply, 20 times a second for a minute, as long as its connection lasts.
async fn silent_requests(mut send: impl AsyncFnMut() -> Result<(), RequestError>) {
    for _ in 0..1_200 {
        if send().await.is_err() {
            return;
        }
        tokio::time::sleep(50 * MS).await;
    }
}

/// Reads what comes, and beats so many times, every 10 s.
fn beats_and_reads(mut far: Far, beats: u32) {
    tokio::spawn(async move {
        let mut received = [0; 4 << 10];
        for _ in 0..beats {
            if far.0.write_all(HEARTBEAT).await.is_err() {
                return;
            }
            let until = tokio::time::Instant::now() + 10 * SECOND;
            let read = async { while let Ok(1..) = far.0.read(&mut received).await {} };
            let _ = tokio::time::timeout_at(until, read).await;
        }
        while let Ok(1..) = far.0.read(&mut received).await {}
    });
}

/// A peer that has beaten is dead after 2.5 intervals without a sign of life, whatever is sent to
/// it meanwhile.
#[tokio::test(start_paused = true)]
async fn a_dead_peer_is_found_out_by_who_sends_nothing_but_requests_without_replies() {
    for pipelined in MODES {
        for (beats, dies) in [(1, true), (7, false)] {
            let (builder, mut port) = asking(pipelined, Pace::AtOnce);
            let client = builder.heartbeat_interval(10 * SECOND).build().unwrap();
            client.exchange_all(b"s").await.unwrap();
            beats_and_reads(port.accept().await, beats);
            silent_requests(async || client.exchange_all(b"s").await.map(drop)).await;
            let missed = evicted(&client, Eviction::HeartbeatMissed);
            assert_eq!(missed, u64::from(dies), "pipelined: {pipelined}");
        }
    }
}

/// Nobody watches a connection of one's own between its requests.
#[tokio::test(start_paused = true)]
async fn a_dead_peer_is_found_out_on_a_connection_of_ones_own() {
    for (beats, dies) in [(1, true), (7, false)] {
        let (builder, mut port) = asking(false, Pace::AtOnce);
        let client = builder.heartbeat_interval(10 * SECOND).build().unwrap();
        let mut pinned = client.pin().await.unwrap();
        beats_and_reads(port.accept().await, beats);
        let began = tokio::time::Instant::now();
        silent_requests(async || pinned.exchange(b"s").await.map(drop)).await;
        match dies {
            true => {
                let took = began.elapsed();
                let patience = 22_500 * MS..28 * SECOND;
                assert!(patience.contains(&took), "{took:?}");
                assert!(pinned.exchange(b"s").await.is_err());
            }
            false => assert!(pinned.exchange(b"s").await.is_ok()),
        }
        drop(pinned);
        settle().await;
        assert_eq!(port.tally.open(), usize::from(!dies));
    }
}

/// After a pause of our own its heartbeats may be known only after a turn of the reactor. The
/// request ends as soon as they are.
#[tokio::test(start_paused = true)]
async fn a_peer_whose_heartbeats_were_not_read_yet_is_alive() {
    let (builder, mut port) = asking(false, Pace::AtOnce);
    let client = builder.heartbeat_interval(10 * SECOND).build().unwrap();
    let mut pinned = client.pin().await.unwrap();
    let mut far = port.accept().await;
    far.send(HEARTBEAT).await;
    pinned.exchange(b"s").await.unwrap();
    assert_eq!(far.request().await, b"s");
    tokio::time::sleep(100 * SECOND).await;
    far.send(HEARTBEAT).await;
    pinned.exchange(b"s").await.unwrap();
    // Its longest pause counts.
    tokio::time::sleep(1_000 * SECOND).await;
    let mut exchange = pin!(pinned.exchange(b"s"));
    assert!(cut(1, exchange.as_mut()).await.is_err(), "it looks again");
    far.send(HEARTBEAT).await;
    assert_eq!(cut(1, exchange).await.expect("its end").unwrap(), "");
}

/// What it has made of its connection nobody says: it is never another's.
#[tokio::test(start_paused = true)]
async fn a_connection_on_which_a_request_without_a_reply_pinned_is_never_lent_again() {
    for pipelined in MODES {
        let (builder, mut port) = asking(pipelined, Pace::AtOnce);
        let client = builder.build().unwrap();
        let mut pinned = client.pin().await.unwrap();
        let mut far = port.accept().await;
        assert_eq!(pinned.exchange_all(b"x").await.unwrap(), []);
        assert_eq!(far.request().await, b"x");
        assert!(!pinned.is_at_rest());
        // Its own caller goes on, and no reply says that it is as it was.
        let (reply, ()) = tokio::join!(pinned.exchange(b"p"), async {
            assert_eq!(far.request().await, b"p");
            far.reply(b"-").await;
        });
        assert_eq!(reply.unwrap(), "-");
        assert!(!pinned.is_at_rest());
        drop(pinned);
        assert!(far.ended().await);
        assert_eq!(evicted(&client, Eviction::UnfinishedExchange), 1);
        let (reply, _far) = tokio::join!(client.exchange(b"1"), async {
            let mut far = port.accept().await;
            assert_eq!(far.request().await, b"1");
            far.reply(b"2").await;
            far
        });
        assert_eq!(reply.unwrap(), "2");
    }
}

/// Where connections are shared it isn't sent, nor is any other that pins.
#[tokio::test(start_paused = true)]
async fn a_request_without_a_reply_that_pins_is_refused_where_connections_are_shared() {
    for pipelined in MODES {
        let (builder, mut port) = asking(pipelined, Pace::AtOnce);
        let client = builder.build().unwrap();
        let refused = |error: RequestError| {
            let RequestError::Demand(error) = error else {
                panic!("{error:?}");
            };
            assert_eq!(error, DemandError::Pins, "pipelined: {pipelined}");
        };
        refused(client.exchange(b"x").await.unwrap_err());
        refused(client.exchange_all(b"x").await.unwrap_err());
        refused(client.forward(&frame(b"x")).await.unwrap_err());
        refused(client.exchange_all(b"p").await.unwrap_err());
        // Nothing of them was sent: what comes first is another.
        let (reply, ()) = tokio::join!(client.exchange(b"1"), async {
            let mut far = port.accept().await;
            assert_eq!(far.request().await, b"1");
            far.reply(b"2").await;
            settle().await;
        });
        assert_eq!(reply.unwrap(), "2");
    }
}

/// All that a login does is done to every connection alike.
#[tokio::test(start_paused = true)]
async fn a_login_that_pins_without_a_reply_leaves_a_connection_that_is_lent_again() {
    for pipelined in MODES {
        let (builder, mut port) = asking(pipelined, Pace::AtOnce);
        let builder = builder.login(async |mut login: crate::client::Login<Asking>| {
            login.exchange(b"x").await?;
            Ok(login)
        });
        let client = builder.build().unwrap();
        let (mut far, both) = tokio::join!(
            async {
                let mut far = port.accept().await;
                assert_eq!(far.request().await, b"x");
                for _ in 0..2 {
                    assert_eq!(far.request().await, b"m");
                    far.send(&[frame(b"a"), frame(b"."), HEARTBEAT.into()].concat())
                        .await;
                }
                far
            },
            async {
                let mut both = Vec::new();
                for _ in 0..2 {
                    both.push(client.exchange_all(b"m").await.unwrap());
                    tokio::time::sleep(SECOND).await;
                }
                both
            }
        );
        for frames in &both {
            assert_eq!(bodies(frames), ["a", "."]);
        }
        assert_eq!(port.tally.opened(), 1);
        drop(client);
        assert!(far.ended().await);
    }
}
