//! Pooled streams over every transport: what becomes of them when they come back, while they lie
//! idle, and when their peer goes away.

use std::{io, net::SocketAddr, sync::Arc};

use crate::loopback::*;
use crate::pools::*;
use millpond::{
    net::Stream,
    pool::{AcquireError, Address, Ends, Eviction},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn a_stream_merely_dropped_is_closed_and_one_released_is_used_again() {
    for &over in Over::ALL {
        let mut site = Site::open(over).await;
        let pool = site.pool().build().expect("a pool");
        let (mut lent, mut peer) = lend(&pool, &mut site).await;
        exchange(&mut lent, &mut peer).await;
        drop(lent);
        closed(&mut peer).await;
        assert_eq!(evictions(&pool), [Eviction::UnfinishedExchange], "{over:?}");

        let (mut lent, mut peer) = lend(&pool, &mut site).await;
        let (number, local) = (lent.number(), lent.local_addr());
        assert_eq!(local.is_some(), over != Over::Unix);
        for _ in 0..3 {
            exchange(&mut lent, &mut peer).await;
            lent.release();
            lent = within(pool.acquire()).await.expect("it is idle");
            assert_eq!(
                (lent.number(), lent.local_addr()),
                (number, local),
                "{over:?}"
            );
        }
        lent.release();
        drop(within(pool.acquire()).await.expect("it is idle"));
        assert_eq!(
            pool.snapshot().idle,
            1,
            "{over:?}: nobody has touched it this time"
        );
        assert_eq!(pool.snapshot().totals.dials, 2, "{over:?}");
    }
}

/// What a peer may do to an idle connection.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Farewell,
    End,
    Reset,
    Bytes,
}

impl Deed {
    fn applies(self, over: Over) -> bool {
        !(matches!(self, Deed::Reset) && over == Over::Unix)
    }

    async fn done_to(self, mut peer: Stream) -> Option<Stream> {
        match self {
            Deed::Farewell => peer.close(),
            Deed::End => drop(peer), // For TLS: without a close_notify.
            Deed::Reset => reset(peer),
            Deed::Bytes => {
                peer.write_all(b"x").await.expect("a write");
                peer.flush().await.expect("a write");
                return Some(peer);
            }
        }
        None
    }

    fn reason(self) -> Eviction {
        match self {
            Deed::Farewell | Deed::End => Eviction::PeerClosed,
            Deed::Reset => Eviction::PeerReset,
            Deed::Bytes => Eviction::UnsolicitedBytes,
        }
    }

    const ALL: [Deed; 4] = [Deed::Farewell, Deed::End, Deed::Reset, Deed::Bytes];
}

#[tokio::test]
async fn what_happens_to_an_idle_stream_evicts_it_without_a_caller() {
    for &over in Over::ALL {
        for deed in Deed::ALL.into_iter().filter(|deed| deed.applies(over)) {
            for is_watched in [false, true] {
                let mut site = Site::open(over).await;
                let pool = site.pool().build().expect("a pool");
                let (mut lent, mut peer) = lend(&pool, &mut site).await;
                exchange(&mut lent, &mut peer).await;
                lent.release();
                if is_watched {
                    watched(&pool).await;
                }
                let _peer = deed.done_to(peer).await;
                let what = format!("{over:?}: {deed:?} evicts (watched: {is_watched})");
                eventually(&what, || pool.snapshot().connections.is_empty()).await;
                assert_eq!(evictions(&pool), [deed.reason()], "{what}");
            }
        }
    }
}

#[tokio::test]
async fn what_happens_to_an_idle_stream_keeps_it_from_being_lent() {
    for &over in Over::ALL {
        for deed in Deed::ALL.into_iter().filter(|deed| deed.applies(over)) {
            let mut site = Site::open(over).await;
            let pool = site.pool().build().expect("a pool");
            let (mut lent, mut peer) = lend(&pool, &mut site).await;
            exchange(&mut lent, &mut peer).await;
            let number = lent.number();
            lent.release();
            let _peer = deed.done_to(peer).await;
            reactor_has_seen().await;
            let (mut lent, mut peer) = lend(&pool, &mut site).await;
            assert_ne!(lent.number(), number, "{over:?}: {deed:?}");
            assert_eq!(evictions(&pool), [deed.reason()], "{over:?}: {deed:?}");
            exchange(&mut lent, &mut peer).await;
        }
    }
}

#[tokio::test]
async fn try_acquire_does_not_lend_what_has_ended_either() {
    let mut site = Site::open(Over::Tcp).await;
    let pool = site.pool().build().expect("a pool");
    let (lent, peer) = lend(&pool, &mut site).await;
    lent.release();
    drop(peer);
    reactor_has_seen().await;
    let none = pool.try_acquire().expect_err("it has ended");
    assert!(matches!(none, AcquireError::NoneIdle), "{none}");
}

#[tokio::test]
async fn a_unix_peer_that_goes_without_reading_is_noticed() {
    let mut site = Site::open(Over::Unix).await;
    let pool = site.pool().build().expect("a pool");
    let (mut lent, peer) = lend(&pool, &mut site).await;
    lent.write_all(b"never read").await.expect("a write");
    lent.release();
    watched(&pool).await;
    drop(peer);
    eventually("it is evicted", || pool.snapshot().connections.is_empty()).await;
    assert_eq!(evictions(&pool), [Eviction::PeerReset]);
}

