//! One connection: a task that reads frames, a task that writes buffers.

use std::time::Duration;

use protocol::GatewayId;
use protocol::peer::{Frame, FrameBuffer, FrameError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio_rustls::TlsStream;

use super::dial::{AcceptFailed, DialFailed, Hello};
use crate::tls::{CertificateKey, Revoked};

/// A connection of peer links, in either direction.
pub(super) type Stream = TlsStream<TcpStream>;

/// Which of a peer's two connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// The one that we dialled.
    Dialled,
    /// The one that the peer dialled.
    Accepted,
}

/// Names a connection, so that what its tasks still tell after its end is recognised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) peer: GatewayId,
    pub(super) side: Side,
    pub(super) number: u64,
}

/// What the tasks tell the driver.
#[derive(Debug)]
pub(super) enum News {
    /// Frames, as many as had come, and their bytes.
    Frames(Key, Vec<Frame>, usize),
    /// Bytes that are no frame.
    Damaged(Key, FrameError),
    /// A buffer is written; here it is, empty.
    Written(Key, Vec<u8>),
    /// The connection is closed or broken.
    Closed(Key, std::io::ErrorKind),
    /// What became of dialling.
    Dialled(Key, Box<Result<Stream, DialFailed>>),
    /// A peer has dialled and greeted.
    Accepted(Box<Result<Hello, AcceptFailed>>),
}

/// Most bytes that are read before their frames are handed on.
const READ_BYTES: usize = 64 << 10;
/// Most bytes handed to TLS at once, and the unit of the write limit.
const CHUNK_BYTES: usize = 64 << 10;
/// A written buffer larger than this is not kept.
const KEEP_BYTES: usize = 1 << 20;

/// The driver's end of a connection. Dropping it closes the connection, after the buffer that is being written.
#[derive(Debug)]
pub(super) struct Connection {
    key: Key,
    to_writer: mpsc::UnboundedSender<Vec<u8>>,
    /// The buffer, while none is being written.
    idle: Option<Vec<u8>>,
    reader: AbortHandle,
    /// Bytes that were handed to the writer and not counted yet.
    written_bytes: u64,
    /// What the other side has shown.
    certificate: Option<CertificateKey>,
}

impl Connection {
    /// Starts the tasks. `buffer` holds what came after the first frame, if one was read.
    pub(super) fn open(
        key: Key,
        stream: Stream,
        buffer: FrameBuffer,
        write_limit: Duration,
        news: mpsc::Sender<News>,
    ) -> Self {
        let certificate = CertificateKey::shown(stream.get_ref().1.peer_certificates());
        let (read, write) = tokio::io::split(stream);
        // Holds one buffer at most: the driver waits for it to come back.
        let (to_writer, buffers) = mpsc::unbounded_channel();
        let reader = tokio::spawn(read_frames(key.clone(), read, buffer, news.clone()));
        tokio::spawn(write_buffers(key.clone(), write, buffers, write_limit, news));
        let reader = reader.abort_handle();
        let (idle, written_bytes) = (Some(Vec::new()), 0);
        Self { key, to_writer, idle, reader, written_bytes, certificate }
    }

    /// Whether it was made with one of these certificates.
    pub(super) fn is_revoked(&self, revoked: &Revoked) -> bool {
        self.certificate.is_some_and(|certificate| revoked.contains(certificate))
    }

    pub(super) fn is(&self, key: &Key) -> bool {
        self.key == *key
    }

    /// Bytes that were written since the last call.
    pub(super) fn take_written_bytes(&mut self) -> u64 {
        std::mem::take(&mut self.written_bytes)
    }

    /// A buffer came back.
    pub(super) fn handle_written(&mut self, buffer: Vec<u8>) {
        self.idle = Some(buffer);
    }

    /// Asks for bytes until there are no more, unless some are still being written.
    pub(super) fn pump(&mut self, mut poll: impl FnMut(&mut Vec<u8>) -> bool) {
        let Some(mut buffer) = self.idle.take() else {
            return;
        };
        // Once: the rest is asked for when the buffer is back, so a slow peer costs one buffer.
        if poll(&mut buffer) {
            self.written_bytes += buffer.len() as u64;
            // If the writer is gone, its last words are on their way.
            let _gone = self.to_writer.send(buffer);
        } else {
            self.idle = Some(buffer);
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The writer ends by itself, since its channel is closed.
        self.reader.abort();
    }
}

async fn read_frames(
    key: Key,
    mut read: ReadHalf<Stream>,
    mut buffer: FrameBuffer,
    news: mpsc::Sender<News>,
) {
    loop {
        let mut frames = Vec::new();
        let before = buffer.space().len();
        let end = loop {
            match buffer.take() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break None,
                Err(error) => break Some(News::Damaged(key.clone(), error)),
            }
        };
        if !frames.is_empty() {
            let bytes = before - buffer.space().len();
            if news.send(News::Frames(key.clone(), frames, bytes)).await.is_err() {
                return;
            }
        }
        let end = match end {
            Some(end) => end,
            None => match read_some(&mut read, &mut buffer).await {
                Ok(()) => continue,
                Err(kind) => News::Closed(key, kind),
            },
        };
        let _gone = news.send(end).await;
        return;
    }
}

/// Reads once; the end of the stream is an error.
pub(super) async fn read_some(
    read: &mut (impl tokio::io::AsyncRead + Unpin),
    buffer: &mut FrameBuffer,
) -> Result<(), std::io::ErrorKind> {
    let space = buffer.space();
    if space.capacity() - space.len() < READ_BYTES / 4 {
        space.reserve(READ_BYTES);
    }
    match read.read_buf(space).await {
        Ok(0) => Err(std::io::ErrorKind::UnexpectedEof),
        Ok(_) => Ok(()),
        Err(error) => Err(error.kind()),
    }
}

async fn write_buffers(
    key: Key,
    mut write: WriteHalf<Stream>,
    mut buffers: mpsc::UnboundedReceiver<Vec<u8>>,
    limit: Duration,
    news: mpsc::Sender<News>,
) {
    while let Some(mut buffer) = buffers.recv().await {
        if let Err(kind) = write_all(&mut write, &buffer, limit).await {
            let _gone = news.send(News::Closed(key, kind)).await;
            return;
        }
        buffer.clear();
        buffer.shrink_to(KEEP_BYTES);
        if news.send(News::Written(key.clone(), buffer)).await.is_err() {
            break;
        }
    }
    // A peer that does not take the end of the stream cannot keep us.
    let _late = tokio::time::timeout(limit, write.shutdown()).await;
}

async fn write_all(
    write: &mut WriteHalf<Stream>,
    bytes: &[u8],
    limit: Duration,
) -> Result<(), std::io::ErrorKind> {
    for chunk in bytes.chunks(CHUNK_BYTES) {
        within(limit, write.write_all(chunk)).await?;
    }
    within(limit, write.flush()).await
}

async fn within(
    limit: Duration,
    step: impl Future<Output = std::io::Result<()>>,
) -> Result<(), std::io::ErrorKind> {
    match tokio::time::timeout(limit, step).await {
        Ok(done) => done.map_err(|error| error.kind()),
        Err(_) => Err(std::io::ErrorKind::TimedOut),
    }
}
