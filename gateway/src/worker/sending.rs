//! What is on its way to one socket: bytes of MQTT, and where layers wrap them, a portion of them as they go over the wire.

use std::io;

use crate::transport::Layer;

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
    /// MQTT bytes that wait to be sent, behind `taken` of them that are gone, or on the wire.
    outbox: Vec<u8>,
    taken: usize,
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
        self.outbox.len() - self.taken
    }

    /// Wire bytes that wait.
    pub(super) const fn wire_len(&self) -> usize {
        self.wire.len() - self.wired
    }

    /// Where MQTT bytes are put. What is gone is forgotten when it is half of all: no byte is moved more than once for it.
    pub(super) fn outbox(&mut self) -> &mut Vec<u8> {
        if self.taken > 0 && self.taken * 2 >= self.outbox.len() {
            self.outbox.drain(..std::mem::take(&mut self.taken));
        }
        &mut self.outbox
    }

    /// Where wire bytes are put that go before what waits in the outbox.
    pub(super) const fn wire(&mut self) -> &mut Vec<u8> {
        &mut self.wire
    }

    /// What the kernel is to be given next, at most a portion; nothing if there is none.
    ///
    /// # Errors
    /// The connection cannot go on.
    pub(super) fn next(&mut self, layer: &mut Layer) -> io::Result<&[u8]> {
        if self.wire_len() == 0 {
            self.wire.clear();
            self.wired = 0;
        }
        // Everything before is gone, or so little that both go together.
        let joins = self.wired == 0 && self.wire.len() <= JOINED_BYTES;
        if self.outbox_len() > 0 && joins && !(layer.is_plain() && self.wire.is_empty()) {
            let portion = portion(&self.outbox, self.taken);
            layer.emit(portion, &mut self.wire)?;
            self.taken += portion.len();
        }
        let from_wire = self.wire_len() > 0;
        Ok(if from_wire {
            portion(&self.wire, self.wired)
        } else {
            portion(&self.outbox, self.taken)
        })
    }

    /// The kernel took so many bytes of [`Self::next`].
    pub(super) fn sent(&mut self, bytes: usize) {
        if self.wire_len() > 0 {
            self.wired += bytes;
        } else {
            self.taken += bytes;
        }
        if self.outbox_len() == 0 {
            self.outbox.clear();
            self.taken = 0;
        }
    }
}

/// At most a portion of the bytes from there on.
fn portion(bytes: &[u8], from: usize) -> &[u8] {
    let rest = bytes.get(from..).unwrap_or_default();
    rest.get(..PORTION_BYTES).unwrap_or(rest)
}

/// Keeps what is empty for the next who has something to send.
pub(super) fn recycle(spare: &mut Spare<Lent>, sending: Option<Lent>) {
    let Some(mut sending) = sending else { return };
    sending.outbox.clear();
    sending.wire.clear();
    (sending.taken, sending.wired) = (0, 0);
    let bytes = sending.outbox.capacity() + sending.wire.capacity();
    spare.keep(sending, bytes);
}
