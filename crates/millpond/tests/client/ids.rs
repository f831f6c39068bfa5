//! Protocols with ids: a client numbers its requests, and finds out a server that answers another.

use std::time::Duration;

use millpond::{
    client::{Client, Execution, Loss, Pipelining, RequestError, RequestErrorKind},
    pool::Eviction,
};

use crate::store::numbered::{Echo, Numbered, frame};

async fn clients(echo: Echo) -> [Client<Numbered>; 2] {
    let endpoint = echo.start().await;
    let builder = || {
        Client::to(&endpoint)
            .expect("an endpoint")
            .framing(Numbered)
            .deadline(Duration::from_secs(30))
            .pool(|pool| pool.max_size(1))
    };
    let exclusive = builder().build().expect("a client");
    let pipelined = builder().pipelined(Pipelining::default());
    [exclusive, pipelined.build().expect("a client")]
}

#[tokio::test]
async fn the_ids_of_whole_frames_come_back_whatever_they_were() {
    for client in clients(Echo::InOrder).await {
        let exchanges = (0..40_u16).map(|number| {
            let client = client.clone();
            tokio::spawn(async move {
                // Many callers count from 0, each for itself.
                let request = frame(number % 3, format!("body {number}").as_bytes());
                let replies = client.forward(&request).await.expect("a reply");
                assert_eq!(replies.len(), 1);
                assert_eq!(replies[0].as_bytes(), request);
            })
        });
        for exchange in exchanges.collect::<Vec<_>>() {
            exchange.await.expect("its own reply");
        }
        assert_eq!(client.exchange(b"body").await.unwrap(), "body");
        let short = client.forward(b"\0").await.unwrap_err();
        assert!(matches!(short, RequestError::Unframeable(_)), "{short:?}");
    }
}

/// How many of so many requests that are sent together were answered rightly, were told that the
/// reply is another's, or that the connection is lost.
async fn ask_together(client: &Client<Numbered>, round: usize) -> (usize, usize, usize) {
    let exchanges = (0..8).map(|number| {
        let client = client.clone();
        tokio::spawn(async move {
            let body = format!("{round} {number}");
            (client.exchange(body.as_bytes()).await, body)
        })
    });
    let (mut right, mut mismatched, mut lost) = (0, 0, 0);
    for exchange in exchanges.collect::<Vec<_>>() {
        match exchange.await.expect("no panic") {
            (Ok(reply), body) => {
                assert_eq!(reply, body, "never another's");
                right += 1;
            }
            (Err(error @ RequestError::Mismatched), _) => {
                assert_eq!(error.kind(), RequestErrorKind::Mismatched);
                assert_eq!(error.execution(), Execution::Possible);
                mismatched += 1;
            }
            (
                Err(RequestError::Lost {
                    cause: Loss::Mismatched,
                    ..
                }),
                _,
            ) => lost += 1,
            (Err(error), _) => panic!("{error:?}"),
        }
    }
    (right, mismatched, lost)
}

#[tokio::test]
async fn swapped_replies_are_told_and_delivered_to_nobody() {
    let [_, pipelined] = clients(Echo::Swapped).await;
    let mut mismatches = 0;
    for round in 0..50 {
        let (_, mismatched, _) = ask_together(&pipelined, round).await;
        mismatches += mismatched;
    }
    assert!(mismatches > 0, "two were sent together at some time");
    let totals = pipelined.snapshot().pool.totals;
    assert_eq!(
        totals.evicted(Eviction::UnsolicitedBytes),
        u64::try_from(mismatches).unwrap(),
        "each costs its connection"
    );
}

#[tokio::test]
async fn a_late_reply_is_told_in_both_modes() {
    for client in clients(Echo::Late).await {
        assert_eq!(client.exchange(b"first").await.unwrap(), "first");
        let error = client.exchange(b"second").await.unwrap_err();
        assert!(matches!(error, RequestError::Mismatched), "{error:?}");
        assert_eq!(
            error.to_string(),
            "the reply that came answers another request; it may have been executed"
        );
        assert_eq!(client.exchange(b"third").await.unwrap(), "third");
    }
}
