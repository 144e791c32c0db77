//! A bound socket, whatever kind: TCP, or a Unix socket in the file system.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::config::Bind;
use crate::transport::{DetachedStream, Remote};

/// A bound socket that belongs to no thread yet.
#[derive(Debug)]
pub struct Bound {
    socket: BoundSocket,
    /// Goes with the last that listens.
    file: Option<Arc<SocketFile>>,
}

#[derive(Debug)]
enum BoundSocket {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

/// Connections that the kernel completes before we accept them; it may allow fewer.
const BACKLOG: i32 = 4_096;

impl Bound {
    /// Binds and listens.
    ///
    /// # Errors
    /// The address or the path is taken, or not ours to use.
    pub fn new(bind: &Bind) -> io::Result<Self> {
        match bind {
            Bind::Network(address) => {
                let socket =
                    Socket::new(Domain::for_address(*address), Type::STREAM, Some(Protocol::TCP))?;
                socket.set_reuse_address(true)?;
                socket.bind(&(*address).into())?;
                socket.set_tcp_nodelay(true)?;
                socket.listen(BACKLOG)?;
                socket.set_nonblocking(true)?;
                Ok(Self { socket: BoundSocket::Tcp(socket.into()), file: None })
            }
            Bind::Unix { path, mode } => {
                let (listener, file) = bind_unix(path, *mode)?;
                Ok(Self { socket: BoundSocket::Unix(listener), file: Some(Arc::new(file)) })
            }
        }
    }

    /// A socket that a predecessor has bound and still listens on. Its file is the predecessor's until [`FileOwner::own`].
    ///
    /// # Errors
    /// It is no socket that could be served.
    pub fn adopt(bind: &Bind, inherited: OwnedFd) -> io::Result<Self> {
        let (socket, file) = match bind {
            Bind::Network(_) => (BoundSocket::Tcp(inherited.into()), None),
            Bind::Unix { path, .. } => {
                let file = SocketFile { path: path.clone(), owned: AtomicBool::new(false) };
                (BoundSocket::Unix(inherited.into()), Some(Arc::new(file)))
            }
        };
        let bound = Self { socket, file };
        match &bound.socket {
            BoundSocket::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                SockRef::from(listener).set_tcp_nodelay(true)?;
            }
            BoundSocket::Unix(listener) => listener.set_nonblocking(true)?,
        }
        Ok(bound)
    }

    /// Whose its file is, if it has one.
    pub fn file(&self) -> Option<FileOwner> {
        self.file.as_ref().map(|file| FileOwner(Arc::downgrade(file)))
    }

    /// The socket, for a successor.
    ///
    /// # Errors
    /// There are no descriptors left.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        match &self.socket {
            BoundSocket::Tcp(listener) => listener.as_fd().try_clone_to_owned(),
            BoundSocket::Unix(listener) => listener.as_fd().try_clone_to_owned(),
        }
    }

    /// The same socket for one more thread: who has time takes the next connection.
    ///
    /// # Errors
    /// There are no descriptors left.
    pub fn share(&self) -> io::Result<Self> {
        let socket = match &self.socket {
            BoundSocket::Tcp(listener) => BoundSocket::Tcp(listener.try_clone()?),
            BoundSocket::Unix(listener) => BoundSocket::Unix(listener.try_clone()?),
        };
        Ok(Self { socket, file: self.file.clone() })
    }
}

/// Bound beside its place, given its mode, then moved there: nobody finds it with another mode, and a file that was left by
/// a gateway that died is replaced at once.
fn bind_unix(path: &Path, mode: u32) -> io::Result<(std::os::unix::net::UnixListener, SocketFile)> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "there is a file that is no socket",
            ));
        }
        Ok(_) if UnixStream::connect(path).is_ok() => {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "somebody listens there"));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let beside = path.with_extension(format!("{}", std::process::id()));
    let _ = std::fs::remove_file(&beside);
    let listener = std::os::unix::net::UnixListener::bind(&beside)?;
    let placed = std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(mode))
        .and_then(|()| std::fs::rename(&beside, path));
    if let Err(error) = placed {
        let _ = std::fs::remove_file(&beside);
        return Err(error);
    }
    listener.set_nonblocking(true)?;
    Ok((listener, SocketFile { path: path.to_owned(), owned: AtomicBool::new(true) }))
}

