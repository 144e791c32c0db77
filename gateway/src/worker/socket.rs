//! One connection's task: reads while it may, waits for the kernel when it must, and ends it properly.

use std::cell::RefCell;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};

use protocol::ClientId;

use crate::hub::ConnId;
use crate::transport::Layer;

use super::Reading;
use super::driver::Worker;

/// The task of one connection. All its state lives in the worker, so that an idle one is small.
pub(super) struct ConnectionTask {
    pub(super) worker: Rc<RefCell<Worker>>,
    pub(super) conn: ConnId,
}

/// What is to be done next.
enum Next {
    Again,
    /// Again, but not before others.
    Yield,
    Wait,
    End,
}

/// Batches of letters before the connections get their turn.
const BATCHES_PER_TURN: u32 = 2;
/// Bytes of a WebSocket that are read at once: its frames may be tiny, and each costs.
const WEBSOCKET_BYTES: usize = 8 * 1024;
/// Room that an inbox may have beyond twice what is in it.
const SPARE_BYTES: usize = 4096;
/// Reads of one connection before others get their turn.
const READS_PER_TURN: u32 = 4;

impl Future for ConnectionTask {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let conn = self.conn;
        let worker = &mut *self.worker.borrow_mut();
        let Some(socket) = worker.io.socket(conn) else { return Poll::Ready(()) };
        if !socket.waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
            socket.waker = Some(cx.waker().clone());
        }
        let _span = socket.enter();
        let mut next = Next::Again;
        for _ in 0..READS_PER_TURN {
            next = worker.turn(conn, cx);
            if !matches!(next, Next::Again) {
                break;
            }
        }
        if matches!(next, Next::End) {
            worker.end(conn);
        }
        worker.end_turn();
        match next {
            Next::Again | Next::Yield => go_on_later(cx),
            Next::Wait => {}
            Next::End => return Poll::Ready(()),
        }
        Poll::Pending
    }
}

