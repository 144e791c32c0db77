//! How far this process and its peers are.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use protocol::LogSeq;

use crate::commit::Progress;
use crate::worker::{Mail, Mailbox};

/// How far this process and its peers are, for SUBACKs that wait.
#[derive(Debug)]
pub struct Frontier {
    /// The interest that every live peer knows.
    interest: AtomicU64,
    /// The log that every live peer has applied.
    poked: AtomicU64,
    /// Until when it is known well enough who the live peers are, in microseconds of this process's life.
    good_until: AtomicU64,
    /// The log that this process has applied.
    applied: AtomicU64,
    /// The log that peers have said to be there, and want to hear of when it is applied.
    poked_for: AtomicU64,
    /// Of that as much as the links were told is applied.
    answered: AtomicU64,
    /// Forwards that some peer has not acknowledged.
    unacknowledged: AtomicU64,
    /// Workers that want to hear of changes.
    waiting: Vec<AtomicBool>,
    mailboxes: Vec<Arc<Mailbox>>,
}

impl Frontier {
    /// Nothing applied, no peers.
    pub fn new(mailboxes: Vec<Arc<Mailbox>>) -> Self {
        Self {
            interest: AtomicU64::new(u64::MAX),
            poked: AtomicU64::new(u64::MAX),
            good_until: AtomicU64::new(u64::MAX),
            applied: AtomicU64::new(0),
            poked_for: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            unacknowledged: AtomicU64::new(0),
            waiting: mailboxes.iter().map(|_| AtomicBool::new(false)).collect(),
            mailboxes,
        }
    }

    /// How far everyone is.
    pub fn progress(&self) -> Progress {
        // First: what else is read is at least as new.
        let good_until = Duration::from_micros(self.good_until.load(Ordering::SeqCst));
        let seq = self.poked.load(Ordering::SeqCst).min(self.applied.load(Ordering::SeqCst));
        let interest = self.interest.load(Ordering::SeqCst);
        Progress { interest, seq: LogSeq(seq), good_until }
    }

    /// The log that this process has applied.
    pub fn applied(&self) -> LogSeq {
        LogSeq(self.applied.load(Ordering::SeqCst))
    }

    /// This process has applied more.
    pub fn set_applied(&self, seq: LogSeq) {
        self.applied.store(seq.0, Ordering::SeqCst);
        self.tell();
    }

    /// A peer has said that the log is as long as this, and waits until it is applied here; to be said before the follower is told
    /// to look.
    pub fn note_poke(&self, seq: LogSeq) {
        self.poked_for.fetch_max(seq.0, Ordering::SeqCst);
    }

    /// How much of the log is applied, if a peer may wait to hear of more than was answered last. Asked by the follower's thread alone.
    pub fn answer(&self) -> Option<LogSeq> {
        let answered = self.answered.load(Ordering::SeqCst);
        let applied = self.applied();
        let is_owed = self.poked_for.load(Ordering::SeqCst) > answered && applied.0 > answered;
        is_owed.then(|| {
            self.answered.store(applied.0, Ordering::SeqCst);
            applied
        })
    }

    /// So many forwards are not acknowledged by some peer. Whoever wants to know looks: it changes with every few forwards.
    pub fn set_unacknowledged(&self, count: u64) {
        self.unacknowledged.store(count, Ordering::Relaxed);
    }

    /// How many forwards some peer has not acknowledged.
    pub fn unacknowledged(&self) -> u64 {
        self.unacknowledged.load(Ordering::Relaxed)
    }

    /// The peers know more.
    pub fn set_peers(&self, interest: u64, poked: LogSeq, good_until: Duration) {
        self.interest.store(interest, Ordering::SeqCst);
        self.poked.store(poked.0, Ordering::SeqCst);
        self.set_good_until(good_until);
        self.tell();
    }

    /// There are no peers that anybody could wait for.
    pub fn set_alone(&self, good_until: Duration) {
        self.set_good_until(good_until);
        self.tell();
    }

    fn set_good_until(&self, at: Duration) {
        let at = u64::try_from(at.as_micros()).unwrap_or(u64::MAX);
        self.good_until.store(at, Ordering::SeqCst);
    }

    /// A worker wants to hear of the next change; it looks at [`Self::progress`] after this.
    pub fn wait(&self, worker: usize) {
        if let Some(waiting) = self.waiting.get(worker) {
            waiting.store(true, Ordering::SeqCst);
        }
    }

    /// The workers.
    pub(super) fn mailboxes(&self) -> &[Arc<Mailbox>] {
        &self.mailboxes
    }

    fn tell(&self) {
        for (waiting, mailbox) in self.waiting.iter().zip(&self.mailboxes) {
            if waiting.swap(false, Ordering::SeqCst) {
                mailbox.send(Mail::Progress(self.progress()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_counts_as_read_as_far_as_the_peers_and_this_gateway_have_read_it() {
        let frontier = Frontier::new(Vec::new());
        frontier.set_peers(3, LogSeq(9), Duration::MAX);
        for (applied, seq) in [(0, 0), (4, 4), (9, 9), (12, 9)] {
            frontier.set_applied(LogSeq(applied));
            assert_eq!(frontier.progress().seq, LogSeq(seq));
        }
    }

    #[test]
    fn peers_are_answered_when_they_have_poked_and_not_for_every_commit() {
        let frontier = Frontier::new(Vec::new());
        frontier.set_applied(LogSeq(5));
        assert_eq!(frontier.answer(), None, "nobody has asked");
        frontier.note_poke(LogSeq(4));
        assert_eq!(frontier.answer(), Some(LogSeq(5)), "it was applied already");
        frontier.note_poke(LogSeq(5));
        frontier.set_applied(LogSeq(6));
        assert_eq!(frontier.answer(), None, "they know of all that they asked about");
        frontier.note_poke(LogSeq(9));
        assert_eq!(
            frontier.answer(),
            Some(LogSeq(6)),
            "partial progress may be all that somebody waits for"
        );
        assert_eq!(frontier.answer(), None);
        for (applied, answer) in [(8, Some(8)), (9, Some(9)), (10, None)] {
            frontier.set_applied(LogSeq(applied));
            assert_eq!(frontier.answer(), answer.map(LogSeq));
        }
    }
}
