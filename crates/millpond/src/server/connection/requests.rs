//! What becomes of a request that has arrived: it is handled, refused or, as the server drains,
//! turned away. Each takes its place among the exchanges, so that replies keep the order of the
//! requests.

use std::future::Future;

use tokio::time::Instant;

use super::Connection;
use crate::{
    framed::Asked,
    framing::{Failure, Frame, FrameError, Framing},
    server::{
        exchanges::{Exchange, ExchangeState},
        handler::{self, Bodies, ConnectionHandler, Request},
        ledger::RequestPermit,
        reply::Reply,
        snapshot::{Closed, count},
        storms::Event,
    },
};

impl<F: Framing, H: ConnectionHandler, A: Future<Output = Result<Reply, Failure>>>
    Connection<'_, F, H, A>
{
    /// Takes a whole request: begins to answer it or, as the server drains, may turn it away.
    pub(super) fn accept(
        &mut self,
        frame: Frame,
        now: Instant,
        answer: &impl Fn(RequestPermit<F, H>, Request) -> A,
    ) {
        count(&self.ledger().counters.requests);
        self.pulse.heard(now);
        self.used = now;
        let draining = self.draining.as_mut();
        let takes = draining.is_none_or(|draining| draining.takes(now));
        let framing = &self.service.framing;
        let request = framing
            .failure_needs_request()
            .then(|| frame.clone().into_bytes());
        let mut asked = self.asked(&frame);
        let refused = asked.as_mut().and_then(|asked| asked.demand.refusal.take());
        let pins = asked.as_ref().is_some_and(|asked| asked.demand.pins);
        let state = match (takes, refused) {
            (true, None) => self.begin(frame, pins, now, answer),
            (true, Some(failure)) => ExchangeState::Answered(Err(failure)),
            (false, _) => ExchangeState::Answered(Err(Failure::not_taken(
                "the server is draining, and has not executed the request",
            ))),
        };
        self.exchanges.push(Exchange {
            request,
            asked,
            state,
        });
    }

    /// What a request asks for, if the framing looks at requests.
    fn asked(&self, frame: &Frame) -> Option<Box<Asked>> {
        let framing = &self.service.framing;
        let looks = framing.looks_at_requests();
        looks.then(|| Box::new(Asked::received(framing, &self.state, frame)))
    }

    /// Begins to answer a request, unless its body is refused or `max_handled` is reached.
    fn begin(
        &mut self,
        frame: Frame,
        pins: bool,
        now: Instant,
        answer: &impl Fn(RequestPermit<F, H>, Request) -> A,
    ) -> ExchangeState<A> {
        let (service, length) = (self.service, frame.length());
        let checked = match service.handler.bodies() {
            Bodies::Json => handler::check(frame.body()),
            Bodies::Opaque => Ok(()),
        };
        match checked.map(|()| RequestPermit::new(service, &self.kept)) {
            Ok(Some(permit)) => {
                let deadline = self.settings().handler_deadline.map(|limit| now + limit);
                let request = Request {
                    frame,
                    peer: self.peer,
                    deadline,
                    pins,
                };
                ExchangeState::Running {
                    answer: Box::pin(answer(permit, request)),
                    deadline,
                    held: length,
                }
            }
            Ok(None) => ExchangeState::Answered(Err(Failure::overloaded(format!(
                "{} requests are being handled already",
                self.settings().max_handled
            )))),
            Err(failure) => ExchangeState::Answered(Err(failure)),
        }
    }

    /// What came is no frame. Answers why the connection ends.
    pub(super) fn refuse(&mut self, error: &FrameError) -> Closed {
        if let FrameError::TooLong {
            length,
            limit,
            setting,
        } = error
        {
            let setting = setting.as_deref().unwrap_or("the framing");
            self.refuse_too_long(*length, *limit, setting);
            return Closed::FrameTooLong;
        }
        let storms = &self.ledger().storms;
        if let FrameError::WrongAnswer { .. } = error {
            if storms.happened(Event::WrongAnswer) {
                tracing::error!(target: "millpond::server", peer = self.peer.map(tracing::field::display), %error, "connection closed: where its frames end isn't known");
            }
            return Closed::ProtocolError;
        }
        if storms.happened(Event::OtherProtocol) {
            tracing::info!(target: "millpond::server", peer = self.peer.map(tracing::field::display), %error, "connection closed: it spoke another protocol");
        }
        match error {
            FrameError::Http => Closed::Http,
            FrameError::Tls => Closed::Tls,
            _ => Closed::ProtocolError,
        }
    }

    /// A frame is longer than allowed. The client is told so after the replies that it is owed, if
    /// the protocol can tell of a failure without the request.
    fn refuse_too_long(&mut self, length: u64, limit: u64, setting: &str) {
        let service = self.service;
        if service.ledger.storms.happened(Event::FrameTooLong) {
            tracing::warn!(target: "millpond::server", peer = self.peer.map(tracing::field::display), length, limit, setting, "connection closed: a frame is longer than the limit");
        }
        if service.framing.failure_needs_request() {
            return;
        }
        // The setting is the server's. The client may have none of that name, or one that wouldn't
        // help, so the error names it as the server's.
        let error = FrameError::TooLong {
            length,
            limit,
            setting: None,
        };
        self.exchanges.push(Exchange {
            request: None,
            asked: None,
            state: ExchangeState::Answered(Err(Failure::refused(format!(
                "{error}; the limit is set by {setting} on the server"
            )))),
        });
    }
}
