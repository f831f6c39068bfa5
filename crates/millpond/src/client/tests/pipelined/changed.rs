//! Replies that change the state of a connection that others share, which their framing shouldn't
//! have let happen: the connection ends.

use super::super::asking::{Asking, asking};
use super::*;

async fn stage() -> (Client<Asking>, Port, Far) {
    let (builder, mut port) = asking(true, Pace::AtOnce);
    let client = builder.build().expect("valid settings");
    let far = proven(&client, &mut port).await;
    (client, port, far)
}

#[track_caller]
fn assert_changed(error: &RequestError) {
    assert_lost(
        error,
        |cause| matches!(cause, Loss::StateChanged),
        Execution::Possible,
    );
}

async fn assert_next_is_answered_on_another(client: &Client<Asking>, port: &mut Port) {
    assert_eq!(evicted(client, Eviction::UnfinishedExchange), 1);
    let next = asked(client, "next");
    let mut far = port.accept().await;
    assert_eq!(far.arrived().await, ["next"]);
    far.reply(b"its own").await;
    assert_eq!(reply_of(next).await, "its own");
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_changes_the_state_is_its_callers_and_ends_the_connection() {
    // Heartbeats and what the server says on its own are no replies.
    for company in [
        Vec::new(),
        HEARTBEAT.repeat(2),
        [frame(b"!"), HEARTBEAT.into()].concat(),
        b"Heart".to_vec(),
    ] {
        let (client, mut port, mut far) = stage().await;
        let changes = asked(&client, "1");
        assert_eq!(far.arrived().await, ["1"]);
        far.send(&[frame(b"+1"), company].concat()).await;
        assert_eq!(reply_of(changes).await, "+1");
        assert!(far.ended().await);
        assert_next_is_answered_on_another(&client, &mut port).await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_behind_a_reply_that_changes_the_state_is_told() {
    // The others' replies come in the same read, in part, or not at all.
    for others in [
        [frame(b"2"), frame(b"3")].concat(),
        frame(b"2"),
        [frame(b"2"), frame(b"3")[..9].into()].concat(),
        frame(b"-2"),
        frame(b"2")[..9].to_vec(),
        Vec::new(),
    ] {
        let (client, mut port, mut far) = stage().await;
        let all = all_asked(&client, 0, 4).await;
        assert_eq!(far.arrived().await, numbers(0..4));
        far.send(&[frame(b"0"), frame(b"+1"), others].concat())
            .await;
        let mut all = all.into_iter();
        assert_eq!(reply_of(all.next().unwrap()).await, "0");
        assert_eq!(reply_of(all.next().unwrap()).await, "+1");
        for behind in all {
            assert_changed(&error_of(behind).await);
        }
        assert!(far.ended().await);
        assert_next_is_answered_on_another(&client, &mut port).await;
    }
}

/// Which of the two is the reply nobody knows then.
#[tokio::test(start_paused = true)]
async fn a_reply_that_changes_the_state_is_nobodys_if_more_came_than_was_asked_for() {
    for more in [frame(b"2"), frame(b"2")[..9].to_vec()] {
        let (client, mut port, mut far) = stage().await;
        let changes = asked(&client, "1");
        assert_eq!(far.arrived().await, ["1"]);
        far.send(&[frame(b"+1"), more].concat()).await;
        let error = error_of(changes).await;
        let is_no_reply = |cause: &Loss| matches!(cause, Loss::NoReply | Loss::StateChanged);
        assert_lost(&error, is_no_reply, Execution::Possible);
        assert!(far.ended().await);
        let next = asked(&client, "next");
        let mut far = port.accept().await;
        assert_eq!(far.arrived().await, ["next"]);
        far.reply(b"its own").await;
        assert_eq!(reply_of(next).await, "its own");
    }
}

/// What was not written yet goes on another connection.
#[tokio::test(start_paused = true)]
async fn who_waits_while_a_reply_changes_the_state_is_served_on_another_connection() {
    let (builder, mut port) = asking(true, Pace::AtOnce);
    let builder = builder.pipelined(Pipelining::default().depth(2));
    let client = builder.build().expect("valid settings");
    let mut far = proven(&client, &mut port).await;
    let mut all = all_asked(&client, 0, 3).await.into_iter();
    assert_eq!(far.arrived().await, numbers(0..2));
    far.reply(b"+0").await;
    assert_eq!(reply_of(all.next().unwrap()).await, "+0");
    assert_changed(&error_of(all.next().unwrap()).await);
    assert!(far.ended().await);
    let mut far = port.accept().await;
    assert_eq!(far.arrived().await, ["2"]);
    far.reply(b"2").await;
    assert_eq!(reply_of(all.next().unwrap()).await, "2");
}
