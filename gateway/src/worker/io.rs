//! The sockets of one worker, and what its cores asked of the rest of the process in this turn.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use slab::Slab;
use tracing::Span;
use tracing::span::EnteredSpan;

use protocol::{ClientId, Violation};

use crate::authentication::AuthenticationAsk;
use crate::front::Place;
use crate::hub::{Close, ConnId, Tables};
use crate::links::Command;
use crate::tail::TailAsk;
use crate::tls::{CertificateKey, Revoked};
use crate::transport::{DetachedStream, Layer, Remote};

use super::readiness::Change;
use super::sending::{BULK_BYTES, Lent, MUCH_BYTES, PORTION_BYTES, Sending, recycle};
use super::spare::Spare;
use super::{Closed, Mail};

/// One socket with everything that waits on it. An idle one owns no buffer.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) life: u32,
    pub(super) stream: DetachedStream,
    pub(super) layer: Layer,
    /// What is to be sent, if anything is.
    sending: Option<Lent>,
    /// Bytes of a packet that is not whole yet, or that may not be handled yet.
    pub(super) inbox: Vec<u8>,
    /// The inbox may hold whole packets.
    pub(super) unhandled: bool,
    /// CONNECT is not answered yet: nothing is read.
    pub(super) paused: bool,
    pub(super) closing: Option<Box<Closing>>,
    /// The kernel may have something to read.
    pub(super) readable: bool,
    /// The kernel may take something.
    writable: bool,
    /// The other side sends nothing more: what is left is read to the end.
    pub(super) ended: bool,
    /// It is to have a turn.
    pub(super) queued: bool,
    /// It sends a packet in crumbs and is left alone for a moment.
    pub(super) rests: bool,
    pub(super) dirty: bool,
    /// The kernel takes no more for now, though there is more.
    pub(super) blocked: bool,
    pub(super) who: Who,
    /// What is said of this connection is said in it; only where somebody listens.
    span: Option<Box<Span>>,
}

/// Who is at the other end, and what it came with: its beginning and its end ask for it.
#[derive(Debug)]
pub(super) struct Who {
    pub(super) remote: Remote,
    pub(super) certificate: Option<CertificateKey>,
    /// Given back when the socket is dropped.
    pub(super) _place: Place,
}

impl Socket {
    /// The span of this connection, entered.
    pub(super) fn enter(&self) -> Option<EnteredSpan> {
        self.span.as_deref().map(|span| span.clone().entered())
    }

    /// Says that it is over, and why.
    pub(super) fn say_goodbye(&self, client: &ClientId) {
        let (client_id, remote) = (client.as_str(), &self.who.remote);
        match self.closing.as_deref().map(|closing| closing.how) {
            Some(Close::Reason(reason) | Close::Refuse(reason)) => {
                tracing::info!(client_id, %remote, reason_code = reason.code(), "a client has been sent away");
            }
            Some(Close::Broke(Violation { statement, what, reason })) => {
                let reason_code = reason.code();
                tracing::info!(client_id, %remote, reason_code, violation = statement, "a client has been sent away: {what}");
            }
            Some(Close::Redirect(_)) => {
                tracing::info!(client_id, %remote, "a client has been sent to another gateway");
            }
            Some(Close::Quiet) | None => {
                tracing::info!(client_id, %remote, "a client has gone");
            }
        }
    }
}

/// How far the end of a connection is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Closing {
    pub(super) how: Close,
    /// Our side is shut; what still comes is read and thrown away until then.
    pub(super) shut: bool,
    pub(super) until: Duration,
}

/// What the kernel says of how a connection was closed; none while it is open.
fn how_closed(said: PollFlags) -> Option<Closed> {
    if said.intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL) {
        return Some(Closed::Wholly);
    }
    said.contains(PollFlags::RDHUP).then_some(Closed::ToUs)
}

