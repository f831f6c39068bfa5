//! What clients can do to a drain: send slowly, never read, go away, or never close their side.

use std::time::Duration;

use crate::serving::{frame, serve_with, until};
use bytes::Bytes;
use millpond::server::{Closed, Handler, Running, Server, ServerStatus, raw};
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

async fn draining(running: &Running) {
    until(|| (running.snapshot().status == ServerStatus::Draining).then_some(())).await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_has_begun_to_arrive_is_waited_for_as_long_as_it_goes_on() {
    let site = serve_with(Server::builder(raw(async |body: Bytes| Ok(body)))).await;
    let mut client = site.connect().await;
    let request = frame("[1]");
    client.write(&request[..1]).await;
    until(|| (site.snapshot().open == 1).then_some(())).await;
    let since = Instant::now();
    let clients = async {
        draining(&site.running).await;
        for byte in &request[1..] {
            tokio::time::sleep(SECOND * 2 / 5).await;
            client.write([*byte]).await;
        }
        assert_eq!(client.reply().await, "[1]");
        assert_eq!(client.next_reply().await, None);
        drop(client);
    };
    let (ended, ()) = tokio::join!(site.running.drain(60 * SECOND), clients);
    assert_eq!((ended.forced, ended.unanswered), (0, 0));
    assert!(since.elapsed() > 5 * SECOND, "{:?}", since.elapsed());
}

/// A handler whose replies no socket here takes as a whole.
fn large_replies() -> impl Handler {
    raw(async |_: Bytes| Ok(vec![b'1'; 1_000_000]))
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_reads_leaves_its_requests_unanswered_and_that_is_said() {
    // At the deadline, and by write_timeout before it.
    for (within, closed, forced) in [(5, Closed::Forced, 1), (500, Closed::WriteTimeout, 0)] {
        let site = serve_with(Server::builder(large_replies())).await;
        let mut client = site.connect().await;
        client.write(frame("1").repeat(80)).await;
        // One reply is leaving, and 16 requests wait behind it.
        until(|| (site.snapshot().totals.requests == 17).then_some(())).await;
        let ended = site.running.drain(within * SECOND).await;
        assert_eq!((ended.forced, ended.unanswered), (forced, 80), "{closed:?}");
        let totals = site.snapshot().totals;
        assert_eq!((totals.closed[&closed], totals.unanswered), (1, 80));
    }
}

#[tokio::test(start_paused = true)]
async fn clients_that_went_away_leave_nothing_unanswered() {
    let site = serve_with(Server::builder(large_replies())).await;
    let mut client = site.connect().await;
    client.write(frame("1").repeat(80)).await;
    // One reply is leaving, and 16 requests wait behind it.
    until(|| (site.snapshot().totals.requests == 17).then_some(())).await;
    let leaving = async {
        draining(&site.running).await;
        drop(client);
    };
    let (ended, ()) = tokio::join!(site.running.drain(60 * SECOND), leaving);
    assert_eq!((ended.forced, ended.unanswered), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_close_is_closed_at_the_deadline_and_not_called_forced() {
    let site = serve_with(Server::builder(raw(async |body: Bytes| Ok(body)))).await;
    let mut client = site.connect().await;
    client.ask("1").await;
    let since = Instant::now();
    let ended = site.running.drain(5 * SECOND).await;
    assert!(since.elapsed() >= 5 * SECOND, "{:?}", since.elapsed());
    assert_eq!((ended.forced, ended.unanswered), (0, 0));
    assert_eq!(site.snapshot().totals.closed[&Closed::Drained], 1);
    assert_eq!(client.next_reply().await, None);
}
