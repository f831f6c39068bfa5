//! The connector as its pool sees it.

use std::{
    error::Error,
    future::{Future, poll_fn, ready},
    pin::Pin,
    task::{Context, Poll},
};

use super::{
    among::{ends, served},
    stream::StreamConnector,
};
#[cfg(feature = "kernel")]
use crate::{kernel, pool::Transmission};
use crate::{
    net::{ConnectError, IdleState, Stream},
    pool::{Address, AfterRelease, Closing, Connector, Ends, Eviction},
};

impl Connector for StreamConnector {
    type Connection = Stream;
    type Error = ConnectError;

    async fn connect(&self) -> Result<Stream, ConnectError> {
        match &self.upstreams {
            None => self.open(self.dialer()).await,
            Some(upstreams) => self.connect_among(upstreams).await,
        }
    }

    fn refused(&self, error: &(dyn Error + Send + Sync + 'static)) -> bool {
        error.downcast_ref().is_some_and(ConnectError::is_refused)
    }

    fn check(&self, stream: &mut Stream) -> Result<(), Eviction> {
        let reason = reason(stream.check_idle());
        self.note_check(stream, reason.is_none());
        reason.map_or(Ok(()), Err)
    }

    fn on_release(&self, stream: &mut Stream) -> Result<AfterRelease, ConnectError> {
        served(stream);
        Ok(AfterRelease::Ready)
    }

    fn poll_idle(&self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<Eviction> {
        let seen = loop {
            match stream.poll_idle(cx) {
                Poll::Pending => break Poll::Pending,
                Poll::Ready(seen) => {
                    if let Some(reason) = reason(seen) {
                        break Poll::Ready(reason);
                    }
                }
            }
        };
        self.note_idle(stream, seen.is_pending());
        seen
    }

    fn close(&self, stream: Stream) -> Closing {
        stream.close();
        Closing::Done
    }

    fn ends(&self, stream: &Stream) -> Ends {
        ends(self.dialer_of(stream), stream)
    }

    /// Probes upstreams.
    async fn run(&self) {
        self.probe(|_, stream| {
            stream.close();
            Box::pin(ready(Ok(())))
        })
        .await;
    }

    async fn endpoint_changed(&self) {
        let Some(upstreams) = &self.upstreams else {
            return self.dialer().moved().await;
        };
        let mut changes: Vec<Pin<Box<dyn Future<Output = ()> + Send>>> =
            vec![Box::pin(upstreams.ejected())];
        for dialer in &self.dialers {
            changes.push(Box::pin(dialer.moved()));
        }
        any(changes).await;
    }

    fn is_current(&self, ends: &Ends) -> bool {
        let dialer = match &self.upstreams {
            None => self.dialer(),
            Some(upstreams) => match upstreams.of(ends) {
                Some(at) if upstreams.is_ejected(at) => return false,
                Some(at) => &self.dialers[at],
                None => return true,
            },
        };
        match &ends.peer {
            Some(Address::Ip(address)) => dialer.is_current(address),
            _ => true,
        }
    }

    #[cfg(feature = "kernel")]
    fn transmissions(&self, ends: &[Ends]) -> Vec<Option<Transmission>> {
        let addresses: Vec<_> = ends.iter().map(both_addresses).collect();
        let pairs: Vec<_> = addresses.iter().copied().flatten().collect();
        if pairs.is_empty() {
            return Vec::new();
        }
        // If the kernel can't be asked, there is nothing to show.
        let mut known = kernel::tcp_info(&pairs).unwrap_or_default().into_iter();
        let of = |pair: Option<_>| pair.and_then(|_| known.next().flatten()).map(shown);
        addresses.into_iter().map(of).collect()
    }
}
#[cfg(feature = "kernel")]
fn both_addresses(ends: &Ends) -> Option<(std::net::SocketAddr, std::net::SocketAddr)> {
    match (&ends.local, &ends.peer) {
        (Some(Address::Ip(local)), Some(Address::Ip(peer))) => Some((*local, *peer)),
        _ => None,
    }
}

#[cfg(feature = "kernel")]
fn shown(known: kernel::TcpInfo) -> Transmission {
    let mut transmission = Transmission::default();
    transmission.rtt = known.rtt;
    transmission.rtt_variance = known.rtt_variance;
    transmission.retransmits = known.retransmits;
    transmission.unacknowledged = known.unacknowledged;
    transmission
}
/// Why an idle stream in this state is evicted.
fn reason(seen: IdleState) -> Option<Eviction> {
    match seen {
        IdleState::Quiet => None,
        IdleState::Bytes => Some(Eviction::UnsolicitedBytes),
        IdleState::Closed => Some(Eviction::PeerClosed),
        // Broken; and what a later version tells of a stream that isn't quiet.
        _ => Some(Eviction::PeerReset),
    }
}
/// The first of these that ends; the others are dropped.
async fn any<'f>(mut futures: Vec<Pin<Box<dyn Future<Output = ()> + Send + 'f>>>) {
    poll_fn(|cx| {
        let polled = futures.iter_mut().any(|it| it.as_mut().poll(cx).is_ready());
        match polled {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
}
