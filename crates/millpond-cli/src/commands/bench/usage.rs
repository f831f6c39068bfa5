//! What a benchmark uses of this machine: processor time, and sockets in TIME_WAIT.

use std::{fs, time::Duration};

use nix::sys::{
    resource::{UsageWho, getrusage},
    time::{TimeVal, TimeValLike},
};

use crate::sockstat::SocketCounts;

/// The processor time of this process, user and system.
pub(super) fn cpu_time() -> Option<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    let time = |time: TimeVal| Duration::from_micros(time.num_microseconds().unsigned_abs());
    Some(time(usage.user_time()) + time(usage.system_time()))
}

/// All sockets in TIME_WAIT in this network namespace; `None` where the system doesn't tell.
pub(super) fn sockets_in_time_wait() -> Option<u64> {
    let text = fs::read_to_string("/proc/net/sockstat").ok()?;
    Some(SocketCounts::parse(&text)?.time_wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_grows_with_work() {
        let before = cpu_time().expect("the system tells");
        let mut sum = 0_u64;
        while cpu_time().expect("the system tells") == before {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(cpu_time().expect("the system tells") > before);
    }
}
