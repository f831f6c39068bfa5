//! The task that accepts connections, owns all their tasks, and ends them. What happens on a
//! connection is its own task's work, and for [`Serve`] to say.

use std::{
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use tokio::{
    runtime,
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use super::{
    ledger::{ConnectionPermit, Ledger, LimitReached},
    running::{Ended, Running},
    settings::{ServeError, ServerSettings},
    snapshot::Closed,
    storms::Event,
};
use millpond_words::Chain;

use crate::net::{Accepted, Listener, Stream};

/// How long connections have to finish when the listener breaks.
const AFTER_FAILURE: Duration = Duration::from_secs(30);

/// How long to wait for tasks that were aborted: one whose handler blocks its thread goes on.
const STOPPING: Duration = Duration::from_secs(1);

/// How many connections of the backlog are taken at most as the drain begins: as many as the
/// listener lets the kernel keep.
const BACKLOG: usize = 4_096;

/// What serves the connections that are accepted.
pub(super) trait Serve: Send + Sync + 'static {
    fn ledger(&self) -> &Arc<Ledger>;

    /// Serves one client until its connection ends. The permit is told why, before the farewell if
    /// there is one.
    fn serve<'s>(
        self: &'s Arc<Self>,
        stream: Stream,
        peer: Option<SocketAddr>,
        permit: &'s mut ConnectionPermit,
    ) -> impl Future<Output = ()> + Send + 's;
}

/// Begins to serve on this runtime, with what the ledger is given to.
///
/// # Errors
///
/// A setting is out of its range; there is no runtime here.
pub(super) fn begin<S: Serve>(
    settings: ServerSettings,
    listener: Listener,
    service: impl FnOnce(Arc<Ledger>) -> S,
) -> Result<Running, ServeError> {
    settings.validate()?;
    let runtime = runtime::Handle::try_current().map_err(|_| ServeError::NoRuntime)?;
    let endpoint = listener.endpoint().map_err(ServeError::Listener)?;
    let workers = runtime.metrics().num_workers();
    let ledger = Arc::new(Ledger::new(settings, endpoint, workers));
    let service = Arc::new(service(Arc::clone(&ledger)));
    let (tell, ended) = watch::channel(None);
    let task = runtime.spawn(run(listener, service, tell));
    Ok(Running::new(ledger, task, ended))
}

/// Serves until it is told to drain, drains, and tells how it has ended. Meanwhile it logs the sums
/// of events that clients have caused.
async fn run<S: Serve>(listener: Listener, service: Arc<S>, tell: watch::Sender<Option<Ended>>) {
    let ledger = Arc::clone(service.ledger());
    let ended = {
        let tell_sum = |event: Event, sum| event.tell(&ledger.endpoint, sum);
        let mut sums = pin!(ledger.storms.tell_sums(tell_sum));
        let mut serving = pin!(serve_all(listener, service));
        poll_fn(|cx| {
            let ended = serving.as_mut().poll(cx);
            let _ = sums.as_mut().poll(cx);
            ended
        })
        .await
        // The last sums are told here, or as this task is aborted.
    };
    let Ended {
        forced, unanswered, ..
    } = ended;
    tracing::info!(target: "millpond::server", endpoint = %ledger.endpoint, forced, unanswered, "the server has ended");
    tell.send_replace(Some(ended));
}

async fn serve_all<S: Serve>(mut listener: Listener, service: Arc<S>) -> Ended {
    let ledger = Arc::clone(service.ledger());
    let mut connections = JoinSet::new();
    let failure = accept(&mut listener, &service, &mut connections).await;
    if failure.is_none() {
        accept_the_rest(&listener, &service, &mut connections);
    }
    // From here on the kernel refuses connections.
    drop(listener);
    if let Some(error) = &failure {
        tracing::error!(target: "millpond::server", endpoint = %ledger.endpoint, error = %Chain(error), "nothing can be accepted any more: the server drains");
        ledger.drain(AFTER_FAILURE);
    }
    ledger.begin_draining();
    let forced = drain(&ledger, &mut connections).await;
    ledger.end();
    Ended {
        forced,
        unanswered: ledger.counters.totals().unanswered,
        failure: failure.map(Arc::new),
    }
}

/// Accepts until a drain is asked for, or the listener is broken.
async fn accept<S: Serve>(
    listener: &mut Listener,
    service: &Arc<S>,
    connections: &mut JoinSet<()>,
) -> Option<io::Error> {
    let ledger = service.ledger();
    let mut asked = pin!(ledger.end_asked.notified());
    asked.as_mut().enable();
    while ledger.drained_by().is_none() {
        let mut accepting = pin!(listener.accept());
        let next = poll_fn(|cx| {
            // Takes the tasks that have ended out of the set.
            while let Poll::Ready(Some(_)) = connections.poll_join_next(cx) {}
            if asked.as_mut().poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            accepting.as_mut().poll(cx).map(Some)
        });
        let accepted = match next.await {
            None => break,
            Some(Ok(accepted)) => accepted,
            Some(Err(error)) => return Some(error),
        };
        admit(service, connections, accepted);
    }
    None
}

