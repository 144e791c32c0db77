//! The one thread that writes to the store: group commit of whatever has queued up meanwhile.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Instant;

use protocol::{HashMap, Position, Publication};
use store::{Commit, Outcome, Space, StoreError, Write, Writer};

use crate::commit::{Answer, Ordered, Ticket};
use crate::links::{Command, LinksSender};
use crate::metrics::ProcessCounters;
use crate::tail::{TailAsk, TailSender};
use crate::worker::{Mail, Mailbox, Settled};

/// Who wants writes.
#[derive(Debug)]
pub enum Order {
    /// A worker, in order; answered by mail.
    Worker(u8, Vec<Ordered>),
    /// Someone who waits for one answer.
    Other(Box<Write>, Sender<Answer>),
    /// To be dropped when what was ordered before is written.
    Settle(Arc<Settled>),
    /// The process ends: what was ordered before is written.
    Stop,
}

/// How often a commit whose answer was lost is asked for again before it counts as refused.
const ASKED_AGAIN: u32 = 8;

/// Where to order.
pub type CommitSender = Sender<Order>;

/// What one group commit may hold.
#[derive(Debug, Clone, Copy)]
pub struct GroupLimits {
    /// Writes.
    pub messages: usize,
    /// Bytes of bodies and documents.
    pub bytes: usize,
}

/// What the thread tells of its commits.
#[derive(Debug)]
pub struct Listeners {
    /// The workers.
    pub mailboxes: Vec<Arc<Mailbox>>,
    /// The follower of the log.
    pub tail: TailSender,
    /// The peers, if there are links.
    pub links: Option<LinksSender>,
    /// What is counted.
    pub metrics: Arc<ProcessCounters>,
}

/// A channel to the thread.
pub fn orders() -> (CommitSender, Receiver<Order>) {
    channel()
}

/// Starts the thread.
///
/// # Errors
/// The system has no more threads.
pub fn spawn(
    writer: Box<dyn Writer>,
    limits: GroupLimits,
    listeners: Listeners,
    orders: Receiver<Order>,
) -> std::io::Result<JoinHandle<()>> {
    let (group, refusals) = (Group::default(), Refusals::default());
    // Until it says otherwise.
    listeners.metrics.store_writable.set(1);
    let mut committer = Committer { writer, limits, listeners, group, refusals };
    crate::logging::thread("committer", move || committer.run(&orders))
}

struct Committer {
    writer: Box<dyn Writer>,
    limits: GroupLimits,
    listeners: Listeners,
    group: Group,
    refusals: Refusals,
}

/// A session's later document may hold what an earlier write would have made true. So once a write of a worker was refused, so
/// is every one that the worker made before it knew of that.
#[derive(Debug, Default)]
pub struct Refusals {
    /// The last refused ticket, by worker.
    last: Vec<Ticket>,
}

impl Refusals {
    /// A write was refused.
    pub fn note(&mut self, worker: u8, ticket: Ticket) {
        let at = usize::from(worker);
        if self.last.len() <= at {
            self.last.resize(at + 1, 0);
        }
        if let Some(last) = self.last.get_mut(at) {
            *last = ticket.max(*last);
        }
    }

    /// What became of a write: one beyond the fence of this gateway counts as refused.
    pub fn note_outcome(&mut self, worker: u8, ticket: Ticket, outcome: &Outcome) {
        if matches!(outcome, Outcome::Conflict { space: Space::Lease, .. }) {
            self.note(worker, ticket);
        }
    }

    /// Whether a write must be refused because one before it was; it counts as refused then.
    pub fn reach(&mut self, worker: u8, ticket: Ticket, known: Ticket) -> bool {
        let reach = self.last.get(usize::from(worker)).is_some_and(|last| known < *last);
        if reach {
            self.note(worker, ticket);
        }
        reach
    }
}