impl Worker {
    fn turn(&mut self, conn: ConnId, cx: &mut Context<'_>) -> Next {
        let Some(socket) = self.io.socket(conn) else { return Next::End };
        if socket.blocked {
            self.tell_time();
            match self.io.write(conn.index, cx) {
                Poll::Ready(Ok(())) => self.machine.handle_writable(conn, self.now, &mut self.io),
                Poll::Ready(Err(_)) => return self.lost(conn),
                Poll::Pending => {}
            }
        }
        let Some(socket) = self.io.socket(conn) else { return Next::End };
        if socket.closing.is_some() {
            self.tell_time();
            return self.close(conn, cx);
        }
        if socket.blocked && socket.waiting_bytes() > self.outbox_bytes {
            // It does not read what it is owed, so nothing more is read from it.
            return Next::Wait;
        }
        if self.crumbs.rests(conn) {
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
        let next = self.read(conn, &mut buffer, cx);
        self.buffer = buffer;
        next
    }

    fn read(&mut self, conn: ConnId, buffer: &mut [u8], cx: &mut Context<'_>) -> Next {
        let Some(socket) = self.io.socket(conn) else { return Next::End };
        let room = room_for(&socket.layer, buffer);
        let mut space = ReadBuf::new(room);
        let read = match Pin::new(&mut socket.stream).poll_read(cx, &mut space) {
            Poll::Pending => return Next::Wait,
            Poll::Ready(read) => read,
        };
        let raw = space.filled_mut();
        if read.is_err() || raw.is_empty() {
            self.tell_time();
            return self.lost(conn);
        }
        let piece = raw.len();
        let next = self.take_in(conn, raw);
        if matches!(next, Next::Again) && self.came_in_a_crumb(conn, piece) {
            return Next::Wait;
        }
        next
    }

    /// Whether a packet grows by so little at a time that its connection is left alone for a moment.
    fn came_in_a_crumb(&mut self, conn: ConnId, piece: usize) -> bool {
        let grown = self.io.socket(conn).map_or(0, |socket| socket.inbox.len());
        self.crumbs.came(conn, piece, grown)
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
                (Err(_), _) => self.lost(conn),
                // What the layers answer on their own, such as pings, counts for a share of the turn too.
                (Ok(()), Next::Again) if answered => Next::Yield,
                (Ok(()), next) => next,
            };
        }
        if !socket.inbox.is_empty() {
            socket.inbox.extend_from_slice(raw);
            return self.handle_inbox(conn);
        }
        let (took, reading) = self.machine.handle_bytes(conn, raw, self.now, &mut self.io);
        self.keep(conn, raw.get(took..).unwrap_or_default().to_vec(), reading)
    }

    /// Somebody else is about to get a client's session. What the client has said here, and what its task was not told of yet,
    /// comes first: above all a goodbye, after which its will is nobody's `[MQTT5-3.14.4-3]`.
    pub(super) fn hear_out(&mut self, client: &ClientId) {
        let Some(conn) = self.machine.hub().connection_of(client) else { return };
        let mut buffer = std::mem::take(&mut self.buffer);
        for _ in 0..READS_PER_TURN {
            if !matches!(self.hear_more(conn, &mut buffer), Next::Again) {
                break;
            }
        }
        self.buffer = buffer;
        if let Some(socket) = self.io.socket(conn)
            && socket.unhandled
            && let Some(waker) = socket.waker.take()
        {
            waker.wake();
        }
    }

    /// Reads past the runtime, which may not know yet that there is something to read. What is wrong with the connection is
    /// left to its task.
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
        match rustix::io::read(&socket.stream, &mut *room) {
            Ok(0) | Err(_) => Next::Wait,
            Ok(len) => self.take_in(conn, room.get_mut(..len).unwrap_or_default()),
        }
    }

    /// Handles what waits in a connection's inbox. What stays there is moved only if something before it was taken: a
    /// packet that comes in small pieces must not be copied with each of them.
    fn handle_inbox(&mut self, conn: ConnId) -> Next {
        let Some(socket) = self.io.socket(conn) else { return Next::End };
        let mut inbox = std::mem::take(&mut socket.inbox);
        let (took, reading) = self.machine.handle_bytes(conn, &inbox, self.now, &mut self.io);
        if took >= inbox.len() {
            // An idle connection owns no buffer.
            inbox = Vec::new();
        } else {
            inbox.drain(..took);
        }
        self.keep(conn, inbox, reading)
    }

    fn keep(&mut self, conn: ConnId, mut rest: Vec<u8>, reading: Reading) -> Next {
        let Some(socket) = self.io.socket(conn) else { return Next::End };
        match reading {
            // Whoever ended the connection's business wakes its task to close it.
            Reading::Over => Next::Wait,
            Reading::On => {
                if rest.capacity() > SPARE_BYTES + 2 * rest.len() {
                    // What was a large packet is no place for the beginning of a small one.
                    rest.shrink_to_fit();
                }
                socket.inbox = rest;
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
    fn close(&mut self, conn: ConnId, cx: &mut Context<'_>) -> Next {
        let Some(socket) = self.io.socket(conn) else { return Next::End };
        let late = socket.closing.as_deref().is_some_and(|c| self.now.mono >= c.until);
        if late || (!socket.lingers() && socket.is_sent()) {
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
            if self.io.write(conn.index, cx).is_pending() {
                return Next::Wait;
            }
        }
        self.shut_and_drain(conn, cx)
    }

    fn shut_and_drain(&mut self, conn: ConnId, cx: &mut Context<'_>) -> Next {
        let mut buffer = std::mem::take(&mut self.buffer);
        let Some(socket) = self.io.socket(conn) else { return Next::End };
        let _ = Pin::new(&mut socket.stream).poll_shutdown(cx);
        let mut space = ReadBuf::new(&mut buffer);
        let next = match Pin::new(&mut socket.stream).poll_read(cx, &mut space) {
            Poll::Pending => Next::Wait,
            Poll::Ready(Ok(())) if !space.filled().is_empty() => Next::Again,
            Poll::Ready(_) => Next::End,
        };
        self.buffer = buffer;
        next
    }

    fn lost(&mut self, conn: ConnId) -> Next {
        self.machine.handle_lost(conn, self.now, &mut self.io);
        Next::End
    }

    /// Everything about a connection is over.
    fn end(&mut self, conn: ConnId) {
        self.machine.handle_lost(conn, self.now, &mut self.io);
        self.machine.forget(conn);
        self.metrics.connections_closed.add(1);
        if let Some(socket) = self.io.socket(conn) {
            socket.say_goodbye();
            self.io.sockets.remove(conn.index as usize);
        }
    }
}

/// What one read of a connection may fill.
fn room_for<'a>(layer: &Layer, buffer: &'a mut [u8]) -> &'a mut [u8] {
    let room = if layer.is_websocket() { WEBSOCKET_BYTES } else { buffer.len() };
    buffer.get_mut(..room).unwrap_or_default()
}

