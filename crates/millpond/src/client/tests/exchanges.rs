//! One request and what comes back, whole or in pieces, right or wrong; and what arrives when
//! nobody asked.

use super::*;
use crate::{
    client::{ErrorReplies, Execution, Loss, RequestError},
    framing::FrameError,
};

/// A request that has been sent and not been answered: the client's side of it runs beside the
/// test.
fn asked(
    client: &Client,
    body: &'static [u8],
) -> tokio::task::JoinHandle<Result<Vec<u8>, RequestError>> {
    let client = client.clone();
    tokio::spawn(async move { client.exchange(body).await.map(|reply| reply.to_vec()) })
}

#[tokio::test(start_paused = true)]
async fn a_reply_may_be_split_anywhere_among_heartbeats() {
    let reply = frame(b"{\"HeartBeat\":1}");
    let whole = [
        reply.clone(),
        [HEARTBEAT, &reply].concat(),
        [&reply, HEARTBEAT].concat(),
        [HEARTBEAT, HEARTBEAT, &reply, HEARTBEAT, HEARTBEAT].concat(),
    ];
    let (client, mut port) = client();
    let mut far = warm(&client, &mut port).await;
    for wire in whole {
        for at in 0..=wire.len() {
            let asked = asked(&client, b"1");
            assert_eq!(far.request().await, b"1");
            far.send(&wire[..at]).await;
            settle().await;
            far.send(&wire[at..]).await;
            assert_eq!(
                asked.await.unwrap().unwrap(),
                b"{\"HeartBeat\":1}",
                "split at {at}"
            );
            settle().await;
        }
    }
    assert_eq!(port.tally.opened(), 1, "all on one connection");
}