/// The file of a Unix socket; removed when dropped, unless it is another process's.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    owned: AtomicBool,
}

/// Says whose the file of a Unix socket is.
#[derive(Debug)]
pub struct FileOwner(Weak<SocketFile>);

impl FileOwner {
    /// Whether it goes with this process.
    pub fn own(&self, owned: bool) {
        if let Some(file) = self.0.upgrade() {
            file.owned.store(owned, Ordering::Release);
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if *self.owned.get_mut() {
            // It may be gone, or the folder may be.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// A bound socket on the runtime of the thread that accepts.
#[derive(Debug)]
pub(super) struct Listening {
    socket: AsyncFd<BoundSocket>,
    _file: Option<Arc<SocketFile>>,
}

/// Connections that are accepted at a time, before those that were accepted get their turn.
const AT_ONCE: usize = 32;

/// Somebody who was accepted.
pub(super) type Accepted = (DetachedStream, Remote);

impl Listening {
    /// Joins the runtime of the thread that calls.
    #[expect(
        deprecated,
        reason = "what replaces it is unsafe, for sockets that say one descriptor and then another"
    )]
    pub(super) fn new(bound: Bound) -> io::Result<Self> {
        let socket = AsyncFd::with_interest(bound.socket, Interest::READABLE)?;
        Ok(Self { socket, _file: bound.file })
    }

    /// Waits for connections, and takes some of those that wait.
    pub(super) async fn accept_some(&self, into: &mut Vec<io::Result<Accepted>>) -> io::Result<()> {
        let mut ready = self.socket.readable().await?;
        for _ in 0..AT_ONCE {
            match ready.try_io(|socket| socket.get_ref().accept()) {
                Ok(accepted) => {
                    let over = accepted.is_err();
                    into.push(accepted);
                    if over {
                        break;
                    }
                }
                // There are no more.
                Err(_) => break,
            }
        }
        Ok(())
    }

    /// Waits for the next connection.
    pub(super) async fn accept(&self) -> io::Result<Accepted> {
        loop {
            let mut ready = self.socket.readable().await?;
            if let Ok(accepted) = ready.try_io(|socket| socket.get_ref().accept()) {
                return accepted;
            }
        }
    }
}

impl BoundSocket {
    /// The next connection, if one waits. What small packets do is inherited: they leave at once.
    fn accept(&self) -> io::Result<Accepted> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (socket, from) = acceptfrom_with(self, flags)?;
        match self {
            Self::Tcp(_) => {
                // The other side of a connection over TCP has an address.
                let from = from.and_then(|from| from.try_into().ok()).ok_or(Errno::CONNABORTED)?;
                Ok((DetachedStream::Tcp(socket.into()), Remote::Network(from)))
            }
            Self::Unix(_) => Ok((DetachedStream::Unix(socket.into()), Remote::Unix)),
        }
    }
}

impl AsFd for BoundSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
        }
    }
}

impl AsRawFd for BoundSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_was_left_behind_is_replaced_and_one_in_use_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mqtt.sock");
        let bind = Bind::Unix { path: path.clone(), mode: 0o600 };
        // Left by somebody who died: the file is there, nobody listens.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let bound = Bound::new(&bind).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Bound::new(&bind).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let shared = bound.share().unwrap();
        drop(bound);
        assert!(UnixStream::connect(&path).is_ok());
        drop(shared);
        assert!(!path.exists());
        std::fs::write(&path, "a file").unwrap();
        assert_eq!(Bound::new(&bind).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    }
}
