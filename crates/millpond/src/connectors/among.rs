//! Several upstreams behind one connector: which one a stream is opened at, and what becomes of it.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::Poll,
};

use millpond_words::{Chain, Span};
use tokio::time::timeout;

use super::stream::StreamConnector;
use crate::{
    net::{ConnectError, Dialer, Stream},
    pool::{Ends, dial_phase},
    upstreams::{Ejection, Held, Upstream, UpstreamSnapshot, Upstreams},
};

/// Whether an upstream answers a probe.
pub(crate) type Answer<'c> = Pin<Box<dyn Future<Output = Result<(), ConnectError>> + Send + 'c>>;

impl StreamConnector {
    /// Streams to several upstreams that do the same, behind one pool with one line of callers: no
    /// caller waits while one of them has room. The pool's `max_size` is for all of them together.
    ///
    /// ```
    /// use millpond::{
    ///     client::Client,
    ///     connectors::{StreamConnector, Upstream},
    ///     net::Dialer,
    /// };
    ///
    /// let upstreams = ["orders-1:7000", "orders-2:7000", "orders-3:7000"].map(str::parse);
    /// let mut among = Vec::new();
    /// for endpoint in upstreams {
    ///     among.push(Upstream::new(Dialer::new(endpoint?)).max_size(8));
    /// }
    /// let client = Client::over(StreamConnector::among(among)).pool(|pool| pool.max_size(24));
    /// # Ok::<_, millpond::net::EndpointError>(())
    /// ```
    ///
    /// # Which one is dialled
    ///
    /// The one with the fewest connections, open or being opened; of equals each in its turn. A dial
    /// that fails goes on to the next upstream at once, within the pool's `connect_timeout`, and
    /// fails when it has been to all that have room; its error is that of the last. An upstream
    /// that has failed is in doubt: for a [pause](Ejection::pause) it is passed over while others
    /// have room, and then dialled once at a time.
    ///
    /// # Which ones are ejected
    ///
    /// One that fails [three times](Ejection::after) in a row is dialled no more, and its
    /// connections are retired: closed now if they are idle, else when they come back. A failure is
    /// a dial that fails, its hook and its login included, or a connection that the upstream ends
    /// before it was ever lent. Dials that had begun before a failure was counted aren't counted
    /// again. What ends a connection that is lent, or has been, counts as nothing, for a single
    /// caller can bring that about. A connection that has served ends the row: by a reply, a clean
    /// release, or a tick spent idle.
    ///
    /// An ejected upstream is probed: dialled, with the hook, a client's login and its
    /// [probe](crate::client::ClientBuilder::probe), and the stream closed again. It is probed after a
    /// pause, which is doubled with each failure; the first probe that succeeds brings it back. Then
    /// one failure more ejects it again, until a connection has served. Connections aren't moved to
    /// one that is back: it is given those that are opened from then on. At least
    /// [half](Ejection::floor) of the upstreams are never ejected. Probes are made by
    /// [`run`](crate::pool::Connector::run), so by the pool, one at a time for each upstream. With
    /// [`probe_interval`](Ejection::probe_interval) those that aren't ejected are probed as well. A dial that has failed at all others tries ejected
    /// ones as well.
    ///
    /// # Panics
    ///
    /// If there is no upstream.
    pub fn among<U: Into<Upstream>>(upstreams: impl IntoIterator<Item = U>) -> Self {
        let upstreams: Vec<Upstream> = upstreams.into_iter().map(Into::into).collect();
        assert!(!upstreams.is_empty(), "there must be an upstream");
        let limited: Vec<_> = upstreams
            .iter()
            .map(|upstream| {
                (
                    Arc::clone(upstream.dialer.endpoint_text()),
                    upstream.max_size,
                )
            })
            .collect();
        let dialers = upstreams.into_iter().map(|upstream| upstream.dialer);
        StreamConnector::dialled_by(dialers.collect(), Some(Upstreams::new(&limited)))
    }

    /// When upstreams are ejected, and when they are probed. For those of
    /// [`among`](StreamConnector::among) only.
    pub fn ejection(self, ejection: Ejection) -> Self {
        if let Some(upstreams) = &self.upstreams {
            upstreams.set_ejection(ejection);
        }
        self
    }

    /// How many there are.
    pub(crate) fn endpoints(&self) -> usize {
        self.dialers.len().max(1)
    }

