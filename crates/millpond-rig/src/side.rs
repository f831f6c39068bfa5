//! One side of the wire: runs tools and a test's own code in its namespace, and sets its sysctls.

use std::{
    fs::{self, File},
    io::Write,
    net::SocketAddr,
    panic::resume_unwind,
    path::PathBuf,
    process::Stdio,
    thread,
};

use nix::sched::{CloneFlags, setns};

use crate::{Error, available::tool};

/// Where `ip netns add` keeps the server side.
const SERVER_SIDE: &str = "/run/netns/server";

/// One side of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Where the scene runs.
    Client,
    /// Where its servers run.
    Server,
}

/// A TCP connection, as the client side sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// The client's end.
    pub local: SocketAddr,
    /// The server's.
    pub peer: SocketAddr,
}

impl Side {
    /// Runs `act` in this side; in the server side on a thread of its own. Sockets made there stay
    /// in this side, and can be used from any thread.
    ///
    /// # Errors
    ///
    /// If the side can't be entered.
    ///
    /// # Panics
    ///
    /// If `act` panics.
    pub fn enter<T: Send>(self, act: impl FnOnce() -> T + Send) -> Result<T, Error> {
        if self == Side::Client {
            return Ok(act());
        }
        thread::scope(|scope| {
            let thread = scope.spawn(|| enter_server_side().map(|()| act()));
            thread.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// Runs a tool in this side, and returns its standard output.
    ///
    /// # Errors
    ///
    /// If it can't be started, or fails.
    pub fn run(self, name: &str, arguments: &[&str]) -> Result<String, Error> {
        self.run_with_input(name, arguments, "")
    }

    /// Runs `nft -f` with this script in this side. The table `inet rig` with its chains `input`
    /// and `output` already exists.
    ///
    /// # Errors
    ///
    /// If nft doesn't accept it.
    pub fn nft(self, script: &str) -> Result<(), Error> {
        self.run_with_input("nft", &["-f", "-"], script).map(drop)
    }

    /// Sets a sysctl of this side: `side.sysctl("net.ipv4.ip_local_port_range", "40000 40063")`.
    ///
    /// # Errors
    ///
    /// If there is no such sysctl, or it doesn't take that value.
    pub fn sysctl(self, name: &str, value: &str) -> Result<(), Error> {
        let path = sysctl_path(name);
        self.enter(|| fs::write(&path, value))?
            .map_err(|error| Error::io(format!("set {name} to {value:?}"), error))
    }

    /// The value of a sysctl of this side, with single spaces between its parts.
    ///
    /// # Errors
    ///
    /// If there is no such sysctl.
    pub fn sysctl_value(self, name: &str) -> Result<String, Error> {
        let path = sysctl_path(name);
        let value = self
            .enter(|| fs::read_to_string(&path))?
            .map_err(|error| Error::io(format!("read {name}"), error))?;
        Ok(value.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    fn run_with_input(self, name: &str, arguments: &[&str], input: &str) -> Result<String, Error> {
        let shown = || format!("{name} {}", arguments.join(" "));
        let output = self.enter(|| {
            let mut child = tool(name)
                .args(arguments)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()?;
            if let Some(mut stdin) = child.stdin.take() {
                // This fails if the tool ends before it has read everything. Its exit status and
                // its standard error then say why.
                let _ = stdin.write_all(input.as_bytes());
            }
            child.wait_with_output()
        })?;
        let output = output.map_err(|source| Error::NotStarted {
            command: shown(),
            source,
        })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let script = if input.is_empty() {
            String::new()
        } else {
            format!(" (given {input:?})")
        };
        Err(Error::ToolFailed {
            command: shown(),
            status: output.status,
            said: format!("{}{script}", said.trim()),
        })
    }
}

fn sysctl_path(name: &str) -> PathBuf {
    // An interface whose name has a dot would need more care, but ours have none.
    PathBuf::from("/proc/sys").join(name.replace('.', "/"))
}

/// Moves this thread, and the threads that it starts from now on, to the server side.
pub(crate) fn enter_server_side() -> Result<(), Error> {
    let file =
        File::open(SERVER_SIDE).map_err(|error| Error::io(format!("open {SERVER_SIDE}"), error))?;
    setns(file, CloneFlags::CLONE_NEWNET).map_err(|error| Error::io("enter the server side", error))
}
