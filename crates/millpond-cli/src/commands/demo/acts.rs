//! The acts under load: many callers over one pool while the server behaves badly; then good
//! manners all round, over a pool and beside it with a connection per request. Each has a server
//! and a client of its own, and what it saw is handed over whole.

use std::{net::SocketAddr, time::Duration};

use millpond::{
    client::{Client, HeartbeatTotals, Pipelining, RetryTotals},
    framing::LengthJson,
    pool::PoolSnapshot,
    server::{Builder, Handler, Server},
};
use tokio::{join, select, time::sleep};

use super::{
    DemoError, counts,
    embedded::{Embedded, ServerError},
    load::{self, Manners, Plan, Run},
    short,
    summary::Mode,
    unkind::{Cutting, Kind, Unkind},
};
use crate::{
    ports::{self, Ports},
    screen::Screen,
    stop::Stop,
};

/// Long enough that a machine that stalls isn't taken for a dead peer: that takes 2.5 of them.
const HEARTBEATS: Duration = Duration::from_secs(4);

/// How long a pool's connections may take to close.
const CLOSE: Duration = Duration::from_secs(1);

/// How many connections the pool may have, besides the plan.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) plan: Plan,
    pub(super) connections: u32,
    pub(super) mode: Mode,
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
    /// The load was stopped before its time had come.
    NotReached,
    Done,
    Failed(ServerError),
}

/// What was seen of one side of the comparison.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) run: Run,
    pub(super) opened: u64,
    /// Sockets left in TIME_WAIT, if the system tells.
    pub(super) time_wait: Option<u32>,
    /// It ended before its time, since the machine's ports were nearly used up.
    pub(super) ports_used_up: bool,
}

/// Callers that cancel, a server that closes, and one restart of it in the middle.
pub(super) async fn unkind(
    load: Load,
    screen: &mut Screen,
    stop: &Stop,
) -> Result<Unkindness, DemoError> {
    let Load { plan, .. } = load;
    let server = Embedded::start(move || {
        limits(Server::builder(Unkind::new(plan.seed)), load)
            .framing(Cutting(LengthJson::default()))
    })
    .await?;
    let client = client(server.address(), load, "demo")?;
    let restart = async {
        select! {
            () = sleep(plan.length / 2) => match server.restart().await {
                Ok(()) => Restart::Done,
                Err(error) => Restart::Failed(error),
            },
            () = stop.stopped() => Restart::NotReached,
        }
    };
    let (run, restart) = join!(
        pooled(&client, plan, Manners::Unkind, screen, stop),
        restart
    );
    screen.keep();
    Ok(Unkindness {
        run,
        pool: client.snapshot(),
        heartbeats: client.pool().connector().heartbeats(),
        retries: client.retries(),
        restart,
    })
}

/// Good manners, over a pool.
pub(super) async fn kind(load: Load, screen: &mut Screen, stop: &Stop) -> Result<Side, DemoError> {
    let server = Embedded::start(move || limits(Server::builder(Kind), load)).await?;
    let client = client(server.address(), load, "demo")?;
    let run = pooled(&client, load.plan, Manners::Kind, screen, stop).await;
    screen.keep();
    let opened = client.snapshot().totals.opened;
    // Nothing is lent any more; what it can't close in time the server's end closes.
    let _ = client.pool().close(CLOSE).await;
    Ok(Side {
        run,
        opened,
        time_wait: ports::time_wait(server.address()).await,
        ports_used_up: false,
    })
}

/// Good manners, and a connection per request.
pub(super) async fn short(load: Load, screen: &mut Screen, stop: &Stop) -> Result<Side, DemoError> {
    let server = Embedded::start(move || limits(Server::builder(Kind), load)).await?;
    let ports = Ports::towards(server.address()).await;
    let seed = load.plan.seed;
    let caller = |number, until| short::call(ports.clone(), number, seed, until);
    let mut before = Rate::default();
    let run = load::run(load.plan, screen.cadence(), caller, stop, |at, over| {
        let rate = before.since(at, over);
        screen.counts(&counts::short(at, over, rate, screen.width()));
    })
    .await;
    screen.keep();
    Ok(Side {
        opened: run.tally.requests,
        run,
        time_wait: ports::time_wait(server.address()).await,
        ports_used_up: ports.are_used_up(),
    })
}

async fn pooled(
    client: &Client,
    plan: Plan,
    manners: Manners,
    screen: &mut Screen,
    stop: &Stop,
) -> Run {
    let caller = |number, until| load::call(client.clone(), manners, number, plan.seed, until);
    let mut before = Rate::default();
    load::run(plan, screen.cadence(), caller, stop, |at, over| {
        let rate = before.since(at, over);
        screen.counts(&counts::pooled(
            at,
            &client.snapshot(),
            rate,
            screen.width(),
        ));
    })
    .await
}

fn client(server: SocketAddr, load: Load, name: &'static str) -> Result<Client, DemoError> {
    let (connections, callers) = (load.connections, load.plan.callers);
    let builder = Client::builder(server.into())
        .heartbeat_interval(HEARTBEATS)
        .pool(move |pool| pool.name(name).max_size(connections).max_waiting(callers));
    let builder = match load.mode {
        Mode::Exclusive => builder,
        Mode::Pipelined => builder.pipelined(Pipelining::default()),
    };
    Ok(builder.build()?)
}

/// The server's limits are for strangers: here all connections come from one address, and short
/// ones overlap with those that are closing.
fn limits<H: Handler>(builder: Builder<H>, load: Load) -> Builder<H> {
    let most = load.connections.max(load.plan.callers) as usize;
    builder
        .heartbeat_interval(HEARTBEATS)
        .max_connections(4 * most + 64)
        .max_connections_per_address(None)
        .max_handled(4 * most + 64)
}

/// How many per second since the last look.
#[derive(Debug, Default)]
struct Rate {
    at: Duration,
    count: u64,
}

impl Rate {
    fn since(&mut self, at: Duration, count: u64) -> f64 {
        let (time, more) = (at.saturating_sub(self.at), count - self.count.min(count));
        *self = Rate { at, count };
        match time.is_zero() {
            true => 0.0,
            false => more as f64 / time.as_secs_f64(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_that_since_the_last_look() {
        let mut rate = Rate::default();
        assert_eq!(rate.since(Duration::from_millis(100), 50), 500.0);
        assert_eq!(rate.since(Duration::from_millis(600), 100), 100.0);
        assert_eq!(rate.since(Duration::from_millis(600), 100), 0.0);
    }
}
