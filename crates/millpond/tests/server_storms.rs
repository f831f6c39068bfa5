//! What the log tells of clients that all do the same wrong thing: a line, and then sums that add
//! up. The only test of its process.

#![cfg(unix)]

#[cfg(feature = "tls")]
#[path = "../../millpond-net/tests/certificates/mod.rs"]
mod certificates;
mod serving;
#[path = "../../millpond-pool/tests/warnings/mod.rs"]
mod warnings;

use bytes::Bytes;
use millpond::{
    framing::{Context, Extent, FrameError, Framing, Scan, Step},
    server::{Handler, HeartbeatLimit, Running, Server, json, raw},
};
use serving::{connect_tcp, serve_tcp, serve_with, until};
use warnings::Warnings;

/// How many clients do the same.
const CLIENTS: u64 = 300;

/// How many lines may be told of them: the clock stands still while anybody works, and intervals
/// grow.
const LINES: usize = 8;

fn echo() -> impl Handler {
    raw(async |body: Bytes| Ok(body))
}

/// Its frames are longer than what it was shown.
struct Wrong;

impl Framing for Wrong {
    fn next(&self, _: Context<'_>, bytes: &[u8], _: &mut Scan) -> Result<Step, FrameError> {
        Ok(Step::Frame(Extent {
            head: bytes.len() + 1,
            ..Extent::default()
        }))
    }

    fn encode(&self, _: Context<'_>, _: &[u8], _: &mut Vec<u8>) -> Result<(), FrameError> {
        Ok(())
    }
}

/// Lines, with no reply for failures.
struct Lines;

impl Framing for Lines {
    fn next(&self, _: Context<'_>, bytes: &[u8], _: &mut Scan) -> Result<Step, FrameError> {
        let end = bytes.iter().position(|&byte| byte == b'\n');
        Ok(end.map_or(Step::More { missing: 1 }, |body| {
            Step::Frame(Extent {
                head: 0,
                body,
                tail: 1,
            })
        }))
    }

    fn encode(&self, _: Context<'_>, body: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
        out.extend_from_slice(body);
        out.push(b'\n');
        Ok(())
    }

    fn name(&self) -> &str {
        "lines"
    }
}

/// What was told at once of one kind, by `first`, and in sums, by `more`: lines, and the events in
/// them.
fn told(heard: &[String], first: &str, more: &str) -> (usize, u64) {
    let at_once = heard.iter().filter(|line| line.contains(first)).count();
    let sums = heard.iter().filter(|line| line.contains(more));
    let counts = sums.map(|line| {
        let (_, rest) = line.split_once("others=").expect("a count");
        let digits = rest.split(' ').next().expect("a word");
        digits.parse::<u64>().expect("a number")
    });
    let counts: Vec<_> = counts.collect();
    (
        at_once + counts.len(),
        at_once as u64 + counts.iter().sum::<u64>(),
    )
}

/// Drained, so that the last sums are told.
async fn assert_told(running: Running, heard: &Warnings, first: &str, more: &str) {
    until(|| (running.snapshot().open == 0).then_some(())).await;
    running.close().await;
    let heard = heard.heard();
    let (lines, events) = told(&heard, first, more);
    assert_eq!(events, CLIENTS, "{first}: {heard:#?}");
    assert!((2..=LINES).contains(&lines), "{lines} lines: {heard:#?}");
}

