//! The socket of a client: TCP or Unix.

use std::fmt;
use std::io::{self, IoSlice, Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::address_text::AddressText;

/// A client's socket on the runtime of the thread that it belongs to.
#[derive(Debug)]
pub enum Stream {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a Unix socket.
    Unix(UnixStream),
}

/// A client's socket that no runtime watches; it never blocks.
#[derive(Debug)]
pub enum DetachedStream {
    /// Over TCP.
    Tcp(std::net::TcpStream),
    /// Over a Unix socket.
    Unix(std::os::unix::net::UnixStream),
}

/// A client's socket that was accepted. Most say at once what they want: they are heard and passed on before any runtime has
/// been told to watch them.
#[derive(Debug)]
pub enum IncomingStream {
    /// Nobody had to wait for it yet.
    Unwatched(DetachedStream),
    /// On the runtime of the thread that waits for it.
    Watched(Stream),
    /// The runtime could not watch it.
    Lost,
}

/// The other side of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remote {
    /// An address; behind a trusted proxy, the one that the proxy tells.
    Network(SocketAddr),
    /// This machine, over a Unix socket, which has no address.
    Unix,
}

impl Remote {
    /// Its address; none over a Unix socket.
    pub const fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Network(address) => Some(address.ip()),
            Self::Unix => None,
        }
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(address) => AddressText::Socket(*address).fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

impl Stream {
    /// Leaves this thread's runtime.
    ///
    /// # Errors
    /// The runtime does not give it back.
    pub fn detach(self) -> io::Result<DetachedStream> {
        Ok(match self {
            Self::Tcp(stream) => DetachedStream::Tcp(stream.into_std()?),
            Self::Unix(stream) => DetachedStream::Unix(stream.into_std()?),
        })
    }
}

impl DetachedStream {
    /// Reads what there is.
    ///
    /// # Errors
    /// There is nothing now, or the connection is gone.
    pub fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => (&mut &*stream).read(into),
            Self::Unix(stream) => (&mut &*stream).read(into),
        }
    }

    /// Writes as much as the kernel takes.
    ///
    /// # Errors
    /// It takes nothing now, or the connection is gone.
    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => (&mut &*stream).write(bytes),
            Self::Unix(stream) => (&mut &*stream).write(bytes),
        }
    }

    /// Writes as much of these, one behind the other, as the kernel takes.
    ///
    /// # Errors
    /// It takes nothing now, or the connection is gone.
    pub fn write_vectored(&self, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => (&mut &*stream).write_vectored(bytes),
            Self::Unix(stream) => (&mut &*stream).write_vectored(bytes),
        }
    }

    /// Says that nothing more is written.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn shut(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }
}

impl AsFd for DetachedStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

impl DetachedStream {
    /// Joins the runtime of the thread that calls.
    fn attach(self) -> io::Result<Stream> {
        Ok(match self {
            Self::Tcp(stream) => Stream::Tcp(TcpStream::from_std(stream)?),
            Self::Unix(stream) => Stream::Unix(UnixStream::from_std(stream)?),
        })
    }
}

impl IncomingStream {
    /// Leaves this thread, and its runtime if that watches it.
    ///
    /// # Errors
    /// The runtime does not give it back, or could not watch it.
    pub fn detach(self) -> io::Result<DetachedStream> {
        match self {
            Self::Unwatched(socket) => Ok(socket),
            Self::Watched(stream) => stream.detach(),
            Self::Lost => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// The stream on this thread's runtime, from now on.
    fn watched(&mut self) -> io::Result<Pin<&mut Stream>> {
        *self = match std::mem::replace(self, Self::Lost) {
            Self::Unwatched(socket) => Self::Watched(socket.attach()?),
            watched @ (Self::Watched(_) | Self::Lost) => watched,
        };
        match self {
            Self::Watched(stream) => Ok(Pin::new(stream)),
            Self::Unwatched(_) | Self::Lost => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

/// Whether somebody has to wait for a socket, or was disturbed.
fn must_wait(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

impl AsyncRead for IncomingStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Self::Unwatched(socket) = this {
            match socket.read(buf.initialize_unfilled()) {
                Err(error) if must_wait(&error) => {}
                read => {
                    buf.advance(read?);
                    return Poll::Ready(Ok(()));
                }
            }
        }
        this.watched()?.poll_read(cx, buf)
    }
}

impl AsyncWrite for IncomingStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Self::Unwatched(socket) = this {
            match socket.write(bytes) {
                Err(error) if must_wait(&error) => {}
                written => return Poll::Ready(written),
            }
        }
        this.watched()?.poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().watched()?.poll_shutdown(cx)
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
