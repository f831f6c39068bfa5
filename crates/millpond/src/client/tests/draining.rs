//! What becomes of requests that a server turns away because it drains, and of those that come
//! during an outage, in both modes.

use tokio::{task::JoinHandle, time::Instant};

use super::*;
use crate::client::{ErrorReplies, Execution, RequestError};

const NOT_TAKEN: &[u8] = br#"{"error":{"code":-32003,"message":"this server drains"}}"#;

const MODES: [bool; 2] = [false, true];

fn with_port(pipelined: bool) -> (ClientBuilder, Port) {
    let (builder, port) = builder(Pace::AtOnce);
    (in_mode(pipelined, builder), port)
}

type Asked = JoinHandle<Result<u64, RequestError>>;

fn ask(client: &Client, number: u64) -> Asked {
    ask_within(client, FOREVER, number)
}

fn ask_within(client: &Client, deadline: Duration, number: u64) -> Asked {
    let client = client.clone();
    tokio::spawn(async move { client.within(deadline).request(&number).await })
}

/// Whether it is a server's word that it drains.
fn is_turned_away(error: &RequestError) -> bool {
    matches!(error, RequestError::Refused(refusal) if refusal.code == -32_003)
        && error.execution() == Execution::Impossible
}

/// A server that turns all requests away, on whichever connection; how many it was sent.
fn turns_away(mut port: Port) -> JoinHandle<u64> {
    tokio::spawn(async move {
        let mut requests = 0;
        while let Some(stream) = port.accepted.recv().await {
            let mut far = Far(stream);
            while far.request_or_end().await.is_some() {
                requests += 1;
                far.reply(NOT_TAKEN).await;
            }
        }
        requests
    })
}

