//! Exchanges over loopback, the server in a process of its own: the client beside sockets that each
//! caller owns, and beside other pools with the framing written by hand. Every round runs each
//! contestant once, in a new random order; ratios are taken within a round.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context;
use clap::ValueEnum;
use millpond::{client::Client, net::Endpoint};
use serde_json::json;
use tokio::runtime::Runtime;

use crate::{
    node::{self, Node},
    peer::Peer,
    slices::{
        self, BODY, Bare, CALLERS, CONNECTIONS, Caller, Slice, median_of, one_thread, slice_of,
        two_workers,
    },
    verdict::Middle,
};

/// Measures exchanges over loopback.
///
/// The exit code is 0 whether targets are met or missed.
#[derive(clap::Args)]
pub(crate) struct ExchangeArguments {
    /// Only this; may be repeated
    #[arg(long = "case", value_enum)]
    cases: Vec<Case>,

    /// How many rounds
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    /// How long each contestant runs in a round, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(20..=10_000))]
    slice: u64,

    /// Only this contestant of one-thread and two-workers, for a profiler; may be repeated
    #[arg(long = "only", value_enum)]
    only: Vec<Who>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Case {
    /// 64 callers over 16 connections on a runtime of one thread, beside 16 that own theirs
    OneThread,
    /// The same on two workers
    TwoWorkers,
    /// One caller's latency, beside a bare socket's
    Latency,
    /// Encoding and decoding by each framing, beside a loop over slices
    Codec,
    /// Memory per idle session, and the processor time of heartbeats
    Idle,
    /// 64 callers over 16 connections, beside Node with generic-pool; needs node and npm
    Node,
}

const ALL: [Case; 6] = [
    Case::OneThread,
    Case::TwoWorkers,
    Case::Latency,
    Case::Codec,
    Case::Idle,
    Case::Node,
];

pub(crate) fn exchange(arguments: &ExchangeArguments) -> anyhow::Result<()> {
    let slice = Duration::from_millis(arguments.slice);
    for case in ALL {
        if !arguments.cases.is_empty() && !arguments.cases.contains(&case) {
            continue;
        }
        match case {
            Case::OneThread => throughput("one thread", &one_thread()?, arguments)?,
            Case::TwoWorkers => throughput("two workers", &two_workers()?, arguments)?,
            Case::Latency => latency(arguments.rounds, slice)?,
            Case::Codec => crate::codec::codec(arguments.rounds)?,
            Case::Idle => crate::streams::idle_sessions(arguments.rounds)?,
            Case::Node => match node::missing() {
                // Named, it is wanted; else it is run where it can be.
                Some(missing) if arguments.cases.is_empty() => {
                    println!("\nnot beside Node: {missing}")
                }
                _ => beside_node(arguments.rounds, slice)?,
            },
        }
    }
    Ok(())
}

/// Who exchanges.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Who {
    /// 16 callers, each with a socket of its own
    Bare,
    Millpond,
    Deadpool,
    /// Deadpool with a deadline for waiting and one for the exchange, of 30 s each, as ours has one
    /// for both
    DeadpoolDeadlines,
    Bb8,
}

impl Who {
    const ALL: [Who; 5] = [
        Who::Bare,
        Who::Millpond,
        Who::Deadpool,
        Who::DeadpoolDeadlines,
        Who::Bb8,
    ];

    fn name(self) -> &'static str {
        match self {
            Who::Bare => "16 own a socket",
            Who::Millpond => "millpond",
            Who::Deadpool => "deadpool",
            Who::DeadpoolDeadlines => "its deadlines set",
            Who::Bb8 => "bb8",
        }
    }
}

/// What a client of ours has where nobody says how long.
const DEADLINE: Duration = Duration::from_secs(30);

struct BareManager(SocketAddr);

impl deadpool::managed::Manager for BareManager {
    type Type = Bare;
    type Error = std::io::Error;

    async fn create(&self) -> Result<Bare, std::io::Error> {
        Bare::connect(self.0).await
    }

    async fn recycle(
        &self,
        _: &mut Bare,
        _: &deadpool::managed::Metrics,
    ) -> deadpool::managed::RecycleResult<std::io::Error> {
        Ok(())
    }
}

impl bb8::ManageConnection for BareManager {
    type Connection = Bare;
    type Error = std::io::Error;

    async fn connect(&self) -> Result<Bare, std::io::Error> {
        Bare::connect(self.0).await
    }

    async fn is_valid(&self, _: &mut Bare) -> Result<(), std::io::Error> {
        Ok(())
    }

    fn has_broken(&self, _: &mut Bare) -> bool {
        false
    }
}

/// A caller of a pool whose connections are used by hand.
struct FromDeadpool(deadpool::managed::Pool<BareManager>);

impl Caller for FromDeadpool {
    async fn exchange(&mut self, body: &[u8]) -> anyhow::Result<impl AsRef<[u8]> + Send> {
        let mut lent = lent(self.0.get().await)?;
        Ok(lent.exchange(body).await?)
    }
}

