//! Raw routes over streams in memory, on the paused clock: clients and upstreams that do exactly
//! what a test says. What only sockets show is in `tests/proxy/raw.rs`.

use std::{sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
    task::yield_now,
    time::{Instant, sleep, timeout},
};

use super::{RawConnector, RawRoute, RawRouteBuilder};
use crate::{
    connectors::StreamConnector,
    memory::{Inlet, MemoryStream, Pace, Tally},
    net::{Listener, Stream},
    pool::PoolBuilder,
    server::{Closed, Running, ServerSettings},
};

const SECOND: Duration = Duration::from_secs(1);
/// Longer than any test takes, by its clock.
const FOREVER: Duration = Duration::from_secs(700);
/// What a stream holds in one direction.
const CAPACITY: usize = 1 << 10;

/// A raw route, its clients' door and its upstream.
struct Site {
    route: RawRoute,
    running: Running,
    door: mpsc::Sender<Stream>,
    clients: Inlet,
    far: mpsc::UnboundedReceiver<MemoryStream>,
    upstream: mpsc::UnboundedReceiver<MemoryStream>,
    tally: Arc<Tally>,
}

impl Site {
    fn new(pace: Pace, configure: impl FnOnce(RawRouteBuilder) -> RawRouteBuilder) -> Site {
        Site::with(pace, ServerSettings::default(), configure)
    }

    fn with(
        pace: Pace,
        settings: ServerSettings,
        configure: impl FnOnce(RawRouteBuilder) -> RawRouteBuilder,
    ) -> Site {
        let (inlet, upstream, tally) = Inlet::new(pace, CAPACITY);
        let (clients, far, _) = Inlet::new(pace, CAPACITY);
        let route = RawRoute::to(StreamConnector::in_memory(inlet));
        let route = configure(route).build().expect("valid settings");
        let (door, streams) = mpsc::channel(16);
        let name = "unix:///in-memory".parse().expect("an endpoint");
        let running = route.serve(settings, Listener::from_streams(name, streams));
        Site {
            route,
            running: running.expect("valid settings"),
            door,
            clients,
            far,
            upstream,
            tally,
        }
    }

    /// A client that has connected.
    async fn client(&mut self) -> MemoryStream {
        let stream = self.clients.open().expect("a stream");
        self.door.send(stream).await.expect("a server");
        self.far.recv().await.expect("its far end")
    }

    /// The next connection to the upstream.
    async fn upstream(&mut self) -> MemoryStream {
        let next = timeout(FOREVER, self.upstream.recv()).await;
        next.expect("in time").expect("a connection")
    }

    /// A client and its upstream.
    async fn session(&mut self) -> (MemoryStream, MemoryStream) {
        (self.client().await, self.upstream().await)
    }

