//! The facts that explain a failed dial's error. Gathering them asks the system, which blocks.

use std::{
    fs, io,
    net::{IpAddr, SocketAddr, UdpSocket},
    os::unix::fs::FileTypeExt,
    path::Path,
};

use nix::errno::Errno;

use super::{DescriptorLimits, PortUse, descriptor_limits, port_use, port_use_from};

/// The facts that an explanation is made of. Unknown ones are left out of it.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Facts {
    /// Where to; `None` for a Unix socket.
    pub destination: Option<SocketAddr>,
    /// The local address to dial from, if this machine doesn't have it.
    pub foreign_source: Option<IpAddr>,
    /// How far the local ports towards the destination are used up.
    pub ports: Option<PortUse>,
    /// `net.ipv4.tcp_tw_reuse`: 0 never, 1 always, 2 on loopback only.
    pub time_wait_reuse: Option<u8>,
    /// How many files may be open.
    pub descriptors: Option<DescriptorLimits>,
    /// What is at the path, if it is no Unix socket. Dialing it is refused, as if nobody listened.
    pub no_socket: Option<NoSocket>,
}

/// What is at a path where a Unix socket was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoSocket {
    /// A folder.
    Folder,
    /// A file, a device, a pipe.
    File,
}

impl NoSocket {
    /// `None` if there is a socket, or nothing that can be looked at. It asks the file system, and
    /// so it may block.
    pub fn at(path: &Path) -> Option<NoSocket> {
        let kind = fs::metadata(path).ok()?.file_type();
        match kind.is_socket() {
            true => None,
            false if kind.is_dir() => Some(NoSocket::Folder),
            false => Some(NoSocket::File),
        }
    }
}

impl Facts {
    /// Nothing but the destination: enough for all errors that
    /// [`worth_gathering`](Facts::worth_gathering) says no to.
    pub fn of(destination: Option<SocketAddr>) -> Self {
        Self {
            destination,
            ..Self::default()
        }
    }

    /// Whether [`gather`](Facts::gather) finds more than [`of`](Facts::of) for this error.
    pub fn worth_gathering(error: &io::Error) -> bool {
        matches!(
            errno(error),
            Some(Errno::EADDRNOTAVAIL | Errno::EMFILE | Errno::ENFILE)
        )
    }

    /// Gathers the facts for the error of a dial to `destination` (`None` for a Unix socket) from
    /// the local address `source`.
    ///
    /// This blocks, for up to tens of milliseconds when all local ports are in use ([`port_use`]):
    /// call it from a blocking thread, never under a lock, and not for every one of a thousand
    /// failed dials.
    pub fn gather(
        error: &io::Error,
        destination: Option<SocketAddr>,
        source: Option<IpAddr>,
    ) -> Self {
        let mut facts = Self::of(destination);
        match errno(error) {
            Some(Errno::EADDRNOTAVAIL) => {
                facts.foreign_source = source.filter(|source| is_foreign(*source));
                if let (Some(destination), None) = (destination, facts.foreign_source) {
                    facts.ports = match source {
                        Some(source) => port_use_from(source, destination).ok(),
                        None => port_use(destination).ok(),
                    };
                    facts.time_wait_reuse = time_wait_reuse();
                }
            }
            Some(Errno::EMFILE | Errno::ENFILE) => facts.descriptors = descriptor_limits().ok(),
            _ => {}
        }
        facts
    }
}

fn errno(error: &io::Error) -> Option<Errno> {
    error.raw_os_error().map(Errno::from_raw)
}

/// Whether this machine doesn't have the address.
fn is_foreign(source: IpAddr) -> bool {
    // A UDP socket: nothing is sent, and no TCP port is used.
    let bound = UdpSocket::bind((source, 0));
    matches!(bound, Err(error) if errno(&error) == Some(Errno::EADDRNOTAVAIL))
}

#[cfg(target_os = "linux")]
fn time_wait_reuse() -> Option<u8> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_tw_reuse").ok()?;
    text.trim().parse().ok()
}

#[cfg(not(target_os = "linux"))]
fn time_wait_reuse() -> Option<u8> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_limits_are_worth_gathering_facts_for() {
        for errno in [Errno::EADDRNOTAVAIL, Errno::EMFILE, Errno::ENFILE] {
            assert!(Facts::worth_gathering(&errno.into()), "{errno}");
        }
        let refused = io::Error::from(Errno::ECONNREFUSED);
        assert!(!Facts::worth_gathering(&refused));
        let facts = Facts::gather(&refused, Some(([127, 0, 0, 1], 80).into()), None);
        assert!(facts.ports.is_none() && facts.descriptors.is_none());
    }

    #[test]
    fn a_foreign_address_is_told_from_an_own_one() {
        assert!(!is_foreign("127.0.0.1".parse().expect("an address")));
        // Of a block that is kept for documentation.
        assert!(is_foreign("192.0.2.1".parse().expect("an address")));
    }
}
