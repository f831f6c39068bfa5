//! How many files (and so sockets) this process and the machine may open, and how many are open.

use std::io;

/// How many files this process may open, and how many it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DescriptorLimits {
    /// The soft limit of `RLIMIT_NOFILE`: what is enforced. `u64::MAX` for none.
    pub soft: u64,
    /// The hard limit: the process may raise the soft one up to it.
    pub hard: u64,
    /// How many are open. `None` if unknown: before Linux 6.2 when no descriptor is left, and on
    /// other systems always.
    pub open: Option<u64>,
    /// The whole machine's. `None` if unknown: when no descriptor is left, and on other systems
    /// than Linux.
    pub system: Option<SystemFiles>,
}

/// How many files the whole machine may open, and how many it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SystemFiles {
    /// How many are open.
    pub open: u64,
    /// How many may be (`fs.file-max`).
    pub limit: u64,
}

/// How many files this process may open, and how many it has.
///
/// This blocks for some µs; before Linux 6.2 for as long as it takes to list `/proc/self/fd`, some
/// 0.1 µs for each open file.
///
/// # Errors
///
/// When the limits themselves can't be read, which only a sandbox brings about.
pub fn descriptor_limits() -> io::Result<DescriptorLimits> {
    let (soft, hard) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)?;
    Ok(DescriptorLimits {
        soft,
        hard,
        open: platform::open(),
        system: platform::system(),
    })
}

#[cfg(not(target_os = "linux"))]
mod platform {
    pub(super) fn open() -> Option<u64> {
        None
    }

    pub(super) fn system() -> Option<super::SystemFiles> {
        None
    }
}

#[cfg(target_os = "linux")]
mod platform {
    use std::fs;

    use super::SystemFiles;

    const DESCRIPTORS: &str = "/proc/self/fd";

    pub(super) fn open() -> Option<u64> {
        // Since Linux 6.2 the folder's size is the number of its entries, and to ask for it takes
        // no descriptor.
        let size = fs::metadata(DESCRIPTORS).ok()?.len();
        if size > 0 {
            return Some(size);
        }
        let entries = fs::read_dir(DESCRIPTORS).ok()?.count() as u64;
        // One of them is the folder itself, open to be read.
        Some(entries.saturating_sub(1))
    }

    pub(super) fn system() -> Option<SystemFiles> {
        file_nr(&fs::read_to_string("/proc/sys/fs/file-nr").ok()?)
    }

    /// `594 0 2466170`: allocated, of these unused, and the limit.
    pub(super) fn file_nr(text: &str) -> Option<SystemFiles> {
        let mut numbers = text.split_whitespace().map(|word| word.parse::<u64>().ok());
        let (allocated, unused, limit) = (numbers.next()??, numbers.next()??, numbers.next()??);
        Some(SystemFiles {
            open: allocated.saturating_sub(unused),
            limit,
        })
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::{platform::file_nr, *};

    #[test]
    fn the_machines_files_are_three_numbers() {
        let files = |open, limit| Some(SystemFiles { open, limit });
        assert_eq!(file_nr("594\t0\t2466170\n"), files(594, 2_466_170));
        assert_eq!(
            file_nr("1024 24 9223372036854775807"),
            files(1_000, i64::MAX as u64)
        );
        assert_eq!(file_nr("1 2 3"), files(0, 3));
        for bad in ["", "1 2", "1 x 3", "-1 0 3", "1 0 99999999999999999999"] {
            assert_eq!(file_nr(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn an_opened_file_is_counted() {
        let before = descriptor_limits().expect("limits");
        let files: Vec<_> = (0..100)
            .map(|_| std::fs::File::open("/proc/self/stat").expect("a file"))
            .collect();
        let after = descriptor_limits().expect("limits");
        // Tests that run meanwhile open and close some as well, but not so many.
        let opened = after
            .open
            .expect("a number")
            .saturating_sub(before.open.expect("a number"));
        assert!((50..=1_000).contains(&opened), "{opened}");
        assert!(after.soft <= after.hard);
        assert!(after.system.expect("numbers").open > 100);
        drop(files);
    }
}
