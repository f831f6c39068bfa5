//! What people and programs read of a pool: the texts of its errors, which must name the cause; its
//! snapshot, as a value and as versioned JSON; every reason of an eviction; and its metrics.

use std::{error::Error, sync::Arc, time::Duration};

use crate::common::{Act, Dial, Endpoint, Hand, MS, SECOND, Script, Scripted, consistent, settle};
use millpond_pool::{
    AcquireError, Connection, ConnectionState, DialError, Ends, Eviction, Pool, PoolStatus,
};
use millpond_words::Chain;

#[tokio::test(start_paused = true)]
async fn a_timeout_tells_counts_the_longest_with_its_place_this_task_and_the_last_failure() {
    let endpoint = Endpoint::new();
    endpoint
        .script()
        .dials
        .push_back(Dial::Fail("connection refused"));
    let builder = endpoint.pool().max_size(2).acquire_timeout(SECOND);
    let pool = builder.outage_grace(SECOND).build().unwrap();
    let by_other_task = pool.clone();
    let task = tokio::spawn(async move { by_other_task.acquire().await.unwrap() });
    let _other = task.await.unwrap();
    tokio::time::sleep(SECOND).await;
    let in_task = pool.clone();
    let (error, line) = tokio::spawn(async move {
        let (_own, line) = (in_task.acquire().await.unwrap(), line!());
        let _waiting = Hand::begun(in_task.acquire().timeout(60 * SECOND));
        (in_task.acquire().await.unwrap_err(), line)
    })
    .await
    .unwrap();
    let text = error.to_string();
    let AcquireError::TimedOut(why) = &error else {
        panic!("{text}")
    };
    assert_eq!(
        (why.active, why.max_size, why.by_this_task, why.waiting),
        (2, 2, 1, 1),
        "{text}"
    );
    let late = why.waited.checked_sub(SECOND).expect("not early");
    assert!(
        late <= 25 * MS,
        "who waits beside others may be told a little late: {late:?}"
    );
    let (longest, place) = why.longest.unwrap();
    assert!(longest >= 2 * SECOND && place.line() < line, "{text}");
    assert!(
        text.starts_with("acquire timed out after 1 s: 2 of 2 active (longest 2 s, acquired at "),
        "{text}"
    );
    assert!(
        text.contains(&format!("errors_and_snapshots.rs:{}:", place.line())),
        "{text}"
    );
    assert!(
        text.contains("; 1 by this task), 1 waiting, last dial failed 2"),
        "{text}"
    );
    assert!(text.ends_with("ago: connection refused"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_itself_outside_of_tasks_is_told_so() {
    let endpoint = Endpoint::new();
    let pool = endpoint
        .pool()
        .max_size(2)
        .acquire_timeout(SECOND)
        .build()
        .unwrap();
    let (own, line) = (pool.acquire().await.unwrap(), line!());
    let by_task = pool.clone();
    let by_task = tokio::spawn(async move { by_task.acquire().await.unwrap() });
    let by_task = by_task.await.unwrap();
    // This body is no task: its runtime blocks on it.
    let error = pool.acquire().await.unwrap_err();
    let text = error.to_string();
    let AcquireError::TimedOut(why) = &error else {
        panic!("{text}")
    };
    assert_eq!((why.by_this_thread, why.by_this_task), (1, 0), "{text}");
    assert!(
        text.contains(&format!("errors_and_snapshots.rs:{line}:")),
        "{text}"
    );
    assert!(
        text.contains("; 1 on this thread, outside of tasks)"),
        "{text}"
    );
    drop(own);
    let mine = pool.acquire().await.unwrap().detach();
    drop(mine);
    drop(by_task);
    // Both are idle, so that the other thread waits for nothing while this one's clock stands.
    drop([pool.acquire().await.unwrap(), pool.acquire().await.unwrap()]);
    let other = pool.clone();
    let elsewhere =
        std::thread::spawn(move || [other.try_acquire().unwrap(), other.try_acquire().unwrap()]);
    let elsewhere = tokio::task::spawn_blocking(|| elsewhere.join().unwrap())
        .await
        .unwrap();
    let AcquireError::TimedOut(why) = pool.acquire().await.unwrap_err() else {
        panic!("all are lent");
    };
    assert_eq!(why.by_this_thread, 0, "another thread has them");
    drop(elsewhere);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_during_a_slow_dial_says_that_it_was_connecting() {
    let endpoint = Endpoint::new();
    endpoint.script().dial = Dial::Hang;
    let pool = endpoint.pool().build().unwrap();
    let error = pool.acquire().timeout(100 * MS).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "acquire timed out after 100 ms: 0 of 10 active, 1 connecting"
    );
}

#[tokio::test(start_paused = true)]
async fn unavailable_keeps_the_chain_of_its_causes() {
    let endpoint = Endpoint::new();
    endpoint.script().dial = Dial::Fail("connection refused");
    let pool = endpoint
        .pool()
        .outage_grace(Duration::ZERO)
        .build()
        .unwrap();
    let error = pool.acquire().await.unwrap_err();
    let text = "the endpoint is unavailable: dials have failed, 1 in a row, the last just now";
    assert_eq!(error.to_string(), text);
    let cause = error.source().expect("the dial's error");
    assert!(matches!(cause.downcast_ref(), Some(DialError::Failed(_))));
    assert_eq!(cause.to_string(), "the dial failed");
    let root = cause.source().expect("the connector's error");
    assert_eq!(root.to_string(), "connection refused");
    assert_eq!(
        Chain(&error).to_string(),
        format!("{text}: the dial failed: connection refused")
    );

    for (dial, text) in [
        (Dial::Hang, "no answer within 3 s"),
        (Dial::Panic, "the connector panicked"),
    ] {
        let endpoint = Endpoint::new();
        endpoint.script().dial = dial;
        let pool = endpoint
            .pool()
            .outage_grace(Duration::ZERO)
            .build()
            .unwrap();
        let AcquireError::Unavailable { cause, .. } = pool.acquire().await.unwrap_err() else {
            panic!("unavailable")
        };
        assert_eq!(cause.to_string(), text);
    }
}

#[tokio::test(start_paused = true)]
async fn full_and_not_ready_and_none_idle_name_their_numbers() {
    let endpoint = Endpoint::new();
    let pool = endpoint.pool().max_size(1).max_waiting(1).build().unwrap();
    let _lent = pool.acquire().await.unwrap();
    let _waiting = Hand::begun(pool.acquire());
    let full = pool.acquire().await.unwrap_err();
    assert_eq!(
        full.to_string(),
        "as many callers wait as may: 1, and max_waiting is 1"
    );
    assert_eq!(
        pool.try_acquire().unwrap_err().to_string(),
        "no connection is idle"
    );

    let endpoint = Endpoint::new();
    endpoint.script().dials.push_back(Dial::Succeed);
    endpoint.script().dial = Dial::Fail("connection refused");
    let pool = endpoint
        .pool()
        .min_idle(3)
        .max_connecting(1)
        .build()
        .unwrap();
    let not_ready = pool.ready(SECOND).await.unwrap_err();
    assert_eq!(
        (not_ready.live, not_ready.min_idle, not_ready.closed),
        (1, 3, false)
    );
    let text = not_ready.to_string();
    assert!(
        text.starts_with("not ready after 1 s: 1 of 3 connections, last dial failed "),
        "{text}"
    );
    assert!(text.ends_with("ago: connection refused"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_shows_each_connection_in_its_state() {
    let endpoint = Endpoint::new();
    let pool = endpoint
        .pool()
        .name("orders")
        .max_size(8)
        .leak_threshold(SECOND)
        .build()
        .unwrap();
    let mut lent = Vec::new();
    for _ in 0..5 {
        lent.push(pool.acquire().await.unwrap());
    }
    endpoint.script().close = Act::Take(SECOND);
    endpoint.script().reset = Act::Hang;
    lent.remove(0).discard(); // 1: closing
    drop(lent.remove(0)); // 2: idle
    endpoint.script().needs_reset = true;
    drop(lent.remove(0)); // 3: checking
    drop(lent.remove(0).detach()); // 4: gone
    endpoint.script().dial = Dial::Hang;
    let shared = pool.acquire().shared().await.unwrap(); // 2 again
    let _waiting = Hand::begun(pool.acquire()); // Starts 6, since 3 may serve it but 2 is taken.
    let second = Hand::begun(pool.acquire());
    settle().await;
    let snapshot = consistent(&pool);
    let states: Vec<_> = snapshot
        .connections
        .iter()
        .map(|one| (one.number, one.state))
        .collect();
    use ConnectionState::{Active, Checking, Closing, Connecting};
    let expected = [
        (1, Closing),
        (2, Active),
        (3, Checking),
        (5, Active),
        (6, Connecting),
    ];
    assert_eq!(states, expected);
    assert_eq!(
        (snapshot.name.as_str(), snapshot.status, snapshot.paused),
        ("orders", PoolStatus::Open, false)
    );
    assert_eq!((snapshot.waiting, snapshot.totals.detached), (2, 1));
    let text = "orders: 0 idle, 2 active, 1 connecting, 1 checking, 1 closing of 8; 2 waiting";
    assert_eq!(snapshot.to_string(), text);
    assert_eq!(format!("{pool:?}"), format!("Pool({text})"));
    let [two, five] = [1, 3].map(|at| &snapshot.connections[at]);
    assert_eq!((two.uses, five.uses), (2, 1));
    assert_eq!(two.ends, Ends::to(Arc::<str>::from("endpoint/2")));
    assert!(
        five.acquired_at
            .is_some_and(|place| place.file().ends_with("errors_and_snapshots.rs"))
    );
    assert_eq!(snapshot.connections[4].ends, Ends::default());
    drop(second);
    tokio::time::sleep(1100 * MS).await;
    let snapshot = pool.snapshot();
    let leaked = |number| {
        snapshot
            .connections
            .iter()
            .find(|one| one.number == number)
            .unwrap()
            .leaked
    };
    assert!(leaked(5) && !leaked(2), "a shared one is held on purpose");
    assert_eq!((lent[0].number(), lent[0].uses(), shared.uses()), (5, 1, 2));
    assert!(lent[0].age() >= SECOND);
    assert_eq!(snapshot.up, 1100 * MS);
}

/// How to make a connection go, and why it then went.
type Ending = (
    Eviction,
    fn(&mut Script),
    fn(&Pool<Scripted>, &Endpoint, Connection<Scripted>),
);

#[tokio::test(start_paused = true)]
async fn every_reason_for_an_eviction_can_be_reached_and_is_told() {
    let nothing: fn(&mut Script) = |_| {};
    let release: fn(&Pool<Scripted>, &Endpoint, Connection<Scripted>) = |_, _, lent| drop(lent);
    let endings: [Ending; 16] = [
        (Eviction::IdleTimeout, nothing, release),
        (Eviction::Lifetime, nothing, release),
        (Eviction::PeerClosed, nothing, |_, endpoint, lent| {
            endpoint.hang_up(lent.nth);
            drop(lent);
        }),
        (
            Eviction::PeerReset,
            |script| script.checks.push_back(Err(Eviction::PeerReset)),
            |_, _, lent| lent.discard(),
        ),
        (Eviction::UnsolicitedBytes, nothing, |_, _, lent| {
            lent.discard_because(Eviction::UnsolicitedBytes)
        }),
        (Eviction::UnfinishedExchange, nothing, |_, _, mut lent| {
            lent.dirty = true
        }),
        (Eviction::Broken, nothing, |_, _, lent| {
            lent.discard_because(Eviction::Broken)
        }),
        (Eviction::HeartbeatMissed, nothing, |_, _, lent| {
            lent.discard_because(Eviction::HeartbeatMissed)
        }),
        (Eviction::ProbeFailed, nothing, |_, _, lent| {
            lent.discard_because(Eviction::ProbeFailed)
        }),
        (
            Eviction::ResetFailed,
            |script| {
                script.needs_reset = true;
                script.reset = Act::Fail;
            },
            release,
        ),
        (
            Eviction::HookFailed,
            |script| script.on_release = Act::Fail,
            release,
        ),
        (Eviction::Panicked, nothing, |_, _, lent| {
            let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
                let _lent = lent;
                panic!("as scripted");
            }));
            assert!(panicked.is_err());
        }),
        (Eviction::Discarded, nothing, |_, _, lent| lent.discard()),
        (Eviction::Retired, nothing, |pool, _, _lent| pool.retire()),
        (Eviction::Shrunk, nothing, |pool, _, _lent| {
            pool.resize(1).unwrap()
        }),
        (Eviction::Closed, nothing, |pool, _, _lent| {
            drop(pool.close(SECOND))
        }),
    ];
    for (expected, (reason, script, end)) in Eviction::ALL.iter().zip(endings) {
        assert_eq!(reason, *expected, "none is left out");
        let endpoint = Endpoint::new();
        let builder = endpoint.pool().max_size(2).idle_timeout(4 * SECOND);
        let lifetime = (reason == Eviction::Lifetime).then_some(SECOND);
        let pool = builder.max_lifetime(lifetime).build().unwrap();
        let lent = pool.acquire().await.unwrap();
        let _other = (reason == Eviction::Shrunk).then_some(pool.acquire().await.unwrap());
        script(&mut endpoint.script());
        end(&pool, &endpoint, lent);
        tokio::time::sleep(5 * SECOND).await;
        let snapshot = pool.snapshot();
        let evicted = snapshot
            .evictions
            .iter()
            .find(|evicted| evicted.number == 1);
        assert_eq!(evicted.map(|evicted| evicted.reason), Some(reason));
        assert!(snapshot.totals.evicted(reason) >= 1);
        assert_eq!(reason.name().replace('_', " "), reason.to_string());
    }
}

/// Its connections break without anybody's doing, and only `is_clean` tells.
struct Breaking;

impl millpond_pool::Connector for Breaking {
    type Connection = bool;
    type Error = std::io::Error;

    async fn connect(&self) -> std::io::Result<bool> {
        Ok(false)
    }
    fn is_clean(&self, broken: &bool, _: millpond_pool::LastExchange) -> bool {
        !broken
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_its_connector_calls_broken_is_not_told_as_in_the_middle_of_an_exchange()
{
    let pool = Pool::builder(Breaking).max_size(1).build().unwrap();
    let reason = || pool.snapshot().evictions.last().unwrap().reason;
    let mut lent = pool.acquire().await.unwrap();
    *lent = true;
    lent.release();
    assert_eq!(
        reason(),
        Eviction::Broken,
        "its borrower says that the exchange is complete"
    );
    let mut lent = pool.acquire().await.unwrap();
    *lent = true;
    drop(lent);
    assert_eq!(reason(), Eviction::UnfinishedExchange, "nobody says so");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_the_release_hook_refuses_is_told_as_what_its_check_finds() {
    let endpoint = Endpoint::new();
    let pool = endpoint.pool().max_size(1).build().unwrap();
    let lent = pool.acquire().await.unwrap();
    endpoint.script().on_release = Act::Fail;
    endpoint.hang_up(lent.nth);
    lent.release();
    let snapshot = pool.snapshot();
    assert_eq!(
        snapshot.evictions.last().unwrap().reason,
        Eviction::PeerClosed
    );
}

#[test]
fn a_refused_dial_is_recognised_where_an_error_shares_its_cause() {
    use std::{error::Error, io, sync::Arc};

    /// As redis' error.
    #[derive(Debug, thiserror::Error)]
    #[error("no connection")]
    struct Shares(#[source] Arc<dyn Error + Send + Sync>);

    let connector = millpond_pool::connect_with(|| async { Ok::<_, io::Error>(()) });
    let refused = |kind: io::ErrorKind| {
        let cause = io::Error::from(kind);
        millpond_pool::Connector::refused(&connector, &Shares(Arc::new(cause)))
    };
    assert!(refused(io::ErrorKind::ConnectionRefused));
    assert!(!refused(io::ErrorKind::ConnectionReset));
    assert!(!refused(io::ErrorKind::NotFound), "of what, nobody knows");
}

#[tokio::test(start_paused = true)]
async fn the_last_64_evictions_are_remembered_the_latest_last() {
    let endpoint = Endpoint::new();
    let pool = endpoint.pool().max_size(1).build().unwrap();
    for _ in 0..70 {
        pool.acquire().await.unwrap().discard();
        settle().await;
    }
    let numbers: Vec<_> = pool
        .snapshot()
        .evictions
        .iter()
        .map(|evicted| evicted.number)
        .collect();
    assert_eq!(numbers, (7..=70).collect::<Vec<_>>());
}

#[cfg(feature = "serde")]
#[tokio::test(start_paused = true)]
async fn the_json_of_a_snapshot_has_its_version_its_names_and_seconds() {
    use millpond_pool::PoolSnapshot;
    let endpoint = Endpoint::new();
    endpoint
        .script()
        .dials
        .push_back(Dial::Fail("connection refused"));
    let pool = endpoint.pool().name("orders").max_size(2).build().unwrap();
    pool.acquire().await.unwrap().discard();
    let _lent = pool.acquire().await.unwrap();
    let up = pool.snapshot().up;
    crate::common::pass(1500 * MS).await;
    let mut json = serde_json::to_value(pool.snapshot()).unwrap();
    let seconds = |value: &mut serde_json::Value| value.take().as_f64().unwrap();
    assert_eq!(
        seconds(&mut json["up_seconds"]),
        (up + 1500 * MS).as_secs_f64()
    );
    assert!(seconds(&mut json["last_failure"]["ago_seconds"]) >= 1.5);
    assert!(seconds(&mut json["connections"][0]["state_seconds"]) >= 1.4);
    assert!(seconds(&mut json["connections"][0]["age_seconds"]) >= 1.4);
    assert!(seconds(&mut json["evictions"][0]["ago_seconds"]) >= 1.4);
    assert!(seconds(&mut json["evictions"][0]["age_seconds"]) < 0.2);
    let place = json["connections"][0]["acquired_at"].take();
    assert!(
        place
            .as_str()
            .unwrap()
            .starts_with("crates/millpond-pool/tests/pool/errors_and_snapshots.rs:")
    );
    let evicted = json["totals"]["evicted"].take();
    assert_eq!(evicted.as_object().unwrap().len(), Eviction::ALL.len());
    assert_eq!(
        (&evicted["discarded"], &evicted["peer_closed"]),
        (&1.into(), &0.into())
    );
    let golden = serde_json::json!({
        "version": PoolSnapshot::VERSION, "name": "orders", "status": "open", "paused": false, "up_seconds": null,
        "max_size": 2, "min_idle": 0,
        "connecting": 0, "idle": 0, "checking": 0, "active": 1, "closing": 0, "waiting": 0,
        "failing": true,
        "last_failure": { "ago_seconds": null, "cause": "connection refused" },
        "totals": {
            "dials": 3, "dials_failed": 1, "dials_abandoned": 0, "opened": 2, "closed": 1, "detached": 0,
            "lent": 2, "waited": 2, "released": 1, "unreleased": 0, "cancelled": 0, "revoked": 0, "timed_out": 0,
            "turned_away_full": 0, "turned_away_unavailable": 0, "shed": 0, "evicted": null,
        },
        "connections": [{
            "number": 3, "state": "active", "check": null, "state_seconds": null, "age_seconds": null, "uses": 1,
            "peer": "endpoint/2", "acquired_at": null, "leaked": false,
        }],
        "evictions": [{
            "number": 2, "reason": "discarded", "ago_seconds": null, "age_seconds": null, "uses": 1,
        }],
    });
    assert_eq!(
        json, golden,
        "a field renamed or removed needs a new version"
    );
    assert_eq!(PoolSnapshot::VERSION, 1);
    let settings = serde_json::to_value(pool.settings()).unwrap();
    assert_eq!(
        (&settings["order"], &settings["probe"]),
        (&"lifo".into(), &"never".into())
    );
}

/// An overload is told by what callers met: how many waited, how many of them in vain, how many
/// were turned away.
#[cfg(all(feature = "metrics", feature = "serde"))]
#[tokio::test(start_paused = true)]
async fn metrics_tell_an_overload_in_the_names_of_the_snapshot() {
    use metrics_util::debugging::{DebugValue, DebuggingRecorder};
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let endpoint = Endpoint::new();
    endpoint.script().dials.push_back(Dial::Fail("refused"));
    let pool = metrics::with_local_recorder(&recorder, || {
        endpoint.pool().max_size(1).max_waiting(1).build().unwrap()
    });
    drop(pool.acquire().await.unwrap());
    let lent = pool.acquire().await.unwrap();
    let late = Hand::begun(pool.acquire().timeout(SECOND));
    assert!(matches!(
        pool.acquire().await,
        Err(AcquireError::Full { .. })
    ));
    tokio::time::sleep(2 * SECOND).await;
    drop(late);
    drop(lent);
    tokio::time::sleep(SECOND).await;
    let recorded = snapshotter.snapshot().into_vec();
    let told = |name: &str| {
        let found = recorded.iter().find(|(key, ..)| key.key().name() == name);
        match found.unwrap_or_else(|| panic!("{name}")).3 {
            DebugValue::Counter(count) => count,
            DebugValue::Gauge(value) => value.0 as u64,
            DebugValue::Histogram(_) => panic!("{name} is a histogram"),
        }
    };
    assert_eq!(told("millpond_pool_max_size"), 1);
    let totals = serde_json::to_value(pool.snapshot().totals).unwrap();
    let mut compared = 0;
    for (field, total) in totals.as_object().unwrap() {
        if field != "evicted" {
            assert_eq!(
                Some(told(&format!("millpond_pool_{field}_total"))),
                total.as_u64(),
                "{field}"
            );
            compared += 1;
        }
    }
    assert_eq!(compared, 16, "each is told");
    let [waited, lent, timed_out, full, failed] = [
        "waited",
        "lent",
        "timed_out",
        "turned_away_full",
        "dials_failed",
    ]
    .map(|name| told(&format!("millpond_pool_{name}_total")));
    assert_eq!((waited, lent, timed_out, full, failed), (2, 2, 1, 1, 1));
}

#[cfg(feature = "metrics")]
#[tokio::test(start_paused = true)]
async fn metrics_tell_counts_waits_holds_dials_and_evictions() {
    use metrics_util::debugging::{DebugValue, DebuggingRecorder};
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let endpoint = Endpoint::new();
    endpoint.script().dials.push_back(Dial::Fail("refused"));
    endpoint.script().dial = Dial::Take(20 * MS);
    let pool = metrics::with_local_recorder(&recorder, || {
        endpoint.pool().name("orders").max_size(1).build().unwrap()
    });
    let lent = pool.acquire().await.unwrap();
    let waiter = tokio::spawn({
        let pool = pool.clone();
        async move { pool.acquire().await.unwrap().discard() }
    });
    tokio::time::sleep(250 * MS).await;
    // Taking a snapshot empties the recorder: one for each moment.
    type Recorded = Vec<(
        metrics_util::CompositeKey,
        Option<metrics::Unit>,
        Option<metrics::SharedString>,
        DebugValue,
    )>;
    let values = |recorded: &Recorded, name: &str, label: &str| -> Vec<f64> {
        let labelled =
            |key: &metrics::Key, value: &str| key.labels().any(|one| one.value() == value);
        let found = recorded.iter().find(|(key, ..)| {
            key.key().name() == name
                && labelled(key.key(), "orders")
                && (label.is_empty() || labelled(key.key(), label))
        });
        match &found.unwrap_or_else(|| panic!("{name} {label}")).3 {
            DebugValue::Histogram(values) => values.iter().map(|value| value.0).collect(),
            DebugValue::Counter(count) => vec![*count as f64],
            DebugValue::Gauge(value) => vec![value.0],
        }
    };
    let recorded = snapshotter.snapshot().into_vec();
    assert_eq!(
        values(&recorded, "millpond_pool_connections", "active"),
        [1.0]
    );
    assert_eq!(values(&recorded, "millpond_pool_waiting", ""), [1.0]);
    assert_eq!(
        values(&recorded, "millpond_pool_dial_seconds", "ok"),
        [0.02]
    );
    assert_eq!(
        values(&recorded, "millpond_pool_dial_seconds", "failed"),
        [0.0]
    );
    drop(lent);
    waiter.await.unwrap();
    tokio::time::sleep(200 * MS).await;
    let recorded = snapshotter.snapshot().into_vec();
    assert_eq!(values(&recorded, "millpond_pool_wait_seconds", ""), [0.25]);
    assert_eq!(values(&recorded, "millpond_pool_hold_seconds", ""), [0.25]);
    assert_eq!(
        values(&recorded, "millpond_pool_evicted_total", "discarded"),
        [1.0]
    );
    assert_eq!(
        values(&recorded, "millpond_pool_connections", "active"),
        [0.0]
    );
}
