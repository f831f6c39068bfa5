//! Dials per second: 8 callers who come again at once, and what arrives at the listener meanwhile.
//! Rows 19, 27 and 31 do this to several servers.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use millpond_rig::Rig;

use super::{
    contestant::Contestant,
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

/// What is asked of a pool, and where its dials arrive.
pub struct Crowd<'a> {
    /// The part of the row that it belongs to.
    pub part: &'a str,
    /// Whose pool it is.
    pub who: Who,
    /// Where it dials.
    pub server: SocketAddr,
    /// How its dials are counted.
    pub count: Count,
    /// For how long it is asked.
    pub time: Duration,
}

/// Plays it to one contestant for 10 s, and reports.
pub async fn play(
    rig: &Rig,
    stage: &Stage<'_>,
    part: &str,
    who: Who,
    server: SocketAddr,
    count: Count,
) -> millpond_rig::Result {
    let pool = who.build(&server.to_string(), 8);
    let crowd = Crowd {
        part,
        who,
        server,
        count,
        time: WATCH,
    };
    crowd.ask(rig, stage, &pool).await.map(drop)
}

impl Crowd<'_> {
    /// Plays it to this pool, and reports. Returns what each caller got.
    pub async fn ask(
        &self,
        rig: &Rig,
        stage: &Stage<'_>,
        pool: &Arc<dyn Contestant>,
    ) -> millpond_rig::Result<Vec<Got>> {
        let counter = rig.count_syns(self.server)?;
        let start = Instant::now();
        let habit = Habit {
            exchange: self.time,
            pause: Duration::ZERO,
            until: start + self.time,
        };
        let got = crowd(pool, habit).await;
        let seconds = start.elapsed().as_secs_f64();
        let seen = counter.seen()?;
        let per_second = |count: u64| Value::Count(count as f64 / seconds);
        let sum = |field: fn(&Got) -> u64| got.iter().map(field).sum::<u64>();
        let dials = match self.count {
            Count::Syns => seen.packets,
            Count::Ports => seen.ports,
        };
        for got in &got {
            let took = Value::ended(got.first_answer, self.time);
            stage.figure(self.part, self.who, "a caller's first acquire took", took);
        }
        let rates = [
            ("dials per second", dials),
            ("SYNs per second", seen.packets),
            (
                "acquires that gave an error, per second",
                sum(|got| got.told),
            ),
            ("exchanges that failed, per second", sum(|got| got.failures)),
        ];
        for (what, count) in rates {
            stage.figure(self.part, self.who, what, per_second(count));
        }
        Ok(got)
    }
}
