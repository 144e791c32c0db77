//! The thread of one worker: its runtime, its sockets, and the end of each turn.

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use protocol::Now;

use crate::authentication::Desk;
use crate::clock::Clock;
use crate::committer::{CommitSender, Order};
use crate::control::ClientStatus;
use crate::hub::{ConnId, Hub, HubConfig, ReleaseAsked, Tables};
use crate::links::{Command, LinksSender};
use crate::metrics::WorkerCounters;
use crate::service::ServiceSender;
use crate::tail::{Frontier, TailSender};
use crate::tls::Revoked;

use super::crumbs::Crumbs;
use super::io::Io;
use super::readiness::{Changes, Readiness};
use super::rounds::Stopping;
use super::{Held, Mail, Mailbox, Settled, WorkerMachine};

/// What the threads of a process share.
#[derive(Debug, Clone)]
pub struct Shared {
    /// What time it is.
    pub clock: Clock,
    /// The shared tables.
    pub tables: Arc<Tables>,
    /// The workers' letters.
    pub mailboxes: Vec<Arc<Mailbox>>,
    /// The writer.
    pub committer: CommitSender,
    /// The reader.
    pub tail: TailSender,
    /// The peers, if this gateway has any.
    pub links: Option<LinksSender>,
    /// How far everyone is.
    pub frontier: Arc<Frontier>,
    /// Who looks after the process.
    pub service: ServiceSender,
    /// Where clients are brought that authenticate again.
    pub desk: Desk,
}

/// How long a worker may take to answer a question.
const ANSWER_PATIENCE: Duration = Duration::from_secs(2);

impl Shared {
    /// Asks every worker the same; `None` for one that does not answer within two seconds.
    pub fn ask_workers<T>(&self, question: impl Fn(Sender<T>) -> Mail) -> Vec<Option<T>> {
        let asked: Vec<_> = self
            .mailboxes
            .iter()
            .map(|mailbox| {
                let (sender, receiver) = channel();
                mailbox.send(question(sender));
                receiver
            })
            .collect();
        let until = Instant::now() + ANSWER_PATIENCE;
        let left = || until.saturating_duration_since(Instant::now());
        asked.into_iter().map(|answer| answer.recv_timeout(left()).ok()).collect()
    }

    /// What time it is.
    pub fn now(&self) -> Now {
        self.clock.now()
    }
}

/// One worker with everything it owns.
pub(super) struct Worker {
    pub(super) machine: WorkerMachine,
    pub(super) io: Io,
    pub(super) now: Now,
    /// What every read goes into.
    pub(super) buffer: Vec<u8>,
    /// Letters that were taken out of the mailbox, the last first.
    pub(super) letters: Vec<Mail>,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) readiness: Readiness,
    pub(super) changes: Changes,
    /// When this worker looks after what waits, by the steady clock.
    pub(super) next_tick: Duration,
    /// Since when it is to stop, if it is.
    pub(super) stopping: Option<Stopping>,
    pub(super) metrics: Arc<WorkerCounters>,
    /// What may wait for a client that does not read, before nothing more is read from it.
    pub(super) outbox_bytes: usize,
    /// Who sends a packet in crumbs.
    pub(super) crumbs: Crumbs,
    index: usize,
    /// The certificates that are revoked, once a list has come and if there are any.
    pub(super) revoked: Option<Arc<Revoked>>,
    pub(super) shared: Shared,
    /// To be passed on behind the next writes.
    pub(super) settling: Vec<Arc<Settled>>,
    /// The next step of the peers will come as a letter.
    pub(super) listening: bool,
}

/// Bytes read at a time.
const READ_BYTES: usize = 128 * 1024;
/// Sockets that are written before other threads are told what is for them: some microseconds each.
const FEW_SOCKETS: usize = 4;

/// Starts a worker's thread.
///
/// # Errors
/// The system has no more threads, or no more descriptors.
pub fn spawn(
    config: HubConfig,
    shared: Shared,
    metrics: Arc<WorkerCounters>,
) -> std::io::Result<JoinHandle<()>> {
    let name = format!("worker-{}", config.worker);
    let readiness = Readiness::new()?;
    crate::logging::thread(name, move || Worker::new(config, shared, metrics, readiness).run())
}

