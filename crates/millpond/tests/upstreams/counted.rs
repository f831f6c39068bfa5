//! How many connections each upstream has: spread evenly, never more than it may, and fewer again
//! however they end.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use millpond::{
    client::{Client, Execution, Pipelining},
    connectors::{StreamConnector, Upstream},
    net::{Dialer, Endpoint, Stream},
    pool::Pool,
};
use tokio::{net::TcpListener, task::JoinSet};

use crate::{loopback::*, servers::*};

#[tokio::test]
async fn connections_are_spread_evenly_and_so_are_requests_that_are_under_way() {
    let servers = Server::three().await;
    let connector = among(&servers, u32::MAX);
    let client = Client::over(connector).pool(|pool| pool.max_size(6));
    let client = client.build().expect("a client");
    let mut lent = Vec::new();
    for _ in 0..6 {
        lent.push(within(client.pool().acquire()).await.expect("a connection"));
    }
    eventually("two each", || open(&servers) == [2, 2, 2]).await;
    let upstreams = client.pool().connector().streams().upstreams();
    for (upstream, server) in upstreams.iter().zip(&servers) {
        assert_eq!((upstream.open, upstream.connecting), (2, 0));
        assert_eq!(*upstream.endpoint, *format!("tcp://{}", server.address));
        assert_eq!((upstream.failures, upstream.is_ejected), (0, false));
        assert_eq!(upstream.max_size, None);
    }
    drop(lent);
    let mut callers = JoinSet::new();
    for caller in 0..12 {
        let client = client.clone();
        callers.spawn(async move {
            for number in 0..50 {
                let body = (caller * 1000 + number).to_string();
                let reply = client.exchange(body.as_bytes()).await.expect("a reply");
                assert_eq!(reply, body);
            }
        });
    }
    within(callers.join_all()).await;
    assert_eq!(open(&servers), [2, 2, 2]);
    let executed = servers.each_ref().map(|it| it.counts.executed.lock().len());
    assert_eq!(executed.iter().sum::<usize>(), 600);
    assert!(!executed.contains(&0), "{executed:?}");
}

/// One pipeline would have room for all of them.
#[tokio::test]
async fn pipelined_requests_are_spread_over_the_upstreams() {
    let servers = Server::three().await;
    let client = Client::over(among(&servers, u32::MAX)).pipelined(Pipelining::default());
    let client = client.build().expect("a client");
    let mut callers = JoinSet::new();
    for caller in 0..30 {
        let client = client.clone();
        callers.spawn(async move {
            for number in 0..100 {
                let body = (caller * 1000 + number).to_string();
                let reply = client.exchange(body.as_bytes()).await.expect("a reply");
                assert_eq!(reply, body);
            }
        });
    }
    within(callers.join_all()).await;
    assert_eq!(open(&servers), [1, 1, 1]);
    let executed = servers.each_ref().map(|it| it.counts.executed.lock().len());
    assert_eq!(executed.iter().sum::<usize>(), 3_000);
    assert!(
        executed.iter().all(|executed| *executed > 500),
        "{executed:?}"
    );
}

