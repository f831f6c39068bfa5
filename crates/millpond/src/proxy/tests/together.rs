//! One client's requests in flight together, over an upstream in memory whose writes are counted.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::mpsc,
};

use crate::proxy::Route;
use crate::{
    client::{Client, Pipelining},
    connectors::StreamConnector,
    framing::LengthJson,
    memory::{Inlet, MemoryStream, Pace, Tally},
    net::{ListenOptions, Listener},
    server::{Running, ServerBuilder},
};

/// Long enough for all that these tests do; on the paused clock it costs nothing.
const DEADLINE: Duration = Duration::from_secs(20);

type Served = ServerBuilder<Route, Arc<LengthJson>>;

/// A client of a route, and what its upstream sees.
struct Site {
    client: UnixStream,
    accepted: mpsc::UnboundedReceiver<MemoryStream>,
    tally: Arc<Tally>,
    route: Route,
    running: Running,
}

impl Site {
    async fn new(name: &str) -> Site {
        Site::with(name, Pipelining::default(), |server| server).await
    }

    async fn with(
        name: &str,
        pipelining: Pipelining,
        settings: impl FnOnce(Served) -> Served,
    ) -> Site {
        let (inlet, accepted, tally) = Inlet::new(Pace::AtOnce, 1 << 20);
        let connector = StreamConnector::in_memory(inlet);
        let client = Client::over(connector)
            .pipelined(pipelining)
            .deadline(DEADLINE)
            .build();
        let route = Route::to(client.expect("valid settings"));
        let name = format!("millpond-flow-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let endpoint = format!("unix://{}", path.display());
        let endpoint = endpoint.parse().expect("an endpoint");
        let listener = Listener::bind(&endpoint, ListenOptions::default()).await;
        let running = settings(route.server()).serve(listener.expect("a socket"));
        Site {
            client: UnixStream::connect(&path).await.expect("accepted"),
            accepted,
            tally,
            route,
            running: running.expect("valid settings"),
        }
    }

    /// In one write.
    async fn sends(&mut self, bodies: std::ops::Range<u32>) {
        let frames: Vec<u8> = bodies.flat_map(frame).collect();
        self.client.write_all(&frames).await.expect("it is open");
    }

    /// The errors that come next, by their messages.
    async fn is_told_of_failures(&mut self, count: usize) -> Vec<String> {
        let mut messages = Vec::new();
        for _ in 0..count {
            messages.push(receive_text(&mut self.client).await);
        }
        messages
    }

    async fn is_told(&mut self, bodies: std::ops::Range<u32>) {
        for body in bodies {
            assert_eq!(receive(&mut self.client).await, body);
        }
    }

    /// An upstream that is known to read frames, for it has answered two that came together.
    async fn proven(&mut self) -> MemoryStream {
        self.sends(100..103).await;
        let mut upstream = self.accepted.recv().await.expect("a connection");
        for body in 100..103 {
            assert_eq!(receive(&mut upstream).await, body);
            upstream.write_all(&frame(body)).await.expect("it is open");
        }
        self.is_told(100..103).await;
        upstream
    }
}

fn frame(body: u32) -> Vec<u8> {
    format!("length:{:013}{body}", body.to_string().len()).into_bytes()
}

async fn receive(stream: &mut (impl AsyncReadExt + Unpin)) -> u32 {
    let body = receive_text(stream).await;
    body.parse().unwrap_or_else(|_| panic!("no number: {body}"))
}

async fn receive_text(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut header = [0; 20];
    stream.read_exact(&mut header).await.expect("a header");
    let length = std::str::from_utf8(&header[7..]).expect("digits");
    let mut body = vec![0; length.parse().expect("a length")];
    stream.read_exact(&mut body).await.expect("a body");
    String::from_utf8(body).expect("text")
}

async fn answers(upstream: &mut MemoryStream, bodies: std::ops::Range<u32>) {
    for body in bodies {
        upstream.write_all(&frame(body)).await.expect("it is open");
    }
}

async fn gets(upstream: &mut MemoryStream, bodies: std::ops::Range<u32>) {
    for body in bodies {
        assert_eq!(receive(upstream).await, body);
    }
}

#[tokio::test]
async fn what_one_read_brings_is_in_flight_together_and_is_one_write() {
    let mut site = Site::new("batch").await;
    let mut upstream = site.proven().await;
    for _ in 0..3 {
        let before = site.tally.writes.load(Relaxed);
        site.sends(0..16).await;
        // No reply before all of them are there.
        for body in 0..16 {
            assert_eq!(receive(&mut upstream).await, body);
        }
        assert_eq!(site.tally.writes.load(Relaxed) - before, 1);
        for body in 0..16 {
            upstream.write_all(&frame(body)).await.expect("it is open");
        }
        site.is_told(0..16).await;
    }
    assert_eq!(site.tally.opened(), 1);
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_the_others_their_replies() {
    let mut site = Site::new("leaves").await;
    let mut upstream = site.proven().await;
    let path = site.client.peer_addr().expect("named");
    let path = path.as_pathname().expect("a path").to_owned();
    let mut leaves = UnixStream::connect(&path).await.expect("accepted");
    let frames: Vec<u8> = (200..216).flat_map(frame).collect();
    leaves.write_all(&frames).await.expect("it is open");
    for body in 200..216 {
        assert_eq!(receive(&mut upstream).await, body);
    }
    site.sends(0..4).await;
    for body in 0..4 {
        assert_eq!(receive(&mut upstream).await, body);
    }
    drop(leaves);
    for body in (200..216).chain(0..4) {
        upstream.write_all(&frame(body)).await.expect("it is open");
    }
    site.is_told(0..4).await;
    // The connection and its order are whole.
    site.sends(4..20).await;
    for body in 4..20 {
        assert_eq!(receive(&mut upstream).await, body);
        upstream.write_all(&frame(body)).await.expect("it is open");
    }
    site.is_told(4..20).await;
    assert_eq!(site.tally.opened(), 1);
}

#[tokio::test]
async fn a_reply_waits_for_none_of_those_it_was_asked_with() {
    let mut site = Site::new("partial").await;
    let mut upstream = site.proven().await;
    site.sends(0..16).await;
    gets(&mut upstream, 0..16).await;
    for replies in [0..1, 1..4, 4..15, 15..16] {
        answers(&mut upstream, replies.clone()).await;
        // The others are still owed.
        site.is_told(replies).await;
    }
    let totals = site.route.snapshot().totals;
    assert_eq!((totals.answered, totals.abandoned), (3 + 16, 0));
    let served = site.running.snapshot();
    assert_eq!((served.totals.requests, served.totals.replies), (19, 19));
    assert_eq!(served.handled, 0);
}

#[tokio::test]
async fn of_those_in_flight_together_the_answered_are_told_and_the_others_are_lost() {
    let mut site = Site::new("dies").await;
    let mut upstream = site.proven().await;
    site.sends(0..16).await;
    gets(&mut upstream, 0..16).await;
    answers(&mut upstream, 0..5).await;
    drop(upstream);
    site.is_told(0..5).await;
    for message in site.is_told_of_failures(11).await {
        assert!(message.contains("it may have been executed"), "{message}");
    }
    let totals = site.route.snapshot().totals;
    assert_eq!((totals.answered, totals.lost), (3 + 5, 11));
    // The next go elsewhere.
    site.sends(20..22).await;
    let mut other = site.accepted.recv().await.expect("another connection");
    gets(&mut other, 20..22).await;
    answers(&mut other, 20..22).await;
    site.is_told(20..22).await;
    assert_eq!(site.running.snapshot().handled, 0);
}

#[tokio::test]
async fn what_has_no_room_beside_the_others_waits_for_it_in_its_turn() {
    let narrow = Pipelining::default().depth(6);
    let mut site = Site::with("narrow", narrow, |server| server).await;
    let mut upstream = site.proven().await;
    site.sends(0..16).await;
    gets(&mut upstream, 0..6).await;
    let load = |site: &Site| {
        let upstream = site.route.snapshot().upstream;
        let in_flight = upstream.pipelines.expect("pipelined").in_flight;
        (in_flight.values().sum::<usize>(), upstream.waiting)
    };
    while load(&site) != (6, 10) {
        tokio::task::yield_now().await;
    }
    assert_eq!(site.running.snapshot().handled, 16);
    answers(&mut upstream, 0..3).await;
    site.is_told(0..3).await;
    gets(&mut upstream, 6..9).await;
    assert_eq!(load(&site), (6, 7));
    for body in 3..16 {
        answers(&mut upstream, body..body + 1).await;
        site.is_told(body..body + 1).await;
        if body + 6 < 16 {
            gets(&mut upstream, body + 6..body + 7).await;
        }
    }
    assert_eq!(site.tally.opened(), 1);
}

#[tokio::test]
async fn a_client_that_leaves_is_counted_with_each_of_its_requests() {
    let mut site = Site::new("abandons").await;
    let mut upstream = site.proven().await;
    let path = site.client.peer_addr().expect("named");
    let path = path.as_pathname().expect("a path").to_owned();
    let mut leaves = UnixStream::connect(&path).await.expect("accepted");
    let frames: Vec<u8> = (200..212).flat_map(frame).collect();
    leaves.write_all(&frames).await.expect("it is open");
    gets(&mut upstream, 200..212).await;
    answers(&mut upstream, 200..204).await;
    for body in 200..204 {
        assert_eq!(receive(&mut leaves).await, body);
    }
    drop(leaves);
    while site.route.snapshot().totals.abandoned < 8 {
        tokio::task::yield_now().await;
    }
    assert_eq!(site.running.snapshot().handled, 0);
    // What comes for those who have left is nobody's else.
    site.sends(0..2).await;
    gets(&mut upstream, 0..2).await;
    answers(&mut upstream, 204..212).await;
    answers(&mut upstream, 0..2).await;
    site.is_told(0..2).await;
    let totals = site.route.snapshot().totals;
    assert_eq!((totals.answered, totals.abandoned), (3 + 4 + 2, 8));
}

#[tokio::test]
async fn max_handled_is_a_number_of_requests_also_of_those_that_come_together() {
    let narrow = |server: Served| server.max_handled(5);
    let mut site = Site::with("handled", Pipelining::default(), narrow).await;
    let mut upstream = site.proven().await;
    site.sends(0..8).await;
    gets(&mut upstream, 0..5).await;
    answers(&mut upstream, 0..5).await;
    site.is_told(0..5).await;
    for message in site.is_told_of_failures(3).await {
        assert!(
            message.contains("5 requests are being handled"),
            "{message}"
        );
    }
}

#[tokio::test]
async fn a_frame_that_is_too_long_is_told_of_behind_those_it_came_with() {
    let mut site = Site::new("long").await;
    let mut upstream = site.proven().await;
    let mut frames: Vec<u8> = (0..3).flat_map(frame).collect();
    frames.extend(b"length:0000999999999");
    site.client.write_all(&frames).await.expect("it is open");
    gets(&mut upstream, 0..3).await;
    answers(&mut upstream, 0..3).await;
    site.is_told(0..3).await;
    let message = receive_text(&mut site.client).await;
    assert!(message.contains("999,999,999"), "{message}");
}