    /// The upstreams at this instant, in the order in which they were given. Empty for a connector
    /// that wasn't made by [`among`](StreamConnector::among).
    pub fn upstreams(&self) -> Vec<UpstreamSnapshot> {
        let upstreams = self.upstreams.as_ref();
        upstreams.map_or_else(Vec::new, |upstreams| upstreams.snapshots())
    }

    /// A stream has been checked in the instant before it is lent, or as it comes back.
    #[inline]
    pub(crate) fn note_check(&self, stream: &Stream, passed: bool) {
        if self.upstreams.is_some()
            && let Some(held) = stream.companion::<Held>()
        {
            match passed {
                true => held.lent(),
                false => held.died(),
            }
        }
    }

    /// An idle stream has been looked at.
    #[inline]
    pub(crate) fn note_idle(&self, stream: &Stream, is_quiet: bool) {
        if self.upstreams.is_some()
            && let Some(held) = stream.companion::<Held>()
        {
            match is_quiet {
                true => held.served(),
                false => held.died(),
            }
        }
    }

    /// Goes from upstream to upstream until one can be dialled.
    pub(super) async fn connect_among(
        &self,
        upstreams: &Arc<Upstreams>,
    ) -> Result<Stream, ConnectError> {
        let mut tried = Vec::new();
        let mut last = None;
        dial_phase("waiting for room at an upstream");
        while let Some(dial) = upstreams.next(&tried).await {
            let dialer = &self.dialers[dial.at()];
            match self.open(dialer).await {
                Ok(stream) => {
                    let ends = ends(dialer, &stream);
                    return Ok(dial.opened(stream, ends));
                }
                Err(error) => {
                    tried.push(dial.at());
                    dial.failed(&Chain(&error).to_string());
                    last = Some(error);
                }
            }
        }
        Err(last.expect("the first is waited for"))
    }

    /// Probes upstreams, by dialling them and by what `ask` does with the stream, which it closes.
    /// Never ends where there are several; else at once.
    pub(crate) async fn probe<'c>(
        &'c self,
        ask: impl Fn(&'c Dialer, Stream) -> Answer<'c> + Send + Sync,
    ) {
        let Some(upstreams) = &self.upstreams else {
            return;
        };
        let each = 0..self.dialers.len();
        all(each.map(|at| self.probe_upstream(upstreams, at, &ask))).await;
    }

    /// Probes an upstream whenever that is due. Never ends.
    async fn probe_upstream<'c>(
        &'c self,
        upstreams: &Arc<Upstreams>,
        at: usize,
        ask: &(impl Fn(&'c Dialer, Stream) -> Answer<'c> + Send + Sync),
    ) {
        loop {
            let probe = upstreams.next_probe(at).await;
            let dialer = &self.dialers[at];
            let asked = async { ask(dialer, self.open(dialer).await?).await };
            let limit = upstreams.probe_timeout();
            match timeout(limit, asked).await {
                Ok(Ok(())) => probe.answered(),
                Ok(Err(error)) => probe.failed(&format!("probe: {}", Chain(&error))),
                Err(_) => probe.failed(&format!("probe: no answer within {}", Span(limit))),
            }
        }
    }
}

/// Between which addresses a stream lies that this dialler has opened.
pub(super) fn ends(dialer: &Dialer, stream: &Stream) -> Ends {
    match (stream.local_addr(), stream.peer_addr()) {
        (Some(local), Some(peer)) => Ends::between(local, peer),
        _ => Ends::to(Arc::clone(dialer.endpoint_text())),
    }
}

/// A stream has been of use.
#[inline]
pub(crate) fn served(stream: &Stream) {
    if let Some(held) = stream.companion::<Held>() {
        held.served();
    }
}

/// What leads to a stream's other end has said that it can't serve now.
#[cold]
pub(crate) fn unfit_to_serve(stream: &Stream) {
    if let Some(held) = stream.companion::<Held>() {
        held.unfit();
    }
}

/// All of these, of which none ends.
async fn all<F: Future<Output = ()>>(futures: impl IntoIterator<Item = F>) {
    let mut futures: Vec<_> = futures.into_iter().map(Box::pin).collect();
    poll_fn(|cx| {
        for future in &mut futures {
            let _ = future.as_mut().poll(cx);
        }
        Poll::Pending
    })
    .await
}
