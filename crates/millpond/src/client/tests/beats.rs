//! Heartbeats: when the client sends them, and when it misses its peer's.

use tokio::time::Instant;

use super::*;
use crate::{
    client::{Loss, RequestError},
    framing::{Extent, FrameError, Scan, Step},
};

/// A client that sends heartbeats after 10 s, a tenth more or less.
fn beating() -> (Client, Port) {
    let (builder, port) = builder(Pace::AtOnce);
    let client = builder
        .heartbeat_interval(10 * SECOND)
        .deadline(1_000 * SECOND)
        .build();
    (client.unwrap(), port)
}

/// What arrives within this time.
async fn arrivals(far: &mut Far, within: Duration) -> Vec<u8> {
    let (until, mut arrived) = (Instant::now() + within, Vec::new());
    while let Ok(read) = tokio::time::timeout_at(until, far.0.read_buf(&mut arrived)).await {
        assert_ne!(read.unwrap(), 0, "the client has closed it");
    }
    arrived
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_beats_after_each_interval_of_silence() {
    let (client, mut port) = beating();
    let mut far = warm(&client, &mut port).await;
    assert_eq!(arrivals(&mut far, 8_900 * MS).await, b"");
    assert_eq!(arrivals(&mut far, 2_300 * MS).await, HEARTBEAT);
    for _ in 0..20 {
        let beats = arrivals(&mut far, 100 * SECOND).await;
        assert!((8..=12).contains(&(beats.len() / 9)), "{}", beats.len());
        assert_eq!(beats, HEARTBEAT.repeat(beats.len() / 9));
    }
    // What is sent counts: the next one is an interval after it.
    let (reply, ()) = tokio::join!(client.exchange(b"1"), async {
        far.request().await;
        far.reply(b"1").await;
    });
    reply.unwrap();
    assert_eq!(arrivals(&mut far, 8_900 * MS).await, b"");
    at_rest(&client, &port, 1);
}

#[tokio::test(start_paused = true)]
async fn it_beats_while_it_waits_for_a_reply() {
    let (client, mut port) = beating();
    let mut far = warm(&client, &mut port).await;
    let (reply, ()) = tokio::join!(client.exchange(b"1"), async {
        far.bytes(21).await;
        assert_eq!(arrivals(&mut far, 8_900 * MS).await, b"");
        let beats = arrivals(&mut far, 91_100 * MS).await;
        assert!((9..=11).contains(&(beats.len() / 9)), "{}", beats.len());
        assert_eq!(beats, HEARTBEAT.repeat(beats.len() / 9));
        far.reply(b"1").await;
    });
    assert_eq!(reply.unwrap(), &b"1"[..]);
}

/// A read that is refused to a task without budget has seen nothing of what has arrived.
#[tokio::test(start_paused = true)]
async fn a_refused_read_does_not_make_a_peer_silent() {
    let (client, mut port) = beating();
    let mut far = warm(&client, &mut port).await;
    let starved = Arc::new(AtomicBool::new(false));
    let asking = client.clone();
    let asked = spawn_starved(&starved, async move { asking.exchange(b"1").await });
    assert_eq!(far.request().await, b"1");
    far.send(HEARTBEAT).await;
    settle().await;
    starved.store(true, Ordering::Relaxed);
    far.send(HEARTBEAT).await;
    for _ in 0..10 {
        tokio::time::advance(10 * SECOND).await;
        settle().await;
    }
    assert!(!asked.is_finished(), "{:?}", asked.await.unwrap());
    starved.store(false, Ordering::Relaxed);
    settle().await;
    far.reply(b"1").await;
    assert_eq!(asked.await.unwrap().unwrap(), &b"1"[..]);
}

/// Nor has it read the peer's last words.
#[tokio::test(start_paused = true)]
async fn a_refused_read_does_not_lose_the_reply_of_a_peer_that_has_gone() {
    let (client, mut port) = client();
    let mut far = warm(&client, &mut port).await;
    let starved = Arc::new(AtomicBool::new(false));
    let asking = client.clone();
    let long = vec![b'x'; 2 * CAPACITY];
    let asked = spawn_starved(&starved, async move { asking.exchange(&long).await });
    settle().await;
    starved.store(true, Ordering::Relaxed);
    far.reply(b"refused").await;
    drop(far);
    settle().await;
    assert!(!asked.is_finished(), "{:?}", asked.await.unwrap());
    starved.store(false, Ordering::Relaxed);
    assert_eq!(asked.await.unwrap().unwrap(), &b"refused"[..]);
}

/// Yet the deadline holds.
#[tokio::test(start_paused = true)]
async fn a_deadline_holds_while_every_read_is_refused() {
    let (client, mut port) = beating();
    let mut far = warm(&client, &mut port).await;
    let starved = Arc::new(AtomicBool::new(false));
    let asked = spawn_starved(&starved, async move {
        client.within(100 * SECOND).exchange(b"1").await
    });
    assert_eq!(far.request().await, b"1");
    far.send(HEARTBEAT).await;
    settle().await;
    starved.store(true, Ordering::Relaxed);
    for _ in 0..10 {
        assert!(!asked.is_finished());
        tokio::time::advance(10 * SECOND).await;
        settle().await;
    }
    assert!(asked.is_finished(), "the deadline has passed");
    let error = asked.await.unwrap().unwrap_err();
    assert!(matches!(error, RequestError::TimedOut { .. }), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn it_never_beats_within_a_frame() {
    let (client, mut port) = beating();
    let mut far = warm(&client, &mut port).await;
    let large = vec![b' '; 5 * CAPACITY];
    let (reply, ()) = tokio::join!(client.exchange(&large), async {
        let mut arrived = Vec::new();
        while arrived.len() < 20 + large.len() {
            tokio::time::sleep(15 * SECOND).await;
            arrived.extend(
                far.bytes(CAPACITY.min(20 + large.len() - arrived.len()))
                    .await,
            );
        }
        assert!(arrived[20..] == large, "nothing but the request");
        // Behind it they come again.
        let beats = arrivals(&mut far, 15 * SECOND).await;
        assert!(!beats.is_empty());
        assert_eq!(beats, HEARTBEAT.repeat(beats.len() / 9));
        far.reply(b"1").await;
    });
    assert_eq!(reply.unwrap(), &b"1"[..]);
    at_rest(&client, &port, 1);
}

#[tokio::test(start_paused = true)]
async fn a_short_interval_is_kept_within_the_shortest_of_exchanges() {
    let (builder, mut port) = builder(Pace::AtOnce);
    let client = builder.heartbeat_interval(5 * MS).build().unwrap();
    let mut far = warm(&client, &mut port).await;
    let (reply, ()) = tokio::join!(client.exchange(b"1"), async {
        far.request().await;
        let beats = arrivals(&mut far, 20 * MS).await.len() / 9;
        assert!((3..=4).contains(&beats), "{beats} in 20 ms");
        far.reply(b"1").await;
    });
    reply.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_request_that_was_answered_at_once_counts_as_sent() {
    let (client, mut port) = beating();
    let mut far = warm(&client, &mut port).await;
    assert_eq!(arrivals(&mut far, 8_900 * MS).await, b"");
    let (reply, ()) = tokio::join!(client.exchange(b"1"), async {
        far.request().await;
        assert_eq!(arrivals(&mut far, 8_900 * MS).await, b"");
        assert_eq!(arrivals(&mut far, 2_300 * MS).await, HEARTBEAT);
        far.reply(b"1").await;
    });
    reply.unwrap();
}

#[tokio::test(start_paused = true)]
async fn with_an_interval_of_zero_it_never_beats() {
    let (client, mut port) = client();
    let mut far = warm(&client, &mut port).await;
    assert_eq!(arrivals(&mut far, 200 * SECOND).await, b"");
    let (reply, ()) = tokio::join!(client.within(1_000 * SECOND).exchange(b"1"), async {
        far.request().await;
        assert_eq!(arrivals(&mut far, 200 * SECOND).await, b"");
        far.reply(b"1").await;
    });
    reply.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_idle_peer_that_stops_beating_is_dead() {
    let (client, mut port) = beating();
    let mut far = warm(&client, &mut port).await;
    for _ in 0..5 {
        tokio::time::sleep(10 * SECOND).await;
        far.send(HEARTBEAT).await;
    }
    // 2.5 intervals: 22.5 s to 27.5 s, and those of the peer took 10 s.
    tokio::time::sleep(24_900 * MS).await;
    at_rest(&client, &port, 1);
    tokio::time::sleep(3 * SECOND).await;
    at_rest(&client, &port, 0);
    assert_eq!(evicted(&client, Eviction::HeartbeatMissed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_stops_beating_within_an_exchange_is_dead_before_the_deadline() {
    let (client, mut port) = beating();
    let mut far = warm(&client, &mut port).await;
    let began = Instant::now();
    let (reply, ()) = tokio::join!(client.exchange(b"1"), async {
        far.request().await;
        tokio::time::sleep(10 * SECOND).await;
        far.send(HEARTBEAT).await;
    });
    let error = reply.unwrap_err();
    assert!(
        matches!(
            error,
            RequestError::Lost {
                cause: Loss::HeartbeatMissed,
                ..
            }
        ),
        "{error:?}"
    );
    let took = began.elapsed();
    // The reply before counts from when somebody next looks at the clock, and so the pause after it
    // may seem 25 ms shorter than it was.
    assert!(
        (35 * SECOND - 63 * MS..=37_500 * MS + MS).contains(&took),
        "{took:?} after 10 s and 2.5 intervals"
    );
    assert_eq!(evicted(&client, Eviction::HeartbeatMissed), 1);
    assert_eq!(
        Chain(&error).to_string(),
        "the connection was lost before the reply came; it may have been executed: the peer has stopped sending heartbeats"
    );
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_beat_is_not_missed() {
    let (client, mut port) = beating();
    let mut far = warm(&client, &mut port).await;
    tokio::time::sleep(500 * SECOND).await;
    at_rest(&client, &port, 1);
    let (reply, ()) = tokio::join!(client.exchange(b"1"), async {
        far.request().await;
        tokio::time::sleep(500 * SECOND).await;
        far.reply(b"1").await;
    });
    reply.unwrap();
}

/// Within a frame it can't send heartbeats: its bytes are signs of life enough.
#[tokio::test(start_paused = true)]
async fn a_peer_whose_reply_comes_slowly_is_alive() {
    let (client, mut port) = beating();
    let mut far = warm(&client, &mut port).await;
    let (reply, ()) = tokio::join!(client.exchange(b"1"), async {
        far.request().await;
        far.send(HEARTBEAT).await;
        for byte in frame(b"[1,2]") {
            tokio::time::sleep(15 * SECOND).await;
            far.send(&[byte]).await;
        }
    });
    assert_eq!(reply.unwrap(), &b"[1,2]"[..]);
}

/// One that has much to answer has no occasion to send heartbeats.
#[tokio::test(start_paused = true)]
async fn a_peer_that_replies_is_alive() {
    let (client, mut port) = beating();
    let mut far = warm(&client, &mut port).await;
    far.send(HEARTBEAT).await;
    for _ in 0..10 {
        tokio::time::sleep(15 * SECOND).await;
        let (reply, ()) = tokio::join!(client.exchange(b"1"), async {
            far.request().await;
            far.reply(b"1").await;
        });
        reply.unwrap();
    }
    assert_eq!(at_rest(&client, &port, 1).totals.opened, 1);
}

/// Right behind a reply, a heartbeat says nothing of its sender's interval.
#[tokio::test(start_paused = true)]
async fn a_peer_that_beats_soon_is_given_time_where_ours_are_switched_off() {
    let (client, mut port) = client();
    let mut far = warm(&client, &mut port).await;
    far.send(&HEARTBEAT.repeat(2)).await;
    tokio::time::sleep(20 * SECOND).await;
    at_rest(&client, &port, 1);
    far.send(HEARTBEAT).await;
    tokio::time::sleep(20 * SECOND).await;
    at_rest(&client, &port, 1);
    tokio::time::sleep(40 * SECOND).await;
    at_rest(&client, &port, 0);
    assert_eq!(evicted(&client, Eviction::HeartbeatMissed), 1);
}

/// However often a connection is used, one moment is kept for it.
#[tokio::test(start_paused = true)]
async fn a_connection_that_is_used_often_is_looked_at_no_more_for_it() {
    let (client, mut port) = beating();
    let mut far = warm(&client, &mut port).await;
    for _ in 0..50 {
        let (reply, ()) = tokio::join!(client.exchange(b"1"), async {
            far.request().await;
            far.reply(b"1").await;
        });
        reply.unwrap();
        // Long enough for upkeep to watch it.
        tokio::time::sleep(300 * MS).await;
    }
    assert_eq!(client.pool().connector().moments(), 1);
    tokio::time::sleep(30 * SECOND).await;
    assert_eq!(client.pool().connector().moments(), 1);
    client.pool().close(SECOND).await.unwrap();
    assert_eq!(
        client.pool().connector().moments(),
        0,
        "nor when it has gone"
    );
}

#[tokio::test(start_paused = true)]
async fn a_session_that_leaves_its_pool_is_woken_by_nobody() {
    let (client, mut port) = beating();
    let _far = warm(&client, &mut port).await;
    tokio::time::sleep(300 * MS).await;
    assert_eq!(client.pool().connector().moments(), 1);
    let detached = client.pool().acquire().await.unwrap().detach();
    drop(detached);
    assert_eq!(client.pool().connector().moments(), 0);
}

/// Lines, with nothing that could be a heartbeat.
struct Lines;

impl Framing for Lines {
    fn next(&self, _: Context<'_>, bytes: &[u8], _: &mut Scan) -> Result<Step, FrameError> {
        let end = bytes.iter().position(|&byte| byte == b'\n');
        Ok(end.map_or(Step::More { missing: 1 }, |body| {
            Step::Frame(Extent {
                head: 0,
                body,
                tail: 1,
            })
        }))
    }

    fn encode(&self, _: Context<'_>, body: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
        out.extend_from_slice(body);
        out.push(b'\n');
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_protocol_without_heartbeats_is_left_in_peace() {
    let (builder, mut port) = builder(Pace::AtOnce);
    let client = builder
        .framing(Lines)
        .heartbeat_interval(10 * SECOND)
        .deadline(100 * SECOND)
        .build()
        .unwrap();
    let (reply, mut far) = tokio::join!(client.exchange(b"one"), async {
        let mut far = port.accept().await;
        assert_eq!(far.bytes(4).await, b"one\n");
        tokio::time::sleep(50 * SECOND).await;
        far.send(b"two\n").await;
        far
    });
    assert_eq!(reply.unwrap(), &b"two"[..]);
    assert_eq!(arrivals(&mut far, 50 * SECOND).await, b"");
    assert_eq!(
        client.pool().connector().moments(),
        0,
        "nobody wakes it in vain"
    );
}

#[tokio::test(start_paused = true)]
async fn what_runs_beside_the_pool_runs_for_as_long_as_it_is_polled() {
    let (client, _port) = client();
    let mut runs = std::pin::pin!(client.pool().connector().run());
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    for _ in 0..3 {
        assert!(runs.as_mut().poll(&mut cx).is_pending());
    }
}
