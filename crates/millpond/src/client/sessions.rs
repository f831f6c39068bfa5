//! A pool's connector for sessions: dials like the one for raw streams, and knows what that can't:
//! where an exchange ends, what a heartbeat is, and when a peer is dead.

use std::{
    error::Error,
    fmt,
    future::{Future, pending, poll_fn},
    pin::pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::sleep;

use super::{
    heartbeats::Heartbeats, login::LoginHook, records::SessionRecords, reports::Reports,
    session::Session, settings::ClientSettings,
};
use crate::{
    connectors::{Answer, StreamConnector},
    framed::{Framed, FramedStream, Outstanding},
    framing::{FrameError, Framing, LengthJson},
    net::{ConnectError, Dialer, Stream},
    pool::{Closing, Connector, Ends, Eviction, LastExchange, Transmission},
};

/// Pools [`Session`]s: what a [`Client`](super::Client)'s pool is made with.
pub struct Sessions<F: Framing = LengthJson> {
    streams: StreamConnector,
    framing: Arc<F>,
    login: Option<LoginHook<F>>,
    /// What a probe of an upstream asks, behind the login.
    probe: Option<LoginHook<F>>,
    heartbeat_interval: Duration,
    /// How long nothing is sent on a new connection.
    connect_pause: Duration,
    heartbeats: Arc<Heartbeats>,
    records: Arc<SessionRecords>,
}

/// How many heartbeats there have been on all connections of a client since it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct HeartbeatTotals {
    /// By us.
    pub sent: u64,
    /// By the peers.
    pub received: u64,
}

impl<F: Framing> Sessions<F> {
    pub(super) fn new(
        streams: StreamConnector,
        framing: F,
        [login, probe]: [Option<LoginHook<F>>; 2],
        settings: &ClientSettings,
    ) -> Self {
        // Where there are none, none are ever due.
        let heartbeat_interval = framing
            .heartbeat()
            .map_or(Duration::ZERO, |_| settings.heartbeat_interval);
        Sessions {
            streams,
            framing: Arc::new(framing),
            login,
            probe,
            heartbeat_interval,
            connect_pause: settings.connect_pause,
            heartbeats: Arc::default(),
            records: Arc::new(SessionRecords {
                heartbeat_limit: settings.heartbeat_limit,
                request_pause: settings.request_pause,
                ..SessionRecords::default()
            }),
        }
    }

    pub(super) fn shared_framing(&self) -> Arc<F> {
        Arc::clone(&self.framing)
    }

    /// The framing that they speak.
    pub fn framing(&self) -> &F {
        &self.framing
    }

    /// How many heartbeats there have been.
    pub fn heartbeats(&self) -> HeartbeatTotals {
        HeartbeatTotals {
            sent: self.records.heartbeats_sent.load(Ordering::Relaxed),
            received: self.records.heartbeats_received.load(Ordering::Relaxed),
        }
    }

    /// How many writes to sockets the requests of pipelines have taken since the client was made:
    /// the fewer for as many requests, the faster.
    pub fn pipelined_writes(&self) -> u64 {
        self.records.pipelined_writes.load(Ordering::Relaxed)
    }

    /// What the client reports of itself.
    pub(super) fn reports(&self) -> &Reports {
        &self.records.reports
    }

    /// The error for the first bytes of another protocol, if the last unasked bytes were such.
    pub(super) fn stranger(&self) -> Option<FrameError> {
        self.records.stranger.lock().clone()
    }

    /// How many sessions are woken when something is due.
    #[cfg(test)]
    pub(super) fn moments(&self) -> usize {
        self.heartbeats.kept()
    }

    /// Nothing is sent on a new connection before that is over.
    async fn rest(&self) {
        if !self.connect_pause.is_zero() {
            sleep(self.connect_pause).await;
        }
    }

    /// Probes an upstream on this stream, which the dialler has opened.
    async fn ask(&self, dialer: &Dialer, stream: Stream) -> Result<(), ConnectError> {
        self.rest().await;
        let mut stream = FramedStream::new(stream, Arc::clone(&self.framing));
        for asked in [&self.login, &self.probe].into_iter().flatten() {
            stream = asked.log_in(stream, dialer).await?;
        }
        stream.into_stream().close();
        Ok(())
    }

