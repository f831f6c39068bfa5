//! Reads a process and its sockets from `/proc` and the kernel. It looks several times, to see
//! which states last. Judges nothing.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use millpond::{
    Chain,
    kernel::{SocketDetail, SocketSource, Sockets, TcpSocket, TcpState, sockets, sockets_beside},
};

use crate::commands::doctor::towards::PortsTowards;

/// How long the sockets are observed, and at which intervals. A look sees only the connections that
/// are open at that moment, and those for a single request are short.
const LONG_ENOUGH: Duration = Duration::from_millis(500);
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// The ports are counted for this many destinations.
const PORTS_COUNTED: usize = 3;

/// There is no such process.
#[derive(Debug)]
pub(super) struct NoProcess;

/// What was found out.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) pid: u32,
    /// The name that the process has given itself. It may contain anything.
    pub(super) name: String,
    pub(super) descriptors: OpenDescriptors,
    pub(super) sockets: Result<Seen, Unseen>,
}

/// `None` where something isn't known.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OpenDescriptors {
    pub(super) open: Option<u64>,
    /// How many may be open.
    pub(super) soft_limit: Option<u64>,
}

/// Why its sockets aren't known.
#[derive(Debug)]
pub(super) enum Unseen {
    NotAllowed,
    Failed(String),
}

/// What was seen of its sockets.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Open in the last look.
    pub(super) own: Vec<TcpSocket>,
    /// In CLOSE_WAIT in every look, from the first on.
    pub(super) lasting_close_wait: HashSet<u64>,
    /// The peers of connections that it opened itself, in any look.
    pub(super) destinations: HashSet<SocketAddr>,
    /// The ports on which any process listens: a connection with such a local port was accepted.
    pub(super) listening: HashSet<u16>,
    /// All sockets of the namespace in TIME_WAIT.
    pub(super) remnants: Vec<TcpSocket>,
    /// The local ports towards the destinations to which most of `remnants` lead.
    pub(super) ports: Vec<PortsTowards>,
    pub(super) source: Source,
}

/// The source of the facts about sockets.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Source {
    #[default]
    Netlink,
    /// `/proc`, since netlink was refused, with the reason.
    Proc(String),
    /// `/proc`, since the process is in another network namespace.
    OtherNamespace,
}

/// The position of a look.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    First,
    Passing,
    /// Reads all details.
    Last,
}

impl Facts {
    pub(super) fn gather(pid: u32) -> Result<Facts, NoProcess> {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).map_err(|_| NoProcess)?;
        let sockets = match see(pid) {
            Ok(seen) => Ok(seen),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Err(Unseen::NotAllowed)
            }
            // It ended meanwhile.
            Err(_) if fs::metadata(format!("/proc/{pid}")).is_err() => return Err(NoProcess),
            Err(error) => Err(Unseen::Failed(Chain(&error).to_string())),
        };
        Ok(Facts {
            pid,
            name: name.trim_end().to_owned(),
            descriptors: descriptors(pid),
            sockets,
        })
    }
}

impl Seen {
    /// Whether the other side opened this connection.
    pub(super) fn is_accepted(&self, socket: &TcpSocket) -> bool {
        self.listening.contains(&socket.local.port())
    }

    /// Counts sockets in TIME_WAIT by the destinations of this process, the most first. Such
    /// sockets have no owner, so some may be other processes'.
    pub(super) fn remnants_towards(&self) -> Vec<(SocketAddr, u32)> {
        let mut counts: HashMap<SocketAddr, u32> = HashMap::new();
        let towards = |remnant: &&TcpSocket| {
            self.destinations.contains(&remnant.peer) && !self.is_accepted(remnant)
        };
        for remnant in self.remnants.iter().filter(towards) {
            *counts.entry(remnant.peer).or_default() += 1;
        }
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_by_key(|(peer, count)| (std::cmp::Reverse(*count), *peer));
        counts
    }
}

impl Source {
    fn of(source: SocketSource) -> Source {
        match source {
            SocketSource::Proc {
                refused: Some(refused),
            } => Source::Proc(Chain(&refused).to_string()),
            SocketSource::Proc { refused: None } => Source::OtherNamespace,
            _ => Source::Netlink,
        }
    }
}

