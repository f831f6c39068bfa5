//! Row 28: the client side has 64 ephemeral ports, and connections that others opened and closed
//! have used them up (`TIME_WAIT`). A port is used up for one server only, so all contestants play
//! at the same time, three runs of each, each with its own server.

use std::{
    io::ErrorKind,
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

use millpond_rig::{Rig, Side};
use tokio::task::spawn;

use super::{
    contestant::Contestant,
    contestants::Who,
    observe::{Asked, Habit, RUNS, WATCH, all, ask, block_on, come_again, hold, runtime},
    report::{Stage, Value},
};

const RANGE: &str = "net.ipv4.ip_local_port_range";

const LIVE: &str = "no port is left, 4 connections are live and lent";
const NONE: &str = "no port is left, none is live";

pub fn play(rig: &Rig, stage: &Stage<'_>) -> millpond_rig::Result {
    Side::Client.sysctl(RANGE, "40000 40063")?;
    Side::Client.sysctl("net.ipv4.tcp_tw_reuse", "0")?;
    let mut servers = Vec::new();
    for (port, who) in (7000..).zip((0..RUNS).flat_map(|_| Who::ALL)) {
        servers.push((who, rig.start("replies", &[&format!("10.77.0.2:{port}")])?));
    }
    block_on(runtime()?, async {
        let plays: Vec<_> = servers
            .iter()
            .map(|(who, server)| spawn(used_up(*who, server.address())))
            .collect();
        let mut seen = Vec::new();
        for ((who, _), run) in servers.iter().zip(all(plays).await) {
            let run = run?;
            report(stage, LIVE, *who, &run.live);
            stage.figure(LIVE, *who, "replies on the live ones, of 100", run.replies);
            report(stage, NONE, *who, &run.none);
            seen.push((who, run.empty));
        }
        Side::Client.sysctl(RANGE, "40000 49999")?;
        let returns: Vec<_> = seen
            .iter()
            .map(|(_, empty)| spawn(first_reply(empty.clone())))
            .collect();
        for ((who, _), first) in seen.iter().zip(all(returns).await) {
            let first = Value::ended(first, WATCH);
            stage.figure(NONE, **who, "first reply after ports came back", first);
        }
        Ok(())
    })
}

/// What was seen of one pool with live connections, and of one without any.
struct Run {
    live: Asked,
    replies: u64,
    none: Asked,
    empty: Arc<dyn Contestant>,
}

async fn used_up(who: Who, server: SocketAddr) -> millpond_rig::Result<Run> {
    let live = who.build(&server.to_string(), 8);
    let empty = who.build(&server.to_string(), 8);
    let mut held = hold(&*live, 4).await?;
    use_up(server)?;
    let exchanges = async {
        let mut replies = 0;
        for _ in 0..25 {
            for lent in &mut held {
                replies += u64::from(lent.exchange().await.is_ok());
            }
        }
        replies
    };
    let (live, replies) = tokio::join!(ask(&*live, WATCH), exchanges);
    let none = ask(&*empty, WATCH).await;
    Ok(Run {
        live,
        replies,
        none,
        empty,
    })
}

/// After how long a caller has a reply who asks every 5 ms.
async fn first_reply(pool: Arc<dyn Contestant>) -> Option<Duration> {
    let habit = Habit {
        exchange: Duration::from_secs(1),
        pause: Duration::from_millis(5),
        until: Instant::now() + WATCH,
    };
    come_again(&*pool, habit, |_| true).await.0
}

fn report(stage: &Stage<'_>, part: &str, who: Who, asked: &Asked) {
    let took = Value::ended(asked.took, WATCH);
    stage.figure(part, who, "an acquire that needs a dial took", took);
    stage.figure(part, who, "it was told", Value::Text(asked.told()));
}

/// Opens and closes connections until no port is left.
fn use_up(server: SocketAddr) -> millpond_rig::Result {
    for _ in 0..1000 {
        match TcpStream::connect(server) {
            Ok(stream) => drop(stream),
            Err(error) if error.kind() == ErrorKind::AddrNotAvailable => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    Err("a thousand connections haven't used up 64 ports".into())
}
