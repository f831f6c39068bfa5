//! The server over TLS: the same exchanges, handshakes that aren't made, and records that the
//! socket won't take.

use std::time::Duration;

use crate::certificates::{Authority, name, within};
use crate::serving::{Client, closed, frame};
use bytes::Bytes;
use millpond::{
    net::{Endpoint, ListenOptions, Listener, TcpOptions},
    server::{Closed, Handler, Running, Server, ServerBuilder, raw},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::{Instant, sleep},
};
use tokio_rustls::client::TlsStream;

/// A server at a TLS endpoint, whose socket holds little.
async fn serve<H: Handler>(authority: &Authority, builder: ServerBuilder<H>) -> (Running, u16) {
    let tls = authority
        .issue(&["localhost"])
        .server()
        .build()
        .expect("settings");
    let small = TcpOptions {
        send_buffer: Some(4_096),
        ..TcpOptions::default()
    };
    let options = ListenOptions::default().tls(tls).tcp_options(small);
    let any = "tls://127.0.0.1:0".parse().expect("an endpoint");
    let listener = Listener::bind(&any, options).await.expect("a listener");
    let running = builder.serve(listener).expect("a server");
    let Endpoint::Tls(at) = running.endpoint() else {
        panic!("not TLS");
    };
    let port = at.port;
    (running, port)
}

/// A client whose socket holds little.
async fn connect(authority: &Authority, port: u16) -> Client<TlsStream<TcpStream>> {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4_096).expect("a socket option");
    let stream = socket
        .connect(([127, 0, 0, 1], port).into())
        .await
        .expect("a connection");
    let tls = authority.client().build().expect("settings");
    Client::new(
        tls.connect(name("localhost"), stream)
            .await
            .expect("a handshake"),
    )
}

#[tokio::test]
async fn a_client_that_reads_late_gets_the_last_record_too() {
    let authority = Authority::new("ca");
    let handler = raw(async |body: Bytes| {
        let length = String::from_utf8_lossy(&body).parse().expect("a number");
        Ok(vec![b'1'; length])
    });
    // Heartbeats would push the record out with them.
    let builder = Server::builder(handler).heartbeat_interval(Duration::ZERO);
    let (running, port) = serve(&authority, builder).await;
    let mut client = connect(&authority, port).await;
    for length in (10_000..200_000).step_by(10_000) {
        client.send(length.to_string()).await;
        // The server has written what the socket takes.
        sleep(Duration::from_millis(20)).await;
        assert_eq!(within(client.reply()).await.len(), length);
    }
    client.stream.shutdown().await.expect("a farewell");
    assert_eq!(within(client.rest()).await, b"");
    assert_eq!(within(closed(&running)).await, Closed::ByPeer);
}

#[tokio::test]
async fn a_truncated_session_is_no_clean_end() {
    let authority = Authority::new("ca");
    let (running, port) = serve(
        &authority,
        Server::builder(raw(async |body: Bytes| Ok(body))),
    )
    .await;
    let mut client = connect(&authority, port).await;
    client.ask("1").await;
    let (socket, _) = client.stream.into_inner();
    drop(socket);
    assert_eq!(within(closed(&running)).await, Closed::Broken);
}

#[tokio::test]
async fn handshakes_that_are_not_made_take_no_place_for_long() {
    let authority = Authority::new("ca");
    let builder = || {
        Server::builder(raw(async |body: Bytes| Ok(body)))
            .handshake_timeout(Duration::from_millis(200))
    };
    // Silence.
    let (running, port) = serve(&authority, builder()).await;
    let since = Instant::now();
    let silent = TcpStream::connect(("127.0.0.1", port))
        .await
        .expect("a connection");
    assert_eq!(within(closed(&running)).await, Closed::HandshakeTimeout);
    assert!(since.elapsed() >= Duration::from_millis(200));
    drop(silent);
    // A client without TLS.
    let (running, port) = serve(&authority, builder()).await;
    let mut plain = TcpStream::connect(("127.0.0.1", port))
        .await
        .expect("a connection");
    plain.write_all(&frame("1")).await.expect("a write");
    let _ = within(plain.read_to_end(&mut Vec::new())).await;
    assert_eq!(within(closed(&running)).await, Closed::HandshakeFailed);
    // A drain waits for none.
    let slow = builder().handshake_timeout(Duration::from_secs(60));
    let (running, port) = serve(&authority, slow).await;
    let silent = TcpStream::connect(("127.0.0.1", port))
        .await
        .expect("a connection");
    within(crate::serving::until(|| {
        (running.snapshot().open == 1).then_some(())
    }))
    .await;
    assert_eq!(
        within(running.drain(Duration::from_secs(60))).await.forced,
        0
    );
    drop(silent);
}
