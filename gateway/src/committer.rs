//! The one thread that writes to the store: group commit of whatever has queued up meanwhile.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use protocol::{HashMap, LogSeq, Position, Publication};
use store::{Commit, Outcome, Space, StoreError, Write, Writer};

use crate::commit::{Answer, Ordered, Ticket};
use crate::hub::Tables;
use crate::links::{Command, LinksSender};
use crate::metrics::ProcessCounters;
use crate::outage::Outage;
use crate::pokes::Pokes;
use crate::tail::{TailAsk, TailSender};
use crate::worker::{Mail, Mailbox, Settled};

pub use crate::orders::{CommitSender, Order, Orders, orders};

/// Commits that need not wait for the disk begin no sooner than this after the last commit ended: it is about what one that waits
/// takes, and so they gather as many writes. What must reach the disk waits for nothing.
const REST: Duration = Duration::from_millis(2);

/// How often a commit whose answer was lost is asked for again before it counts as refused.
const ASKED_AGAIN: u32 = 8;

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
    /// What the peers want.
    pub tables: Arc<Tables>,
    /// What is counted.
    pub metrics: Arc<ProcessCounters>,
}

/// Starts the thread.
///
/// # Errors
/// The system has no more threads.
pub fn spawn(
    writer: Box<dyn Writer>,
    limits: GroupLimits,
    listeners: Listeners,
    orders: Orders,
) -> std::io::Result<JoinHandle<()>> {
    let (group, refusals) = (Group::default(), Refusals::default());
    // Until it says otherwise.
    listeners.metrics.store_writable.set(1);
    let mut committer = Committer {
        writer,
        limits,
        listeners,
        group,
        refusals,
        ended: None,
        outage: Outage::default(),
        pokes: Pokes::default(),
        began: Instant::now(),
    };
    crate::logging::thread("committer", move || committer.run(&orders))
}

struct Committer {
    writer: Box<dyn Writer>,
    limits: GroupLimits,
    listeners: Listeners,
    group: Group,
    refusals: Refusals,
    /// When the last commit ended.
    ended: Option<Instant>,
    outage: Outage,
    /// When the peers are told of commits.
    pokes: Pokes,
    /// When this thread began, which is where its time counts from.
    began: Instant,
}

/// A session's later document may hold what an earlier write would have made true. So once a write of a worker was refused, so
/// is every one that the worker made before it knew of that. Nobody answers those: with the refusal the worker knows of all of
/// them, so what it writes from then on is taken, however much was on its way.
#[derive(Debug, Default)]
pub struct Refusals {
    /// The last ticket that was answered with a refusal, by worker.
    last: Vec<Ticket>,
}

impl Refusals {
    /// A write is answered with a refusal.
    pub fn note(&mut self, worker: u8, ticket: Ticket) {
        let at = usize::from(worker);
        if self.last.len() <= at {
            self.last.resize(at + 1, 0);
        }
        if let Some(last) = self.last.get_mut(at) {
            *last = ticket.max(*last);
        }
    }

    /// The answer to a write of a worker, by what became of it in a commit. One that was checked against the fence of this
    /// gateway, and is beyond it, is refused: others took this gateway for dead, and went on without it.
    pub fn answer(
        &mut self,
        (worker, ticket): (u8, Ticket),
        write: &Write,
        (outcome, seq): (Outcome, LogSeq),
    ) -> Answer {
        let is_checked =
            |key: &Bytes| write.checks.iter().any(|it| it.space == Space::Lease && it.key == *key);
        if let Outcome::Conflict { space: Space::Lease, key, .. } = &outcome
            && is_checked(key)
        {
            self.note(worker, ticket);
            return Answer::Unavailable;
        }
        Answer::Committed(outcome, seq)
    }

    /// Whether a write is refused because one before it was, as its worker knows by itself.
    pub fn reach(&self, worker: u8, known: Ticket) -> bool {
        self.last.get(usize::from(worker)).is_some_and(|last| known < *last)
    }
}

/// Whose answer a write is.
enum Whose {
    /// A worker's: its ticket, and the last answer that was known when it was made.
    Worker(u8, Ticket, Ticket),
    Other(Sender<Answer>),
    /// A worker's write that is refused since the group was put together; in its place stands one that does nothing.
    Refused(u8, Ticket),
}

#[derive(Default)]
struct Group {
    writes: Vec<Write>,
    whose: Vec<Whose>,
    bytes: usize,
    settled: Vec<Arc<Settled>>,
    stop: bool,
    /// Something of it must reach the disk, or somebody waits for it to be written.
    is_urgent: bool,
}

