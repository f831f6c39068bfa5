//! Measures millpond against its peers. `cargo run --release --manifest-path benches/Cargo.toml --
//! pool --help`, and `faults --help`.
//!
//! For `pool`: a machine that does other things besides makes absolute figures worthless. So every
//! round runs each contestant once, for a short slice, in a new random order; what is judged are
//! the ratios within a round.

#![forbid(unsafe_code)]

mod allocations;
mod cases;
mod codec;
mod contestants;
mod exchange;
#[cfg(target_os = "linux")]
mod faults;
mod json_lines;
mod multiplexer;
mod node;
mod peer;
mod pipelined;
mod program;
mod sizes;
mod slices;
mod streams;
mod table;
mod verdict;

use std::{io::IsTerminal, path::PathBuf, time::Duration};

use anyhow::bail;
use clap::{Parser, Subcommand, ValueEnum, builder::PossibleValue};
use serde_json::json;

use self::{
    cases::Case,
    contestants::Who,
    json_lines::JsonLines,
    verdict::{Comparison, Middle, Row, Target},
};

/// Measures millpond against its peers.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The pool against deadpool, bb8, mobc and a semaphore, over connections that do nothing
    Pool(PoolArguments),
    /// What pooled TCP streams cost: system calls per acquire, memory per idle connection
    Streams(streams::StreamsArguments),
    /// Exchanges over loopback: the client beside bare sockets and other pools
    Exchange(exchange::ExchangeArguments),
    /// Several exchanges in flight per connection, over loopback: what a multiplexer written by
    /// hand reaches
    Pipelined(pipelined::PipelinedArguments),
    /// The program `millpond bench`, beside redis-benchmark, against redis-server, nginx and ours
    Program(program::ProgramArguments),
    /// What the processes that the others start are told to be
    #[command(hide = true, subcommand)]
    Role(streams::Role),
    /// The pools against a network that fails, in network namespaces of their own
    ///
    /// Each row plays one fault to millpond, deadpool and bb8 in network namespaces that it makes
    /// for itself; it needs the tools ip, ss, nft and unshare, and root or user namespaces. A
    /// caller whose exchange fails drops its connection, as `?` does. Waits are observed up to
    /// a limit; beyond it, "> 10 s" is printed. Row 31 (TLS) is played to millpond alone, since the
    /// others have no TLS of their own; the second half of row 29 is played to servers. All
    /// rows take five to six minutes. The exit code is 0 whatever the figures say.
    #[cfg(target_os = "linux")]
    Faults(faults::Arguments),
}

/// Every round runs each contestant once, in a new random order. Ratios are taken within a round; a
/// target is met if the interquartile range of its ratios touches it. The exit code is 0 whether
/// targets are met or missed.
#[derive(clap::Args)]
struct PoolArguments {
    /// How many rounds; fewer than 15 say little
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    /// How long each contestant runs in a round, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 150, value_parser = clap::value_parser!(u64).range(5..=10_000))]
    slice: u64,

    /// Only this case; may be repeated
    #[arg(long = "case", value_name = "NAME", value_enum)]
    cases: Vec<Wanted>,

    /// Only these contestants; may be repeated
    #[arg(long = "contestant", value_name = "NAME", value_enum)]
    contestants: Vec<Who>,

    /// Also write JSON lines: one per round and contestant, and one summary per case
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// 3 rounds of 20 ms: shows that everything runs, and nothing else
    #[arg(long, conflicts_with_all = ["rounds", "slice"])]
    quick: bool,

    /// The seed of the contestants' orders; default: a random one
    #[arg(long)]
    seed: Option<u64>,
}

/// What can be asked for with `--case`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Slices(Case),
    Sizes,
}

impl Wanted {
    fn name(self) -> &'static str {
        match self {
            Wanted::Slices(case) => case.name(),
            Wanted::Sizes => "sizes",
        }
    }
}

impl ValueEnum for Wanted {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [Wanted; Case::ALL.len() + 1] = {
            let mut all = [Wanted::Sizes; Case::ALL.len() + 1];
            let mut next = 0;
            while next < Case::ALL.len() {
                all[next] = Wanted::Slices(Case::ALL[next]);
                next += 1;
            }
            all
        };
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let help = match self {
            Wanted::Slices(case) => case.describe(),
            Wanted::Sizes => "the acquire future, and the memory per idle connection",
        };
        Some(PossibleValue::new(self.name()).help(help))
    }
}

