//! How often a request is sent again that servers turn away, as those do that drain, and after
//! which pause. Pure.

use std::time::Duration;

/// How often one request is sent again. With the pauses that is tried for 150 ms: enough for a
/// client of several servers to find another, or for one that is restarted to be dialled. What
/// still finds only servers that drain is told so.
const MOST: u32 = 4;

/// Before the first time; each further pause is twice the one before. Without them a client of one
/// server that drains would do nothing else.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// One request's count.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TurnedAway {
    times: u32,
}

impl TurnedAway {
    /// A server didn't take the request. How long to wait before it is sent again; nothing, if that
    /// was often enough.
    pub(super) fn pause(&mut self) -> Option<Duration> {
        let pause = (self.times < MOST).then(|| FIRST_PAUSE * 2_u32.pow(self.times));
        self.times += 1;
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_and_each_pause_is_twice_the_one_before() {
        let mut turned_away = TurnedAway::default();
        let pauses: Vec<_> = std::iter::from_fn(|| turned_away.pause())
            .take(100)
            .collect();
        assert_eq!(pauses, [10, 20, 40, 80].map(Duration::from_millis));
        assert_eq!(turned_away.pause(), None, "and stays at its end");
    }
}
