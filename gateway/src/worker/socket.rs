//! One connection's turn: reads while it may, writes what the kernel did not take before, and ends it properly.

use std::task::Poll;

use bytes::Bytes;
use protocol::ClientId;
use protocol::mqtt::codec;

use crate::hub::ConnId;
use crate::transport::Layer;

use super::Reading;
use super::driver::Worker;
use super::inbox::may_be_held;

/// What is to be done next.
enum Next {
    Again,
    /// Again, but not before others.
    Yield,
    Wait,
    End,
}

/// Bytes of a WebSocket that are read at once: its frames may be tiny, and each costs.
const WEBSOCKET_BYTES: usize = 8 * 1024;
/// Room that an inbox may have beyond twice what is in it.
const SPARE_BYTES: usize = 4096;
/// Reads of one connection before others get their turn.
const READS_PER_TURN: u32 = 4;
/// Shares of a client whose session somebody else is about to get: behind what it has said may stand a goodbye.
const SHARES_HEARD_OUT: u32 = 64;

impl Worker {
    /// Gives a connection its turn.
    pub(super) fn serve(&mut self, conn: ConnId) {
        let Some(socket) = self.io.socket(conn) else { return };
        socket.queued = false;
        let _span = socket.enter();
        let mut next = Next::Again;
        for _ in 0..READS_PER_TURN {
            next = self.turn(conn);
            if !matches!(next, Next::Again) {
                break;
            }
        }
        match next {
            Next::Again | Next::Yield => self.io.put_off(conn),
            Next::Wait => {}
            Next::End => self.end(conn),
        }
    }

