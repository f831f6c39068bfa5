//! Which requests are sent a second time: those that can do no harm by it, whose connection had
//! served before and is dead, once, and only as long as the budget lasts.

use super::*;
use crate::client::{Execution, Loss, RequestError};

/// A server that answers so many requests on each connection, and hangs up when the next has been
/// read.
struct Server {
    requests: Arc<std::sync::Mutex<Vec<Vec<u8>>>>,
}

impl Server {
    fn hanging_up_after(answered: usize, mut port: Port) -> Server {
        let requests = Arc::<std::sync::Mutex<Vec<_>>>::default();
        let seen = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Some(stream) = port.accepted.recv().await {
                let seen = Arc::clone(&seen);
                tokio::spawn(async move {
                    let mut far = Far(stream);
                    for nth in 0..=answered {
                        let Some(body) = far.request_or_end().await else {
                            return;
                        };
                        seen.lock().unwrap().push(body.clone());
                        if nth < answered {
                            far.reply(&body).await;
                        }
                    }
                });
            }
        });
        Server { requests }
    }

    fn seen(&self, body: &[u8]) -> usize {
        let requests = self.requests.lock().unwrap();
        requests.iter().filter(|request| *request == body).count()
    }
}

/// It was lost, and may have been executed.
#[track_caller]
fn assert_lost(error: &RequestError) {
    assert!(
        matches!(
            error,
            RequestError::Lost {
                cause: Loss::Closed,
                execution: Execution::Possible
            }
        ),
        "{error:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_unanswered_request_is_sent_again_only_if_that_is_harmless() {
    let (client, port) = client();
    let server = Server::hanging_up_after(1, port);
    client.exchange(b"1").await.unwrap();
    assert_lost(&client.exchange(b"2").await.unwrap_err());
    assert_eq!(
        (server.seen(b"2"), client.pool().snapshot().totals.opened),
        (1, 1)
    );

    client.exchange(b"3").await.unwrap();
    assert_eq!(client.idempotent().exchange(b"4").await.unwrap(), &b"4"[..]);
    assert_eq!(
        (server.seen(b"4"), client.pool().snapshot().totals.opened),
        (2, 3)
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_of_which_nothing_was_sent_is_sent_again() {
    let (client, mut port) = client();
    let far = warm(&client, &mut port).await;
    // The next write fails, and nothing shows it before.
    far.0.stop_reading();
    let (second, ()) = tokio::join!(client.exchange(b"2"), async {
        let mut far = port.accept().await;
        assert_eq!(far.request().await, b"2");
        far.reply(b"2").await;
    });
    assert_eq!(second.unwrap(), &b"2"[..]);
    assert_eq!(evicted(&client, Eviction::PeerReset), 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_again_on_a_new_connection() {
    let (client, port) = client();
    let server = Server::hanging_up_after(0, port);
    assert_lost(&client.idempotent().exchange(b"1").await.unwrap_err());
    assert_eq!(
        (server.seen(b"1"), client.pool().snapshot().totals.dials),
        (1, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_again_once_something_came_back() {
    for answer in [&b"length:"[..], b"l", b"HeartBeatlength:0000000000002x"] {
        let (client, mut port) = client();
        let (reply, ()) = tokio::join!(
            async {
                client.exchange(b"1").await.unwrap();
                client.idempotent().exchange(b"2").await
            },
            async {
                let mut far = port.accept().await;
                far.request().await;
                far.reply(b"1").await;
                far.request().await;
                far.send(answer).await;
                settle().await;
            }
        );
        assert_lost(&reply.unwrap_err());
        assert_eq!(port.tally.opened(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_is_nothing_that_came_back() {
    let (client, mut port) = client();
    let (reply, ()) = tokio::join!(
        async {
            client.exchange(b"1").await.unwrap();
            client.idempotent().exchange(b"2").await
        },
        async {
            let mut far = port.accept().await;
            far.request().await;
            far.reply(b"1").await;
            far.request().await;
            far.send(HEARTBEAT).await;
            settle().await;
            drop(far);
            let mut far = port.accept().await;
            far.request().await;
            far.reply(b"2").await;
        }
    );
    assert_eq!(reply.unwrap(), &b"2"[..]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_a_third_time() {
    let (builder, port) = builder(Pace::AtOnce);
    let client = builder.pool(|pool| pool.max_size(3)).build().unwrap();
    let server = Server::hanging_up_after(1, port);
    let (one, two, three) = tokio::join!(
        client.exchange(b"1"),
        client.exchange(b"1"),
        client.exchange(b"1")
    );
    assert!(one.is_ok() && two.is_ok() && three.is_ok());
    assert_eq!(client.pool().snapshot().idle, 3);
    assert_lost(&client.idempotent().exchange(b"2").await.unwrap_err());
    assert_eq!(server.seen(b"2"), 2);
    assert_eq!(client.pool().snapshot().idle, 1, "the third wasn't touched");
}

#[tokio::test(start_paused = true)]
async fn when_the_budget_is_used_up_nothing_is_sent_again() {
    let (client, port) = client();
    let server = Server::hanging_up_after(1, port);
    client.exchange(b"1").await.unwrap();
    let mut repeated = 0;
    // Each is the second on its connection; sent again, it is the first on the next.
    let error = loop {
        match client.idempotent().exchange(b"2").await {
            Ok(_) => repeated += 1,
            Err(error) => break error,
        }
    };
    assert_lost(&error);
    assert!((3..=4).contains(&repeated), "{repeated}");
    assert_eq!(server.seen(b"2"), 2 * repeated + 1);
    tokio::time::sleep(SECOND).await;
    client.exchange(b"1").await.unwrap();
    client
        .idempotent()
        .exchange(b"3")
        .await
        .expect("it has some again");
}

#[tokio::test(start_paused = true)]
async fn second_attempts_are_counted_and_so_are_those_that_the_budget_refused() {
    let (client, port) = client();
    let clone = client.clone();
    let _server = Server::hanging_up_after(1, port);
    let counted = || {
        let totals = clone.retries();
        (totals.granted, totals.refused)
    };
    client.exchange(b"1").await.unwrap();
    assert_lost(&client.exchange(b"2").await.unwrap_err());
    assert_eq!(counted(), (0, 0), "it might not be sent again");
    client.exchange(b"3").await.unwrap();
    let mut repeated = 0;
    while client.idempotent().exchange(b"4").await.is_ok() {
        repeated += 1;
        assert_eq!(counted(), (repeated, 0));
    }
    assert_eq!(counted(), (repeated, 1));
    client.exchange(b"5").await.unwrap();
    assert_eq!(counted(), (repeated, 1), "the first on its connection");
}

/// The first attempt may have been executed, whatever becomes of the second.
#[tokio::test(start_paused = true)]
async fn a_failed_second_attempt_does_not_hide_what_the_first_may_have_done() {
    let (client, mut port) = client();
    let (reply, ()) = tokio::join!(
        async {
            client.exchange(b"1").await.unwrap();
            client.idempotent().exchange(b"2").await
        },
        async move {
            let mut far = port.accept().await;
            far.request().await;
            far.reply(b"1").await;
            far.request().await;
            // Nobody listens any more.
            drop(port);
        }
    );
    let error = reply.unwrap_err();
    assert_eq!(error.execution(), Execution::Possible, "{error:?}");
    assert_lost(&error);
}

/// Nor what it may have done when the second finds a connection on which nothing can be sent.
#[tokio::test(start_paused = true)]
async fn nor_does_one_that_could_not_be_sent() {
    let (builder, mut port) = builder(Pace::AtOnce);
    let client = builder.pool(|pool| pool.max_size(2)).build().unwrap();
    let mut fars = Vec::new();
    let (one, two, ()) = tokio::join!(client.exchange(b"1"), client.exchange(b"1"), async {
        for _ in 0..2 {
            let mut far = port.accept().await;
            far.request().await;
            fars.push(far);
        }
        for far in &mut fars {
            far.reply(b"1").await;
        }
    });
    assert!(one.is_ok() && two.is_ok());
    // The connection that came back last is lent first.
    let (mut last, other) = (fars.pop().unwrap(), fars.pop().unwrap());
    other.0.stop_reading();
    let (reply, ()) = tokio::join!(client.idempotent().exchange(b"2"), async {
        last.request().await;
        drop(last);
    });
    let error = reply.unwrap_err();
    assert!(
        matches!(
            error,
            RequestError::Lost {
                cause: Loss::Io(_),
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(error.execution(), Execution::Possible, "{error:?}");
}
