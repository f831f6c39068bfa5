//! Exchanges over loopback, the server in a process of its own: the client beside sockets that each caller owns, and beside other pools with
//! the framing written by hand. Every round runs each contestant once, in a new random order; ratios are taken within a round.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use clap::ValueEnum;
use hdrhistogram::Histogram;
use millpond::{
    client::Client,
    framing::{Direction, Framing, LengthJson, Scan, Step},
    transport::Endpoint,
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::Runtime,
};

use crate::{
    streams::{Peer, Subject},
    verdict::Middle,
};

/// Bytes of each body.
const BODY: usize = 64;

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
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Case {
    /// 64 callers over 16 connections on a runtime of one thread, beside 16 that own theirs
    OneThread,
    /// The same on two workers
    TwoWorkers,
    /// One caller's latency, beside a bare socket's
    Latency,
    /// Encoding and decoding, beside a loop over slices
    Codec,
    /// Memory per idle session, and the processor time of heartbeats
    Idle,
}

const ALL: [Case; 5] = [
    Case::OneThread,
    Case::TwoWorkers,
    Case::Latency,
    Case::Codec,
    Case::Idle,
];

pub(crate) fn exchange(arguments: &ExchangeArguments) -> anyhow::Result<()> {
    let slice = Duration::from_millis(arguments.slice);
    for case in ALL {
        if !arguments.cases.is_empty() && !arguments.cases.contains(&case) {
            continue;
        }
        match case {
            Case::OneThread => throughput("one thread", &one_thread()?, arguments.rounds, slice)?,
            Case::TwoWorkers => throughput("two workers", &two_workers()?, arguments.rounds, slice)?,
            Case::Latency => latency(arguments.rounds, slice)?,
            Case::Codec => codec(arguments.rounds)?,
            Case::Idle => crate::streams::idle_sessions(arguments.rounds)?,
        }
    }
    Ok(())
}

fn one_thread() -> anyhow::Result<Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?)
}

fn two_workers() -> anyhow::Result<Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?)
}

/// Who exchanges.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    Bare,
    Millpond,
    Deadpool,
    Bb8,
}

impl Who {
    const ALL: [Who; 4] = [Who::Bare, Who::Millpond, Who::Deadpool, Who::Bb8];

    fn name(self) -> &'static str {
        match self {
            Who::Bare => "16 own a socket",
            Who::Millpond => "millpond",
            Who::Deadpool => "deadpool",
            Who::Bb8 => "bb8",
        }
    }

    fn callers(self) -> usize {
        match self {
            Who::Bare => 16,
            _ => 64,
        }
    }
}

/// A socket with the framing written by hand, as a careful program would.
struct Bare {
    stream: TcpStream,
    buffer: Box<[u8; 4096]>,
}

impl Bare {
    async fn connect(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Bare {
            stream,
            buffer: Box::new([0; 4096]),
        })
    }

    async fn exchange(&mut self, body: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut request = format!("length:{:013}", body.len()).into_bytes();
        request.extend_from_slice(body);
        self.stream.write_all(&request).await?;
        let mut filled = 0;
        loop {
            let read = self.stream.read(&mut self.buffer[filled..]).await?;
            if read == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            filled += read;
            if filled >= 20 {
                let digits = std::str::from_utf8(&self.buffer[7..20]).map_err(std::io::Error::other)?;
                let length: usize = digits.parse().map_err(std::io::Error::other)?;
                if filled >= 20 + length {
                    return Ok(self.buffer[20..20 + length].to_vec());
                }
            }
        }
    }
}

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

/// What a slice has brought.
struct Slice {
    per_second: f64,
    /// The luckiest caller's share, by the unluckiest's.
    unfairness: f64,
}

