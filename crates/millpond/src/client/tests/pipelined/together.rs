//! Requests of one flow that are begun together: each gets what it would have got by itself.

use std::{future::poll_fn, pin::pin, sync::Mutex, task::Poll};

use super::super::asking::asking;
use super::*;
use crate::{
    client::{FirstAttempt, Flow},
    framing::{Context, Extent, Frame},
};

/// What has become of each so far.
type Told = Arc<Mutex<Vec<(usize, Result<String, RequestError>)>>>;

fn frames(bodies: &[String]) -> Vec<Frame> {
    let framing = LengthJson::default();
    let parsed = |body: &String| Frame::parse(&framing, Context::REQUEST, frame(body.as_bytes()));
    bodies
        .iter()
        .map(parsed)
        .collect::<Result<_, _>>()
        .expect("frames")
}

fn text(replied: &crate::framed::Replied) -> String {
    String::from_utf8(replied.body().to_vec()).expect("text")
}

/// Begun together, and followed to their ends in a task.
fn together(
    client: &Client,
    flow: &Arc<Flow<LengthJson>>,
    bodies: &[String],
    within: Duration,
) -> (Told, JoinHandle<()>) {
    let (client, flow, frames) = (client.clone(), Arc::clone(flow), frames(bodies));
    let told = Told::default();
    let telling = Arc::clone(&told);
    let until = Instant::now() + within;
    let begun = client.pass_on_together(&frames, &flow, Some(until));
    let mut begun = begun.expect("there is room");
    assert_eq!(begun.count(), frames.len());
    let task = tokio::spawn(async move {
        let mut failed: Vec<(usize, FirstAttempt)> = Vec::new();
        let told = |index, told| telling.lock().unwrap().push((index, told));
        poll_fn(|cx| {
            begun.poll(cx, |index, attempted| match attempted {
                Ok(replied) => told(index, Ok(text(&replied))),
                Err(attempt) => failed.push((index, attempt)),
            })
        })
        .await;
        for (index, attempt) in failed {
            let frame = frames[index].as_bytes();
            let replied = client.pass_on_again(frame, &flow, attempt).await;
            told(index, replied.map(|replied| text(&replied)));
        }
    });
    (told, task)
}

fn flow(client: &Client) -> Arc<Flow<LengthJson>> {
    Arc::new(client.flow().expect("it is pipelined"))
}

fn replies(told: &Told) -> Vec<(usize, String)> {
    let told = told.lock().unwrap();
    let replies = told.iter().filter_map(|(index, told)| {
        let reply = told.as_ref().ok()?;
        Some((*index, reply.clone()))
    });
    replies.collect()
}

