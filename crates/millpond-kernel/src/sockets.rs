//! All TCP sockets of a network namespace, as `ss` lists them: by netlink sock_diag; where that is
//! refused, from the tables in `/proc/net`. What they mean together is the caller's to say.

use std::io;

use super::TcpSocket;

/// How much is asked of the kernel about each socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketDetail {
    /// State, addresses, owner and queues.
    Basic,
    /// Its [`TcpInfo`](super::TcpInfo) as well, which takes up to twice as long.
    TcpInfo,
}

/// Sockets, and where the answer is from.
#[derive(Debug)]
#[non_exhaustive]
pub struct Sockets {
    /// The sockets that were kept, in the kernel's order, which means nothing.
    pub sockets: Vec<TcpSocket>,
    /// Who told.
    pub source: SocketSource,
}

/// Where sockets were read from.
#[derive(Debug)]
#[non_exhaustive]
pub enum SocketSource {
    /// The kernel, by netlink sock_diag.
    Netlink,
    /// The tables in `/proc`: no `TCP_INFO`, no limit of an accept queue.
    Proc {
        /// Why netlink couldn't be asked; `None` if it wasn't tried, for another namespace's
        /// sockets.
        refused: Option<io::Error>,
    },
}

/// The TCP sockets of this network namespace, v4 and v6, that `keep` says yes to. It may be asked
/// more than once about the same one.
///
/// It is no snapshot: a socket that changes meanwhile may be missing, and one that is closed
/// meanwhile may come twice, open and in TIME_WAIT.
///
/// This blocks: by netlink for some 0.2 ms, and 1 to 2 µs for each socket that there is, kept or
/// not; from `/proc`, where netlink is refused, for some 10 ms, in which the kernel walks through
/// its whole table, and 3 µs for each. Never call it under a lock; in asynchronous code call it
/// from a blocking thread. 208 bytes are held for each socket that is kept, and 64 KiB besides. It
/// needs no privileges: every user may see all sockets of the namespace.
///
/// # Errors
///
/// When neither netlink nor `/proc` can be read, and on another system than Linux
/// ([`Unsupported`](io::ErrorKind::Unsupported)).
pub fn sockets(detail: SocketDetail, keep: impl Fn(&TcpSocket) -> bool) -> io::Result<Sockets> {
    platform::sockets(detail, &keep)
}

/// As [`sockets`], of the network namespace that process `pid` is in, which may be another one (a
/// container's). From its tables in `/proc`.
///
/// # Errors
///
/// [`NotFound`](io::ErrorKind::NotFound) if there is no such process,
/// [`PermissionDenied`](io::ErrorKind::PermissionDenied) where `/proc` hides those of others; and
/// those of [`sockets`].
pub fn sockets_beside(pid: u32, keep: impl Fn(&TcpSocket) -> bool) -> io::Result<Sockets> {
    platform::sockets_beside(pid, &keep)
}

#[cfg(not(target_os = "linux"))]
mod platform {
    use super::*;

    pub(super) fn sockets(_: SocketDetail, _: &dyn Fn(&TcpSocket) -> bool) -> io::Result<Sockets> {
        Err(crate::error::only_linux())
    }

    pub(super) fn sockets_beside(_: u32, _: &dyn Fn(&TcpSocket) -> bool) -> io::Result<Sockets> {
        Err(crate::error::only_linux())
    }
}

#[cfg(target_os = "linux")]
mod platform {
    use std::collections::HashSet;

    use netlink_packet_sock_diag::inet::{ExtensionFlags, StateFlags};
    use nix::errno::Errno;

    use millpond_words::Chain;

    use super::*;
    use crate::{
        SocketQueue, TcpState,
        diag::Diag,
        error::sock_diag_failed,
        packet::{Family, Filter, Found},
        tables,
    };

    type Keep<'k> = &'k dyn Fn(&TcpSocket) -> bool;