/// Whose answer a write is.
enum Whose {
    /// A worker's: its ticket, and the last answer that was known when it was made.
    Worker(u8, Ticket, Ticket),
    Other(Sender<Answer>),
    /// A worker's write that is refused; in its place in the group stands one that does nothing.
    Refused(u8, Ticket),
}

#[derive(Default)]
struct Group {
    writes: Vec<Write>,
    whose: Vec<Whose>,
    bytes: usize,
    settled: Vec<Arc<Settled>>,
    stop: bool,
}

impl Group {
    fn add(&mut self, order: Order, refusals: &mut Refusals) {
        match order {
            Order::Worker(worker, writes) => {
                for Ordered { ticket, known, write } in writes {
                    if refusals.reach(worker, ticket, known) {
                        self.push(Write::default(), Whose::Refused(worker, ticket));
                    } else {
                        self.push(write, Whose::Worker(worker, ticket, known));
                    }
                }
            }
            Order::Other(write, answer) => self.push(*write, Whose::Other(answer)),
            Order::Settle(settled) => self.settled.push(settled),
            Order::Stop => self.stop = true,
        }
    }

    fn push(&mut self, write: Write, whose: Whose) {
        self.bytes += write.len_bytes();
        self.writes.push(write);
        self.whose.push(whose);
    }
}

impl Committer {
    fn run(&mut self, orders: &Receiver<Order>) {
        while let Ok(first) = orders.recv() {
            self.group.add(first, &mut self.refusals);
            // What queued up while the last commit was on its way to the disk goes together.
            while self.group.writes.len() < self.limits.messages
                && self.group.bytes < self.limits.bytes
            {
                let Ok(next) = orders.try_recv() else { break };
                self.group.add(next, &mut self.refusals);
            }
            self.commit();
            self.group.settled.clear();
            if self.group.stop {
                return;
            }
        }
    }

    fn commit(&mut self) {
        let mut writes = std::mem::take(&mut self.group.writes);
        let mut whose = std::mem::take(&mut self.group.whose);
        self.group.bytes = 0;
        if writes.is_empty() {
            return;
        }
        let mut answers = Answers::new(&self.listeners.mailboxes);
        let began = Instant::now();
        let (mut unanswered, mut asked) = (false, 0);
        let commit = loop {
            let tried = match unanswered {
                true => self.writer.commit_again(&writes),
                false => self.writer.commit(&writes),
            };
            match tried {
                Ok(commit) => break Some(commit),
                Err(StoreError::Unknown { .. }) if asked < ASKED_AGAIN => {
                    (unanswered, asked) = (true, asked + 1);
                }
                Err(StoreError::TooLarge { write, .. }) if write < writes.len() => {
                    tracing::warn!("a write is too large for the store");
                    leave_out(write, &mut writes, &mut whose, &mut self.refusals);
                }
                Err(error) => {
                    tracing::error!(
                        "the store cannot commit; nothing of it is acknowledged: {error}"
                    );
                    self.listeners.metrics.count_refused_commit(&error);
                    break None;
                }
            }
        };
        match commit {
            Some(commit) => {
                let elapsed = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
                self.listeners.metrics.count_commit(writes.len() as u64, elapsed);
                for (whose, outcome) in whose.iter().zip(&commit.outcomes) {
                    if let Whose::Worker(worker, ticket, _) = whose {
                        self.refusals.note_outcome(*worker, *ticket, outcome);
                    }
                }
                self.tell(commit, &writes, whose, &mut answers);
            }
            None => {
                for whose in whose {
                    if let Whose::Worker(worker, ticket, _) = &whose {
                        self.refusals.note(*worker, *ticket);
                    }
                    answers.add(whose, Answer::Unavailable);
                }
            }
        }
        answers.send();
    }

