//! A worker's thread: the real cores and gate, between simulated sockets and mailboxes.
//!
//! Mirrors `gateway/src/worker/{driver,socket}.rs`, whose tokio tasks cannot run on a virtual clock.

use std::sync::Arc;

use protocol::{ClientId, Now};
use tidegate::hub::{ConnId, Hub, HubConfig, Tables};
use tidegate::links::Command;
use tidegate::metrics::WorkerCounters;
use tidegate::worker::{Mail, Reading, WorkerMachine};

use super::agenda::{Event, Place};
use super::around::Around;
use super::mistakes::Mistake;
use super::network::{End, WireId};
use super::outlet::{Closing, Outlets, told};
use super::post::{Accepted, Note, Order, Post};
use super::tail::Frontier;

/// What waits for a worker.
#[derive(Debug)]
pub(super) enum WorkerLetter {
    Mail(Mail),
    Accepted(Accepted),
    Settle(u64),
}

/// One worker.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) place: Place,
    index: u8,
    machine: WorkerMachine,
    tables: Arc<Tables>,
    outbox_bytes: usize,
    pub(super) outlets: Outlets,
    pub(super) inbox: Vec<WorkerLetter>,
    /// A turn has ended and its flush is still to come.
    pub(super) flushing: bool,
    /// To be passed on behind the next writes.
    settling: Vec<u64>,
    /// The next step of the peers will come as a letter.
    listening: bool,
    /// Flushes in a row that left something to flush.
    restless: u32,
}

/// What is to be done next for a socket.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Again,
    Wait,
    End,
}

/// Reads of one connection before others get their turn.
const READS_PER_TURN: usize = 4;
/// Flushes in a row, each of which leaves something to flush, that are a loop: here no letter is read between them.
const RESTLESS: u32 = 1_000;
/// Bytes read at a time.
const READ_BYTES: usize = 4096;

impl Worker {
    pub(super) fn new(
        place: Place,
        config: HubConfig,
        tables: &Arc<Tables>,
        workers: usize,
    ) -> Self {
        let (index, outbox_bytes) = (config.worker, config.outbox_bytes);
        let counters = Arc::new(WorkerCounters::default());
        let outlets = Outlets::new(place, index, workers, Arc::clone(tables));
        let hub = Hub::new(config, Arc::clone(tables), counters);
        Self {
            place,
            index,
            machine: WorkerMachine::new(hub),
            tables: Arc::clone(tables),
            outbox_bytes,
            outlets,
            inbox: Vec::new(),
            flushing: false,
            settling: Vec::new(),
            listening: false,
            restless: 0,
        }
    }

    /// Notes how its connections stand.
    pub(super) fn describe(&self, around: &mut Around) {
        let (site, worker, flushing) = (self.place.site + 1, self.index, self.flushing);
        let waiting = self.inbox.len();
        around.note(format_args!(
            "gw-{site} worker {worker}: {waiting} letters, flushing {flushing}, tells {}, listens {}",
            self.machine.waits_for_peers(),
            self.listening
        ));
        for (conn, wire, how) in self.outlets.describe() {
            let reads = self.machine.may_read(conn);
            around.note(format_args!("gw-{site} wire {}: may read {reads}, {how}", wire.0));
        }
    }

    /// Whether there is anything to do.
    pub(super) fn is_wanted(&self) -> bool {
        !self.inbox.is_empty() || !self.outlets.ready.is_empty()
    }

    /// Letters and sockets, in either order; its flush follows.
    pub(super) fn turn(&mut self, now: Now, around: &mut Around) {
        self.outlets.now = now.mono;
        let letters_first = around.random.percent(50);
        if letters_first {
            self.read_letters(now, around);
        }
        for index in std::mem::take(&mut self.outlets.ready) {
            if let Some(conn) = self.outlets.conn_at(index) {
                self.serve(conn, now, around);
            }
        }
        if !letters_first {
            self.read_letters(now, around);
        }
        self.end_turn(around);
    }

    pub(super) fn tick(&mut self, now: Now, around: &mut Around) {
        self.outlets.now = now.mono;
        self.machine.handle_tick(now, &mut self.outlets);
        self.outlets.remind_late();
        if self.is_busy() || self.is_wanted() {
            self.end_turn(around);
        }
    }

    /// What this turn wrote is seen by those who know the truth now, not when it leaves.
    fn end_turn(&mut self, around: &mut Around) {
        self.outlets.show(around);
        if !self.flushing {
            self.flushing = true;
            let us = if around.random.percent(4) { 2_000 } else { 40 };
            let us = around.random.between(1, us);
            around.after_us(us, Event::Flush(self.place, self.index));
        }
    }

