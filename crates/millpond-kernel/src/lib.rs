//! What the operating system knows about sockets and their limits, read without privileges and
//! without changing anything: the `TCP_INFO` of connections, which sockets there are, which ports
//! are in use towards a destination, how many files may be open, and what an error that such a limit
//! caused means.
//!
//! On Linux by netlink sock_diag and small files in `/proc`. On other systems the same functions
//! exist; what they can't find out they answer by `None` or an error that says so. All of them
//! block, for microseconds up to tens of milliseconds: their docs say when.

#[cfg(target_os = "linux")]
mod diag;
#[cfg(target_os = "linux")]
mod ends;
mod error;
mod explain;
mod facts;
mod limits;
mod lookup;
#[cfg(target_os = "linux")]
mod packet;
mod ports;
mod sockets;
#[cfg(target_os = "linux")]
mod tables;
mod tcp_info;
mod tcp_socket;

pub use self::{
    explain::explain,
    facts::{Facts, NoSocket},
    limits::{DescriptorLimits, SystemFiles, descriptor_limits},
    lookup::tcp_info,
    ports::{PortUse, port_use, port_use_from},
    sockets::{SocketDetail, SocketSource, Sockets, sockets, sockets_beside},
    tcp_info::TcpInfo,
    tcp_socket::{SocketQueue, TcpSocket, TcpState},
};

/// The README's example is compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