/// Or an acquire that times out, and a report of a leak, would name lines that are nobody's.
#[tokio::test(start_paused = true)]
async fn the_snapshot_says_where_the_callers_code_asked() {
    let (client, mut port) = client();
    let mut far = warm(&client, &mut port).await;
    let asked_on = async |line: u32, far: &mut Far| {
        far.request().await;
        let snapshot = client.pool().snapshot();
        let place = snapshot.connections[0].acquired_at.expect("lent");
        assert_eq!((place.file(), place.line()), (file!(), line), "{snapshot}");
        far.reply(b"1").await;
    };
    let (reply, _) = tokio::join!(client.exchange(b"1"), asked_on(line!(), &mut far));
    reply.unwrap();
    let idempotent = client.idempotent();
    let (reply, _) = tokio::join!(idempotent.exchange(b"1"), asked_on(line!(), &mut far));
    reply.unwrap();
    let (reply, _) = tokio::join!(client.request::<_, u8>(&1), asked_on(line!(), &mut far));
    assert_eq!(reply.unwrap(), 1);
    let (reply, _) = tokio::join!(idempotent.request::<_, u8>(&1), asked_on(line!(), &mut far));
    assert_eq!(reply.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_within_a_body_is_data() {
    let (client, mut port) = client();
    let mut far = warm(&client, &mut port).await;
    for body in [&b"HeartBeat"[..], b"HeartBeatlength:0000000000001", b""] {
        let asked = asked(&client, b"1");
        far.request().await;
        far.send(&[HEARTBEAT, &frame(body)].concat()).await;
        assert_eq!(asked.await.unwrap().unwrap(), body);
    }
    at_rest(&client, &port, 1);
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_torn_by_a_reply_may_complete_later() {
    let (client, mut port) = client();
    let mut far = warm(&client, &mut port).await;
    for at in 1..HEARTBEAT.len() {
        let first = asked(&client, b"1");
        far.request().await;
        far.send(&[&frame(b"1"), &HEARTBEAT[..at]].concat()).await;
        assert_eq!(first.await.unwrap().unwrap(), b"1");
        tokio::time::sleep(SECOND).await;
        // The rest of it comes at once with the next reply, or while nobody asks.
        if at % 2 == 0 {
            far.send(&HEARTBEAT[at..]).await;
            tokio::time::sleep(SECOND).await;
        }
        let second = asked(&client, b"2");
        far.request().await;
        let rest = if at % 2 == 0 { b"" } else { &HEARTBEAT[at..] };
        far.send(&[rest, &frame(b"2")].concat()).await;
        assert_eq!(second.await.unwrap().unwrap(), b"2");
        // However often one is torn: each has a time of its own.
        tokio::time::sleep(2 * SECOND).await;
        at_rest(&client, &port, 1);
    }
    assert_eq!(port.tally.opened(), 1);
}

#[tokio::test(start_paused = true)]
async fn each_torn_heartbeat_has_a_time_of_its_own() {
    let (client, mut port) = client();
    let mut far = warm(&client, &mut port).await;
    far.send(b"Heart").await;
    for _ in 0..5 {
        tokio::time::sleep(6 * SECOND).await;
        far.send(b"BeatHeart").await;
    }
    tokio::time::sleep(6 * SECOND).await;
    // And one that a reply tears, behind one that it completes.
    let next = asked(&client, b"1");
    far.request().await;
    far.send(&[b"Beat", &frame(b"1")[..], b"Heart"].concat())
        .await;
    assert_eq!(next.await.unwrap().unwrap(), b"1");
    tokio::time::sleep(6 * SECOND).await;
    at_rest(&client, &port, 1);
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_that_never_completes_ends_its_connection() {
    let (client, mut port) = client();
    let mut far = warm(&client, &mut port).await;
    far.send(b"Heart").await;
    tokio::time::sleep(9 * SECOND).await;
    at_rest(&client, &port, 1);
    tokio::time::sleep(2 * SECOND).await;
    at_rest(&client, &port, 0);
    assert_eq!(evicted(&client, Eviction::HeartbeatMissed), 1);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_asked_for_ends_an_idle_connection() {
    let unasked = [
        frame(b"1"),
        [HEARTBEAT, &frame(b"1")].concat(),
        frame(b"1")[..5].to_vec(),
        b"Heartache".to_vec(),
        b"\0".to_vec(),
        // More than one read brings: the frame is behind them.
        [HEARTBEAT.repeat(4_000), frame(b"1")].concat(),
    ];
    for bytes in unasked {
        let (client, mut port) = client();
        let mut far = warm(&client, &mut port).await;
        far.send(&bytes).await;
        tokio::time::sleep(SECOND).await;
        at_rest(&client, &port, 0);
        assert_eq!(evicted(&client, Eviction::UnsolicitedBytes), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn what_nobody_asked_for_is_no_reply_to_the_next() {
    for unasked in [frame(b"9"), [HEARTBEAT.repeat(4_000), frame(b"9")].concat()] {
        let (client, mut port) = client();
        let mut far = warm(&client, &mut port).await;
        far.send(&unasked).await;
        let next = asked(&client, b"1");
        let mut second = port.accept().await;
        assert_eq!(second.request().await, b"1");
        second.reply(b"1").await;
        assert_eq!(next.await.unwrap().unwrap(), b"1");
        assert_eq!(evicted(&client, Eviction::UnsolicitedBytes), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_replies_that_come_together_neither_is_delivered() {
    let (client, mut port) = client();
    let mut far = warm(&client, &mut port).await;
    for behind in [frame(b"2"), frame(b"2")[..3].to_vec(), b"?".to_vec()] {
        let first = asked(&client, b"1");
        far.request().await;
        far.send(&[frame(b"1"), behind].concat()).await;
        let error = first.await.unwrap().unwrap_err();
        let RequestError::Lost {
            cause: Loss::NoReply,
            execution: Execution::Possible,
        } = &error
        else {
            panic!("{error:?}");
        };
        assert!(far.ended().await);
        far = warm(&client, &mut port).await;
    }
    assert_eq!(evicted(&client, Eviction::UnsolicitedBytes), 3);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_that_its_server_closes_is_gone() {
    let (client, mut port) = client();
    drop(warm(&client, &mut port).await);
    tokio::time::sleep(SECOND).await;
    at_rest(&client, &port, 0);
    assert_eq!(evicted(&client, Eviction::PeerClosed), 1);
    let far = warm(&client, &mut port).await;
    far.0.reset();
    tokio::time::sleep(SECOND).await;
    at_rest(&client, &port, 0);
    assert_eq!(evicted(&client, Eviction::PeerReset), 1);
}

#[tokio::test(start_paused = true)]
async fn a_connection_lost_within_a_reply_is_told_as_such() {
    let reply = frame(b"[1,2,3]");
    for at in 0..reply.len() {
        let (client, mut port) = client();
        let closed = asked(&client, b"1");
        let mut far = port.accept().await;
        far.request().await;
        far.send(&reply[..at]).await;
        settle().await;
        drop(far);
        let error = closed.await.unwrap().unwrap_err();
        let RequestError::Lost {
            cause: Loss::Closed,
            execution: Execution::Possible,
        } = &error
        else {
            panic!("closed after {at}: {error:?}");
        };
        assert_eq!(
            Chain(&error).to_string(),
            "the connection was lost before the reply came; it may have been executed: the peer closed it"
        );

        let reset = asked(&client, b"1");
        let mut far = port.accept().await;
        far.request().await;
        far.send(&reply[..at]).await;
        settle().await;
        far.0.reset();
        let error = reset.await.unwrap().unwrap_err();
        let RequestError::Lost {
            cause: Loss::Io(cause),
            execution: Execution::Possible,
        } = &error
        else {
            panic!("reset after {at}: {error:?}");
        };
        assert_eq!(cause.kind(), std::io::ErrorKind::ConnectionReset);
        let totals = client.pool().snapshot().totals;
        assert_eq!(
            (
                totals.evicted(Eviction::PeerClosed),
                totals.evicted(Eviction::PeerReset)
            ),
            (1, 1)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_whole_reply_before_a_close_is_delivered() {
    let (client, mut port) = client();
    let first = asked(&client, b"1");
    let mut far = port.accept().await;
    far.request().await;
    far.reply(b"1").await;
    drop(far);
    assert_eq!(first.await.unwrap().unwrap(), b"1");
    drop(warm(&client, &mut port).await);
    assert_eq!(port.tally.opened(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_comes_before_the_request_was_read_is_delivered_and_ends_the_connection() {
    for pace in [Pace::AtOnce, Pace::ByByte] {
        for leaves in [false, true] {
            let (builder, mut port) = builder(pace);
            let client = builder.build().unwrap();
            let large: &'static [u8] = vec![b' '; 2 * CAPACITY].leak();
            let first = asked(&client, large);
            let mut far = port.accept().await;
            far.bytes(30).await;
            far.reply(b"\"no\"").await;
            let far = match leaves {
                // What it hasn't read makes the client's writes fail, maybe before the reply is
                // seen.
                true => {
                    far.0.stop_reading();
                    drop(far);
                    None
                }
                false => Some(far),
            };
            assert_eq!(
                first.await.unwrap().unwrap(),
                b"\"no\"",
                "{pace:?}, {leaves}"
            );
            let totals = at_rest(&client, &port, 0).totals;
            assert_eq!(totals.closed, 1, "nobody else gets it");
            drop(far);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_reply_is_told_as_such() {
    let wrong = [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        b"length:00000000000+1",
        b"length:9999999999999",
        b"\x15\x03\x03",
    ];
    let (client, mut port) = client();
    for bytes in wrong {
        let request = asked(&client, b"1");
        let mut far = port.accept().await;
        far.request().await;
        far.send(bytes).await;
        let error = request.await.unwrap().unwrap_err();
        assert!(matches!(error, RequestError::NoFrame(_)), "{error:?}");
        assert_eq!(error.execution(), Execution::Possible);
        assert!(far.ended().await);
        assert_eq!(
            matches!(error, RequestError::NoFrame(FrameError::TooLong { .. })),
            bytes == b"length:9999999999999",
            "{error:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_too_long_costs_no_connection() {
    let (client, mut port) = client();
    let mut far = warm(&client, &mut port).await;
    let large = vec![b' '; LengthJson::DEFAULT_MAX_BODY + 1];
    let error = client.exchange(&large).await.unwrap_err();
    assert!(
        matches!(error, RequestError::Unframeable(FrameError::TooLong { .. })),
        "{error:?}"
    );
    assert_eq!(error.execution(), Execution::Impossible);
    at_rest(&client, &port, 1);
    let next = asked(&client, b"1");
    assert_eq!(far.request().await, b"1", "nothing of it was sent");
    far.reply(b"1").await;
    next.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_error_reply_is_an_error_unless_it_is_data() {
    let reply = br#"{"error":{"code":-32603,"message":"no luck"}}"#;
    for kind in [ErrorReplies::AreErrors, ErrorReplies::AreReplies] {
        let (builder, mut port) = builder(Pace::AtOnce);
        let client = builder.error_replies(kind).build().unwrap();
        tokio::spawn(async move {
            let mut far = port.accept().await;
            while far.request_or_end().await.is_some() {
                far.reply(reply).await;
            }
        });
        let typed = client.request::<_, serde_json::Value>("what").await;
        match kind {
            ErrorReplies::AreErrors => {
                let error = typed.unwrap_err();
                assert!(matches!(&error, RequestError::Refused(object) if object.code == -32603));
                assert_eq!(
                    error.to_string(),
                    "the server answered with an error: no luck (-32603)"
                );
                assert_eq!(error.execution(), Execution::Possible);
            }
            ErrorReplies::AreReplies => assert_eq!(typed.unwrap()["error"]["message"], "no luck"),
        }
        assert_eq!(
            client.exchange(b"1").await.unwrap(),
            &reply[..],
            "bytes are bytes"
        );
        let totals = client.pool().snapshot().totals;
        assert_eq!((totals.opened, totals.closed), (1, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_is_not_what_was_asked_for_costs_no_connection() {
    let (client, mut port) = client();
    tokio::spawn(async move { port.accept().await.echo().await });
    let error = client.request::<_, u64>("text").await.unwrap_err();
    assert!(matches!(error, RequestError::Reply(_)), "{error:?}");
    assert_eq!(client.request::<_, String>("text").await.unwrap(), "text");
    assert_eq!(client.pool().snapshot().totals.opened, 1);
}

#[tokio::test(start_paused = true)]
async fn a_value_that_is_no_json_dials_nothing() {
    let (client, port) = client();
    let keys = std::collections::BTreeMap::from([((1, 2), 3)]);
    let error = client.request::<_, u64>(&keys).await.unwrap_err();
    assert!(
        matches!(error, RequestError::Unserializable(_)),
        "{error:?}"
    );
    assert_eq!(error.execution(), Execution::Impossible);
    assert_eq!(port.tally.opened(), 0);
}

#[test]
fn an_idle_session_is_small() {
    let size = size_of::<crate::client::Session>();
    println!("a session takes {size} bytes");
    assert!(size <= 320, "{size}");
}
