//! The limits of this process's control groups, version 1 or 2: those of its own group and of all
//! groups above it that are visible here. Finds where the groups are mounted; judges nothing.

use super::files::{Files, Reading, number, read};

/// A limit of one group, and how far it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GroupLimit {
    /// The group's folder.
    pub(super) folder: String,
    pub(super) limit: u64,
    pub(super) used: u64,
}

/// The limit of which the largest share is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Groups {
    pub(super) tasks: Reading<Option<GroupLimit>>,
    /// In bytes, without what could be given back at once (cached files).
    pub(super) memory: Reading<Option<GroupLimit>>,
}

/// A limit this large is none: version 1's "no limit" is a little below 2⁶³.
const NO_LIMIT: u64 = 1 << 60;

/// A resource, and where the two versions show it.
struct Resource {
    /// Its controller's name.
    controller: &'static str,
    limit: [&'static str; 2],
    used: [&'static str; 2],
    /// The statistic that counts what could be given back.
    spare: Option<[&'static str; 2]>,
}

/// Version 1 first.
const TASKS: Resource = Resource {
    controller: "pids",
    limit: ["pids.max", "pids.max"],
    used: ["pids.current", "pids.current"],
    spare: None,
};
const MEMORY: Resource = Resource {
    controller: "memory",
    limit: ["memory.limit_in_bytes", "memory.max"],
    used: ["memory.usage_in_bytes", "memory.current"],
    spare: Some(["total_inactive_file", "inactive_file"]),
};

impl Groups {
    pub(super) fn read(files: &dyn Files) -> Groups {
        Groups {
            tasks: fullest(files, &TASKS),
            memory: fullest(files, &MEMORY),
        }
    }
}

/// A group, as a folder within a mount.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    mount: String,
    /// The path below the mount: begins with a slash, or is empty for the mount itself.
    path: String,
    version: Version,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

fn fullest(files: &dyn Files, resource: &Resource) -> Reading<Option<GroupLimit>> {
    let membership = read(files, "/proc/self/cgroup", |text| Some(text.to_owned()))?;
    let mounts = read(files, "/proc/self/mountinfo", |text| Some(text.to_owned()))?;
    let Some(group) = find(&membership, &mounts, resource.controller) else {
        return Ok(None);
    };
    let mut limits = Vec::new();
    let mut path = group.path.as_str();
    loop {
        limits.extend(limit_of(files, resource, &group, path)?);
        match path.rfind('/') {
            Some(end) => path = &path[..end],
            None => break,
        }
    }
    let share = |limit: &GroupLimit| limit.used as f64 / limit.limit.max(1) as f64;
    Ok(limits
        .into_iter()
        .max_by(|a, b| share(a).total_cmp(&share(b))))
}

/// `None` if there is no limit. The root group has none, and lacks even the files.
fn limit_of(
    files: &dyn Files,
    resource: &Resource,
    group: &Group,
    path: &str,
) -> Reading<Option<GroupLimit>> {
    let version = group.version as usize;
    let folder = format!("{}{path}", group.mount);
    let limit = read(
        files,
        &format!("{folder}/{}", resource.limit[version]),
        |text| match text.trim() {
            "max" => Some(u64::MAX),
            limit => limit.parse().ok(),
        },
    );
    let limit = match limit {
        Err(unread) if unread.is_missing() => return Ok(None),
        limit => limit?,
    };
    if limit >= NO_LIMIT {
        return Ok(None);
    }
    let used = number(files, &format!("{folder}/{}", resource.used[version]))?;
    let spare = match resource.spare {
        Some(names) => read(files, &format!("{folder}/memory.stat"), |text| {
            statistic(text, names[version])
        }),
        None => Ok(0),
    };
    Ok(Some(GroupLimit {
        folder,
        limit,
        used: used.saturating_sub(spare.unwrap_or(0)),
    }))
}

/// `name 12`, one of many lines.
fn statistic(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines
        .find(|(found, _)| *found == name)?
        .1
        .trim()
        .parse()
        .ok()
}

/// The group of this controller: of version 1 if that is mounted, else of version 2.
fn find(membership: &str, mounts: &str, controller: &str) -> Option<Group> {
    // `4:memory:/path`, for version 2 `0::/path`.
    let path_of = |wanted: &str| {
        membership.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next()?, parts.next()?);
            controllers
                .split(',')
                .any(|each| each == wanted)
                .then_some(path)
        })
    };
    let first = path_of(controller).and_then(|path| {
        let mount = mounts
            .lines()
            .find_map(|line| Mount::parse(line, controller))?;
        Some(mount.group(path, Version::One))
    });
    first.or_else(|| {
        let mount = mounts.lines().find_map(|line| Mount::parse(line, ""))?;
        Some(mount.group(path_of("")?, Version::Two))
    })
}

