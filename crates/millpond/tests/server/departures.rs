//! Clients that go away while their requests are handled, and while nothing is read from them. Over
//! real sockets, because only a kernel resets connections.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use crate::serving::{Client, connect_tcp, frame, serve_tcp, serve_with, until};
use bytes::Bytes;
use millpond::server::{Closed, Handler, Running, Server, ServerBuilder, raw};
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    sync::{Semaphore, mpsc},
    time::timeout,
};

const SECOND: Duration = Duration::from_secs(1);

/// Requests that wait for a gate, and tell when they are dropped before it opens.
#[derive(Clone)]
struct Waiting {
    opened: Arc<Semaphore>,
    begun: Arc<AtomicUsize>,
    dropped: mpsc::UnboundedSender<()>,
}

struct Told(Option<mpsc::UnboundedSender<()>>);

impl Drop for Told {
    fn drop(&mut self) {
        if let Some(tell) = self.0.take() {
            let _ = tell.send(());
        }
    }
}

impl Waiting {
    fn new() -> (Waiting, mpsc::UnboundedReceiver<()>) {
        let (dropped, told) = mpsc::unbounded_channel();
        let waiting = Waiting {
            opened: Arc::new(Semaphore::new(0)),
            begun: Arc::default(),
            dropped,
        };
        (waiting, told)
    }

    fn handler(&self) -> impl Handler {
        let waiting = self.clone();
        raw(move |body: Bytes| {
            let waiting = waiting.clone();
            async move {
                waiting.begun.fetch_add(1, SeqCst);
                let mut told = Told(Some(waiting.dropped));
                let _ = waiting.opened.acquire().await;
                told.0 = None;
                Ok(body)
            }
        })
    }

    fn server(&self, max_in_flight: usize) -> ServerBuilder<impl Handler> {
        // A heartbeat that can't be written would find out as well.
        Server::builder(self.handler())
            .max_in_flight(max_in_flight)
            .heartbeat_interval(Duration::ZERO)
            .handler_deadline(None)
    }

    async fn begin(&self, requests: usize) {
        until(|| (self.begun.load(SeqCst) == requests).then_some(())).await;
    }
}

fn reset(client: Client<TcpStream>) {
    let socket = socket2::SockRef::from(&client.stream);
    socket.set_linger(Some(Duration::ZERO)).expect("an option");
}

/// Waits for as many handlers to be dropped, and the connection to be counted as broken.
async fn given_up(running: &Running, dropped: &mut mpsc::UnboundedReceiver<()>, handlers: usize) {
    for _ in 0..handlers {
        let told = timeout(60 * SECOND, dropped.recv()).await;
        told.expect("it is noticed").expect("a handler");
    }
    until(|| {
        running
            .snapshot()
            .totals
            .closed
            .get(&Closed::Broken)
            .copied()
    })
    .await;
    assert_eq!(running.snapshot().handled, 0);
}

#[tokio::test]
async fn a_reset_is_noticed_while_as_much_is_in_flight_as_may_be() {
    for (max_in_flight, sent) in [(1, 1), (1, 50), (16, 16), (16, 128)] {
        let (waiting, mut dropped) = Waiting::new();
        let (running, port) = serve_tcp(waiting.server(max_in_flight)).await;
        let mut client = connect_tcp(port).await;
        client.write(frame("1").repeat(sent)).await;
        waiting.begin(max_in_flight).await;
        reset(client);
        given_up(&running, &mut dropped, max_in_flight).await;
        assert_eq!(
            waiting.begun.load(SeqCst),
            max_in_flight,
            "no other was begun"
        );
    }
}

#[tokio::test]
async fn a_reset_is_noticed_behind_a_half_close() {
    let (waiting, mut dropped) = Waiting::new();
    let (running, port) = serve_tcp(waiting.server(4)).await;
    let mut client = connect_tcp(port).await;
    client.send("1").await;
    waiting.begin(1).await;
    client.stream.shutdown().await.expect("a half-close");
    // The server reads the end and stops reading.
    tokio::task::yield_now().await;
    reset(client);
    given_up(&running, &mut dropped, 1).await;
}

#[tokio::test]
async fn a_unix_socket_that_is_closed_is_noticed_as_well() {
    let (waiting, mut dropped) = Waiting::new();
    let site = serve_with(waiting.server(1)).await;
    let mut client = site.connect().await;
    client.write(frame("1").repeat(5)).await;
    waiting.begin(1).await;
    drop(client);
    given_up(&site.running, &mut dropped, 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_half_close_is_no_departure_and_the_replies_arrive() {
    for sent in [1, 5] {
        let (waiting, mut dropped) = Waiting::new();
        let (running, port) = serve_tcp(waiting.server(1)).await;
        let site = serve_with(waiting.server(1)).await;
        let (mut tcp, mut unix) = (connect_tcp(port).await, site.connect().await);
        tcp.write(frame("1").repeat(sent)).await;
        unix.write(frame("1").repeat(sent)).await;
        tcp.stream.shutdown().await.expect("a half-close");
        unix.stream.shutdown().await.expect("a half-close");
        waiting.begin(2).await;
        // Ten looks, on the paused clock.
        tokio::time::sleep(3 * SECOND).await;
        assert!(dropped.try_recv().is_err(), "nobody has gone");
        waiting.opened.close();
        for _ in 0..sent {
            assert_eq!(
                (tcp.reply().await, unix.reply().await),
                ("1".into(), "1".into())
            );
        }
        assert_eq!(
            (tcp.next_reply().await, unix.next_reply().await),
            (None, None)
        );
        for snapshot in [running.snapshot(), site.snapshot()] {
            assert_eq!(
                snapshot.totals.closed.keys().collect::<Vec<_>>(),
                [&Closed::ByPeer]
            );
        }
    }
}
