//! What is on its way to one socket: bytes of MQTT, and a portion of them as they go over the wire.

use crate::transport::Layer;

/// Bytes of a buffer that is kept for the next who needs one.
const KEPT_BYTES: usize = 256 * 1024;
/// Wire bytes behind which more is put before they are sent, at most.
const JOINED_BYTES: usize = 4 * 1024;
/// Buffers kept per worker.
const KEPT: usize = 64;
/// Bytes that a socket is given in one round: whoever is owed many megabytes gets them in portions.
pub(super) const PORTION_BYTES: usize = 256 * 1024;

/// What is to be sent to one socket. Lent by the worker while there is anything.
#[derive(Debug, Default)]
pub(super) struct Sending {
    /// MQTT bytes that wait to be sent, behind those of them that are on the wire.
    pub(super) outbox: Vec<u8>,
    pub(super) wrapped: usize,
    /// Wire bytes on their way, at most a portion and what the layers add, and how many of them are gone.
    pub(super) wire: Vec<u8>,
    pub(super) wired: usize,
}

/// A place of its own, so that a socket without one is small, and that it moves from one to another.
pub(super) type Lent = Box<Sending>;

impl Sending {
    /// Whether everything was handed to the kernel.
    pub(super) const fn is_empty(&self) -> bool {
        self.outbox.is_empty() && self.wired == self.wire.len()
    }

    /// Whether what waits in the outbox may go on the wire: everything before is gone, or so little that both go together.
    pub(super) const fn takes_more(&self) -> bool {
        let begun = self.wired > 0 || self.wire.len() > JOINED_BYTES;
        !self.outbox.is_empty() && (self.wired == self.wire.len() || !begun)
    }

    /// A portion of what waits in the outbox is sent on the wire, behind what is there.
    pub(super) fn wrap(&mut self, layer: &mut Layer) -> std::io::Result<()> {
        if self.wired == self.wire.len() {
            self.wire.clear();
            self.wired = 0;
        }
        if layer.is_plain() && self.wire.is_empty() && self.outbox.len() <= PORTION_BYTES {
            std::mem::swap(&mut self.outbox, &mut self.wire);
            self.wired = std::mem::take(&mut self.wrapped);
            return Ok(());
        }
        let waiting = self.outbox.get(self.wrapped..).unwrap_or_default();
        let portion = waiting.get(..PORTION_BYTES).unwrap_or(waiting);
        layer.emit(portion, &mut self.wire)?;
        self.wrapped += portion.len();
        // What is on the wire is forgotten when it is half of all: no byte is moved more than once for it.
        if self.wrapped * 2 >= self.outbox.len() {
            self.outbox.drain(..std::mem::take(&mut self.wrapped));
        }
        Ok(())
    }
}

/// Keeps a buffer that is not too large for the next who needs one.
pub(super) fn recycle(pool: &mut Vec<Lent>, sending: Option<Lent>) {
    let Some(mut sending) = sending else { return };
    if sending.outbox.capacity() + sending.wire.capacity() <= KEPT_BYTES && pool.len() < KEPT {
        sending.outbox.clear();
        sending.wire.clear();
        (sending.wrapped, sending.wired) = (0, 0);
        pool.push(sending);
    }
}
