//! Clients that are slow, that stop, that don't read and that leave: none of them keeps a connection
//! to the upstream from the others, and all of them are cut in time. On a paused clock, so their
//! neighbours have to be served without any time passing.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use millpond::{
    client::{Client, Pipelining},
    framing::{LengthJson, Protocol},
    proxy::{Route, RouteBuilder},
    server::{Closed, Running, Server, raw},
};
use tokio::time::{Instant, sleep};

use crate::{Plain, endpoint, framed, listen, path, recorder::Recorder};

const SECOND: Duration = Duration::from_secs(1);

/// A route in each mode, with so many connections.
fn routes(path: &std::path::Path, size: u32) -> [RouteBuilder<Protocol>; 3] {
    [(false, false), (true, false), (false, true)].map(|(pipelined, session)| {
        let builder = Client::builder(endpoint(path))
            .framing(Protocol::from(LengthJson::with_max_body(16 << 20)))
            .heartbeat_interval(Duration::ZERO)
            .pool(move |pool| pool.max_size(size));
        let builder = match pipelined {
            true => builder.pipelined(Pipelining::default()),
            false => builder,
        };
        Route::builder(builder.build().expect("a client")).session(session)
    })
}

fn closed(running: &Running) -> BTreeMap<Closed, u64> {
    running.snapshot().totals.closed
}

async fn until(what: impl Fn() -> bool) {
    while !what() {
        sleep(SECOND / 100).await;
    }
}

/// Asks until it is told that there were enough, and no time may pass.
async fn is_served_at_once(neighbour: &mut Plain, times: usize) {
    let begun = Instant::now();
    for number in 0..times {
        let body = format!("[{number}]");
        assert_eq!(neighbour.ask_json(&body).await, body);
    }
    assert_eq!(begun.elapsed(), Duration::ZERO, "it had to wait");
}

#[tokio::test(start_paused = true)]
async fn clients_that_stop_in_a_request_take_no_connection_and_are_cut() {
    let protocol = Protocol::named("length-json").expect("a preset");
    let whole = framed("\"never whole\"");
    for mode in 0..3 {
        let upstream = Recorder::start(&protocol);
        let [exchange, pipeline, session] = routes(&upstream.path, 1);
        let route = [exchange, pipeline, session].into_iter().nth(mode);
        let route = route.expect("a mode").build();
        let path = path();
        // Clients would read its heartbeats for replies.
        let quiet = route.server().heartbeat_interval(Duration::ZERO);
        let running = quiet.serve(listen(&path).await).expect("valid settings");
        // Each stops at another byte: within the header, behind it, within the body.
        let mut stopped = Vec::new();
        for length in 1..whole.len() {
            let mut client = Plain::connect(&path).await;
            client.write(&whole.as_bytes()[..length]).await;
            stopped.push(client);
        }
        let dripping = (0..10).map(|_| {
            let (path, whole) = (path.clone(), whole.clone());
            tokio::spawn(async move {
                let mut client = Plain::connect(&path).await;
                for byte in whole.as_bytes() {
                    if client.try_write(&[*byte]).await.is_err() {
                        return;
                    }
                    sleep(SECOND).await;
                }
                panic!("a byte a second is served");
            })
        });
        let dripping: Vec<_> = dripping.collect();
        tokio::task::yield_now().await;
        let mut neighbour = Plain::connect(&path).await;
        is_served_at_once(&mut neighbour, 20).await;
        assert_eq!(running.snapshot().open, whole.len() - 1 + 10 + 1);
        // One leaves instead of being cut.
        stopped.pop();
        until(|| running.snapshot().open == 1).await;
        for dripped in dripping {
            dripped.await.expect("it is cut");
        }
        is_served_at_once(&mut neighbour, 20).await;
        let closed = closed(&running);
        let cut = closed.get(&Closed::HeaderTimeout).unwrap_or(&0)
            + closed.get(&Closed::BodyTimeout).unwrap_or(&0);
        assert_eq!(cut, whole.len() as u64 - 2 + 10, "{closed:?}");
        let received = String::from_utf8(upstream.only()).expect("text");
        assert!(!received.contains("never whole"), "{received}");
        let totals = route.snapshot().totals;
        assert_eq!((totals.answered, totals.abandoned), (40, 0));
    }
}

