//! What the operating system knows about sockets and their limits, read without privileges and
//! without changing anything: how a connection's transmission goes, which sockets there are, which
//! ports are in use towards a destination, how many files may be open, and what an error that such
//! a limit brought about means.
//!
//! On Linux by netlink sock_diag and small files in `/proc`. On other systems the same functions
//! exist; what they can't find out they answer by `None` or an error that says so. All of them
//! block, for microseconds up to tens of milliseconds: their docs say when.

#[cfg(target_os = "linux")]
mod diag;
mod explain;
mod limits;
#[cfg(target_os = "linux")]
mod packet;
mod ports;
mod sockets;
#[cfg(target_os = "linux")]
mod tables;
mod transmission;

use std::io;

pub use self::{
    explain::{Facts, NoSocket, explain},
    limits::{DescriptorLimits, SystemFiles, descriptor_limits},
    ports::{PortUse, port_use, port_use_from},
    sockets::{
        SocketQueue, SocketSource, Sockets, TcpSocket, TcpState, Telling, sockets, sockets_beside,
    },
    transmission::{Transmission, transmissions},
};

/// Why the kernel couldn't be asked for its sockets.
#[derive(Debug, thiserror::Error)]
#[error("asking the kernel for its TCP sockets (netlink sock_diag) failed")]
struct Asking {
    #[source]
    source: io::Error,
}

fn asking(source: io::Error) -> io::Error {
    if source.kind() == io::ErrorKind::Unsupported {
        return source;
    }
    io::Error::new(source.kind(), Asking { source })
}

#[cfg(not(target_os = "linux"))]
fn only_linux() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "the kernel can be asked for its TCP sockets only on Linux (netlink sock_diag)",
    )
}
