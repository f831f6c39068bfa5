//! What pooled TCP streams cost beyond the streams themselves: system calls per acquire and
//! release, counted by strace, and memory per idle connection. Each measurement is a process of its
//! own, and the peer another.

use std::{
    fs,
    io::Write,
    net::SocketAddr,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use clap::{Subcommand, ValueEnum};
use millpond::{
    client::Client,
    connectors::StreamConnector,
    net::{Dialer, Endpoint},
    pool::{Connector, Pool, PoolBuilder},
};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    peer::{self, Peer, on_one_thread},
    verdict::Middle,
};

/// The size of a request and of its reply.
const BODY: usize = 64;

/// Counts what pooled TCP streams cost: system calls and memory.
///
/// `system-calls` needs strace. The exit code is 0 whether targets are met or missed.
#[derive(clap::Args)]
pub(crate) struct StreamsArguments {
    /// Only this; default: both
    #[arg(long = "case", value_enum)]
    case: Option<Case>,

    /// Acquires and releases per run
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    cycles: u64,

    /// Idle connections
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(100..=100_000))]
    connections: u32,

    /// Rounds for the memory; the median counts
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Case {
    /// System calls per acquire and release of a live connection, with one exchange in a hundred
    SystemCalls,
    /// Resident memory per idle connection, beside that of a bare TcpStream
    Memory,
}

/// What the processes that this starts are told to be.
#[derive(Subcommand)]
pub(crate) enum Role {
    /// Echoes on every connection until its standard input ends, but for heartbeats, which nobody
    /// answers
    Peer,
    /// Exchanges on one stream, pooled or bare
    Cycle {
        peer: SocketAddr,
        cycles: u64,
        exchange_every: u64,
        subject: Subject,
    },
    /// Opens idle connections, and prints how much memory each takes
    Idle {
        peer: SocketAddr,
        connections: u32,
        subject: Subject,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Subject {
    Pool,
    Bare,
    Session,
    BeatingSession,
    BeatingScan,
}

impl Subject {
    fn name(self) -> &'static str {
        match self {
            Subject::Pool => "pool",
            Subject::Bare => "bare",
            Subject::Session => "session",
            Subject::BeatingSession => "beating-session",
            Subject::BeatingScan => "beating-scan",
        }
    }
}

pub(crate) fn streams(arguments: &StreamsArguments) -> anyhow::Result<()> {
    if arguments.case != Some(Case::Memory) {
        system_calls(arguments.cycles)?;
    }
    if arguments.case != Some(Case::SystemCalls) {
        memory(arguments.connections, arguments.rounds)?;
    }
    Ok(())
}

fn system_calls(cycles: u64) -> anyhow::Result<()> {
    let peer = Peer::start()?;
    let every = 100;
    let bare = strace(&peer, cycles, every, Subject::Bare)?;
    let pooled = strace(&peer, cycles, every, Subject::Pool)?;
    let idle = strace(&peer, cycles, u64::MAX, Subject::Pool)?;
    #[expect(
        clippy::cast_precision_loss,
        reason = "a ratio of counts far below 2^52"
    )]
    let per_cycle = (pooled as f64 - bare as f64) / cycles as f64;
    println!("system calls of {cycles} acquires and releases on current_thread, upkeep on:");
    println!(
        "  {:>9}  with one exchange in {every}, through the pool",
        pooled
    );
    println!("  {:>9}  the same exchanges on a bare stream", bare);
    println!(
        "  {:>9}  without any exchange, start and end of the process included",
        idle
    );
    println!("  {per_cycle:.4} per cycle beyond the exchanges; target: at most 0.02");
    println!(
        "{}",
        json!({"kind": "system_calls", "cycles": cycles, "pooled": pooled, "bare": bare, "idle": idle, "per_cycle": per_cycle})
    );
    Ok(())
}

/// How many system calls a run of this program makes.
fn strace(peer: &Peer, cycles: u64, exchange_every: u64, subject: Subject) -> anyhow::Result<u64> {
    let summary = std::env::temp_dir().join(format!("millpond-strace-{}", std::process::id()));
    let status = Command::new("strace")
        .args(["-f", "-c", "-o"])
        .arg(&summary)
        .arg(std::env::current_exe()?)
        .args([
            "role",
            "cycle",
            &peer.address.to_string(),
            &cycles.to_string(),
        ])
        .args([&exchange_every.to_string(), subject.name()])
        .status()
        .context("strace can't be started: install it (apt-get install strace)")?;
    ensure!(status.success(), "the run under strace failed: {status}");
    let text = fs::read_to_string(&summary)?;
    fs::remove_file(&summary)?;
    let total = text.lines().rfind(|line| line.ends_with("total"));
    // % time, seconds, usecs/call, calls, errors (if any), "total"
    let calls = total.and_then(|line| line.split_whitespace().nth(3)?.parse().ok());
    calls.with_context(|| format!("strace's summary has no total:\n{text}"))
}

