//! Bytes that never stop: heartbeats without end, replies without end, a byte now and then. The
//! deadline holds, a core isn't taken, and a peer that exceeds `heartbeat_limit` is gone. Work is
//! counted by what was read, for time stands still while anybody has something to do.

use std::sync::atomic::Ordering::Relaxed;

use tokio::time::Instant;

use super::*;
use crate::{
    client::{Execution, HeartbeatLimit, Loss, RequestError},
    framing::LengthJson,
};

/// More than a task may read in one poll.
const LARGE: usize = 16 << 20;

/// Exclusive or pipelined, on streams that hold as much as [`LARGE`].
fn large(pipelined: bool) -> (ClientBuilder, Port) {
    let framing = LengthJson::with_max_body(1 << 30);
    let (builder, port) = builder_with(framing, Pace::AtOnce, LARGE);
    (in_mode(pipelined, builder), port)
}

/// Exclusive or pipelined, with the default limit.
fn limited(pipelined: bool) -> (ClientBuilder, Port) {
    let (builder, port) = builder(Pace::AtOnce);
    let builder = builder.heartbeat_limit(HeartbeatLimit::default());
    (in_mode(pipelined, builder), port)
}

/// An exchange whose server has the request, and does what the test says.
struct Asked {
    client: Client,
    port: Port,
    far: Far,
    began: Instant,
    reply: tokio::task::JoinHandle<Result<Vec<u8>, RequestError>>,
}

impl Asked {
    async fn by((builder, mut port): (ClientBuilder, Port), within: Duration) -> Asked {
        let client = builder.build().unwrap();
        let began = Instant::now();
        let reply = exchange(&client, within);
        let mut far = port.accept().await;
        far.request().await;
        Asked {
            client,
            port,
            far,
            began,
            reply,
        }
    }
}

fn exchange(
    client: &Client,
    within: Duration,
) -> tokio::task::JoinHandle<Result<Vec<u8>, RequestError>> {
    let client = client.clone();
    tokio::spawn(async move {
        let reply = client.within(within).exchange(b"1").await;
        reply.map(|reply| reply.to_vec())
    })
}

/// Heartbeats for one step: a thousand times as many as a task may read in one poll.
const MANY_HEARTBEATS: usize = 1 << 20;

/// Sends this again and again, `each` bytes each 50 ms, until the client has closed the stream; or
/// for `rounds`. Whether that was before the end.
async fn flood(far: &mut Far, bytes: &[u8], rounds: usize, each: usize) -> bool {
    let chunk = bytes.repeat(each / bytes.len());
    for _ in 0..rounds {
        if far.0.write_all(&chunk).await.is_err() {
            return true;
        }
        tokio::time::advance(50 * MS).await;
    }
    false
}

/// Deadlines below a second and of a second, in both modes.
const EACH: [(bool, Duration); 4] = [
    (false, Duration::from_millis(500)),
    (false, SECOND),
    (true, Duration::from_millis(500)),
    (true, SECOND),
];