/// All exchanges of a slice are counted per caller, after a warm-up in which every connection is opened.
async fn slice_of(who: Who, address: SocketAddr, slice: Duration) -> anyhow::Result<Slice> {
    let (going, measuring) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
    let counts: Arc<Vec<AtomicU64>> = Arc::new((0..who.callers()).map(|_| AtomicU64::new(0)).collect());
    let client = Client::builder(Endpoint::from(address))
        .pool(|pool| pool.max_size(16))
        .build()?;
    let deadpool = deadpool::managed::Pool::builder(BareManager(address))
        .max_size(16)
        .build()?;
    let bb8 = bb8::Pool::builder()
        .max_size(16)
        .build(BareManager(address))
        .await?;
    let mut callers = Vec::new();
    for caller in 0..who.callers() {
        let (going, measuring, counts) = (Arc::clone(&going), Arc::clone(&measuring), Arc::clone(&counts));
        let (client, deadpool, bb8) = (client.clone(), deadpool.clone(), bb8.clone());
        callers.push(tokio::spawn(async move {
            let body = [b'7'; BODY];
            let mut own = match who {
                Who::Bare => Some(Bare::connect(address).await?),
                _ => None,
            };
            while going.load(Ordering::Relaxed) {
                let length = match (&mut own, who) {
                    (Some(own), _) => own.exchange(&body).await?.len(),
                    (None, Who::Deadpool) => {
                        let lent: Result<deadpool::managed::Object<BareManager>, _> = deadpool.get().await;
                        let mut lent = lent.map_err(|error| anyhow::anyhow!("{error}"))?;
                        lent.exchange(&body).await?.len()
                    }
                    (None, Who::Bb8) => {
                        let mut lent = bb8.get().await.map_err(|error| anyhow::anyhow!("{error}"))?;
                        lent.exchange(&body).await?.len()
                    }
                    (None, _) => client.exchange(&body).await?.len(),
                };
                ensure!(length == BODY, "a reply of {length} bytes");
                if measuring.load(Ordering::Relaxed) {
                    counts[caller].fetch_add(1, Ordering::Relaxed);
                }
            }
            anyhow::Ok(())
        }));
    }
    tokio::time::sleep(slice / 5).await;
    measuring.store(true, Ordering::Relaxed);
    let began = Instant::now();
    tokio::time::sleep(slice).await;
    measuring.store(false, Ordering::Relaxed);
    let elapsed = began.elapsed().as_secs_f64();
    going.store(false, Ordering::Relaxed);
    for caller in callers {
        caller.await.context("a caller panicked")??;
    }
    let counts: Vec<u64> = counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
    let (most, least) = (counts.iter().max().copied(), counts.iter().min().copied());
    Ok(Slice {
        per_second: counts.iter().sum::<u64>() as f64 / elapsed,
        unfairness: most.unwrap_or(0) as f64 / least.unwrap_or(0) as f64,
    })
}

fn throughput(title: &str, runtime: &Runtime, rounds: u32, slice: Duration) -> anyhow::Result<()> {
    let peer = Peer::start()?;
    let mut order = Who::ALL;
    let mut seen: Vec<Vec<Slice>> = Who::ALL.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        fastrand::shuffle(&mut order);
        for who in order {
            let one = runtime.block_on(slice_of(who, peer.address, slice))?;
            let index = Who::ALL.iter().position(|other| *other == who).expect("listed");
            seen[index].push(one);
        }
    }
    println!(
        "\n{title}: 64 callers over 16 connections, bodies of {BODY} bytes, {rounds} rounds of {slice:?}"
    );
    let ours = &seen[1];
    for (who, slices) in Who::ALL.iter().zip(&seen) {
        let rate = Middle::of(slices.iter().map(|slice| slice.per_second)).context("rounds")?;
        let ratio = Middle::of(
            ours.iter()
                .zip(slices)
                .map(|(ours, other)| ours.per_second / other.per_second),
        );
        let unfair = Middle::of(slices.iter().map(|slice| slice.unfairness)).context("rounds")?;
        let ratio = ratio.context("rounds")?;
        println!(
            "  {:<16} {:>8.0}/s   ours / its: {ratio}   luckiest / unluckiest {:.3}",
            who.name(),
            rate.median,
            unfair.median
        );
        println!(
            "{}",
            json!({"kind": "exchange", "runtime": title, "who": who.name(), "per_second": rate, "ours_by_its": ratio, "unfairness": unfair})
        );
    }
    println!(
        "  targets: at least 0.97 × 16 that own a socket, at least 1 × the pools, luckiest at most 1.1 × the unluckiest"
    );
    Ok(())
}

