//! Many callers over few streams to a peer that misbehaves at random, over every transport: no
//! caller is ever given another's reply, and in the end nothing is left open.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use crate::loopback::*;
use millpond::{connectors::StreamConnector, net::Stream, pool::Pool};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

const CALLERS: u64 = 8;
const EXCHANGES: u64 = 150;

/// Repeats each token, as long as it behaves.
async fn misbehave(mut stream: Stream) -> io::Result<()> {
    loop {
        let mut token = [0; 8];
        stream.read_exact(&mut token).await?;
        match fastrand::u8(..100) {
            0..4 => return Ok(()),
            4..8 => {
                stream.write_all(&token[..3]).await?;
                return stream.flush().await;
            }
            8..12 => {
                stream.write_all(&token[..3]).await?;
                stream.flush().await?;
                stream.read_exact(&mut [0; 1]).await?;
            }
            12..16 => {
                // Twice: the second is nobody's.
                stream.write_all(&[token, token].concat()).await?;
                stream.flush().await?;
            }
            16..20 => {
                stream.write_all(&token).await?;
                stream.flush().await?;
                stream.close();
                return Ok(());
            }
            20..24 => {
                // Late: its caller may have gone.
                tokio::time::sleep(fastrand::u32(1..8) * MS).await;
                stream.write_all(&token).await?;
                stream.flush().await?;
            }
            24..28 if stream.tcp().is_some() => {
                stream.write_all(&token[..5]).await?;
                reset(stream);
                return Ok(());
            }
            _ => {
                stream.write_all(&token).await?;
                stream.flush().await?;
            }
        }
    }
}

/// One exchange, given up at some point or other; whether it was completed.
async fn exchange(pool: &Pool<StreamConnector>, token: u64) -> bool {
    let patience = match fastrand::u8(..10) {
        0 => fastrand::u32(..300) * MS / 100,
        _ => 20 * MS,
    };
    let attempt = async {
        let mut lent = pool
            .acquire()
            .await
            .expect("there are connections to be had");
        let replied = timeout(patience, async {
            lent.write_all(&token.to_be_bytes()).await?;
            lent.flush().await?;
            let mut reply = [0; 8];
            lent.read_exact(&mut reply).await?;
            io::Result::Ok(u64::from_be_bytes(reply))
        });
        match replied.await {
            Ok(Ok(reply)) => {
                assert_eq!(reply, token, "somebody else's reply");
                lent.release();
                true
            }
            Ok(Err(_)) => {
                lent.discard();
                false
            }
            Err(_) => false, // Merely dropped, in the middle.
        }
    };
    within(attempt).await
}

async fn mayhem(over: Over) {
    let mut site = Site::open(over).await;
    let builder = site.pool().max_size(4).outage_grace(PATIENCE);
    let pool = builder.build().expect("a pool");
    let open = Arc::new(AtomicUsize::new(0));
    let serving = tokio::spawn({
        let open = Arc::clone(&open);
        async move {
            loop {
                let accepted = site.listener.accept().await.expect("it listens");
                assert!(
                    open.fetch_add(1, SeqCst) < 64,
                    "far more than the pool may have"
                );
                let open = Arc::clone(&open);
                tokio::spawn(async move {
                    if let Ok(stream) = accepted.into_stream().await {
                        let _ = misbehave(stream).await;
                    }
                    open.fetch_sub(1, SeqCst);
                });
            }
        }
    });
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..CALLERS {
        let pool = pool.clone();
        callers.spawn(async move {
            let mut completed = 0;
            for number in 0..EXCHANGES {
                completed += u64::from(exchange(&pool, caller << 32 | number).await);
            }
            completed
        });
    }
    let completed: u64 = callers.join_all().await.into_iter().sum();
    assert!(
        completed > CALLERS * EXCHANGES / 4,
        "{over:?}: only {completed}"
    );
    let snapshot = pool.snapshot();
    let totals = &snapshot.totals;
    assert_eq!(snapshot.active, 0, "{snapshot}");
    let kept = snapshot
        .connections
        .iter()
        .filter(|one| one.age != one.state_for || one.uses > 0);
    assert!(kept.count() <= 4, "{snapshot}");
    assert!(
        totals.opened < totals.lent,
        "some were used again: {totals:?}"
    );
    within(pool.close(PATIENCE)).await.expect("nothing is lent");
    eventually("the peer sees all of them closed", || {
        open.load(SeqCst) == 0
    })
    .await;
    serving.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_given_anothers_reply_whatever_the_peer_does() {
    for &over in Over::ALL {
        mayhem(over).await;
    }
}
