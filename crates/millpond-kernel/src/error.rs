//! Why the kernel couldn't be asked for its sockets.

use std::io;

/// Why the kernel couldn't be asked for its sockets.
#[derive(Debug, thiserror::Error)]
#[error("asking the kernel for its TCP sockets (netlink sock_diag) failed")]
struct SockDiagError {
    #[source]
    source: io::Error,
}

/// Says what was being done when `source` happened, if it doesn't say so itself.
pub(super) fn sock_diag_failed(source: io::Error) -> io::Error {
    if source.kind() == io::ErrorKind::Unsupported {
        return source;
    }
    io::Error::new(source.kind(), SockDiagError { source })
}

/// The answer of every other system.
#[cfg(not(target_os = "linux"))]
pub(super) fn only_linux() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "the kernel can be asked for its TCP sockets only on Linux (netlink sock_diag)",
    )
}