/// Accepts, and counts how many connections were open at one instant.
async fn count_open(listener: TcpListener, most: Arc<AtomicUsize>) {
    let mut accepted: Vec<Stream> = Vec::new();
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        accepted.push(stream.into());
        // The kernel knows of a close by the time that it has returned. All that were accepted and
        // aren't closed now were open as this look began.
        accepted.retain(|stream| !stream.has_unread());
        most.fetch_max(accepted.len(), SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_upstream_ever_has_more_connections_than_it_may() {
    const MAX_SIZE: u32 = 4;
    let mut most = Vec::new();
    let mut upstreams = Vec::new();
    for _ in 0..3 {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = Endpoint::from(listener.local_addr().expect("bound"));
        upstreams.push(Upstream::from(endpoint).max_size(MAX_SIZE));
        let counter = Arc::<AtomicUsize>::default();
        most.push(Arc::clone(&counter));
        tokio::spawn(count_open(listener, counter));
    }
    // More than there is room for: dials wait for it.
    let pool = Pool::builder(StreamConnector::among(upstreams))
        .max_size(32)
        .max_connecting(32)
        .connect_timeout(PATIENCE)
        .acquire_timeout(PATIENCE);
    let pool = pool.build().expect("a pool");
    let mut callers = JoinSet::new();
    for caller in 0..32 {
        let pool = pool.clone();
        callers.spawn(async move {
            for turn in 0..40 {
                let lent = pool.acquire().await.expect("a connection");
                tokio::task::yield_now().await;
                match (caller + turn) % 3 {
                    0 => lent.release(),
                    _ => lent.discard(),
                }
            }
        });
    }
    within(callers.join_all()).await;
    let most: Vec<_> = most.iter().map(|most| most.load(SeqCst)).collect();
    assert_eq!(most, [MAX_SIZE as usize; 3]);
    for upstream in pool.connector().upstreams() {
        assert!(upstream.open + upstream.connecting <= MAX_SIZE);
        assert_eq!(upstream.max_size, Some(MAX_SIZE));
    }
}

/// Connections that a connector has open or is opening.
fn counted(pool: &Pool<StreamConnector>) -> u32 {
    let upstreams = pool.connector().upstreams();
    upstreams.iter().map(|it| it.open + it.connecting).sum()
}

#[tokio::test]
async fn a_connection_is_counted_no_more_however_it_ends() {
    let servers = Server::three().await;
    let pool = Pool::builder(among(&servers, 1)).max_size(3);
    let pool = pool.build().expect("a pool");
    let mut ends: Vec<_> = Vec::new();
    for _ in 0..3 {
        ends.push(within(pool.acquire()).await.expect("a connection"));
    }
    assert_eq!(counted(&pool), 3);
    ends.pop().expect("it is lent").discard();
    assert_eq!(counted(&pool), 2);
    let lent = ends.pop().expect("it is lent");
    let panics = tokio::spawn(async move {
        let _lent = lent;
        panic!("as scripted");
    });
    panics.await.expect_err("it panics");
    assert_eq!(counted(&pool), 1);
    ends.pop().expect("it is lent").release();
    assert_eq!(counted(&pool), 1, "it is idle");
    pool.close(SECOND).await.expect("closed");
    assert_eq!(counted(&pool), 0);
    assert_eq!(pool.connector().upstreams()[0].failures, 0);
}

#[test]
fn what_ends_with_its_runtime_is_counted_no_more() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(1).enable_all().build().expect("one")
    };
    let (mine, theirs) = (runtime(), runtime());
    let mut swallowing = theirs.block_on(async { Swallowing::new() });
    let (server, pool) = mine.block_on(async {
        let server = Server::start().await;
        let upstreams = [server.dialer(), Dialer::new(swallowing.address().into())];
        let pool = Pool::builder(StreamConnector::among(upstreams)).max_size(3);
        let pool = pool.build().expect("a pool");
        let lent = within(pool.acquire()).await.expect("a connection");
        let waits = tokio::spawn({
            let pool = pool.clone();
            async move { pool.acquire().await.map(drop) }
        });
        eventually("one is open and one is dialled", || {
            let upstreams = pool.connector().upstreams();
            (upstreams[0].open, upstreams[1].connecting) == (1, 1)
        })
        .await;
        drop(waits);
        lent.release();
        (server, pool)
    });
    drop(mine);
    assert_eq!(counted(&pool), 0);
    drop(server);
    swallowing.relent();
}

#[tokio::test]
async fn a_request_that_makes_its_upstream_hang_up_goes_to_no_other_and_ejects_nobody() {
    for pipelined in [false, true] {
        let servers = Server::three().await;
        let mut client = Client::over(among(&servers, u32::MAX)).pool(|pool| pool.max_size(3));
        if pipelined {
            client = client.pipelined(Pipelining::default());
        }
        let client = client.build().expect("a client");
        for sent in 1..=12 {
            let error = within(client.exchange(POISON.as_bytes())).await;
            let error = error.expect_err("no reply");
            assert_eq!(error.execution(), Execution::Possible, "{error}");
            let executed: usize = servers.iter().map(|it| it.counts.executed(POISON)).sum();
            assert_eq!(executed, sent);
            for upstream in client.pool().connector().streams().upstreams() {
                assert_eq!((upstream.failures, upstream.is_ejected), (0, false));
            }
            // Alone, they would look to the pool like an endpoint that accepts and hangs up.
            let reply = within(client.exchange(b"1")).await;
            assert_eq!(reply.expect("a reply"), "1");
        }
    }
}

#[tokio::test]
#[should_panic(expected = "there must be an upstream")]
async fn there_must_be_an_upstream() {
    StreamConnector::among(Vec::<Upstream>::new());
}

/// Which of these addresses a stream leads to.
fn leads_to(stream: &Stream, addresses: &[SocketAddr]) -> usize {
    let peer = stream.peer_addr().expect("a socket");
    let found = addresses.iter().position(|address| *address == peer);
    found.expect("one of them")
}

#[tokio::test]
async fn the_name_of_each_upstream_is_followed() {
    let (old, new, other) = (
        Server::start().await,
        Server::start().await,
        Server::start().await,
    );
    let addresses = [old.address, new.address, other.address];
    let book = Book::lists(&[old.address]);
    let named = Dialer::new("tcp://backend.test:4242".parse().expect("an endpoint"))
        .resolver(book.clone())
        .refresh(20 * MS);
    let pool = Pool::builder(StreamConnector::among([other.dialer(), named])).max_size(2);
    let pool = pool.build().expect("a pool");
    let first = within(pool.acquire()).await.expect("a connection");
    let second = within(pool.acquire()).await.expect("a connection");
    assert_eq!(leads_to(&first, &addresses), 2);
    assert_eq!(leads_to(&second, &addresses), 0);
    first.release();
    second.release();
    book.now_lists(&[new.address]);
    eventually("the one to the old address is retired", || {
        pool.snapshot().connections.len() == 1
    })
    .await;
    let first = within(pool.acquire()).await.expect("a connection");
    let second = within(pool.acquire()).await.expect("a connection");
    assert_eq!(leads_to(&first, &addresses), 2);
    assert_eq!(leads_to(&second, &addresses), 1);
}
