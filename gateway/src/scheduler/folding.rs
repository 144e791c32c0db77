//! The audit is kept within its limit: its oldest entries are folded behind a checkpoint, by the scheduler alone.

use maintenance::audit::{AuditEntry, Checkpoint};
use store::{Expect, Rev};

use super::acts::{AUDIT, entry_key, unavailable};
use super::documents::{DocumentError, Documents};
use super::thread::Scheduler;
use super::visits::VisitDocument;
use crate::control::ControlError;

/// Where the checkpoint stands.
const CHECKPOINT: &str = "audit-checkpoint";
/// Entries that are folded in one write.
const FOLD: u64 = 256;

impl Scheduler {
    /// Folds the oldest entries of the audit while there are more than it keeps, some in each look, and shows how many there are.
    pub(super) fn fold_audit(&mut self) -> Result<(), ControlError> {
        let counters = self.metrics.process();
        let now = self.shared.now();
        if self.watch.held(now.mono).is_none() {
            counters.audit_entries.set(0);
            return Ok(());
        }
        let by = format!("scheduler {}", self.id);
        let (kept, folded) = self.documents.fold_audit(self.audit_entries, (&by, now.wall))?;
        counters.audit_entries.set(kept);
        counters.audit_folded.add(folded);
        Ok(())
    }
}

impl Documents {
    /// What stands for the oldest entries of the audit; the default if all of them are there.
    pub(super) fn checkpoint(&mut self) -> Result<(Checkpoint, Option<Rev>), ControlError> {
        let stored = self.get::<Checkpoint>(CHECKPOINT).map_err(unavailable)?;
        let (checkpoint, rev) = stored.unzip();
        Ok((checkpoint.unwrap_or_default(), rev))
    }

    /// The number of the oldest entry that is kept, or of the first there will be, by its key alone: what stands for those before
    /// it may be large.
    fn oldest_entry(&mut self) -> Result<u64, ControlError> {
        let key = self.first_key(AUDIT).map_err(unavailable)?;
        Ok(key.and_then(|key| key.strip_prefix(AUDIT)?.parse().ok()).unwrap_or(1))
    }

    /// If there are more than `most` entries, folds some, and a sixteenth of them beyond that, since each folding is told in an entry
    /// of its own: the checkpoint, that entry and the end of those that are folded are one write. Answers how many there were, and how
    /// many of them are folded.
    ///
    /// # Errors
    /// [`ControlError::Unavailable`] if the store does not answer, or the entries do not hold: then nothing is folded.
    fn fold_audit(
        &mut self,
        most: u64,
        (by, now): (&str, protocol::Wall),
    ) -> Result<(u64, u64), ControlError> {
        let (head, _) = self.audit_head()?;
        let kept = head.seq.saturating_sub(self.oldest_entry()?.saturating_sub(1));
        if kept <= most {
            return Ok((kept, 0));
        }
        let (checkpoint, rev) = self.checkpoint()?;
        let many = (kept - most).saturating_add(most / 16).clamp(1, FOLD);
        let page = usize::try_from(many).unwrap_or(usize::MAX);
        let entries = self.page::<AuditEntry>(AUDIT, &entry_key(checkpoint.head.seq), page);
        let entries = entries.map_err(unavailable)?;
        let (remembered, unread) =
            self.with_unread::<VisitDocument>(VisitDocument::PREFIX).map_err(unavailable)?;
        let next = checkpoint.fold(&entries, |visit| {
            remembered.iter().any(|it| it.execution.visit() == visit)
                || unread.iter().any(|(key, _)| *key == VisitDocument::key(visit))
        });
        let next = next.map_err(|why| {
            ControlError::Unavailable(format!("the audit is not folded, and grows: {why}"))
        })?;
        let reason = format!("there are more than {most} entries");
        let mut puts = self.told(vec![next.record(now, by, &reason)])?;
        let expect = rev.map_or(Expect::Absent, Expect::Rev);
        puts.push(Self::put_of(CHECKPOINT, &next, expect).map_err(unavailable)?);
        puts.extend(entries.iter().map(|entry| Self::delete_of(&entry_key(entry.seq))));
        match self.write(puts) {
            Ok(()) => Ok((kept, next.head.seq - checkpoint.head.seq)),
            // Somebody else told something: the next look folds.
            Err(DocumentError::Conflict { .. }) => Ok((kept, 0)),
            Err(error) => Err(unavailable(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use maintenance::audit::{AuditRecord, verify};
    use protocol::Wall;

    use super::*;
    use crate::scheduler::documents::in_memory;

    fn tell(documents: &mut Documents, n: u64) {
        let record = AuditRecord {
            at: Wall(n),
            actor: "ada".to_owned(),
            action: "freeze.added".to_owned(),
            object: format!("freeze f-{n}"),
            before: None,
            after: None,
            reason: "launch".to_owned(),
        };
        let puts = documents.told(vec![record]).unwrap();
        documents.write(puts).unwrap();
    }

    #[test]
    fn the_audit_never_keeps_more_than_its_limit_for_long_and_holds_from_its_checkpoint() {
        let mut documents = in_memory();
        let mut folded = 0;
        for n in 1..=200 {
            tell(&mut documents, n);
            let (kept, more) = documents.fold_audit(32, ("gw-1", Wall(n))).unwrap();
            folded += more;
            assert!(kept <= 33, "{kept}");
        }
        let page = documents.audit(0, 1_000).unwrap();
        let checkpoint = page.checkpoint.unwrap();
        assert_eq!(checkpoint.head.seq, folded);
        assert_eq!(page.head.seq, folded + page.entries.len() as u64);
        assert_eq!(verify(checkpoint.head, &page.entries), Ok(page.head));
        checkpoint.check(&page.entries).unwrap();
        let later = documents.audit(checkpoint.head.seq + 3, 2).unwrap();
        assert_eq!((later.checkpoint, later.entries[0].seq), (None, checkpoint.head.seq + 4));
        assert_eq!(later.entries.len(), 2);
    }

    #[test]
    fn entries_that_were_changed_are_not_folded() {
        let mut documents = in_memory();
        (1..=8).for_each(|n| tell(&mut documents, n));
        let mut entry = documents.audit(0, 1).unwrap().entries.remove(0);
        entry.record.actor = "eve".to_owned();
        documents.put(&entry_key(1), &entry, Expect::Any).unwrap();
        let why = documents.fold_audit(4, ("gw-1", Wall(9))).unwrap_err();
        assert!(why.to_string().contains("entry 1 was changed"), "{why}");
        assert_eq!(documents.audit(0, 100).unwrap().entries.len(), 8);
    }
}
