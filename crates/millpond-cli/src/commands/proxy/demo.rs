//! `proxy --demo`: the same clients, with a connection for each request, against the same upstream:
//! direct, and through a route. In turns, so that whatever else the machine does hits both.

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use millpond::{
    Chain,
    client::Client,
    framing::{Failure, Framing, LengthJson},
    net::{Dialer, Endpoint},
    proxy::Route,
    server::{ConnectionHandler, Reply, Request, Server, ServerBuilder},
};
use serde::Serialize;

use crate::{
    commands::{
        embedded::{Embedded, ServerError},
        events::VERSION,
        form::Form,
    },
    complaint::Complaint,
    descriptors::Shortage,
    exit::Exit,
    load::{
        Limit, Load,
        callers::{self, Caller},
        exchange::exchange,
        recorder::Recorder,
        tally::{Miss, MissKind, Tally},
        threads,
        tokens::{TokenRequests, Verdict, reply_to},
    },
    numbers::{counted, rate, rounded, span, thousands},
    output,
    ports::Ports,
    stop::Stop,
};

const CLIENTS: u32 = 200;
const CONNECTIONS: u32 = 8;

/// How often each side has its turn, and for how long: both together within seconds.
const TURNS: usize = 5;
const TURN: Duration = Duration::from_millis(600);

/// Far above what is needed; both sides of every connection are in this process.
const AT_ONCE: usize = 10_000;

/// Why a request brought no right reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// The reply was that of another request.
    Wrong,
    /// There was none.
    Failed,
    CutShort,
    NotSent,
}

impl MissKind for Kind {
    const NOT_SENT: Self = Kind::NotSent;
    const CUT_SHORT: Self = Kind::CutShort;

    fn calls_for_a_pause(self) -> bool {
        self == Kind::Failed
    }
}

/// A client with a connection for each request.
struct ShortClient {
    dialer: Arc<Dialer>,
    rng: fastrand::Rng,
    requests: TokenRequests,
}

impl Caller for ShortClient {
    type Kind = Kind;

    async fn exchange(&mut self) -> Result<(), Miss<Kind>> {
        let failed = |text| Miss {
            kind: Kind::Failed,
            text,
        };
        let request = self.requests.next(&mut self.rng);
        let dialled = self.dialer.dial().await;
        let stream = dialled.map_err(|error| failed(Chain(&error).to_string()))?;
        let replied = exchange(stream.stream, LengthJson::default(), &request.body()).await;
        let reply = replied.map_err(|error| failed(Chain(&error).to_string()))?;
        match request.check(&reply.body) {
            Verdict::Right => Ok(()),
            Verdict::Wrong => Err(Miss {
                kind: Kind::Wrong,
                text: String::from("the reply was that of another request"),
            }),
        }
    }
}

/// The upstream: answers tokens, and counts the connections that it takes.
#[derive(Clone, Default)]
struct Upstream {
    accepted: Arc<AtomicU64>,
}

impl ConnectionHandler for Upstream {
    type Connection = ();

    fn connected(&self, _: Option<SocketAddr>) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    async fn handle(&self, (): &(), request: Request) -> Result<Reply, Failure> {
        let reply = reply_to(request.body());
        reply
            .map(Reply::from)
            .map_err(|_| Failure::refused("this is no request of the demo"))
    }
}

/// What was measured.
#[derive(Serialize)]
struct Outcome {
    version: u32,
    clients: u32,
    max_size: u32,
    turns: usize,
    direct: Measured,
    proxied: Measured,
    /// Of the rates' medians: the route's, divided by that of direct connections.
    rate_ratio: f64,
    /// Ended early: fewer turns than planned.
    interrupted: bool,
}

/// One side of it. Medians of its turns, and sums.
#[derive(Default, Serialize)]
struct Measured {
    rate: f64,
    p50_us: u64,
    p99_us: u64,
    replies_ok: u64,
    upstream_connections: u64,
    wrong: u64,
    failed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    example: Option<String>,
    #[serde(skip)]
    turns: Vec<(f64, u64, u64)>,
}

impl Measured {
    fn add(&mut self, tally: &Tally<Kind>, took: Duration, accepted: u64) {
        self.replies_ok += tally.replies_ok;
        self.wrong += tally.missed(Kind::Wrong);
        self.failed += tally.missed(Kind::Failed);
        self.upstream_connections += accepted;
        self.example = self
            .example
            .take()
            .or_else(|| tally.examples.values().next().cloned());
        let rate = tally.replies_ok as f64 / took.as_secs_f64();
        self.turns
            .push((rate, tally.latency_us(0.5), tally.latency_us(0.99)));
    }

    fn settle(&mut self) {
        let mut rates: Vec<_> = self.turns.iter().map(|turn| turn.0).collect();
        rates.sort_by(f64::total_cmp);
        let middle = |mut all: Vec<u64>| {
            all.sort_unstable();
            all.get(all.len() / 2).copied().unwrap_or(0)
        };
        self.rate = rounded(rates.get(rates.len() / 2).copied().unwrap_or(0.0), 1);
        self.p50_us = middle(self.turns.iter().map(|turn| turn.1).collect());
        self.p99_us = middle(self.turns.iter().map(|turn| turn.2).collect());
    }
}

