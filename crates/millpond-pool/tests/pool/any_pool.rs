//! Pools of different connections in one list, shown and steered without knowing what they pool.

use std::future::Future;

use crate::common::{Dial, Endpoint, SECOND, settle};
use millpond_pool::{AnyPool, Pool, PoolStatus, connect_with};

fn pools() -> Vec<Box<dyn AnyPool>> {
    let endpoint = Endpoint::new();
    let words = Pool::builder(connect_with(|| async {
        Ok::<_, std::io::Error>(String::from("one"))
    }));
    vec![
        Box::new(
            endpoint
                .pool()
                .name("scripted")
                .min_idle(2)
                .build()
                .unwrap(),
        ),
        Box::new(words.name("words").max_size(3).build().unwrap()),
    ]
}

#[tokio::test(start_paused = true)]
async fn each_tells_its_name_its_settings_and_what_it_is_at() {
    let pools = pools();
    settle().await;
    let names: Vec<_> = pools.iter().map(|pool| pool.name()).collect();
    assert_eq!(names, ["scripted", "words"]);
    let idle: Vec<_> = pools.iter().map(|pool| pool.snapshot().idle).collect();
    assert_eq!(idle, [2, 0]);
    assert_eq!(pools[0].detailed_snapshot().connections.len(), 2);
    assert_eq!(pools[1].settings().max_size, 3);
    assert!(pools.iter().all(|pool| !pool.is_closed()));
    assert!(format!("{:?}", pools[0]).contains("scripted: 2 idle"));
}

#[tokio::test(start_paused = true)]
async fn each_obeys_the_verbs() {
    let pools = pools();
    settle().await;
    for pool in &pools {
        pool.pause();
        assert!(pool.snapshot().paused);
        pool.resume();
        assert!(!pool.snapshot().paused);
        pool.resize(7).unwrap();
        assert_eq!(pool.snapshot().max_size, 7);
        assert_eq!(pool.resize(0).unwrap_err().setting, "max_size");
        pool.retire();
    }
    assert_eq!(pools[0].snapshot().evictions.len(), 2, "retired");
    drop(pools[0].drain(SECOND)); // It has begun.
    assert_eq!(pools[0].snapshot().status, PoolStatus::Draining);
    pools[0].drain(SECOND).await.unwrap();
    drop(pools[1].close(SECOND));
    assert!(pools.iter().all(|pool| pool.is_closed()));
}

#[tokio::test(start_paused = true)]
async fn what_close_leaves_behind_is_told_and_the_future_can_be_spawned() {
    fn assert_send<F: Future + Send>(future: F) -> F {
        future
    }
    let endpoint = Endpoint::new();
    let pool = endpoint.pool().build().unwrap();
    let lent = pool.acquire().await.unwrap();
    let any: Box<dyn AnyPool> = Box::new(pool.clone());
    let left = assert_send(any.close(SECOND)).await.unwrap_err();
    assert_eq!(left.lent, 1);
    drop(lent);
}

#[tokio::test(start_paused = true)]
async fn it_is_a_handle_that_keeps_its_pool_open() {
    let endpoint = Endpoint::new();
    endpoint.script().dial = Dial::Hang;
    let pool = endpoint.pool().min_idle(1).build().unwrap();
    let any: Box<dyn AnyPool> = Box::new(pool);
    settle().await;
    assert_eq!(endpoint.dialling(), 1);
    drop(any);
    settle().await;
    assert_eq!(endpoint.dialling(), 0);
}