/// The same, within deadlines.
struct WithDeadlines(FromDeadpool);

impl Caller for WithDeadlines {
    async fn exchange(&mut self, body: &[u8]) -> anyhow::Result<impl AsRef<[u8]> + Send> {
        let FromDeadpool(pool) = &self.0;
        let mut lent = lent(pool.get().await)?;
        Ok(tokio::time::timeout(DEADLINE, lent.exchange(body)).await??)
    }
}

type Lent = deadpool::managed::Object<BareManager>;

fn lent<E: std::fmt::Display>(lent: Result<Lent, E>) -> anyhow::Result<Lent> {
    lent.map_err(|error| anyhow::anyhow!("{error}"))
}

struct FromBb8(bb8::Pool<BareManager>);

impl Caller for FromBb8 {
    async fn exchange(&mut self, body: &[u8]) -> anyhow::Result<impl AsRef<[u8]> + Send> {
        let mut lent = self
            .0
            .get()
            .await
            .map_err(|error| anyhow::anyhow!("{error}"))?;
        Ok(lent.exchange(body).await?)
    }
}

async fn run(who: Who, address: SocketAddr, slice: Duration) -> anyhow::Result<Slice> {
    let at_edge = || ();
    match who {
        Who::Bare => slice_of(slices::owners(address).await?, slice, at_edge).await,
        Who::Millpond => slice_of(slices::exclusive(address, CALLERS)?, slice, at_edge).await,
        Who::Deadpool => {
            let pool = deadpool::managed::Pool::builder(BareManager(address));
            let pool = pool.max_size(CONNECTIONS.into()).build()?;
            let callers = (0..CALLERS).map(|_| FromDeadpool(pool.clone())).collect();
            slice_of(callers, slice, at_edge).await
        }
        Who::DeadpoolDeadlines => {
            let pool = deadpool::managed::Pool::builder(BareManager(address))
                .runtime(deadpool::Runtime::Tokio1)
                .wait_timeout(Some(DEADLINE));
            let pool = pool.max_size(CONNECTIONS.into()).build()?;
            let callers = (0..CALLERS).map(|_| WithDeadlines(FromDeadpool(pool.clone())));
            slice_of(callers.collect(), slice, at_edge).await
        }
        Who::Bb8 => {
            let pool = bb8::Pool::builder().max_size(CONNECTIONS.into());
            let pool = pool.build(BareManager(address)).await?;
            let callers = (0..CALLERS).map(|_| FromBb8(pool.clone())).collect();
            slice_of(callers, slice, at_edge).await
        }
    }
}

fn throughput(title: &str, runtime: &Runtime, arguments: &ExchangeArguments) -> anyhow::Result<()> {
    let (rounds, slice) = (arguments.rounds, Duration::from_millis(arguments.slice));
    let peer = Peer::start()?;
    let only = &arguments.only;
    let wanted = |who: &Who| only.is_empty() || only.contains(who);
    let contestants: Vec<_> = Who::ALL.into_iter().filter(wanted).collect();
    let mut order = contestants.clone();
    let mut seen: Vec<Vec<Slice>> = contestants.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        fastrand::shuffle(&mut order);
        for who in order.iter().copied() {
            let one = runtime.block_on(run(who, peer.address, slice))?;
            let index = contestants.iter().position(|other| *other == who);
            let index = index.expect("listed");
            seen[index].push(one);
        }
    }
    println!(
        "\n{title}: 64 callers over 16 connections, bodies of {BODY} bytes, {rounds} rounds of {slice:?}"
    );
    let ours = contestants.iter().position(|who| *who == Who::Millpond);
    for (who, slices) in contestants.iter().zip(&seen) {
        let rate = Middle::of(slices.iter().map(|slice| slice.per_second)).context("rounds")?;
        let Some(ours) = ours else {
            println!("  {:<16} {:>8.0}/s", who.name(), rate.median);
            continue;
        };
        let pairs = seen[ours].iter().zip(slices);
        let ratio = Middle::of(pairs.map(|(ours, other)| ours.per_second / other.per_second));
        let unfair = Middle::of(slices.iter().map(|slice| slice.unfairness)).context("rounds")?;
        let starved = slices.iter().map(|slice| slice.starved).max();
        let ratio = ratio.context("rounds")?;
        println!(
            "  {:<16} {:>8.0}/s   ours / its: {ratio}   luckiest / unluckiest {:.3}, starved at most {}",
            who.name(),
            rate.median,
            unfair.median,
            starved.unwrap_or(0)
        );
        println!(
            "{}",
            json!({"kind": "exchange", "runtime": title, "who": who.name(), "per_second": rate, "ours_by_its": ratio, "unfairness": unfair, "starved": starved})
        );
    }
    println!(
        "  targets: at least 0.97 × 16 that own a socket, at least 1 × the pools, luckiest at most 1.1 × the unluckiest"
    );
    Ok(())
}

