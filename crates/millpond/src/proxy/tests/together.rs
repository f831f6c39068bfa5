//! One client's requests in flight together, over an upstream in memory whose writes are counted.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::mpsc,
};

use crate::proxy::Route;
use crate::{
    client::{Client, Pipelining},
    connectors::StreamConnector,
    memory::{Inlet, MemoryStream, Pace, Tally},
    net::{ListenOptions, Listener},
    server::Running,
};

/// A client of a route, and what its upstream sees.
struct Site {
    client: UnixStream,
    accepted: mpsc::UnboundedReceiver<MemoryStream>,
    tally: Arc<Tally>,
    _running: Running,
}

impl Site {
    async fn new(name: &str) -> Site {
        let (inlet, accepted, tally) = Inlet::new(Pace::AtOnce, 1 << 20);
        let connector = StreamConnector::in_memory(inlet);
        let client = Client::over(connector)
            .pipelined(Pipelining::default())
            .build();
        let route = Route::to(client.expect("valid settings"));
        let name = format!("millpond-flow-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let endpoint = format!("unix://{}", path.display());
        let endpoint = endpoint.parse().expect("an endpoint");
        let listener = Listener::bind(&endpoint, ListenOptions::default()).await;
        let running = route.server().serve(listener.expect("a socket"));
        Site {
            client: UnixStream::connect(&path).await.expect("accepted"),
            accepted,
            tally,
            _running: running.expect("valid settings"),
        }
    }

    /// In one write.
    async fn sends(&mut self, bodies: std::ops::Range<u32>) {
        let frames: Vec<u8> = bodies.flat_map(frame).collect();
        self.client.write_all(&frames).await.expect("it is open");
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
    let mut header = [0; 20];
    stream.read_exact(&mut header).await.expect("a header");
    let length = std::str::from_utf8(&header[7..]).expect("digits");
    let mut body = vec![0; length.parse().expect("a length")];
    stream.read_exact(&mut body).await.expect("a body");
    let body = std::str::from_utf8(&body).expect("text");
    body.parse().expect("a number")
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