/// The reply is larger than all sockets take, and its client reads nothing of it.
#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_cut_and_keeps_no_connection() {
    const LARGE: usize = 8 << 20;
    for mode in 0..3 {
        let upstream_path = path();
        let large = raw(async |body: Bytes| match &body[..] {
            b"\"large\"" => Ok(Bytes::from(vec![b'1'; LARGE])),
            _ => Ok(body),
        });
        let _upstream = Server::builder(large)
            .framing(LengthJson::with_max_body(16 << 20))
            .max_bytes_per_connection(32 << 20)
            .serve(listen(&upstream_path).await)
            .expect("valid settings");
        // In session mode each has one to itself anyway.
        let size = if mode == 2 { 2 } else { 1 };
        let route = routes(&upstream_path, size).into_iter().nth(mode);
        let route = route.expect("a mode").build();
        let path = path();
        let running = route
            .server()
            .heartbeat_interval(Duration::ZERO)
            .max_bytes_per_connection(32 << 20)
            .serve(listen(&path).await)
            .expect("valid settings");
        let mut deaf = Plain::connect(&path).await;
        // The second waits behind the first, and is never begun.
        let asks = [framed("\"large\""), framed("\"large\"")].concat();
        deaf.write(asks.as_bytes()).await;
        let answered = || route.snapshot().totals.answered;
        while answered() == 0 {
            tokio::task::yield_now().await;
        }
        let mut neighbour = Plain::connect(&path).await;
        is_served_at_once(&mut neighbour, 20).await;
        until(|| closed(&running).contains_key(&Closed::WriteTimeout)).await;
        is_served_at_once(&mut neighbour, 20).await;
        let shown = route.snapshot();
        assert_eq!(shown.pins.len(), usize::from(mode == 2), "{:?}", shown.pins);
        assert_eq!(shown.upstream.waiting, 0);
        drop(neighbour);
        until(|| running.snapshot().open == 0).await;
        assert_eq!(running.snapshot().bytes, 0, "memory comes back");
        assert!(route.snapshot().pins.is_empty());
        drop(deaf);
    }
}

/// It reads some of a large reply, and goes on reading as slowly as it may: it gets all of it.
#[tokio::test(start_paused = true)]
async fn a_client_that_reads_slowly_gets_all_of_it_and_keeps_nobody_waiting() {
    const LARGE: usize = 4 << 20;
    for mode in 0..2 {
        let upstream_path = path();
        let large = raw(async |body: Bytes| match &body[..] {
            b"\"large\"" => Ok(Bytes::from(vec![b'1'; LARGE])),
            _ => Ok(body),
        });
        let _upstream = Server::builder(large)
            .framing(LengthJson::with_max_body(16 << 20))
            .max_bytes_per_connection(32 << 20)
            .serve(listen(&upstream_path).await)
            .expect("valid settings");
        let route = routes(&upstream_path, 1).into_iter().nth(mode);
        let route = route.expect("a mode").build();
        let path = path();
        let running = route
            .server()
            .heartbeat_interval(Duration::ZERO)
            .max_bytes_per_connection(32 << 20)
            .serve(listen(&path).await)
            .expect("valid settings");
        let mut slow = Plain::connect(&path).await;
        slow.write(framed("\"large\"").as_bytes()).await;
        while route.snapshot().totals.answered == 0 {
            tokio::task::yield_now().await;
        }
        let mut neighbour = Plain::connect(&path).await;
        let mut read = 0;
        let mut chunk = vec![0; 64 << 10];
        while read < 20 + LARGE {
            let some = tokio::io::AsyncReadExt::read(&mut slow.0, &mut chunk).await;
            let some = some.expect("it isn't cut");
            assert_ne!(some, 0, "it was cut after {read} bytes");
            read += some;
            is_served_at_once(&mut neighbour, 1).await;
            sleep(SECOND / 2).await;
        }
        assert_eq!(read, 20 + LARGE);
        assert!(!closed(&running).contains_key(&Closed::WriteTimeout));
    }
}
