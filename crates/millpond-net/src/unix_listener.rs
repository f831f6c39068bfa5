//! Listening on a Unix socket, and the life of its file: created with its permissions, replaced if
//! a killed server has left it behind, removed with its listener.

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

/// How often, and at which intervals, a connection to a socket's file is tried before the file
/// counts as abandoned.
const TRIALS: u32 = 4;
const BETWEEN_TRIALS: Duration = Duration::from_millis(10);

/// The file is created with its permissions: at no moment can another user connect.
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

/// Removes a socket's file if its listener is gone: then connections are refused. Any other file is
/// left alone.
///
/// A socket that is bound and about to listen refuses connections as well. So the connection is
/// tried several times, over some milliseconds, and the file must stay the same.
async fn remove_abandoned(path: &Path, address: &SockAddr) -> Result<(), ListenFailure> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(ListenFailure::NotASocket);
    }
    let taken = || ListenFailure::Socket(io::ErrorKind::AddrInUse.into());
    // A new file may have the inode number of a removed one; the time of change tells them apart.
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