/// Ours on both runtimes, beside a process of Node.
fn beside_node(rounds: u32, slice: Duration) -> anyhow::Result<()> {
    let peer = Peer::start()?;
    let runtimes = [one_thread()?, two_workers()?];
    let mut node = Node::start(peer.address)?;
    let mut seen: [Vec<(Slice, f64)>; 5] = Default::default();
    let mut order = [0, 1, 2, 3, 4];
    for _ in 0..rounds {
        fastrand::shuffle(&mut order);
        for index in order {
            let one = match (index, runtimes.get(index % 2)) {
                (0..2, Some(runtime)) => {
                    let callers = || slices::exclusive(peer.address, CALLERS);
                    runtime.block_on(ours_and_its_cpu(callers, slice))
                }
                (2..4, Some(runtime)) => {
                    let callers = || slices::pipelined(peer.address, CALLERS, 2);
                    runtime.block_on(ours_and_its_cpu(|| Ok(vec![callers()?; CALLERS]), slice))
                }
                _ => node.slice_of(slice),
            };
            seen[index].push(one?);
        }
    }
    println!(
        "\nbeside Node with generic-pool: {CALLERS} callers over {CONNECTIONS} connections, bodies of {BODY} bytes, {rounds} rounds of {slice:?}"
    );
    let [.., theirs] = &seen;
    let names = [
        "millpond, one thread",
        "millpond, two workers",
        "pipelined, over 2",
        "the same, two workers",
        "Node, generic-pool",
    ];
    for (name, slices) in names.into_iter().zip(&seen) {
        let rate =
            Middle::of(slices.iter().map(|(slice, _)| slice.per_second)).context("rounds")?;
        let cpu = Middle::of(slices.iter().map(cpu_per_exchange)).context("rounds")?;
        let pairs = || slices.iter().zip(theirs);
        let ratio = pairs().map(|(one, node)| one.0.per_second / node.0.per_second);
        let ratio = Middle::of(ratio).context("rounds")?;
        let cpu_ratio = pairs().map(|(one, node)| cpu_per_exchange(node) / cpu_per_exchange(one));
        let cpu_ratio = Middle::of(cpu_ratio).context("rounds")?;
        println!(
            "  {name:<22} {:>8.0}/s   by Node's: {ratio}   processor time {:.2} µs each, Node's by it: {cpu_ratio}",
            rate.median, cpu.median
        );
        println!(
            "{}",
            json!({"kind": "node", "who": name, "per_second": rate, "by_node": ratio, "cpu_us": cpu, "node_cpu_by_its": cpu_ratio})
        );
    }
    println!(
        "  target: at least 1.8 times Node's exchanges, pipelined 6 times; processor times are the clients', and suffer least from a busy machine"
    );
    Ok(())
}

/// In microseconds.
fn cpu_per_exchange((slice, cpu_seconds): &(Slice, f64)) -> f64 {
    cpu_seconds * 1e6 / slice.exchanges as f64
}

/// The processor time is this process's, in seconds; the peer is another.
async fn ours_and_its_cpu(
    callers: impl FnOnce() -> anyhow::Result<Vec<Client>>,
    slice: Duration,
) -> anyhow::Result<(Slice, f64)> {
    let mut used = Vec::new();
    let slice = slice_of(callers()?, slice, || {
        used.push(cpu_time::ProcessTime::now())
    })
    .await?;
    let [began, ended] = used[..] else {
        anyhow::bail!("a slice has two edges");
    };
    Ok((slice, ended.duration_since(began).as_secs_f64()))
}

async fn p50_of(who: Who, address: SocketAddr, slice: Duration) -> anyhow::Result<f64> {
    match who {
        Who::Bare => median_of(Bare::connect(address).await?, slice).await,
        _ => median_of(Client::builder(Endpoint::from(address)).build()?, slice).await,
    }
}

fn latency(rounds: u32, slice: Duration) -> anyhow::Result<()> {
    let peer = Peer::start()?;
    for (title, runtime) in [
        ("one thread", one_thread()?),
        ("two workers", two_workers()?),
    ] {
        let (mut ours, mut bare) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let mut order = [Who::Millpond, Who::Bare];
            fastrand::shuffle(&mut order);
            for who in order {
                // Within a worker, as in a program.
                let one = p50_of(who, peer.address, slice);
                let one =
                    runtime.block_on(async { tokio::spawn(one).await.context("it panicked")? })?;
                match who {
                    Who::Millpond => ours.push(one),
                    _ => bare.push(one),
                }
            }
        }
        let ratio =
            Middle::of(ours.iter().zip(&bare).map(|(ours, bare)| ours / bare)).context("rounds")?;
        let (ours, bare) = (
            Middle::of(ours).context("rounds")?,
            Middle::of(bare).context("rounds")?,
        );
        println!(
            "\none caller, {title}: p50 {:.1} µs, a bare socket's {:.1} µs",
            ours.median, bare.median
        );
        println!("  ours / bare {ratio}; target: at most 1.05");
        println!(
            "{}",
            json!({"kind": "latency", "runtime": title, "p50_us": ours, "bare_p50_us": bare, "ratio": ratio})
        );
    }
    Ok(())
}
