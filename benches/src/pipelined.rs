//! Several exchanges in flight per connection, over loopback, the server in a process of its own:
//! what a multiplexer written by hand reaches beside sockets that each caller owns and beside our
//! client, whose connections carry one exchange at a time. Every round runs each contestant once,
//! in a new random order; ratios are taken within a round.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::Context;
use clap::ValueEnum;
use millpond::{client::Client, net::Endpoint};
use serde_json::json;
use tokio::runtime::Runtime;

use crate::{
    multiplexer::{Multiplexer, Writes},
    peer::Peer,
    slices::{
        self, BODY, Bare, CALLERS, Caller, Slice, median_of, one_thread, slice_of, two_workers,
    },
    verdict::Middle,
};

/// So many times as fast as 16 that own a socket the multiplexer must be on one thread: where it
/// isn't, the machine or the peer holds it back, and nothing follows from the run.
const VALID_FROM: f64 = 3.0;

/// Measures pipelined exchanges over loopback.
///
/// The exit code is 0 whether the run is valid or not: that is printed.
#[derive(clap::Args)]
pub(crate) struct PipelinedArguments {
    /// Only this; may be repeated
    #[arg(long = "case", value_enum)]
    cases: Vec<Case>,

    /// Only contestants whose names contain this, and the bare sockets: to profile them
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,

    /// How many rounds
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    /// How long each contestant runs in a round, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(20..=10_000))]
    slice: u64,
}

impl PipelinedArguments {
    fn rounds_and_slice(&self) -> (u32, Duration) {
        (self.rounds, Duration::from_millis(self.slice))
    }

    fn wants(&self, who: Who) -> bool {
        who == Who::Bare || who.name().contains(&self.only)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Case {
    /// 64 callers on a runtime of one thread
    OneThread,
    /// The same on two workers
    TwoWorkers,
    /// 256 callers, on both runtimes
    #[value(name = "callers-256")]
    Callers256,
    /// One caller's latency, on both runtimes
    Latency,
}

pub(crate) fn pipelined(arguments: &PipelinedArguments) -> anyhow::Result<()> {
    for case in Case::value_variants() {
        if !arguments.cases.is_empty() && !arguments.cases.contains(case) {
            continue;
        }
        match case {
            Case::OneThread => {
                let seen = throughput("one thread", &one_thread()?, CALLERS, arguments)?;
                judge(&seen)?;
            }
            Case::TwoWorkers => {
                throughput("two workers", &two_workers()?, CALLERS, arguments)?;
            }
            Case::Callers256 => {
                throughput("one thread", &one_thread()?, 256, arguments)?;
                throughput("two workers", &two_workers()?, 256, arguments)?;
            }
            Case::Latency => {
                latency("one thread", &one_thread()?, arguments)?;
                latency("two workers", &two_workers()?, arguments)?;
            }
        }
    }
    Ok(())
}

/// Who exchanges.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    /// 16 callers that own a socket, however many the others are.
    Bare,
    /// Our client, over 16 connections.
    Exclusive,
    Multiplexer {
        connections: usize,
        writes: Writes,
    },
    /// Our client, with as many exchanges in flight as there are callers.
    Pipelined {
        connections: usize,
    },
}

impl Who {
    const ALL: [Who; 8] = [
        Who::Bare,
        Who::Exclusive,
        Who::multiplexer(1, Writes::AtOnce),
        Who::multiplexer(2, Writes::AtOnce),
        Who::multiplexer(1, Writes::AfterAPause),
        Who::multiplexer(2, Writes::AfterAPause),
        Who::Pipelined { connections: 1 },
        Who::Pipelined { connections: 2 },
    ];

    const fn multiplexer(connections: usize, writes: Writes) -> Who {
        Who::Multiplexer {
            connections,
            writes,
        }
    }

