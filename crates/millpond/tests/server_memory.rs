//! The memory of connections: what an idle one costs, that an exchange leaves nothing behind, and
//! that a client which announces much and sends little is given little.

#![cfg(unix)]

mod serving;

use std::{alloc::System, io::Read, io::Write, os::unix::net::UnixStream, time::Duration};

use bytes::Bytes;
use millpond::server::{Server, raw};
use serving::{frame, serve_with, until};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tokio::time::sleep;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const CONNECTIONS: usize = 400;

/// What a socket itself costs in tokio (its registration with the reactor).
const STREAM: usize = 400;

fn held() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

/// What a client sends of a frame of 1 MiB.
const BEGINNINGS: [usize; 2] = [24, 20_000];

/// One test, for the whole binary's allocations are counted.
#[tokio::test(start_paused = true)]
async fn an_idle_connection_keeps_no_buffer() {
    let site = serve_with(Server::builder(raw(async |body: Bytes| Ok(body)))).await;
    let mut clients = Vec::with_capacity(CONNECTIONS);
    let large = frame(vec![b'1'; 1 << 20]);
    let before = held();
    for _ in 0..CONNECTIONS {
        // std's own, which allocates nothing.
        clients.push(site.connect().await.stream.into_std().expect("a stream"));
    }
    until(|| (site.snapshot().open == CONNECTIONS).then_some(())).await;
    let fresh = (held() - before) / CONNECTIONS;

    let request = frame(format!("\"{}\"", "x".repeat(3_000)));
    for client in &mut clients {
        exchange(client, &request).await;
    }
    // Its room for exchanges is given back as the heartbeat's time comes.
    sleep(Duration::from_secs(12)).await;
    let rested = (held() - before) / CONNECTIONS;
    println!("an idle connection holds {fresh} bytes, and {rested} after an exchange");
    assert!(fresh <= 1_200 + STREAM, "{fresh} bytes");
    assert!(
        rested <= fresh + 100,
        "{rested} bytes, and {fresh} before the exchange"
    );

    let allocations = ALLOCATOR.stats().allocations;
    let warm = &mut clients[0];
    for _ in 0..100 {
        exchange(warm, &request).await;
    }
    let each = (ALLOCATOR.stats().allocations - allocations) as f64 / 100.0;
    println!("an exchange allocates {each} times");
    // The body and the handler's future; the reply is the body.
    assert!(each < 3.0, "{each} allocations");

    let mut sent = 0;
    for beginning in BEGINNINGS {
        for client in &mut clients {
            client.write_all(&large[sent..beginning]).expect("a write");
            tokio::task::yield_now().await;
        }
        sent = beginning;
        sleep(Duration::from_secs(1)).await;
        let begun = (held() - before) / CONNECTIONS;
        println!("with {sent} bytes of a frame that announces a MiB it holds {begun} bytes");
        // The room for exchanges of the one that is still warm counts as well.
        assert!(
            begun <= rested + 2 * sent + 100,
            "{begun} bytes for {sent}, and {rested} before"
        );
    }
}

async fn exchange(client: &mut UnixStream, request: &[u8]) {
    client.write_all(request).expect("a write");
    let mut reply = [0; 4_096];
    loop {
        match client.read(&mut reply) {
            Ok(length) if reply[..length] == *b"HeartBeat" => {}
            Ok(length) => return assert_eq!(&reply[..length], request),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                tokio::task::yield_now().await
            }
            Err(error) => panic!("{error}"),
        }
    }
}
