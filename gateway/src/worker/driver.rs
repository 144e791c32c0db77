//! The thread of one worker: its runtime, its sockets, and the end of each turn.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::task::{LocalSet, spawn_local};

use protocol::{Now, Wall};

use crate::authentication::Desk;
use crate::committer::{CommitSender, Order};
use crate::control::ClientStatus;
use crate::hub::{ConnId, Hub, HubConfig, ReleaseAsked, Tables};
use crate::links::{Command, LinksSender};
use crate::metrics::WorkerCounters;
use crate::service::ServiceSender;
use crate::tail::{Frontier, TailSender};
use crate::tls::Revoked;

use super::crumbs::{Crumbs, REST};
use super::io::{Io, Who};
use super::mail::Accepted;
use super::socket::{ConnectionTask, FlushTask, MailTask};
use super::{Held, Mail, Mailbox, Settled, WorkerMachine};

/// What the threads of a process share.
#[derive(Debug, Clone)]
pub struct Shared {
    /// When the process began.
    pub started: Instant,
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
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = Wall(u64::try_from(wall.as_millis()).unwrap_or(u64::MAX));
        Now { mono: self.started.elapsed(), wall }
    }
}

/// One worker with everything it owns.
pub(super) struct Worker {
    pub(super) machine: WorkerMachine,
    pub(super) io: Io,
    pub(super) now: Now,
    /// What every read goes into.
    pub(super) buffer: Vec<u8>,
    pub(super) letters: Vec<Mail>,
    pub(super) metrics: Arc<WorkerCounters>,
    /// What may wait for a client that does not read, before nothing more is read from it.
    pub(super) outbox_bytes: usize,
    /// Who sends a packet in crumbs.
    pub(super) crumbs: Crumbs,
    index: usize,
    /// The certificates that are revoked, once a list has come and if there are any.
    revoked: Option<Arc<Revoked>>,
    shared: Shared,
    /// The next step of the peers will come as a letter.
    /// To be passed on behind the next writes.
    settling: Vec<Arc<Settled>>,
    listening: bool,
}

/// Bytes read at a time.
const READ_BYTES: usize = 128 * 1024;
/// How often a worker looks after what waits.
const TICK: Duration = Duration::from_millis(100);

/// Starts a worker's thread.
///
/// # Errors
/// The system has no more threads, or no more descriptors for its runtime.
pub fn spawn(
    config: HubConfig,
    shared: Shared,
    metrics: Arc<WorkerCounters>,
) -> std::io::Result<JoinHandle<()>> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().event_interval(31).build()?;
    let name = format!("worker-{}", config.worker);
    crate::logging::thread(name, move || {
        let (config_worker, outbox_bytes) = (config.worker, config.outbox_bytes);
        let index = usize::from(config_worker);
        let hub = Hub::new(config, Arc::clone(&shared.tables), Arc::clone(&metrics));
        let worker = Worker {
            machine: WorkerMachine::new(hub),
            io: Io::new(config_worker, shared.mailboxes.len(), Arc::clone(&shared.tables)),
            now: shared.now(),
            buffer: vec![0; READ_BYTES],
            letters: Vec::new(),
            metrics,
            index,
            revoked: None,
            settling: Vec::new(),
            listening: false,
            outbox_bytes,
            crumbs: Crumbs::default(),
            shared,
        };
        runtime.block_on(LocalSet::new().run_until(run(Rc::new(RefCell::new(worker)))));
    })
}

async fn run(worker: Rc<RefCell<Worker>>) {
    // Without the runtime's budget: a flush of a thousand sockets is one turn.
    spawn_local(tokio::task::unconstrained(FlushTask { worker: Rc::clone(&worker) }));
    let ticking = Rc::clone(&worker);
    spawn_local(async move {
        let mut clock = tokio::time::interval(TICK);
        clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            clock.tick().await;
            ticking.borrow_mut().tick();
        }
    });
    spawn_local(rest(Rc::clone(&worker)));
    tokio::task::unconstrained(MailTask { worker: Rc::clone(&worker) }).await;
    finish(&worker).await;
}

/// Lets those go on whose packets come in crumbs, when enough of them may have gathered.
async fn rest(worker: Rc<RefCell<Worker>>) {
    let begun = worker.borrow().crumbs.begun();
    loop {
        begun.notified().await;
        tokio::time::sleep(REST).await;
        let worker = &mut *worker.borrow_mut();
        for conn in worker.crumbs.end() {
            if let Some(socket) = worker.io.socket(conn)
                && let Some(waker) = socket.waker.take()
            {
                waker.wake();
            }
        }
    }
}