#[tokio::test(start_paused = true)]
async fn hundreds_that_do_the_same_are_told_of_in_some_lines_that_count_all_of_them() {
    let heard = Warnings::of("millpond::server");
    tracing::subscriber::set_global_default(heard.clone()).expect("the only one");

    let limit = HeartbeatLimit {
        burst: 5,
        per_second: 1,
    };
    let site = serve_with(Server::builder(echo()).heartbeat_limit(limit)).await;
    for _ in 0..CLIENTS {
        site.connect().await.write("HeartBeat".repeat(6)).await;
    }
    let more = "more connections closed: more heartbeats";
    assert_told(
        site.running,
        &heard,
        "connection closed: more heartbeats",
        more,
    )
    .await;

    // Whatever it was, it is one kind.
    let site = serve_with(Server::builder(echo())).await;
    for number in 0..CLIENTS {
        let words = [
            &b"EHLO example.org\r\n"[..],
            b"GET / HTTP/1.1\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01",
        ];
        let mut client = site.connect().await;
        client.write(words[number as usize % words.len()]).await;
        client.rest().await;
    }
    let more = "more connections closed: they spoke another";
    assert_told(
        site.running,
        &heard,
        "connection closed: it spoke another",
        more,
    )
    .await;

    let site = serve_with(Server::builder(echo())).await;
    for _ in 0..CLIENTS {
        let mut client = site.connect().await;
        client.write("length:0001234567890").await;
        client.rest().await;
    }
    let more = "more connections closed: a frame was longer than the limit";
    let first = "length=1234567890 limit=1048576 setting=\"LengthJson::with_max_body\"";
    assert_told(site.running, &heard, first, more).await;

    let site = serve_with(Server::builder(echo()).framing(Wrong)).await;
    for _ in 0..CLIENTS {
        let mut client = site.connect().await;
        client.write("?").await;
        client.rest().await;
    }
    let more = "more connections closed: where their frames end";
    assert_told(
        site.running,
        &heard,
        "connection closed: where its frames end",
        more,
    )
    .await;

    let double = json(async |number: i64| number.checked_mul(2).ok_or("too large"));
    let site = serve_with(Server::builder(double).framing(Lines)).await;
    for _ in 0..CLIENTS {
        let mut client = site.connect().await;
        client.write("2\nSECRET\n3\n").await;
        assert_eq!(client.rest().await, b"4\n");
    }
    let more = "more connections closed: the protocol has no reply";
    let reason = "reason=\"the request's body is not what its handler reads\" protocol=\"lines\"";
    assert_told(site.running, &heard, reason, more).await;

    let site = serve_with(Server::builder(echo()).max_connections(1)).await;
    let mut first = site.connect().await;
    first.ask("1").await;
    for _ in 0..CLIENTS {
        site.connect().await.rest().await;
    }
    drop(first);
    let more = "more connections refused: max_connections is reached";
    assert_told(site.running, &heard, "setting=\"max_connections\"", more).await;

    let (running, port) =
        serve_tcp(Server::builder(echo()).max_connections_per_address(Some(1))).await;
    let mut first = connect_tcp(port).await;
    first.ask("1").await;
    for _ in 0..CLIENTS {
        connect_tcp(port).await.rest().await;
    }
    drop(first);
    let more = "more connections refused: max_connections_per_address is reached";
    assert_told(
        running,
        &heard,
        "setting=\"max_connections_per_address\"",
        more,
    )
    .await;

    #[cfg(feature = "tls")]
    {
        use serving::frame;
        use tokio::io::{AsyncReadExt, AsyncWriteExt};

        let (running, port) = serve_tls().await;
        for _ in 0..CLIENTS {
            let mut client = connect_tcp(port).await;
            // It may be reset before it has read that it was no TLS.
            let _ = client.stream.write_all(&frame("1")).await;
            let _ = client.stream.read_to_end(&mut Vec::new()).await;
        }
        assert_told(
            running,
            &heard,
            "TLS handshake failed",
            "more TLS handshakes failed",
        )
        .await;
    }
    // A server that is dropped tells what is left as well.
    let site = serve_with(Server::builder(echo()).max_connections(1)).await;
    let mut first = site.connect().await;
    first.ask("1").await;
    for _ in 0..CLIENTS {
        site.connect().await.rest().await;
    }
    drop(site);
    let more = "more connections refused: max_connections is reached";
    // With those of the server before that.
    until(|| {
        let (_, events) = told(&heard.heard(), "setting=\"max_connections\"", more);
        (events == 2 * CLIENTS).then_some(())
    })
    .await;

    let quotes = heard
        .heard()
        .into_iter()
        .find(|line| line.contains("SECRET"));
    assert_eq!(quotes, None, "no payload is logged");
}

#[cfg(feature = "tls")]
async fn serve_tls() -> (Running, u16) {
    use millpond::net::{Endpoint, ListenOptions, Listener};

    let authority = certificates::Authority::new("ca");
    let tls = authority
        .issue(&["localhost"])
        .server()
        .build()
        .expect("settings");
    let any = "tls://127.0.0.1:0".parse().expect("an endpoint");
    let options = ListenOptions::default().tls(tls);
    let listener = Listener::bind(&any, options).await.expect("a listener");
    let running = Server::builder(echo()).serve(listener).expect("a server");
    let Endpoint::Tls(at) = running.endpoint() else {
        panic!("not TLS");
    };
    let port = at.port;
    (running, port)
}
