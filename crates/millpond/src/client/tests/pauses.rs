//! Servers that need a rest: after they have accepted, and after each reply.

use super::*;
use crate::client::{RequestErrorKind, Script};

fn resting() -> (Client, Port) {
    let (builder, port) = builder(Pace::AtOnce);
    let builder = builder.connect_pause(30 * MS).request_pause(20 * MS);
    (builder.build().expect("valid settings"), port)
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_before_the_pause_is_over() {
    let (client, mut port) = resting();
    let began = tokio::time::Instant::now();
    let server = tokio::spawn(async move {
        let mut far = port.accept().await;
        let mut came = Vec::new();
        while let Some(body) = far.request_or_end().await {
            came.push(began.elapsed());
            tokio::time::sleep(5 * MS).await;
            far.reply(&body).await;
        }
        came
    });
    for body in [b"1", b"2", b"3"] {
        assert_eq!(client.exchange(body).await.expect("a reply"), &body[..]);
    }
    // Who has rested for long enough isn't waited for.
    tokio::time::sleep(100 * MS).await;
    let asked = began.elapsed();
    client.exchange(b"4").await.expect("a reply");
    assert_eq!(began.elapsed() - asked, 5 * MS);
    drop(client);
    let came = server.await.expect("no panic");
    assert_eq!(came, [30 * MS, 55 * MS, 80 * MS, 185 * MS]);
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_time_ends_in_the_pause_is_not_sent_and_costs_nothing() {
    let (client, mut port) = resting();
    let mut far = warm(&client, &mut port).await;
    let soon = client.within(10 * MS).exchange(b"1").await;
    let error = soon.expect_err("no time is left");
    assert_eq!(error.kind(), RequestErrorKind::TimedOut);
    let cancelled = timeout(5 * MS, client.exchange(b"2")).await;
    assert!(cancelled.is_err(), "it waits");
    let (reply, ()) = tokio::join!(client.exchange(b"3"), async {
        assert_eq!(far.request().await, b"3", "nothing else was sent");
        far.reply(b"3").await;
    });
    assert_eq!(reply.expect("a reply"), &b"3"[..]);
    assert_eq!(port.tally.opened(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_goes_elsewhere_if_the_connection_ends_in_the_pause() {
    let (client, mut port) = resting();
    let far = warm(&client, &mut port).await;
    let asked = tokio::spawn({
        let client = client.clone();
        async move { client.exchange(b"1").await }
    });
    settle().await;
    drop(far);
    let mut far = port.accept().await;
    assert_eq!(far.request().await, b"1");
    far.reply(b"1").await;
    assert_eq!(asked.await.expect("no panic").expect("a reply"), &b"1"[..]);
}

#[tokio::test(start_paused = true)]
async fn a_login_comes_after_the_rest_and_has_one_behind_it() {
    let (builder, mut port) = builder(Pace::AtOnce);
    let builder = builder.connect_pause(30 * MS).request_pause(20 * MS);
    let builder = builder.on_connect(Script::new().step("0", "0"));
    let client = builder.build().expect("valid settings");
    let began = tokio::time::Instant::now();
    let asked = tokio::spawn(async move { client.exchange(b"1").await.map(drop) });
    let mut far = port.accept().await;
    for (body, at) in [(b"0", 30 * MS), (b"1", 50 * MS)] {
        assert_eq!(far.request().await, body);
        assert_eq!(began.elapsed(), at);
        far.reply(body).await;
    }
    asked.await.expect("no panic").expect("a reply");
}
