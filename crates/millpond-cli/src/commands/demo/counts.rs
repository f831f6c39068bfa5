//! The line of counts that is shown while there is load.

use std::time::Duration;

use millpond::{client::ClientSnapshot, pool::Eviction};

use crate::numbers::thousands;

/// The counts of a client under load, at most `width` columns wide for the numbers of a default run.
pub(super) fn pooled(
    at: Duration,
    client: &ClientSnapshot,
    per_second: f64,
    width: usize,
) -> String {
    let pool = &client.pool;
    let evicted: u64 = Eviction::ALL
        .iter()
        .map(|&reason| pool.totals.evicted(reason))
        .sum();
    let (at, rate) = (at.as_secs_f64(), thousands(per_second.round() as u64));
    let [idle, active, waiting, connecting] =
        [pool.idle, pool.active, client.waiting, pool.connecting]
            .map(|count| thousands(count as u64));
    let evicted = thousands(evicted);
    if width < 60 {
        return format!("{at:.1} s active {active} wait {waiting} {rate}/s");
    }
    if width < 76 {
        return format!(
            "{at:.1} s idle {idle} active {active} wait {waiting} conn {connecting} evicted {evicted} {rate}/s"
        );
    }
    format!(
        "{at:4.1} s  idle {idle:<2} active {active:<2} waiting {waiting:<3} connecting {connecting:<2} evicted {evicted:<5} {rate}/s"
    )
}

/// The counts of connections that carry one request each.
pub(super) fn short(at: Duration, over: u64, per_second: f64, width: usize) -> String {
    let (at, rate) = (at.as_secs_f64(), thousands(per_second.round() as u64));
    let over = thousands(over);
    match width < 60 {
        true => format!("{at:.1} s opened {over} {rate}/s"),
        false => format!("{at:4.1} s  sockets opened and closed {over:<6} {rate}/s"),
    }
}