/// What is kept per worker for its sockets.
#[derive(Debug)]
pub(super) struct Io {
    pub(super) sockets: Slab<Socket>,
    next_life: u32,
    /// Who is to have a turn, in this order.
    pub(super) queue: Vec<ConnId>,
    /// Who had its share of the last round and has more to do: behind the others.
    pub(super) later: Vec<ConnId>,
    /// Connections that are being closed.
    pub(super) closings: usize,
    pub(super) dirty: Vec<u32>,
    /// Sockets with much to send, in the order of their turns.
    pub(super) bulk: VecDeque<u32>,
    /// Bytes that may still be sent to them in this round.
    pub(super) bulk_left: usize,
    pub(super) to_workers: Vec<Vec<Mail>>,
    pub(super) to_links: Vec<Command>,
    pub(super) to_desk: Vec<AuthenticationAsk>,
    pub(super) to_tail: Vec<TailAsk>,
    pub(super) wants_numbers: bool,
    pub(super) tells_interest: bool,
    /// Peer gateways by index.
    pub(super) peers: Vec<protocol::GatewayId>,
    pub(super) tables: Arc<Tables>,
    pub(super) worker: u8,
    /// Lent to sockets that have something to send.
    pub(super) pool: Spare<Lent>,
    /// Memory of packets that were not whole, and of bundles.
    pub(super) spare: Spare<Vec<u8>>,
    /// The memory in which the packet came that is being handled, if it has it for itself.
    pub(super) reading: Bytes,
    pub(super) now: Duration,
    pub(super) bytes_sent: u64,
}

impl Io {
    pub(super) fn new(worker: u8, workers: usize, tables: Arc<Tables>) -> Self {
        Self {
            sockets: Slab::new(),
            next_life: 0,
            queue: Vec::new(),
            later: Vec::new(),
            closings: 0,
            dirty: Vec::new(),
            bulk: VecDeque::new(),
            bulk_left: BULK_BYTES,
            to_workers: (0..workers).map(|_| Vec::new()).collect(),
            to_links: Vec::new(),
            to_desk: Vec::new(),
            to_tail: Vec::new(),
            wants_numbers: false,
            tells_interest: false,
            peers: Vec::new(),
            tables,
            worker,
            pool: Spare::default(),
            spare: Spare::default(),
            reading: Bytes::new(),
            now: Duration::ZERO,
            bytes_sent: 0,
        }
    }

    pub(super) fn add(
        &mut self,
        (stream, layer, rest): (DetachedStream, Layer, Vec<u8>),
        who: Who,
    ) -> Option<ConnId> {
        self.next_life = self.next_life.wrapping_add(1);
        let life = self.next_life;
        let unhandled = !rest.is_empty();
        let index = self.sockets.insert(Socket {
            life,
            stream,
            layer,
            sending: None,
            // An idle connection owns no buffer.
            inbox: if rest.is_empty() { Vec::new() } else { rest },
            unhandled,
            paused: true,
            closing: None,
            readable: false,
            writable: true,
            ended: false,
            queued: false,
            rests: false,
            dirty: false,
            blocked: false,
            who,
            span: None,
        });
        Some(ConnId { index: u32::try_from(index).ok()?, life })
    }

    /// Gives a connection a span of its own, if anybody would see it.
    pub(super) fn follow(&mut self, conn: ConnId, client: &ClientId, version: u8) {
        let Some(socket) = self.socket(conn) else { return };
        let span = tracing::debug_span!(
            "connection",
            client_id = client.as_str(),
            remote = %socket.who.remote,
            protocol_version = version
        );
        socket.span = (!span.is_disabled()).then(|| Box::new(span));
    }

    pub(super) fn socket(&mut self, conn: ConnId) -> Option<&mut Socket> {
        self.sockets.get_mut(conn.index as usize).filter(|s| s.life == conn.life)
    }

    /// WebSocket messages of every connection may have so many bytes from now on.
    pub(super) fn allow_messages(&mut self, bytes: usize) {
        self.sockets.iter_mut().for_each(|(_, socket)| socket.layer.allow_messages(bytes));
    }

    /// Those of these connections that the other side has closed, as the kernel knows without anything being read.
    pub(super) fn closed(&self, of: &[ConnId]) -> Vec<(ConnId, Closed)> {
        let here = of.iter().filter_map(|conn| {
            let socket = self.sockets.get(conn.index as usize)?;
            (socket.life == conn.life).then_some((*conn, socket))
        });
        let (conns, mut asked): (Vec<_>, Vec<_>) = here
            .map(|(conn, socket)| (conn, PollFd::new(&socket.stream, PollFlags::RDHUP)))
            .unzip();
        // Most of the time nobody is asked about. What the kernel does not answer now it is asked again.
        if asked.is_empty() || poll(&mut asked, Some(&Timespec::default())).is_err() {
            return Vec::new();
        }
        let gone = conns.into_iter().zip(&asked);
        gone.filter_map(|(conn, asked)| Some((conn, how_closed(asked.revents())?))).collect()
    }