/// Accepts the connections of the backlog, as far as the limits allow: when the listener is closed,
/// the kernel resets those that are left, with the requests that they may have sent. The kernel is
/// asked directly, because the reactor may not know of them yet.
///
/// With TLS this gains nothing, because a drain waits for no handshake: a connection without one
/// ends as soon as the connections drain, and is reset. It has sent no request that could be read.
fn accept_the_rest<S: Serve>(listener: &Listener, service: &Arc<S>, connections: &mut JoinSet<()>) {
    #[cfg(target_os = "linux")]
    listener.drop_new_connections();
    for _ in 0..service.ledger().settings.max_connections.min(BACKLOG) {
        match listener.try_accept() {
            Ok(accepted) => admit(service, connections, accepted),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            // The next one may succeed. If the listener itself fails, the count ends the loop.
            Err(_) => {}
        }
    }
}

/// Serves a connection, or turns it away if a limit is reached.
fn admit<S: Serve>(service: &Arc<S>, connections: &mut JoinSet<()>, accepted: Accepted) {
    let peer = accepted.peer_addr();
    match service.ledger().admit(peer) {
        Ok(permit) => {
            // Boxed, because the task keeps what it is called with as long as it lives.
            let accepted = Box::new(accepted);
            connections.spawn(serve(Arc::clone(service), accepted, peer, permit));
        }
        Err(limit) => {
            accepted.refuse();
            log_turned_away(service.ledger(), limit, peer);
        }
    }
}

/// Waits for the connections to finish, at most until the deadline, which may be brought forward
/// meanwhile. Returns how many were closed by force.
async fn drain(ledger: &Ledger, connections: &mut JoinSet<()>) -> usize {
    loop {
        let mut asked = pin!(ledger.end_asked.notified());
        asked.as_mut().enable();
        let by = ledger.drained_by().unwrap_or_else(Instant::now);
        let mut timer = pin!(sleep_until(by));
        let deadline_passed = poll_fn(|cx| {
            while let Poll::Ready(Some(_)) = connections.poll_join_next(cx) {}
            if connections.is_empty() || asked.as_mut().poll(cx).is_ready() {
                return Poll::Ready(false);
            }
            timer.as_mut().poll(cx).map(|()| true)
        });
        if deadline_passed.await {
            break;
        }
        if connections.is_empty() {
            return 0;
        }
    }
    // As each task is dropped, it counts its connection as forced, and what it leaves unanswered.
    let _ = timeout(STOPPING, connections.shutdown()).await;
    let forced = usize::try_from(ledger.counters.forced()).unwrap_or(usize::MAX);
    // And the tasks that can't be stopped.
    forced.saturating_add(connections.len())
}

/// One connection, from its acceptance to its end.
async fn serve<S: Serve>(
    service: Arc<S>,
    accepted: Box<Accepted>,
    peer: Option<SocketAddr>,
    mut permit: ConnectionPermit,
) {
    // Boxed, because it is large, and over before the connection can be idle.
    match Box::pin(handshake(service.ledger(), *accepted, peer)).await {
        Ok(stream) => service.serve(stream, peer, &mut permit).await,
        Err(closed) => {
            tracing::debug!(target: "millpond::server", peer = peer.map(tracing::field::display), %closed, "connection ended");
            permit.ended(closed);
        }
    }
}

/// The stream, after the TLS handshake if the listener speaks TLS.
async fn handshake(
    ledger: &Ledger,
    accepted: Accepted,
    peer: Option<SocketAddr>,
) -> Result<Stream, Closed> {
    let limit = ledger.settings.handshake_timeout;
    let mut drain_begun = pin!(ledger.drain_begun.notified());
    drain_begun.as_mut().enable();
    let mut shaken = pin!(timeout(limit, accepted.into_stream()));
    poll_fn(|cx| {
        if let Poll::Ready(shaken) = shaken.as_mut().poll(cx) {
            return Poll::Ready(match shaken {
                Ok(Ok(stream)) => Ok(stream),
                Ok(Err(error)) => {
                    if ledger.storms.happened(Event::HandshakeFailed) {
                        tracing::info!(target: "millpond::server", peer = peer.map(tracing::field::display), error = %Chain(&error), "TLS handshake failed");
                    }
                    Err(Closed::HandshakeFailed)
                }
                Err(_) => Err(Closed::HandshakeTimeout),
            });
        }
        match drain_begun.as_mut().poll(cx).is_ready() || ledger.is_draining() {
            true => Poll::Ready(Err(Closed::Drained)),
            false => Poll::Pending,
        }
    })
    .await
}

fn log_turned_away(ledger: &Ledger, limit: LimitReached, peer: Option<SocketAddr>) {
    let (event, setting) = match limit {
        LimitReached::MaxConnections => (Event::MaxConnections, "max_connections"),
        LimitReached::PerAddress => (Event::PerAddress, "max_connections_per_address"),
    };
    if ledger.storms.happened(event) {
        tracing::warn!(target: "millpond::server", peer = peer.map(tracing::field::display), setting, "connection refused: the limit is reached");
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::server::{Server, raw};

    /// Nobody ever connects to it, and each attempt to accept fails with `EOPNOTSUPP`: its socket
    /// is one of UDP.
    fn that_only_fails() -> Listener {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.set_nonblocking(true).expect("a socket that can");
        let socket = std::net::TcpListener::from(std::os::fd::OwnedFd::from(socket));
        tokio::net::TcpListener::from_std(socket)
            .expect("a runtime")
            .into()
    }

    #[tokio::test]
    async fn a_drain_ends_when_accepting_only_fails() {
        let handler = raw(async |body: bytes::Bytes| Ok(body));
        let running = Server::builder(handler).serve(that_only_fails());
        let ended = running
            .expect("a server")
            .drain(Duration::from_secs(60))
            .await;
        assert!(ended.failure.is_none(), "{ended:?}");
    }
}
