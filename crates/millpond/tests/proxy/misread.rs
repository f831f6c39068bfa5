//! Bytes that two readers could take for different frames, and replies of which only a part came:
//! none of them is passed on, in any preset.

use std::time::Duration;

use millpond::{
    client::{Client, Pipelining},
    framing::{
        Context, Delimited, DelimitedSettings, Frame, Framing, LengthField, LengthPrefixed,
        LengthPrefixedSettings, Protocol,
    },
    proxy::{Route, RouteBuilder},
};
use tokio::{io::AsyncReadExt, time::timeout};

use crate::{Plain, endpoint, recorder::Recorder, serve};

const LONG: Duration = Duration::from_secs(60);

fn named(name: &str) -> Protocol {
    Protocol::named(name).expect("a preset")
}

fn prefixed(length: LengthField, fixed: &str) -> Protocol {
    let settings = LengthPrefixedSettings {
        fixed: fixed.into(),
        length,
        ..LengthPrefixedSettings::default()
    };
    LengthPrefixed::new(settings)
        .expect("valid settings")
        .into()
}

fn delimited(delimiters: &[&str]) -> Protocol {
    let settings = DelimitedSettings {
        delimiters: delimiters.iter().map(|&one| one.into()).collect(),
        ..DelimitedSettings::default()
    };
    Delimited::new(settings).expect("valid settings").into()
}

/// A message with this control id.
fn message(id: u32) -> Vec<u8> {
    format!("MSH|^~\\&|A|B|C|D|2026||ADT^A01|{id}|P|2.5\rPID|x\r").into_bytes()
}

fn encoded(protocol: &Protocol, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let done = protocol.encode(Context::REQUEST, body, &mut frame);
    done.expect("a body");
    frame
}

/// Each preset, a request of it, and bytes that are strictly none.
fn presets() -> Vec<(Protocol, Vec<u8>, Vec<Vec<u8>>)> {
    let bytes = |all: &[&[u8]]| all.iter().map(|one| one.to_vec()).collect::<Vec<_>>();
    let mllp = named("mllp");
    let (block, other) = (encoded(&mllp, &message(1)), encoded(&mllp, &message(2)));
    let body = &other[1..other.len() - 2];
    vec![
        (
            named("length-json"),
            b"1".to_vec(),
            bytes(&[
                b"\nlength:00000000000012",
                b"\r\nlength:00000000000012",
                b"\0length:00000000000012",
                b"length:+0000000000012",
                b"length:-0000000000012",
                b"length: 0000000000012",
                b"length:0x000000000012",
                b"length:1            2",
                b"length:\n00000000000012",
                b"Length:00000000000012",
                b"LENGTH:00000000000012",
                b"length=00000000000012",
                b"heartbeat",
                b"HeartBeat\nlength:00000000000012",
                b"HeartBeath",
                b"POST / HTTP/1.1\r\nContent-Length: 21\r\n\r\nlength:00000000000012",
                b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            ]),
        ),
        (
            named("length-prefixed"),
            b"one".to_vec(),
            // Negative for who reads a signed number; and more than there may be.
            bytes(&[
                b"\xff\xff\xff\xffone",
                b"\xff\xff\xff\xfd\0\0\0\x03two",
                b"\x80\0\0\x03two",
                b"\x03\0\0\0two",
                b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            ]),
        ),
        (
            prefixed(LengthField::U16, "MP"),
            b"one".to_vec(),
            bytes(&[
                b"mp\0\x03two",
                b"PM\0\x03two",
                b"M\0\0\x03two",
                b"\r\nMP\0\x03two",
                b"\0\x03two",
            ]),
        ),
        (
            prefixed(LengthField::Digits(4), ""),
            b"one".to_vec(),
            bytes(&[
                b"+003two",
                b"-003two",
                b" 003two",
                b"3   two",
                b"0x03two",
                b"03\r\ntwo",
                b"3e00two",
                b"\n0003two",
                b"00\xd9\xa3two",
            ]),
        ),
        (
            prefixed(LengthField::Bcd(2), ""),
            b"one".to_vec(),
            bytes(&[b"\0\x0atwo", b"\0\xf3two", b"\xd0\x03two", b"\x0c\x03two"]),
        ),
        (
            delimited(&["\r\n"]),
            b"one".to_vec(),
            bytes(&[
                b"two\nthree\r\n",
                b"\ntwo\r\n",
                b"two\n\r\n",
                b"two\n\nthree\r\n",
            ]),
        ),
        (
            mllp,
            message(1),
            vec![
                // Other ends, other beginnings, and what stands between blocks.
                [b"\x0b", body, b"\x1c\x0a"].concat(),
                [b"\x0b", body, b"\x1c\x0b", body, b"\x1c\x0d"].concat(),
                [b"\x0b", body, b"\x1c\x1c\x0d"].concat(),
                [b"\x0b\x0b", body, b"\x1c\x0d"].concat(),
                [b"\x0b", body, b"\x0b", body, b"\x1c\x0d"].concat(),
                [b"\r\n", &other[..]].concat(),
                [b"\0", &other[..]].concat(),
                [body, b"\x1c\x0d"].concat(),
                // Two messages in a block, none, and one that can't be acknowledged.
                [b"\x0b", body, body, b"\x1c\x0d"].concat(),
                b"\x0b\x1c\x0d".to_vec(),
                b"\x0bPID|x\r\x1c\x0d".to_vec(),
                [&block[..10], &other[..]].concat(),
            ],
        ),
    ]
}