    /// Waits until so many clients have ended, and for this reason.
    async fn closed(&self, reason: Closed, times: u64) {
        let closed = || self.running.snapshot().totals.closed;
        let is_so = async {
            while closed().get(&reason) != Some(&times) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        let in_time = timeout(FOREVER, is_so).await;
        assert!(in_time.is_ok(), "{reason:?}: {:?}", closed());
    }
}

fn one(pool: PoolBuilder<RawConnector>) -> PoolBuilder<RawConnector> {
    pool.max_size(1)
}

async fn read(stream: &mut MemoryStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let read = timeout(FOREVER, stream.read_exact(&mut bytes)).await;
    read.expect("in time").expect("so many bytes");
    bytes
}

/// All until the end; an error counts as one.
async fn rest(stream: &mut MemoryStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let read = timeout(FOREVER, stream.read_to_end(&mut bytes)).await;
    let _ = read.expect("in time");
    bytes
}

#[tokio::test(start_paused = true)]
async fn bytes_go_both_ways_however_they_are_split() {
    let bytes: Vec<u8> = (0..40_000_u32).map(|at| (at % 251) as u8).collect();
    for pace in [Pace::AtOnce, Pace::ByByte] {
        let mut site = Site::new(pace, |route| route);
        let (mut client, mut upstream) = site.session().await;
        // Both at once, each larger than what the streams hold.
        let (mut client_reads, mut client_writes) = tokio::io::split(&mut client);
        let (mut upstream_reads, mut upstream_writes) = tokio::io::split(&mut upstream);
        let (mut there, mut back) = (vec![0; bytes.len()], vec![0; bytes.len()]);
        let done = tokio::try_join!(
            client_writes.write_all(&bytes),
            upstream_writes.write_all(&bytes),
            upstream_reads.read_exact(&mut there),
            client_reads.read_exact(&mut back),
        );
        done.expect("open streams");
        assert!(there == bytes && back == bytes, "{pace:?}");
        let totals = site.route.snapshot().totals;
        let length = bytes.len() as u64;
        assert_eq!(
            (totals.bytes_to_upstream, totals.bytes_to_client),
            (length, length)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_is_passed_on_in_each_direction_by_itself() {
    for pace in [Pace::AtOnce, Pace::ByByte] {
        for client_ends_first in [true, false] {
            let mut site = Site::new(pace, |route| route.pool(one));
            let (mut client, mut upstream) = site.session().await;
            let (first, second, closed) = match client_ends_first {
                true => (&mut client, &mut upstream, Closed::ByPeer),
                false => (&mut upstream, &mut client, Closed::ByUpstream),
            };
            first.write_all(b"all that I say").await.expect("open");
            first.shutdown().await.expect("open");
            assert_eq!(rest(second).await, b"all that I say");
            sleep(SECOND / 2).await;
            second.write_all(b"and the answer").await.expect("open");
            second.shutdown().await.expect("open");
            assert_eq!(rest(first).await, b"and the answer");
            site.closed(closed, 1).await;
            assert_eq!(site.route.snapshot().totals.ended, 1);
            assert_eq!(site.tally.open(), 0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_upstream_connection_is_lent_twice() {
    let mut site = Site::new(Pace::AtOnce, |route| route.pool(one));
    for number in 1..=3 {
        let (mut client, mut upstream) = site.session().await;
        client.write_all(b"?").await.expect("open");
        assert_eq!(read(&mut upstream, 1).await, b"?");
        upstream.write_all(b"!").await.expect("open");
        assert_eq!(read(&mut client, 1).await, b"!");
        assert_eq!((site.tally.opened(), site.tally.open()), (number, 1));
        match number {
            // In good order, by a reset, and without a word.
            1 => client.shutdown().await.expect("open"),
            2 => client.reset(),
            _ => drop(client),
        }
        assert_eq!(rest(&mut upstream).await, b"");
    }
}

/// Whether it is ready at once.
trait NowOrNone: Future + Sized {
    async fn now_or_none(self) -> Option<Self::Output> {
        timeout(Duration::ZERO, self).await.ok()
    }
}

impl<F: Future> NowOrNone for F {}

#[tokio::test(start_paused = true)]
async fn max_size_is_exact_and_the_others_wait_in_one_line() {
    let mut site = Site::new(Pace::AtOnce, |route| route.pool(|pool| pool.max_size(2)));
    let mut clients = Vec::new();
    for number in 0..6_u8 {
        let mut client = site.client().await;
        client.write_all(&[number]).await.expect("open");
        clients.push(client);
        yield_now().await;
    }
    let mut before = None;
    for number in 0..6_u8 {
        let mut upstream = site.upstream().await;
        assert_eq!(read(&mut upstream, 1).await, [number]);
        assert!(site.tally.open() <= 2);
        // The session before this one ends, and makes room for the next client.
        if let Some(before) = before.replace(upstream) {
            let ends = &mut clients[usize::from(number) - 1];
            ends.shutdown().await.expect("open");
            drop::<MemoryStream>(before);
        }
    }
    assert_eq!(site.tally.opened(), 6);
    assert!(site.tally.open() <= 2);
}

#[tokio::test(start_paused = true)]
async fn clients_beyond_the_limits_are_closed_and_counted() {
    let mut site = Site::new(Pace::AtOnce, |route| {
        route.pool(|pool| one(pool).max_waiting(1).acquire_timeout(5 * SECOND))
    });
    let (_client, _upstream) = site.session().await;
    let mut waits = site.client().await;
    while site.route.pool().snapshot().waiting == 0 {
        yield_now().await;
    }
    let began = Instant::now();
    let mut is_too_many = site.client().await;
    assert_eq!(rest(&mut is_too_many).await, b"");
    assert!(began.elapsed() < SECOND);
    assert_eq!(rest(&mut waits).await, b"");
    assert!((5 * SECOND..6 * SECOND).contains(&began.elapsed()));
    site.closed(Closed::ToldFailure, 2).await;
    assert_eq!(site.route.snapshot().totals.overloaded, 2);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_the_line_is_missed_by_nobody() {
    let mut site = Site::new(Pace::AtOnce, |route| route.pool(one));
    let (client, upstream) = site.session().await;
    let leaves = site.client().await;
    let mut waits = site.client().await;
    waits.write_all(b"mine").await.expect("open");
    leaves.reset();
    site.closed(Closed::Broken, 1).await;
    assert_eq!(site.route.snapshot().totals.abandoned, 1);
    drop((client, upstream));
    assert_eq!(read(&mut site.upstream().await, 4).await, b"mine");
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_is_not_there_is_told_by_closing_and_found_again() {
    let mut site = Site::new(Pace::AtOnce, |route| {
        route.pool(|pool| pool.outage_grace(Duration::ZERO))
    });
    site.tally
        .is_down
        .store(true, std::sync::atomic::Ordering::Relaxed);
    let mut refused = site.client().await;
    assert_eq!(rest(&mut refused).await, b"");
    assert_eq!(site.route.snapshot().totals.unavailable, 1);
    site.tally
        .is_down
        .store(false, std::sync::atomic::Ordering::Relaxed);
    sleep(30 * SECOND).await;
    // Neither says anything: the connection counts as proven none the less.
    let _first = site.session().await;
    let _second = site.session().await;
}

#[tokio::test(start_paused = true)]
async fn who_breaks_off_is_told_to_the_other_side() {
    let mut site = Site::new(Pace::AtOnce, |route| route.pool(one));
    let (mut client, mut upstream) = site.session().await;
    upstream.write_all(b"half of it").await.expect("open");
    assert_eq!(read(&mut client, 10).await, b"half of it");
    upstream.reset();
    assert_eq!(rest(&mut client).await, b"");
    site.closed(Closed::ByUpstream, 1).await;
    assert_eq!(site.route.snapshot().totals.lost, 1);

    let (client, mut upstream) = site.session().await;
    client.reset();
    assert_eq!(rest(&mut upstream).await, b"");
    site.closed(Closed::Broken, 1).await;
    assert_eq!(site.route.snapshot().totals.left, 1);
    assert_eq!(site.tally.open(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_an_upstream_says_to_what_it_refuses_to_read_is_passed_on() {
    let mut site = Site::new(Pace::AtOnce, |route| route.pool(one));
    let (mut client, mut upstream) = site.session().await;
    upstream.stop_reading();
    client.write_all(&[7; 100]).await.expect("open");
    sleep(SECOND).await;
    upstream.write_all(b"too large").await.expect("open");
    upstream.shutdown().await.expect("open");
    assert_eq!(rest(&mut client).await, b"too large");
    site.closed(Closed::ByUpstream, 1).await;
    assert_eq!(site.route.snapshot().totals.lost, 1);
}

#[tokio::test(start_paused = true)]
async fn a_silent_session_ends_by_idle_timeout_and_sooner_once_a_side_has_ended() {
    let settings = ServerSettings {
        idle_timeout: Some(600 * SECOND),
        ..ServerSettings::default()
    };
    let mut site = Site::with(Pace::AtOnce, settings, |route| route.pool(one));
    let (mut client, mut upstream) = site.session().await;
    for _ in 0..3 {
        sleep(500 * SECOND).await;
        client.write_all(b"?").await.expect("open");
        assert_eq!(read(&mut upstream, 1).await, b"?");
    }
    let began = Instant::now();
    assert_eq!(rest(&mut client).await, b"");
    assert!((600 * SECOND..601 * SECOND).contains(&began.elapsed()));
    site.closed(Closed::IdleTimeout, 1).await;

    let (mut client, mut upstream) = site.session().await;
    client.shutdown().await.expect("open");
    let began = Instant::now();
    for _ in 0..3 {
        sleep(50 * SECOND).await;
        upstream.write_all(b"!").await.expect("open");
        assert_eq!(read(&mut client, 1).await, b"!");
    }
    assert_eq!(rest(&mut client).await, b"");
    assert!((210 * SECOND..211 * SECOND).contains(&began.elapsed()));
    site.closed(Closed::IdleTimeout, 2).await;

    // A client that keeps its side open though the upstream has closed.
    let (mut client, mut upstream) = site.session().await;
    upstream.shutdown().await.expect("open");
    assert_eq!(rest(&mut client).await, b"");
    let began = Instant::now();
    assert_eq!(rest(&mut upstream).await, b"");
    assert!((SECOND..2 * SECOND).contains(&began.elapsed()));
    site.closed(Closed::ByUpstream, 1).await;
    assert_eq!(
        (site.route.snapshot().totals.silent, site.tally.open()),
        (2, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn who_reads_slowly_stops_one_upstream_only_and_is_cut() {
    let mut site = Site::new(Pace::AtOnce, |route| route.pool(|pool| pool.max_size(2)));
    let (mut slow, mut upstream) = site.session().await;
    let (mut quick, mut beside) = site.session().await;
    // More than the streams and the route hold is never taken.
    let flood = [7; 100 << 10];
    let mut taken = 0;
    while let Some(written) = upstream.write(&flood[taken..]).now_or_none().await {
        taken += written.expect("open");
        yield_now().await;
    }
    assert!(taken <= 2 * CAPACITY + super::one_way::AT_ONCE, "{taken}");
    // As slow as is allowed.
    for _ in 0..5 {
        sleep(9 * SECOND).await;
        assert_eq!(read(&mut slow, CAPACITY).await.len(), CAPACITY);
        let _ = upstream.write(&flood).now_or_none().await;
        quick.write_all(b"?").await.expect("open");
        assert_eq!(read(&mut beside, 1).await, b"?");
    }
    let began = Instant::now();
    site.closed(Closed::WriteTimeout, 1).await;
    assert!((10 * SECOND..12 * SECOND).contains(&began.elapsed()));
    assert_eq!(site.route.snapshot().totals.stalled, 1);
    beside.write_all(b"!").await.expect("open");
    assert_eq!(read(&mut quick, 1).await, b"!");
    assert_eq!(site.tally.open(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_session_ends_at_its_greatest_age() {
    let mut site = Site::new(Pace::AtOnce, |route| {
        route.pool(one).max_pin_age(60 * SECOND)
    });
    let (mut client, _upstream) = site.session().await;
    sleep(10 * SECOND).await;
    let pins = site.route.snapshot().pins;
    assert_eq!(pins.len(), 1);
    assert!((10 * SECOND..11 * SECOND).contains(&pins[0].age));
    assert_eq!(rest(&mut client).await, b"");
    site.closed(Closed::MaxPinAge, 1).await;
    let shown = site.route.snapshot();
    assert_eq!((shown.totals.expired, shown.pins.len()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_speaks_first_is_heard() {
    for spares in [0, 1] {
        let mut site = Site::new(Pace::AtOnce, |route| {
            route.pool(move |pool| pool.max_size(2).min_idle(spares))
        });
        // A spare connection is opened before anyone comes, and the greeting waits on it.
        for _ in 0..3 {
            let (mut client, mut upstream);
            if spares > 0 {
                upstream = site.upstream().await;
                upstream.write_all(b"220 hello\r\n").await.expect("open");
                sleep(SECOND).await;
                client = site.client().await;
            } else {
                client = site.client().await;
                upstream = site.upstream().await;
                upstream.write_all(b"220 hello\r\n").await.expect("open");
            }
            assert_eq!(read(&mut client, 11).await, b"220 hello\r\n");
            client.write_all(b"QUIT").await.expect("open");
            assert_eq!(read(&mut upstream, 4).await, b"QUIT");
        }
        let totals = site.route.snapshot().pool.totals;
        let unasked = totals.evicted(crate::pool::Eviction::UnsolicitedBytes);
        assert_eq!(unasked, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_spare_connection_whose_upstream_has_ended_is_lent_to_nobody() {
    let mut site = Site::new(Pace::AtOnce, |route| {
        route.pool(|pool| pool.max_size(1).min_idle(1))
    });
    let mut spare = site.upstream().await;
    sleep(SECOND).await;
    spare.write_all(b"421 too late\r\n").await.expect("open");
    spare.shutdown().await.expect("open");
    let mut next = site.upstream().await;
    next.write_all(b"220 hello\r\n").await.expect("open");
    let mut client = site.client().await;
    assert_eq!(read(&mut client, 11).await, b"220 hello\r\n");
}

#[tokio::test(start_paused = true)]
async fn a_drain_lets_sessions_go_on_until_its_deadline() {
    let mut site = Site::new(Pace::AtOnce, |route| route);
    let (mut ends, mut its_upstream) = site.session().await;
    let (mut stays, mut beside) = site.session().await;
    let (ended, ()) = tokio::join!(site.running.drain(60 * SECOND), async {
        sleep(30 * SECOND).await;
        ends.write_all(b"?").await.expect("open");
        assert_eq!(read(&mut its_upstream, 1).await, b"?");
        its_upstream.write_all(b"!").await.expect("open");
        its_upstream.shutdown().await.expect("open");
        assert_eq!(rest(&mut ends).await, b"!");
        ends.shutdown().await.expect("open");
    });
    assert_eq!((ended.forced, ended.unanswered), (1, 0));
    assert_eq!(rest(&mut stays).await, b"");
    assert_eq!(rest(&mut beside).await, b"");
    let totals = site.route.snapshot().totals;
    assert_eq!((totals.ended, totals.forced), (1, 1));
    assert_eq!(site.tally.open(), 0);
}