fn memory(connections: u32, rounds: u32) -> anyhow::Result<()> {
    let (mut bare, mut pooled, mut overheads) = (Vec::<f64>::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let one_bare = resident(connections, Subject::Bare)?;
        let one_pooled = resident(connections, Subject::Pool)?;
        overheads.push(one_pooled - 1.2 * one_bare);
        bare.push(one_bare);
        pooled.push(one_pooled);
    }
    let middle = |values| Middle::of(values).context("at least one round");
    let (bare, pooled, beyond) = (middle(bare)?, middle(pooled)?, middle(overheads)?);
    println!(
        "resident memory per idle connection, {connections} of them, peer in another process:"
    );
    println!("  {:>6.0} B  a bare TcpStream in a Vec", bare.median);
    println!("  {:>6.0} B  in the pool", pooled.median);
    println!(
        "  {:>6.0} B  beyond 1.2 times the bare one (quartiles {:.0} to {:.0}); target: at most 256 B",
        beyond.median, beyond.q1, beyond.q3
    );
    println!(
        "{}",
        json!({"kind": "memory", "connections": connections, "bare": bare.median, "pool": pooled.median, "beyond": beyond.median})
    );
    Ok(())
}

/// Bytes per connection, as the process that holds them says.
fn resident(connections: u32, subject: Subject) -> anyhow::Result<f64> {
    let peer = Peer::start()?;
    let output = Command::new(std::env::current_exe()?)
        .args([
            "role",
            "idle",
            &peer.address.to_string(),
            &connections.to_string(),
            subject.name(),
        ])
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(
        output.status.success(),
        "the run with idle connections failed: {}",
        output.status
    );
    String::from_utf8(output.stdout)?
        .trim()
        .parse()
        .context("a number of bytes")
}

/// What idle sessions cost: memory, and the processor time of their heartbeats, one a second each.
pub(crate) fn idle_sessions(rounds: u32) -> anyhow::Result<()> {
    const CONNECTIONS: u32 = 10_000;
    let middle = |values: Vec<f64>| Middle::of(values).context("at least one round");
    let (mut sessions, mut ours, mut scan, mut ratios) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let rounds = rounds.min(5);
    println!(
        "\n{CONNECTIONS} idle sessions, peer in another process, {rounds} rounds of half a minute:"
    );
    for round in 1..=rounds {
        let bytes = resident(CONNECTIONS, Subject::Session)?;
        let beating = resident(CONNECTIONS, Subject::BeatingSession)?;
        let scanned = resident(CONNECTIONS, Subject::BeatingScan)?;
        println!("  round {round}: {bytes:.0} B, {beating:.1} % of a core, a scan {scanned:.1} %");
        sessions.push(bytes);
        ours.push(beating);
        scan.push(scanned);
        ratios.push(beating / scanned);
    }
    let (sessions, ours, scan, ratio) = (
        middle(sessions)?,
        middle(ours)?,
        middle(scan)?,
        middle(ratios)?,
    );
    println!(
        "  {:>6.0} B resident each; target: at most 1229 B",
        sessions.median
    );
    println!(
        "  heartbeats, one a second each: {:.1} % of a core; one scan that only writes: {:.1} %",
        ours.median, scan.median
    );
    println!("  ours / scan {ratio}; target: at most 1.1");
    println!(
        "{}",
        json!({"kind": "idle_sessions", "bytes": sessions, "percent": ours, "scan_percent": scan, "ratio": ratio})
    );
    Ok(())
}

pub(crate) fn play(role: &Role) -> anyhow::Result<()> {
    match *role {
        Role::Peer => peer::serve(),
        Role::Cycle {
            peer,
            cycles,
            exchange_every,
            subject,
        } => on_one_thread(async move {
            match subject {
                Subject::Pool => cycle(peer, cycles, exchange_every).await,
                _ => exchanges(peer, cycles / exchange_every).await,
            }
        }),
        Role::Idle {
            peer,
            connections,
            subject,
        } => on_one_thread(idle(peer, connections, subject)),
    }
}

async fn cycle(peer: SocketAddr, cycles: u64, exchange_every: u64) -> anyhow::Result<()> {
    let pool = Pool::builder(StreamConnector::from(Endpoint::from(peer))).build()?;
    for number in 1..=cycles {
        let mut stream = pool.acquire().await?;
        if number % exchange_every == 0 {
            let mut body = [7; BODY];
            stream.write_all(&body).await?;
            stream.read_exact(&mut body).await?;
            stream.release();
        }
    }
    let opened = pool.snapshot().totals.opened;
    ensure!(
        opened == 1,
        "{opened} connections were opened, and there should have been one"
    );
    Ok(())
}