    pub(super) fn sockets(detail: SocketDetail, keep: Keep<'_>) -> io::Result<Sockets> {
        or_tables(by_netlink(detail, keep), "/proc/net", keep)
    }

    /// Netlink's answer, or else the tables in this folder.
    pub(super) fn or_tables(
        told: io::Result<Vec<TcpSocket>>,
        folder: &str,
        keep: Keep<'_>,
    ) -> io::Result<Sockets> {
        match told {
            Ok(sockets) => Ok(Sockets {
                sockets: once(sockets),
                source: SocketSource::Netlink,
            }),
            Err(refused) => from_tables(folder, keep, Some(sock_diag_failed(refused))),
        }
    }

    /// Removes duplicates: during a dump, changes may make a socket come twice. Listeners that
    /// share an address differ by their inodes.
    pub(super) fn once(mut sockets: Vec<TcpSocket>) -> Vec<TcpSocket> {
        let mut seen = HashSet::with_capacity(sockets.len());
        sockets.retain(|socket| seen.insert((socket.inode, socket.local, socket.peer)));
        sockets
    }

    pub(super) fn sockets_beside(pid: u32, keep: Keep<'_>) -> io::Result<Sockets> {
        from_tables(&format!("/proc/{pid}/net"), keep, None)
    }

    pub(super) fn from_tables(
        folder: &str,
        keep: Keep<'_>,
        refused: Option<io::Error>,
    ) -> io::Result<Sockets> {
        let mut sockets = Vec::new();
        let read = tables::read(folder, |socket| {
            if keep(&socket) {
                sockets.push(socket);
            }
        });
        match (read, refused) {
            (Ok(()), refused) => Ok(Sockets {
                sockets: once(sockets),
                source: SocketSource::Proc { refused },
            }),
            (Err(error), None) => Err(error),
            (Err(error), Some(refused)) => {
                let both = format!("{}; and {}", Chain(&refused), Chain(&error));
                Err(io::Error::new(error.kind(), both))
            }
        }
    }

    pub(super) fn by_netlink(detail: SocketDetail, keep: Keep<'_>) -> io::Result<Vec<TcpSocket>> {
        let filter = Filter {
            states: StateFlags::all(),
            peer_port: 0,
            extensions: match detail {
                SocketDetail::Basic => ExtensionFlags::empty(),
                SocketDetail::TcpInfo => ExtensionFlags::INFO,
            },
        };
        let mut sockets = Vec::new();
        let mut diag = Diag::open()?;
        for family in [Family::V4, Family::V6] {
            let dumped = diag.dump(family, &filter, |found| {
                let socket = socket(&found);
                if keep(&socket) {
                    sockets.push(socket);
                }
            });
            match dumped {
                // A kernel without IPv6.
                Err(error)
                    if family == Family::V6
                        && error.raw_os_error() == Some(Errno::ENOENT as i32) => {}
                dumped => dumped?,
            }
        }
        Ok(sockets)
    }