#[tokio::test(start_paused = true)]
async fn a_deadline_holds_while_heartbeats_never_stop() {
    for (pipelined, deadline) in EACH {
        let Asked {
            began,
            mut far,
            reply,
            ..
        } = Asked::by(large(pipelined), deadline).await;
        let feed = tokio::spawn(async move {
            let closed = flood(&mut far, HEARTBEAT, 100, MANY_HEARTBEATS).await;
            if !closed {
                let _ = far.0.write_all(&frame(b"1")).await;
            }
            closed
        });
        let error = reply
            .await
            .unwrap()
            .expect_err("it comes after five seconds");
        assert!(matches!(error, RequestError::TimedOut { .. }), "{error:?}");
        let took = began.elapsed();
        assert!(
            took >= deadline && took <= deadline + 200 * MS,
            "{pipelined} {deadline:?}: {took:?}"
        );
        assert!(feed.await.unwrap(), "the connection is closed");
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_holds_while_a_reply_never_ends() {
    for (pipelined, deadline) in EACH {
        let Asked {
            began,
            mut far,
            reply,
            ..
        } = Asked::by(large(pipelined), deadline).await;
        far.send(b"length:0001000000000").await;
        let feed = tokio::spawn(async move { flood(&mut far, b"7", 100, LARGE).await });
        let error = reply
            .await
            .unwrap()
            .expect_err("there are a thousand million bytes of it");
        assert!(matches!(error, RequestError::TimedOut { .. }), "{error:?}");
        let took = began.elapsed();
        assert!(
            took >= deadline && took <= deadline + 200 * MS,
            "{pipelined} {deadline:?}: {took:?}"
        );
        assert!(feed.await.unwrap(), "the connection is closed");
    }
}

/// A reply that is there when the deadline has passed, behind more than one poll takes in, isn't
/// one in time.
#[tokio::test(start_paused = true)]
async fn a_deadline_that_has_passed_wins_over_a_reply_that_comes_later() {
    for pipelined in [false, true] {
        let Asked {
            port,
            mut far,
            reply,
            ..
        } = Asked::by(large(pipelined), 500 * MS).await;
        let beats = HEARTBEAT.repeat(LARGE / 2 / HEARTBEAT.len());
        far.send(&[&beats[..], &frame(b"1")].concat()).await;
        // It has read a part of that, and goes on when the others have had their turn.
        tokio::task::yield_now().await;
        assert!(
            port.tally.read.load(Relaxed) < beats.len(),
            "one poll doesn't take it all in"
        );
        tokio::time::advance(600 * MS).await;
        let error = reply.await.unwrap().expect_err("too late");
        assert!(matches!(error, RequestError::TimedOut { .. }), "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_poll_reads_a_bounded_part_of_a_long_reply() {
    for pipelined in [false, true] {
        let Asked { mut far, reply, .. } = Asked::by(large(pipelined), 10 * SECOND).await;
        let body = vec![b'7'; LARGE / 2];
        far.reply(&body).await;
        let mut polls = 0;
        while !reply.is_finished() {
            tokio::task::yield_now().await;
            polls += 1;
        }
        assert!(reply.await.unwrap().unwrap() == body);
        assert!(polls >= 4, "{pipelined}: 8 MiB were read in {polls} turns");
    }
}

#[tokio::test(start_paused = true)]
async fn more_heartbeats_than_the_limit_allows_end_an_exchange() {
    for pipelined in [false, true] {
        for deadline in [500 * MS, 10 * SECOND] {
            let Asked {
                client,
                port,
                began,
                mut far,
                reply,
                ..
            } = Asked::by(limited(pipelined), deadline).await;
            // Twenty a second and a hundred at once are borne.
            far.send(&HEARTBEAT.repeat(100)).await;
            settle().await;
            assert!(!reply.is_finished() && !port.accepted.is_closed());
            far.send(HEARTBEAT).await;
            let error = reply.await.unwrap().unwrap_err();
            let RequestError::Lost {
                cause: Loss::HeartbeatFlood,
                execution: Execution::Possible,
            } = &error
            else {
                panic!("{error:?}");
            };
            assert_eq!(
                Chain(&error).to_string(),
                "the connection was lost before the reply came; it may have been executed: it sends more heartbeats than heartbeat_limit allows"
            );
            assert_eq!(began.elapsed(), Duration::ZERO);
            assert!(far.ended().await);
            assert_eq!(evicted(&client, Eviction::UnsolicitedBytes), 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn more_heartbeats_than_the_limit_allows_evict_what_is_idle() {
    let limit = HeartbeatLimit {
        burst: 10,
        per_second: 2,
    };
    let (builder, mut port) = builder(Pace::AtOnce);
    let client = builder.heartbeat_limit(limit).build().unwrap();
    let mut far = warm(&client, &mut port).await;
    far.send(&HEARTBEAT.repeat(8)).await;
    for _ in 0..20 {
        tokio::time::sleep(500 * MS).await;
        far.send(HEARTBEAT).await;
    }
    tokio::time::sleep(SECOND).await;
    at_rest(&client, &port, 1);
    far.send(&HEARTBEAT.repeat(1_000)).await;
    tokio::time::sleep(SECOND).await;
    at_rest(&client, &port, 0);
    assert_eq!(evicted(&client, Eviction::UnsolicitedBytes), 1);
    let received = client.pool().connector().heartbeats().received;
    assert!(
        received < 60,
        "no more are taken in than the limit allows: {received}"
    );
}

/// What an honest peer has sent while we stood still isn't a flood, however fast it beats within
/// the limit.
#[tokio::test(start_paused = true)]
async fn heartbeats_that_have_piled_up_while_we_stood_still_are_no_flood() {
    for (pipelined, idle) in [(false, true), (false, false), (true, false)] {
        for (beats, is_flood) in [(500, false), (750, true)] {
            let (builder, mut port) = limited(pipelined);
            let client = builder.build().unwrap();
            let mut far = warm(&client, &mut port).await;
            let asked = (!idle).then(|| exchange(&client, 1_000 * SECOND));
            if !idle {
                far.request().await;
            }
            far.send(HEARTBEAT).await;
            settle().await;
            // Nobody has a turn before the half minute has passed: twenty a second, and a hundred
            // at once.
            far.send(&HEARTBEAT.repeat(beats)).await;
            tokio::time::advance(30 * SECOND).await;
            settle().await;
            assert_eq!(
                evicted(&client, Eviction::UnsolicitedBytes),
                u64::from(is_flood),
                "{pipelined} {idle} {beats}"
            );
            if is_flood {
                continue;
            }
            // What comes now has had no time.
            far.send(&HEARTBEAT.repeat(101)).await;
            settle().await;
            assert_eq!(evicted(&client, Eviction::UnsolicitedBytes), 1);
            if let Some(asked) = asked {
                asked.await.unwrap().unwrap_err();
            }
        }
    }
}

/// Behind a reply too many heartbeats are nothing against the reply.
#[tokio::test(start_paused = true)]
async fn more_heartbeats_than_the_limit_allows_behind_a_reply_end_the_connection() {
    let Asked {
        client,
        mut far,
        reply,
        ..
    } = Asked::by(limited(false), SECOND).await;
    far.send(&[frame(b"1"), HEARTBEAT.repeat(200)].concat())
        .await;
    assert_eq!(reply.await.unwrap().unwrap(), b"1");
    assert!(far.ended().await);
    assert_eq!(evicted(&client, Eviction::UnsolicitedBytes), 1);
}

#[tokio::test(start_paused = true)]
async fn heartbeats_within_the_limit_prolong_nothing() {
    for pipelined in [false, true] {
        for deadline in [500 * MS, 5 * SECOND] {
            let Asked {
                began,
                mut far,
                reply,
                ..
            } = Asked::by(large(pipelined), deadline).await;
            tokio::spawn(async move {
                while far.0.write_all(HEARTBEAT).await.is_ok() {
                    tokio::time::sleep(60 * MS).await;
                }
            });
            let error = reply.await.unwrap().unwrap_err();
            assert!(matches!(error, RequestError::TimedOut { .. }), "{error:?}");
            assert!(began.elapsed() <= deadline + 50 * MS);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_byte_a_second_prolongs_nothing() {
    for pipelined in [false, true] {
        let Asked {
            began,
            mut far,
            reply,
            ..
        } = Asked::by(large(pipelined), 5 * SECOND).await;
        tokio::spawn(async move {
            for byte in frame(&[b'1'; 100]) {
                if far.0.write_all(&[byte]).await.is_err() {
                    break;
                }
                tokio::time::sleep(SECOND).await;
            }
        });
        let error = reply.await.unwrap().unwrap_err();
        assert!(matches!(error, RequestError::TimedOut { .. }), "{error:?}");
        assert!(began.elapsed() <= 5 * SECOND + 50 * MS);
    }
}