    /// The connections that were made with a certificate that is revoked.
    pub(super) fn revoked(&self, revoked: &Revoked) -> Vec<ConnId> {
        let bad = |it: &Socket| it.who.certificate.is_some_and(|key| revoked.contains(key));
        let found = self.sockets.iter().filter(|(_, socket)| bad(socket));
        found
            .filter_map(|(at, it)| Some(ConnId { index: u32::try_from(at).ok()?, life: it.life }))
            .collect()
    }

    /// Whether a connection was made with such a certificate.
    pub(super) fn is_revoked(&self, conn: ConnId, revoked: &Revoked) -> bool {
        let socket = self.sockets.get(conn.index as usize).filter(|s| s.life == conn.life);
        socket.and_then(|it| it.who.certificate).is_some_and(|key| revoked.contains(key))
    }

    /// It has a turn in the next round, or in this one if it is not over.
    pub(super) fn wake(&mut self, conn: ConnId) {
        if let Some(socket) = self.socket(conn)
            && !socket.queued
        {
            socket.queued = true;
            self.queue.push(conn);
        }
    }

    /// It had its share of this round and has more to do.
    pub(super) fn put_off(&mut self, conn: ConnId) {
        if let Some(socket) = self.socket(conn)
            && !socket.queued
        {
            socket.queued = true;
            self.later.push(conn);
        }
    }

    /// Those that are being closed and whose time is up have a turn.
    pub(super) fn wake_late(&mut self) {
        if self.closings == 0 {
            return;
        }
        let late = |it: &Socket| it.closing.as_deref().is_some_and(|c| self.now >= c.until);
        let late = self.sockets.iter().filter(|(_, socket)| late(socket));
        let late: Vec<_> = late
            .filter_map(|(at, it)| Some(ConnId { index: u32::try_from(at).ok()?, life: it.life }))
            .collect();
        late.into_iter().for_each(|conn| self.wake(conn));
    }

    /// The kernel told of a change. That more can be written concerns only who waits for it.
    pub(super) fn note(&mut self, change: Change) {
        let Some(socket) = self.socket(change.conn) else { return };
        socket.readable |= change.readable;
        socket.writable |= change.writable;
        socket.ended |= change.ended;
        if change.readable || socket.blocked {
            self.wake(change.conn);
        }
    }

    /// Whether anything waits to leave this worker.
    pub(super) fn has_something(&self) -> bool {
        !self.dirty.is_empty()
            || !self.bulk.is_empty()
            || !self.to_tail.is_empty()
            || !self.to_links.is_empty()
            || !self.to_desk.is_empty()
            || self.wants_numbers
            || self.tells_interest
            || self.to_workers.iter().any(|letters| !letters.is_empty())
    }

    pub(super) fn mark(&mut self, index: u32) {
        if let Some(socket) = self.sockets.get_mut(index as usize)
            && !socket.dirty
        {
            socket.dirty = true;
            self.dirty.push(index);
        }
    }

    /// Wire bytes that the layers answer on their own.
    pub(super) fn reply(&mut self, conn: ConnId, bytes: &mut Vec<u8>) {
        if self.owe(conn, bytes) {
            self.mark(conn.index);
        }
    }

    /// Wire bytes that go with what is sent next. Answers whether there are any.
    pub(super) fn owe(&mut self, conn: ConnId, bytes: &mut Vec<u8>) -> bool {
        let Self { sockets, pool, .. } = self;
        let socket = sockets.get_mut(conn.index as usize).filter(|s| s.life == conn.life);
        let Some(socket) = socket.filter(|_| !bytes.is_empty()) else { return false };
        socket.sending(pool).wire().append(bytes);
        true
    }

    /// Whether so much waits for a socket that it is sent in its order.
    pub(super) fn is_owed_much(&self, index: u32) -> bool {
        let socket = self.sockets.get(index as usize);
        socket.is_some_and(|socket| !socket.blocked && socket.waiting_bytes() > MUCH_BYTES)
    }