fn see(pid: u32) -> io::Result<Seen> {
    let is_ours = namespace(pid)? == namespace_of_ours()?;
    let began = Instant::now();
    let mut seen = Seen::default();
    let mut look = Look::First;
    loop {
        let own = own_sockets(pid)?;
        let found = look_at(pid, is_ours, look, &own)?;
        seen.source = Source::of(found.source);
        seen.take_in(found.sockets, &own, look);
        if look == Look::Last {
            break;
        }
        thread::sleep(BETWEEN_LOOKS);
        look = match began.elapsed() < LONG_ENOUGH {
            true => Look::Passing,
            false => Look::Last,
        };
    }
    if is_ours {
        let most = seen.remnants_towards().into_iter().take(PORTS_COUNTED);
        seen.ports = most
            .filter_map(|(peer, _)| PortsTowards::ask(peer).ok())
            .collect();
    }
    Ok(seen)
}

fn look_at(pid: u32, is_ours: bool, look: Look, own: &HashSet<u64>) -> io::Result<Sockets> {
    let keep = |socket: &TcpSocket| match socket.state {
        TcpState::Listen => true,
        TcpState::TimeWait => look == Look::Last,
        _ => socket.inode.is_some_and(|inode| own.contains(&inode)),
    };
    let detail = match look {
        Look::First | Look::Passing => SocketDetail::Basic,
        Look::Last => SocketDetail::TcpInfo,
    };
    match is_ours {
        true => sockets(detail, keep),
        false => sockets_beside(pid, keep),
    }
}

impl Seen {
    /// Adds what one look found. `own` are the inodes of the process's sockets at that moment.
    pub(super) fn take_in(&mut self, found: Vec<TcpSocket>, own: &HashSet<u64>, look: Look) {
        let mut known = HashSet::new();
        self.own.clear();
        self.remnants.clear();
        self.listening.clear();
        for socket in found {
            if socket.state == TcpState::Listen {
                self.listening.insert(socket.local.port());
            }
            match socket.inode {
                None if socket.state == TcpState::TimeWait => self.remnants.push(socket),
                // A socket that changes during the look may be listed twice.
                Some(inode) if own.contains(&inode) && known.insert(inode) => self.own.push(socket),
                _ => {}
            }
        }
        let close_wait = |socket: &&TcpSocket| socket.state == TcpState::CloseWait;
        let waiting = self
            .own
            .iter()
            .filter(close_wait)
            .filter_map(|socket| socket.inode);
        let waiting: HashSet<u64> = waiting.collect();
        match look {
            Look::First => self.lasting_close_wait = waiting,
            Look::Passing | Look::Last => self
                .lasting_close_wait
                .retain(|inode| waiting.contains(inode)),
        }
        let dialled = |socket: &&TcpSocket| {
            !matches!(socket.state, TcpState::Listen | TcpState::Closed)
                && !self.is_accepted(socket)
        };
        let destinations: Vec<_> = self
            .own
            .iter()
            .filter(dialled)
            .map(|socket| socket.peer)
            .collect();
        self.destinations.extend(destinations);
    }
}

/// The inodes of all its open sockets.
fn own_sockets(pid: u32) -> io::Result<HashSet<u64>> {
    let folder = format!("/proc/{pid}/fd");
    let mut inodes = HashSet::new();
    for entry in fs::read_dir(&folder)? {
        // A socket that was closed meanwhile has no link.
        let link = entry.and_then(|entry| fs::read_link(entry.path()));
        inodes.extend(link.ok().and_then(|link| inode(link.to_str()?)));
    }
    Ok(inodes)
}

/// `socket:[4711]`.
pub(super) fn inode(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?
        .strip_suffix(']')?
        .parse()
        .ok()
}

fn namespace(pid: u32) -> io::Result<std::path::PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/net"))
}

fn namespace_of_ours() -> io::Result<std::path::PathBuf> {
    fs::read_link("/proc/self/ns/net")
}

fn descriptors(pid: u32) -> OpenDescriptors {
    let folder = format!("/proc/{pid}/fd");
    // Since Linux 6.2 the folder's size is the number of its entries, and reading it needs no
    // privilege.
    let size = fs::metadata(&folder).ok().map(|folder| folder.len());
    let counted = || Some(fs::read_dir(&folder).ok()?.count() as u64);
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok();
    OpenDescriptors {
        open: size.filter(|size| *size > 0).or_else(counted),
        soft_limit: limits.and_then(|limits| soft_limit(&limits)),
    }
}

/// The first number in the line `Max open files            1024                 524288
/// files`; the largest there is for none.
pub(super) fn soft_limit(limits: &str) -> Option<u64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}