    fn name(self) -> String {
        match self {
            Who::Bare => "16 own a socket".to_owned(),
            Who::Exclusive => "millpond, exclusive, over 16".to_owned(),
            Who::Multiplexer {
                connections,
                writes,
            } => {
                let pause = match writes {
                    Writes::AtOnce => "",
                    Writes::AfterAPause => ", pausing",
                };
                format!("multiplexer over {connections}{pause}")
            }
            Who::Pipelined { connections } => format!("millpond, pipelined, over {connections}"),
        }
    }
}

/// One contestant's slice.
struct Seen {
    slice: Slice,
    /// Where writes can be counted.
    writes_per_exchange: Option<f64>,
    /// How much of a core the peer took, where that can be told.
    peer_share: Option<f64>,
}

/// All slices of a contestant, one a round.
type Rounds = Vec<(Who, Vec<Seen>)>;

async fn run(who: Who, peer: &Peer, callers: usize, slice: Duration) -> anyhow::Result<Seen> {
    match who {
        Who::Bare => seen(slices::owners(peer.address).await?, peer, slice, || None).await,
        Who::Exclusive => {
            seen(
                slices::exclusive(peer.address, callers)?,
                peer,
                slice,
                || None,
            )
            .await
        }
        Who::Multiplexer {
            connections,
            writes,
        } => {
            let multiplexer = Multiplexer::connect(peer.address, connections, writes).await?;
            let callers = multiplexer.callers(callers);
            seen(callers, peer, slice, || Some(multiplexer.writes())).await
        }
        Who::Pipelined { connections } => {
            let client = slices::pipelined(peer.address, callers, connections)?;
            let callers = vec![client.clone(); callers];
            let writes = || Some(client.pool().connector().pipelined_writes());
            seen(callers, peer, slice, writes).await
        }
    }
}

async fn seen<C: Caller>(
    callers: Vec<C>,
    peer: &Peer,
    slice: Duration,
    writes: impl Fn() -> Option<u64>,
) -> anyhow::Result<Seen> {
    let mut edges = Vec::new();
    let slice = slice_of(callers, slice, || {
        edges.push((Instant::now(), writes(), peer.used()))
    })
    .await?;
    let [(began, written, used), (ended, written_then, used_then)] = edges[..] else {
        anyhow::bail!("a slice has two edges");
    };
    let elapsed = (ended - began).as_secs_f64();
    let writes = written_then
        .zip(written)
        .map(|(then, before)| then - before);
    let used = used_then.zip(used).map(|(then, before)| then - before);
    Ok(Seen {
        writes_per_exchange: writes.map(|writes| writes as f64 / slice.exchanges as f64),
        peer_share: used.map(|used| used.as_secs_f64() / elapsed),
        slice,
    })
}

fn throughput(
    title: &str,
    runtime: &Runtime,
    callers: usize,
    arguments: &PipelinedArguments,
) -> anyhow::Result<Rounds> {
    let (rounds, slice) = arguments.rounds_and_slice();
    let peer = Peer::start()?;
    let wanted = Who::ALL.into_iter().filter(|who| arguments.wants(*who));
    let mut all: Rounds = wanted.map(|who| (who, Vec::new())).collect();
    let mut order: Vec<usize> = (0..all.len()).collect();
    for _ in 0..rounds {
        fastrand::shuffle(&mut order);
        for &index in &order {
            let (who, seen) = &mut all[index];
            seen.push(runtime.block_on(run(*who, &peer, callers, slice))?);
        }
    }
    println!("\n{title}: {callers} callers, bodies of {BODY} bytes, {rounds} rounds of {slice:?}");
    for (who, seen) in &all {
        let rate = Middle::of(seen.iter().map(|seen| seen.slice.per_second)).context("rounds")?;
        let by_bare = by_bare(&all, seen)?;
        let unfair = Middle::of(seen.iter().map(|seen| seen.slice.unfairness)).context("rounds")?;
        let starved = seen
            .iter()
            .map(|seen| seen.slice.starved)
            .max()
            .unwrap_or(0);
        let writes = Middle::of(seen.iter().filter_map(|seen| seen.writes_per_exchange));
        let peer_share = Middle::of(seen.iter().filter_map(|seen| seen.peer_share));
        let or_dash = |middle: Option<Middle>| {
            middle.map_or("–".to_owned(), |middle| format!("{:.3}", middle.median))
        };
        println!(
            "  {:<29} {:>8.0}/s   of the bare ones': {by_bare}   writes each {:<5}  luckiest / unluckiest {:.3}, starved at most {starved}; peer's share of a core {}",
            who.name(),
            rate.median,
            or_dash(writes),
            unfair.median,
            or_dash(peer_share),
        );
        println!(
            "{}",
            json!({"kind": "pipelined", "runtime": title, "callers": callers, "who": who.name(), "per_second": rate, "by_bare": by_bare,
                "writes_per_exchange": writes, "unfairness": unfair, "starved": starved, "peer_share": peer_share})
        );
    }
    for connections in [1, 2] {
        compare(&all, connections)?;
    }
    Ok(all)
}

/// Ours, by the multiplexer over as many connections and by our client that carries one exchange at
/// a time.
fn compare(all: &Rounds, connections: usize) -> anyhow::Result<()> {
    let of = |wanted| {
        all.iter()
            .find(|(who, _)| *who == wanted)
            .map(|(_, seen)| seen)
    };
    let Some(ours) = of(Who::Pipelined { connections }) else {
        return Ok(());
    };
    for other in [
        Who::multiplexer(connections, Writes::AtOnce),
        Who::multiplexer(connections, Writes::AfterAPause),
        Who::Exclusive,
    ] {
        if let Some(seen) = of(other) {
            let ratio = by(ours, seen)?;
            println!("  pipelined over {connections} / {}: {ratio}", other.name());
            println!(
                "{}",
                json!({"kind": "pipelined_ratio", "connections": connections, "to": other.name(), "ratio": ratio})
            );
        }
    }
    Ok(())
}

/// The rates, each by those of the bare sockets in the same round.
fn by_bare(all: &Rounds, seen: &[Seen]) -> anyhow::Result<Middle> {
    let bare = all
        .iter()
        .find(|(who, _)| *who == Who::Bare)
        .context("listed")?;
    by(seen, &bare.1)
}

fn by(ours: &[Seen], others: &[Seen]) -> anyhow::Result<Middle> {
    let pairs = ours.iter().zip(others);
    let ratios = pairs.map(|(ours, other)| ours.slice.per_second / other.slice.per_second);
    Middle::of(ratios).context("rounds")
}

/// Says whether the run can be used.
fn judge(all: &Rounds) -> anyhow::Result<()> {
    let mut best = 0_f64;
    for (who, seen) in all {
        if matches!(who, Who::Multiplexer { .. }) {
            best = best.max(by_bare(all, seen)?.median);
        }
    }
    if best == 0.0 {
        return Ok(()); // It wasn't asked for.
    }
    let valid = best >= VALID_FROM;
    let verdict = match valid {
        true => "valid",
        false => "invalid",
    };
    println!(
        "  {verdict}: the best multiplexer does {best:.2} times the exchanges of 16 that own a socket; at least {VALID_FROM} are needed"
    );
    println!(
        "{}",
        json!({"kind": "validity", "valid": valid, "best_by_bare": best, "needed": VALID_FROM})
    );
    Ok(())
}

async fn p50_of(who: Who, address: SocketAddr, slice: Duration) -> anyhow::Result<f64> {
    match who {
        Who::Bare => median_of(Bare::connect(address).await?, slice).await,
        Who::Exclusive => median_of(Client::builder(Endpoint::from(address)).build()?, slice).await,
        Who::Multiplexer {
            connections,
            writes,
        } => {
            let multiplexer = Multiplexer::connect(address, connections, writes).await?;
            median_of(multiplexer.callers(1).remove(0), slice).await
        }
        Who::Pipelined { connections } => {
            median_of(slices::pipelined(address, 1, connections)?, slice).await
        }
    }
}

fn latency(title: &str, runtime: &Runtime, arguments: &PipelinedArguments) -> anyhow::Result<()> {
    let (rounds, slice) = arguments.rounds_and_slice();
    let peer = Peer::start()?;
    // One caller has use for one connection.
    let one_connection = |who: &Who| {
        !matches!(
            who,
            Who::Multiplexer {
                connections: 2..,
                ..
            } | Who::Pipelined { connections: 2.. }
        )
    };
    let contestants = Who::ALL.into_iter().filter(one_connection);
    let contestants: Vec<Who> = contestants.filter(|who| arguments.wants(*who)).collect();
    let mut seen = vec![Vec::new(); contestants.len()];
    let mut order: Vec<usize> = (0..contestants.len()).collect();
    for _ in 0..rounds {
        fastrand::shuffle(&mut order);
        for &index in &order {
            let one = p50_of(contestants[index], peer.address, slice);
            // Within a worker, as in a program.
            seen[index]
                .push(runtime.block_on(async { tokio::spawn(one).await.context("it panicked")? })?);
        }
    }
    println!("\none caller, {title}: p50, {rounds} rounds of {slice:?}");
    for (who, times) in contestants.iter().zip(&seen) {
        let p50 = Middle::of(times.iter().copied()).context("rounds")?;
        let ratio = Middle::of(times.iter().zip(&seen[0]).map(|(time, bare)| time / bare))
            .context("rounds")?;
        println!(
            "  {:<29} {:>6.1} µs   of a bare socket's: {ratio}",
            who.name(),
            p50.median
        );
        println!(
            "{}",
            json!({"kind": "pipelined_latency", "runtime": title, "who": who.name(), "p50_us": p50, "by_bare": ratio})
        );
    }
    Ok(())
}