fn numbered(of: std::ops::Range<usize>, first: usize) -> Vec<(usize, String)> {
    of.map(|number| (number - first, number.to_string()))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn they_are_written_together_and_told_as_their_replies_come() {
    let (builder, mut port) = pipelined(32);
    let client = builder.build().unwrap();
    let mut far = proven(&client, &mut port).await;
    let flow = flow(&client);
    let writes = || port.tally.writes.load(std::sync::atomic::Ordering::Relaxed);
    let before = writes();
    let (told, task) = together(&client, &flow, &numbers(10..20), SECOND);
    assert_eq!(far.arrived().await, numbers(10..20));
    assert_eq!((writes() - before, in_flight(&client)), (1, vec![10]));
    // Another caller comes behind them.
    let other = asked(&client, "99");
    assert_eq!(far.arrived().await, ["99"]);
    for (from, to) in [(10, 11), (11, 15), (15, 20)] {
        far.replies(&numbers(from..to)).await;
        settle().await;
        assert_eq!(replies(&told), numbered(10..to, 10));
        assert_eq!(in_flight(&client), [20 - to + 1]);
    }
    task.await.unwrap();
    far.reply(b"99").await;
    assert_eq!(reply_of(other).await, "99");
    tokio::time::sleep(QUIET).await;
    at_rest(&client, &port, 1);
}

#[tokio::test(start_paused = true)]
async fn none_are_begun_for_a_server_that_has_not_proven_itself() {
    let (builder, mut port) = pipelined(32);
    let client = builder.build().unwrap();
    let flow = flow(&client);
    let both = frames(&numbers(10..12));
    assert!(client.pass_on_together(&both, &flow, None).is_none());
    // Nor while the one that is tried first is unanswered.
    let first = asked(&client, "0");
    let mut far = port.accept().await;
    assert_eq!(far.arrived().await, ["0"]);
    assert!(client.pass_on_together(&both, &flow, None).is_none());
    far.reply(b"0").await;
    assert_eq!(reply_of(first).await, "0");
}

#[tokio::test(start_paused = true)]
async fn as_many_are_begun_as_have_room() {
    let (builder, mut port) = pipelined(4);
    let client = builder.build().unwrap();
    let mut far = proven(&client, &mut port).await;
    let flow = flow(&client);
    let one = asked(&client, "9");
    assert_eq!(far.arrived().await, ["9"]);
    let all = frames(&numbers(10..20));
    let begun = client
        .pass_on_together(&all, &flow, None)
        .expect("there is room");
    assert_eq!(begun.count(), 3);
    assert!(client.pass_on_together(&all, &flow, None).is_none());
    assert_eq!(far.arrived().await, numbers(10..13));
    // Their caller leaves, and their replies are nobody's.
    drop(begun);
    far.replies(&["9".into(), "10".into(), "11".into(), "12".into()])
        .await;
    assert_eq!(reply_of(one).await, "9");
    // Nobody is about to pick them up, so a lone caller waits for no driver.
    let writes = || port.tally.writes.load(std::sync::atomic::Ordering::Relaxed);
    let before = writes();
    let mut next = pin!(client.exchange(b"20"));
    let is_pending = poll_fn(|cx| Poll::Ready(next.as_mut().poll(cx).is_pending())).await;
    assert_eq!((is_pending, writes() - before), (true, 1));
    assert_eq!(far.arrived().await, ["20"]);
    far.reply(b"20").await;
    assert_eq!(next.await.expect("a reply"), "20");
    assert_eq!(port.tally.opened(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_frame_ends_those_that_are_begun() {
    let (builder, mut port) = pipelined(32);
    let client = builder.build().unwrap();
    let mut far = proven(&client, &mut port).await;
    let flow = flow(&client);
    let mut all = frames(&numbers(10..14));
    let extent = Extent {
        head: 0,
        body: 8,
        tail: 0,
    };
    all[2] = Frame::new("no frame".into(), extent);
    let begun = client
        .pass_on_together(&all, &flow, None)
        .expect("there is room");
    assert_eq!(begun.count(), 2);
    assert_eq!(far.arrived().await, numbers(10..12));
}

#[tokio::test(start_paused = true)]
async fn those_that_get_no_reply_or_several_or_that_pin_end_them_as_well() {
    let (builder, mut port) = asking(true, Pace::AtOnce);
    let client = builder.build().expect("valid settings");
    let mut far = proven(&client, &mut port).await;
    let flow = client.flow().expect("it is pipelined");
    for other in ["s", "m", "p", "x"] {
        let all = frames(&["1", "i2", other, "3"].map(String::from));
        let begun = client.pass_on_together(&all, &flow, None);
        let begun = begun.expect("there is room");
        assert_eq!(begun.count(), 2, "{other}");
        assert_eq!(far.arrived().await, ["1", "i2"]);
        far.replies(&["1", "2"].map(String::from)).await;
        settle().await;
    }
}

#[tokio::test(start_paused = true)]
async fn their_deadline_is_that_of_each_that_is_unanswered() {
    let (builder, mut port) = pipelined(32);
    let client = builder.build().unwrap();
    let mut far = proven(&client, &mut port).await;
    let flow = flow(&client);
    let before = asked(&client, "9");
    settle().await;
    let (told, task) = together(&client, &flow, &numbers(10..14), 1_234 * MS);
    let began = Instant::now();
    assert_eq!(far.arrived().await, ["9", "10", "11", "12", "13"]);
    tokio::time::sleep(SECOND).await;
    far.replies(&["9".into(), "10".into()]).await;
    assert_eq!(reply_of(before).await, "9");
    settle().await;
    assert_eq!(replies(&told), numbered(10..11, 10));
    task.await.unwrap();
    assert_eq!(began.elapsed(), 1_234 * MS);
    {
        let told = told.lock().unwrap();
        let indices: Vec<usize> = told.iter().map(|(index, _)| *index).collect();
        assert_eq!(indices, [0, 1, 2, 3]);
        for (_, told) in &told[1..] {
            let Err(RequestError::TimedOut { within, execution }) = told else {
                panic!("{told:?}");
            };
            assert_eq!((*within, *execution), (1_234 * MS, Execution::Possible));
        }
    }
    // The second was next, so its connection is of no use any more.
    assert!(far.ended().await);
}

/// Those behind another whose reply doesn't come are told in time, and their late replies are
/// dropped.
#[tokio::test(start_paused = true)]
async fn past_their_deadline_behind_another_their_replies_are_dropped() {
    let (builder, mut port) = pipelined(32);
    let client = builder.build().unwrap();
    let mut far = proven(&client, &mut port).await;
    let flow = flow(&client);
    let before = asked(&client, "9");
    settle().await;
    let (told, task) = together(&client, &flow, &numbers(10..13), SECOND);
    assert_eq!(far.arrived().await, ["9", "10", "11", "12"]);
    task.await.unwrap();
    assert!(replies(&told).is_empty() && told.lock().unwrap().len() == 3);
    assert_eq!(in_flight(&client), [4]);
    let behind = asked(&client, "14");
    assert_eq!(far.arrived().await, ["14"]);
    far.replies(&["9", "10", "11", "12", "14"].map(String::from))
        .await;
    assert_eq!(reply_of(before).await, "9");
    assert_eq!(reply_of(behind).await, "14");
    assert_eq!(port.tally.opened(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_reply_too_many_makes_none_of_its_read_anybodys() {
    let (builder, mut port) = pipelined(32);
    let client = builder.build().unwrap();
    let mut far = proven(&client, &mut port).await;
    let flow = flow(&client);
    let (told, task) = together(&client, &flow, &numbers(10..14), SECOND);
    assert_eq!(far.arrived().await, numbers(10..14));
    far.replies(&numbers(10..11)).await;
    settle().await;
    far.replies(&numbers(11..15)).await;
    task.await.unwrap();
    assert_eq!(replies(&told), numbered(10..11, 10));
    for (_, told) in &told.lock().unwrap()[1..] {
        let error = told.as_ref().unwrap_err();
        assert_lost(
            error,
            |loss| matches!(loss, Loss::NoReply),
            Execution::Possible,
        );
    }
}

/// As of requests that are begun one by one: of those that weren't sent the last alone may be sent
/// again, for others were begun behind the others.
#[tokio::test(start_paused = true)]
async fn of_those_that_were_not_sent_the_last_is_sent_again() {
    let (builder, mut port) = pipelined(32);
    let client = builder.build().unwrap();
    let far = proven(&client, &mut port).await;
    let flow = flow(&client);
    // The driver doesn't know yet that its server has gone.
    drop(far);
    let (told, task) = together(&client, &flow, &numbers(10..13), SECOND);
    let mut far = port.accept().await;
    assert_eq!(far.arrived().await, ["12"]);
    far.reply(b"12").await;
    task.await.unwrap();
    assert_eq!(replies(&told), numbered(12..13, 10));
    for (_, told) in &told.lock().unwrap()[..2] {
        let error = told.as_ref().unwrap_err();
        assert_eq!(error.execution(), Execution::Impossible, "{error:?}");
    }
    assert_eq!(client.retries().granted, 3, "each has asked");
}
