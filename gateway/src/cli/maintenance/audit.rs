//! `maintenance audit`: who did what, when and why, and whether all of it is as it was written.

use std::io::Write;

use clap::Args;
use maintenance::audit::{AuditEntry, AuditHead, Broken, Checkpoint, verify};
use serde_json::json;

use super::fleet::{Fleet, path, print, utc};
use crate::cli::exit::{Exit, Failure};
use crate::scheduler::AuditPage;

/// Arguments of `maintenance audit`.
#[derive(Debug, Clone, Args)]
pub struct AuditArguments {
    /// Only entries behind this number; all of them when absent.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub after: u64,
    /// Look whether each entry follows the one before and is as it was written, and print no entries; exit code 6 if not.
    #[arg(long)]
    pub verify: bool,
}

/// Entries that are asked for at once: each may hold policies as they were and as they are.
const PAGE: usize = 100;

/// A chain that is looked at page by page.
struct Check {
    /// Where it holds up to; none before the first entry of a part of the chain.
    held: Option<AuditHead>,
    after: u64,
    entries: u64,
    /// What stands for entries that are folded, until an entry was found that tells of it as it is.
    folded: Option<Checkpoint>,
    begins: u64,
}

/// What is wrong with a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Wrong {
    #[error(transparent)]
    Broken(#[from] Broken),
    #[error("the chain ends with entry {last}, and entry {head} or another one should be the last")]
    End { last: u64, head: u64 },
    #[error("no entry tells of the checkpoint at entry {seq} as it is")]
    Checkpoint { seq: u64 },
}

pub(super) fn run(
    fleet: &Fleet,
    it: &AuditArguments,
    json: bool,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    if it.verify {
        return check(fleet, it.after, json, out);
    }
    let (mut entries, mut after, mut begin) = (Vec::new(), it.after, None);
    loop {
        let AuditPage { entries: more, head, checkpoint } = page(fleet, after)?;
        begin = begin.or(checkpoint);
        after = more.last().map_or(head.seq, |last| last.seq);
        entries.extend(more);
        if after >= head.seq {
            let rows = rows(&entries);
            return print(&AuditPage { head, entries, checkpoint: begin }, &rows, json, out);
        }
    }
}

fn page(fleet: &Fleet, after: u64) -> Result<AuditPage, Failure> {
    let path = format!("{}?after={after}&max={PAGE}", path(&["audit"]));
    fleet.ask(async |api| api.get(&path).await)
}

/// Tells whether the chain holds; what is added meanwhile is looked at, too.
fn check(fleet: &Fleet, after: u64, json: bool, out: &mut dyn Write) -> Result<Exit, Failure> {
    let mut check = Check::behind(after);
    let found = loop {
        let page = page(fleet, check.last())?;
        match check.look(&page) {
            Ok(true) => break Ok(page.head),
            Ok(false) => {}
            Err(wrong) => break Err(wrong),
        }
    };
    let (entries, folded) = (check.entries, check.begins);
    match found {
        Ok(head) if json => {
            let told = json!({"ok": true, "entries": entries, "folded": folded, "head": head});
            writeln!(out, "{told}")?;
            Ok(Exit::Done)
        }
        Ok(head) => {
            let behind = match folded {
                0 => String::new(),
                folded => format!(", behind the checkpoint of the {folded} before"),
            };
            writeln!(out, "{entries} entries hold, up to {}{behind}", head.seq)?;
            Ok(Exit::Done)
        }
        Err(wrong) => {
            if json {
                let broken = wrong.to_string();
                writeln!(out, "{}", json!({"ok": false, "entries": entries, "broken": broken}))?;
            }
            Err(Failure { exit: Exit::Damaged, message: format!("the audit is broken: {wrong}") })
        }
    }
}

impl Check {
    fn behind(after: u64) -> Self {
        let held = (after == 0).then(AuditHead::default);
        Self { held, after, entries: 0, folded: None, begins: 0 }
    }

    /// The last entry that was looked at.
    fn last(&self) -> u64 {
        self.held.map_or(self.after, |head| head.seq)
    }

    /// Looks at more of the chain. Whether that was all of it.
    fn look(&mut self, page: &AuditPage) -> Result<bool, Wrong> {
        let end = |last| Wrong::End { last, head: page.head.seq };
        if let Some(checkpoint) = &page.checkpoint {
            // What was looked at before is folded since then, or some was never there to be looked at.
            (self.held, self.begins) = (Some(checkpoint.head), checkpoint.head.seq);
            self.folded = Some(checkpoint.clone());
        }
        if self.folded.as_ref().is_some_and(|it| it.check(&page.entries).is_ok()) {
            self.folded = None;
        }
        let Some(first) = page.entries.first() else {
            // Where nothing lies behind, nothing is said of what lies before.
            let held = self.held.unwrap_or(page.head);
            return if held == page.head { self.whole() } else { Err(end(self.last())) };
        };
        // Of a part it is believed that the entry before has the hash which the first one names.
        let before = AuditHead { seq: self.after, hash: first.prev };
        let held = verify(self.held.unwrap_or(before), &page.entries)?;
        self.held = Some(held);
        self.entries += page.entries.len() as u64;
        match held.seq.cmp(&page.head.seq) {
            std::cmp::Ordering::Less => Ok(false),
            std::cmp::Ordering::Equal if held == page.head => self.whole(),
            std::cmp::Ordering::Equal | std::cmp::Ordering::Greater => Err(end(held.seq)),
        }
    }

