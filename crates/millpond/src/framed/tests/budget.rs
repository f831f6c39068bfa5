//! A read that tokio refuses to a task without budget isn't taken for one that found nothing.

use std::{future::poll_fn, pin::pin};

use tokio::{
    io::AsyncWriteExt,
    net::UnixStream,
    task::{consume_budget, coop::has_budget_remaining},
};

use super::*;

fn use_up_the_budget(cx: &mut Context<'_>) {
    while has_budget_remaining() {
        let _ = pin!(consume_budget()).poll(cx);
    }
}

#[tokio::test]
async fn only_a_read_that_looked_says_that_nothing_more_has_arrived() {
    let framing = LengthJson::default();
    for length in [3, 100_000] {
        let (near, mut far) = UnixStream::pair().unwrap();
        let mut framed = Framed::new(Stream::from(near));
        let wire = frame(length);
        for batches in [false, true] {
            let poll = |framed: &mut Framed, cx: &mut Context<'_>| match batches {
                false => framed
                    .poll_next(&framing, framing::Context::REPLY, cx)
                    .map_ok(drop),
                true => framed.poll_batch(&framing, cx, &mut Each(drop)),
            };
            far.write_all(&wire[..wire.len() - 1]).await.unwrap();
            poll_fn(|cx| {
                use_up_the_budget(cx);
                assert!(poll(&mut framed, cx).is_pending(), "it may not look");
                assert!(!framed.is_caught_up());
                Poll::Ready(())
            })
            .await;
            // In a turn of its own it sees what is there.
            poll_fn(|cx| {
                while poll(&mut framed, cx).is_ready() {}
                match framed.left_over().len() == wire.len() - 1 {
                    true => Poll::Ready(()),
                    false => Poll::Pending,
                }
            })
            .await;
            assert!(framed.is_caught_up());
            far.write_all(&wire[wire.len() - 1..]).await.unwrap();
            poll_fn(|cx| poll(&mut framed, cx)).await.unwrap();
            assert!(!framed.is_caught_up(), "there may be more");
            assert!(framed.left_over().is_empty());
        }
    }
}