    /// Lets a socket have more in its order, if the kernel takes more again and much waits for it. What is wrong with a
    /// connection is left to its turn.
    pub(super) fn queue_bulk(&mut self, conn: ConnId) -> bool {
        let Some(socket) = self.socket(conn) else { return false };
        let takes = socket.writable && !socket.ended && socket.waiting_bytes() > MUCH_BYTES;
        if takes {
            (socket.blocked, socket.dirty) = (false, true);
            self.bulk.push_back(conn.index);
        }
        takes
    }

    /// Sends what a socket's outbox holds, in one system call if the kernel takes it, and at most a portion of it. Answers
    /// whether it is empty now; the rest goes when the kernel takes it, or with the next round.
    pub(super) fn write(&mut self, index: u32) -> Poll<std::io::Result<()>> {
        let Some(socket) = self.sockets.get_mut(index as usize) else { return Poll::Ready(Ok(())) };
        socket.dirty = false;
        let mut portion = PORTION_BYTES;
        let much = socket.waiting_bytes() > MUCH_BYTES;
        loop {
            let Some(sending) = socket.sending.as_deref_mut().filter(|it| !it.is_empty()) else {
                socket.blocked = false;
                recycle(&mut self.pool, socket.sending.take());
                return Poll::Ready(Ok(()));
            };
            if !socket.writable {
                socket.blocked = true;
                return Poll::Pending;
            }
            if portion == 0 {
                socket.blocked = false;
                self.mark(index);
                return Poll::Pending;
            }
            sending.wrap(&mut socket.layer, &mut self.spare)?;
            match sending.write(&socket.stream, portion, &mut self.spare) {
                Ok(0) if !sending.is_empty() => {
                    return Poll::Ready(Err(ErrorKind::WriteZero.into()));
                }
                Ok(sent) => {
                    portion = portion.saturating_sub(sent);
                    self.bulk_left = self.bulk_left.saturating_sub(if much { sent } else { 0 });
                    self.bytes_sent += sent as u64;
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => socket.writable = false,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
    }

    /// Offers the kernel what is in an outbox before the round is over: who reads is not to be taken for one who does not, only
    /// because much has come for it at once.
    pub(super) fn write_early(&mut self, conn: ConnId) {
        let failed = matches!(self.write(conn.index), Poll::Ready(Err(_)));
        if let Some(socket) = self.socket(conn) {
            // The end of the round sees to it all the same.
            socket.dirty = true;
            socket.blocked |= failed;
        }
        if failed {
            self.wake(conn);
        }
    }

    /// Adds what the layers say at the end.
    pub(super) fn goodbye(&mut self, conn: ConnId) {
        if let Some(socket) = self.socket(conn) {
            let mut last = Vec::new();
            socket.layer.goodbye(&mut last);
            self.owe(conn, &mut last);
        }
    }

    /// The end of a WebSocket is said behind what its client is owed, or it takes it for one that broke. What the kernel does not
    /// take now nobody waits for.
    pub(super) fn part(&mut self, conn: ConnId) {
        if !self.socket(conn).is_some_and(|socket| socket.layer.is_websocket()) {
            return;
        }
        let _ = self.write(conn.index);
        if self.socket(conn).is_some_and(|socket| socket.is_sent()) {
            self.goodbye(conn);
            let _ = self.write(conn.index);
        }
    }
}

impl Socket {
    /// Where what is to be sent is put.
    pub(super) fn sending(&mut self, pool: &mut Spare<Lent>) -> &mut Sending {
        self.sending.get_or_insert_with(|| pool.take().unwrap_or_default())
    }

    /// MQTT bytes that wait to be sent.
    pub(super) fn outbox_len(&self) -> usize {
        self.sending.as_deref().map_or(0, Sending::outbox_len)
    }

    /// Whether everything was handed to the kernel.
    pub(super) fn is_sent(&self) -> bool {
        self.sending.as_deref().is_none_or(Sending::is_empty)
    }

    /// Bytes that wait for the other side to read.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.sending.as_deref().map_or(0, |it| it.outbox_len() + it.wire_len())
    }

    /// Whether the other side is given time to close first.
    pub(super) fn lingers(&self) -> bool {
        self.closing.as_deref().is_some_and(|c| c.how != Close::Quiet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_costs_no_more_memory_than_is_known() {
        // Bytes of each connection that is there, whatever it does: mind them.
        let sizes = (size_of::<Socket>(), size_of::<Layer>());
        assert!(sizes.0 <= 184 && sizes.1 <= 16, "{sizes:?}");
    }
}
