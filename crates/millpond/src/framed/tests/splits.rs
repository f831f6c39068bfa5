//! However bytes are cut: the same items come out, the framing looks at each byte a bounded number
//! of times, and the memory held is in proportion to what has arrived. Work is counted, not timed.

use std::{future::poll_fn, sync::atomic::Ordering::Relaxed};

use proptest::prelude::*;
use tokio::io::AsyncWriteExt;

use super::{
    framings::{Lines, Prefixed},
    *,
};
use crate::framed::received::COPIED;
use crate::{framing::Framing, memory::Pace};

/// Which of the two ways to read.
#[derive(Clone, Copy, Debug)]
enum Reading {
    OneByOne,
    Batches,
}

/// What came out of a stream that was given the bytes in pieces of these lengths, in turn; and how
/// many reads that took.
fn read_in_pieces(
    framing: &impl Framing,
    reading: Reading,
    wire: &[u8],
    lengths: &[usize],
) -> (Vec<Item>, usize) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (mut framed, mut far) = pair(Pace::AtOnce, wire.len());
        let (mut items, mut reads, mut rest) = (Vec::new(), 0, wire);
        let mut lengths = lengths.iter().cycle();
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(rest.len().min(*lengths.next().unwrap()));
            far.write_all(piece).await.unwrap();
            rest = behind;
            // Whatever this task has read before: all that has arrived is read.
            let read_all = poll_fn(|cx| {
                loop {
                    reads += 1;
                    let before = items.len();
                    let read = match reading {
                        Reading::OneByOne => framed
                            .poll_next(framing, framing::Context::REPLY, cx)
                            .map_ok(|item| items.push(item)),
                        Reading::Batches => {
                            framed.poll_batch(framing, cx, &mut Each(|item| items.push(item)))
                        }
                    };
                    match read {
                        Poll::Ready(read) => read.expect("frames"),
                        Poll::Pending if framed.is_caught_up() => return Poll::Ready(()),
                        // One call reads a bounded part of a long frame.
                        Poll::Pending => continue,
                    }
                    let held = framed.left_over().len();
                    let capacity = framed.decoder.received.capacity();
                    assert!(capacity <= 4 * held + 512, "{capacity} for {held}");
                    if matches!(reading, Reading::OneByOne) {
                        assert_eq!(items.len(), before + 1);
                    }
                }
            });
            tokio::task::coop::unconstrained(read_all).await;
        }
        assert_eq!(
            framed.decoder.received.capacity(),
            0,
            "nothing is left, so nothing is held"
        );
        let copied = COPIED.take();
        assert!(
            copied <= 3 * wire.len(),
            "{copied} bytes copied for {}",
            wire.len()
        );
        (items, reads)
    })
}

/// The same, said slowly: heartbeats are empty bodies.
fn reference(framing: &impl Framing, bodies: &[Vec<u8>]) -> (Vec<u8>, Vec<Vec<u8>>) {
    let mut wire = Vec::new();
    for body in bodies {
        match body.is_empty() {
            true => wire.extend_from_slice(framing.heartbeat().unwrap()),
            false => framing
                .encode(framing::Context::REPLY, body, &mut wire)
                .unwrap(),
        }
    }
    (wire, bodies.to_vec())
}

fn bodies_of(items: Vec<Item>) -> Vec<Vec<u8>> {
    let body = |item| match item {
        Item::Frame(frame) => frame.into_body().to_vec(),
        Item::Heartbeat => Vec::new(),
    };
    items.into_iter().map(body).collect()
}

