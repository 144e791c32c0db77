//! The thread that follows the log for a whole process.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use protocol::{ClientId, HashMap, LogSeq, Position, Publication, SessionNo, Wall};
use store::{Doc, Entry, QueueStatus, Reader, Space, StoreError};

use super::follower::{Follower, Letters};
use super::frontier::Frontier;
use super::looks::Looks;
use super::shadows::{ShadowQuestion, read_shadow};
use crate::hub::{EstateAt, ShadowMail, Tables};
use crate::links::{Command, LinksSender};
use crate::shadows::read_names;
use crate::worker::{Mail, Mailbox, Settled};

/// What the log's follower is asked.
#[derive(Debug)]
pub enum TailAsk {
    /// Read a client's session document for a worker.
    Read {
        /// Who asks.
        worker: u8,
        /// Whose.
        client: ClientId,
    },
    /// Read the record of a client's presence for a worker.
    Presence {
        /// Who asks.
        worker: u8,
        /// Whose.
        client: ClientId,
    },
    /// Read what the log holds now.
    Refresh {
        /// Who asks.
        worker: u8,
        /// Which of its asks.
        refresh: u64,
    },
    /// Read what the log holds now, for publications that wait for that.
    CatchUp {
        /// Who asks.
        worker: u8,
        /// Which of its asks.
        look: u64,
    },
    /// What was routed before these were asked is stored: read it.
    Settled(Vec<(u8, u64)>),
    /// What is applied up to here is what every publication goes by.
    InForce(LogSeq),
    /// Serve a queue to a worker.
    Attach {
        /// Who asks.
        worker: u8,
        /// Which queue.
        session: SessionNo,
        /// From behind here.
        after: Position,
        /// So many messages.
        credit: u32,
    },
    /// Stop serving a queue.
    Detach(SessionNo),
    /// Say up to where everything of a queue was served, unless something waits.
    Advance(SessionNo),
    /// A portion of what a session left is not stored.
    NotGiven(EstateAt),
    /// Forget what sessions have acknowledged up to here, and answer the newest position.
    Forget(Position, Sender<Position>),
    /// Serve more of a queue.
    Pull(SessionNo, u32),
    /// This process has committed.
    Own {
        /// The commit before.
        prev: LogSeq,
        /// The commit.
        seq: LogSeq,
        /// What it says.
        entries: Vec<Entry>,
        /// Its publications.
        bodies: HashMap<Position, Publication>,
    },
    /// A peer has committed.
    Poke,
    /// Time has passed: some messages may have ended.
    Sweep(Wall),
    /// A client's session document, and what waits for it.
    Session(ClientId, Sender<SessionFound>),
    /// The first position that any queue needs, and the last commit applied.
    Lowest(Sender<(Position, LogSeq)>),
    /// About shadows.
    Shadow(ShadowQuestion),
    /// The process ends.
    Stop,
}

/// A session's document and what waits for it; `None` if the store could not be read.
pub type SessionFound = Option<(Option<Doc>, Option<QueueStatus>)>;

/// Where to ask.
pub type TailSender = Sender<TailAsk>;

/// What the thread needs.
struct Tail {
    follower: Follower,
    reader: Box<dyn Reader>,
    frontier: Arc<Frontier>,
    mailboxes: Vec<Arc<Mailbox>>,
    links: Option<LinksSender>,
    letters: Letters,
    batches: Vec<Vec<Mail>>,
    looks: Looks,
    /// The store could not be read: there may be more of the log.
    behind: bool,
    /// Asks that could not be answered, to be tried again.
    again: Vec<TailAsk>,
    tables: Arc<Tables>,
    /// Where to ask ourselves.
    asks: TailSender,
    /// Who wants to know what the log holds now: worker, and which of its asks.
    refreshes: Vec<(u8, u64)>,
    /// The version of the routes that every publication goes by.
    routes: u64,
    /// Some publications may still go by older routes.
    settling: bool,
}

/// How long to wait before a store that could not be read is read again, and for asks between two pages of what goes back
/// to shared groups.
const READ_AGAIN: Duration = Duration::from_millis(100);

