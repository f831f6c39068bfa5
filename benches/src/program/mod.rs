//! The program `millpond bench` beside redis-benchmark, and against servers that others have
//! written: redis-server and nginx. Every figure is one that it prints as JSON; what is judged are
//! ratios within a round, or what it was asked for.

mod servers;
mod stalling;

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, ensure};
use clap::ValueEnum;
use serde::Deserialize;

use self::servers::{Nginx, Ours, Redis};
use crate::verdict::{Middle, Target};

/// As many connections as callers, as redis-benchmark has it.
const CLIENTS: &str = "50";

/// Measures the program `millpond bench`, which has to be built before.
///
/// Needs redis-server, redis-benchmark and nginx. It fails if a reply was wrong; whether targets
/// are met or missed changes nothing.
#[derive(clap::Args)]
pub(crate) struct ProgramArguments {
    /// The program
    #[arg(long, value_name = "FILE", default_value = "target/release/millpond")]
    program: PathBuf,

    /// Only this; may be repeated
    #[arg(long = "case", value_enum)]
    cases: Vec<Case>,

    /// How many rounds beside redis-benchmark
    #[arg(long, default_value_t = 11, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    /// How many requests each sends in a round
    #[arg(long, value_name = "COUNT", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1_000..))]
    requests: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Case {
    /// Beside redis-benchmark: the same connections, no pipelining, a closed loop, redis-server
    Redis,
    /// All three modes against our server, redis-server and nginx
    Servers,
    /// The rate that it reaches of the rate that it was asked for
    Rate,
    /// A server that pauses 1 s in 10: an open loop beside a closed one
    Stall,
}

pub(crate) fn program(arguments: &ProgramArguments) -> anyhow::Result<()> {
    let program = Program::of(&arguments.program)?;
    for &case in Case::value_variants() {
        if !arguments.cases.is_empty() && !arguments.cases.contains(&case) {
            continue;
        }
        match case {
            Case::Redis => beside_redis_benchmark(&program, arguments)?,
            Case::Servers => against_servers(&program)?,
            Case::Rate => at_a_rate(&program)?,
            Case::Stall => a_stall(&program)?,
        }
    }
    Ok(())
}

/// `millpond bench`.
struct Program(PathBuf);

/// What it prints, as far as it is read here.
#[derive(Deserialize)]
struct Results {
    modes: Vec<Mode>,
}

#[derive(Deserialize)]
struct Mode {
    mode: String,
    requests: u64,
    replies_ok: u64,
    throughput: f64,
    latency_us: Latency,
    connections_opened: u64,
}

#[derive(Deserialize)]
struct Latency {
    p50: u64,
    p99: u64,
    p99_9: u64,
}

impl Program {
    fn of(path: &Path) -> anyhow::Result<Program> {
        let path = path.canonicalize().with_context(|| {
            format!(
                "{} isn't there: build it with `cargo build --release`, or say where it is with --program",
                path.display()
            )
        })?;
        Ok(Program(path))
    }

    /// Runs it; what it says of each mode. A wrong reply, or none, is an error.
    fn bench(&self, endpoint: &str, arguments: &[&str]) -> anyhow::Result<Vec<Mode>> {
        let output = Command::new(&self.0)
            .args(["bench", "--json", "--to", endpoint])
            .args(arguments)
            .stdin(Stdio::null())
            .output()?;
        ensure!(
            output.status.success(),
            "millpond bench --to {endpoint} {arguments:?} ended with {}: {}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr),
            String::from_utf8_lossy(&output.stdout)
        );
        let results: Results = serde_json::from_slice(&output.stdout)?;
        for mode in &results.modes {
            ensure!(
                mode.requests > 0 && mode.replies_ok == mode.requests,
                "not every reply was right"
            );
        }
        Ok(results.modes)
    }

    fn bench_one(&self, endpoint: &str, arguments: &[&str]) -> anyhow::Result<Mode> {
        let mut modes = self.bench(endpoint, arguments)?;
        modes.pop().context("no mode was measured")
    }
}

/// A server of each kind.
struct Servers {
    ours: Ours,
    redis: Redis,
    nginx: Nginx,
}

impl Servers {
    fn start(program: &Program) -> anyhow::Result<Servers> {
        Ok(Servers {
            ours: Ours::start(&program.0)?,
            redis: Redis::start()?,
            nginx: Nginx::start()?,
        })
    }