#[tokio::test(start_paused = true)]
async fn what_a_draining_server_turned_away_is_sent_again_on_another_connection() {
    for pipelined in MODES {
        let (builder, mut port) = with_port(pipelined);
        let client = builder.build().unwrap();
        let mut far = warm(&client, &mut port).await;
        let asked = ask(&client, 1);
        assert_eq!(far.request().await, b"1");
        far.reply(NOT_TAKEN).await;
        let mut second = port.accept().await;
        assert_eq!(second.request().await, b"1");
        second.reply(b"1").await;
        assert_eq!(asked.await.unwrap().unwrap(), 1, "{pipelined}");
        assert!(far.ended().await, "the connection is retired");
        assert_eq!(evicted(&client, Eviction::Discarded), 1);
        let retries = client.retries();
        assert_eq!(
            (retries.turned_away, retries.granted),
            (1, 0),
            "{retries:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_pipeline_whose_server_drains_is_given_nothing_more_and_keeps_what_it_has() {
    let (builder, mut port) = with_port(true);
    let client = builder.pool(|pool| pool.max_size(2)).build().unwrap();
    // The server shows that it reads frames.
    let both = [ask(&client, 0), ask(&client, 1)];
    let mut far = port.accept().await;
    for body in [b"0", b"1"] {
        assert_eq!(far.request().await, body);
    }
    far.send(&[frame(b"0"), frame(b"1")].concat()).await;
    for (number, asked) in (0..).zip(both) {
        assert_eq!(asked.await.unwrap().unwrap(), number);
    }
    let turned_away = ask(&client, 2);
    let taken = ask(&client, 3);
    assert_eq!([far.request().await, far.request().await], [b"2", b"3"]);
    far.reply(NOT_TAKEN).await;
    settle().await;
    // Before the one that was turned away is sent again.
    let other = ask(&client, 4);
    let mut second = port.accept().await;
    assert_eq!(second.request().await, b"4");
    second.reply(b"4").await;
    assert_eq!(other.await.unwrap().unwrap(), 4);
    assert_eq!(second.request().await, b"2");
    second.reply(b"2").await;
    assert_eq!(turned_away.await.unwrap().unwrap(), 2);
    far.reply(b"3").await;
    assert_eq!(taken.await.unwrap().unwrap(), 3);
    assert!(far.ended().await, "and nothing was sent on it");
}

#[tokio::test(start_paused = true)]
async fn where_all_servers_drain_the_refusal_is_told_after_five_attempts_with_pauses() {
    for pipelined in MODES {
        let (builder, port) = with_port(pipelined);
        let client = builder.build().unwrap();
        let server = turns_away(port);
        for number in 1..=100 {
            let began = Instant::now();
            let error = ask(&client, number).await.unwrap().unwrap_err();
            assert!(is_turned_away(&error), "{pipelined}: {error:?}");
            assert!(
                began.elapsed() >= 150 * MS,
                "{pipelined}: {:?}",
                began.elapsed()
            );
            assert_eq!(client.retries().turned_away, 4 * number, "{pipelined}");
        }
        assert_eq!(
            client.retries().granted,
            0,
            "the budget has nothing to do with it"
        );
        drop(client);
        assert_eq!(server.await.unwrap(), 500, "{pipelined}");
    }
}

#[tokio::test(start_paused = true)]
async fn requests_that_are_turned_away_keep_to_their_deadline() {
    for pipelined in MODES {
        let (builder, mut port) = with_port(pipelined);
        let client = builder.build().unwrap();
        let mut far = warm(&client, &mut port).await;
        // Long enough for nobody to have looked at the clock as it began.
        let began = Instant::now();
        let asked = ask_within(&client, 2 * SECOND, 1);
        assert_eq!(far.request().await, b"1");
        tokio::time::sleep(1_500 * MS).await;
        far.reply(NOT_TAKEN).await;
        let mut second = port.accept().await;
        assert_eq!(second.request().await, b"1");
        let error = asked.await.unwrap().unwrap_err();
        assert!(matches!(error, RequestError::TimedOut { .. }), "{error:?}");
        assert!(
            began.elapsed() <= 2_200 * MS,
            "{pipelined}: {:?}",
            began.elapsed()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn without_time_for_a_pause_the_refusal_is_told_at_once() {
    for pipelined in MODES {
        let (builder, port) = with_port(pipelined);
        let client = builder.build().unwrap();
        let server = turns_away(port);
        let error = ask_within(&client, 5 * MS, 1).await.unwrap().unwrap_err();
        assert!(is_turned_away(&error), "{pipelined}: {error:?}");
        drop(client);
        assert_eq!(server.await.unwrap(), 1, "{pipelined}");
    }
}

/// Nobody may take the second attempt's refusal for the fate of the first.
#[tokio::test(start_paused = true)]
async fn what_may_have_been_executed_before_it_was_turned_away_is_told() {
    for pipelined in MODES {
        let (builder, mut port) = with_port(pipelined);
        let client = builder.build().unwrap();
        let mut far = warm(&client, &mut port).await;
        let asking = client.clone();
        let asked = tokio::spawn(async move { asking.idempotent().request::<_, u64>(&1).await });
        assert_eq!(far.request().await, b"1");
        drop(far);
        let server = turns_away(port);
        let error = asked.await.unwrap().unwrap_err();
        assert_eq!(error.execution(), Execution::Possible, "{error:?}");
        drop(client);
        assert_eq!(server.await.unwrap(), 5, "{pipelined}");
    }
}

#[tokio::test(start_paused = true)]
async fn bodies_that_nothing_is_asked_of_are_not_sent_again() {
    for pipelined in MODES {
        let (builder, port) = with_port(pipelined);
        let client = builder
            .error_replies(ErrorReplies::AreReplies)
            .build()
            .unwrap();
        let server = turns_away(port);
        assert_eq!(client.exchange(b"1").await.unwrap(), NOT_TAKEN);
        let reply: serde_json::Value = client.request(&1).await.unwrap();
        assert_eq!(reply["error"]["code"], -32_003);
        assert_eq!(client.retries().turned_away, 0);
        drop(client);
        assert_eq!(server.await.unwrap(), 2, "{pipelined}");
    }
}

/// A client whose pool tells callers of an outage after a second.
fn hasty(pipelined: bool) -> (Client, Port) {
    let (builder, port) = with_port(pipelined);
    let builder = builder.pool(|pool| pool.outage_grace(SECOND).acquire_timeout(20 * SECOND));
    (builder.build().unwrap(), port)
}

fn ask_patiently(client: &Client, deadline: Duration) -> JoinHandle<Result<Vec<u8>, RequestError>> {
    let client = client.clone();
    tokio::spawn(async move {
        let patient = client.wait_through_outage().within(deadline);
        patient.exchange(b"1").await.map(|reply| reply.to_vec())
    })
}

#[tokio::test(start_paused = true)]
async fn a_request_may_wait_through_an_outage_until_its_own_deadline() {
    for pipelined in MODES {
        let (client, port) = hasty(pipelined);
        drop(port);
        let error = client
            .within(100 * SECOND)
            .exchange(b"1")
            .await
            .unwrap_err();
        assert!(
            matches!(
                error,
                RequestError::Acquire(AcquireError::Unavailable { .. })
            ),
            "{error:?}"
        );
        // Also one that comes before the outage is told.
        let (client, port) = hasty(pipelined);
        drop(port);
        let began = Instant::now();
        let error = ask_patiently(&client, 100 * SECOND)
            .await
            .unwrap()
            .unwrap_err();
        assert!(
            matches!(error, RequestError::Acquire(AcquireError::TimedOut(_))),
            "{error:?}"
        );
        let waited = began.elapsed();
        assert!((99 * SECOND..=101 * SECOND).contains(&waited), "{waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn requests_that_waited_through_an_outage_are_answered_when_it_is_over() {
    for pipelined in MODES {
        let (client, mut port) = hasty(pipelined);
        port.tally.is_down.store(true, Ordering::Relaxed);
        let all: Vec<_> = (0..20)
            .map(|_| ask_patiently(&client, 600 * SECOND))
            .collect();
        // Longer than the pool's own settings let anybody wait.
        tokio::time::sleep(60 * SECOND).await;
        assert!(all.iter().all(|asked| !asked.is_finished()), "{pipelined}");
        port.tally.is_down.store(false, Ordering::Relaxed);
        let over = Instant::now();
        let server = tokio::spawn(async move {
            while let Some(stream) = port.accepted.recv().await {
                tokio::spawn(Far(stream).echo());
            }
        });
        for asked in all {
            let reply = timeout(FOREVER, asked).await.expect("an end").unwrap();
            assert_eq!(reply.unwrap(), b"1", "{pipelined}");
        }
        assert!(over.elapsed() <= 10 * SECOND, "{:?}", over.elapsed());
        drop(client);
        server.await.unwrap();
    }
}

/// Whoever waits takes part in the pool's backoff, and dials no more often.
#[tokio::test(start_paused = true)]
async fn a_server_that_accepts_and_hangs_up_is_not_dialled_without_end_for_those_who_wait() {
    for pipelined in MODES {
        let (client, mut port) = hasty(pipelined);
        let tally = Arc::clone(&port.tally);
        tokio::spawn(async move { while port.accepted.recv().await.is_some() {} });
        let all: Vec<_> = (0..20)
            .map(|_| ask_patiently(&client, 60 * SECOND))
            .collect();
        for asked in all {
            let error = timeout(FOREVER, asked).await.expect("an end").unwrap();
            assert_eq!(error.unwrap_err().execution(), Execution::Impossible);
        }
        let opened = tally.opened();
        assert!(opened <= 200, "{pipelined}: {opened} in a minute");
    }
}