    fn read_letters(&mut self, now: Now, around: &mut Around) {
        for letter in std::mem::take(&mut self.inbox) {
            match letter {
                WorkerLetter::Mail(mail) => {
                    if matches!(mail, Mail::Progress(_)) {
                        self.listening = false;
                    }
                    if let Mail::ReleaseAsked(asked) = &mail {
                        self.hear_out(&asked.client, now, around);
                    }
                    self.machine.handle_mail(mail, now, &mut self.outlets);
                }
                WorkerLetter::Settle(number) => self.settling.push(number),
                WorkerLetter::Accepted(accepted) => self.accept(accepted, now, around),
            }
        }
    }

    fn accept(&mut self, accepted: Accepted, now: Now, around: &mut Around) {
        let Accepted { wire, rest, request } = accepted;
        around.truth.connection_begins(wire, self.place);
        let conn = self.outlets.add(wire, rest);
        self.hear_out(&request.client, now, around);
        self.machine.handle_connect(conn, request, now, &mut self.outlets);
    }

    /// What a client has said here comes before somebody else gets its session.
    fn hear_out(&mut self, client: &ClientId, now: Now, around: &mut Around) {
        let Some(conn) = self.machine.hub().connection_of(client) else { return };
        let mut deaf = false;
        for _ in 0..READS_PER_TURN {
            let Some(socket) = self.outlets.socket(conn) else { break };
            let full = socket.blocked && socket.outbox.len() > self.outbox_bytes;
            let closed = socket.closing.is_some() || socket.paused;
            deaf = full || closed || !self.machine.may_read(conn);
            if deaf {
                break;
            }
            if !std::mem::take(&mut socket.unhandled) {
                let arrived = around.read((socket.wire, End::Accepter), READ_BYTES);
                if arrived.bytes.is_empty() {
                    break;
                }
                socket.inbox.extend_from_slice(&arrived.bytes);
            }
            if self.handle_inbox(conn, now) != Next::Again {
                break;
            }
        }
        self.outlets.ready.insert(conn.index);
        if self.machine.hub().connection_of(client) == Some(conn)
            && let Some(socket) = self.outlets.socket(conn)
        {
            let unheard = deaf || around.network.on_its_way(socket.wire, End::Opener) > 0;
            around.truth.wills.overtaken(socket.wire, unheard);
        }
    }

    fn serve(&mut self, conn: ConnId, now: Now, around: &mut Around) {
        for _ in 0..READS_PER_TURN {
            match self.step(conn, now, around) {
                Next::Again => {}
                Next::Wait => return,
                Next::End => return self.end(conn, now, around),
            }
        }
        self.outlets.ready.insert(conn.index);
    }

    fn step(&mut self, conn: ConnId, now: Now, around: &mut Around) -> Next {
        let Some(socket) = self.outlets.socket(conn) else { return Next::End };
        if socket.blocked && self.outlets.write(conn.index, around) {
            self.machine.handle_writable(conn, now, &mut self.outlets);
        }
        let Some(socket) = self.outlets.socket(conn) else { return Next::End };
        if socket.closing.is_some() {
            return self.close(conn, around);
        }
        if socket.blocked && socket.outbox.len() > self.outbox_bytes {
            // It does not read what it is owed, so nothing more is read from it.
            return Next::Wait;
        }
        if socket.paused || !self.machine.may_read(conn) {
            return Next::Wait;
        }
        if std::mem::take(&mut socket.unhandled) {
            return self.handle_inbox(conn, now);
        }
        let wire = socket.wire;
        if !around.network.is_readable(wire, End::Accepter) {
            return Next::Wait;
        }
        let arrived = around.read((wire, End::Accepter), READ_BYTES);
        if arrived.bytes.is_empty() && arrived.over {
            self.machine.handle_lost(conn, now, &mut self.outlets);
            return Next::End;
        }
        socket.inbox.extend_from_slice(&arrived.bytes);
        self.handle_inbox(conn, now)
    }