/// A route in each mode.
fn routes(upstream: &Recorder, protocol: &Protocol) -> [RouteBuilder<Protocol>; 3] {
    [(false, false), (true, false), (false, true)].map(|(pipelined, session)| {
        let builder = Client::builder(endpoint(&upstream.path))
            .framing(protocol.clone())
            .pool(|pool| pool.max_size(1));
        let builder = match pipelined {
            true => builder.pipelined(Pipelining::default()),
            false => builder,
        };
        Route::builder(builder.build().expect("a client")).session(session)
    })
}

async fn rest(client: &mut Plain) -> Vec<u8> {
    let mut rest = Vec::new();
    let read = timeout(LONG, client.0.read_to_end(&mut rest)).await;
    // Closed with bytes unread it may be a reset.
    let _ = read.expect("it is closed");
    rest
}

#[tokio::test]
async fn what_could_be_read_in_two_ways_reaches_no_upstream() {
    for (protocol, body, strange) in presets() {
        let good = encoded(&protocol, &body);
        for strange in &strange {
            for by_byte in [false, true] {
                let upstream = Recorder::start(&protocol);
                for (mode, route) in routes(&upstream, &protocol).into_iter().enumerate() {
                    let (path, running) = serve(&route.build()).await;
                    let mut client = Plain::connect(&path).await;
                    // A request before it, for a reader that is out of step, and one behind it.
                    let wire = [&good[..], strange, &good, &good].concat();
                    match by_byte {
                        false => client.write(&wire).await,
                        true => {
                            for byte in &wire {
                                // It may be closed from the byte on that can't be.
                                let byte = std::slice::from_ref(byte);
                                if client.try_write(byte).await.is_err() {
                                    break;
                                }
                                tokio::task::yield_now().await;
                            }
                        }
                    }
                    // Were it not closed, it would end now, and with it what came behind.
                    client.finish().await;
                    let shown = String::from_utf8_lossy(strange);
                    rest(&mut client).await;
                    running.drain(LONG).await;
                    let received = upstream.received();
                    let received = received.get(mode).expect("a connection");
                    // Behind a frame that is refused others may have been begun: they are frames.
                    let is_frame =
                        Frame::parse(&protocol, Context::REQUEST, strange.clone()).is_ok();
                    let most = if is_frame { 3 } else { 1 };
                    let is_right = (1..=most).any(|times| *received == good.repeat(times));
                    let received = String::from_utf8_lossy(received);
                    assert!(
                        is_right,
                        "{protocol:?}, mode {mode}, by byte {by_byte}: {shown:?}: {received:?}"
                    );
                }
            }
        }
    }
}

/// Of a reply that its upstream didn't finish no byte is passed on, and nothing of it is put in
/// front of another's.
#[tokio::test]
async fn a_part_of_a_reply_is_never_passed_on() {
    for (protocol, body, _) in presets() {
        let request = encoded(&protocol, &body);
        let shortest = if protocol.name().contains("HL7") {
            8
        } else {
            2
        };
        for part in [1, shortest, usize::MAX] {
            // Every second reply is cut.
            let replies = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
            let cutting = move |reply: Vec<u8>| {
                let number = replies.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                match number % 2 {
                    0 => (reply[..part.min(reply.len() - 1)].to_vec(), true),
                    _ => (reply, false),
                }
            };
            let upstream = Recorder::start_with(&protocol, cutting);
            for route in routes(&upstream, &protocol) {
                let route = route.build();
                let (path, running) = serve(&route).await;
                let mut first = Plain::connect(&path).await;
                first.write(&request).await;
                first.finish().await;
                let told = rest(&mut first).await;
                let told = String::from_utf8_lossy(&told);
                let expected = match told.is_empty() {
                    true => "",
                    false => "it may have been executed",
                };
                assert!(told.contains(expected), "{told}");
                assert_eq!(
                    told.is_empty(),
                    protocol.name() != named("length-json").name()
                );
                let mut second = Plain::connect(&path).await;
                second.write(&request).await;
                second.finish().await;
                let reply = rest(&mut second).await;
                assert!(!reply.is_empty(), "{protocol:?}");
                let totals = route.snapshot().totals;
                assert_eq!((totals.lost, totals.answered), (1, 1), "{totals:?}");
                // Read as slowly as can be, it is a reply and nothing else.
                let extent = protocol.next(
                    Context::REPLY,
                    &reply,
                    &mut millpond::framing::Scan::default(),
                );
                let whole = matches!(extent, Ok(millpond::framing::Step::Frame(extent)) if extent.length() == reply.len());
                assert!(whole, "{:?}", String::from_utf8_lossy(&reply));
                running.drain(LONG).await;
                assert!(route.snapshot().pins.is_empty());
            }
        }
    }
}