/// Starts the thread.
///
/// # Errors
/// The system has no more threads.
pub fn spawn(
    (follower, reader): (Follower, Box<dyn Reader>),
    frontier: Arc<Frontier>,
    links: Option<LinksSender>,
    tables: Arc<Tables>,
    (sender, asks): (TailSender, Receiver<TailAsk>),
) -> std::io::Result<JoinHandle<()>> {
    let mailboxes = frontier.mailboxes().to_vec();
    let batches = mailboxes.iter().map(|_| Vec::new()).collect();
    let mut tail = Tail {
        follower,
        reader,
        frontier,
        mailboxes,
        links,
        letters: Vec::new(),
        batches,
        looks: Looks::default(),
        behind: false,
        again: Vec::new(),
        routes: tables.routes_version(),
        tables,
        asks: sender,
        refreshes: Vec::new(),
        settling: false,
    };
    crate::logging::thread("tail", move || tail.run(&asks))
}

/// A channel to the thread.
pub fn asks() -> (TailSender, Receiver<TailAsk>) {
    channel()
}

impl Tail {
    fn run(&mut self, asks: &Receiver<TailAsk>) {
        self.announce(self.follower.applied());
        while let Some(first) = self.next(asks) {
            let mut poked = self.behind;
            for ask in std::mem::take(&mut self.again) {
                self.handle(ask);
            }
            let mut stop = false;
            for ask in std::iter::once(first).chain(asks.try_iter()) {
                poked |= matches!(ask, TailAsk::Poke);
                stop |= matches!(ask, TailAsk::Stop);
                self.handle(ask);
            }
            let (reader, letters) = (&mut *self.reader, &mut self.letters);
            report(self.looks.answer(&mut self.follower, reader, letters, &mut self.batches));
            if poked {
                self.behind = false;
                let caught_up = self.follower.catch_up(&mut *self.reader, &mut self.letters);
                self.note(caught_up);
            }
            // A page at a time: everybody else's asks come between.
            let everyone = self.frontier.progress();
            report(self.follower.give_back(&everyone, &mut *self.reader, &mut self.letters));
            self.publish();
            if stop {
                return;
            }
        }
    }

    /// The next ask; while something is left to be read, one of our own now and then.
    fn next(&self, asks: &Receiver<TailAsk>) -> Option<TailAsk> {
        if !self.behind && self.again.is_empty() && !self.follower.gives_back() {
            return asks.recv().ok();
        }
        match asks.recv_timeout(READ_AGAIN) {
            Ok(ask) => Some(ask),
            Err(RecvTimeoutError::Timeout) => Some(TailAsk::Poke),
            Err(RecvTimeoutError::Disconnected) => None,
        }
    }

    /// Remembers whether there is something to be read again.
    fn note(&mut self, result: Result<(), StoreError>) {
        self.behind |= result.is_err();
        report(result);
    }

    fn handle(&mut self, ask: TailAsk) {
        let reader = &mut *self.reader;
        let letters = &mut self.letters;
        let result = match ask {
            TailAsk::Read { worker, client } => return self.looks.add_session(worker, client),
            TailAsk::Presence { worker, client } => {
                return self.looks.add_presence(worker, client);
            }
            TailAsk::Shadow(question) => return self.answer_about_shadow(question),
            TailAsk::Refresh { worker, refresh } => {
                return self.refreshes.push((worker, refresh));
            }
            TailAsk::CatchUp { worker, look } => {
                let caught_up = self.follower.catch_up(reader, letters);
                if caught_up.is_err() {
                    self.again.push(TailAsk::CatchUp { worker, look });
                } else if let Some(batch) = self.batches.get_mut(usize::from(worker)) {
                    batch.push(Mail::CaughtUp(look));
                }
                caught_up
            }
            TailAsk::Settled(refreshes) => {
                let caught_up = self.follower.catch_up(reader, letters);
                if caught_up.is_ok() {
                    self.answer(refreshes);
                } else {
                    self.again.push(TailAsk::Settled(refreshes));
                }
                caught_up
            }
            TailAsk::InForce(seq) => {
                self.settling = false;
                return self.announce(seq);
            }
            TailAsk::Attach { worker, session, after, credit } => {
                // The owner's claim may be newer than what is applied here.
                let caught_up = self.follower.catch_up(reader, letters);
                if caught_up.is_err() {
                    self.again.push(TailAsk::Attach { worker, session, after, credit });
                }
                caught_up.and_then(|()| {
                    self.follower.attach((session, after, credit), worker, reader, letters)
                })
            }
            TailAsk::Detach(session) => return self.follower.detach(session),
            TailAsk::Advance(session) => return self.follower.advance(session, letters),
            TailAsk::NotGiven(of) => return self.follower.handle_not_given(of),
            TailAsk::Forget(up_to, answer) => {
                self.follower.forget_kept(up_to);
                let _ = answer.send(self.follower.newest());
                return;
            }
            TailAsk::Sweep(now) => self.follower.sweep(now, reader, letters),
            TailAsk::Session(client, answer) => {
                return drop(answer.send(self.find_session(&client)));
            }
            TailAsk::Pull(session, credit) => self.follower.pull(session, credit, reader, letters),
            TailAsk::Own { prev, seq, entries, bodies } => {
                if self.follower.applied() >= seq
                    || self.follower.apply_own((prev, seq), entries, &bodies, letters)
                {
                    Ok(())
                } else {
                    self.follower.catch_up(reader, letters)
                }
            }
            TailAsk::Lowest(answer) => return self.tell_lowest(&answer),
            TailAsk::Poke | TailAsk::Stop => return,
        };
        self.note(result);
    }

