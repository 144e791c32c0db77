//! What is on its way to one socket: bytes of MQTT, and where layers wrap them, a portion of them as they go over the wire.

use std::io::{self, IoSlice};

use crate::transport::{DetachedStream, Layer};

use super::outbox::{Outbox, SLICES, first};
use super::spare::Spare;

/// Wire bytes behind which more is put before they are sent, at most.
const JOINED_BYTES: usize = 4 * 1024;
/// Bytes that a socket is given at once: whoever is owed many megabytes gets them in portions.
pub(super) const PORTION_BYTES: usize = 128 * 1024;
/// Bytes beyond which a socket has much to send, and waits for its turn behind those that have little.
pub(super) const MUCH_BYTES: usize = 16 * 1024;
/// Bytes that all sockets with much to send are given in one round; the last portion may go beyond.
pub(super) const BULK_BYTES: usize = 256 * 1024;

/// What is to be sent to one socket. Lent by the worker while there is anything.
#[derive(Debug, Default)]
pub(super) struct Sending {
    /// MQTT bytes that wait to be sent.
    outbox: Outbox,
    /// Wire bytes on their way, at most a portion and what the layers add, and how many of them are gone. Where no layer
    /// wraps anything the outbox goes as it is.
    wire: Vec<u8>,
    wired: usize,
}

/// A place of its own, so that a socket without one is small, and that it moves from one to another.
pub(super) type Lent = Box<Sending>;

impl Sending {
    /// Whether everything was handed to the kernel.
    pub(super) const fn is_empty(&self) -> bool {
        self.outbox_len() == 0 && self.wire_len() == 0
    }

    /// MQTT bytes that wait.
    pub(super) const fn outbox_len(&self) -> usize {
        self.outbox.len()
    }

    /// Wire bytes that wait.
    pub(super) const fn wire_len(&self) -> usize {
        self.wire.len() - self.wired
    }

    /// The MQTT bytes that wait.
    pub(super) const fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    /// Where wire bytes are put that go before what waits in the outbox.
    pub(super) const fn wire(&mut self) -> &mut Vec<u8> {
        &mut self.wire
    }

    /// Wraps what is to go next, at most a portion, where a layer wraps anything.
    ///
    /// # Errors
    /// The connection cannot go on.
    pub(super) fn wrap(&mut self, layer: &mut Layer, spare: &mut Spare<Vec<u8>>) -> io::Result<()> {
        if self.wire_len() == 0 {
            self.wire.clear();
            self.wired = 0;
        }
        // Everything before is gone, or so little that both go together.
        let joins = self.wired == 0 && self.wire.len() <= JOINED_BYTES;
        if !joins || (layer.is_plain() && self.wire.is_empty()) {
            return Ok(());
        }
        let mut room = PORTION_BYTES;
        while room > 0 && self.outbox.len() > 0 {
            let piece = self.outbox.front(room);
            layer.emit(piece, &mut self.wire)?;
            let len = piece.len();
            self.outbox.take(len, spare);
            room -= len;
        }
        Ok(())
    }

    /// Offers the kernel at most so many bytes, and no more than a portion. Answers how many it took.
    ///
    /// # Errors
    /// It takes nothing now, or the connection is gone.
    pub(super) fn write(
        &mut self,
        stream: &DetachedStream,
        most: usize,
        spare: &mut Spare<Vec<u8>>,
    ) -> io::Result<usize> {
        let most = most.min(PORTION_BYTES);
        if self.wire_len() > 0 {
            let wire = self.wire.get(self.wired..).unwrap_or_default();
            let sent = stream.write(first(wire, most))?;
            self.wired += sent;
            return Ok(sent);
        }
        let sent = if self.outbox.held_bytes() == 0 {
            stream.write(self.outbox.front(most))?
        } else {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = self.outbox.slices(most, &mut slices);
            stream.write_vectored(slices.get(..count).unwrap_or_default())?
        };
        self.outbox.take(sent, spare);
        Ok(sent)
    }
}

/// Keeps what is empty for the next who has something to send.
pub(super) fn recycle(spare: &mut Spare<Lent>, sending: Option<Lent>) {
    let Some(mut sending) = sending else { return };
    sending.outbox.clear();
    sending.wire.clear();
    sending.wired = 0;
    let bytes = sending.outbox.capacity() + sending.wire.capacity();
    spare.keep(sending, bytes);
}
