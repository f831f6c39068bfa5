//! Bytes that are no frame, or a frame that is too long: what their client is told, and how its
//! connection ends.

use std::time::Duration;

use crate::serving::{closed, connect_tcp, frame, serve, serve_tcp, serve_with};
use bytes::Bytes;
use millpond::{
    framing::{LengthJson, json::as_error_reply},
    server::{Closed, Handler, Server, json, raw},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{sleep, timeout},
};

const SECOND: Duration = Duration::from_secs(1);

fn echo() -> impl Handler {
    raw(async |body: Bytes| Ok(body))
}

/// Sleeps for as many seconds as it is told.
fn sleeper() -> impl Handler {
    json(async |seconds: u64| -> Result<u64, String> {
        sleep(Duration::from_secs(seconds)).await;
        Ok(seconds)
    })
}

#[tokio::test(start_paused = true)]
async fn what_is_no_frame_closes_the_connection_after_the_replies_owed() {
    for wrong in [
        "length:+000000000009",
        "length: 000000000009",
        "length:0x00000000009",
        "length:000000000009{",
        "length:00000000000009",
        "LENGTH:0000000000001",
        "HeartBear",
        "\u{1}\u{2}",
    ] {
        let site = serve(sleeper()).await;
        let mut client = site.connect().await;
        let wire = [
            &frame("2")[..],
            &frame("1"),
            wrong.as_bytes(),
            b"and more of the same",
        ]
        .concat();
        client.write(wire).await;
        let rest = timeout(10 * SECOND, client.rest()).await.expect("an end");
        if wrong == "length:00000000000009" {
            // 13 digits, and then a body of zero bytes, and then a 9.
            assert!(rest.starts_with(&frame("2")));
        } else {
            assert_eq!(rest, [frame("2"), frame("1")].concat(), "{wrong}");
        }
        drop(client);
        assert_eq!(site.closed().await, Closed::ProtocolError, "{wrong}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_is_too_long_is_told_as_such_after_the_replies_owed() {
    for (long, length) in [
        ("length:9999999999999", "9,999,999,999,999"),
        ("length:0000001048577", "1,048,577"),
    ] {
        let site = serve(sleeper()).await;
        let mut client = site.connect().await;
        let wire = [&frame("2")[..], &frame("1"), long.as_bytes(), b"and more"].concat();
        client.write(wire).await;
        assert_eq!(client.reply().await, "2");
        assert_eq!(client.reply().await, "1");
        let told = client.reply().await;
        let expected = format!(
            "a body of {length} bytes is longer than the limit of 1,048,576; the limit is set by LengthJson::with_max_body on the server"
        );
        let error = as_error_reply(told.as_bytes()).expect("an error reply");
        assert_eq!((error.code, error.message), (-32600, expected));
        assert_eq!(client.next_reply().await, None);
        drop(client);
        assert_eq!(site.closed().await, Closed::FrameTooLong);
        let totals = site.snapshot().totals;
        assert_eq!((totals.requests, totals.failures.refused), (2, 1));
    }
}

/// Ten times as much as is allowed, on the real clock and with the kernel's own buffers: a reset
/// would take the reply from the client's hands.
#[tokio::test]
async fn a_client_that_is_still_sending_what_is_too_long_reads_that_it_is() {
    let wire = frame(vec![b'1'; 10 << 20]);
    for _ in 0..20 {
        let framing = LengthJson::default().limit_named("--max-frame");
        let (running, port) = serve_tcp(Server::builder(echo()).framing(framing)).await;
        let mut client = connect_tcp(port).await;
        client.stream.write_all(&wire).await.expect("no reset");
        let told = client.rest_or_reset().await.expect("no reset");
        let told = String::from_utf8(told).expect("UTF-8");
        assert!(
            told.contains("10,485,760 bytes") && told.contains("set by --max-frame"),
            "{told}"
        );
        drop(client);
        assert_eq!(closed(&running).await, Closed::FrameTooLong);
    }
}

/// Where bodies are short the reply in the library's words, which quotes, is too long to be one.
#[tokio::test]
async fn a_failure_that_cannot_be_told_ends_a_connection_before_a_frame_that_is_too_long() {
    let (no_json, too_long) = (frame(b"\"\xff\xfe\""), frame(vec![b'1'; 65]));
    for (wire, ended) in [
        ([&no_json[..], &too_long].concat(), Closed::ToldFailure),
        (too_long, Closed::FrameTooLong),
    ] {
        let server = Server::builder(raw(async |body: Bytes| Ok(body)).only_json());
        let site = serve_with(server.framing(LengthJson::with_max_body(64))).await;
        site.connect().await.write(wire).await;
        assert_eq!(site.closed().await, ended);
    }
}

#[tokio::test]
async fn an_http_client_is_told_what_this_port_speaks() {
    for method in ["GET", "POST", "HEAD", "OPTIONS"] {
        let (running, port) = serve_tcp(Server::builder(echo())).await;
        let mut client = connect_tcp(port).await;
        let request = format!(
            "{method} / HTTP/1.1\r\nHost: localhost\r\n\r\n{}",
            "x".repeat(20_000)
        );
        client.write(request).await;
        // The rest of what it has to say meets no reset.
        sleep(SECOND / 20).await;
        client.write("more").await;
        sleep(SECOND / 20).await;
        client.write("more").await;
        let mut told = String::new();
        // A read that fails is a reset: the words would be lost.
        client
            .stream
            .read_to_string(&mut told)
            .await
            .expect("no reset");
        assert!(told.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{told}");
        assert!(
            told.ends_with("This port speaks the length: protocol with JSON bodies, not HTTP.\n")
        );
        drop(client);
        assert_eq!(closed(&running).await, Closed::Http);
    }
}

#[tokio::test(start_paused = true)]
async fn a_tls_handshake_on_a_plain_port_is_closed_as_such() {
    let site = serve(echo()).await;
    let mut client = site.connect().await;
    client.write(b"\x16\x03\x01\x02\x00\x01\x00").await;
    assert_eq!(client.rest().await, b"");
    assert_eq!(site.closed().await, Closed::Tls);
}
