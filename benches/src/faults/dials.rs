//! Dials per second: 8 callers who come again at once for 10 s, and what arrives at the listener meanwhile. Rows 19 and 27 do this to several servers.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use millpond_rig::Rig;

use super::{
    contestants::Who,
    observe::{Got, Habit, WATCH, crowd},
    report::{Stage, Value},
};

/// What counts as a dial.
#[derive(Clone, Copy)]
pub enum Count {
    /// Every SYN: none is retransmitted, for each is answered.
    Syns,
    /// Every port that a SYN came from: unanswered ones come again.
    Ports,
}

/// Plays it to one contestant, and reports.
pub async fn play(
    rig: &Rig,
    stage: &Stage<'_>,
    part: &str,
    who: Who,
    server: SocketAddr,
    count: Count,
) -> millpond_rig::Result {
    let pool = who.build(&server.to_string(), 8);
    let counter = rig.count_syns(server)?;
    let start = Instant::now();
    let habit = Habit {
        exchange: WATCH,
        pause: Duration::ZERO,
        until: start + WATCH,
    };
    let got = crowd(&pool, habit).await;
    let seconds = start.elapsed().as_secs_f64();
    let seen = counter.seen()?;
    let per_second = |count: u64| Value::Count(count as f64 / seconds);
    let sum = |field: fn(&Got) -> u64| got.iter().map(field).sum::<u64>();
    let dials = match count {
        Count::Syns => seen.packets,
        Count::Ports => seen.ports,
    };
    for got in &got {
        let took = Value::ended(got.first_answer, WATCH);
        stage.figure(part, who, "a caller's first acquire took", took);
    }
    stage.figure(part, who, "dials per second", per_second(dials));
    stage.figure(part, who, "SYNs per second", per_second(seen.packets));
    stage.figure(
        part,
        who,
        "acquires that gave an error, per second",
        per_second(sum(|got| got.told)),
    );
    stage.figure(
        part,
        who,
        "exchanges that failed, per second",
        per_second(sum(|got| got.failures)),
    );
    Ok(())
}
