//! How a server ends: drained, hurried, closed, dropped; and what its snapshot says meanwhile.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use crate::serving::{Site, frame, serve, serve_with, until};
use bytes::Bytes;
use millpond::server::{Closed, Handler, Server, ServerStatus, json, raw};
use tokio::time::{Instant, sleep, timeout};

const SECOND: Duration = Duration::from_secs(1);

/// Sleeps for as many seconds as it is told.
fn sleeper() -> impl Handler {
    json(async |seconds: u64| -> Result<u64, String> {
        sleep(Duration::from_secs(seconds)).await;
        Ok(seconds)
    })
}

async fn until_handled(site: &Site, handled: usize) {
    until(|| (site.snapshot().handled == handled).then_some(())).await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_finishes_what_is_under_way_and_what_has_arrived() {
    let site = serve_with(Server::builder(sleeper()).max_in_flight(2)).await;
    let mut idle = site.connect().await;
    idle.ask("0").await;
    let mut partial = site.connect().await;
    partial.write(&frame("0")[..22 - 3]).await;
    let mut busy = site.connect().await;
    // Two are handled; the third and the fourth have arrived, and wait for room.
    busy.write(frame("3").repeat(4)).await;
    until_handled(&site, 2).await;
    let since = Instant::now();
    let drain = site.running.drain(60 * SECOND);
    let watched = &site;
    let clients = async move {
        assert_eq!(idle.next_reply().await, None);
        assert_eq!(partial.next_reply().await, None);
        assert!(since.elapsed() < SECOND, "those have nothing to wait for");
        let site = watched;
        assert_eq!(site.snapshot().status, ServerStatus::Draining);
        assert!(site.try_connect().await.is_err(), "nobody listens any more");
        for _ in 0..4 {
            assert_eq!(busy.reply().await, "3");
        }
        assert_eq!(busy.next_reply().await, None);
    };
    let (ended, ()) = tokio::join!(drain, clients);
    assert_eq!(ended.forced, 0);
    assert!(since.elapsed() < 9 * SECOND, "{:?}", since.elapsed());
    let snapshot = site.snapshot();
    assert_eq!(
        (snapshot.status, snapshot.open, snapshot.handled),
        (ServerStatus::Ended, 0, 0)
    );
    assert_eq!(snapshot.totals.closed[&Closed::Drained], 3);
}

#[tokio::test(start_paused = true)]
async fn at_its_deadline_a_drain_closes_the_rest_and_says_how_many() {
    let site = serve(sleeper()).await;
    let mut clients = Vec::new();
    for seconds in ["2", "20", "20"] {
        let mut client = site.connect().await;
        client.send(seconds).await;
        clients.push(client);
    }
    until_handled(&site, 3).await;
    let since = Instant::now();
    let draining = async {
        let ended = site.running.drain(5 * SECOND).await;
        (ended, since.elapsed())
    };
    let first = async {
        let mut first = clients.remove(0);
        assert_eq!(first.reply().await, "2");
        drop(first);
    };
    let ((ended, took), ()) = tokio::join!(draining, first);
    assert_eq!(ended.forced, 2);
    assert!((5 * SECOND..6 * SECOND).contains(&took), "{took:?}");
    for mut client in clients {
        assert_eq!(client.next_reply().await, None);
    }
    let snapshot = site.snapshot();
    assert_eq!(snapshot.totals.closed[&Closed::Forced], 2);
    assert_eq!((snapshot.open, snapshot.handled), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_second_drain_hurries_and_never_delays() {
    let site = serve(sleeper()).await;
    let mut client = site.connect().await;
    client.send("20").await;
    until_handled(&site, 1).await;
    let since = Instant::now();
    let hurry = async {
        sleep(SECOND).await;
        tokio::join!(
            site.running.drain(2 * SECOND),
            site.running.drain(100 * SECOND)
        )
    };
    let (first, (second, third)) = tokio::join!(site.running.drain(15 * SECOND), hurry);
    assert_eq!([first.forced, second.forced, third.forced], [1; 3]);
    assert!(since.elapsed() < 4 * SECOND, "{:?}", since.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_stops_sending_does_not_keep_a_drain_up() {
    let site = serve(raw(async |body: Bytes| {
        sleep(Duration::from_millis(1)).await;
        Ok(body)
    }))
    .await;
    let client = site.connect().await;
    let (mut read, mut write) = client.stream.into_split();
    let sending = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        while write.write_all(&frame("1").repeat(100)).await.is_ok() {}
    });
    let reading =
        tokio::spawn(async move { tokio::io::copy(&mut read, &mut tokio::io::sink()).await });
    until(|| (site.snapshot().totals.requests > 500).then_some(())).await;
    let since = Instant::now();
    let ended = site.running.drain(60 * SECOND).await;
    assert_eq!(ended.forced, 0);
    assert_eq!(site.snapshot().totals.closed[&Closed::Drained], 1);
    assert!(since.elapsed() < 3 * SECOND, "{:?}", since.elapsed());
    for task in [sending] {
        timeout(SECOND, task)
            .await
            .expect("it has ended")
            .expect("no panic");
    }
    let _ = reading.await;
}

#[tokio::test(start_paused = true)]
async fn under_load_every_request_that_was_executed_is_answered() {
    static EXECUTED: AtomicUsize = AtomicUsize::new(0);
    let site = serve(raw(async |body: Bytes| {
        EXECUTED.fetch_add(1, SeqCst);
        sleep(Duration::from_millis(3)).await;
        Ok(body)
    }))
    .await;
    let answered = Arc::new(AtomicUsize::new(0));
    let mut clients = Vec::new();
    for number in 0..20_u64 {
        let mut client = site.connect().await;
        let answered = answered.clone();
        clients.push(tokio::spawn(async move {
            for request in 0.. {
                let token = format!("[{number},{request}]");
                use tokio::io::AsyncWriteExt;
                if client.stream.write_all(&frame(&token)).await.is_err() {
                    return;
                }
                match client.next_reply().await {
                    Some(reply) => assert_eq!(reply, token),
                    None => return,
                }
                answered.fetch_add(1, SeqCst);
            }
        }));
    }
    sleep(SECOND / 10).await;
    assert_eq!(site.running.drain(10 * SECOND).await.forced, 0);
    for client in clients {
        client.await.expect("no mismatch");
    }
    let (executed, answered) = (EXECUTED.load(SeqCst), answered.load(SeqCst));
    assert_eq!(executed, answered);
    assert!(answered > 200, "{answered}");
}

#[tokio::test(start_paused = true)]
async fn closing_waits_for_nobody_and_dropping_closes() {
    struct Dropped(Arc<AtomicBool>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.store(true, SeqCst);
        }
    }
    for drops in [false, true] {
        let handler_dropped = Arc::new(AtomicBool::new(false));
        let flag = handler_dropped.clone();
        let site = serve(raw(move |body: Bytes| {
            let dropped = Dropped(flag.clone());
            async move {
                sleep(60 * SECOND).await;
                drop(dropped);
                Ok(body)
            }
        }))
        .await;
        let mut client = site.connect().await;
        client.send("1").await;
        until_handled(&site, 1).await;
        let since = Instant::now();
        if drops {
            drop(site);
        } else {
            assert_eq!(site.running.close().await.forced, 1);
            assert_eq!(site.snapshot().status, ServerStatus::Ended);
        }
        assert_eq!(client.next_reply().await, None);
        assert!(since.elapsed() < SECOND);
        assert!(handler_dropped.load(SeqCst));
    }
}

#[test]
fn a_server_whose_runtime_has_ended_says_so_and_hangs_nobody() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime")
    };
    let first = runtime();
    let site = first.block_on(serve(sleeper()));
    drop(first);
    assert_eq!(site.snapshot().status, ServerStatus::Ended);
    let drained = runtime().block_on(async { timeout(SECOND, site.running.drain(SECOND)).await });
    assert_eq!(drained.expect("at once").forced, 0);
}

#[cfg(feature = "serde")]
#[tokio::test(start_paused = true)]
async fn a_snapshot_is_versioned_json() {
    let site = serve(sleeper()).await;
    let mut client = site.connect().await;
    client.ask("1").await;
    drop(client);
    site.closed().await;
    let snapshot = serde_json::to_value(site.snapshot()).expect("JSON");
    assert_eq!(snapshot["version"], 1);
    assert_eq!(snapshot["status"], "open");
    assert_eq!(snapshot["totals"]["requests"], 1);
    assert_eq!(snapshot["totals"]["closed"]["by_peer"], 1);
    assert!(
        snapshot["endpoint"]
            .as_str()
            .is_some_and(|endpoint| endpoint.starts_with("unix:"))
    );
    assert!(snapshot["up_seconds"].as_f64().is_some_and(|up| up >= 1.0));
}