    fn tell(&self, commit: Commit, writes: &[Write], whose: Vec<Whose>, answers: &mut Answers<'_>) {
        let Commit { seq, prev, entries, outcomes } = commit;
        if seq != prev {
            let bodies = bodies(writes, &outcomes);
            // The tail first: whoever sees its answer may count on the tables being on their way.
            let _ = self.listeners.tail.send(TailAsk::Own { prev, seq, entries, bodies });
            if let Some(links) = &self.listeners.links {
                links.send(&mut vec![Command::Poke(seq)]);
            }
        }
        for (whose, outcome) in whose.into_iter().zip(outcomes) {
            answers.add(whose, Answer::Committed(outcome, seq));
        }
    }
}

/// One write of a group is at fault; in its place goes one that does nothing, so that the order of answers stands.
/// The same happens to those behind it that were made without knowing.
fn leave_out(fault: usize, writes: &mut [Write], whose: &mut [Whose], refusals: &mut Refusals) {
    for (at, (place, whose)) in writes.iter_mut().zip(whose).enumerate().skip(fault) {
        let refused = match whose {
            Whose::Worker(worker, ticket, _) if at == fault => {
                refusals.note(*worker, *ticket);
                true
            }
            Whose::Worker(worker, ticket, known) => refusals.reach(*worker, *ticket, *known),
            Whose::Other(_) | Whose::Refused(..) => at == fault,
        };
        if refused {
            *place = Write::default();
            *whose = whose.refused();
        }
    }
}

impl Whose {
    /// The same, to be told that it was refused whatever becomes of its place in the group.
    fn refused(&self) -> Self {
        match self {
            Self::Worker(worker, ticket, _) | Self::Refused(worker, ticket) => {
                Self::Refused(*worker, *ticket)
            }
            Self::Other(answer) => {
                let _ = answer.send(Answer::Unavailable);
                Self::Other(answer.clone())
            }
        }
    }
}

/// The publications of a commit by their positions.
fn bodies(writes: &[Write], outcomes: &[Outcome]) -> HashMap<Position, Publication> {
    let mut bodies = HashMap::default();
    for (write, outcome) in writes.iter().zip(outcomes) {
        if let Outcome::Done { first, .. } = outcome {
            for (at, append) in (first.0..).zip(&write.appends) {
                bodies.insert(Position(at), append.body.clone());
            }
        }
    }
    bodies
}

/// Answers on their way, by worker.
struct Answers<'a> {
    mailboxes: &'a [Arc<Mailbox>],
    by_worker: Vec<Vec<(Ticket, Answer)>>,
}

impl<'a> Answers<'a> {
    fn new(mailboxes: &'a [Arc<Mailbox>]) -> Self {
        Self { mailboxes, by_worker: mailboxes.iter().map(|_| Vec::new()).collect() }
    }

    fn add(&mut self, whose: Whose, answer: Answer) {
        match whose {
            Whose::Worker(worker, ticket, _) => {
                if let Some(answers) = self.by_worker.get_mut(usize::from(worker)) {
                    answers.push((ticket, answer));
                }
            }
            Whose::Refused(worker, ticket) => {
                self.add(Whose::Worker(worker, ticket, ticket), Answer::Unavailable);
            }
            // Whoever waited may have gone.
            Whose::Other(sender) => drop(sender.send(answer)),
        }
    }

    fn send(self) {
        for (answers, mailbox) in self.by_worker.into_iter().zip(self.mailboxes) {
            if !answers.is_empty() {
                mailbox.send(Mail::Answers(answers));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_without_knowing_of_a_refusal_is_refused_too() {
        let mut refusals = Refusals::default();
        assert!(!refusals.reach(1, 1, 0));
        refusals.note(1, 2);
        assert!(refusals.reach(1, 3, 1), "made before the refusal of 2 was known");
        assert!(refusals.reach(1, 4, 2), "made upon 3, which nobody knows to be refused");
        assert!(!refusals.reach(0, 5, 0), "of another worker");
        assert!(!refusals.reach(1, 6, 4));
    }
}