async fn exchanges(peer: SocketAddr, count: u64) -> anyhow::Result<()> {
    let dialled = Dialer::new(Endpoint::from(peer)).dial().await?;
    let mut stream = dialled.stream;
    for _ in 0..count {
        let mut body = [7; BODY];
        stream.write_all(&body).await?;
        stream.read_exact(&mut body).await?;
    }
    Ok(())
}

/// Prints what the subject costs: bytes per connection, or percent of a core.
async fn idle(peer: SocketAddr, connections: u32, subject: Subject) -> anyhow::Result<()> {
    let before = resident_bytes()?;
    let per_connection = |after: f64| (after - before) / f64::from(connections);
    let figure = match subject {
        Subject::Bare => {
            let _streams = bare(peer, connections).await?;
            per_connection(resident_bytes()?)
        }
        Subject::Pool => {
            let pool = Pool::builder(StreamConnector::from(Endpoint::from(peer)));
            let _pool = filled(pool, connections).await?;
            per_connection(resident_bytes()?)
        }
        Subject::Session | Subject::BeatingSession => {
            let interval = match subject {
                Subject::Session => 10,
                _ => 1,
            };
            let client = Client::builder(Endpoint::from(peer))
                .heartbeat_interval(Duration::from_secs(interval))
                .pool(move |pool| {
                    let full = pool.max_size(connections).min_idle(connections);
                    full.max_connecting(16)
                })
                .build()?;
            client.pool().ready(Duration::from_secs(60)).await?;
            tokio::time::sleep(Duration::from_secs(2)).await;
            ensure!(
                client.pool().snapshot().idle == usize::try_from(connections)?,
                "{}",
                client.pool().snapshot()
            );
            match subject {
                Subject::Session => per_connection(resident_bytes()?),
                _ => {
                    let sent = || client.pool().connector().heartbeats().sent;
                    let before = sent();
                    let percent = busy_percent(tokio::time::sleep(MEASURED)).await;
                    let beats =
                        (sent() - before) as f64 / f64::from(connections) / MEASURED.as_secs_f64();
                    ensure!(
                        beats > 0.8,
                        "only {beats:.2} heartbeats a second and session were sent"
                    );
                    percent
                }
            }
        }
        Subject::BeatingScan => {
            let streams = bare(peer, connections).await?;
            busy_percent(async {
                // A tenth of them every 100 ms.
                let mut ticks = tokio::time::interval(Duration::from_millis(100));
                for tick in 0..MEASURED.as_secs() * 10 {
                    ticks.tick().await;
                    let tenth = streams
                        .iter()
                        .skip(usize::try_from(tick % 10).unwrap_or(0))
                        .step_by(10);
                    for stream in tenth {
                        let _ = stream.try_write(b"HeartBeat");
                    }
                }
            })
            .await
        }
    };
    println!("{figure:.2}");
    std::io::stdout().flush()?;
    // Not to be measured: how long it takes to close them.
    std::process::exit(0);
}

/// For how long processor time is counted.
const MEASURED: Duration = Duration::from_secs(5);

/// How much of a core this process takes while `work` runs.
async fn busy_percent(work: impl Future<Output = ()>) -> f64 {
    let (began, used) = (std::time::Instant::now(), cpu_time::ProcessTime::now());
    work.await;
    100.0 * used.elapsed().as_secs_f64() / began.elapsed().as_secs_f64()
}

async fn bare(peer: SocketAddr, connections: u32) -> anyhow::Result<Vec<tokio::net::TcpStream>> {
    let mut streams = Vec::new();
    for _ in 0..connections {
        streams.push(tokio::net::TcpStream::connect(peer).await?);
    }
    Ok(streams)
}

async fn filled<C: Connector>(pool: PoolBuilder<C>, connections: u32) -> anyhow::Result<Pool<C>> {
    let pool = pool
        .max_size(connections)
        .min_idle(connections)
        .max_connecting(16)
        .build()?;
    pool.ready(Duration::from_secs(60)).await?;
    // Until upkeep watches all of them.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let snapshot = pool.snapshot();
    if snapshot.idle != usize::try_from(connections)? {
        bail!("not all are idle: {snapshot}");
    }
    Ok(pool)
}

/// What the process has in memory, without what is shared with others (program text).
fn resident_bytes() -> anyhow::Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kilobytes: f64 = line
        .and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok())
        .context("/proc/self/status has no RssAnon")?;
    Ok(kilobytes * 1024.0)
}
