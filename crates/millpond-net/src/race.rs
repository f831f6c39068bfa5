//! The order and the times at which a name's addresses are tried: Happy Eyeballs (RFC 8305,
//! sections 4 and 5) with at most two attempts at a time. Knows nothing of sockets: an attempt is
//! any future.

use std::{
    future::Future,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, timeout_at};

/// How long an attempt runs alone before the next address is tried beside it (RFC 8305's
/// recommendation).
const HEAD_START: Duration = Duration::from_millis(250);

/// How long an attempt may hold one of the two places while further addresses are left. The kernel
/// sends the SYN again after a second; this leaves a quarter of a second for the reply to it.
const TURN: Duration = Duration::from_millis(1_250);

/// Attempts at a time.
const AT_ONCE: usize = 2;

/// The attempts of a race that failed, and why.
pub(super) type Failures<E> = Vec<(SocketAddr, E)>;

/// The result of a race that one attempt has won.
pub(super) struct Won<T, E> {
    pub(super) address: SocketAddr,
    pub(super) won: T,
    /// Those that failed first, and those that were given up because this one won.
    pub(super) failures: Failures<E>,
}

/// An attempt under way.
struct Runner<F> {
    address: SocketAddr,
    since: Instant,
    attempt: Pin<Box<F>>,
}

/// Sorts addresses into the order in which they are tried. The families take turns, beginning with
/// that of the first address (RFC 8305, section 4). Addresses that failed lately come last. The
/// sorting is stable.
pub(super) fn in_turn(
    addresses: &[SocketAddr],
    failed_lately: impl Fn(&SocketAddr) -> bool,
) -> Vec<SocketAddr> {
    let (doubtful, good): (Vec<_>, Vec<_>) =
        addresses.iter().partition(|address| failed_lately(address));
    [good, doubtful].into_iter().flat_map(alternating).collect()
}

fn alternating(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(first) = addresses.first().copied() else {
        return addresses;
    };
    let of_first = |address: &SocketAddr| address.is_ipv4() == first.is_ipv4();
    let (ours, theirs): (Vec<_>, Vec<_>) = addresses.into_iter().partition(of_first);
    let (mut ours, mut theirs) = (ours.into_iter(), theirs.into_iter());
    std::iter::from_fn(|| {
        let pair = [ours.next(), theirs.next()];
        pair.iter().any(Option::is_some).then_some(pair)
    })
    .flatten()
    .flatten()
    .collect()
}

/// Tries the addresses until an attempt succeeds or `limit` has passed, and drops the attempts that
/// still run. `Err`: every attempt failed or was given up.
///
/// The failures that come with the winner are the attempts that failed before it, and those that
/// still ran after their [`HEAD_START`].
///
/// # Cancel safety
///
/// Dropping the race drops its attempts.
pub(super) async fn race<T, E, F: Future<Output = Result<T, E>>>(
    addresses: &[SocketAddr],
    attempt: impl Fn(SocketAddr) -> F,
    given_up: impl Fn(Duration) -> E,
    limit: Duration,
) -> Result<Won<T, E>, Failures<E>> {
    let deadline = Instant::now() + limit;
    let mut failures = Vec::new();
    let mut left = addresses.iter().copied();
    let mut next = left.next();
    let mut running: Vec<Runner<F>> = Vec::with_capacity(AT_ONCE);
    let mut place_came_free = true;
    loop {
        let now = Instant::now();
        if let Some(address) = next
            && (place_came_free || starts_at(&running) <= now)
        {
            if running.len() == AT_ONCE {
                let outrun = running.remove(0);
                failures.push((outrun.address, given_up(now - outrun.since)));
            }
            running.push(Runner {
                address,
                since: now,
                attempt: Box::pin(attempt(address)),
            });
            next = left.next();
            place_came_free = false;
        }
        if running.is_empty() {
            return Err(failures);
        }
        let look_again = match next {
            Some(_) => starts_at(&running).min(deadline),
            None => deadline,
        };
        let ended = timeout_at(look_again, first_to_end(&mut running))
            .await
            .ok();
        match ended {
            Some((address, Ok(won))) => {
                let now = Instant::now();
                let outrun = running
                    .iter()
                    .filter(|runner| runner.since + HEAD_START <= now);
                failures
                    .extend(outrun.map(|runner| (runner.address, given_up(now - runner.since))));
                return Ok(Won {
                    address,
                    won,
                    failures,
                });
            }
            Some((address, Err(error))) => {
                failures.push((address, error));
                place_came_free = true;
            }
            None if Instant::now() >= deadline => {
                let now = Instant::now();
                let silent = running.drain(..);
                failures
                    .extend(silent.map(|runner| (runner.address, given_up(now - runner.since))));
                return Err(failures);
            }
            None => {}
        }
    }
}

/// When the next address is tried, unless one of these attempts ends before.
fn starts_at<F>(running: &[Runner<F>]) -> Instant {
    match running {
        [alone] => alone.since + HEAD_START,
        [oldest, .., youngest] => (oldest.since + TURN).max(youngest.since + HEAD_START),
        [] => Instant::now(),
    }
}

/// Waits for the first attempt that ends, and removes it from `running`.
async fn first_to_end<F: Future>(running: &mut Vec<Runner<F>>) -> (SocketAddr, F::Output) {
    std::future::poll_fn(|cx: &mut Context<'_>| {
        for index in 0..running.len() {
            if let Poll::Ready(output) = running[index].attempt.as_mut().poll(cx) {
                let ended = running.remove(index);
                return Poll::Ready((ended.address, output));
            }
        }
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests;
