//! Row 30: the name leads elsewhere, nowhere, or first to an address that is dead. All contestants
//! play at the same time, three runs of each: all that they do is wait.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use millpond_rig::{Rig, Server};
use tokio::task::spawn;

use super::{
    contestant::Contestant,
    contestants::Who,
    observe::{Habit, RUNS, WATCH, all, ask, block_on, come_again, runtime, warm},
    report::{Stage, Value},
};

const NAME: &str = "db.test";
const OLD: u8 = 2;
/// The system sorts addresses by how long a prefix they share with its own, 10.77.0.1: the dead one
/// comes before the live one.
const DEAD: u8 = 3;
const NEW: u8 = 4;

pub fn play(rig: &Rig, stage: &Stage<'_>) -> millpond_rig::Result {
    for address in [DEAD, NEW] {
        rig.add_server_address(ip(address))?;
    }
    rig.lose_packets(SocketAddr::from((ip(DEAD), 7000)))?;
    let old = rig.start("replies", &["10.77.0.2:7000"])?;
    let new = rig.start("replies", &["10.77.0.4:7000"])?;
    block_on(runtime()?, async {
        moved(rig, stage, old).await?;

        let part = "of two addresses, the first is dead";
        rig.names(&[(NAME, ip(DEAD)), (NAME, ip(NEW))])?;
        each(stage, part).await;

        let part = "the name is gone";
        drop(new);
        rig.names(&[])?;
        each(stage, part).await;
        Ok(())
    })
}

/// The name leads elsewhere; the old server lives on at first, and then ends.
async fn moved(rig: &Rig, stage: &Stage<'_>, old: Server) -> millpond_rig::Result {
    rig.names(&[(NAME, ip(OLD))])?;
    let pools = pools();
    for (_, pool) in &pools {
        warm(&**pool, 4).await?;
    }
    rig.names(&[(NAME, ip(NEW))])?;
    let part = "the name leads elsewhere, the old server lives";
    first_from_new(stage, part, &pools).await;
    drop(old);
    let part = "the name leads elsewhere, the old server has ended";
    first_from_new(stage, part, &pools).await;
    Ok(())
}

async fn first_from_new(stage: &Stage<'_>, part: &str, pools: &[(Who, Arc<dyn Contestant>)]) {
    let habit = Habit {
        exchange: Duration::from_secs(1),
        pause: Duration::from_millis(5),
        until: Instant::now() + WATCH,
    };
    let callers = pools.iter().map(|(_, pool)| {
        let pool = pool.clone();
        spawn(async move { come_again(&*pool, habit, |by| by == NEW).await })
    });
    // All of them at once, before the first is waited for.
    let callers: Vec<_> = callers.collect();
    for ((who, _), (first, got)) in pools.iter().zip(all(callers).await) {
        let first = Value::ended(first, WATCH);
        stage.figure(part, *who, "first reply from the new server after", first);
        stage.figure(part, *who, "exchanges that failed meanwhile", got.failures);
        stage.figure(
            part,
            *who,
            "acquires that gave an error meanwhile",
            got.told,
        );
    }
}

/// One acquire from each contestant, whose pool is new.
async fn each(stage: &Stage<'_>, part: &str) {
    let pools = pools();
    let callers = pools.iter().map(|(_, pool)| {
        let pool = pool.clone();
        spawn(async move { ask(&*pool, WATCH).await })
    });
    let callers: Vec<_> = callers.collect();
    for ((who, _), asked) in pools.iter().zip(all(callers).await) {
        let took = Value::ended(asked.took, WATCH);
        stage.figure(part, *who, "an acquire from a new pool took", took);
        stage.figure(part, *who, "it was told", Value::Text(asked.told()));
    }
}

/// Every contestant, as often as there are runs, without a connection.
fn pools() -> Vec<(Who, Arc<dyn Contestant>)> {
    let runs = (0..RUNS).flat_map(|_| Who::ALL);
    runs.map(|who| (who, who.build(&format!("{NAME}:7000"), 4)))
        .collect()
}

fn ip(last: u8) -> IpAddr {
    IpAddr::from([10, 77, 0, last])
}
