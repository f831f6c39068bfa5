//! The ways to get a connection that are compared: one of its own for each request, or one of a
//! pool. Sends a request, receives its reply and judges it; how often and when, the load generator
//! decides.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use millpond::{
    client::{Client, ErrorReplies, Pipelining},
    framing::json,
    net::{Dialer, Stream, TcpOptions},
    pool::BuildError,
};
use tokio::time::timeout;

use super::{
    exchange::PlannedExchange,
    framing::ChosenFraming,
    miss,
    plan::Plan,
    results::{ErrorKind, Mode},
};
use crate::{
    load::{callers::Caller, exchange::exchange, tally::Miss},
    numbers::counted,
    text::span,
};

/// A way to get a connection. Clones share it.
#[derive(Clone)]
pub(super) struct Contender {
    way: Way,
    request: Arc<PlannedExchange>,
}

#[derive(Clone)]
enum Way {
    Short(Arc<Short>),
    Pooled(Client<ChosenFraming>),
}

impl Contender {
    pub(super) fn new(mode: Mode, plan: &Plan) -> Result<Contender, BuildError> {
        let way = match mode {
            Mode::Short => Way::Short(Arc::new(Short::new(plan))),
            Mode::Exclusive => Way::Pooled(client(plan, None)?),
            Mode::Pipelined => Way::Pooled(client(plan, Some(Pipelining::default()))?),
        };
        Ok(Contender {
            way,
            request: Arc::clone(&plan.request),
        })
    }

    /// Connections opened so far.
    pub(super) fn opened(&self) -> u64 {
        match &self.way {
            Way::Short(short) => short.opened.load(Ordering::Relaxed),
            Way::Pooled(client) => client.pool().snapshot().totals.opened,
        }
    }

    /// Connections that are open, or being opened.
    pub(super) fn connections(&self) -> u64 {
        match &self.way {
            Way::Short(short) => short.open.load(Ordering::Relaxed),
            Way::Pooled(client) => {
                let pool = client.pool().snapshot();
                (pool.idle + pool.active + pool.connecting + pool.checking + pool.closing) as u64
            }
        }
    }

    /// Closes what is open.
    pub(super) async fn close(&self, within: Duration) {
        if let Way::Pooled(client) = &self.way {
            // No connection is lent any more, unless the load was cut short. What isn't closed in
            // time is closed by the end of the program.
            let _ = client.pool().close(within).await;
        }
    }
}

impl Caller for Contender {
    type Kind = ErrorKind;

    async fn exchange(&mut self) -> Result<(), Miss<ErrorKind>> {
        let request = &*self.request;
        let reply = match &self.way {
            Way::Short(short) => short.exchange(request).await?,
            Way::Pooled(client) => client
                .within(request.deadline)
                .exchange(&request.body)
                .await
                .map_err(|error| miss::of_request(&error))?,
        };
        request.judge(&reply)
    }
}

/// A dialer with what every connection of a benchmark needs.
pub(super) fn dialer(plan: &Plan) -> Dialer {
    let dialer = Dialer::new(plan.endpoint.clone());
    match &plan.tls {
        Some(tls) => dialer.tls(tls.clone()),
        None => dialer,
    }
}

fn client(
    plan: &Plan,
    pipelining: Option<Pipelining>,
) -> Result<Client<ChosenFraming>, BuildError> {
    let (connections, callers) = (plan.connections, plan.callers);
    let builder = Client::dialled_by(dialer(plan))
        .framing(plan.framing.clone())
        .deadline(plan.request.deadline)
        .heartbeat_interval(plan.heartbeat)
        .error_replies(match plan.framing {
            ChosenFraming::Preset {
                carries_json: true, ..
            } => ErrorReplies::AreErrors,
            _ => ErrorReplies::AreReplies,
        })
        .pool(move |pool| {
            pool.name("bench")
                .max_size(connections)
                .max_waiting(callers)
                // A server that is away is counted as errors, not waited for.
                .outage_grace(Duration::ZERO)
        });
    match pipelining {
        Some(pipelining) => builder.pipelined(pipelining).build(),
        None => builder.build(),
    }
}

/// A connection for each request.
struct Short {
    dialer: Dialer,
    framing: ChosenFraming,
    opened: AtomicU64,
    open: AtomicU64,
}

impl Short {
    fn new(plan: &Plan) -> Short {
        Short {
            // These options watch over long-lived connections; a short one would only pay for them.
            dialer: dialer(plan).tcp_options(TcpOptions {
                keepalive: None,
                user_timeout: None,
                ..TcpOptions::default()
            }),
            framing: plan.framing.clone(),
            opened: AtomicU64::new(0),
            open: AtomicU64::new(0),
        }
    }

    async fn exchange(&self, request: &PlannedExchange) -> Result<Bytes, Miss<ErrorKind>> {
        let _open = Open::of(&self.open);
        let within = request.deadline;
        timeout(within, self.exchange_untimed(&request.body))
            .await
            .unwrap_or_else(|_| {
                Err(Miss {
                    kind: ErrorKind::TimedOut,
                    text: format!("no reply within {}", span(within)),
                })
            })
    }

    async fn exchange_untimed(&self, body: &[u8]) -> Result<Bytes, Miss<ErrorKind>> {
        let dialled = self.dialer.dial().await;
        let stream = dialled.map_err(|error| miss::of_dial(&error))?.stream;
        self.opened.fetch_add(1, Ordering::Relaxed);
        exchange_over(stream, &self.framing, body).await
    }
}

/// One exchange over a stream that nobody else uses, which is closed then.
pub(super) async fn exchange_over(
    stream: Stream,
    framing: &ChosenFraming,
    body: &[u8],
) -> Result<Bytes, Miss<ErrorKind>> {
    let replied = exchange(stream, framing.clone(), body).await;
    let reply = replied.map_err(|error| miss::of_exchange(&error))?;
    match framing {
        ChosenFraming::Raw(_) if reply.behind > 0 => Err(Miss {
            kind: ErrorKind::Protocol,
            text: format!(
                "{} came behind what --expect says is the whole reply",
                counted(reply.behind as u64, "more byte", "more bytes")
            ),
        }),
        ChosenFraming::Preset {
            carries_json: true, ..
        } => match json::as_error_reply(&reply.body) {
            Some(error) => Err(Miss {
                kind: ErrorKind::ErrorReply,
                text: format!("the server answered with an error: {error}"),
            }),
            None => Ok(reply.body),
        },
        _ => Ok(reply.body),
    }
}

/// Counts a connection for as long as it lives.
struct Open<'c>(&'c AtomicU64);

impl<'c> Open<'c> {
    fn of(count: &'c AtomicU64) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Open(count)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
