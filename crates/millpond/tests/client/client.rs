//! The client over sockets: what a kernel does to connections that a stream in memory can't.
//! Servers are scripted; nothing here depends on how long anything takes.

use std::{
    future::Future,
    io,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use millpond::{
    Chain,
    client::{Client, ClientBuilder, Execution, Loss, Pipelining, RequestError},
    framing::{FrameError, LengthJson},
    pool::{Eviction, PoolSettings},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const SECOND: Duration = Duration::from_secs(1);

async fn start() -> (TcpListener, ClientBuilder) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    let client = Client::to(&format!("tcp://{address}")).expect("an endpoint");
    (listener, client.pool(|pool| pool.max_size(1)))
}

async fn accept(listener: &TcpListener) -> TcpStream {
    listener.accept().await.expect("a connection").0
}

/// Reads a request with a body of one byte.
async fn request(stream: &mut TcpStream) {
    stream.read_exact(&mut [0; 21]).await.expect("a request");
}

async fn reply(stream: &mut TcpStream) {
    stream
        .write_all(b"length:00000000000011")
        .await
        .expect("a reader");
}

/// Closes it so that the peer's next read fails.
fn reset(stream: TcpStream) {
    let socket = socket2::SockRef::from(&stream);
    socket.set_linger(Some(Duration::ZERO)).expect("an option");
}

/// Waits until the pool has evicted as many connections for this reason.
async fn evicted(client: &Client, reason: Eviction, count: u64) {
    while client.pool().snapshot().totals.evicted(reason) < count {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn idle_connections_that_are_closed_or_reset_are_noticed_and_replaced() {
    let (listener, builder) = start().await;
    let client = builder.build().unwrap();
    for round in 1..=2 {
        for reason in [Eviction::PeerClosed, Eviction::PeerReset] {
            let (answer, stream) = tokio::join!(client.request::<_, u64>(&1), async {
                let mut stream = accept(&listener).await;
                request(&mut stream).await;
                reply(&mut stream).await;
                stream
            });
            assert_eq!(answer.unwrap(), 1);
            match reason {
                Eviction::PeerClosed => drop(stream),
                _ => reset(stream),
            }
            evicted(&client, reason, round).await;
        }
    }
    assert_eq!(client.pool().snapshot().totals.opened, 4);
}

#[tokio::test]
async fn settings_without_a_name_leave_the_client_its_own() {
    let builder = || Client::to("localhost:1").expect("an endpoint");

    let client = builder()
        .pool(|pool| pool.settings(PoolSettings::default()))
        .build();
    let pool = client.expect("a client").pool().clone();
    assert_eq!(pool.name(), "client");
    assert_eq!(pool.settings().name.as_deref(), Some("client"));
    assert_eq!(pool.snapshot().name, "client");

    let mut named = PoolSettings::default();
    named.name = Some(String::from("orders"));
    let client = builder().pool(|pool| pool.settings(named)).build();
    assert_eq!(client.expect("a client").pool().name(), "orders");
    let client = builder().pool(|pool| pool.name("pool")).build();
    assert_eq!(client.expect("a client").pool().name(), "pool");
}

#[tokio::test]
async fn a_reset_within_a_body_is_told_as_such() {
    let (listener, builder) = start().await;
    let client = builder.build().unwrap();
    let (answer, ()) = tokio::join!(client.request::<_, u64>(&1), async {
        let mut stream = accept(&listener).await;
        request(&mut stream).await;
        stream.write_all(b"length:0000000000005[1,").await.unwrap();
        reset(stream);
    });
    match answer.unwrap_err() {
        RequestError::Lost {
            cause: Loss::Io(cause),
            execution: Execution::Possible,
        } => assert_eq!(cause.kind(), io::ErrorKind::ConnectionReset),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_reply_before_a_half_close_is_delivered_and_the_connection_is_not_used_again() {
    let (listener, builder) = start().await;
    let client = builder.build().unwrap();
    for _ in 0..3 {
        let (answer, _kept) = tokio::join!(client.request::<_, u64>(&1), async {
            let mut stream = accept(&listener).await;
            request(&mut stream).await;
            reply(&mut stream).await;
            stream.shutdown().await.unwrap();
            stream
        });
        assert_eq!(answer.unwrap(), 1);
        // Lent before the reactor has told of it, it would cost the next request a second attempt.
        while client.pool().snapshot().idle > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// A server that refuses a large request says so, and closes without having read it: the kernel
/// answers the rest with a reset.
#[tokio::test]
async fn a_refusal_before_a_large_request_was_read_is_delivered() {
    let large = vec![b' '; 8 << 20];
    for _ in 0..20 {
        let (listener, builder) = start().await;
        let client = builder
            .framing(LengthJson::with_max_body(16 << 20))
            .pool(|pool| pool.max_size(1))
            .build()
            .unwrap();
        let (answer, ()) = tokio::join!(client.exchange(&large), async {
            let mut stream = accept(&listener).await;
            request(&mut stream).await;
            reply(&mut stream).await;
            drop(stream);
        });
        assert_eq!(answer.expect("the refusal"), &b"1"[..]);
        assert_eq!(client.pool().snapshot().idle, 0, "not used again");
        client.pool().close(SECOND).await.unwrap();
    }
}

#[tokio::test]
async fn a_large_request_and_a_large_reply_cross_in_pieces() {
    let large = vec![b'7'; 3 << 20];
    let (listener, builder) = start().await;
    let client = builder
        .framing(LengthJson::with_max_body(16 << 20))
        .build()
        .unwrap();
    let (answer, ()) = tokio::join!(
        async {
            let first = client.exchange(&large).await;
            (first, client.exchange(&large).await)
        },
        async {
            let mut stream = accept(&listener).await;
            let mut frame = vec![0; 20 + large.len()];
            for _ in 0..2 {
                stream.read_exact(&mut frame).await.unwrap();
                stream.write_all(&frame).await.unwrap();
            }
        }
    );
    assert!(answer.0.unwrap() == large && answer.1.unwrap() == large);
    assert_eq!(client.pool().snapshot().totals.opened, 1);
}

#[tokio::test]
async fn a_request_that_nobody_waits_for_any_more_is_not_delivered_later() {
    let (listener, builder) = start().await;
    let client = builder.build().unwrap();
    let body = vec![b'1'; 1_000_000];
    for ends_by_its_deadline in [true, false] {
        let soon = Duration::from_millis(100);
        let mut stream = if ends_by_its_deadline {
            let request = client.within(soon);
            let (ended, stream) = tokio::join!(request.exchange(&body), accept(&listener));
            assert!(
                matches!(ended, Err(RequestError::TimedOut { .. })),
                "{ended:?}"
            );
            stream
        } else {
            let cancelled = tokio::time::timeout(soon, client.exchange(&body));
            let (ended, stream) = tokio::join!(cancelled, accept(&listener));
            ended.expect_err("it was cancelled");
            stream
        };
        let mut received = Vec::new();
        let end = stream.read_to_end(&mut received).await;
        let end = end.map_err(|error| error.kind());
        assert_eq!(
            end,
            Err(io::ErrorKind::ConnectionReset),
            "{} bytes came",
            received.len()
        );
    }
}

/// An executor that isn't tokio's.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// Callers on threads that belong to no runtime are served as well, and the deadline is kept by the
/// pool's.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn outside_a_runtime_requests_are_answered_and_their_deadlines_kept() {
    for pipelined in [false, true] {
        // Heartbeats that are due before the deadlines, and behind them.
        for interval in [Duration::from_millis(500), 10 * SECOND] {
            let (listener, _) = start().await;
            let client = start_at(&listener, pipelined, interval).build().unwrap();
            let asking = client.clone();
            let caller = std::thread::spawn(move || {
                let first = block_on(asking.exchange(b"1"));
                let exact = block_on(asking.within(Duration::from_millis(300)).exchange(b"1"));
                let patient = block_on(asking.within(SECOND).exchange(b"1"));
                let within = asking.within(Duration::from_millis(200));
                let crowded = std::thread::scope(|scope| {
                    let all = [0; 3].map(|_| scope.spawn(|| block_on(within.exchange(b"1"))));
                    all.map(|one| one.join().expect("no panic"))
                });
                (first, exact, patient, crowded)
            });
            let mut stream = accept(&listener).await;
            request(&mut stream).await;
            reply(&mut stream).await;
            // From here on nobody is answered, on this connection or another.
            let silent =
                tokio::spawn(
                    async move { tokio::io::copy(&mut stream, &mut tokio::io::sink()).await },
                );
            let (first, exact, patient, crowded) =
                tokio::task::spawn_blocking(move || caller.join().expect("no panic"))
                    .await
                    .unwrap();
            assert_eq!(first.expect("a reply"), "1");
            for late in [exact, patient].into_iter().chain(crowded) {
                let error = late.expect_err("nobody answers");
                assert!(
                    matches!(
                        error,
                        RequestError::TimedOut { .. } | RequestError::Acquire(_)
                    ),
                    "{error:?}"
                );
            }
            silent.abort();
        }
    }
}

fn start_at(listener: &TcpListener, pipelined: bool, interval: Duration) -> ClientBuilder {
    let address = listener.local_addr().expect("its address");
    let client = Client::to(&format!("tcp://{address}")).expect("an endpoint");
    let client = client
        .heartbeat_interval(interval)
        .pool(|pool| pool.max_size(1));
    match pipelined {
        true => client.pipelined(Pipelining::default().depth(1)),
        false => client,
    }
}

/// Both modes of a client, of one connection each.
async fn clients() -> [(TcpListener, Client); 2] {
    let (exclusive, one) = start().await;
    let (pipelined, other) = start().await;
    let other = other.pipelined(Pipelining::default());
    [
        (exclusive, one.build().unwrap()),
        (pipelined, other.build().unwrap()),
    ]
}

#[tokio::test]
async fn a_server_of_another_protocol_is_recognised_by_what_it_answers() {
    for (answer, error) in [
        (
            &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
            FrameError::HttpServer,
        ),
        (b"\x15\x03\x03\x00\x02\x02\x46", FrameError::TlsServer),
        (b"SSH-2.0-OpenSSH_9.6\r\n", FrameError::SshServer),
    ] {
        for (listener, client) in clients().await {
            let (replied, ()) = tokio::join!(client.request::<_, u64>(&1), async {
                let mut stream = accept(&listener).await;
                request(&mut stream).await;
                stream.write_all(answer).await.expect("a reader");
                assert_eq!(
                    stream.read(&mut [0; 1]).await.unwrap_or(0),
                    0,
                    "given up at once"
                );
            });
            let Err(RequestError::NoFrame(told)) = replied else {
                panic!("{error:?}: {replied:?}");
            };
            assert_eq!(told, error);
        }
    }
}

#[tokio::test]
async fn an_ssh_server_that_speaks_first_is_recognised_too() {
    for (listener, client) in clients().await {
        // However often it is tried.
        let server = tokio::spawn(async move {
            let mut open = Vec::new();
            loop {
                let mut stream = accept(&listener).await;
                let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.6\r\n").await;
                open.push(stream);
            }
        });
        let error = client.request::<_, u64>(&1).await.unwrap_err();
        assert!(
            matches!(error, RequestError::NoFrame(FrameError::SshServer)),
            "{error:?}"
        );
        server.abort();
    }
}

#[tokio::test]
async fn a_reply_that_is_too_long_names_its_length_the_limit_and_the_setting() {
    for (listener, client) in clients().await {
        let (replied, ()) = tokio::join!(client.request::<_, u64>(&1), async {
            let mut stream = accept(&listener).await;
            request(&mut stream).await;
            stream
                .write_all(b"length:0000002000000[")
                .await
                .expect("a reader");
            assert_eq!(
                stream.read(&mut [0; 1]).await.unwrap_or(0),
                0,
                "given up at once"
            );
        });
        let error = replied.unwrap_err();
        assert!(
            matches!(
                error,
                RequestError::NoFrame(FrameError::TooLong {
                    length: 2_000_000,
                    ..
                })
            ),
            "{error:?}"
        );
        assert_eq!(
            Chain(&error).to_string(),
            "the reply can't be read: a body of 2,000,000 bytes is longer than the limit of 1,048,576; \
             LengthJson::with_max_body raises it"
        );
    }
}

/// The server reads the header, refuses, and closes with most of the request unread, which resets
/// the connection: its words have arrived before.
#[tokio::test]
async fn a_server_that_refuses_a_request_for_its_length_is_heard_before_its_reset() {
    const REFUSAL: &[u8] = br#"length:0000000000046{"error":{"code":-32600,"message":"too long"}}"#;
    let text = "x".repeat(16 << 20);
    for pipelined in [false, true] {
        let (listener, client) = start().await;
        let client = client.framing(LengthJson::with_max_body(32 << 20));
        let client = match pipelined {
            false => client.build().unwrap(),
            true => client.pipelined(Pipelining::default()).build().unwrap(),
        };
        let (replied, ()) = tokio::join!(client.request::<_, u64>(&text), async {
            let mut stream = accept(&listener).await;
            stream.read_exact(&mut [0; 20]).await.expect("a header");
            stream.write_all(REFUSAL).await.expect("a reader");
        });
        let Err(RequestError::Refused(refusal)) = replied else {
            panic!("{replied:?}");
        };
        assert_eq!(refusal.message, "too long");
    }
}
