//! What comes in: a read of a socket into the worker's buffer, and the memory of what is not whole yet. Of a large packet that is a
//! buffer which no other packet shares: its rest is read to where it stays, and whoever gets the packet holds that memory.

use std::io::ErrorKind;
use std::task::Poll;

use bytes::Bytes;
use rustix::buffer::spare_capacity;
use rustix::io::Errno;

use protocol::mqtt::codec;

use crate::hub::{ConnId, HELD_BYTES};

use super::io::{Io, Socket};

/// A packet of more bytes is a large one.
const LARGE_BYTES: usize = 4 * 1024;

/// Fewer bytes of one are read together with what comes behind them.
const REST_BYTES: usize = 16 * 1024;

/// Room that a buffer may have beyond twice what is in it.
const SPARE_BYTES: usize = 4 * 1024;

impl Io {
    /// A buffer of its own for what was read and is not handled: of a large packet one that held another before.
    pub(super) fn inbox_of(&mut self, rest: &[u8]) -> Vec<u8> {
        let coming = codec::announced(rest).unwrap_or(0).max(rest.len());
        let spare = if coming > LARGE_BYTES { self.spare.take() } else { None };
        let Some(mut inbox) = spare else { return rest.to_vec() };
        inbox.extend_from_slice(rest);
        inbox
    }

    /// Reads what there is of a socket, if anything.
    pub(super) fn read(&mut self, conn: ConnId, into: &mut [u8]) -> Poll<std::io::Result<usize>> {
        let Some(socket) = self.socket(conn) else { return Poll::Pending };
        if !socket.readable {
            return Poll::Pending;
        }
        loop {
            match socket.stream.read(into) {
                Ok(len) => {
                    // Who left room has given all there was: what comes now is another change.
                    socket.readable = len == into.len() || socket.ended;
                    return Poll::Ready(Ok(len));
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    socket.readable = false;
                    return Poll::Pending;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
    }

    /// Reads the rest of a large packet to where it stays, if that is what comes next; none if it is not.
    pub(super) fn read_rest(&mut self, conn: ConnId) -> Option<Poll<std::io::Result<usize>>> {
        let socket = self.socket(conn)?;
        let missing = socket.missing().filter(|_| socket.readable)?;
        let inbox = &mut socket.inbox;
        if missing < REST_BYTES || inbox.len() < REST_BYTES {
            return None;
        }
        if inbox.capacity() == inbox.len() {
            // At most as much as has come already, whatever it says that is coming.
            inbox.reserve_exact(missing.min(inbox.len()));
        }
        let room = inbox.capacity() - inbox.len();
        Some(loop {
            match rustix::io::read(&socket.stream, spare_capacity(inbox)) {
                Ok(len) => {
                    socket.readable = len == room || socket.ended;
                    break Poll::Ready(Ok(len));
                }
                Err(Errno::WOULDBLOCK) => {
                    socket.readable = false;
                    break Poll::Pending;
                }
                Err(Errno::INTR) => {}
                Err(e) => break Poll::Ready(Err(e.into())),
            }
        })
    }

    /// An empty buffer for a large packet of so many bytes. Whoever holds it holds not much more than that.
    pub(super) fn memory_for(&mut self, len: usize) -> Vec<u8> {
        match self.spare.take() {
            Some(buffer) if buffer.capacity() <= 2 * len => buffer,
            Some(larger) => {
                self.spare.keep_buffer(larger);
                Vec::with_capacity(len)
            }
            None => Vec::with_capacity(len),
        }
    }

    /// These bytes in the memory of the packet that is being handled, if they are in it.
    pub(super) fn memory_of(&self, bytes: &[u8]) -> Option<Bytes> {
        let (whole, part) = (self.reading.as_ptr_range(), bytes.as_ptr_range());
        let within = whole.start <= part.start && part.end <= whole.end && !bytes.is_empty();
        within.then(|| self.reading.slice_ref(bytes))
    }
}

impl Socket {
    /// Bytes of the packet that is in its inbox which have not come, if it is a large one and nothing wraps it.
    pub(super) fn missing(&self) -> Option<usize> {
        let coming = codec::announced(&self.inbox).filter(|_| self.layer.is_plain())?;
        coming.checked_sub(self.inbox.len()).filter(|_| coming > LARGE_BYTES)
    }
}

/// Whether an inbox holds nothing to speak of but a packet that may be held: whoever does holds all of its memory.
pub(super) fn may_be_held(inbox: &Vec<u8>) -> bool {
    let coming = codec::announced(inbox).unwrap_or(0);
    let whole = coming >= HELD_BYTES && inbox.len() >= coming;
    whole && inbox.capacity() <= 2 * coming + SPARE_BYTES
}