impl Worker {
    pub(super) fn new(
        config: HubConfig,
        shared: Shared,
        metrics: Arc<WorkerCounters>,
        readiness: Readiness,
    ) -> Self {
        let (worker, outbox_bytes) = (config.worker, config.outbox_bytes);
        let hub = Hub::new(config, Arc::clone(&shared.tables), Arc::clone(&metrics));
        let index = usize::from(worker);
        // There is one mailbox per worker.
        let mailbox = shared.mailboxes.get(index).cloned();
        let mailbox = mailbox.unwrap_or_else(|| Arc::new(Mailbox::new(1)));
        Self {
            machine: WorkerMachine::new(hub),
            io: Io::new(worker, shared.mailboxes.len(), Arc::clone(&shared.tables)),
            now: shared.now(),
            buffer: vec![0; READ_BYTES],
            letters: Vec::new(),
            readiness,
            changes: Changes::default(),
            next_tick: Duration::ZERO,
            stopping: None,
            metrics,
            index,
            mailbox,
            revoked: None,
            settling: Vec::new(),
            listening: false,
            outbox_bytes,
            crumbs: Crumbs::default(),
            shared,
        }
    }

    pub(super) fn tell_time(&mut self) {
        self.now = self.shared.now();
        self.io.now = self.now.mono;
    }

    /// A peer wants a session whose client came to it.
    pub(super) fn release(&mut self, asked: ReleaseAsked) {
        self.hear_out(&asked.client);
        self.machine.handle_mail(Mail::ReleaseAsked(asked), self.now, &mut self.io);
    }

    pub(super) fn tick(&mut self) {
        // Before those whose time is up are listened to again, and wait again.
        for (conn, how) in self.io.closed(self.machine.held_back()) {
            self.machine.handle_closing(conn, how, self.now, &mut self.io);
        }
        self.machine.handle_tick(self.now, &mut self.io);
        self.io.wake_late();
        self.io.pool.tend();
        self.io.spare.tend();
    }

    /// Whether anything waits to leave this worker, or to go on.
    pub(super) fn has_to_flush(&self) -> bool {
        self.machine.has_writes()
            || self.machine.has_more()
            || self.must_listen()
            || !self.settling.is_empty()
            || self.io.has_something()
    }

    /// The end of a round: one write per socket, one batch per neighbour.
    pub(super) fn flush(&mut self) {
        self.machine.handle_more(self.now, &mut self.io);
        // Where much is to be written, first what others may work at meanwhile. Otherwise they are woken behind it, so that
        // nobody waits for whoever takes this processor.
        let much = self.io.dirty.len() > FEW_SOCKETS;
        if much {
            self.hand_on();
        }
        let mut dirty = std::mem::take(&mut self.io.dirty);
        for index in dirty.drain(..) {
            if self.io.is_owed_much(index) {
                self.io.bulk.push_back(index);
            } else {
                self.flush_socket(index);
            }
        }
        if self.io.dirty.is_empty() {
            self.io.dirty = dirty;
        }
        if !much {
            self.hand_on();
        }
        self.flush_bulk();
        self.metrics.bytes_sent.add(std::mem::take(&mut self.io.bytes_sent));
        self.look_at_progress();
    }