fn main() -> anyhow::Result<()> {
    let command = Arguments::parse().command;
    if cfg!(debug_assertions)
        && matches!(
            command,
            Command::Pool(_) | Command::Streams(_) | Command::Exchange(_) | Command::Pipelined(_)
        )
    {
        bail!("a debug build measures nothing: run it with --release");
    }
    match command {
        Command::Pool(arguments) => pool(&arguments),
        #[cfg(target_os = "linux")]
        Command::Faults(arguments) => faults::run(&arguments),
        Command::Streams(arguments) => streams::streams(&arguments),
        Command::Exchange(arguments) => exchange::exchange(&arguments),
        Command::Pipelined(arguments) => pipelined::pipelined(&arguments),
        Command::Program(arguments) => program::program(&arguments),
        Command::Role(role) => streams::play(&role),
    }
}

fn pool(arguments: &PoolArguments) -> anyhow::Result<()> {
    let (rounds, slice) = if arguments.quick {
        (3, 20)
    } else {
        (arguments.rounds, arguments.slice)
    };
    let slice = Duration::from_millis(slice);
    let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..));
    let mut random = fastrand::Rng::with_seed(seed);
    let mut lines = JsonLines::open(arguments.json.as_deref())?;
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let contestants: Vec<Who> = Who::ALL
        .into_iter()
        .filter(|who| arguments.contestants.is_empty() || arguments.contestants.contains(who))
        .collect();

    println!("{rounds} rounds of {slice:?}, {cpus} CPUs, seed {seed}");
    for who in &contestants {
        println!("  {:<18} {}", who.name(), who.describe());
    }
    lines.write(&json!({
        "kind": "run", "rounds": rounds, "slice_ms": slice.as_millis(), "cpus": cpus, "seed": seed,
        "allocations": "counted by a wrapper around the system allocator, which costs allocating contestants a few ns",
    }))?;

    let mut conclusions = Vec::new();
    for &wanted in Wanted::value_variants() {
        if !arguments.cases.is_empty() && !arguments.cases.contains(&wanted) {
            continue;
        }
        let comparisons = match wanted {
            Wanted::Slices(case) => {
                let rows = run(case, &contestants, rounds, slice, &mut random, &mut lines)?;
                let comparisons = verdict::compare(case, &rows);
                table::case(case, &rows, &comparisons);
                lines.write(
                    &json!({ "kind": "summary", "case": case.name(), "comparisons": comparisons }),
                )?;
                comparisons
            }
            Wanted::Sizes => measure_sizes(&contestants, &mut lines)?,
        };
        conclusions.extend(comparisons.into_iter().map(|each| (wanted.name(), each)));
    }
    table::conclusion(&conclusions);
    lines.finish()
}

fn run(
    case: Case,
    contestants: &[Who],
    rounds: u32,
    slice: Duration,
    random: &mut fastrand::Rng,
    lines: &mut JsonLines,
) -> anyhow::Result<Vec<Row>> {
    let progress = std::io::stderr().is_terminal();
    let mut rows = Vec::new();
    let mut order: Vec<Who> = contestants
        .iter()
        .copied()
        .filter(|&who| case.has(who))
        .collect();
    for round in 0..rounds as usize {
        random.shuffle(&mut order);
        if progress {
            eprint!("\r{:<18} round {} of {rounds}  ", case.name(), round + 1);
        }
        for &contestant in &order {
            let row = Row {
                round,
                contestant,
                figures: cases::run(case, contestant, slice),
            };
            let mut line = serde_json::to_value(&row)?;
            line["kind"] = "slice".into();
            line["case"] = case.name().into();
            lines.write(&line)?;
            rows.push(row);
        }
    }
    if progress {
        eprint!("\r{:40}\r", "");
    } else {
        eprintln!("{}: {rounds} rounds done", case.name());
    }
    Ok(rows)
}

fn measure_sizes(contestants: &[Who], lines: &mut JsonLines) -> anyhow::Result<Vec<Comparison>> {
    const MOST: Target = Target::AtMost(256.0);

    let pools = contestants.iter().filter(|&&who| who != Who::Nothing);
    let sizes: Vec<_> = pools.map(|&who| sizes::of(who)).collect();
    let ours = sizes.iter().find(|sizes| sizes.contestant == Who::Millpond);
    let watched = ours.map(|_| sizes::watched());
    let mut comparisons = Vec::new();
    if let (Some(ours), Some(watched)) = (ours, &watched) {
        let bytes = [
            ("bytes of the acquire future", ours.future_bytes as f64),
            ("bytes per idle connection", ours.per_idle_bytes),
            ("bytes per watched connection", watched.watched_bytes),
        ];
        for (what, bytes) in bytes {
            let middle = Middle {
                median: bytes,
                q1: bytes,
                q3: bytes,
            };
            comparisons.push(Comparison::new(what.to_owned(), middle, bytes, Some(MOST)));
        }
    }
    table::sizes(&sizes, watched.as_ref(), &comparisons);
    lines.write(&json!({
        "kind": "summary", "case": "sizes", "sizes": sizes, "watched": watched, "comparisons": comparisons,
    }))?;
    Ok(comparisons)
}