    /// What opens their streams.
    pub fn streams(&self) -> &StreamConnector {
        &self.streams
    }
}

impl<F: Framing> Connector for Sessions<F> {
    type Connection = Session;
    type Error = ConnectError;

    async fn connect(&self) -> Result<Session, ConnectError> {
        let stream = self.streams.connect().await?;
        self.rest().await;
        let (framed, outstanding) = match &self.login {
            None => (Framed::new(stream), Outstanding::for_framing(&self.framing)),
            Some(login) => {
                let dialer = self.streams.dialer_of(&stream);
                let stream = FramedStream::new(stream, Arc::clone(&self.framing));
                let logged_in = login.log_in(stream, dialer).await?;
                let (framed, mut outstanding) = logged_in.into_parts();
                // What the login has made of its state is what it is lent with.
                if let Some(outstanding) = &mut outstanding {
                    outstanding.settle();
                }
                (framed, outstanding)
            }
        };
        let mut session = Session::new(
            framed,
            outstanding,
            self.heartbeat_interval,
            Arc::clone(&self.records),
        );
        if self.login.is_some() {
            session.begin_pause();
        }
        Ok(session)
    }

    fn refused(&self, error: &(dyn Error + Send + Sync + 'static)) -> bool {
        self.streams.refused(error)
    }

    fn check(&self, session: &mut Session) -> Result<(), Eviction> {
        let looked = session.look(&*self.framing);
        self.streams.note_check(session.stream(), looked.is_ok());
        looked.map_err(|cause| cause.eviction())
    }

    /// The guard needn't be believed: the session knows.
    fn is_clean(&self, session: &Session, _: LastExchange) -> bool {
        session.is_at_rest()
    }

    /// A request that ends its connection is no sign that the server can't be reached.
    fn was_asked(&self, session: &Session) -> bool {
        session.is_dirty()
    }

    fn poll_idle(&self, session: &mut Session, cx: &mut Context<'_>) -> Poll<Eviction> {
        let seen = session.poll_idle(&*self.framing, cx);
        self.streams.note_idle(session.stream(), seen.is_pending());
        if seen.is_pending()
            && let Some(due) = session.next_due()
        {
            self.heartbeats.wake_at(due, &mut session.alarm, cx.waker());
        }
        seen
    }

    fn close(&self, session: Session) -> Closing {
        if session.is_dirty() {
            // The caller has gone. Without a reset the kernel would keep the rest of the request
            // for a peer that doesn't read; and if it arrived, it would be executed for
            // no caller.
            session.into_stream().abort();
            return Closing::Done;
        }
        self.streams.close(session.into_stream())
    }

    fn ends(&self, session: &Session) -> Ends {
        self.streams.ends(session.stream())
    }

    /// Keeps the heartbeats, sums up what happens, and probes upstreams.
    async fn run(&self) {
        // Of a single endpoint there is nothing to probe.
        let mut probes = pin!(async {
            let ask = |dialer, stream| -> Answer<'_> { Box::pin(self.ask(dialer, stream)) };
            self.streams.probe(ask).await;
            pending().await
        });
        let mut heartbeats = pin!(self.heartbeats.run());
        let mut sums = pin!(self.records.reports.report_sums());
        poll_fn(|cx| {
            let all = [
                heartbeats.as_mut().poll(cx),
                sums.as_mut().poll(cx),
                probes.as_mut().poll(cx),
            ];
            if all.iter().any(Poll::is_ready) {
                unreachable!("they run for as long as they are polled");
            }
            Poll::Pending
        })
        .await
    }

    fn endpoint_changed(&self) -> impl Future<Output = ()> + Send {
        self.streams.endpoint_changed()
    }

    fn is_current(&self, ends: &Ends) -> bool {
        self.streams.is_current(ends)
    }

    fn transmissions(&self, ends: &[Ends]) -> Vec<Option<Transmission>> {
        self.streams.transmissions(ends)
    }
}

impl<F: Framing> fmt::Debug for Sessions<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sessions").field(&self.streams).finish()
    }
}
