//! Callers that have waited too long, as they meet it: what they are told, and who is served instead.

use millpond_pool::{AcquireError, Connection, Pool, PoolBuilder, Shedding};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};

use crate::common::{Endpoint, MS, SECOND, Scripted};

/// More than a single connection serves: each exchange takes 10 ms, and one comes every 5 ms, for a
/// second. How long each took that was served, and what the others were told.
async fn overloaded(
    change: impl FnOnce(PoolBuilder<Scripted>) -> PoolBuilder<Scripted>,
) -> (Pool<Scripted>, Vec<Result<u128, AcquireError>>) {
    let endpoint = Endpoint::new();
    let pool = change(endpoint.pool().max_size(1)).build().unwrap();
    drop(pool.acquire().await.unwrap());
    let callers: Vec<_> = {
        let mut callers: Vec<JoinHandle<_>> = Vec::new();
        for _ in 0..200 {
            let acquire = pool.acquire_owned();
            callers.push(tokio::spawn(async move {
                let began = Instant::now();
                let lent: Connection<Scripted> = acquire.await?;
                sleep(10 * MS).await;
                lent.release();
                Ok(began.elapsed().as_millis())
            }));
            sleep(5 * MS).await;
        }
        callers
    };
    let mut ends = Vec::new();
    for caller in callers {
        ends.push(caller.await.unwrap());
    }
    (pool, ends)
}

#[tokio::test(start_paused = true)]
async fn while_more_come_than_are_served_half_are_refused_and_the_others_served_in_time() {
    let (pool, ends) = overloaded(|pool| pool.shed_waiting(Shedding::default())).await;
    let shed: Vec<_> = ends.iter().filter_map(|end| end.as_ref().err()).collect();
    assert_eq!(pool.snapshot().totals.shed, shed.len() as u64);
    // Until the line has stood for an interval all are served, the last of them after 100 + 50 ms
    // and an exchange or two; then nobody waits for longer than the target.
    let late = ends
        .iter()
        .filter(|end| matches!(end, Ok(took) if *took > 60));
    assert!(ends.iter().flatten().all(|&took| took <= 120), "{ends:?}");
    assert!(late.count() <= 15, "{ends:?}");
    // The connection is never idle: 100 in a second, and those that were in line at its end.
    assert!((100..=106).contains(&(200 - shed.len())), "{}", shed.len());
    assert_eq!(
        shed[shed.len() - 1].to_string(),
        "shed after a wait of 55 ms: for 100 ms or more, all have waited longer than the target of \
         50 ms; ask less often, or raise max_size or the target of shed_waiting"
    );
}

#[tokio::test(start_paused = true)]
async fn unless_it_is_set_nobody_is_refused_before_the_timeout() {
    let (pool, ends) = overloaded(|pool| pool).await;
    assert!(ends.iter().all(Result::is_ok));
    assert_eq!(pool.snapshot().totals.shed, 0);
    assert!(ends.iter().flatten().any(|&took| took > 900), "{ends:?}");
}

#[tokio::test(start_paused = true)]
async fn a_burst_is_served_as_a_whole_and_so_is_who_comes_after_it() {
    let endpoint = Endpoint::new();
    let pool = endpoint.pool().max_size(1);
    let pool = pool.shed_waiting(Shedding::default()).build().unwrap();
    for burst in [15, 1, 15] {
        let callers: Vec<_> = (0..burst)
            .map(|_| {
                let acquire = pool.acquire_owned();
                tokio::spawn(async move {
                    let lent = acquire.await.unwrap();
                    sleep(10 * MS).await;
                    lent.release();
                })
            })
            .collect();
        for caller in callers {
            caller.await.unwrap();
        }
        sleep(SECOND).await;
    }
    assert_eq!(pool.snapshot().totals.shed, 0);
}
