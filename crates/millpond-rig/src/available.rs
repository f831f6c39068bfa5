//! Whether a rig can be made here, and if not, what is missing. To find out, it makes what a rig
//! needs and throws it away.

use std::{fmt, path::Path, process::Command, sync::OnceLock};

/// The tools that the rig runs, each with its Debian package.
const TOOLS: [(&str, &str); 4] = [
    ("unshare", "util-linux"),
    ("ip", "iproute2"),
    ("ss", "iproute2"),
    ("nft", "nftables"),
];

/// Tries each thing that a rig does. The exit code says which step failed, see [`STEPS`].
const TRIAL: &str = r#"
mount -t tmpfs tmpfs /run || exit 41
ip netns add trial || exit 42
ip link add trial0 type veth peer name trial1 netns trial || exit 43
nft add table inet trial || exit 44
echo 1 > /proc/sys/net/ipv4/tcp_tw_reuse || exit 45
: > /run/hosts && mount --bind /run/hosts /etc/hosts || exit 46
"#;

/// The exit codes of [`TRIAL`], and the step that each stands for.
const STEPS: [(i32, &str); 6] = [
    (41, "mount a private /run"),
    (42, "make a named network namespace"),
    (43, "make a veth pair"),
    (44, "make an nftables table"),
    (45, "set a sysctl of a namespace (is /proc/sys read-only?)"),
    (46, "mount something over /etc/hosts"),
];

/// Why a rig can't be made here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unavailable {
    /// Tools are missing.
    #[error("missing: {}", Missing(.0))]
    Tools(Vec<Tool>),
    /// This process may make no namespaces, neither as root nor in a user namespace.
    #[error(
        "namespaces can't be made: {said}; run as root, or allow user namespaces (sysctls user.max_user_namespaces, \
         kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns)"
    )]
    Namespaces {
        /// What `unshare` said.
        said: String,
    },
    /// Namespaces can be made, but a step that the rig needs fails in them.
    #[error("can't {step} in a new namespace: {said}")]
    Step {
        /// The step that failed.
        step: &'static str,
        /// What the tool said.
        said: String,
    },
}

/// A tool that is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tool {
    /// Its name.
    pub name: &'static str,
    /// The Debian package that it is in.
    pub package: &'static str,
}

struct Missing<'a>(&'a [Tool]);

impl fmt::Display for Missing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Tool { name, package }) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{name} (Debian: apt-get install {package})")?;
        }
        Ok(())
    }
}

/// How namespaces are made here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Right {
    /// As root.
    Root,
    /// In a user namespace, in which this process is root.
    UserNamespace,
}

impl Right {
    /// `unshare` with the options that this right needs. The caller adds the program to be run.
    pub(crate) fn unshare(self) -> Command {
        let mut command = tool("unshare");
        command.args(["--net", "--mount"]);
        if self == Right::UserNamespace {
            command.args(["--user", "--map-root-user"]);
        }
        command.arg("--");
        command
    }
}

/// Checks whether a rig can be made here. The first call tries it; later calls return the same
/// answer.
///
/// # Errors
///
/// If a tool or a permission is missing. The error says which.
pub fn available() -> Result<(), Unavailable> {
    right().map(|_| ())
}

/// How namespaces can be made here.
pub(crate) fn right() -> Result<Right, Unavailable> {
    static ANSWER: OnceLock<Result<Right, Unavailable>> = OnceLock::new();
    ANSWER.get_or_init(find_right).clone()
}

fn find_right() -> Result<Right, Unavailable> {
    let missing: Vec<_> = TOOLS
        .into_iter()
        .filter(|(name, _)| {
            !path()
                .split(':')
                .any(|folder| Path::new(folder).join(name).is_file())
        })
        .map(|(name, package)| Tool { name, package })
        .collect();
    if !missing.is_empty() {
        return Err(Unavailable::Tools(missing));
    }
    let as_user = || try_out(Right::UserNamespace).map(|()| Right::UserNamespace);
    if nix::unistd::geteuid().is_root() {
        // A container's root may lack some of root's rights and still be allowed to make a user
        // namespace. If neither works, report what root lacks.
        try_out(Right::Root)
            .map(|()| Right::Root)
            .or_else(|why| as_user().map_err(|_| why))
    } else {
        as_user()
    }
}

fn try_out(right: Right) -> Result<(), Unavailable> {
    let output = right.unshare().args(["sh", "-c", TRIAL]).output();
    let output = output.map_err(|error| Unavailable::Namespaces {
        said: error.to_string(),
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let code = output.status.code();
    match STEPS.into_iter().find(|(each, _)| Some(*each) == code) {
        Some((_, step)) => Err(Unavailable::Step { step, said }),
        None => Err(Unavailable::Namespaces { said }),
    }
}

/// The `PATH` in which tools are looked for. A user's own often lacks the folders they are in.
fn path() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{path}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin")
}

/// A tool to be run, from the folders of [`path`] and with messages in English.
pub(crate) fn tool(name: &str) -> Command {
    let mut command = Command::new(name);
    command.env("PATH", path()).env("LC_ALL", "C");
    command
}