/// Reads these bodies in both ways, cut like this, and compares what came out and what it cost.
fn check(bodies: &[Vec<u8>], lengths: &[usize]) {
    for reading in [Reading::OneByOne, Reading::Batches] {
        let lines = Lines::default();
        let (wire, expected) = reference(&lines, bodies);
        let (items, reads) = read_in_pieces(&lines, reading, &wire, lengths);
        assert!(bodies_of(items) == expected, "{reading:?}, {lengths:?}");
        let looked_at = lines.looked_at.load(Relaxed);
        // Each once, and one again after each read, for it may be the first of an end; a long piece
        // is looked at where it arrived and again where it is kept.
        assert!(
            looked_at <= 2 * wire.len() + 2 * reads,
            "{reading:?}: {looked_at} looks at {} bytes in {reads} reads, {lengths:?}",
            wire.len()
        );
        let asked = lines.asked.load(Relaxed);
        assert!(
            asked <= 3 * (reads + wire.len().div_ceil(THREAD_BUFFER) + bodies.len()),
            "{reading:?}: asked {asked} times"
        );

        let prefixed = Prefixed::default();
        let (wire, expected) = reference(&prefixed, bodies);
        let (items, reads) = read_in_pieces(&prefixed, reading, &wire, lengths);
        assert!(bodies_of(items) == expected, "{reading:?}, {lengths:?}");
        let looked_at = prefixed.looked_at.load(Relaxed);
        assert!(
            looked_at <= 4 * (bodies.len() + 2 * reads),
            "{reading:?}: {looked_at} looks"
        );

        let json = LengthJson::default();
        let (wire, _) = reference(&json, bodies);
        let (items, _) = read_in_pieces(&json, reading, &wire, lengths);
        assert!(bodies_of(items) == *bodies, "{reading:?}, {lengths:?}");
    }
}

/// Without the ends of lines.
fn body(length: usize) -> Vec<u8> {
    (0..length).map(|at| b'a' + (at % 23) as u8).collect()
}

#[test]
fn a_long_line_costs_no_more_than_its_bytes_however_it_is_cut() {
    for length in [1, 100, THREAD_BUFFER - 2, THREAD_BUFFER, 70_000, 256 << 10] {
        for pieces in [
            &[usize::MAX][..],
            &[THREAD_BUFFER],
            &[1_000],
            &[7, 1, 30_000],
        ] {
            check(&[body(length), body(5), Vec::new(), body(3_000)], pieces);
        }
    }
    check(&[body(20_000), body(3)], &[1]);
}

#[test]
fn what_lies_behind_a_long_line_is_not_copied_once_for_each_frame_in_it() {
    let mut bodies = vec![body(400_000)];
    bodies.extend(vec![body(SMALL_FRAME + 1); 90]);
    bodies.extend(vec![Vec::new(); 200]);
    check(&bodies, &[THREAD_BUFFER, usize::MAX]);
}

/// A read costs what it brings, however much was received before it.
#[tokio::test(start_paused = true)]
async fn no_room_is_cleared_for_a_read_of_a_long_frame() {
    let (inlet, mut accepted, tally) = Inlet::new(Pace::AtOnce, 1 << 20);
    let mut framed = Framed::new(inlet.open().unwrap());
    let mut far = accepted.try_recv().unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    let wire = frame(900_000);
    let (json, mut end) = (LengthJson::default(), Poll::Pending);
    for piece in wire.chunks(50_000) {
        far.write_all(piece).await.unwrap();
        end = framed.poll_next(&json, framing::Context::REPLY, &mut cx);
    }
    assert!(matches!(end, Poll::Ready(Ok(Item::Frame(_)))));
    assert!(tally.cleared.load(Relaxed) <= THREAD_BUFFER);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn the_same_frames_come_out_for_every_way_to_cut_them(
        lengths in prop::collection::vec(
            prop_oneof![0_usize..40, 0_usize..6_000, 10_000_usize..80_000],
            1..12,
        ),
        cuts in prop::collection::vec(
            prop_oneof![1_usize..60, 1_usize..5_000, 10_000_usize..40_000],
            1..8,
        ),
    ) {
        let bodies: Vec<_> = lengths.into_iter().map(body).collect();
        check(&bodies, &cuts);
    }
}
