//! What becomes of requests that a server turns away because it drains, and of those that come during an outage, in both modes.

use tokio::time::Instant;

use super::*;
use crate::client::{Execution, Pipelining, RequestError};

const NOT_TAKEN: &[u8] = br#"{"error":{"code":-32003,"message":"this server drains"}}"#;

fn in_mode(pipelined: bool) -> (ClientBuilder, Port) {
    let (builder, port) = builder(Pace::AtOnce);
    match pipelined {
        true => (builder.pipelined(Pipelining::default()), port),
        false => (builder, port),
    }
}

fn ask(client: &Client, number: u64) -> tokio::task::JoinHandle<Result<u64, RequestError>> {
    let client = client.clone();
    tokio::spawn(async move { client.request(&number).await })
}

#[tokio::test(start_paused = true)]
async fn what_a_draining_server_turned_away_is_sent_again_elsewhere() {
    for pipelined in [false, true] {
        let (builder, mut port) = in_mode(pipelined);
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
        assert_eq!(client.retries().granted, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn the_refusal_is_told_when_there_is_no_other_server_or_the_budget_is_used_up() {
    for pipelined in [false, true] {
        let (builder, mut port) = in_mode(pipelined);
        let client = builder.build().unwrap();
        let mut told = 0;
        let server = tokio::spawn(async move {
            let mut requests = 0;
            while let Some(stream) = port.accepted.recv().await {
                let mut far = Far(stream);
                while far.request_or_end().await.is_some() {
                    requests += 1;
                    far.reply(NOT_TAKEN).await;
                }
            }
            requests
        });
        for number in 0..10 {
            let error = ask(&client, number).await.unwrap().unwrap_err();
            let RequestError::Refused(refusal) = &error else {
                panic!("{pipelined}: {error:?}");
            };
            assert_eq!(refusal.code, -32_003);
            assert_eq!(error.execution(), Execution::Impossible);
            told += 1;
        }
        let totals = client.retries();
        assert_eq!(totals.granted + totals.refused, told, "{totals:?}");
        // Pipelined, a tick passes between them, and the budget grows.
        assert!(pipelined || (3..=6).contains(&totals.granted), "{totals:?}");
        drop(client);
        assert_eq!(server.await.unwrap(), told + totals.granted);
    }
}

/// Nobody may take the second attempt's refusal for the fate of the first.
#[tokio::test(start_paused = true)]
async fn what_may_have_been_executed_before_it_was_turned_away_is_told() {
    for pipelined in [false, true] {
        let (builder, mut port) = in_mode(pipelined);
        let client = builder.build().unwrap();
        let mut far = warm(&client, &mut port).await;
        let asking = client.clone();
        let asked = tokio::spawn(async move { asking.idempotent().request::<_, u64>(&1).await });
        assert_eq!(far.request().await, b"1");
        drop(far);
        let mut second = port.accept().await;
        assert_eq!(second.request().await, b"1");
        second.reply(NOT_TAKEN).await;
        let error = asked.await.unwrap().unwrap_err();
        assert_eq!(error.execution(), Execution::Possible, "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_may_wait_through_an_outage_until_its_own_deadline() {
    for pipelined in [false, true] {
        let (builder, port) = in_mode(pipelined);
        let client = builder
            .pool(|pool| pool.outage_grace(SECOND).acquire_timeout(20 * SECOND))
            .build()
            .unwrap();
        drop(port);
        let hasty = client.within(100 * SECOND).exchange(b"1").await.unwrap_err();
        assert!(
            matches!(hasty, RequestError::Acquire(AcquireError::Unavailable { .. })),
            "{hasty:?}"
        );
        let began = Instant::now();
        let patient = client.within(100 * SECOND).wait_through_outage();
        let error = patient.exchange(b"1").await.unwrap_err();
        assert!(
            matches!(error, RequestError::Acquire(AcquireError::TimedOut(_))),
            "{error:?}"
        );
        let waited = began.elapsed();
        assert!((99 * SECOND..=101 * SECOND).contains(&waited), "{waited:?}");
    }
}
