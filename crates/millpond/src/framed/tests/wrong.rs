//! Framings that are wrong end with an error, and never with a panic or a loop without end.

use tokio::io::AsyncWriteExt;

use super::{framings::Stubborn, *};
use crate::memory::Pace;

fn frame_of(body: usize) -> Extent {
    Extent {
        head: 0,
        body,
        tail: 0,
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_cannot_be_true_is_an_error_in_every_way_of_reading() {
    let endless = Extent {
        head: 20,
        body: usize::MAX,
        tail: 2,
    };
    for (answer, announces) in [
        (Step::Frame(frame_of(0)), None),
        (Step::Frame(frame_of(4)), None),
        (Step::Frame(endless), None),
        (Step::Heartbeat { length: 0 }, None),
        (Step::Heartbeat { length: 4 }, None),
        (Step::More { missing: 0 }, None),
        (Step::More { missing: 1 }, Some(frame_of(3))),
        (Step::More { missing: 1 }, Some(frame_of(0))),
    ] {
        let framing = Stubborn { answer, announces };
        let wrong = FrameError::WrongAnswer {
            answer,
            received: 3,
        };
        let mut cx = Context::from_waker(Waker::noop());

        let (mut framed, mut far) = pair(Pace::AtOnce, 100);
        far.write_all(b"abc").await.unwrap();
        let next = framed.poll_next(&framing, framing::Context::REPLY, &mut cx);
        assert!(
            matches!(&next, Poll::Ready(Err(ReadError::Frame(error))) if *error == wrong),
            "{next:?}"
        );

        let (mut framed, mut far) = pair(Pace::AtOnce, 100);
        far.write_all(b"abc").await.unwrap();
        let batch = framed.poll_batch(&framing, &mut cx, &mut Each(|item| panic!("{item:?}")));
        assert!(
            matches!(&batch, Poll::Ready(Err(ReadError::Frame(error))) if *error == wrong),
            "{batch:?}"
        );

        let (mut framed, mut far) = pair(Pace::AtOnce, 100);
        far.write_all(b"abc").await.unwrap();
        assert_eq!(framed.receive_now().unwrap(), 3);
        assert_eq!(framed.take(&framing, framing::Context::REPLY), Err(wrong));
    }
}

/// What it says to be missing is only a hint.
#[tokio::test(start_paused = true)]
async fn a_framing_that_misses_more_than_memory_holds_is_given_what_arrives() {
    let framing = Stubborn {
        answer: Step::More {
            missing: usize::MAX,
        },
        announces: Some(frame_of(usize::MAX)),
    };
    let (mut framed, mut far) = pair(Pace::AtOnce, 1 << 20);
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..3 {
        far.write_all(&[b'a'; 50_000]).await.unwrap();
        assert!(
            framed
                .poll_next(&framing, framing::Context::REPLY, &mut cx)
                .is_pending()
        );
    }
    assert_eq!(framed.left_over().len(), 150_000);
    assert!(framed.decoder.received.capacity() <= 4 * 150_000);
}