impl Group {
    fn add(&mut self, order: Order, refusals: &Refusals) {
        self.is_urgent |= order.is_urgent();
        match order {
            Order::Worker(worker, writes) => {
                for Ordered { ticket, known, write } in writes {
                    if !refusals.reach(worker, known) {
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
    fn run(&mut self, orders: &Orders) {
        while let Some(first) = self.next(orders) {
            self.group.add(first, &self.refusals);
            self.gather(orders);
            self.commit();
            self.ended = Some(Instant::now());
            self.group.settled.clear();
            self.group.is_urgent = false;
            if self.group.stop {
                break;
            }
        }
        self.poke_if_due(Duration::MAX);
    }

    /// The next order; peers are told meanwhile of what was held back.
    fn next(&mut self, orders: &Orders) -> Option<Order> {
        while let Some(due) = self.pokes.due() {
            match orders.recv_timeout(due.saturating_sub(self.began.elapsed())) {
                Ok(order) => return Some(order),
                Err(RecvTimeoutError::Timeout) => self.poke_if_due(self.began.elapsed()),
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
        orders.recv().ok()
    }

    fn poke_if_due(&mut self, now: Duration) {
        if let Some(seq) = self.pokes.take_due(now) {
            self.poke(seq);
        }
    }

    fn poke(&self, seq: LogSeq) {
        if let Some(links) = &self.listeners.links {
            links.send(&mut vec![Command::Poke(seq)]);
        }
    }

    /// What queued up while the last commit was on its way to the disk goes together; and where nothing must reach the disk, also
    /// what comes before this thread has rested.
    fn gather(&mut self, orders: &Orders) {
        while self.group.writes.len() < self.limits.messages && self.group.bytes < self.limits.bytes
        {
            if let Ok(next) = orders.try_recv() {
                self.group.add(next, &self.refusals);
                continue;
            }
            let rested = self.ended.map_or(REST, |ended| ended.elapsed());
            if self.group.is_urgent || rested >= REST {
                return;
            }
            orders.rest(REST - rested);
        }
    }

    fn commit(&mut self) {
        let mut writes = std::mem::take(&mut self.group.writes);
        let mut whose = std::mem::take(&mut self.group.whose);
        self.group.bytes = 0;
        if writes.is_empty() {
            return;
        }
        let mut answers = Answers::new(self.listeners.mailboxes.len());
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
                    if let Some(line) = self.outage.handle_refused(Instant::now()) {
                        tracing::error!("{line}: {error}");
                    }
                    self.listeners.metrics.count_refused_commit(&error);
                    break None;
                }
            }
        };
        match commit {
            Some(commit) => {
                if let Some(line) = self.outage.handle_taken(Instant::now()) {
                    tracing::warn!("{line}");
                }
                let elapsed = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
                self.listeners.metrics.count_commit(writes.len() as u64, elapsed);
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
        answers.send(&self.listeners.mailboxes);
    }

    fn tell(&mut self, commit: Commit, writes: &[Write], whose: Vec<Whose>, answers: &mut Answers) {
        let Commit { seq, prev, entries, outcomes } = commit;
        if seq != prev {
            let bodies = bodies(writes, &outcomes);
            let now = self.began.elapsed();
            let is_urgent = self.pokes.note(seq, &entries, &self.listeners.tables, now);
            // The tail first: whoever sees its answer may count on the tables being on their way.
            let _ = self.listeners.tail.send(TailAsk::Own { prev, seq, entries, bodies });
            if is_urgent {
                self.poke(seq);
            }
        }
        for ((whose, outcome), write) in whose.into_iter().zip(outcomes).zip(writes) {
            let answer = match &whose {
                Whose::Worker(worker, ticket, _) => {
                    self.refusals.answer((*worker, *ticket), write, (outcome, seq))
                }
                Whose::Other(_) | Whose::Refused(..) => Answer::Committed(outcome, seq),
            };
            answers.add(whose, answer);
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
            Whose::Worker(worker, _, known) => refusals.reach(*worker, *known),
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
struct Answers {
    by_worker: Vec<Vec<(Ticket, Answer)>>,
}

impl Answers {
    fn new(workers: usize) -> Self {
        Self { by_worker: (0..workers).map(|_| Vec::new()).collect() }
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

    fn send(self, mailboxes: &[Arc<Mailbox>]) {
        for (answers, mailbox) in self.by_worker.into_iter().zip(mailboxes) {
            if !answers.is_empty() {
                mailbox.send(Mail::Answers(answers));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use store::{Expect, MemoryStore, Put, Store as _};

    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn what_was_written_without_knowing_of_a_refusal_is_refused_too() {
        let mut refusals = Refusals::default();
        assert!(!refusals.reach(1, 0));
        refusals.note(1, 2);
        assert!(refusals.reach(1, 1), "made before the refusal of 2 was known");
        assert!(!refusals.reach(0, 0), "of another worker");
        assert!(!refusals.reach(1, 2), "whoever knows of it knows what else is refused");
    }

    const LEASE: &[u8] = b"gw-1";

    /// A committer of two workers.
    fn committer(store: &MemoryStore) -> Committer {
        let mailboxes = (0..2).map(|_| Arc::new(Mailbox::new(100))).collect();
        let metrics = Arc::clone(Metrics::new(2).process());
        let (tail, links) = (crate::tail::asks().0, None);
        let tables = Arc::default();
        Committer {
            writer: store.writer().unwrap(),
            limits: GroupLimits { messages: 100, bytes: 1_000_000 },
            listeners: Listeners { mailboxes, tail, links, tables, metrics },
            group: Group::default(),
            refusals: Refusals::default(),
            ended: None,
            outage: Outage::default(),
            pokes: Pokes::default(),
            began: Instant::now(),
        }
    }

    impl Committer {
        /// Commits these of two workers, as tickets and what was known, and says what each worker is told.
        fn group(&mut self, orders: [&[(Ticket, Ticket, Write)]; 2]) -> [String; 2] {
            for (worker, writes) in (0..).zip(orders) {
                let writes = writes.iter().cloned();
                let ordered = writes.map(|(ticket, known, write)| Ordered { ticket, known, write });
                self.group.add(Order::Worker(worker, ordered.collect()), &self.refusals);
            }
            self.commit();
            [0, 1].map(|worker| {
                let mut told = Vec::new();
                self.listeners.mailboxes[worker].take_awake(&mut told);
                told.into_iter().map(|mail| text(&mail)).collect()
            })
        }
    }

    fn text(mail: &Mail) -> String {
        let Mail::Answers(answers) = mail else { panic!("{mail:?}") };
        let word = |(ticket, answer): &(Ticket, Answer)| match answer {
            Answer::Committed(Outcome::Done { .. }, _) => format!("{ticket} done "),
            Answer::Committed(Outcome::Conflict { .. }, _) => format!("{ticket} lost "),
            Answer::Unavailable => format!("{ticket} refused "),
        };
        answers.iter().map(word).collect()
    }

    fn plain() -> Write {
        Write::default()
    }

    /// What is routed by a gateway whose fence was never raised.
    fn checked() -> Write {
        let check = crate::tail::fence_check(Bytes::from_static(LEASE), 0);
        Write { checks: vec![check], ..Write::default() }
    }

    /// Raises the fence of a gateway for the first time.
    fn raise(key: &'static [u8]) -> Write {
        let (space, expect) = (Space::Lease, Expect::Absent);
        let value = Some(Bytes::from_static(&[0, 0, 0, 0, 0, 0, 0, 1]));
        let mut write = Write::default();
        write.puts.push(Put { space, key: Bytes::from_static(key), value, expect, announce: true });
        write
    }

    #[test]
    fn one_refused_write_reaches_one_group_however_much_a_worker_writes() {
        let store = MemoryStore::new();
        let mut committer = committer(&store);
        store.writer().unwrap().commit(&[raise(LEASE)]).unwrap();
        let [fenced, other] = committer.group([&[(1, 0, checked())], &[(1, 0, plain())]]);
        assert_eq!((&*fenced, &*other), ("1 refused ", "1 done "));
        // What was on its way meanwhile; with the refusal its worker knew of it.
        let [unheard, other] =
            committer.group([&[(2, 0, plain()), (3, 0, plain())], &[(2, 0, plain())]]);
        assert_eq!((&*unheard, &*other), ("", "2 done "));
        let [taken, other] =
            committer.group([&[(4, 3, plain()), (5, 3, plain())], &[(3, 1, plain())]]);
        assert_eq!((&*taken, &*other), ("4 done 5 done ", "3 done "));
    }

    #[test]
    fn whoever_is_late_to_raise_the_fence_of_another_gateway_is_not_fenced() {
        let store = MemoryStore::new();
        let mut committer = committer(&store);
        store.writer().unwrap().commit(&[raise(b"gw-2")]).unwrap();
        let [late, _] = committer.group([&[(1, 0, raise(b"gw-2"))], &[]]);
        assert_eq!(late, "1 lost ");
        let [behind, _] = committer.group([&[(2, 0, checked())], &[]]);
        assert_eq!(behind, "2 done ");
    }
}
