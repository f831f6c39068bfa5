//! Writes replies in the order of the requests, as far as the client takes them, and tells it of
//! failures in the words of the protocol.

use std::{
    convert::Infallible,
    future::Future,
    pin::pin,
    task::{Context, Poll},
};

use tokio::{task::yield_now, time::Instant};

use super::{Connection, TURN_BYTES, long_turn::LONG, replies::Replying};
use crate::{
    framed::Asked,
    framing::{Failure, FailureKind, Framing, Note, Told},
    server::{
        exchanges::Answered,
        handler::ConnectionHandler,
        ledger::Service,
        limits::{shorten, transfer_time},
        reply::Reply,
        snapshot::{Closed, count},
        storms::Event,
    },
};

impl<F: Framing, H: ConnectionHandler, A: Future<Output = Result<Reply, Failure>>>
    Connection<'_, F, H, A>
{
    /// Writes the rest of the last batch, and then the replies that are ready, as far as the client
    /// takes them.
    pub(super) fn write(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<(), Closed> {
        let before = self.outgoing.taken();
        loop {
            if !self.outgoing.is_empty() {
                let rest = self.outgoing.poll_rest(self.framed.stream_mut(), cx);
                match rest {
                    Poll::Pending => return Ok(()),
                    Poll::Ready(Ok(())) => self.written(now),
                    Poll::Ready(Err(_)) => return Err(Closed::Broken),
                }
            }
            if !self.exchanges.has_answer() {
                return Ok(());
            }
            if self.exchanges.next_length() > LONG && !self.excess.has_long_turn(self.ledger(), cx)
            {
                return Ok(());
            }
            self.hold_last_replies_back();
            if let Err(ends) = self.begin_batch(cx, now)? {
                self.end_by_reply(ends);
            }
            let is_long = self.outgoing.taken() - before >= TURN_BYTES;
            if is_long && self.exchanges.has_answer() {
                let _ = pin!(yield_now()).poll(cx);
                return Ok(());
            }
        }
    }

    /// Puts the replies that are ready into a batch, and begins to write it. The result within is
    /// an error if one of them ends the connection.
    fn begin_batch(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
    ) -> Result<Result<(), Ends>, Closed> {
        let may_be_long = self.excess.is_long_turn();
        let (service, exchanges) = (self.service, &mut self.exchanges);
        let state = &mut self.state;
        let (mut told, mut leaving) = (Ok(()), 0);
        let mut is_empty = true;
        let begun = self.outgoing.begin(self.framed.stream_mut(), cx, |batch| {
            while batch.len() < service.ledger.settings.max_batch
                && told.is_ok()
                && (may_be_long || exchanges.next_length() <= LONG)
                && let Some(answered) = exchanges.take_answer()
            {
                told = reply(service, state, answered, batch);
                leaving += 1;
            }
            is_empty = batch.is_empty();
            Ok::<_, Infallible>(())
        });
        self.leaving = leaving;
        if !matches!(begun, Ok(Ok(()))) {
            return Err(Closed::Broken);
        }
        self.used = now;
        // Requests without a reply keep no client alive.
        match is_empty {
            true => self.leaving = 0,
            false => self.written(now),
        }
        Ok(told)
    }

    /// A reply ends the connection. The requests behind it get no answer.
    fn end_by_reply(&mut self, ends: Ends) {
        let untold = match ends {
            Ends::Untold(failure) => Some(failure),
            Ends::AsAsked => None,
        };
        // A frame that is too long is told of last, and ends the connection for that reason.
        let is_of_too_long = self.ending == Some(Closed::FrameTooLong)
            && !self.service.framing.failure_needs_request()
            && self.exchanges.is_empty();
        if !is_of_too_long {
            if let Some(failure) = untold {
                self.log_untold(failure);
            }
            self.ending = Some(Closed::ToldFailure);
        }
        let is_one_waiting = self.excess.take_waiting().is_some();
        if let Some(draining) = &mut self.draining {
            let unanswered = self.exchanges.len() + usize::from(is_one_waiting);
            draining.unanswered += unanswered + usize::from(untold.is_some());
        }
        self.leaving = self.leaving.saturating_sub(u32::from(untold.is_some()));
        self.exchanges.clear();
    }

    /// Logs the failure's kind alone: its message may quote the request.
    pub(super) fn log_untold(&self, failure: FailureKind) {
        if self.ledger().storms.happened(Event::ToldFailure) {
            let (reason, protocol) = (in_words(failure), self.service.framing.name());
            tracing::warn!(target: "millpond::server", peer = self.peer.map(tracing::field::display), reason, protocol, "connection closed: the protocol has no reply for a failure");
        }
    }

    /// Called before replies are written as the server drains. If these are the last ones, they
    /// leave with the end of the connection, in one packet: a client that uses the connection again
    /// as soon as it has its reply would otherwise send a request that crosses the end.
    fn hold_last_replies_back(&mut self) {
        // A full `max_in_flight` doesn't count as more to come: with the last reply it isn't full.
        let may_end = self.exchanges.are_answered();
        if let Some(draining) = &mut self.draining
            && may_end
        {
            draining.holds_back = true;
            self.framed.stream().hold_back(true);
        }
    }

    /// Something was written. What is left of it has a deadline.
    pub(super) fn written(&mut self, now: Instant) {
        self.pulse.sent(now);
        if self.outgoing.is_empty() {
            self.leaving = 0;
        }
        let settings = self.settings();
        self.write_due = (!self.outgoing.is_empty())
            .then(|| {
                transfer_time(
                    settings.write_timeout,
                    self.outgoing.remaining(),
                    settings.least_rate,
                )
            })
            .map(|time| now + time);
    }
}

/// How a reply ends its connection.
#[derive(Clone, Copy, Debug)]
enum Ends {
    /// It is a failure for which the protocol has no reply.
    Untold(FailureKind),
    /// It is a failure that was told, and that asks for it.
    AsAsked,
}

/// Adds a reply to a batch, or what tells of a failure.
fn reply<F: Framing, H>(
    service: &Service<F, H>,
    state: &mut Note,
    answered: Answered,
    batch: &mut Vec<u8>,
) -> Result<(), Ends> {
    let counters = &service.ledger.counters;
    let asked = answered.asked.as_deref();
    let is_silent = asked.is_some_and(Asked::is_silent);
    let mut replying = Replying {
        framing: &service.framing,
        asked,
        state,
        batch,
    };
    let added = answered.answer.and_then(|reply| {
        if !is_silent {
            replying.add(&reply)?;
        }
        Ok(reply.closes())
    });
    let failure = match added {
        Ok(closes) => {
            count(&counters.replies);
            return match closes {
                true => Err(Ends::AsAsked),
                false => Ok(()),
            };
        }
        Err(failure) => failure,
    };
    counters.failure(failure.kind());
    let closes = failure.closes();
    let told = match closes {
        true => Err(Ends::AsAsked),
        false => Ok(()),
    };
    if is_silent {
        return told;
    }
    let failure = failure.map_message(shorten);
    let request = answered.request.as_deref().unwrap_or_default();
    match replying.add_failure(request, &failure) {
        Told::ByReply => told,
        Told::ByClosing => Err(Ends::Untold(failure.kind())),
    }
}

/// A failure for the log.
fn in_words(failure: FailureKind) -> &'static str {
    match failure {
        FailureKind::Malformed => "the request's body is not what its handler reads",
        FailureKind::Refused => "the request was refused",
        FailureKind::HandlerFailed => "the handler failed, or its reply can't be sent",
        FailureKind::Unavailable => "what the handler needs can't be reached",
        FailureKind::Overloaded => "too many requests are being handled",
        FailureKind::TimedOut => "the handler took too long",
        FailureKind::NotTaken => "the server drains",
        FailureKind::Application(_) => "the handler said so, by a code of its own",
    }
}
