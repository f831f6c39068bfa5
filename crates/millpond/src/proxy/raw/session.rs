//! One client and the upstream connection that it is lent, from the first byte to the last. Dropped
//! before its end, it resets both, so that neither takes what it has for the whole.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    task::{Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use super::{
    copying::{Copying, End, Limits, Side},
    snapshot::{RawCounters, count},
    upstream::{Farewell, RawConnector},
};
use crate::{
    connectors,
    net::Stream,
    pool::{Connection, Eviction},
};

/// How long an upstream connection must last to count as one that serves, if the upstream says
/// nothing: as long as an idle one, a tick of the pool.
const PROOF: Duration = Duration::from_millis(100);

/// Where the timer stands when nothing is due.
const FAR: Duration = Duration::from_secs(24 * 3_600);

/// See the module.
pub(super) struct Session<'s> {
    counters: &'s RawCounters,
    client: Option<Stream>,
    upstream: Option<Connection<RawConnector>>,
    copying: Copying,
    began: Instant,
    /// The upstream connection counts as one that serves.
    is_proven: bool,
}

impl<'s> Session<'s> {
    pub(super) fn begin(
        client: Stream,
        mut upstream: Connection<RawConnector>,
        limits: Limits,
        counters: &'s RawCounters,
    ) -> Self {
        let now = Instant::now();
        upstream.farewell = Farewell::Reset;
        let ahead = std::mem::take(&mut upstream.ahead);
        count(&counters.sessions);
        Session {
            counters,
            client: Some(client),
            upstream: Some(upstream),
            copying: Copying::begin(limits, ahead, now),
            began: now,
            is_proven: false,
        }
    }

    /// Passes bytes on until it is over, and closes both sides.
    pub(super) async fn run(mut self) -> End {
        let end = {
            let mut timer = pin!(sleep_until(self.began + FAR));
            poll_fn(|cx| {
                loop {
                    let now = Instant::now();
                    let before = self.copying.passed();
                    let ended = {
                        let client = self.client.as_mut().expect("until it is over");
                        let upstream = self.upstream.as_mut().expect("until it is over");
                        self.copying.poll(cx, now, client, &mut upstream.stream)
                    };
                    self.note(before, now);
                    if let Poll::Ready(end) = ended {
                        return Poll::Ready(end);
                    }
                    let due = self.next_due().unwrap_or(now + FAR);
                    if due < timer.deadline() || timer.is_elapsed() {
                        let due = due.max(now + Duration::from_millis(1));
                        timer.as_mut().reset(due);
                    }
                    ready!(timer.as_mut().poll(cx));
                }
            })
            .await
        };
        self.close(end);
        end
    }

    fn next_due(&self) -> Option<Instant> {
        let proof = (!self.is_proven).then(|| self.began + PROOF);
        let due = self.copying.due().map(|(due, _)| due);
        [due, proof].into_iter().flatten().min()
    }

    /// Counts what was passed on, and tells the pool once that the connection serves.
    fn note(&mut self, before: [u64; 2], now: Instant) {
        let [to_upstream, to_client] = self.copying.passed();
        add(&self.counters.bytes_to_upstream, to_upstream - before[0]);
        add(&self.counters.bytes_to_client, to_client - before[1]);
        if !self.is_proven
            && (to_client > 0 || now >= self.began + PROOF)
            && let Some(upstream) = &self.upstream
        {
            self.is_proven = true;
            connectors::served(&upstream.stream);
            drop(upstream.note_served());
        }
    }

    /// Closes both sides. One that has been told the other's end is closed in good order, else it is
    /// reset: it must be able to tell a part from the whole.
    fn close(&mut self, end: End) {
        count(self.counters.of(end));
        let (Some(client), Some(mut upstream)) = (self.client.take(), self.upstream.take()) else {
            return;
        };
        if self.copying.has_all(Side::Upstream) {
            upstream.farewell = Farewell::Close;
        }
        match self.copying.has_all(Side::Client) {
            true => client.close(),
            false => client.abort(),
        }
        upstream.discard_because(Eviction::Discarded);
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            count(&self.counters.forced);
            client.abort();
        }
    }
}

fn add(counter: &AtomicU64, more: u64) {
    if more > 0 {
        counter.fetch_add(more, Relaxed);
    }
}