/// After the order to stop: sessions are written off, clients are told, and given a moment to hear it.
async fn finish(worker: &Rc<RefCell<Worker>>) {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(5) {
        {
            // Again and again: a client may have been on its way in.
            let worker = &mut *worker.borrow_mut();
            worker.tell_time();
            worker.machine.handle_stop(worker.now, &mut worker.io);
            worker.io.wake_flusher();
        }
        let mailbox = worker.borrow().mailbox();
        let mut letters = Vec::new();
        if mailbox.take(&mut letters, std::task::Waker::noop()) {
            handle_letters(worker, &mut letters);
        }
        let done = {
            let worker = worker.borrow();
            worker.machine.is_idle() && worker.io.sockets.is_empty()
        };
        if done {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Handles letters. Answers whether the worker was told to stop.
pub(super) fn handle_letters(worker: &Rc<RefCell<Worker>>, letters: &mut Vec<Mail>) -> bool {
    let mut stop = false;
    worker.borrow_mut().tell_time();
    for letter in letters.drain(..) {
        match letter {
            Mail::Accepted(accepted) => open(worker, *accepted),
            Mail::Stop => stop = true,
            Mail::Waiting(client, answer) => {
                let _ = answer.send(worker.borrow().machine.hub().waiting_for(&client));
            }
            Mail::Filters(client, answer) => {
                let _ = answer.send(worker.borrow().machine.hub().filters_of(&client));
            }
            Mail::Clients(answer) => {
                let clients = worker.borrow().clients();
                // Whoever asked may have gone.
                let _ = answer.send(clients);
            }
            Mail::Count(answer) => {
                let _ = answer.send(worker.borrow().held());
            }
            Mail::Settle(settled) => worker.borrow_mut().settling.push(settled),
            Mail::Revoked(revoked) => worker.borrow_mut().cut_revoked(revoked),
            Mail::ReleaseAsked(asked) => worker.borrow_mut().release(asked),
            letter @ (Mail::Forward(_)
            | Mail::Bundle(_)
            | Mail::Queued(_)
            | Mail::Answers(_)
            | Mail::Record(..)
            | Mail::Whole(..)
            | Mail::Passed(..)
            | Mail::Interrupted(..)
            | Mail::Unreadable(_)
            | Mail::Superseded(..)
            | Mail::Gone(_)
            | Mail::Gap
            | Mail::Returned(..)
            | Mail::Drops(_)
            | Mail::Left(..)
            | Mail::Released(..)
            | Mail::Progress(_)
            | Mail::Refreshed(_)
            | Mail::CaughtUp(_)
            | Mail::SessionNumbers(..)
            | Mail::Presence(_)
            | Mail::FireWill(..)
            | Mail::Policy(_)
            | Mail::Settings(_)
            | Mail::Bans(_)
            | Mail::Post(_)
            | Mail::Authenticated(..)
            | Mail::Shadow(_)
            | Mail::Move(_)) => {
                let worker = &mut *worker.borrow_mut();
                if matches!(letter, Mail::Progress(_)) {
                    worker.listening = false;
                }
                if let Mail::Settings(settings) = &letter {
                    worker.outbox_bytes = settings.limits.outbox_bytes as usize;
                    worker.io.allow_messages(settings.limits.packet_bytes as usize);
                }
                if let Mail::Answers(answers) = &letter {
                    worker.metrics.queue_out_commit.add(answers.len() as u64);
                }
                worker.machine.handle_mail(letter, worker.now, &mut worker.io);
            }
        }
    }
    worker.borrow_mut().end_turn();
    stop
}

fn open(worker: &Rc<RefCell<Worker>>, accepted: Accepted) {
    let Accepted { socket, layer, rest, mut request, remote, certificate, place, since } = accepted;
    request.waited = since.elapsed();
    // What stays is memory of this thread, so that the front's is free again when those who come are in.
    request.client = request.client.apart();
    let conn = {
        let worker = &mut *worker.borrow_mut();
        let Ok(stream) = socket.attach() else { return };
        worker.metrics.connections_opened.add(1);
        let version = request.version.level();
        tracing::info!(client_id = request.client.as_str(), %remote, protocol_version = version, "a client has come");
        let client = request.client.clone();
        let who = Who { remote, client, certificate, _place: place };
        let Some(conn) = worker.io.add((stream, layer, rest), who) else { return };
        worker.io.follow(conn, version);
        worker.hear_out(&request.client);
        worker.machine.handle_connect(conn, request, worker.now, &mut worker.io);
        if worker.revoked.as_ref().is_some_and(|list| worker.io.is_revoked(conn, list)) {
            // The list came while this connection was on its way here.
            worker.cut(conn);
        }
        conn
    };
    spawn_local(tokio::task::unconstrained(ConnectionTask { worker: Rc::clone(worker), conn }));
}

impl Worker {
    pub(super) fn mailbox(&self) -> Arc<Mailbox> {
        // There is one mailbox per worker.
        self.shared.mailboxes.get(self.index).cloned().unwrap_or_else(|| Arc::new(Mailbox::new(1)))
    }

    pub(super) fn tell_time(&mut self) {
        self.now = self.shared.now();
        self.io.now = self.now.mono;
    }

    /// A peer wants a session whose client came to it.
    fn release(&mut self, asked: ReleaseAsked) {
        self.hear_out(&asked.client);
        self.machine.handle_mail(Mail::ReleaseAsked(asked), self.now, &mut self.io);
    }

    fn tick(&mut self) {
        self.tell_time();
        // Before those whose time is up are listened to again, and wait again.
        for (conn, how) in self.io.closed(self.machine.held_back()) {
            self.machine.handle_closing(conn, how, self.now, &mut self.io);
        }
        self.machine.handle_tick(self.now, &mut self.io);
        let late =
            |s: &super::io::Socket| s.closing.as_deref().is_some_and(|c| self.now.mono >= c.until);
        for (_, socket) in &mut self.io.sockets {
            if late(socket)
                && let Some(waker) = socket.waker.take()
            {
                waker.wake();
            }
        }
        self.end_turn();
    }

    /// If anything waits to leave this worker, the flush task runs once the others have had their turn.
    pub(super) fn end_turn(&mut self) {
        if self.has_to_flush() {
            self.io.wake_flusher();
        }
    }

    /// Whether anything waits to leave this worker, or to go on.
    pub(super) fn has_to_flush(&self) -> bool {
        self.machine.has_writes()
            || self.machine.has_more()
            || self.must_listen()
            || !self.settling.is_empty()
            || self.io.has_something()
    }

    /// The end of a turn: one write per socket, one batch per neighbour.
    pub(super) fn flush(&mut self, cx: &mut Context<'_>) {
        self.machine.handle_more(self.now, &mut self.io);
        let mut dirty = std::mem::take(&mut self.io.dirty);
        for index in dirty.drain(..) {
            self.flush_socket(index, cx);
        }
        if self.io.dirty.is_empty() {
            self.io.dirty = dirty;
        }
        self.metrics.bytes_sent.add(std::mem::take(&mut self.io.bytes_sent));
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
        self.look_at_progress();
    }

    fn flush_socket(&mut self, index: u32, cx: &mut Context<'_>) {
        let Some(socket) = self.io.sockets.get(index as usize) else { return };
        let conn = ConnId { index, life: socket.life };
        if socket.blocked {
            // Its task waits for the kernel.
            return;
        }
        let wake = match self.io.write(index, cx) {
            Poll::Ready(Ok(())) => {
                self.machine.handle_writable(conn, self.now, &mut self.io);
                self.io.socket(conn).is_some_and(|s| s.closing.is_some())
            }
            // The socket's own task asks the kernel again, with its own waker, or sees the error.
            Poll::Pending => true,
            Poll::Ready(Err(_)) => {
                if let Some(socket) = self.io.socket(conn) {
                    socket.blocked = true;
                }
                true
            }
        };
        if wake
            && let Some(socket) = self.io.socket(conn)
            && let Some(waker) = socket.waker.take()
        {
            waker.wake();
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
    fn cut_revoked(&mut self, revoked: Arc<Revoked>) {
        self.tell_time();
        for conn in self.io.revoked(&revoked) {
            self.cut(conn);
        }
        self.revoked = (!revoked.is_empty()).then_some(revoked);
    }

    fn cut(&mut self, conn: ConnId) {
        let Some(socket) = self.io.socket(conn) else { return };
        tracing::info!(
            target: "audit", client_id = socket.who.client.as_str(), remote = %socket.who.remote,
            "connection cut: its certificate is revoked"
        );
        self.metrics.cut_revoked.add(1);
        self.machine.handle_revoked(conn, self.now, &mut self.io);
    }

    fn held(&self) -> Held {
        let hub = self.machine.hub();
        Held {
            connections: self.io.sockets.len(),
            sessions: hub.sessions_len(),
            movable: hub.movable(),
            unsaved: hub.unsaved(),
            moved: hub.moved(),
        }
    }

    fn clients(&self) -> Vec<ClientStatus> {
        let hub = self.machine.hub();
        self.io
            .sockets
            .iter()
            .filter_map(|(_, socket)| {
                let mut status = hub.client_status(&socket.who.client)?;
                status.remote = Some(socket.who.remote.to_string());
                Some(status)
            })
            .collect()
    }
}
