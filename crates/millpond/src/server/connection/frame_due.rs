//! The deadline for the rest of a frame that has arrived in part. Pure: it is told the time.
//!
//! A frame has `header_timeout` until its length is known, and then `body_timeout` plus the time
//! that its length takes at `least_rate`. If no length is announced, the first [`LONGEST_HEAD`]
//! bytes count as the head; from then on the frame has as much time as if it ended with the last
//! byte that has arrived.

use tokio::time::Instant;

use crate::server::{
    limits::{transfer_time, transfer_time_of},
    settings::ServerSettings,
    snapshot::Closed,
};

/// How many bytes a head may have. A frame whose length isn't known by then is treated as a body.
/// More than the head of any common protocol, and less than a packet carries.
const LONGEST_HEAD: usize = 1 << 10;

/// Which part of a frame is missing, and its deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrameDue {
    /// The end of the head.
    Head(Instant),
    /// The end of a body whose length was announced.
    Body(Instant),
    /// The end of a body of unknown length. It moves on as bytes arrive.
    Open(Instant),
}

/// An unfinished frame of which something has just arrived.
#[derive(Clone, Copy, Debug)]
pub(super) struct Partial {
    /// Its length in bytes, if it was announced.
    pub(super) announced: Option<usize>,
    /// How many of its bytes are there.
    pub(super) arrived: usize,
    /// How many were there before.
    pub(super) before: usize,
}

impl FrameDue {
    /// The deadline for the rest. `earlier` is the one that held before these bytes.
    pub(super) fn of(
        partial: Partial,
        earlier: Option<FrameDue>,
        settings: &ServerSettings,
        now: Instant,
    ) -> FrameDue {
        let Partial {
            announced,
            arrived,
            before,
        } = partial;
        let body = |length| now + transfer_time(settings.body_timeout, length, settings.least_rate);
        match (announced, earlier) {
            (Some(_), Some(FrameDue::Body(due))) => FrameDue::Body(due),
            (Some(length), _) => FrameDue::Body(body(length)),
            (None, Some(FrameDue::Open(due) | FrameDue::Body(due))) => FrameDue::Open(
                due + transfer_time_of(arrived.saturating_sub(before), settings.least_rate),
            ),
            (None, _) if arrived > LONGEST_HEAD => FrameDue::Open(body(arrived)),
            (None, Some(head @ FrameDue::Head(_))) => head,
            (None, None) => FrameDue::Head(now + settings.header_timeout),
        }
    }

    /// When it passes.
    pub(super) fn at(self) -> Instant {
        match self {
            FrameDue::Head(due) | FrameDue::Body(due) | FrameDue::Open(due) => due,
        }
    }

    /// Why the connection ends when the deadline has passed.
    pub(super) fn reason(self) -> Closed {
        match self {
            FrameDue::Head(_) => Closed::HeaderTimeout,
            FrameDue::Body(_) | FrameDue::Open(_) => Closed::BodyTimeout,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn settings() -> ServerSettings {
        ServerSettings {
            header_timeout: 10 * SECOND,
            body_timeout: 5 * SECOND,
            least_rate: 1_000,
            ..ServerSettings::default()
        }
    }

    /// The deadline after each of these steps: at which second, how many bytes of the frame are
    /// there, and its length if it was announced.
    fn history(steps: &[(u32, usize, Option<usize>)]) -> Vec<(FrameDue, Duration)> {
        let (settings, start) = (settings(), Instant::now());
        let (mut due, mut before) = (None, 0);
        let mut step = |&(at, arrived, announced): &(u32, usize, Option<usize>)| {
            let partial = Partial {
                announced,
                arrived,
                before,
            };
            let now = FrameDue::of(partial, due, &settings, start + at * SECOND);
            (due, before) = (Some(now), arrived);
            (now, now.at() - start)
        };
        steps.iter().map(&mut step).collect()
    }

    #[test]
    fn a_head_has_its_time_from_its_first_byte_and_a_body_from_its_announcement() {
        let seen = history(&[
            (0, 1, None),
            (3, 2, None),
            (4, 4, Some(20_000)),
            (9, 10_000, Some(20_000)),
        ]);
        let times: Vec<_> = seen
            .iter()
            .map(|(due, at)| (due.reason(), at.as_secs()))
            .collect();
        assert_eq!(
            times,
            [
                (Closed::HeaderTimeout, 10),
                (Closed::HeaderTimeout, 10),
                (Closed::BodyTimeout, 29),
                (Closed::BodyTimeout, 29),
            ]
        );
    }

    #[test]
    fn a_body_without_a_length_has_the_time_that_what_has_come_of_it_takes() {
        let seen = history(&[
            (0, 1_000, None),
            (2, 3_000, None),
            (4, 4_000, None),
            (9, 4_001, None),
        ]);
        let times: Vec<_> = seen
            .iter()
            .map(|(due, at)| (due.reason(), at.as_millis()))
            .collect();
        assert_eq!(
            times,
            [
                (Closed::HeaderTimeout, 10_000),
                (Closed::BodyTimeout, 10_000),
                (Closed::BodyTimeout, 11_000),
                (Closed::BodyTimeout, 11_001),
            ]
        );
    }

    #[test]
    fn a_length_that_is_announced_late_ends_what_was_open() {
        let seen = history(&[(0, 2_000, None), (3, 2_004, Some(10_000))]);
        assert!(matches!(seen[0], (FrameDue::Open(_), at) if at == 7 * SECOND));
        assert!(matches!(seen[1], (FrameDue::Body(_), at) if at == 18 * SECOND));
    }
}
