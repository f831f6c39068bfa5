//! Where requests go, and how they are sent.

use std::time::Duration;

use bytes::Bytes;
use millpond::{
    Chain,
    client::{Client, ErrorReplies, Pipelining, RequestError, Requests},
    framing::{FailureKind, Frame, Protocol, json},
    net::{
        Dialer, Endpoint,
        tls::{ClientTls, TlsError},
    },
    pool::{AcquireError, DialError},
};
use tokio::sync::OnceCell;

use super::error::CallError;
use crate::{commands::tls, complaint::Complaint, exit::Exit, framing::Spoken};

/// Where requests go, and what they and their replies must be.
pub(super) struct Plan {
    pub(super) endpoint: Endpoint,
    pub(super) tls: Option<ClientTls>,
    pub(super) deadline: Duration,
    pub(super) idempotent: bool,
    pub(super) bodies: Bodies,
    pub(super) error_replies: ErrorReplies,
    pub(super) heartbeat: Duration,
    pub(super) spoken: Spoken,
    /// Found out once, when it is needed.
    pub(super) refusal: OnceCell<Option<TlsError>>,
}

/// What requests and replies must be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Bodies {
    Json,
    Raw,
}

impl Plan {
    /// A client with so many connections at most, for so many requests at once.
    pub(super) fn client(
        &self,
        connections: u32,
        callers: u32,
        outage_grace: Option<Duration>,
        pipelining: Option<Pipelining>,
    ) -> Result<Client<Protocol>, Complaint> {
        let built = Client::dialled_by(self.dialer())
            .framing(self.spoken.protocol.clone())
            .deadline(self.deadline)
            .heartbeat_interval(self.heartbeat)
            .pool(move |pool| {
                let pool = pool.max_size(connections).max_waiting(callers);
                match outage_grace {
                    Some(grace) => pool.outage_grace(grace),
                    None => pool,
                }
            });
        let built = match pipelining {
            Some(pipelining) => built.pipelined(pipelining),
            None => built,
        };
        let built = built.build();
        built.map_err(|error| Complaint::usage(Chain(&error).to_string()))
    }

    /// One exchange: the replies, of which most protocols have one.
    pub(super) async fn exchange(
        &self,
        client: &Client<Protocol>,
        body: &[u8],
    ) -> Result<Vec<Bytes>, CallError> {
        let requests: Requests<'_, Protocol> = client.within(self.deadline);
        let replied = match self.idempotent {
            true => requests.idempotent().exchange_all(body).await,
            false => requests.exchange_all(body).await,
        };
        if let Err(RequestError::Acquire(AcquireError::Unavailable {
            cause: DialError::DiedEarly(_),
            ..
        })) = &replied
            && let Some(refusal) = self.refusal().await
        {
            return Err(CallError::refused(refusal));
        }
        let replies = replied.map_err(CallError::from)?.into_iter();
        replies
            .map(|reply| self.judge(Frame::into_body(reply)))
            .collect()
    }

    /// Checks a reply: a good one, an error reply, or invalid.
    fn judge(&self, reply: Bytes) -> Result<Bytes, CallError> {
        if self.error_replies == ErrorReplies::AreErrors
            && let Some(error) = json::as_error_reply(&reply)
        {
            return Err(RequestError::Refused(error).into());
        }
        if self.bodies == Bodies::Json
            && let Err(error) = json::check(&reply)
        {
            let message = format!(
                "the reply isn't JSON: {}; --raw prints it as it is",
                Chain(&error)
            );
            return Err(CallError::ours(
                Exit::Protocol,
                FailureKind::Unavailable,
                message,
            ));
        }
        Ok(reply)
    }

    /// Why the server closes connections that it has accepted, if it says so. The pool only sees
    /// that they close.
    async fn refusal(&self) -> Option<&TlsError> {
        let asked = self.refusal.get_or_init(|| async {
            let mut dialled = self.dialer().dial().await.ok()?;
            tls::refusal(&mut dialled.stream).await
        });
        asked.await.as_ref()
    }

    fn dialer(&self) -> Dialer {
        let dialer = Dialer::new(self.endpoint.clone());
        match &self.tls {
            Some(tls) => dialer.tls(tls.clone()),
            None => dialer,
        }
    }
}
