//! A login on each new connection, in both modes: what it exchanges, how it fails, and that nothing
//! of it is taken for a reply.

use std::fmt;

use tokio::time::Instant;

use super::*;
use crate::{
    client::{Login, LoginError, RequestError, RequestErrorKind},
    framed::SendError,
    pool::DialError,
};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

const MODES: [bool; 2] = [false, true];

/// Says `secret`, and expects to be told "welcome".
async fn says(mut login: Login, secret: &'static [u8]) -> Result<Login, BoxError> {
    match &*login.exchange(secret).await? {
        b"\"welcome\"" => Ok(login),
        other => Err(String::from_utf8_lossy(other).into()),
    }
}

fn client_that_says(pipelined: bool, secret: &'static [u8]) -> (Client, Port) {
    let (builder, port) = builder(Pace::AtOnce);
    let client = in_mode(pipelined, builder)
        .login(move |login| says(login, secret))
        .pool(|pool| {
            pool.connect_timeout(3 * SECOND)
                .outage_grace(Duration::ZERO)
        })
        .build()
        .expect("valid settings");
    (client, port)
}

/// The far end of a server that requires a login.
async fn admits(far: &mut Far) {
    let answer = match &*far.request().await {
        b"\"sesame\"" => &b"\"welcome\""[..],
        _ => b"\"wrong password\"",
    };
    far.reply(answer).await;
}

fn cause_of(error: &RequestError) -> String {
    let RequestError::Acquire(AcquireError::Unavailable { .. }) = error else {
        panic!("{error:?}");
    };
    assert_eq!(error.kind(), RequestErrorKind::Unreachable);
    Chain(error).to_string()
}

/// There was no connection, and this is the end of what the caller was told.
fn assert_no_connection<T: fmt::Debug>(reply: Result<T, RequestError>, why: &str) {
    let cause = cause_of(&reply.unwrap_err());
    assert!(cause.ends_with(why), "{cause}");
}

