//! Bytes in both directions between a client and an upstream: when that is over, and why. Reads and
//! writes what it is given, told the time; closes nothing.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::Instant;

use super::one_way::{Broken, OneWay, WriteLimit};
use crate::net::Stream;

/// How long nothing may come from the upstream once the client has ended. Clients that have gone
/// look as if they had only ended their sending, and others wait for the connection meanwhile; who
/// asks and ends is most often answered sooner.
const AFTER_CLIENT: Duration = Duration::from_secs(60);

/// How long nothing may come from the client once the upstream has ended. Servers that end have
/// closed, nearly always; clients often notice that only when they use the connection again.
const AFTER_UPSTREAM: Duration = Duration::from_secs(1);

/// How long a session may last, and be silent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) write: WriteLimit,
    pub(super) idle: Option<Duration>,
    pub(super) age: Option<Duration>,
}

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Both sides have ended, this one first; or only the upstream, and the client has nothing more to
    /// say.
    Ended(Side),
    /// This side is broken: reset, or cut short.
    Broken(Side),
    /// Nothing has come for too long.
    Idle,
    /// A side hasn't taken in time what was written to it.
    Stalled,
    /// It has lasted as long as it may.
    TooOld,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Upstream,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Copying {
    limits: Limits,
    began: Instant,
    /// When a byte was passed on last.
    moved: Instant,
    to_upstream: OneWay,
    to_client: OneWay,
    /// Who has ended first.
    first: Option<Side>,
    /// Which direction is looked at first. It alternates: what is never done leaves the other one
    /// nothing of the task's turn.
    back_first: bool,
}

impl Copying {
    /// From now on. `ahead` was read from the upstream already.
    pub(super) fn begin(limits: Limits, ahead: Vec<u8>, now: Instant) -> Self {
        Copying {
            limits,
            began: now,
            moved: now,
            to_upstream: OneWay::new(Vec::new()),
            to_client: OneWay::new(ahead),
            first: None,
            back_first: false,
        }
    }

    /// Bytes passed on, to the upstream and to the client.
    pub(super) fn passed(&self) -> [u64; 2] {
        [self.to_upstream.passed(), self.to_client.passed()]
    }

    /// Whether this side has been told the other one's end, and so has all that came from there.
    pub(super) fn has_all(&self, side: Side) -> bool {
        match side {
            Side::Client => self.to_client.has_ended(),
            Side::Upstream => self.to_upstream.has_ended(),
        }
    }

    /// Passes on what there is. Pending: nothing is to be done until either stream is ready or
    /// [`due`](Copying::due) has come.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        client: &mut Stream,
        upstream: &mut Stream,
    ) -> Poll<End> {
        let before = self.passed();
        let limit = self.limits.write;
        self.back_first = !self.back_first;
        let (there, back);
        if self.back_first {
            back = self.to_client.poll(cx, now, limit, [upstream, client]);
            there = self.to_upstream.poll(cx, now, limit, [client, upstream]);
        } else {
            there = self.to_upstream.poll(cx, now, limit, [client, upstream]);
            back = self.to_client.poll(cx, now, limit, [upstream, client]);
        }
        if self.passed() != before {
            self.moved = now;
        }
        let first = match (there.is_ready(), back.is_ready()) {
            (true, _) => Some(Side::Client),
            (_, true) => Some(Side::Upstream),
            _ => None,
        };
        if self.first.is_none() && first.is_some() {
            self.first = first;
            self.moved = now;
        }
        match ended(there, back, self.first) {
            Some(end) => Poll::Ready(end),
            None => match self.due() {
                Some((due, end)) if due <= now => Poll::Ready(end),
                _ => Poll::Pending,
            },
        }
    }

    /// When the session is over if nothing happens before, and why.
    pub(super) fn due(&self) -> Option<(Instant, End)> {
        let silence = match self.first {
            None => self.limits.idle.map(|idle| (idle, End::Idle)),
            Some(Side::Client) => {
                let idle = self.limits.idle.unwrap_or(AFTER_CLIENT);
                Some((idle.min(AFTER_CLIENT), End::Idle))
            }
            Some(Side::Upstream) => Some((AFTER_UPSTREAM, End::Ended(Side::Upstream))),
        };
        let stalled = [self.to_upstream.write_due(), self.to_client.write_due()];
        let mut stalled = stalled.into_iter().flatten().peekable();
        // A side that doesn't take what there is keeps the other one silent.
        let silence = silence.filter(|_| stalled.peek().is_none());
        let stalled = stalled.map(|due| (due, End::Stalled));
        let idle = silence.map(|(limit, end)| (self.moved + limit, end));
        let too_old = self.limits.age.and_then(|age| self.began.checked_add(age));
        let too_old = too_old.map(|due| (due, End::TooOld));
        stalled
            .chain(idle)
            .chain(too_old)
            .min_by_key(|(due, _)| *due)
    }
}

/// Whether a session is over, by how far its directions are.
///
/// An upstream that takes nothing more may still have something to say: its reply to what it
/// refuses. A client that takes nothing more has gone.
fn ended(
    there: Poll<Result<(), Broken>>,
    back: Poll<Result<(), Broken>>,
    first: Option<Side>,
) -> Option<End> {
    match (there, back) {
        (Poll::Ready(Err(Broken::Source)), _) | (_, Poll::Ready(Err(Broken::Sink))) => {
            Some(End::Broken(Side::Client))
        }
        (_, Poll::Ready(Err(Broken::Source)))
        | (Poll::Ready(Err(Broken::Sink)), Poll::Ready(Ok(()))) => {
            Some(End::Broken(Side::Upstream))
        }
        (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => {
            Some(End::Ended(first.unwrap_or(Side::Client)))
        }
        _ => None,
    }
}
