//! The acts under load: first many callers over one pool, with a server that behaves badly; then a
//! well-behaved load, once over a pool and once with a connection per request. Each act has its own
//! server and client.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use millpond::{
    client::{Client, HeartbeatTotals, Pipelining, RetryTotals},
    framing::LengthJson,
    net::Dialer,
    pool::PoolSnapshot,
    server::{Handler, Server, ServerBuilder},
};
use tokio::{join, select, time::sleep};

use super::{
    callers::{Manners, PooledCaller, ShortCaller},
    counts,
    error::DemoError,
    error_kind::ErrorKind,
    setup::{Mode, Setup},
    unkind::{Cutting, KindHandler, UnkindHandler},
};
use crate::{
    commands::embedded::{Embedded, ServerError},
    load::{
        callers::{self, Caller},
        recorder::Recorder,
        tally::Tally,
        watch::{Moment, Rate, watched},
    },
    ports::{self, Ports},
    screen::Screen,
    stop::Stop,
};

/// Long enough that a stalled machine isn't taken for a dead peer: that takes 2.5 intervals.
const HEARTBEATS: Duration = Duration::from_secs(4);

/// How long a pool's connections may take to close.
const CLOSE: Duration = Duration::from_secs(1);

/// What the callers of an act have done.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) tally: Tally<ErrorKind>,
    pub(super) took: Duration,
    /// Callers that panicked: none does.
    pub(super) panicked: u64,
}

/// What was seen of the unkind load.
#[derive(Debug)]
pub(super) struct Unkindness {
    pub(super) run: Run,
    /// The pool when the last caller had ended.
    pub(super) pool: PoolSnapshot,
    pub(super) heartbeats: HeartbeatTotals,
    pub(super) retries: RetryTotals,
    pub(super) restart: Restart,
}

/// What became of the server's restart.
#[derive(Debug)]
pub(super) enum Restart {
    /// The load was stopped before the restart.
    NotReached,
    Done,
    Failed(ServerError),
}

/// What was seen of one side of the comparison.
#[derive(Debug)]
pub(super) struct SideRun {
    pub(super) run: Run,
    pub(super) opened: u64,
    /// Sockets left in TIME_WAIT, if the system tells.
    pub(super) time_wait: Option<u32>,
    /// It ended early, since the ports were nearly used up.
    pub(super) ports_used_up: bool,
}

/// Callers that cancel, a server that closes, and one restart of it in the middle.
pub(super) async fn unkind(
    setup: Setup,
    screen: &mut Screen,
    stop: &Stop,
) -> Result<Unkindness, DemoError> {
    let server = Embedded::start(move || {
        limits(Server::builder(UnkindHandler::new(setup.seed)), setup)
            .framing(Cutting(LengthJson::default()))
    })
    .await?;
    let client = client(server.address(), setup)?;
    let restart = async {
        select! {
            () = sleep(setup.length / 2) => match server.restart().await {
                Ok(()) => Restart::Done,
                Err(error) => Restart::Failed(error),
            },
            () = stop.stopped() => Restart::NotReached,
        }
    };
    let (run, restart) = join!(
        pooled(&client, setup, Manners::Unkind, screen, stop),
        restart
    );
    screen.keep();
    Ok(Unkindness {
        run,
        pool: client.pool().snapshot(),
        heartbeats: client.pool().connector().heartbeats(),
        retries: client.retries(),
        restart,
    })
}

/// Good manners, over a pool.
pub(super) async fn kind(
    setup: Setup,
    screen: &mut Screen,
    stop: &Stop,
) -> Result<SideRun, DemoError> {
    let server = Embedded::start(move || limits(Server::builder(KindHandler), setup)).await?;
    let client = client(server.address(), setup)?;
    let run = pooled(&client, setup, Manners::Kind, screen, stop).await;
    screen.keep();
    let opened = client.pool().snapshot().totals.opened;
    // No connection is lent any more. What doesn't close in time is closed by the end of the
    // server.
    let _ = client.pool().close(CLOSE).await;
    Ok(SideRun {
        run,
        opened,
        time_wait: ports::time_wait(server.address()).await,
        ports_used_up: false,
    })
}

/// Good manners, and a connection per request. Stops before the machine's ports towards the server
/// are used up: other programs need some as well.
pub(super) async fn short(
    setup: Setup,
    screen: &mut Screen,
    stop: &Stop,
) -> Result<SideRun, DemoError> {
    let server = Embedded::start(move || limits(Server::builder(KindHandler), setup)).await?;
    let ports = Ports::towards(server.address()).await;
    let dialer = Arc::new(Dialer::new(server.address().into()));
    let caller = |number| ShortCaller::new(Arc::clone(&dialer), number, setup.seed);
    let run = run(setup, caller, Some(&ports), screen, stop, counts::short).await;
    screen.keep();
    Ok(SideRun {
        opened: run.tally.requests(),
        run,
        time_wait: ports::time_wait(server.address()).await,
        ports_used_up: ports.are_used_up(),
    })
}

async fn pooled(
    client: &Client,
    setup: Setup,
    manners: Manners,
    screen: &mut Screen,
    stop: &Stop,
) -> Run {
    let caller = |number| PooledCaller::new(client.clone(), manners, number, setup.seed);
    let counts = |at, _, rate, width| counts::pooled(at, &client.snapshot(), rate, width);
    run(setup, caller, None, screen, stop, counts).await
}

/// Runs the load and shows its counts, at least once. `counts` makes the line from the time, the
/// requests that are over, their rate per second, and the width.
async fn run<C: Caller<Kind = ErrorKind>>(
    setup: Setup,
    caller: impl FnMut(u32) -> C,
    ports: Option<&Ports>,
    screen: &mut Screen,
    stop: &Stop,
    counts: impl Fn(Duration, u64, f64, usize) -> String,
) -> Run {
    let recorder = Arc::new(Recorder::default());
    let running = callers::run(setup.load(), caller, ports, &recorder, stop);
    let (began, mut rate, mut is_shown) = (Instant::now(), Rate::default(), false);
    let finished = watched(running, screen.cadence(), |moment| {
        if moment == Moment::End && is_shown {
            return;
        }
        is_shown = true;
        let (at, over) = (began.elapsed(), recorder.ended());
        let line = counts(at, over, rate.since(at, over), screen.width());
        screen.counts(&line);
    })
    .await;
    Run {
        tally: recorder.tally(),
        took: finished.took,
        panicked: finished.panics.len() as u64,
    }
}

fn client(server: SocketAddr, setup: Setup) -> Result<Client, DemoError> {
    let builder = Client::builder(server.into())
        .heartbeat_interval(HEARTBEATS)
        .pool(move |pool| {
            pool.name("demo")
                .max_size(setup.connections)
                .max_waiting(setup.callers)
        });
    let builder = match setup.mode {
        Mode::Exclusive => builder,
        Mode::Pipelined => builder.pipelined(Pipelining::default()),
    };
    Ok(builder.build()?)
}

/// Raises the server's limits: here all connections come from one address, and short ones overlap
/// with those that are closing.
fn limits<H: Handler>(builder: ServerBuilder<H>, setup: Setup) -> ServerBuilder<H> {
    let most = setup.connections.max(setup.callers) as usize;
    builder
        .heartbeat_interval(HEARTBEATS)
        .max_connections(4 * most + 64)
        .max_connections_per_address(None)
        .max_handled(4 * most + 64)
}
