//! What becomes of a request that has arrived: it is handled, refused or, as the server drains,
//! turned away. Each takes its place among the exchanges, so that replies keep the order of the
//! requests.

use std::{future::Future, mem, time::Duration};

use tokio::time::Instant;

use super::{Connection, long_turn::LONG};
use crate::{
    framed::Asked,
    framing::{Admission, Context, Failure, Frame, FrameError, Framing, LocalReply, Replies},
    server::{
        exchanges::{Exchange, ExchangeState},
        group::RequestGroup,
        handler::{self, Bodies, ConnectionHandler},
        ledger::{Handled, RequestPermit},
        reply::Reply,
        request::Request,
        snapshot::{Closed, count},
        storms::Event,
    },
};

/// What a handler must know of what a request demands.
#[derive(Clone, Copy, Debug)]
struct Terms {
    pins: bool,
    may_wait: Duration,
}

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
        let Admission {
            mut demand,
            rewritten,
            local,
        } = self.admission(&frame);
        let refused = demand.refusal.take();
        let terms = Terms {
            pins: demand.pins,
            may_wait: demand.may_wait,
        };
        let asked = framing
            .looks_at_requests()
            .then(|| Box::new(Asked::received(framing, &frame, demand)));
        let state = match (takes, refused, local) {
            (true, None, None) => match self.rewritten(frame, rewritten) {
                Ok(frame) if self.gathers(&frame, asked.as_deref()) => {
                    let held = frame.length();
                    self.gathered.push(frame);
                    self.exchanges.push(Exchange {
                        request,
                        asked,
                        state: ExchangeState::Grouped { held },
                    });
                    return;
                }
                Ok(frame) => {
                    // Those before it come first.
                    self.begin_gathered();
                    self.begin(frame, terms, now, answer)
                }
                Err(failure) => ExchangeState::Answered(Err(failure)),
            },
            (true, None, Some(reply)) => {
                self.begin_gathered();
                self.begin_local(frame, terms, reply, now, answer)
            }
            (true, Some(failure), _) => ExchangeState::Answered(Err(failure)),
            (false, _, _) => ExchangeState::Answered(Err(Failure::not_taken(
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
            lane: service.framing.lane(&self.state),
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

    /// What becomes of a request, if the framing looks at requests.
    fn admission(&self, frame: &Frame) -> Admission {
        let framing = &self.service.framing;
        match framing.looks_at_requests() {
            true => framing.admit(frame.as_bytes(), &self.state),
            false => Admission::default(),
        }
    }

    /// The request in the form in which the handler gets it.
    fn rewritten(&self, frame: Frame, rewritten: Option<Vec<u8>>) -> Result<Frame, Failure> {
        match rewritten {
            None => Ok(frame),
            Some(bytes) => {
                let context = Context::request(&self.state);
                Frame::parse(&self.service.framing, context, bytes).map_err(|error| {
                    Failure::handler_failed(format!(
                        "the framing's own form of the request: {error}"
                    ))
                })
            }
        }
    }

    /// A request that the framing answers: by itself, unless it concerns what the handler keeps.
    fn begin_local(
        &mut self,
        frame: Frame,
        terms: Terms,
        reply: Box<LocalReply>,
        now: Instant,
        answer: &impl Fn(RequestPermit<F, H>, Request) -> A,
    ) -> ExchangeState<A> {
        match reply.concerns_handler() {
            true => self.run(frame, terms, Some(reply), now, answer),
            false => ExchangeState::Answered(Ok(Reply::local(*reply))),
        }
    }

    /// Begins to answer a request, unless its body is refused or `max_handled` is reached.
    fn begin(
        &mut self,
        frame: Frame,
        terms: Terms,
        now: Instant,
        answer: &impl Fn(RequestPermit<F, H>, Request) -> A,
    ) -> ExchangeState<A> {
        let checked = match self.service.handler.bodies() {
            Bodies::Json => handler::check(frame.body()),
            Bodies::Opaque => Ok(()),
        };
        match checked {
            Ok(()) => self.run(frame, terms, None, now, answer),
            Err(failure) => ExchangeState::Answered(Err(failure)),
        }
    }

    /// Has the handler run, unless `max_handled` is reached.
    fn run(
        &mut self,
        frame: Frame,
        terms: Terms,
        local: Option<Box<LocalReply>>,
        now: Instant,
        answer: &impl Fn(RequestPermit<F, H>, Request) -> A,
    ) -> ExchangeState<A> {
        let (service, held) = (self.service, frame.length());
        let Some(permit) = RequestPermit::new(service, &self.kept) else {
            return ExchangeState::Answered(Err(self.overloaded()));
        };
        let limit = self.settings().handler_deadline;
        // Beyond what can be told it is without a limit.
        let deadline = limit.and_then(|limit| now.checked_add(limit.checked_add(terms.may_wait)?));
        let request = Request {
            frame,
            peer: self.peer,
            deadline,
            pins: terms.pins,
            lane: service.framing.lane(&self.state),
            may_wait: terms.may_wait,
            local,
        };
        ExchangeState::Running {
            answer: Box::pin(answer(permit, request)),
            deadline,
            held,
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
        if self.service.framing.tells_malformed() && !error.is_stranger() {
            self.begin_gathered();
            self.exchanges.push(Exchange {
                request: None,
                asked: None,
                state: ExchangeState::Answered(Err(Failure::malformed(error.to_string()))),
            });
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