/// The median time of one caller's exchanges, in microseconds.
async fn median_of(subject: Subject, address: SocketAddr, slice: Duration) -> anyhow::Result<f64> {
    let client = Client::builder(Endpoint::from(address)).build()?;
    let mut bare = Bare::connect(address).await?;
    let mut times = Histogram::<u64>::new(3)?;
    let (body, began) = ([b'7'; BODY], Instant::now());
    while began.elapsed() < slice {
        let sent = Instant::now();
        let length = match subject {
            Subject::Bare => bare.exchange(&body).await?.len(),
            _ => client.exchange(&body).await?.len(),
        };
        times.record(u64::try_from(sent.elapsed().as_nanos())?)?;
        ensure!(length == BODY, "a reply of {length} bytes");
    }
    Ok(times.value_at_quantile(0.5) as f64 / 1e3)
}

fn latency(rounds: u32, slice: Duration) -> anyhow::Result<()> {
    let peer = Peer::start()?;
    for (title, runtime) in [("one thread", one_thread()?), ("two workers", two_workers()?)] {
        let (mut ours, mut bare) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let run = |subject| {
                let one = median_of(subject, peer.address, slice);
                match title {
                    "one thread" => runtime.block_on(one),
                    // Within a worker, as in a program.
                    _ => runtime.block_on(async { tokio::spawn(one).await.context("it panicked")? }),
                }
            };
            if fastrand::bool() {
                ours.push(run(Subject::Pool)?);
                bare.push(run(Subject::Bare)?);
            } else {
                bare.push(run(Subject::Bare)?);
                ours.push(run(Subject::Pool)?);
            }
        }
        let ratio = Middle::of(ours.iter().zip(&bare).map(|(ours, bare)| ours / bare)).context("rounds")?;
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

/// As short as it can be written: the header's digits, and the body's place.
fn by_hand(body: &[u8], out: &mut Vec<u8>) -> usize {
    out.extend_from_slice(b"length:");
    let mut digits = [b'0'; 13];
    let mut rest = body.len();
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(rest % 10).expect("a digit");
        rest /= 10;
    }
    out.extend_from_slice(&digits);
    out.extend_from_slice(body);
    assert_eq!(&out[..7], b"length:");
    out[7..20].iter().fold(0, |length, digit| {
        assert!(digit.is_ascii_digit());
        10 * length + usize::from(digit - b'0')
    })
}

fn ours(protocol: &LengthJson, body: &[u8], out: &mut Vec<u8>) -> usize {
    protocol
        .encode(Direction::Request, body, out)
        .expect("short enough");
    match protocol.next(Direction::Request, out, &mut Scan::default()) {
        Ok(Step::Frame(extent)) => extent.body,
        other => panic!("{other:?}"),
    }
}

fn codec(rounds: u32) -> anyhow::Result<()> {
    const TIMES: u32 = 2_000_000;
    let protocol = LengthJson::default();
    let time = |work: &mut dyn FnMut(&[u8], &mut Vec<u8>) -> usize| {
        let (body, mut out) = (std::hint::black_box([b'7'; BODY]), Vec::with_capacity(128));
        let began = Instant::now();
        for _ in 0..TIMES {
            out.clear();
            assert_eq!(std::hint::black_box(work(&body, &mut out)), BODY);
        }
        began.elapsed().as_secs_f64() * 1e9 / f64::from(TIMES)
    };
    let (mut mine, mut hand) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        mine.push(time(&mut |body, out| ours(&protocol, body, out)));
        hand.push(time(&mut by_hand));
    }
    let ratio = Middle::of(mine.iter().zip(&hand).map(|(mine, hand)| mine / hand)).context("rounds")?;
    let (mine, hand) = (
        Middle::of(mine).context("rounds")?,
        Middle::of(hand).context("rounds")?,
    );
    println!(
        "\nencode + decode of {BODY} bytes: {:.1} ns, by hand {:.1} ns",
        mine.median, hand.median
    );
    println!("  ours / by hand {ratio}; target: at most 1.2");
    println!(
        "{}",
        json!({"kind": "codec", "ns": mine, "by_hand_ns": hand, "ratio": ratio})
    );
    Ok(())
}