    /// It was all of the chain, if that tells of the checkpoint that it begins with.
    fn whole(&self) -> Result<bool, Wrong> {
        match &self.folded {
            Some(checkpoint) => Err(Wrong::Checkpoint { seq: checkpoint.head.seq }),
            None => Ok(true),
        }
    }
}

fn rows(entries: &[AuditEntry]) -> Vec<Vec<String>> {
    let mut rows = vec![["entry", "at", "by", "what", "of", "reason"].map(str::to_owned).to_vec()];
    rows.extend(entries.iter().map(|AuditEntry { seq, record, .. }| {
        let (at, by) = (utc(record.at.0), record.actor.clone());
        let (what, of) = (record.action.clone(), record.object.clone());
        vec![seq.to_string(), at, by, what, of, record.reason.clone()]
    }));
    rows
}

#[cfg(test)]
mod tests {
    use maintenance::audit::AuditRecord;
    use protocol::Wall;

    use super::*;

    fn chain(entries: u64) -> (Vec<AuditEntry>, AuditHead) {
        let mut head = AuditHead::default();
        let record = |n| AuditRecord {
            at: Wall(n),
            actor: "ada".to_owned(),
            action: "freeze.added".to_owned(),
            object: format!("freeze f-{n}"),
            before: None,
            after: None,
            reason: "launch".to_owned(),
        };
        let entries = (1..=entries).map(|n| head.append(record(n)).unwrap()).collect();
        (entries, head)
    }

    /// Looks at all of it in pages of two.
    fn looked(entries: &[AuditEntry], head: AuditHead, after: u64) -> Result<u64, Wrong> {
        let mut check = Check::behind(after);
        loop {
            let behind = entries.iter().filter(|it| it.seq > check.last());
            let page =
                AuditPage { entries: behind.take(2).cloned().collect(), head, checkpoint: None };
            if check.look(&page)? {
                return Ok(check.entries);
            }
        }
    }

    #[test]
    fn a_chain_holds_from_its_begin_and_from_any_entry_on() {
        let (entries, head) = chain(5);
        for (after, expected) in [(0, 5), (2, 3), (5, 0)] {
            assert_eq!(looked(&entries, head, after), Ok(expected));
        }
        assert_eq!(looked(&[], AuditHead::default(), 0), Ok(0));
    }

    #[test]
    fn a_chain_holds_from_its_checkpoint_if_an_entry_tells_of_that_as_it_is() {
        let (mut entries, mut head) = chain(6);
        let rest = entries.split_off(4);
        let checkpoint = Checkpoint::default().fold(&entries, |_| false).unwrap();
        let told = head.append(checkpoint.record(Wall(9), "scheduler gw-1", "full")).unwrap();
        let entries: Vec<_> = rest.into_iter().chain([told]).collect();
        let looked = |checkpoint: &Checkpoint, entries: &[AuditEntry]| {
            let mut check = Check::behind(0);
            let mut pages = entries.chunks(2).enumerate();
            loop {
                let (nth, page) = pages.next().unwrap_or((9, &[]));
                let checkpoint = (nth == 0).then(|| checkpoint.clone());
                let page = AuditPage { entries: page.to_vec(), head, checkpoint };
                if check.look(&page)? {
                    return Ok((check.entries, check.begins));
                }
            }
        };
        assert_eq!(looked(&checkpoint, &entries), Ok((3, 4)));
        let mut forged = checkpoint.clone();
        forged.at = Wall(77);
        assert_eq!(looked(&forged, &entries), Err(Wrong::Checkpoint { seq: 4 }));
        assert_eq!(
            looked(&checkpoint, &entries[1..]),
            Err(Broken::Gap { seq: 6, expected: 5 }.into())
        );
    }

    #[test]
    fn whatever_was_changed_taken_out_or_cut_off_is_found() {
        let (entries, head) = chain(5);
        let mut changed = entries.clone();
        changed[3].record.actor = "eve".to_owned();
        assert_eq!(looked(&changed, head, 0), Err(Broken::Changed { seq: 4 }.into()));
        let mut gap = entries.clone();
        gap.remove(2);
        assert_eq!(looked(&gap, head, 0), Err(Broken::Gap { seq: 4, expected: 3 }.into()));
        assert_eq!(looked(&entries[..4], head, 0), Err(Wrong::End { last: 4, head: 5 }));
        assert_eq!(looked(&[], head, 0), Err(Wrong::End { last: 0, head: 5 }));
        // All of it written anew, but for the head.
        let (mut other, _) = chain(5);
        let mut forged = AuditHead::default();
        other[0].record.actor = "eve".to_owned();
        let other: Vec<_> = other.into_iter().map(|it| forged.append(it.record).unwrap()).collect();
        assert_eq!(looked(&other, head, 0), Err(Wrong::End { last: 5, head: 5 }));
    }
}
