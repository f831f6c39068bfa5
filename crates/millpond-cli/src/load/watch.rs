//! Looks at a load while it runs: at intervals, and once more at its end.

use std::time::Duration;

use tokio::{
    pin, select,
    time::{MissedTickBehavior, interval},
};

/// When a load is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    Meanwhile,
    End,
}

/// Waits for `running`, and looks at it meanwhile.
pub(crate) async fn watched<T>(
    running: impl Future<Output = T>,
    cadence: Duration,
    mut look: impl FnMut(Moment),
) -> T {
    pin!(running);
    let mut ticks = interval(cadence);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks.reset();
    loop {
        select! {
            ended = &mut running => {
                look(Moment::End);
                return ended;
            }
            _ = ticks.tick() => look(Moment::Meanwhile),
        }
    }
}

/// A count at a moment, to tell how fast it grows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rate {
    /// Since the beginning.
    pub(crate) at: Duration,
    count: u64,
}

impl Rate {
    /// How much the count has grown per second since the last look.
    pub(crate) fn since(&mut self, at: Duration, count: u64) -> f64 {
        let (time, more) = (at.saturating_sub(self.at), count.saturating_sub(self.count));
        *self = Rate { at, count };
        per_second(more, time)
    }
}

/// So many within this time, per second; 0 if there was no time.
pub(crate) fn per_second(count: u64, time: Duration) -> f64 {
    match time.is_zero() {
        true => 0.0,
        false => count as f64 / time.as_secs_f64(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_that_since_the_last_look() {
        let mut rate = Rate::default();
        assert_eq!(rate.since(Duration::from_millis(100), 50), 500.0);
        assert_eq!(rate.since(Duration::from_millis(600), 100), 100.0);
        assert_eq!(rate.since(Duration::from_millis(600), 100), 0.0);
    }
}