#[tokio::test]
async fn the_rest_of_a_reply_left_unread_at_release_keeps_it_from_being_lent() {
    for &over in Over::ALL {
        for has_caller in [true, false] {
            let mut site = Site::open(over).await;
            let pool = site.pool().build().expect("a pool");
            let (mut lent, mut peer) = lend(&pool, &mut site).await;
            peer.write_all(b"reply and more").await.expect("a write");
            peer.flush().await.expect("a write");
            let mut reply = [0; 5];
            within(lent.read_exact(&mut reply)).await.expect("a reply");
            let number = lent.number();
            lent.release(); // Which isn't true.
            if has_caller {
                let (lent, _peer) = lend(&pool, &mut site).await;
                assert_ne!(lent.number(), number, "{over:?}");
            } else {
                // For TLS all of it has been deciphered: the socket has nothing more to report.
                eventually("it is evicted", || pool.snapshot().connections.is_empty()).await;
            }
            assert_eq!(evictions(&pool), [Eviction::UnsolicitedBytes], "{over:?}");
        }
    }
}

#[tokio::test]
async fn a_peer_that_closes_its_side_after_a_whole_reply_is_not_lent_again() {
    for &over in Over::ALL {
        let mut site = Site::open(over).await;
        let pool = site.pool().build().expect("a pool");
        let (mut lent, mut peer) = lend(&pool, &mut site).await;
        lent.write_all(b"ping").await.expect("a write");
        within(peer.read_exact(&mut [0; 4]))
            .await
            .expect("a request");
        peer.write_all(b"last words").await.expect("a write");
        peer.shutdown().await.expect("a half-close");
        reactor_has_seen().await;
        let mut reply = [0; 10];
        within(lent.read_exact(&mut reply))
            .await
            .expect("a whole reply");
        assert_eq!(&reply, b"last words", "{over:?}");
        let number = lent.number();
        lent.release();
        let (next, _peer) = lend(&pool, &mut site).await;
        assert_ne!(next.number(), number, "{over:?}");
        assert_eq!(evictions(&pool), [Eviction::PeerClosed], "{over:?}");
    }
}

/// Whether round trips can be known here at all.
fn ask_the_kernel(local: SocketAddr, peer: SocketAddr) -> io::Result<()> {
    #[cfg(feature = "kernel")]
    return millpond::kernel::tcp_info(&[(local, peer)]).map(drop);
    #[cfg(not(feature = "kernel"))]
    return Err(io::Error::other(format!(
        "{local} and {peer}: not built in"
    )));
}

#[tokio::test]
async fn a_detailed_snapshot_shows_addresses_and_round_trips() {
    for &over in Over::ALL {
        let mut site = Site::open(over).await;
        let pool = site.pool().build().expect("a pool");
        let (mut lent, mut peer) = lend(&pool, &mut site).await;
        exchange(&mut lent, &mut peer).await;
        let snapshot = pool.detailed_snapshot();
        let connection = &snapshot.connections[0];
        if over == Over::Unix {
            let path: Arc<str> = site.endpoint.to_string().into();
            assert_eq!(connection.ends, Ends::to(path));
            assert_eq!(connection.transmission, None);
            continue;
        }
        let (local, remote) = (lent.local_addr().expect("TCP"), site.address());
        assert_eq!(connection.ends, Ends::between(local, remote), "{over:?}");
        assert_eq!(pool.snapshot().connections[0].transmission, None);
        if let Err(error) = ask_the_kernel(local, remote) {
            eprintln!("SKIPPED: the kernel can't be asked for round trips here: {error}");
            continue;
        }
        let transmission = connection.transmission.expect("the kernel knows it");
        assert!(!transmission.rtt.is_zero(), "{over:?}: {transmission:?}");
    }
}

#[tokio::test]
async fn transmissions_are_of_the_connections_that_they_stand_beside() {
    let mut site = Site::open(Over::Tcp).await;
    let pool = site.pool().build().expect("a pool");
    let (_first, _peer) = lend(&pool, &mut site).await;
    let (_second, second_peer) = lend(&pool, &mut site).await;
    reset(second_peer);
    reactor_has_seen().await;
    let connector = pool.connector();
    let ends: Vec<_> = pool
        .snapshot()
        .connections
        .iter()
        .map(|one| one.ends.clone())
        .collect();
    let unix = Ends::to(Arc::<str>::from("unix:///nowhere"));
    let asked = [unix, ends[1].clone(), Ends::default(), ends[0].clone()];
    let known = millpond::pool::Connector::transmissions(connector, &asked);
    let Address::Ip(local) = ends[0].local.clone().expect("TCP") else {
        panic!("TCP has an address");
    };
    if ask_the_kernel(local, site.address()).is_err() {
        eprintln!("SKIPPED: the kernel can't be asked for round trips here");
        return;
    }
    let known: Vec<_> = known.iter().map(Option::is_some).collect();
    assert_eq!(known, [false, false, false, true]);
}

#[tokio::test]
async fn with_keeps_a_stream_whose_exchange_succeeded_and_closes_one_whose_exchange_failed() {
    let mut site = Site::open(Over::Tcp).await;
    let pool = site.pool().build().expect("a pool");
    let succeeds = pool.with(async |stream| {
        stream.write_all(b"ping").await?;
        stream.read_exact(&mut [0; 4]).await
    });
    let serves = async {
        let mut peer = site.accept().await;
        peer.read_exact(&mut [0; 4]).await.expect("a request");
        peer.write_all(b"pong").await.expect("a write");
        peer
    };
    let (done, mut peer) = within(async { tokio::join!(succeeds, serves) }).await;
    done.expect("an exchange");
    let failed = pool.with(async |stream| {
        stream.write_all(b"ping").await?;
        Err::<(), _>(io::Error::other("no reply"))
    });
    within(failed).await.expect_err("as scripted");
    within(peer.read_exact(&mut [0; 4]))
        .await
        .expect("a request");
    closed(&mut peer).await;
    assert_eq!(evictions(&pool), [Eviction::Discarded]);
    assert_eq!(pool.snapshot().totals.dials, 1);
}
