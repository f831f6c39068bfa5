//! What a benchmark uses of this machine: processor time, and sockets in TIME_WAIT.

use std::{fs, time::Duration};

use nix::sys::{
    resource::{UsageWho, getrusage},
    time::{TimeVal, TimeValLike},
};

/// The time that processors have spent on this process, in its own code and in the kernel on its behalf.
pub(super) fn cpu_time() -> Option<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    let time = |time: TimeVal| Duration::from_micros(time.num_microseconds().unsigned_abs());
    Some(time(usage.user_time()) + time(usage.system_time()))
}

/// All sockets in TIME_WAIT in this network namespace; `None` where the system doesn't tell.
pub(super) fn sockets_in_time_wait() -> Option<u64> {
    time_wait(&fs::read_to_string("/proc/net/sockstat").ok()?)
}

/// The number after `tw` in the line of TCP.
fn time_wait(sockstat: &str) -> Option<u64> {
    let mut words = sockstat
        .lines()
        .find_map(|line| line.strip_prefix("TCP:"))?
        .split_whitespace();
    words.find(|word| *word == "tw")?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_in_time_wait_are_found_among_the_statistics() {
        let text = "sockets: used 22\nTCP: inuse 2 orphan 0 tw 117 alloc 3 mem 0\nUDP: inuse 7 mem 0\n";
        assert_eq!(time_wait(text), Some(117));
        for bad in ["", "TCP: inuse 2", "TCP: tw", "TCP: tw x", "UDP: tw 5"] {
            assert_eq!(time_wait(bad), None, "{bad:?}");
        }
    }

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