    /// Their names, their endpoints, and the flags that say what they speak.
    fn all(&self) -> [(&'static str, &str, &'static [&'static str]); 3] {
        [
            ("millpond serve", self.ours.endpoint(), &[]),
            ("redis-server", self.redis.endpoint(), &Redis::PING),
            ("nginx", self.nginx.endpoint(), &Nginx::GET),
        ]
    }
}

fn beside_redis_benchmark(program: &Program, arguments: &ProgramArguments) -> anyhow::Result<()> {
    let redis = Redis::start()?;
    let requests = arguments.requests.to_string();
    let ours = || -> anyhow::Result<Mode> {
        let shape = [
            "--modes",
            "exclusive",
            "--callers",
            CLIENTS,
            "--connections",
            CLIENTS,
        ];
        let length = ["--threads", "1", "--rounds", "1", "--requests", &requests];
        program.bench_one(
            redis.endpoint(),
            &[&shape[..], &length, &Redis::PING].concat(),
        )
    };
    let mut ratios = Vec::new();
    println!("beside redis-benchmark: {CLIENTS} connections, {requests} × PING a round");
    println!(
        "  {:>14}{:>18}{:>8}{:>12}",
        "millpond bench", "redis-benchmark", "ratio", "p50 (both)"
    );
    for round in 0..arguments.rounds {
        // Neither always comes after the other.
        let (ours, theirs) = match round % 2 {
            0 => {
                let ours = ours()?;
                (ours, redis.benchmark(CLIENTS, &requests)?)
            }
            _ => {
                let theirs = redis.benchmark(CLIENTS, &requests)?;
                (ours()?, theirs)
            }
        };
        let ratio = ours.throughput / theirs.per_second;
        println!(
            "  {:>12.0}/s{:>16.0}/s{ratio:>8.3}{:>6} {:>5.0} µs",
            ours.throughput, theirs.per_second, ours.latency_us.p50, theirs.p50_us
        );
        ratios.push(ratio);
    }
    judge(
        "throughput, of redis-benchmark's",
        ratios,
        Target::AtLeast(0.9),
    );
    Ok(())
}

fn against_servers(program: &Program) -> anyhow::Result<()> {
    let servers = Servers::start(program)?;
    println!("replies a second, all of them right (5 rounds of 0.6 s)");
    for (name, endpoint, spoken) in servers.all() {
        let modes = program.bench(endpoint, &[&["--seconds", "3"], spoken].concat())?;
        for mode in modes {
            println!(
                "  {name:<16}{:<12}{:>10.0}/s  p50 {:>6} µs  p99 {:>6} µs  {:>6} connections",
                mode.mode,
                mode.throughput,
                mode.latency_us.p50,
                mode.latency_us.p99,
                mode.connections_opened
            );
        }
    }
    Ok(())
}

fn at_a_rate(program: &Program) -> anyhow::Result<()> {
    let servers = Servers::start(program)?;
    println!("at a rate");
    for rate in ["100", "5000", "20000"] {
        let mut shares = Vec::new();
        for (_, endpoint, spoken) in servers.all() {
            let paced = ["--modes", "exclusive", "--rate", rate, "--seconds", "5"];
            let mode = program.bench_one(endpoint, &[&paced, spoken].concat())?;
            shares.push(mode.throughput / rate.parse::<f64>()?);
        }
        let shown: Vec<_> = servers
            .all()
            .iter()
            .zip(&shares)
            .map(|((name, ..), share)| format!("{name} {share:.4}"))
            .collect();
        println!("  {rate:>6}/s: of the rate asked for: {}", shown.join(", "));
        judge(
            "furthest from the rate",
            shares.iter().map(|share| (share - 1.0).abs()),
            Target::AtMost(0.01),
        );
    }
    Ok(())
}

fn a_stall(program: &Program) -> anyhow::Result<()> {
    let server = stalling::start()?;
    println!("a server that pauses 1 s in 10, for 20 s");
    for (name, paced) in [
        ("open loop, 500/s", &["--rate", "500"][..]),
        ("closed loop", &[]),
    ] {
        let shape = [
            "--modes",
            "exclusive",
            "--callers",
            "8",
            "--connections",
            "8",
            "--rounds",
            "1",
            "--seconds",
            "20",
        ];
        let mode = program.bench_one(&server, &[&shape, paced, &stalling::SPOKEN].concat())?;
        let latency = mode.latency_us;
        println!(
            "  {name:<18} p50 {:>7} µs, p99 {:>7} µs, p99.9 {:>7} µs",
            latency.p50, latency.p99, latency.p99_9
        );
    }
    Ok(())
}

fn judge(what: &str, values: impl IntoIterator<Item = f64>, target: Target) {
    if let Some(middle) = Middle::of(values) {
        let comparison =
            crate::verdict::Comparison::new(what.to_owned(), middle, middle.q3, Some(target));
        let met = match comparison.met {
            Some(true) => "met",
            _ => "MISSED",
        };
        println!("  {what}: {middle}, aim {target}: {met}");
    }
}