    fn turn(&mut self, conn: ConnId) -> Next {
        let Some(socket) = self.io.socket(conn) else { return Next::End };
        if socket.blocked && !self.io.queue_bulk(conn) {
            self.tell_time();
            match self.io.write(conn.index) {
                Poll::Ready(Ok(())) => self.machine.handle_writable(conn, self.now, &mut self.io),
                Poll::Ready(Err(_)) => return self.lost(conn),
                Poll::Pending => {}
            }
        }
        let Some(socket) = self.io.socket(conn) else { return Next::End };
        if socket.closing.is_some() {
            self.tell_time();
            return self.close(conn);
        }
        if socket.blocked && socket.waiting_bytes() > self.outbox_bytes {
            // It does not read what it is owed, so nothing more is read from it.
            return Next::Wait;
        }
        if socket.rests {
            return Next::Wait;
        }
        if socket.paused || !self.machine.may_read(conn) {
            // Only to notice that the client is gone before its CONNECT is answered would a read be worth it; the
            // answer will notice.
            return Next::Wait;
        }
        if std::mem::take(&mut socket.unhandled) {
            self.tell_time();
            return self.handle_inbox(conn);
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let next = self.read(conn, &mut buffer);
        self.buffer = buffer;
        next
    }

    fn read(&mut self, conn: ConnId, buffer: &mut [u8]) -> Next {
        if let Some(read) = self.io.read_rest(conn) {
            return self.take_in_rest(conn, read, buffer.len());
        }
        let Some(socket) = self.io.socket(conn) else { return Next::End };
        let room = room_for(&socket.layer, buffer);
        match self.io.read(conn, room) {
            Poll::Pending => Next::Wait,
            Poll::Ready(Ok(len)) if len > 0 => {
                let next = self.take_in(conn, room.get_mut(..len).unwrap_or_default());
                if matches!(next, Next::Again) && self.came_in_a_crumb(conn, len) {
                    return Next::Wait;
                }
                next
            }
            Poll::Ready(_) => {
                self.tell_time();
                self.lost(conn)
            }
        }
    }

    /// Handles what was read of the rest of a large packet; more than `share` bytes are as much as a turn takes.
    fn take_in_rest(
        &mut self,
        conn: ConnId,
        read: Poll<std::io::Result<usize>>,
        share: usize,
    ) -> Next {
        self.tell_time();
        match read {
            Poll::Pending => Next::Wait,
            Poll::Ready(Ok(len)) if len > 0 => {
                self.metrics.bytes_received.add(len as u64);
                match self.handle_inbox(conn) {
                    Next::Again if self.came_in_a_crumb(conn, len) => Next::Wait,
                    Next::Again if len > share => Next::Yield,
                    next @ (Next::Again | Next::Yield | Next::Wait | Next::End) => next,
                }
            }
            Poll::Ready(_) => self.lost(conn),
        }
    }

    /// Whether a packet grows by so little at a time that its connection is left alone for a moment.
    fn came_in_a_crumb(&mut self, conn: ConnId, piece: usize) -> bool {
        let Some(socket) = self.io.socket(conn) else { return false };
        socket.rests = self.crumbs.came(conn, piece, socket.inbox.len(), self.now.mono);
        socket.rests
    }

    /// Lets those go on whose packets come in crumbs, when enough of them may have gathered.
    pub(super) fn end_rests(&mut self) {
        for conn in self.crumbs.end(self.now.mono) {
            if let Some(socket) = self.io.socket(conn) {
                socket.rests = false;
            }
            self.io.wake(conn);
        }
    }

    /// Handles what was read.
    fn take_in(&mut self, conn: ConnId, raw: &mut [u8]) -> Next {
        // Not before: what is read was sent before this moment, whatever held this thread up meanwhile.
        self.tell_time();
        let Some(socket) = self.io.socket(conn) else { return Next::End };
        self.metrics.bytes_received.add(raw.len() as u64);
        if !socket.layer.is_plain() {
            let mut reply = Vec::new();
            let mut inbox = std::mem::take(&mut socket.inbox);
            let result = socket.layer.ingest(raw, &mut inbox, &mut reply);
            socket.inbox = inbox;
            let answered = !reply.is_empty();
            self.io.reply(conn, &mut reply);
            let next = self.handle_inbox(conn);
            return match (result, next) {
                (Err(_), _) => {
                    self.io.part(conn);
                    self.lost(conn)
                }
                // What the layers answer on their own, such as pings, counts for a share of the turn too.
                (Ok(()), Next::Again) if answered => Next::Yield,
                (Ok(()), next) => next,
            };
        }
        if socket.inbox.is_empty() {
            return self.take_in_first(conn, raw);
        }
        // What is behind a large packet has no place in its memory.
        let missing = socket.missing().unwrap_or(raw.len()).min(raw.len());
        let (rest, behind) = raw.split_at(missing);
        socket.inbox.extend_from_slice(rest);
        let next = self.handle_inbox(conn);
        let Some(socket) = self.io.socket(conn) else { return Next::End };
        match next {
            Next::Again if !behind.is_empty() && socket.inbox.is_empty() => {
                self.take_in_first(conn, behind)
            }
            Next::Again | Next::Yield if !behind.is_empty() => {
                socket.inbox.extend_from_slice(behind);
                socket.unhandled = true;
                Next::Yield
            }
            next @ (Next::Again | Next::Yield | Next::Wait | Next::End) => next,
        }
    }

    /// Handles what was read where nothing waits before it.
    fn take_in_first(&mut self, conn: ConnId, raw: &[u8]) -> Next {
        let (took, reading) = self.machine.handle_bytes(conn, raw, self.now, &mut self.io);
        let rest = self.io.inbox_of(raw.get(took..).unwrap_or_default());
        self.keep(conn, rest, reading)
    }

    /// Somebody else is about to get a client's session. What the client has said here, and what no turn of its has read yet,
    /// comes first: above all a goodbye, after which its will is nobody's `[MQTT5-3.14.4-3]`.
    pub(super) fn hear_out(&mut self, client: &ClientId) {
        let Some(conn) = self.machine.hub().connection_of(client) else { return };
        let mut buffer = std::mem::take(&mut self.buffer);
        for _ in 0..SHARES_HEARD_OUT {
            if !matches!(self.hear_more(conn, &mut buffer), Next::Again | Next::Yield) {
                break;
            }
        }
        self.buffer = buffer;
        if let Some(socket) = self.io.socket(conn)
            && socket.unhandled
        {
            self.io.wake(conn);
        }
    }

    /// Reads though the kernel may not have told yet that there is something to read. What is wrong with the connection is
    /// left to its turn.
    fn hear_more(&mut self, conn: ConnId, buffer: &mut [u8]) -> Next {
        let Some(socket) = self.io.socket(conn) else { return Next::Wait };
        let full = socket.blocked && socket.waiting_bytes() > self.outbox_bytes;
        if full || socket.closing.is_some() || socket.paused || !self.machine.may_read(conn) {
            return Next::Wait;
        }
        if std::mem::take(&mut socket.unhandled) {
            return self.handle_inbox(conn);
        }
        let room = room_for(&socket.layer, buffer);
        match socket.stream.read(room) {
            Ok(0) | Err(_) => Next::Wait,
            Ok(len) => self.take_in(conn, room.get_mut(..len).unwrap_or_default()),
        }
    }

    /// Handles what waits in a connection's inbox. What stays there is moved only if something before it was taken: a
    /// packet that comes in small pieces must not be copied with each of them.
    fn handle_inbox(&mut self, conn: ConnId) -> Next {
        let Some(socket) = self.io.socket(conn) else { return Next::End };
        let mut inbox = std::mem::take(&mut socket.inbox);
        if may_be_held(&inbox) {
            return self.handle_large(conn, inbox.into());
        }
        let (took, reading) = self.machine.handle_bytes(conn, &inbox, self.now, &mut self.io);
        if took >= inbox.len() {
            // An idle connection owns no buffer.
            self.io.spare.keep_buffer(std::mem::take(&mut inbox));
        } else {
            inbox.drain(..took);
        }
        self.keep(conn, inbox, reading)
    }

    /// The same for a large packet, whose memory those may hold who get it.
    fn handle_large(&mut self, conn: ConnId, packet: Bytes) -> Next {
        self.io.reading = packet.clone();
        let (took, reading) = self.machine.handle_bytes(conn, &packet, self.now, &mut self.io);
        self.io.reading = Bytes::new();
        let rest = if took >= packet.len() {
            self.io.spare.keep_memory(packet);
            Vec::new()
        } else if took == 0 && packet.is_unique() {
            packet.into()
        } else {
            packet.get(took..).unwrap_or_default().to_vec()
        };
        self.keep(conn, rest, reading)
    }

    fn keep(&mut self, conn: ConnId, mut rest: Vec<u8>, reading: Reading) -> Next {
        let Some(socket) = self.io.socket(conn) else { return Next::End };
        match reading {
            // Whoever ended the connection's business wakes it to be closed.
            Reading::Over => Next::Wait,
            Reading::On => {
                let most = SPARE_BYTES + 2 * rest.len().max(codec::announced(&rest).unwrap_or(0));
                if rest.capacity() > most {
                    // What was a large packet is no place for the beginning of a small one.
                    let large = rest;
                    rest = large.as_slice().to_vec();
                    self.io.spare.keep_buffer(large);
                }
                if let Some(socket) = self.io.socket(conn) {
                    socket.inbox = rest;
                }
                Next::Again
            }
            Reading::Later => {
                socket.unhandled = !rest.is_empty();
                socket.inbox = rest;
                Next::Yield
            }
        }
    }

    /// Sends what is left, shuts our side, and reads until the client has closed too, so that what we said is not lost to
    /// a reset.
    fn close(&mut self, conn: ConnId) -> Next {
        let Some(socket) = self.io.socket(conn) else { return Next::End };
        let late = socket.closing.as_deref().is_some_and(|c| self.now.mono >= c.until);
        if late {
            return Next::End;
        }
        if !socket.lingers() && socket.is_sent() {
            self.io.part(conn);
            return Next::End;
        }
        if !socket.is_sent() {
            return Next::Wait;
        }
        if !socket.closing.as_deref().is_some_and(|c| c.shut) {
            if let Some(closing) = &mut socket.closing {
                closing.shut = true;
            }
            self.io.goodbye(conn);
            if self.io.write(conn.index).is_pending() {
                return Next::Wait;
            }
        }
        self.shut_and_drain(conn)
    }

    fn shut_and_drain(&mut self, conn: ConnId) -> Next {
        let Some(socket) = self.io.socket(conn) else { return Next::End };
        // If that fails, so does reading.
        let _ = socket.stream.shut();
        match self.io.read(conn, &mut self.buffer) {
            Poll::Pending => Next::Wait,
            Poll::Ready(Ok(len)) if len > 0 => Next::Again,
            Poll::Ready(_) => Next::End,
        }
    }

    fn lost(&mut self, conn: ConnId) -> Next {
        self.machine.handle_lost(conn, self.now, &mut self.io);
        Next::End
    }

    /// Everything about a connection is over.
    fn end(&mut self, conn: ConnId) {
        self.machine.handle_lost(conn, self.now, &mut self.io);
        if let Some(client) = self.machine.hub().client_of(conn)
            && let Some(socket) = self.io.socket(conn)
        {
            socket.say_goodbye(client);
        }
        self.machine.forget(conn);
        self.metrics.connections_closed.add(1);
        if let Some(socket) = self.io.socket(conn) {
            let was_closing = socket.closing.is_some();
            self.io.closings -= usize::from(was_closing);
            self.io.sockets.remove(conn.index as usize);
        }
    }
}

/// What one read of a connection may fill.
fn room_for<'a>(layer: &Layer, buffer: &'a mut [u8]) -> &'a mut [u8] {
    let room = if layer.is_websocket() { WEBSOCKET_BYTES } else { buffer.len() };
    buffer.get_mut(..room).unwrap_or_default()
}
