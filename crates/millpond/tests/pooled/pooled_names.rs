//! Pooled streams to a name: what becomes of them when it moves, and what doesn't count as a move.

use std::{
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use crate::loopback::*;
use crate::pools::*;
use millpond::{
    connectors::StreamConnector,
    net::Dialer,
    pool::{Address, Eviction, Pool},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Semaphore,
};

/// A pool of streams to a name that this book knows, looked up again at every opportunity.
fn to_a_name(book: &Book) -> StreamConnector {
    let endpoint = "tcp://backend.test:4242".parse().expect("an endpoint");
    StreamConnector::new(
        Dialer::new(endpoint)
            .resolver(book.clone())
            .refresh(20 * MS),
    )
}

fn leads_to(pool: &Pool<StreamConnector>, address: SocketAddr) -> usize {
    let snapshot = pool.snapshot();
    let there = Some(Address::Ip(address));
    snapshot
        .connections
        .iter()
        .filter(|one| one.ends.peer == there)
        .count()
}

#[tokio::test]
async fn when_a_name_moves_idle_streams_are_retired_and_lent_ones_at_their_release() {
    let (mut old, mut new) = (Site::open(Over::Tcp).await, Site::open(Over::Tcp).await);
    let book = Book::lists(&[old.address()]);
    let pool = Pool::builder(to_a_name(&book)).acquire_timeout(PATIENCE);
    let pool = pool.build().expect("a pool");
    let (mut lent, mut lent_peer) = lend(&pool, &mut old).await;
    let (idle, mut idle_peer) = lend(&pool, &mut old).await;
    idle.release();
    assert_eq!(leads_to(&pool, old.address()), 2);

    book.now_lists(&[new.address()]);
    eventually("the idle one is retired", || {
        leads_to(&pool, old.address()) == 1
    })
    .await;
    closed(&mut idle_peer).await;
    assert_eq!(evictions(&pool), [Eviction::Retired]);

    exchange(&mut lent, &mut lent_peer).await;
    lent.release();
    closed(&mut lent_peer).await;
    assert_eq!(evictions(&pool), [Eviction::Retired; 2]);

    let (next, _peer) = lend(&pool, &mut new).await;
    assert_eq!(next.peer_addr(), Some(new.address()));
    next.release();
    assert_eq!(pool.snapshot().idle, 1);
}

#[tokio::test]
async fn a_stream_whose_address_went_while_it_was_dialled_is_not_kept() {
    let (mut old, mut new) = (Site::open(Over::Tcp).await, Site::open(Over::Tcp).await);
    let book = Book::lists(&[old.address()]);
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::new(AtomicUsize::new(0));
    let connector = to_a_name(&book).prepare(PATIENCE, {
        let (gate, held) = (Arc::clone(&gate), Arc::clone(&held));
        move |_| {
            let (gate, held) = (Arc::clone(&gate), Arc::clone(&held));
            Box::pin(async move {
                held.fetch_add(1, SeqCst);
                gate.acquire().await?.forget();
                Ok(())
            })
        }
    });
    let pool = Pool::builder(connector)
        .connect_timeout(PATIENCE)
        .acquire_timeout(PATIENCE);
    let pool = pool.build().expect("a pool");
    let dialling = {
        let mut caller = pin!(pool.acquire());
        let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(caller.as_mut().poll(cx)));
        assert!(polled.await.is_pending());
        old.accept().await
    };
    eventually("it is being prepared", || held.load(SeqCst) == 1).await;
    book.now_lists(&[new.address()]);
    let dialler = pool.connector().dialer();
    eventually("the name has moved", || !dialler.is_current(&old.address())).await;
    reactor_has_seen().await;
    gate.add_permits(2);
    eventually("the dial ends, for nobody", || {
        evictions(&pool) == [Eviction::Retired]
    })
    .await;
    let mut dialling = dialling;
    closed(&mut dialling).await;
    let (lent, _peer) = lend(&pool, &mut new).await;
    assert_eq!(lent.peer_addr(), Some(new.address()));
}