    fn handle_inbox(&mut self, conn: ConnId, now: Now) -> Next {
        let Some(socket) = self.outlets.socket(conn) else { return Next::End };
        let mut inbox = std::mem::take(&mut socket.inbox);
        let (took, reading) = self.machine.handle_bytes(conn, &inbox, now, &mut self.outlets);
        inbox.drain(..took.min(inbox.len()));
        let Some(socket) = self.outlets.socket(conn) else { return Next::End };
        match reading {
            Reading::Over => Next::Wait,
            Reading::On | Reading::Later => {
                socket.unhandled = reading == Reading::Later && !inbox.is_empty();
                socket.inbox = inbox;
                Next::Again
            }
        }
    }

    fn close(&mut self, conn: ConnId, around: &mut Around) -> Next {
        let now = self.outlets.now;
        let Some(socket) = self.outlets.socket(conn) else { return Next::End };
        let Some(closing) = socket.closing else { return Next::Wait };
        if now >= closing.until || (!closing.lingers() && socket.outbox.is_empty()) {
            return Next::End;
        }
        if !socket.outbox.is_empty() {
            return Next::Wait;
        }
        if !closing.shut {
            if let Some(closing) = &mut socket.closing {
                closing.shut = true;
            }
            around.shut(socket.wire, End::Accepter);
        }
        let arrived = around.read((socket.wire, End::Accepter), READ_BYTES);
        if arrived.over { Next::End } else { Next::Wait }
    }

    /// Everything about a connection is over.
    fn end(&mut self, conn: ConnId, now: Now, around: &mut Around) {
        if let Some(socket) = self.outlets.socket(conn)
            && socket.closing.is_some_and(Closing::is_move)
        {
            around.truth.wills.moved(socket.wire);
        }
        self.machine.handle_lost(conn, now, &mut self.outlets);
        self.machine.forget(conn);
        if let Some(wire) = self.outlets.remove(conn) {
            around.truth.gateway_drops(wire, around.now);
            around.close(wire, End::Accepter);
        }
    }

    /// The end of a turn: one write per socket, one batch per neighbour.
    pub(super) fn flush(
        &mut self,
        now: Now,
        frontier: &mut Frontier,
        around: &mut Around,
        posts: &mut Vec<Post>,
    ) {
        self.flushing = false;
        self.outlets.now = now.mono;
        self.machine.handle_more(now, &mut self.outlets);
        for index in std::mem::take(&mut self.outlets.dirty) {
            let Some(conn) = self.outlets.conn_at(index) else { continue };
            if !self.outlets.is_blocked(index) && self.outlets.write(index, around) {
                self.machine.handle_writable(conn, now, &mut self.outlets);
            }
            if self.outlets.socket(conn).is_some_and(|s| s.closing.is_some()) {
                self.outlets.ready.insert(index);
            }
        }
        let writes = self.machine.take_writes();
        if !writes.is_empty() {
            posts.push(Post::Commit(Order::Worker(self.index, writes)));
        }
        let settling = self.settling.drain(..);
        posts.extend(settling.map(|number| Post::Commit(Order::Settle(number))));
        if std::mem::take(&mut self.outlets.tells_interest) {
            self.tables.take_interest(|rev, changes| {
                let changes = changes.into_iter().map(told).collect();
                posts.push(Post::Links(Command::Interest { rev, changes }));
            });
        }
        posts.append(&mut self.outlets.posts);
        if std::mem::take(&mut self.outlets.wants_numbers) {
            posts.push(Post::Service(Note::Numbers(self.index)));
        }
        self.look_at_progress(now, frontier, around);
        if self.is_busy() {
            self.restless += 1;
            if self.restless == RESTLESS {
                let gateway = self.place.site + 1;
                let what = format!("worker {} of gw-{gateway} never stops flushing", self.index);
                around.truth.breach("liveness", what);
            }
            self.end_turn(around);
        } else {
            self.restless = 0;
        }
    }

    fn look_at_progress(&mut self, now: Now, frontier: &mut Frontier, around: &Around) {
        if !self.must_listen() {
            return;
        }
        self.listening = true;
        frontier.wait(self.index);
        let progress = Mail::Progress(Mistake::tells(around.mistake, frontier.progress()));
        self.machine.handle_mail(progress, now, &mut self.outlets);
    }

    /// Whether anything waits for the next flush.
    fn is_busy(&self) -> bool {
        self.machine.has_writes()
            || self.machine.has_more()
            || self.must_listen()
            || self.outlets.has_something()
    }

    fn must_listen(&self) -> bool {
        self.machine.wants_progress() || (self.machine.waits_for_peers() && !self.listening)
    }

    /// Something came over a wire, or there is room on it.
    pub(super) fn wake_socket(&mut self, wire: WireId) -> bool {
        self.outlets.wake(wire)
    }
}
