//! When a caller drops a request that is under way: at a random point, so that every state of a
//! connection meets it.

use std::{
    future::{Future, poll_fn},
    ops::RangeInclusive,
    pin::pin,
    task::Poll,
    time::Duration,
};

use tokio::time::timeout;

/// Unkind callers cancel one request in so many.
const CANCELLED: u32 = 50;

/// How often it has been pending by then: at the first time it waits for a connection or has just
/// been sent, and later ones lie within the reply.
const TURNS: RangeInclusive<u32> = 1..=3;

/// Or how long it has taken by then, at most.
const CANCELLED_WITHIN_US: u64 = 5_000;

/// When a caller drops its request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Patience {
    /// Never.
    Endless,
    /// When the request's future has been pending so many times.
    Turns(u32),
    /// After this time.
    Time(Duration),
}

impl Patience {
    pub(super) fn draw(rng: &mut fastrand::Rng) -> Patience {
        match rng.u32(..CANCELLED) {
            0 if rng.bool() => Patience::Turns(rng.u32(TURNS)),
            0 => Patience::Time(Duration::from_micros(rng.u64(..CANCELLED_WITHIN_US))),
            _ => Patience::Endless,
        }
    }

    /// The request's outcome; `None` if it was dropped before.
    pub(super) async fn wait_for<T>(self, request: impl Future<Output = T>) -> Option<T> {
        match self {
            Patience::Endless => Some(request.await),
            Patience::Time(limit) => timeout(limit, request).await.ok(),
            Patience::Turns(mut left) => {
                let mut request = pin!(request);
                poll_fn(|cx| {
                    let polled = request.as_mut().poll(cx).map(Some);
                    left = left.saturating_sub(u32::from(polled.is_pending()));
                    match left {
                        0 if polled.is_pending() => Poll::Ready(None),
                        _ => polled,
                    }
                })
                .await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request that is over when it was pending so many times.
    async fn over_after(turns: u32) {
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_request_is_dropped_at_its_turn_and_one_that_is_over_before_is_not() {
        assert_eq!(Patience::Turns(2).wait_for(over_after(1)).await, Some(()));
        assert_eq!(Patience::Turns(2).wait_for(over_after(2)).await, None);
        assert_eq!(Patience::Turns(1).wait_for(over_after(0)).await, Some(()));
        assert_eq!(Patience::Endless.wait_for(over_after(9)).await, Some(()));
    }

    #[test]
    fn about_one_request_in_fifty_is_cancelled() {
        let mut rng = fastrand::Rng::with_seed(7);
        let cancelled = (0..100_000)
            .filter(|_| !matches!(Patience::draw(&mut rng), Patience::Endless))
            .count();
        assert!((1_800..=2_200).contains(&cancelled), "{cancelled}");
    }
}