#[tokio::test]
async fn answers_that_take_turns_with_the_addresses_retire_nothing() {
    let (mut a, mut b) = (Site::open(Over::Tcp).await, Site::open(Over::Tcp).await);
    let book = Book::default();
    book.takes_turns(&[vec![a.address()], vec![b.address()]]);
    let pool = Pool::builder(to_a_name(&book)).acquire_timeout(PATIENCE);
    let pool = pool.build().expect("a pool");
    let mut held = Vec::new();
    let mut peers = Vec::new();
    while leads_to(&pool, a.address()) == 0 || leads_to(&pool, b.address()) == 0 {
        let accepted = async {
            tokio::select! {
                peer = a.accept() => peer,
                peer = b.accept() => peer,
            }
        };
        let (lent, peer) = tokio::join!(within(pool.acquire()), accepted);
        held.push(lent.expect("a connection"));
        peers.push(peer);
        jump(30 * MS).await;
    }
    let all = held.len();
    for lent in held {
        lent.release();
    }
    let before = book.lookups();
    eventually("many lookups", || book.lookups() > before + 20).await;
    let snapshot = pool.snapshot();
    assert_eq!(
        (snapshot.idle, snapshot.evictions.len()),
        (all, 0),
        "{snapshot}"
    );
}

#[tokio::test]
async fn a_name_server_in_trouble_retires_nothing() {
    let mut site = Site::open(Over::Tcp).await;
    let book = Book::lists(&[site.address()]);
    let pool = Pool::builder(to_a_name(&book)).build().expect("a pool");
    let (lent, _peer) = lend(&pool, &mut site).await;
    lent.release();
    for trouble in [Answer::Fails, Answer::Addresses(Vec::new())] {
        book.now_says(trouble);
        let before = book.lookups();
        eventually("many lookups", || book.lookups() > before + 5).await;
    }
    assert_eq!(pool.snapshot().idle, 1);
    assert_eq!(evictions(&pool), []);
}

#[tokio::test]
async fn a_pool_that_is_closed_stops_looking_its_name_up() {
    let mut site = Site::open(Over::Tcp).await;
    let book = Book::lists(&[site.address()]);
    let pool = Pool::builder(to_a_name(&book)).build().expect("a pool");
    let (lent, mut peer) = lend(&pool, &mut site).await;
    lent.release();
    within(pool.close(PATIENCE)).await.expect("nothing is lent");
    closed(&mut peer).await;
    reactor_has_seen().await;
    let before = book.lookups();
    tokio::time::sleep(100 * MS).await;
    assert_eq!(book.lookups(), before);
}

#[tokio::test]
async fn a_name_with_a_dead_address_is_no_outage() {
    let (dead, mut live) = (Refusing::new(), Site::open(Over::Tcp).await);
    let book = Book::lists(&[dead.address(), live.address()]);
    let pool = Pool::builder(to_a_name(&book)).outage_grace(Duration::ZERO);
    let pool = pool.acquire_timeout(PATIENCE).build().expect("a pool");
    for _ in 0..3 {
        let (lent, _peer) = lend(&pool, &mut live).await;
        lent.discard();
    }
    assert!(!pool.snapshot().failing);
}

#[tokio::test]
async fn an_address_whose_streams_can_not_be_prepared_does_not_keep_the_pool_from_the_other() {
    let (mut bad, mut good) = (Site::open(Over::Tcp).await, Site::open(Over::Tcp).await);
    let book = Book::lists(&[bad.address(), good.address()]);
    // Served by a greeting.
    let connector = to_a_name(&book).prepare(PATIENCE, |stream| {
        Box::pin(async move { Ok(stream.read_exact(&mut [0]).await.map(drop)?) })
    });
    let pool = Pool::builder(connector).outage_grace(PATIENCE);
    let pool = pool.acquire_timeout(5 * SECOND).build().expect("a pool");
    let hangs_up = async {
        loop {
            drop(bad.accept().await);
        }
    };
    let greets = async {
        let mut peer = good.accept().await;
        peer.write_all(b"!").await.expect("a write");
        peer
    };
    let lent = tokio::select! {
        (lent, _peer) = async { tokio::join!(pool.acquire(), greets) } => lent,
        () = hangs_up => unreachable!("it hangs up for ever"),
    };
    let _lent = lent.expect("there is another address");
}