/// Writes all dirty sockets and hands on what the cores asked for; runs after the sockets that were ready.
pub(super) struct FlushTask {
    pub(super) worker: Rc<RefCell<Worker>>,
}

impl Future for FlushTask {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let worker = &mut *self.worker.borrow_mut();
        worker.tell_time();
        // What is marked by the flush itself wakes nobody: it is looked at below.
        worker.io.flusher = None;
        worker.flush(cx);
        worker.io.flusher = Some(cx.waker().clone());
        if worker.has_to_flush() {
            go_on_later(cx);
        }
        Poll::Pending
    }
}

/// Reads the worker's letters.
pub(super) struct MailTask {
    pub(super) worker: Rc<RefCell<Worker>>,
}

impl Future for MailTask {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut letters = std::mem::take(&mut self.worker.borrow_mut().letters);
        let mailbox = self.worker.borrow().mailbox();
        for _ in 0..BATCHES_PER_TURN {
            if !mailbox.take(&mut letters, cx.waker()) {
                self.worker.borrow_mut().letters = letters;
                return Poll::Pending;
            }
            if super::driver::handle_letters(&self.worker, &mut letters) {
                return Poll::Ready(());
            }
        }
        self.worker.borrow_mut().letters = letters;
        go_on_later(cx);
        Poll::Pending
    }
}

/// Another turn for a task that has had its share of this one, behind all that is ready by then: a task that wakes itself
/// would have dozens of turns before the runtime asks the kernel who else is ready.
fn go_on_later(cx: &mut Context<'_>) {
    // Its first poll hands the waker to the runtime, to be woken when the kernel was asked.
    let _ = pin!(tokio::task::yield_now()).poll(cx);
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::io::Write as _;

    use tokio::io::AsyncReadExt as _;
    use tokio::task::{LocalSet, spawn_local};

    use super::*;

    #[test]
    fn who_has_more_to_do_goes_on_behind_those_that_became_ready_meanwhile() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (mut ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let turns = Rc::new(Cell::new(0));
        let taken = Rc::clone(&turns);
        runtime.block_on(LocalSet::new().run_until(async move {
            let mut theirs = tokio::net::UnixStream::from_std(theirs).unwrap();
            let busy = poll_fn(move |cx| {
                taken.set(taken.get() + 1);
                if taken.get() == 10 {
                    ours.write_all(b"x").unwrap();
                }
                go_on_later(cx);
                Poll::<()>::Pending
            });
            let busy = spawn_local(tokio::task::unconstrained(busy));
            assert_eq!(theirs.read_u8().await.unwrap(), b'x');
            assert!((10..13).contains(&turns.get()), "{} turns of another", turns.get());
            busy.abort();
        }));
    }
}
