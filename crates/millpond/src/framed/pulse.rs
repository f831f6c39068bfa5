//! When a connection must send a heartbeat, and when its peer counts as dead. Pure: it is told the
//! time.

use std::time::Duration;

use tokio::time::Instant;

/// How many intervals without a sign of life make a peer dead that has shown that it sends
/// heartbeats: two may be late, and the third has half its time.
const PATIENCE: f64 = 2.5;

/// What a peer's interval is taken for where ours are switched off: a heartbeat that comes right
/// behind a reply says nothing of it.
const UNTOLD: Duration = Duration::from_secs(10);

/// The signs of life on one connection, in both directions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pulse {
    /// Ours, this connection's share of jitter included; zero: none are sent.
    interval: Duration,
    sent: Instant,
    heard: Instant,
    /// The longest pause between two signs of life of a peer that sends heartbeats; zero while it
    /// has sent none.
    longest_pause: Duration,
    beats: bool,
}

impl Pulse {
    /// A new connection's. `share`, from 0 to 1, spreads the interval over a fifth, so that
    /// connections opened together don't beat together.
    pub(crate) fn new(interval: Duration, share: f64, now: Instant) -> Self {
        Pulse {
            interval: interval.mul_f64(0.9 + 0.2 * share.clamp(0.0, 1.0)),
            sent: now,
            heard: now,
            longest_pause: Duration::ZERO,
            beats: false,
        }
    }

    /// Something was sent, whatever it was.
    pub(crate) fn sent(&mut self, now: Instant) {
        self.sent = now;
    }

    /// Something was received that wasn't a heartbeat.
    pub(crate) fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    /// A heartbeat was received: from now on their absence means something.
    pub(crate) fn beat(&mut self, now: Instant) {
        let pause = now.saturating_duration_since(self.heard);
        self.longest_pause = self.longest_pause.max(pause);
        self.beats = true;
        self.heard = now;
    }

    /// When a heartbeat is to be sent, if nothing else is before.
    pub(crate) fn beat_due(&self) -> Option<Instant> {
        (!self.interval.is_zero()).then(|| self.sent + self.interval)
    }

    /// When the peer counts as dead, if nothing comes from it before.
    pub(crate) fn dead_at(&self) -> Option<Instant> {
        let ours = match self.interval {
            Duration::ZERO => UNTOLD,
            interval => interval,
        };
        self.beats
            .then(|| self.heard + ours.max(self.longest_pause).mul_f64(PATIENCE))
    }

    /// The next moment at which something is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        [self.beat_due(), self.dead_at()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether the peer counts as dead. Read before asking: after a suspension of our own its
    /// heartbeats lie in the socket.
    pub(crate) fn is_dead(&self, now: Instant) -> bool {
        self.dead_at().is_some_and(|at| at <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_heartbeat_is_due_after_a_whole_interval_without_sending() {
        let now = Instant::now();
        let mut pulse = Pulse::new(10 * SECOND, 0.5, now);
        assert_eq!(pulse.beat_due(), Some(now + 10 * SECOND));
        pulse.sent(now + 3 * SECOND);
        assert_eq!(pulse.beat_due(), Some(now + 13 * SECOND));
        assert_eq!(
            Pulse::new(Duration::ZERO, 0.5, now).beat_due(),
            None,
            "switched off"
        );
        let shares =
            [0.0, 1.0].map(|share| Pulse::new(10 * SECOND, share, now).beat_due().unwrap() - now);
        assert_eq!(shares, [9 * SECOND, 11 * SECOND]);
    }

    #[test]
    fn only_a_peer_that_has_sent_heartbeats_is_missed() {
        let now = Instant::now();
        let mut pulse = Pulse::new(10 * SECOND, 0.5, now);
        pulse.heard(now + SECOND);
        assert!(!pulse.is_dead(now + 1_000 * SECOND));
        pulse.beat(now + 2 * SECOND);
        assert_eq!(pulse.dead_at(), Some(now + 27 * SECOND));
        assert!(!pulse.is_dead(now + 26 * SECOND) && pulse.is_dead(now + 27 * SECOND));
        pulse.heard(now + 26 * SECOND);
        assert!(
            !pulse.is_dead(now + 27 * SECOND),
            "a reply is as good a sign"
        );
    }

    #[test]
    fn the_longer_interval_counts_ours_or_the_longest_seen() {
        let now = Instant::now();
        let mut pulse = Pulse::new(SECOND, 0.5, now);
        pulse.beat(now + 40 * SECOND);
        assert_eq!(pulse.dead_at(), Some(now + 140 * SECOND));
        let mut silent = Pulse::new(Duration::ZERO, 0.5, now);
        silent.beat(now + 40 * SECOND);
        assert_eq!(
            silent.dead_at(),
            Some(now + 140 * SECOND),
            "also where ours are switched off"
        );
        let mut silent = Pulse::new(Duration::ZERO, 0.5, now);
        silent.beat(now);
        assert_eq!(
            silent.dead_at(),
            Some(now + 25 * SECOND),
            "nobody is dead at once"
        );
    }
}