#[tokio::test(start_paused = true)]
async fn each_new_connection_is_logged_in_before_it_is_lent() {
    for pipelined in MODES {
        let (client, mut port) = client_that_says(pipelined, b"\"sesame\"");
        for round in 0..2_u64 {
            let (reply, far) = tokio::join!(client.request::<_, u64>(&round), async {
                let mut far = port.accept().await;
                admits(&mut far).await;
                let body = far.request().await;
                far.reply(&body).await;
                far
            });
            assert_eq!(reply.unwrap(), round);
            let (reply, far) = tokio::join!(client.request::<_, u64>(&7), async {
                let mut far = far;
                assert_eq!(far.request().await, b"7", "once for each connection");
                far.reply(b"7").await;
                far
            });
            assert_eq!(reply.unwrap(), 7);
            drop(far);
            tokio::time::sleep(SECOND).await;
        }
        assert_eq!(port.tally.opened(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_wrong_password_is_a_failed_dial_with_its_cause() {
    for pipelined in MODES {
        let (client, mut port) = client_that_says(pipelined, b"\"please\"");
        let (reply, ()) = tokio::join!(client.exchange(b"1"), async {
            admits(&mut port.accept().await).await;
        });
        let cause = cause_of(&reply.unwrap_err());
        assert!(
            cause.contains("the login failed: \"wrong password\""),
            "{cause}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_login_that_hangs_ends_with_connect_timeout() {
    for pipelined in MODES {
        let (client, mut port) = client_that_says(pipelined, b"\"sesame\"");
        let began = Instant::now();
        let (reply, _far) = tokio::join!(client.exchange(b"1"), async {
            let mut far = port.accept().await;
            far.request().await;
            far
        });
        let error = reply.unwrap_err();
        assert_eq!(began.elapsed(), 3 * SECOND);
        let RequestError::Acquire(AcquireError::Unavailable { cause, .. }) = &error else {
            panic!("{error:?}");
        };
        assert!(matches!(cause, DialError::TimedOut { .. }), "{cause:?}");
        let cause = cause_of(&error);
        assert!(cause.contains("while logging in"), "{cause}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_up_during_the_login_is_told() {
    let (client, mut port) = client_that_says(false, b"\"sesame\"");
    let (reply, ()) = tokio::join!(client.exchange(b"1"), async {
        port.accept().await.request().await;
    });
    assert_no_connection(reply, "the login failed: the server closed the connection");
}

/// What is still to come for a login would be taken for the reply to a request.
#[tokio::test(start_paused = true)]
async fn nothing_of_a_login_is_taken_for_a_reply() {
    for (left, told) in [
        (&frame(b"1")[..], "the server sent more than was asked for"),
        (b"HeartBeatl", "the server sent more than was asked for"),
    ] {
        let (client, mut port) = client_that_says(false, b"\"sesame\"");
        let (reply, _far) = tokio::join!(client.exchange(b"1"), async {
            let mut far = port.accept().await;
            far.request().await;
            far.send(&[&frame(b"\"welcome\""), left].concat()).await;
            far
        });
        assert_no_connection(reply, told);
    }
    // A login that doesn't wait for its own reply.
    let (builder, mut port) = builder(Pace::AtOnce);
    let client = builder
        .login(|mut login| async {
            let hasty = timeout(MS, login.exchange(b"0")).await;
            assert!(hasty.is_err(), "the server takes its time");
            Ok(login)
        })
        .pool(|pool| pool.outage_grace(Duration::ZERO))
        .build()
        .unwrap();
    let (reply, _far) = tokio::join!(client.exchange(b"1"), async {
        let mut far = port.accept().await;
        far.request().await;
        far
    });
    assert_no_connection(reply, "it left a request of its own unanswered");
}

#[tokio::test(start_paused = true)]
async fn a_greeting_and_heartbeats_belong_to_the_login() {
    let (builder, mut port) = builder(Pace::AtOnce);
    let client = builder
        .login(|mut login| async {
            assert_eq!(login.greeting().await?, "\"hello\"");
            says(login, b"\"sesame\"").await
        })
        .build()
        .unwrap();
    let (reply, ()) = tokio::join!(client.exchange(b"1"), async {
        let mut far = port.accept().await;
        far.send(&[HEARTBEAT, &frame(b"\"hello\""), HEARTBEAT].concat())
            .await;
        assert_eq!(far.request().await, b"\"sesame\"");
        far.send(&[&frame(b"\"welcome\"")[..], HEARTBEAT, b"Heart"].concat())
            .await;
        assert_eq!(far.request().await, b"1");
        far.send(b"Beat").await;
        far.reply(b"2").await;
    });
    assert_eq!(reply.unwrap(), "2");
}

/// A server may answer before it has read the request. The rest of that must not be missing before
/// the next.
#[tokio::test(start_paused = true)]
async fn a_login_whose_request_is_half_written_is_refused() {
    let (builder, mut port) = builder_with(LengthJson::default(), Pace::AtOnce, 64);
    let client = builder
        .login(|mut login| async {
            let cut = timeout(MS, login.exchange(&[b'7'; 1_000])).await;
            assert!(cut.is_err(), "the server reads nothing");
            assert_eq!(login.greeting().await?, "5");
            Ok(login)
        })
        .pool(|pool| pool.outage_grace(Duration::ZERO))
        .build()
        .unwrap();
    let (reply, _far) = tokio::join!(client.exchange(b"1"), async {
        let mut far = port.accept().await;
        tokio::time::sleep(10 * MS).await;
        far.reply(b"5").await;
        far
    });
    assert_no_connection(reply, "it left a part of a request of its own unsent");
}

/// What was read before an error is gone, and nobody knows what comes behind it.
#[tokio::test(start_paused = true)]
async fn a_login_that_ignores_an_error_of_its_connection_is_refused() {
    for (said, hangs_up) in [
        (&b"220 welcome\r\n"[..], false),
        (b"Heart", true),
        (b"", true),
    ] {
        let (builder, mut port) = builder(Pace::AtOnce);
        let client = builder
            .login(|mut login| async {
                login.greeting().await.expect_err("no greeting");
                Ok(login)
            })
            .pool(|pool| pool.outage_grace(Duration::ZERO))
            .build()
            .unwrap();
        let (reply, _far) = tokio::join!(client.exchange(b"1"), async {
            let mut far = port.accept().await;
            far.send(said).await;
            (!hangs_up).then_some(far)
        });
        assert_no_connection(reply, "it went on after an error that ends the connection");
    }
}

/// Though a reply has come as well.
#[tokio::test(start_paused = true)]
async fn a_login_whose_request_could_not_be_written_is_refused() {
    let (builder, mut port) = builder_with(LengthJson::default(), Pace::AtOnce, 64);
    let client = builder
        .login(|mut login| async {
            let sent = login.exchange(&[b'7'; 1_000]).await;
            assert!(
                matches!(sent, Err(LoginError::Send(SendError::Io(_)))),
                "{sent:?}"
            );
            assert_eq!(login.greeting().await?, "5");
            Ok(login)
        })
        .pool(|pool| pool.outage_grace(Duration::ZERO))
        .build()
        .unwrap();
    let (reply, _far) = tokio::join!(client.exchange(b"1"), async {
        let mut far = port.accept().await;
        far.reply(b"5").await;
        far.0.stop_reading();
        far
    });
    assert_no_connection(reply, "it went on after an error that ends the connection");
}

#[tokio::test(start_paused = true)]
async fn a_login_goes_on_after_a_request_that_could_not_be_framed() {
    let (builder, mut port) = builder_with(LengthJson::with_max_body(10), Pace::AtOnce, CAPACITY);
    let client = builder
        .login(|mut login| async {
            let unframeable = login.exchange(&[b'7'; 11]).await;
            assert!(
                matches!(
                    unframeable,
                    Err(LoginError::Send(SendError::Unframeable(_)))
                ),
                "{unframeable:?}"
            );
            login.exchange(b"0").await?;
            Ok(login)
        })
        .build()
        .unwrap();
    let (reply, ()) = tokio::join!(client.exchange(b"1"), async {
        let mut far = port.accept().await;
        for body in [b"0", b"1"] {
            assert_eq!(far.request().await, body);
            far.reply(body).await;
        }
    });
    assert_eq!(reply.unwrap(), "1");
}

#[tokio::test(start_paused = true)]
async fn a_login_that_returns_another_connections_is_refused() {
    let (builder, _port) = builder(Pace::AtOnce);
    // Each returns the one before it.
    let before = Arc::new(std::sync::Mutex::new(None));
    let client = builder
        .login(move |login| {
            let before = before.lock().unwrap().replace(login);
            async move { before.ok_or_else(|| "the first".into()) }
        })
        .pool(|pool| pool.outage_grace(SECOND))
        .build()
        .unwrap();
    assert_no_connection(
        client.exchange(b"1").await,
        "it returned the login of another connection",
    );
}