pub(super) fn run(form: Form) -> Result<Exit, Complaint> {
    if let Some(shortage) = Shortage::of(u64::from(4 * CLIENTS)) {
        return Err(Complaint::usage(format!(
            "{CLIENTS} clients need {} descriptors, since both ends of each connection are here, and {shortage}",
            thousands(shortage.needed),
        )));
    }
    let failed = |error: &dyn fmt::Display| Complaint::of(Exit::Failure, error);
    let runtime = threads::runtime(threads::by_default()).map_err(|error| failed(&error))?;
    let stop = Stop::new();
    stop.raise_at_signals(runtime.handle());
    if let Form::Text = form {
        let words = format!(
            "{CLIENTS} clients, each with a connection per request: direct to an upstream, and through a\n\
             route with {CONNECTIONS} connections to it, in turns; takes {} s.\n\n",
            (2 * TURNS as u32 * TURN).as_secs()
        );
        output::write(words.as_bytes(), Exit::Ok)?;
    }
    let outcome = runtime
        .block_on(measured(&stop))
        .map_err(|error| failed(&error))?;
    let text = format!("{}\n", form.line(&outcome));
    let is_well = outcome.direct.wrong + outcome.proxied.wrong == 0 && outcome.proxied.failed == 0;
    let exit = match (outcome.interrupted, is_well) {
        (true, _) => Exit::Interrupted,
        (false, true) => Exit::Ok,
        (false, false) => Exit::Failure,
    };
    output::write(text.as_bytes(), exit)
}

async fn measured(stop: &Stop) -> Result<Outcome, String> {
    let told = |error: ServerError| Chain(&error).to_string();
    let upstream = Upstream::default();
    let handler = upstream.clone();
    let direct_at = Embedded::start(move || for_all(Server::builder(handler.clone())));
    let direct_at = direct_at.await.map_err(told)?;
    let to = Endpoint::from(direct_at.address());
    let route_at = Embedded::start(move || {
        let client = Client::builder(to.clone()).pool(|pool| pool.max_size(CONNECTIONS));
        for_all(Route::to(client.build().expect("valid settings")).server())
    });
    let route_at = route_at.await.map_err(told)?;
    let (mut direct, mut proxied) = (Measured::default(), Measured::default());
    for _ in 0..TURNS {
        for (measured, at) in [(&mut direct, &direct_at), (&mut proxied, &route_at)] {
            if !stop.is_stopped() {
                turn(measured, at.address(), &upstream, stop).await;
            }
        }
    }
    direct.settle();
    proxied.settle();
    Ok(Outcome {
        version: VERSION,
        clients: CLIENTS,
        max_size: CONNECTIONS,
        turns: TURNS,
        rate_ratio: match direct.rate > 0.0 {
            true => rounded(proxied.rate / direct.rate, 2),
            false => 0.0,
        },
        direct,
        proxied,
        interrupted: stop.is_stopped(),
    })
}

/// A server that takes all clients, who all come from one address.
fn for_all<H: ConnectionHandler, F: Framing>(server: ServerBuilder<H, F>) -> ServerBuilder<H, F> {
    server
        .max_connections(AT_ONCE)
        .max_connections_per_address(None)
}

async fn turn(measured: &mut Measured, to: SocketAddr, upstream: &Upstream, stop: &Stop) {
    let accepted = || upstream.accepted.load(Ordering::Relaxed);
    let before = accepted();
    let recorder = Arc::new(Recorder::default());
    let load = Load {
        callers: CLIENTS,
        limit: Limit::Time(TURN),
        rate: None,
        patience: TURN,
        stop_grace: TURN,
    };
    let ports = Ports::towards(to).await;
    let dialer = Arc::new(Dialer::new(Endpoint::from(to)));
    let client = |number: u32| ShortClient {
        dialer: Arc::clone(&dialer),
        rng: fastrand::Rng::new(),
        requests: TokenRequests::of(number),
    };
    let finished = callers::run(load, client, Some(&ports), &recorder, stop).await;
    let took = finished.took_or_panic();
    measured.add(&recorder.tally(), took, accepted() - before);
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (direct, proxied) = (&self.direct, &self.proxied);
        writeln!(f, "{:<26}{:>12}{:>16}", "", "direct", "through a route")?;
        let of = |measured: fn(&Measured) -> String| (measured(direct), measured(proxied));
        for (what, (direct, proxied)) in [
            ("requests per second", of(|of| rate(of.rate))),
            ("p50", of(|of| span(of.p50_us))),
            ("p99", of(|of| span(of.p99_us))),
            ("right replies", of(|of| thousands(of.replies_ok))),
            ("wrong replies", of(|of| thousands(of.wrong))),
            ("no reply", of(|of| thousands(of.failed))),
            (
                "connections upstream took",
                of(|of| thousands(of.upstream_connections)),
            ),
        ] {
            writeln!(f, "{what:<26}{direct:>12}{proxied:>16}")?;
        }
        write!(
            f,
            "\nThrough the route {} times as many requests, and {} opened to the\n\
             upstream instead of {}. Medians of {} turns each; clients, route and\n\
             upstream share this machine's {}.",
            self.rate_ratio,
            counted(proxied.upstream_connections, "connection", "connections"),
            thousands(direct.upstream_connections),
            self.turns,
            counted(threads::cores() as u64, "core", "cores"),
        )?;
        for example in [&direct.example, &proxied.example].into_iter().flatten() {
            write!(f, "\nFailed: {}", crate::text::escaped(example))?;
        }
        Ok(())
    }
}
