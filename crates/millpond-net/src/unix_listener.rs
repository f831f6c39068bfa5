//! Listening on a Unix socket, and its file: made with its permissions, taken over when its listener
//! is gone, removed with its own.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use nix::sys::stat::{Mode, fchmod};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::{net::UnixListener, time::sleep};

use super::ListenFailure;

/// How often, and at which intervals, a socket's file is asked whether anybody listens, before it
/// is taken for abandoned.
const TRIALS: u32 = 4;
const BETWEEN_TRIALS: Duration = Duration::from_millis(10);

/// The file is made with its permissions, so that there is no moment at which somebody else could
/// connect.
pub(super) async fn bind(
    path: &Path,
    mode: u32,
    backlog: u32,
) -> Result<(UnixListener, SocketFile), ListenFailure> {
    let address = SockAddr::unix(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Linux takes the mode of the socket, less the umask, for its file.
    fchmod(&socket, Mode::from_bits_truncate(mode)).map_err(io::Error::from)?;
    if let Err(error) = socket.bind(&address) {
        if error.kind() != io::ErrorKind::AddrInUse {
            return Err(error.into());
        }
        remove_abandoned(path, &address).await?;
        socket.bind(&address)?;
    }
    let file = SocketFile::at(path)?;
    if fs::symlink_metadata(path)?.permissions().mode() & 0o777 != mode & 0o777 {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    }
    socket.set_nonblocking(true)?;
    socket.listen(i32::try_from(backlog).expect("a small number"))?;
    let listener = UnixListener::from_std(std::os::unix::net::UnixListener::from(socket))?;
    Ok((listener, file))
}

/// Removes a socket's file that refuses connections: its listener is gone. Anything else there is
/// somebody's.
///
/// One that is bound and is only just about to listen refuses as well, so it is asked several
/// times, over some milliseconds; and it must be the same file all the time.
async fn remove_abandoned(path: &Path, address: &SockAddr) -> Result<(), ListenFailure> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(ListenFailure::NotASocket);
    }
    let taken = || ListenFailure::Socket(io::ErrorKind::AddrInUse.into());
    // Its inode's number is free again as soon as it is removed; its age tells a new file from this
    // one.
    let identity = || {
        fs::symlink_metadata(path)
            .map(|file| (file.dev(), file.ino(), file.ctime(), file.ctime_nsec()))
    };
    let found = identity()?;
    for trial in 0..TRIALS {
        if trial > 0 {
            sleep(BETWEEN_TRIALS).await;
        }
        let caller = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        caller.set_nonblocking(true)?;
        match caller.connect(address) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            // Connected, or its backlog is full.
            Ok(()) => return Err(taken()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(taken()),
            Err(error) => return Err(error.into()),
        }
    }
    if identity()? != found {
        return Err(taken());
    }
    Ok(fs::remove_file(path)?)
}

/// A Unix socket's file, removed with its listener.
#[derive(Debug)]
pub(super) struct SocketFile {
    pub(super) path: PathBuf,
    /// Device and inode: another listener may have taken the path since.
    identity: (u64, u64),
}

impl SocketFile {
    fn at(path: &Path) -> io::Result<Self> {
        Ok(SocketFile {
            path: path.to_owned(),
            identity: SocketFile::identity_of(path)?,
        })
    }

    fn identity_of(path: &Path) -> io::Result<(u64, u64)> {
        let metadata = fs::symlink_metadata(path)?;
        Ok((metadata.dev(), metadata.ino()))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if SocketFile::identity_of(&self.path).is_ok_and(|identity| identity == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}
