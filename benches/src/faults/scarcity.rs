//! A process without a free file descriptor, for a while.

use std::{fs::File, os::fd::AsRawFd, time::Duration};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// How long it lasts.
pub const SPELL: Duration = Duration::from_secs(2);

/// While it lives, this process can open nothing.
pub struct Scarcity {
    soft: u64,
    hard: u64,
}

impl Scarcity {
    pub fn begin() -> millpond_rig::Result<Scarcity> {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        // A new descriptor is the lowest that is free, and must be below the limit.
        let lowest = File::open("/dev/null")?.as_raw_fd();
        setrlimit(Resource::RLIMIT_NOFILE, u64::try_from(lowest)?, hard)?;
        Ok(Scarcity { soft, hard })
    }
}

impl Drop for Scarcity {
    fn drop(&mut self) {
        setrlimit(Resource::RLIMIT_NOFILE, self.soft, self.hard)
            .expect("what was the limit before is allowed");
    }
}
