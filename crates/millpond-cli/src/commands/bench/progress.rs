//! The line that is shown while a round lasts.

use std::time::Duration;

use super::results::Mode;
use crate::numbers::{rate, thousands};

/// Which round of which mode.
#[derive(Clone, Copy, Debug)]
pub(super) struct Title {
    /// From 1 on.
    pub(super) round: u32,
    pub(super) rounds: u32,
    pub(super) mode: Mode,
}

impl Title {
    /// At most `width` columns wide for the numbers of a common machine.
    pub(super) fn line(
        self,
        at: Duration,
        replies_per_second: f64,
        connections: u64,
        width: usize,
    ) -> String {
        let Title {
            round,
            rounds,
            mode,
        } = self;
        let (seconds, mode) = (at.as_secs_f64(), mode.name());
        let (rate, connections) = (rate(replies_per_second), thousands(connections));
        match width < 74 {
            true => format!("{seconds:.1} s {round}/{rounds} {mode} {rate}/s"),
            false => format!(
                "{seconds:5.1} s  round {round} of {rounds}  {mode:<9}  {rate:>9} replies/s  {connections} connections"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_fits_wide_and_narrow_terminals() {
        let title = Title {
            round: 10,
            rounds: 10,
            mode: Mode::Pipelined,
        };
        for width in [40, 73, 74, 80] {
            let line = title.line(Duration::from_secs(999), 1_234_567.0, 999, width);
            assert!(line.chars().count() < width, "{line}");
        }
    }
}
