//! The ways to get a connection that are compared: one of its own for each request, or one of a
//! pool. A request goes out, its reply comes back and is looked at; how often, when, and how long
//! it took is others' business.

use std::{
    error::Error,
    io,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use millpond::{
    Chain,
    client::{Client, ErrorReplies, Loss, Pipelining, RequestError},
    framing::{Direction, FrameError, Framing, Scan, Step, json},
    net::{
        ConnectError, Dialer, Stream, TcpOptions,
        tls::{Side, TlsError},
    },
    pool::{AcquireError, BuildError},
};
use nix::errno::Errno;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use super::{
    plan::Plan,
    results::{ErrorKind, Mode},
    tally::Miss,
    wire::Wire,
};
use crate::{commands::in_flags, numbers::counted, text::span};

/// Room for a reply at first; it grows.
const REPLY: usize = 1024;

/// A way to get a connection. Clones share what it has.
#[derive(Clone)]
pub(super) struct Contender {
    way: Way,
    request: Arc<Request>,
}

#[derive(Clone)]
enum Way {
    Short(Arc<Short>),
    Pooled(Client<Wire>),
}

/// What is sent, and what is asked of the reply.
pub(super) struct Request {
    pub(super) body: Vec<u8>,
    /// What the reply's body must be.
    pub(super) expected: Option<Vec<u8>>,
    pub(super) deadline: Duration,
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

    /// One request and its reply.
    pub(super) async fn exchange(&self) -> Result<(), Miss> {
        let request = &*self.request;
        let reply = match &self.way {
            Way::Short(short) => short.exchange(request).await?,
            Way::Pooled(client) => client
                .within(request.deadline)
                .exchange(&request.body)
                .await
                .map_err(|error| Miss::of_request(&error))?,
        };
        request.judge(&reply)
    }

    /// Connections opened so far.
    pub(super) fn opened(&self) -> u64 {
        match &self.way {
            Way::Short(short) => short.opened.load(Ordering::Relaxed),
            Way::Pooled(client) => client.snapshot().totals.opened,
        }
    }

    /// Connections that are open, or being opened.
    pub(super) fn connections(&self) -> u64 {
        match &self.way {
            Way::Short(short) => short.open.load(Ordering::Relaxed),
            Way::Pooled(client) => {
                let pool = client.snapshot();
                (pool.idle + pool.active + pool.connecting + pool.checking + pool.closing) as u64
            }
        }
    }

    /// Closes what is open.
    pub(super) async fn close(&self, within: Duration) {
        if let Way::Pooled(client) = &self.way {
            // Nothing is lent any more, or it was cut short: what isn't closed in time the end of
            // the program closes.
            let _ = client.pool().close(within).await;
        }
    }
}

impl Request {
    fn judge(&self, reply: &[u8]) -> Result<(), Miss> {
        let Some(expected) = &self.expected else {
            return Ok(());
        };
        if reply == expected {
            return Ok(());
        }
        const SHOWN: usize = 60;
        let shown = String::from_utf8_lossy(&reply[..reply.len().min(SHOWN)]);
        let rest = if reply.len() > SHOWN { "…" } else { "" };
        Err(Miss {
            kind: ErrorKind::Protocol,
            said: format!("the reply isn't what --expect says: {shown}{rest}"),
        })
    }
}

/// A dialer that sets up what every connection of a benchmark needs.
pub(super) fn dialer(plan: &Plan) -> Dialer {
    let dialer = Dialer::new(plan.endpoint.clone());
    match &plan.tls {
        Some(tls) => dialer.tls(tls.clone()),
        None => dialer,
    }
}

fn client(plan: &Plan, pipelining: Option<Pipelining>) -> Result<Client<Wire>, BuildError> {
    let (connections, callers) = (plan.connections, plan.callers);
    let builder = Client::dialled_by(dialer(plan))
        .framing(plan.wire.clone())
        .deadline(plan.request.deadline)
        .heartbeat_interval(plan.heartbeat)
        .error_replies(match plan.wire {
            Wire::LengthJson(_) => ErrorReplies::AreErrors,
            Wire::Raw(_) => ErrorReplies::AreReplies,
        })
        .pool(move |pool| {
            pool.name("bench")
                .max_size(connections)
                .max_waiting(callers)
                // What can't be had is to be counted as an error.
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
    wire: Wire,
    opened: AtomicU64,
    open: AtomicU64,
}

impl Short {
    fn new(plan: &Plan) -> Short {
        Short {
            // What watches over a connection in a long life only costs a short one time.
            dialer: dialer(plan).tcp_options(TcpOptions {
                keepalive: None,
                user_timeout: None,
                ..TcpOptions::default()
            }),
            wire: plan.wire.clone(),
            opened: AtomicU64::new(0),
            open: AtomicU64::new(0),
        }
    }

    async fn exchange(&self, request: &Request) -> Result<Bytes, Miss> {
        let _open = Open::of(&self.open);
        let within = request.deadline;
        timeout(within, self.exchange_untimed(&request.body))
            .await
            .unwrap_or_else(|_| {
                Err(Miss {
                    kind: ErrorKind::TimedOut,
                    said: format!("no reply within {}", span(within)),
                })
            })
    }

    async fn exchange_untimed(&self, body: &[u8]) -> Result<Bytes, Miss> {
        let mut stream = self
            .dialer
            .dial()
            .await
            .map_err(|error| Miss::of_connecting(&error, Chain(&error).to_string()))?
            .stream;
        self.opened.fetch_add(1, Ordering::Relaxed);
        let reply = exchange_over(&mut stream, &self.wire, body).await;
        stream.close();
        reply
    }
}

/// One exchange over a stream that nobody else uses.
async fn exchange_over(stream: &mut Stream, wire: &Wire, body: &[u8]) -> Result<Bytes, Miss> {
    let mut frame = Vec::new();
    wire.encode(Direction::Request, body, &mut frame)
        .map_err(no_frame)?;
    let (mut from, mut to) = tokio::io::split(stream);
    let mut reading = pin!(read_reply(&mut from, wire));
    // A server that begins to reply before it has read all must not be kept from that.
    tokio::select! {
        biased;
        written = to.write_all(&frame) => match written {
            Ok(()) => reading.await,
            // It may have said why before it closed.
            Err(error) => reading.await.map_err(|_| lost(error)),
        },
        replied = &mut reading => replied,
    }
}

fn lost(error: io::Error) -> Miss {
    let refusal = TlsError::of_stream(&error, Side::Client).filter(TlsError::is_refusal);
    if let Some(refusal) = refusal {
        return Miss::of_connecting(
            &refusal,
            format!("the server refused the connection: {refusal}"),
        );
    }
    Miss {
        kind: ErrorKind::Lost,
        said: format!(
            "the connection was lost before the reply came: {}",
            Chain(&error)
        ),
    }
}

/// What is added where a reply was too long: no flag raises the limit.
fn in_bench(error: &FrameError) -> &'static str {
    match error {
        FrameError::TooLong { .. } => ", and bench takes no longer ones",
        _ => "",
    }
}

fn no_frame(error: FrameError) -> Miss {
    Miss {
        kind: ErrorKind::Protocol,
        said: format!("the reply can't be read: {error}{}", in_bench(&error)),
    }
}

async fn read_reply(stream: &mut (impl AsyncRead + Unpin), wire: &Wire) -> Result<Bytes, Miss> {
    let mut received = Vec::with_capacity(REPLY);
    let mut scan = Scan::default();
    loop {
        match wire
            .next(Direction::Reply, &received, &mut scan)
            .map_err(no_frame)?
        {
            Step::Frame(extent)
                if matches!(wire, Wire::Raw(_)) && received.len() > extent.length() =>
            {
                return Err(Miss {
                    kind: ErrorKind::Protocol,
                    said: format!(
                        "{} came behind what --expect says is the whole reply",
                        counted(
                            (received.len() - extent.length()) as u64,
                            "more byte",
                            "more bytes"
                        )
                    ),
                });
            }
            Step::Frame(extent) => {
                let reply = Bytes::from(received).slice(extent.head..extent.head + extent.body);
                return refused(wire, &reply).map_or(Ok(reply), Err);
            }
            Step::Heartbeat { length } => {
                received.drain(..length);
                scan.reset();
            }
            Step::More { .. } => {
                if stream.read_buf(&mut received).await.map_err(lost)? == 0 {
                    return Err(lost(io::Error::other("the peer closed it")));
                }
            }
        }
    }
}

/// The error that a reply is, if it is one.
fn refused(wire: &Wire, reply: &[u8]) -> Option<Miss> {
    let error = match wire {
        Wire::LengthJson(_) => json::as_error_reply(reply)?,
        Wire::Raw(_) => return None,
    };
    Some(Miss {
        kind: ErrorKind::ErrorReply,
        said: format!("the server answered with an error: {error}"),
    })
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

impl Miss {
    fn of_request(error: &RequestError) -> Miss {
        let said = Chain(error).to_string();
        match error {
            RequestError::Acquire(AcquireError::Unavailable { .. }) => {
                Miss::of_connecting(error, said)
            }
            RequestError::Acquire(AcquireError::TimedOut(_)) | RequestError::TimedOut { .. } => {
                Miss {
                    kind: ErrorKind::TimedOut,
                    said,
                }
            }
            RequestError::Lost {
                cause: Loss::Refused(refusal),
                ..
            } => Miss::of_connecting(
                error,
                format!("the server refused the connection: {refusal}"),
            ),
            RequestError::Lost { .. } => Miss {
                kind: ErrorKind::Lost,
                said,
            },
            RequestError::NoFrame(frame) => Miss {
                kind: ErrorKind::Protocol,
                said: said + in_bench(frame),
            },
            RequestError::Reply(_) | RequestError::NotPipelining { .. } => Miss {
                kind: ErrorKind::Protocol,
                said,
            },
            RequestError::Refused(_) => Miss {
                kind: ErrorKind::ErrorReply,
                said,
            },
            _ => Miss {
                kind: ErrorKind::Other,
                said,
            },
        }
    }

    /// What kept a connection from being opened is at the end of the error's sources.
    fn of_connecting(error: &(dyn Error + 'static), said: String) -> Miss {
        let causes = std::iter::successors(Some(error), |&error| error.source());
        let code = causes
            .filter_map(|cause| cause.downcast_ref::<io::Error>())
            .find_map(io::Error::raw_os_error);
        let kind = match code.map(Errno::from_raw) {
            Some(Errno::EADDRNOTAVAIL) => ErrorKind::PortsUsedUp,
            Some(Errno::EMFILE | Errno::ENFILE) => ErrorKind::DescriptorsUsedUp,
            _ => ErrorKind::Connect,
        };
        let said = in_flags(&said);
        Miss { kind, said }
    }
}

/// The first contact: whether the server can be reached and answers as it should, before there is
/// any load, and at which address.
pub(super) async fn first_contact(plan: &Plan) -> Result<Option<SocketAddr>, FirstContact> {
    let contact = async {
        let dialled = dialer(plan).dial().await;
        let mut stream = dialled.map_err(FirstContact::Unreachable)?.stream;
        let address = stream.peer_addr();
        let reply = exchange_over(&mut stream, &plan.wire, &plan.request.body).await;
        stream.close();
        let judged = reply.and_then(|reply| plan.request.judge(&reply));
        judged.map(|()| address).map_err(FirstContact::NoReply)
    };
    let within = plan.request.deadline;
    timeout(within, contact)
        .await
        .unwrap_or_else(|_| Err(FirstContact::TimedOut { within }))
}

/// Why there is nothing to measure.
#[derive(Debug)]
pub(super) enum FirstContact {
    Unreachable(ConnectError),
    NoReply(Miss),
    TimedOut { within: Duration },
}

#[cfg(test)]
mod tests {
    use millpond::framing::LengthJson;

    use super::*;

    #[test]
    fn a_reply_that_is_too_long_is_told_without_a_setting_that_bench_does_not_have() {
        let wire =
            Wire::LengthJson(LengthJson::default().limit_named("a setting of whatever name"));
        let step = wire.next(
            Direction::Reply,
            b"length:0000002000000",
            &mut Scan::default(),
        );
        let error = step.expect_err("2,000,000 bytes are too many");
        for miss in [
            no_frame(error.clone()),
            Miss::of_request(&RequestError::NoFrame(error)),
        ] {
            let told = "a body of 2,000,000 bytes is longer than the limit of 1,048,576, and bench takes no longer ones";
            assert!(miss.said.ends_with(told), "{}", miss.said);
        }
    }
}
