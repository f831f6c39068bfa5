//! The limits of the control groups above this process: a container's, a systemd unit's.

use super::check::{Check, Systems, by_share, percent};
use crate::{
    commands::doctor::{
        cgroups::GroupLimit,
        facts::Facts,
        files::{Reading, Unread},
        finding::{Finding, Mark},
    },
    numbers::thousands,
};

/// In percent of the limit of threads and processes: at the limit no more can be started.
const TASKS: [u64; 2] = [70, 90];

/// In percent of the memory limit, without memory that could be given back: at the limit a process
/// is killed.
const MEMORY: [u64; 2] = [80, 95];

pub(super) const CGROUP: Check = Check {
    name: "cgroup",
    about: "limits of threads and memory of this container or unit (cgroup)",
    why: "A container or a systemd unit may have fewer threads and less memory than the machine. At the first limit no thread can be started; \
          at the second a process is killed. Buffers of sockets count as memory of the group.",
    systems: Systems::Linux,
    watches: &[],
    examine,
};

fn examine(check: &Check, facts: &Facts) -> Reading<Finding> {
    let (tasks, memory) = (&facts.groups.tasks, &facts.groups.memory);
    if let (Err(unread), Err(_)) = (tasks, memory) {
        return Err(unread.clone());
    }
    let marks = [(tasks, TASKS), (memory, MEMORY)].map(|(limit, [warning, bad])| match limit {
        Ok(Some(limit)) => by_share(percent(limit.used, limit.limit), warning, bad),
        Ok(None) => Mark::Good,
        Err(_) => Mark::Unknown,
    });
    let mut found = format!(
        "Threads and processes: {}. Memory: {}.",
        described(tasks, thousands),
        described(memory, size)
    );
    for (limit, mark) in [tasks, memory].into_iter().zip(marks) {
        if let (Ok(Some(limit)), true) = (limit, mark > Mark::Good) {
            found += &format!(" The group is {}.", limit.folder);
        }
    }
    let mark = marks.into_iter().max().unwrap_or(Mark::Good);
    let figures = |limit: &Reading<Option<GroupLimit>>| match limit {
        Ok(Some(limit)) => (Some(limit.used), Some(limit.limit)),
        _ => (None, None),
    };
    let ((tasks_used, tasks_limit), (memory_used, memory_limit)) =
        (figures(tasks), figures(memory));
    let finding = check
        .finding(mark, found)
        .figure("tasks", tasks_used)
        .figure("tasks_limit", tasks_limit)
        .figure("memory_bytes", memory_used)
        .figure("memory_limit_bytes", memory_limit);
    Ok(match mark {
        Mark::Good | Mark::Unknown => finding,
        _ => finding.advice(
            "Raise the limit: TasksMax= or MemoryMax= of the unit, --pids-limit or --memory of the container; or use fewer threads, \
             connections and smaller buffers.",
        ),
    })
}

fn described(limit: &Result<Option<GroupLimit>, Unread>, shown: fn(u64) -> String) -> String {
    match limit {
        Ok(None) => String::from("no limit"),
        Ok(Some(limit)) => format!(
            "{} of {} ({} %)",
            shown(limit.used),
            shown(limit.limit),
            percent(limit.used, limit.limit)
        ),
        Err(unread) => format!("not known ({unread})"),
    }
}

/// `512 MiB`, `1.5 GiB`.
fn size(bytes: u64) -> String {
    const MIB: f64 = (1 << 20) as f64;
    match bytes as f64 / MIB {
        mib if mib >= 1_024.0 => format!("{:.1} GiB", mib / 1_024.0),
        mib => format!("{mib:.0} MiB"),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::found, *};
    use crate::commands::doctor::fixture::Fixture;

    const GROUP: &str = "/sys/fs/cgroup/user.slice/shell";

    fn cgroup(tasks: &str, memory: u64) -> Finding {
        let files = Fixture::machine()
            .with(&format!("{GROUP}/pids.max"), "1000")
            .with(&format!("{GROUP}/pids.current"), tasks)
            .with(
                &format!("{GROUP}/memory.max"),
                &(2_000_u64 << 20).to_string(),
            )
            .with(
                &format!("{GROUP}/memory.current"),
                &(memory << 20).to_string(),
            );
        found("cgroup", &files)
    }

    #[test]
    fn a_group_is_reported_before_it_is_full() {
        let finding = cgroup("100", 1_024);
        assert_eq!(
            (finding.mark, finding.found.as_str()),
            (
                Mark::Good,
                "Threads and processes: 100 of 1,000 (10 %). Memory: 1.0 GiB of 2.0 GiB (51 %)."
            )
        );
        assert_eq!(cgroup("700", 0).mark, Mark::Warning);
        assert_eq!(cgroup("900", 0).mark, Mark::Bad);
        assert_eq!(cgroup("0", 1_600).mark, Mark::Warning);
        let finding = cgroup("0", 1_900);
        assert_eq!(finding.mark, Mark::Bad);
        assert!(
            finding
                .found
                .ends_with("The group is /sys/fs/cgroup/user.slice/shell."),
            "{finding:?}"
        );
    }

    #[test]
    fn without_limits_all_is_well_and_a_half_that_is_not_known_is_reported() {
        let files = Fixture::machine().with("/sys/fs/cgroup/user.slice/pids.max", "max");
        let finding = found("cgroup", &files);
        assert_eq!(
            finding.found,
            "Threads and processes: no limit. Memory: no limit."
        );
        let finding = found("cgroup", &files.forbidden(&format!("{GROUP}/memory.max")));
        assert_eq!(finding.mark, Mark::Unknown);
        assert!(finding.found.contains("may not be read"), "{finding:?}");
    }
}