    fn socket(found: &Found) -> TcpSocket {
        let state = TcpState::of(found.state);
        let (received, unacknowledged) = (found.receive_queue, found.send_queue);
        TcpSocket {
            state,
            local: found.ends.local_addr(),
            peer: found.ends.peer_addr(),
            inode: Some(u64::from(found.inode)).filter(|inode| *inode != 0),
            uid: found.uid,
            queue: SocketQueue::of(state, received, unacknowledged, Some(unacknowledged)),
            // A listener's holds its accept queue in the fields of unacknowledged and lost
            // segments.
            tcp_info: found.tcp_info.filter(|_| state != TcpState::Listen),
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::{
        platform::{by_netlink, from_tables, once, or_tables},
        *,
    };
    use crate::{SocketQueue, TcpState};

    /// Those of a kind, in one source and in the other.
    fn both(keep: impl Fn(&TcpSocket) -> bool) -> [Vec<TcpSocket>; 2] {
        let tables = from_tables("/proc/net", &keep, None)
            .expect("/proc")
            .sockets;
        let netlink = by_netlink(SocketDetail::TcpInfo, &keep).unwrap_or_else(|error| {
            eprintln!("SKIPPED: netlink is refused here: {error}");
            tables.clone()
        });
        [once(netlink), tables]
    }

    fn without_what_only_netlink_tells(socket: &TcpSocket) -> TcpSocket {
        let queue = match socket.queue {
            SocketQueue::Connections { waiting, .. } => SocketQueue::Connections {
                waiting,
                limit: None,
            },
            bytes => bytes,
        };
        TcpSocket {
            tcp_info: None,
            queue,
            ..*socket
        }
    }

    #[test]
    fn a_connection_and_a_listener_are_the_same_in_both_sources() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else {
                eprintln!("SKIPPED: {address} can't be bound");
                continue;
            };
            let at = listener.local_addr().expect("an address");
            let near = TcpStream::connect(at).expect("connects");
            let from = near.local_addr().expect("an address");

            // Another that had this port, towards somewhere else, may be in TIME_WAIT still.
            let is_it = |socket: &TcpSocket| (socket.local, socket.peer) == (from, at);
            let [netlink, tables] = both(is_it).map(|found| {
                assert_eq!(found.len(), 1, "{found:?}");
                found[0]
            });
            assert_eq!(netlink.state, TcpState::Established);
            assert!(netlink.inode.is_some());
            assert_eq!(without_what_only_netlink_tells(&netlink), tables);

            let listens = |found: Vec<TcpSocket>| {
                found
                    .into_iter()
                    .find(|socket| socket.state == TcpState::Listen)
                    .expect("the listener")
            };
            let [netlink, tables] = both(|socket| socket.local == at).map(listens);
            // The connection waits to be accepted.
            assert!(matches!(
                netlink.queue,
                SocketQueue::Connections { waiting: 1, .. }
            ));
            assert_eq!((netlink.peer.port(), netlink.tcp_info), (0, None));
            assert_eq!(without_what_only_netlink_tells(&netlink), tables);
        }
    }

    #[test]
    fn a_socket_that_is_told_again_is_told_once_and_listeners_that_share_an_address_stay_two() {
        let socket = |state, inode, port: u16| TcpSocket {
            inode,
            ..TcpSocket::new(
                state,
                ([10, 0, 0, 1], 80).into(),
                ([10, 0, 0, 2], port).into(),
            )
        };
        let told = [
            socket(TcpState::Established, Some(1), 5),
            socket(TcpState::Established, Some(1), 5),
            socket(TcpState::CloseWait, Some(1), 5),
            socket(TcpState::TimeWait, None, 5),
            socket(TcpState::TimeWait, None, 6),
            socket(TcpState::TimeWait, None, 5),
            socket(TcpState::Listen, Some(2), 0),
            socket(TcpState::Listen, Some(3), 0),
        ];
        let once = once(told.to_vec());
        let kept: Vec<_> = [0, 3, 4, 6, 7].map(|index| told[index]).into();
        assert_eq!(once, kept);
    }

    #[test]
    fn what_cant_be_asked_is_read_from_the_tables_and_both_errors_are_told() {
        let refused = || Err(io::Error::from(io::ErrorKind::PermissionDenied));
        let Sockets { source, .. } = or_tables(refused(), "/proc/net", &|_| false).expect("/proc");
        let SocketSource::Proc { refused: Some(why) } = source else {
            panic!("{source:?}")
        };
        assert!(why.to_string().contains("sock_diag"), "{why}");
        let error = or_tables(refused(), "/proc/nowhere", &|_| true).expect_err("no tables");
        let said = error.to_string();
        assert!(
            said.contains("denied") && said.contains("/proc/nowhere/tcp"),
            "{said}"
        );
    }
}
