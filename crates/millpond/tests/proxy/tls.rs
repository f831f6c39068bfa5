//! TLS where none is spoken, none where TLS is spoken, and upstreams that end without the farewell
//! of TLS: what comes isn't passed on, and a reply that was cut is told, never delivered.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use millpond::{
    client::{Client, Pipelining},
    framing::Protocol,
    net::{Dialer, Endpoint, ListenOptions, Listener, tls::ServerTls},
    proxy::Route,
    server::{Closed, Running},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::{
    Plain,
    certificates::{Authority, name},
    endpoint, framed,
    recorder::Recorder,
    serve,
};

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(30);

fn dialled_by(dialer: Dialer, mode: usize) -> Route {
    let builder = Client::dialled_by(dialer).pool(|pool| pool.max_size(2));
    let builder = match mode {
        1 => builder.pipelined(Pipelining::default()),
        _ => builder,
    };
    let client = builder.build().expect("valid settings");
    Route::builder(client).session(mode == 2).build()
}

async fn closed(running: &Running, why: Closed) {
    let happened = async {
        while running.snapshot().totals.closed.get(&why) != Some(&1) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let is_in_time = timeout(LONG, happened).await.is_ok();
    assert!(is_in_time, "{:?}", running.snapshot().totals.closed);
}

#[tokio::test]
async fn tls_at_a_plain_route_is_closed_and_reaches_no_upstream() {
    let upstream = Recorder::start(&Protocol::named("length-json").expect("a preset"));
    for mode in 0..3 {
        let route = dialled_by(Dialer::new(endpoint(&upstream.path)), mode);
        let (path, running) = serve(&route).await;
        let tls = Authority::new("ca").client().build().expect("settings");
        let stream = tokio::net::UnixStream::connect(&path).await;
        let shaken = tls.connect(name("localhost"), stream.expect("it is accepted"));
        let shaken = timeout(LONG, shaken).await.expect("it is told");
        assert!(shaken.is_err(), "no TLS is spoken here");
        closed(&running, Closed::Tls).await;
        assert_eq!(upstream.received().concat(), b"", "mode {mode}");
    }
}

#[tokio::test]
async fn plain_bytes_at_a_route_of_tls_are_closed_and_reach_no_upstream() {
    let upstream = Recorder::start(&Protocol::named("length-json").expect("a preset"));
    for mode in 0..3 {
        let route = dialled_by(Dialer::new(endpoint(&upstream.path)), mode);
        let tls = Authority::new("ca").issue(&["localhost"]).server();
        let options = ListenOptions::default().tls(tls.build().expect("settings"));
        let any = "tls://127.0.0.1:0".parse().expect("an endpoint");
        let listener = Listener::bind(&any, options).await.expect("a listener");
        let Ok(Endpoint::Tls(at)) = listener.endpoint() else {
            panic!("not TLS");
        };
        let running = route.server().serve(listener).expect("valid settings");
        let client = TcpStream::connect(("127.0.0.1", at.port)).await;
        let mut client = client.expect("it is accepted");
        client
            .write_all(framed("\"a\"").as_bytes())
            .await
            .expect("it is open");
        let mut rest = Vec::new();
        // It may be reset, for what it sent was not all read.
        let read = timeout(LONG, client.read_to_end(&mut rest)).await;
        let _ = read.expect("it is closed");
        assert!(!rest.starts_with(b"length:"), "{rest:?}");
        closed(&running, Closed::HandshakeFailed).await;
        assert_eq!(upstream.received().concat(), b"", "mode {mode}");
    }
}

#[tokio::test]
async fn an_upstream_that_speaks_no_tls_gets_no_request() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
    let address = listener.local_addr().expect("bound");
    let received = Arc::<Mutex<Vec<u8>>>::default();
    let receiving = Arc::clone(&received);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let received = Arc::clone(&receiving);
            tokio::spawn(async move {
                let mut read = [0; 1_024];
                while let Ok(count @ 1..) = stream.read(&mut read).await {
                    received.lock().unwrap().extend(&read[..count]);
                    let _ = stream.write_all(framed("\"hello\"").as_bytes()).await;
                }
            });
        }
    });
    let authority = Authority::new("ca");
    for mode in 0..3 {
        let to = format!("tls://{address}").parse().expect("an endpoint");
        let tls = authority.client().build().expect("settings");
        let route = dialled_by(Dialer::new(to).tls(tls), mode);
        let (path, _running) = serve(&route).await;
        let mut client = Plain::connect(&path).await;
        let told = timeout(LONG, client.ask_json("\"secret\""))
            .await
            .expect("told");
        assert!(
            told.contains("not executed") && !told.contains("hello"),
            "{told}"
        );
    }
    let received = received.lock().unwrap();
    assert!(!received.is_empty(), "it was dialled");
    let received = String::from_utf8_lossy(&received);
    assert!(!received.contains("secret"), "a request in the clear");
}

/// Answers over TLS. Each connection ends at its second request, without a farewell: in the middle of
/// the reply, or before it if `says_nothing`.
async fn cutting(tls: ServerTls, says_nothing: bool) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
    let address = listener.local_addr().expect("bound");
    let tls = Arc::new(tls);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let tls = Arc::clone(&tls);
            tokio::spawn(async move {
                let Ok(mut stream) = tls.accept(stream).await else {
                    return;
                };
                for number in 0..2 {
                    let mut request = [0; 23];
                    if stream.read_exact(&mut request).await.is_err() {
                        return;
                    }
                    let end = if number == 0 { 23 } else { 22 };
                    let start = if number == 1 && says_nothing { end } else { 0 };
                    let _ = stream.write_all(&request[start..end]).await;
                    let _ = stream.flush().await;
                }
                // The socket is closed under the session.
                let (socket, _) = stream.into_inner();
                drop(socket);
            });
        }
    });
    address
}

#[tokio::test]
async fn a_reply_that_is_cut_without_a_farewell_is_told_and_never_delivered() {
    let authority = Authority::new("ca");
    for mode in 0..3 {
        for says_nothing in [false, true] {
            let tls = authority.issue(&["127.0.0.1"]).server();
            let address = cutting(tls.build().expect("settings"), says_nothing).await;
            let to = format!("tls://{address}").parse().expect("an endpoint");
            let tls = authority.client().build().expect("settings");
            let route = dialled_by(Dialer::new(to).tls(tls), mode);
            let (path, _running) = serve(&route).await;
            for _ in 0..3 {
                let mut client = Plain::connect(&path).await;
                assert_eq!(client.ask_json("\"a\"").await, "\"a\"");
                let told = timeout(LONG, client.ask_json("\"b\"")).await.expect("told");
                assert!(
                    told.contains("it may have been executed"),
                    "mode {mode}: {told}"
                );
            }
        }
    }
}
