//! A pool's connector for streams of every transport. It opens streams, checks idle ones without a
//! system call while nothing has arrived, and follows changes of their endpoint's name. It knows
//! nothing of what is exchanged on them.

mod among;
mod pooled;
mod stream;
mod unprepared;

pub use self::stream::{PhaseTimings, PrepareFuture, StreamConnector};
pub(crate) use self::{
    among::{Answer, served, unfit_to_serve},
    unprepared::Unprepared,
};
pub use crate::upstreams::{Ejection, Upstream, UpstreamFailure, UpstreamSnapshot, UpstreamTotals};

#[cfg(test)]
mod tests {
    use std::{io, time::Duration};

    use tokio::sync::mpsc;

    use super::*;
    use crate::{
        client::Client,
        net::{Endpoint, Listener, Stream},
        pool::Connector,
        server::{Server, raw},
    };

    fn name() -> Endpoint {
        "unix:///in-memory".parse().expect("an endpoint")
    }

    #[tokio::test]
    async fn a_client_and_a_server_speak_over_streams_that_are_no_sockets() {
        let (sender, streams) = mpsc::channel(1);
        let echo = raw(async |body: bytes::Bytes| Ok(body));
        let server = Server::builder(echo).serve(Listener::from_streams(name(), streams));
        let server = server.expect("a server");
        let connector = StreamConnector::opened_by(name(), move || {
            let sender = sender.clone();
            async move {
                let (near, far) = tokio::io::duplex(256);
                sender.send(Stream::foreign(far)).await?;
                Ok(Stream::foreign(near))
            }
        });
        let client = Client::over(connector).build().expect("a client");
        for body in [vec![b'1'; 4], vec![b'2'; 10_000]] {
            let reply = client.exchange(&body).await.expect("a reply");
            assert_eq!(reply, body);
        }
        assert_eq!(client.pool().snapshot().totals.opened, 1);
        client
            .pool()
            .close(Duration::from_secs(10))
            .await
            .expect("closed");
        let ended = server.drain(Duration::from_secs(10)).await;
        assert_eq!((ended.forced, ended.unanswered), (0, 0));
    }

    #[tokio::test]
    async fn an_opening_that_fails_is_told_with_its_cause() {
        let kinds = [io::ErrorKind::ConnectionRefused, io::ErrorKind::Other];
        for kind in kinds {
            let opening = move || std::future::ready(Err(io::Error::from(kind).into()));
            let connector = StreamConnector::opened_by(name(), opening);
            let error = connector.connect().await.expect_err("it fails");
            let said = millpond_words::Chain(&error).to_string();
            assert!(said.contains("opening the stream failed: "), "{said}");
            assert_eq!(
                connector.refused(&error),
                kind == io::ErrorKind::ConnectionRefused
            );
        }
    }
}