/// A mount of a hierarchy of groups.
struct Mount<'t> {
    /// The group that is mounted.
    root: &'t str,
    mount_point: &'t str,
}

impl<'t> Mount<'t> {
    /// `36 31 0:33 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory`, if it is of this
    /// controller; without one, of version 2.
    fn parse(line: &'t str, controller: &str) -> Option<Mount<'t>> {
        let (before, behind) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(3);
        let mount = Mount {
            root: before.next()?,
            mount_point: before.next()?,
        };
        let mut behind = behind.split(' ');
        let (kind, options) = (behind.next()?, behind.nth(1)?);
        let is_it = match controller {
            "" => kind == "cgroup2",
            _ => kind == "cgroup" && options.split(',').any(|option| option == controller),
        };
        is_it.then_some(mount)
    }

    /// The group of this path. In a container the path may be the host's, of which only the mounted
    /// part is visible.
    fn group(&self, path: &str, version: Version) -> Group {
        let below = match self.root {
            "/" => Some(path),
            root => path.strip_prefix(root),
        };
        let below = below.filter(|below| !below.contains("/.."));
        Group {
            mount: self.mount_point.to_owned(),
            path: below.unwrap_or("").trim_end_matches('/').to_owned(),
            version,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::fixture::Fixture, *};

    const MOUNTS_V1: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
36 31 0:33 /docker/abc /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
";
    const MOUNTS_V2: &str =
        "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

    fn limits(files: &Fixture) -> Groups {
        Groups::read(files)
    }

    fn found(folder: &str, limit: u64, used: u64) -> Reading<Option<GroupLimit>> {
        Ok(Some(GroupLimit {
            folder: folder.to_owned(),
            limit,
            used,
        }))
    }

    #[test]
    fn of_all_groups_above_the_fullest_counts() {
        let files = Fixture::empty()
            .with("/proc/self/cgroup", "0::/user.slice/app\n")
            .with("/proc/self/mountinfo", MOUNTS_V2)
            .with("/sys/fs/cgroup/user.slice/app/pids.max", "max\n")
            .with("/sys/fs/cgroup/user.slice/pids.max", "100\n")
            .with("/sys/fs/cgroup/user.slice/pids.current", "60\n")
            .with("/sys/fs/cgroup/user.slice/app/memory.max", "1000\n")
            .with("/sys/fs/cgroup/user.slice/app/memory.current", "900\n")
            .with(
                "/sys/fs/cgroup/user.slice/app/memory.stat",
                "anon 1\ninactive_file 500\n",
            )
            .with("/sys/fs/cgroup/user.slice/memory.max", "10000\n")
            .with("/sys/fs/cgroup/user.slice/memory.current", "5000\n");
        let groups = limits(&files);
        assert_eq!(groups.tasks, found("/sys/fs/cgroup/user.slice", 100, 60));
        // No statistics, nothing to spare: half full, against two fifths.
        assert_eq!(
            groups.memory,
            found("/sys/fs/cgroup/user.slice", 10_000, 5_000)
        );
    }

    #[test]
    fn in_a_container_of_version_one_the_mounted_part_is_ours() {
        let files = Fixture::empty()
            .with(
                "/proc/self/cgroup",
                "8:pids:/\n4:cpu,memory:/docker/abc/worker\n0::/\n",
            )
            .with("/proc/self/mountinfo", MOUNTS_V1)
            .with(
                "/sys/fs/cgroup/memory/worker/memory.limit_in_bytes",
                "1000\n",
            )
            .with(
                "/sys/fs/cgroup/memory/worker/memory.usage_in_bytes",
                "900\n",
            )
            .with(
                "/sys/fs/cgroup/memory/worker/memory.stat",
                "inactive_file 1\ntotal_inactive_file 300\n",
            )
            .with("/sys/fs/cgroup/pids/pids.max", "9223372036854771712\n");
        let groups = limits(&files);
        assert_eq!(
            groups.memory,
            found("/sys/fs/cgroup/memory/worker", 1_000, 600)
        );
        assert_eq!(groups.tasks, Ok(None));
    }

    #[test]
    fn without_groups_there_is_no_limit_and_without_proc_nothing_is_known() {
        let files = Fixture::empty()
            .with("/proc/self/cgroup", "")
            .with("/proc/self/mountinfo", "");
        assert_eq!(limits(&files).tasks, Ok(None));
        assert!(limits(&Fixture::empty()).tasks.is_err());
        let files = files
            .with("/proc/self/cgroup", "0::/a\n")
            .with("/proc/self/mountinfo", MOUNTS_V2)
            .with("/sys/fs/cgroup/a/pids.max", "many\n");
        let unread = limits(&files).tasks.expect_err("no number");
        assert!(unread.to_string().contains("\"many\""), "{unread}");
    }
}