    fn find_session(&mut self, client: &ClientId) -> SessionFound {
        let found = self.reader.get(Space::Session, client.as_str().as_bytes());
        let queue = self.follower.queue_of(client);
        found.ok().map(|doc| (doc, queue))
    }

    fn tell_lowest(&self, answer: &Sender<(Position, LogSeq)>) {
        let _ = answer.send((self.follower.lowest(), self.follower.applied()));
    }

    fn answer_about_shadow(&mut self, question: ShadowQuestion) {
        let reader = &mut *self.reader;
        match question {
            ShadowQuestion::Read { worker, key, most } => {
                let read = read_shadow(&key, most, reader);
                if let Some(batch) = self.batches.get_mut(usize::from(worker)) {
                    batch.push(Mail::Shadow(ShadowMail::Read(key, read)));
                }
            }
            ShadowQuestion::Names { thing, after, max, answer } => {
                let names = read_names((&thing, after.as_deref()), max, reader);
                // Whoever asked may have gone.
                drop(answer.send(names.ok()));
            }
        }
    }

    /// Hands on what was found, and says how far we are.
    fn publish(&mut self) {
        for (worker, letter) in self.letters.drain(..) {
            if let Some(batch) = self.batches.get_mut(usize::from(worker)) {
                batch.push(letter.into());
            }
        }
        for (batch, mailbox) in self.batches.iter_mut().zip(&self.mailboxes) {
            mailbox.send_all(batch);
        }
        if !self.refreshes.is_empty() {
            let (refreshes, asks) = (std::mem::take(&mut self.refreshes), self.asks.clone());
            // This thread ends after the committer.
            let then = move || drop(asks.send(TailAsk::Settled(refreshes)));
            Settled::start(&self.mailboxes, then);
        }
        let (applied, routes) = (self.follower.applied(), self.tables.routes_version());
        if applied == self.frontier.applied() || self.settling {
            // A peer may have poked for what was applied already.
            return self.answer_pokes();
        }
        if routes == self.routes {
            return self.announce(applied);
        }
        // Known is a subscription once no publication goes by older tables any more.
        self.routes = routes;
        self.settling = true;
        let asks = self.asks.clone();
        Settled::start(&self.mailboxes, move || drop(asks.send(TailAsk::InForce(applied))));
    }

    /// The log is read for those who asked.
    fn answer(&mut self, refreshes: Vec<(u8, u64)>) {
        for (worker, refresh) in refreshes {
            if let Some(batch) = self.batches.get_mut(usize::from(worker)) {
                batch.push(Mail::Refreshed(refresh));
            }
        }
    }

    /// Tells how far this process is.
    fn announce(&self, applied: LogSeq) {
        self.frontier.set_applied(applied);
        self.answer_pokes();
    }

    /// Tells the links how far this process is if a peer waits to hear of more than they know; else nobody wakes them.
    fn answer_pokes(&self) {
        if let Some(links) = &self.links
            && let Some(applied) = self.frontier.answer()
        {
            links.send(&mut vec![Command::Applied(applied)]);
        }
    }
}

fn report(result: Result<(), StoreError>) {
    if let Err(error) = result {
        tracing::error!("cannot follow the store's log: {error}");
    }
}
