//! Row 29, the side that accepts: a server has no descriptor left, and clients wait in its backlog.
//! Millpond's `Listener` beside the loop that many servers have, which asks again at once after an
//! error. They play one after the other, three times, for one of them takes a whole CPU.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use cpu_time::ProcessTime;
use millpond::net::{Endpoint, ListenOptions, Listener};
use millpond_rig::{Console, Rig};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::spawn,
    time::{sleep, timeout},
};

use super::{
    contestant::exchange,
    contestants::Who,
    observe::{RUNS, WATCH, all, block_on, runtime},
    report::{Stage, Value},
    scarcity::{SPELL, Scarcity},
};

const PART: &str = "a server accepts, and no descriptor is left; 4 clients dial it";
const DIALLING: usize = 4;

const ACCEPTED: &str = "accepted";
const USE_UP: &str = "use up descriptors";
const GIVE_BACK: &str = "give descriptors back";
/// Since descriptors were used up, in microseconds.
const CPU: &str = "CPU time";

pub fn play(rig: &Rig, stage: &Stage<'_>) -> millpond_rig::Result {
    let told = "after an error it";
    let pauses = "pauses for 10 ms, doubling to 500, and asks again (millpond's `Listener`)";
    stage.figure(PART, Who::Millpond, told, Value::Text(pauses.to_owned()));
    let goes_on = "asks again at once (`Err(_) => continue` around tokio's `accept`)";
    stage.figure(PART, "tokio loop", told, Value::Text(goes_on.to_owned()));
    for port in (7200..).step_by(2).take(RUNS.into()) {
        for (name, server, port) in [
            ("millpond", "accepts by Listener", port),
            ("tokio loop", "accepts in a loop", port + 1),
        ] {
            block_on(runtime()?, one(rig, stage, name, server, port))?;
        }
    }
    Ok(())
}

async fn one(
    rig: &Rig,
    stage: &Stage<'_>,
    name: &str,
    server: &str,
    port: u16,
) -> millpond_rig::Result {
    let server = rig.start(server, &[&format!("10.77.0.2:{port}")])?;
    let mut live = TcpStream::connect(server.address()).await?;
    exchange(&mut live).await?;
    let before = server.ask_for_number(ACCEPTED)?;

    done(&server.ask(USE_UP)?)?;
    let start = Instant::now();
    let mut clients = Vec::new();
    for _ in 0..DIALLING {
        // The kernel completes their handshakes by itself.
        clients.push(timeout(WATCH, TcpStream::connect(server.address())).await??);
    }
    stage.figure(
        PART,
        name,
        "clients that are connected meanwhile",
        clients.len() as u64,
    );
    let clients: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            spawn(async move {
                let reply = timeout(SPELL + WATCH, exchange(&mut client)).await;
                matches!(reply, Ok(Ok(_))).then(Instant::now)
            })
        })
        .collect();
    let mut replies = 0_u64;
    for _ in 0..100 {
        replies += u64::from(timeout(WATCH, exchange(&mut live)).await?.is_ok());
    }
    sleep(SPELL.saturating_sub(start.elapsed())).await;
    let cpu = Duration::from_micros(server.ask_for_number(CPU)?);
    let meanwhile = server.ask_for_number(ACCEPTED)? - before;
    stage.figure(PART, name, "CPU time of the server in 2 s", cpu);
    stage.figure(PART, name, "accepted in these 2 s", meanwhile);
    stage.figure(PART, name, "replies on a live connection, of 100", replies);

    let back = Instant::now();
    done(&server.ask(GIVE_BACK)?)?;
    let replied: Vec<_> = all(clients).await.into_iter().flatten().collect();
    let count = replied.len() as u64;
    stage.figure(
        PART,
        name,
        "clients that have their reply afterwards, of 4",
        count,
    );
    // The last of the four, unless one has none.
    let last = replied
        .into_iter()
        .max()
        .filter(|_| count == DIALLING as u64);
    let after = last.map(|last| last.saturating_duration_since(back));
    let what = "the last of them had it, after descriptors came back, in";
    stage.figure(PART, name, what, Value::ended(after, WATCH));
    Ok(())
}

fn done(answer: &str) -> millpond_rig::Result {
    match answer {
        "done" => Ok(()),
        _ => Err(format!("the server said {answer:?}").into()),
    }
}

/// Accepts by millpond's `Listener`. Argument: its address.
pub fn by_listener(console: Console) -> millpond_rig::Result {
    let address: SocketAddr = console.argument(0)?;
    let runtime = runtime()?;
    let endpoint = Endpoint::from(address);
    let mut listener = runtime.block_on(Listener::bind(&endpoint, ListenOptions::default()))?;
    let accepted = Arc::new(AtomicU64::new(0));
    let count = accepted.clone();
    runtime.spawn(async move {
        while let Ok(stream) = listener.accept().await {
            count.fetch_add(1, Relaxed);
            spawn(async move {
                if let Ok(stream) = stream.into_stream().await {
                    reply_until_closed(stream).await;
                }
            });
        }
    });
    answer(console, address, &accepted)
}

/// Accepts in a loop that asks again at once, whatever the error was. Argument: its address.
pub fn in_a_loop(console: Console) -> millpond_rig::Result {
    let address: SocketAddr = console.argument(0)?;
    let runtime = runtime()?;
    let listener = runtime.block_on(TcpListener::bind(address))?;
    let accepted = Arc::new(AtomicU64::new(0));
    let count = accepted.clone();
    runtime.spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                continue;
            };
            count.fetch_add(1, Relaxed);
            spawn(reply_until_closed(stream));
        }
    });
    answer(console, address, &accepted)
}

/// Does what its scene asks, until that has ended.
fn answer(console: Console, address: SocketAddr, accepted: &AtomicU64) -> millpond_rig::Result {
    console.ready(address);
    let mut scarcity = None;
    let mut cpu = ProcessTime::now();
    console.answer_until_closed(|command| match command {
        ACCEPTED => accepted.load(Relaxed).to_string(),
        USE_UP => match Scarcity::begin() {
            Ok(begun) => {
                scarcity = Some(begun);
                cpu = ProcessTime::now();
                "done".to_owned()
            }
            Err(error) => format!("can't: {error}"),
        },
        CPU => cpu.elapsed().as_micros().to_string(),
        GIVE_BACK => {
            scarcity = None;
            "done".to_owned()
        }
        _ => format!("what is {command:?}?"),
    });
    Ok(())
}

/// Sends each token of 8 bytes back, and a number behind it.
pub async fn reply_until_closed(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    const SERVER: u8 = 2;
    let mut reply = [SERVER; 9];
    while stream.read_exact(&mut reply[..8]).await.is_ok() {
        if stream.write_all(&reply).await.is_err() {
            return;
        }
    }
}
