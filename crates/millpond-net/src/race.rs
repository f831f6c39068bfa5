//! Which of a name's addresses is connected to when: Happy Eyeballs (RFC 8305, sections 4 and 5)
//! with at most two attempts at a time. Knows nothing of sockets: an attempt is any future.

use std::{
    future::Future,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, timeout_at};

/// How long an attempt has the field to itself before the next address is tried beside it (RFC
/// 8305's recommendation).
const HEAD_START: Duration = Duration::from_millis(250);

/// How long an attempt may hold one of the two places while further addresses are left: the first
/// SYN sent again leaves after a second, and gets a quarter of one to be answered.
const TURN: Duration = Duration::from_millis(1_250);

/// Attempts at a time.
const AT_ONCE: usize = 2;

/// What a race has tried in vain.
pub(super) type Failures<E> = Vec<(SocketAddr, E)>;

/// How a race was won.
pub(super) struct Won<T, E> {
    pub(super) address: SocketAddr,
    pub(super) won: T,
    /// Before that, or beside it.
    pub(super) failures: Failures<E>,
}

/// An attempt under way.
struct Runner<F> {
    address: SocketAddr,
    since: Instant,
    attempt: Pin<Box<F>>,
}

/// Sorts addresses into the order in which they are tried: the families take turns, beginning with
/// that of the first address (RFC 8305, section 4), and those that failed lately come last. The
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

/// Attempts each address, until one succeeds or `limit` has passed; the others are dropped then.
/// `Err`: all have failed that were tried.
///
/// With the winner come those that failed before it, or had begun earlier and hadn't been heard of.
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

/// When the next address is tried if none of these ends before.
fn starts_at<F>(running: &[Runner<F>]) -> Instant {
    match running {
        [alone] => alone.since + HEAD_START,
        [oldest, .., youngest] => (oldest.since + TURN).max(youngest.since + HEAD_START),
        [] => Instant::now(),
    }
}

/// The first attempt that ends leaves the field.
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
