//! What becomes of a request that has arrived: it is handled, refused or, as the server drains,
//! turned away. Each takes its place among the exchanges, so that replies keep the order of the
//! requests.

use std::{future::Future, mem};

use tokio::time::Instant;

use super::{Connection, long_turn::LONG};
use crate::{
    framed::Asked,
    framing::{Failure, Frame, FrameError, Framing, Replies},
    server::{
        exchanges::{Exchange, ExchangeState},
        group::{Handled, RequestGroup},
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
            (true, None) if self.gathers(&frame, asked.as_deref()) => {
                let held = frame.length();
                self.gathered.push(frame);
                self.exchanges.push(Exchange {
                    request,
                    asked,
                    state: ExchangeState::Grouped { held },
                });
                return;
            }
            (true, None) => self.begin(frame, pins, now, answer),
            (true, Some(failure)) => ExchangeState::Answered(Err(failure)),
            (false, _) => ExchangeState::Answered(Err(Failure::not_taken(
                "the server is draining, and has not executed the request",
            ))),
        };
        self.begin_gathered();
        self.exchanges.push(Exchange {
            request,
            asked,
            state,
        });
    }

    /// Whether a request is handled together with those that it came with.
    fn gathers(&self, frame: &Frame, asked: Option<&Asked>) -> bool {
        let handler = &self.service.handler;
        handler.groups().is_some()
            && handler.bodies() == Bodies::Opaque
            && frame.length() <= LONG
            && asked.is_none_or(|asked| asked.demand.replies == Replies::One && !asked.demand.pins)
    }

    /// Begins to answer those that came together, if there are any.
    pub(super) fn begin_gathered(&mut self) {
        let service = self.service;
        if self.gathered.is_empty() {
            return;
        }
        let mut frames = mem::take(&mut self.gathered);
        let Some(groups) = service.handler.groups() else {
            return;
        };
        let count = frames.len();
        let handled = Handled::up_to(&service.ledger, count);
        frames.truncate(handled.count());
        // They came when the connection was last used.
        let came = self.used;
        let deadline = self.settings().handler_deadline.map(|limit| came + limit);
        let requests = RequestGroup {
            frames,
            peer: self.peer,
            deadline,
        };
        let answers = groups.handle_group(&self.kept, requests);
        let others = (handled.count() < count).then(|| self.overloaded());
        (self.exchanges).group(count, handled, deadline, answers, others.as_ref());
    }

    fn overloaded(&self) -> Failure {
        Failure::overloaded(format!(
            "{} requests are being handled already",
            self.settings().max_handled
        ))
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
            Ok(None) => ExchangeState::Answered(Err(self.overloaded())),
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
        self.begin_gathered();
        self.exchanges.push(Exchange {
            request: None,
            asked: None,
            state: ExchangeState::Answered(Err(Failure::refused(format!(
                "{error}; the limit is set by {setting} on the server"
            )))),
        });
    }
}
