//! Both addresses of a TCP connection, normalised, so that they can be compared.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use netlink_packet_sock_diag::inet::SocketId;

/// In a request: the kernel compares no cookie.
pub(super) const NO_COOKIE: [u8; 8] = [0xff; 8];

/// Both addresses of a TCP connection, normalised: a v4-mapped address is the v4 address, and an
/// interface is kept only where it is part of the address (link-local).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ends {
    pub(super) local: IpAddr,
    pub(super) local_port: u16,
    pub(super) peer: IpAddr,
    pub(super) peer_port: u16,
    interface: u32,
}

impl Ends {
    pub(super) fn new(local: SocketAddr, peer: SocketAddr) -> Self {
        let interface = [local, peer].into_iter().find_map(|address| match address {
            SocketAddr::V6(address) => Some(address.scope_id()).filter(|scope| *scope != 0),
            SocketAddr::V4(_) => None,
        });
        let (local, local_port, peer, peer_port) =
            (local.ip(), local.port(), peer.ip(), peer.port());
        Self::between(local, local_port, peer, peer_port, interface.unwrap_or(0))
    }

    fn between(
        local: IpAddr,
        local_port: u16,
        peer: IpAddr,
        peer_port: u16,
        interface: u32,
    ) -> Self {
        let (local, peer) = (local.to_canonical(), peer.to_canonical());
        let link_local = |ip: IpAddr| matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
        let interface = if link_local(local) || link_local(peer) {
            interface
        } else {
            0
        };
        Self {
            local,
            local_port,
            peer,
            peer_port,
            interface,
        }
    }

    pub(super) fn of(id: &SocketId) -> Self {
        Self::between(
            id.source_address,
            id.source_port,
            id.destination_address,
            id.destination_port,
            id.interface_id,
        )
    }

    pub(super) fn local_addr(&self) -> SocketAddr {
        self.address(self.local, self.local_port)
    }

    pub(super) fn peer_addr(&self) -> SocketAddr {
        self.address(self.peer, self.peer_port)
    }

    fn address(&self, ip: IpAddr, port: u16) -> SocketAddr {
        match ip {
            IpAddr::V6(ip) if ip.is_unicast_link_local() => {
                SocketAddrV6::new(ip, port, 0, self.interface).into()
            }
            ip => SocketAddr::new(ip, port),
        }
    }

    pub(super) fn is_v4(&self) -> bool {
        self.peer.is_ipv4()
    }

    /// Whether both have the same peer.
    pub(super) fn leads_where(&self, other: &Ends) -> bool {
        // Not every link-local address was written with its interface.
        let interfaces = [self.interface, other.interface];
        (self.peer, self.peer_port) == (other.peer, other.peer_port)
            && (interfaces.contains(&0) || self.interface == other.interface)
    }

    /// The connection as a request names it.
    pub(super) fn request_id(&self) -> SocketId {
        SocketId {
            source_port: self.local_port,
            destination_port: self.peer_port,
            source_address: self.local,
            destination_address: self.peer,
            interface_id: self.interface,
            cookie: NO_COOKIE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(local: &str, peer: &str) -> Ends {
        Ends::new(
            local.parse().expect("an address"),
            peer.parse().expect("an address"),
        )
    }

    #[test]
    fn both_ends_are_the_same_however_they_are_written() {
        let plain = ends("127.0.0.1:1", "127.0.0.1:2");
        assert_eq!(ends("[::ffff:127.0.0.1]:1", "[::ffff:127.0.0.1]:2"), plain);
        assert!(plain.is_v4());
        assert_ne!(ends("127.0.0.1:2", "127.0.0.1:1"), plain);

        assert_eq!(
            ends("[2001:db8::1%3]:1", "[2001:db8::2]:2"),
            ends("[2001:db8::1]:1", "[2001:db8::2]:2")
        );
        assert_ne!(
            ends("[fe80::1%3]:1", "[fe80::2%3]:2"),
            ends("[fe80::1%4]:1", "[fe80::2%4]:2")
        );
        assert_eq!(
            ends("[fe80::1%3]:1", "[fe80::2]:2"),
            ends("[fe80::1]:1", "[fe80::2%3]:2")
        );
    }
}