    /// Gives the rest of the process what is for it.
    fn hand_on(&mut self) {
        let writes = self.machine.take_writes();
        if !writes.is_empty() {
            self.metrics.queue_in_commit.add(writes.len() as u64);
            let worker = u8::try_from(self.index).unwrap_or(0);
            // The committer ends only after the workers.
            let _ = self.shared.committer.send(Order::Worker(worker, writes));
        }
        for settled in self.settling.drain(..) {
            let _ = self.shared.committer.send(Order::Settle(settled));
        }
        for (letters, mailbox) in self.io.to_workers.iter_mut().zip(&self.shared.mailboxes) {
            let dropped = mailbox.send_all(letters);
            self.metrics.dropped_mailbox_full.add(dropped as u64);
        }
        if std::mem::take(&mut self.io.tells_interest) {
            let links = self.shared.links.as_ref();
            self.shared.tables.take_interest(|rev, changes| {
                let changes = changes.into_iter().map(super::forwarding::told).collect();
                if let Some(links) = links {
                    links.send(&mut vec![Command::Interest { rev, changes }]);
                }
            });
        }
        if !self.io.to_links.is_empty() {
            match &self.shared.links {
                Some(links) => links.send(&mut self.io.to_links),
                None => self.io.to_links.clear(),
            }
        }
        for ask in self.io.to_tail.drain(..) {
            let _ = self.shared.tail.send(ask);
        }
        for ask in self.io.to_desk.drain(..) {
            self.shared.desk.bring(ask);
        }
        if std::mem::take(&mut self.io.wants_numbers) {
            self.shared.service.want_numbers(self.index);
        }
    }

    /// Those with much to send, one after the other, round after round.
    fn flush_bulk(&mut self) {
        while let Some(index) = self.io.bulk.pop_front() {
            self.flush_socket(index);
            if self.io.bulk_left == 0 {
                break;
            }
        }
    }

    fn flush_socket(&mut self, index: u32) {
        let Some(socket) = self.io.sockets.get(index as usize) else { return };
        let conn = ConnId { index, life: socket.life };
        if socket.blocked {
            // It has a turn when the kernel takes more.
            return;
        }
        match self.io.write(index) {
            Poll::Ready(Ok(())) => {
                self.machine.handle_writable(conn, self.now, &mut self.io);
                if self.io.socket(conn).is_some_and(|it| it.closing.is_some()) {
                    self.io.wake(conn);
                }
            }
            Poll::Pending => {}
            // Its turn writes again, and sees the error.
            Poll::Ready(Err(_)) => {
                if let Some(socket) = self.io.socket(conn) {
                    socket.blocked = true;
                }
                self.io.wake(conn);
            }
        }
    }

    /// While subscriptions wait for the peers, asks to hear of every step they make.
    fn look_at_progress(&mut self) {
        if !self.must_listen() {
            return;
        }
        self.listening = true;
        self.shared.frontier.wait(self.index);
        let progress = self.shared.frontier.progress();
        self.machine.handle_mail(Mail::Progress(progress), self.now, &mut self.io);
    }

    fn must_listen(&self) -> bool {
        self.machine.wants_progress() || (self.machine.waits_for_peers() && !self.listening)
    }

    /// Ends every connection that was made with a certificate that is revoked.
    pub(super) fn cut_revoked(&mut self, revoked: Arc<Revoked>) {
        self.tell_time();
        for conn in self.io.revoked(&revoked) {
            self.cut(conn);
        }
        self.revoked = (!revoked.is_empty()).then_some(revoked);
    }

    pub(super) fn cut(&mut self, conn: ConnId) {
        let Some(socket) = self.io.socket(conn) else { return };
        let Some(client) = self.machine.hub().client_of(conn) else { return };
        tracing::info!(
            target: "audit", client_id = client.as_str(), remote = %socket.who.remote,
            "connection cut: its certificate is revoked"
        );
        self.metrics.cut_revoked.add(1);
        self.machine.handle_revoked(conn, self.now, &mut self.io);
    }

    pub(super) fn held(&self) -> Held {
        let hub = self.machine.hub();
        Held {
            connections: self.io.sockets.len(),
            sessions: hub.sessions_len(),
            movable: hub.movable(),
            unsaved: hub.unsaved(),
            unsaved_wills: hub.unsaved_wills(),
            moved: hub.moved(),
        }
    }

    pub(super) fn clients(&self) -> Vec<ClientStatus> {
        let hub = self.machine.hub();
        self.io
            .sockets
            .iter()
            .filter_map(|(index, socket)| {
                let conn = ConnId { index: u32::try_from(index).ok()?, life: socket.life };
                let mut status = hub.client_status(hub.client_of(conn)?)?;
                status.remote = Some(socket.who.remote.to_string());
                Some(status)
            })
            .collect()
    }
}
