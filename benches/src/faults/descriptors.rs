//! Row 29: the process has no file descriptor left, while it dials. The limit is the whole
//! process's, so the contestants play one after the other, three times.
//!
//! This is the side that dials; the one that accepts is next door, in `accepts`.

use std::time::{Duration, Instant};

use cpu_time::ProcessTime;
use millpond_rig::Rig;
use tokio::time::sleep;

use super::{
    accepts,
    contestants::Who,
    observe::{Got, Habit, RUNS, WATCH, ask, block_on, come_again, crowd, hold, runtime},
    report::{Stage, Value},
    scarcity::{SPELL, Scarcity},
};

pub fn play(rig: &Rig, stage: &Stage<'_>) -> millpond_rig::Result {
    let server = rig.start("replies", &["10.77.0.2:7000"])?;
    for who in (0..RUNS).flat_map(|_| Who::ALL) {
        block_on(runtime()?, one(stage, who, &server.address().to_string()))?;
    }
    accepts::play(rig, stage)
}

async fn one(stage: &Stage<'_>, who: Who, endpoint: &str) -> millpond_rig::Result {
    let part = "no descriptor is left, 2 connections are live and lent";
    let live = who.build(endpoint, 8);
    let mut held = hold(&*live, 2).await?;
    let scarcity = Scarcity::begin()?;
    let cpu = ProcessTime::now();
    let spell = async {
        sleep(SPELL).await;
        cpu.elapsed()
    };
    let (asked, cpu) = tokio::join!(ask(&*live, WATCH), spell);
    stage.figure(
        part,
        who,
        "an acquire that needs a dial took",
        Value::ended(asked.took, WATCH),
    );
    stage.figure(part, who, "it was told", Value::Text(asked.told()));
    stage.figure(part, who, "CPU time in 2 s with one caller", cpu);
    let mut replies = 0_u64;
    for _ in 0..50 {
        for lent in &mut held {
            replies += u64::from(lent.exchange().await.is_ok());
        }
    }
    stage.figure(part, who, "replies on the live ones, of 100", replies);
    drop(scarcity);
    drop(held);

    let part = "no descriptor is left, none is live, 8 callers come again at once";
    let empty = who.build(endpoint, 8);
    let scarcity = Scarcity::begin()?;
    let cpu = ProcessTime::now();
    let got = crowd(&empty, habit(SPELL, Duration::ZERO)).await;
    let told: u64 = got.iter().map(|got: &Got| got.told).sum();
    stage.figure(part, who, "CPU time in 2 s", cpu.elapsed());
    stage.figure(part, who, "acquires that gave an error", told);
    drop(scarcity);
    let (first, _) = come_again(&*empty, habit(WATCH, Duration::from_millis(5)), |_| true).await;
    stage.figure(
        part,
        who,
        "first reply after descriptors came back",
        Value::ended(first, WATCH),
    );
    Ok(())
}

fn habit(time: Duration, pause: Duration) -> Habit {
    Habit {
        exchange: Duration::from_secs(1),
        pause,
        until: Instant::now() + time,
    }
}
