//! Row 24: the packets of established connections vanish, both ways, as when a middlebox has
//! forgotten them. New connections work. All contestants play at the same time, for all that they
//! do is wait: callers with a deadline in three runs of each, callers without one in one,
//! which is watched for longer than the kernel waits for an acknowledgement.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use millpond_rig::{Rig, Server};
use tokio::{
    task::{JoinHandle, spawn},
    time::{sleep, timeout},
};

use super::{
    contestant::Contestant,
    contestants::Who,
    observe::{Got, Habit, RUNS, WATCH, all, ask, block_on, come_again, runtime, warm},
    report::{Stage, Value},
};

const CONNECTIONS: usize = 4;
/// Millpond's `TCP_USER_TIMEOUT` is 60 s: by then it has been seen.
const LONG_WATCH: Duration = Duration::from_secs(75);
/// Just before those callers give up.
const STILL_WAITING: Duration = Duration::from_secs(74);

const PATIENT: &str = "callers without a deadline";

/// A pool with its server.
struct Run {
    who: Who,
    pool: Arc<dyn Contestant>,
    server: Server,
}

pub fn play(rig: &Rig, stage: &Stage<'_>) -> millpond_rig::Result {
    block_on(runtime()?, async {
        let patient = start(rig, 7000, 1).await?;
        let brisk = start(rig, 7100, RUNS).await?;
        let mut flows = Vec::new();
        for run in patient.iter().chain(&brisk) {
            flows.extend(rig.connections(run.server.address())?);
        }
        if flows.len() != (patient.len() + brisk.len()) * CONNECTIONS {
            return Err(format!("{} connections are there, which is wrong", flows.len()).into());
        }
        rig.lose_connections(&flows)?;

        let start = Instant::now();
        let without: Vec<_> = patient.iter().map(without_deadline).collect();
        let with: Vec<_> = brisk.iter().map(with_deadline).collect();
        for ((first, got), run) in all(with).await.into_iter().zip(&brisk) {
            let part = "a caller gives each exchange 1 s, and comes again";
            stage.figure(
                part,
                run.who,
                "time to the first reply",
                Value::ended(first, WATCH),
            );
            stage.figure(
                part,
                run.who,
                "exchanges that failed before it",
                got.failures,
            );
        }
        sleep(STILL_WAITING.saturating_sub(start.elapsed())).await;
        let lost: Vec<_> = flows.iter().map(|flow| flow.local).collect();
        for run in &patient {
            let closed = closed(rig, run, &lost)?;
            stage.figure(
                PATIENT,
                run.who,
                "of 4 lost connections, closed after 74 s",
                closed,
            );
        }
        for (run, watched) in patient.iter().zip(without) {
            report(stage, run, watched).await;
            let closed = closed(rig, run, &lost)?;
            stage.figure(
                PATIENT,
                run.who,
                "of 4 lost connections, closed once the callers had given up",
                closed,
            );
        }
        Ok(())
    })
}

/// Every contestant, in so many runs, with its connections idle.
async fn start(rig: &Rig, first_port: u16, runs_of_each: u16) -> millpond_rig::Result<Vec<Run>> {
    let mut runs = Vec::new();
    for number in 0..runs_of_each {
        for (index, who) in (0..).zip(Who::ALL) {
            let address = format!("10.77.0.2:{}", first_port + 3 * number + index);
            let server = rig.start("replies", &[&address])?;
            let pool = who.build(&address, CONNECTIONS as u32);
            warm(&*pool, CONNECTIONS).await?;
            runs.push(Run { who, pool, server });
        }
    }
    Ok(runs)
}

/// What is seen of callers without deadlines.
struct Watched {
    exchanges: Vec<JoinHandle<(Value, String)>>,
    one_more: JoinHandle<(Value, String)>,
}

/// As many callers as there are connections, each with an exchange that has no deadline, and one
/// caller more.
fn without_deadline(run: &Run) -> Watched {
    let start = Instant::now();
    let exchanges = (0..CONNECTIONS).map(|_| {
        let pool = run.pool.clone();
        spawn(async move {
            let exchange = async {
                let mut lent = pool.acquire().await?;
                lent.exchange().await.map_err(|error| error.to_string())?;
                lent.complete();
                Ok::<_, String>(())
            };
            match timeout(LONG_WATCH, exchange).await {
                Ok(Ok(())) => (Value::from(start.elapsed()), "a reply".to_owned()),
                Ok(Err(told)) => (Value::from(start.elapsed()), told),
                Err(_) => (Value::ended(None, LONG_WATCH), "nothing".to_owned()),
            }
        })
    });
    let exchanges = exchanges.collect();
    let pool = run.pool.clone();
    let one_more = spawn(async move {
        // The others have long taken what there is.
        sleep(Duration::from_millis(300)).await;
        let asked = ask(&*pool, WATCH).await;
        (Value::ended(asked.took, WATCH), asked.told())
    });
    Watched {
        exchanges,
        one_more,
    }
}

/// A caller who gives up on an exchange after a second and comes again.
fn with_deadline(run: &Run) -> JoinHandle<(Option<Duration>, Got)> {
    let pool = run.pool.clone();
    let habit = Habit {
        exchange: Duration::from_secs(1),
        pause: Duration::ZERO,
        until: Instant::now() + WATCH,
    };
    spawn(async move { come_again(&*pool, habit, |_| true).await })
}

async fn report(stage: &Stage<'_>, run: &Run, watched: Watched) {
    for (took, ended) in all(watched.exchanges).await {
        let what = "an exchange on a lost connection ended after";
        stage.figure(PATIENT, run.who, what, took);
        stage.figure(
            PATIENT,
            run.who,
            "an exchange ended with",
            Value::Text(ended),
        );
    }
    for (took, told) in all([watched.one_more]).await {
        stage.figure(PATIENT, run.who, "one more acquire took", took);
        stage.figure(PATIENT, run.who, "it was told", Value::Text(told));
    }
}

/// How many of this run's lost connections are no longer there.
fn closed(rig: &Rig, run: &Run, lost: &[SocketAddr]) -> millpond_rig::Result<u64> {
    let there = rig.connections(run.server.address())?;
    let left = there
        .iter()
        .filter(|flow| lost.contains(&flow.local))
        .count();
    Ok((CONNECTIONS - left) as u64)
}
