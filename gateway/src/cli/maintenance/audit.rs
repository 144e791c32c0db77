//! `maintenance audit`: who did what, when and why, and whether all of it is as it was written.

use std::io::Write;

use clap::Args;
use maintenance::audit::{AuditEntry, AuditHead, Broken, verify};
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
}

/// What is wrong with a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Wrong {
    #[error(transparent)]
    Broken(#[from] Broken),
    #[error("the chain ends with entry {last}, and entry {head} or another one should be the last")]
    End { last: u64, head: u64 },
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
    let (mut entries, mut after) = (Vec::new(), it.after);
    loop {
        let AuditPage { entries: more, head } = page(fleet, after)?;
        after = more.last().map_or(head.seq, |last| last.seq);
        entries.extend(more);
        if after >= head.seq {
            return print(
                &AuditPage { head, entries: entries.clone() },
                &rows(&entries),
                json,
                out,
            );
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
    let entries = check.entries;
    match found {
        Ok(head) if json => {
            writeln!(out, "{}", json!({"ok": true, "entries": entries, "head": head}))?;
            Ok(Exit::Done)
        }
        Ok(head) => {
            writeln!(out, "{entries} entries hold, up to {}", head.seq)?;
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
        Self { held: (after == 0).then(AuditHead::default), after, entries: 0 }
    }

    /// The last entry that was looked at.
    fn last(&self) -> u64 {
        self.held.map_or(self.after, |head| head.seq)
    }

    /// Looks at more of the chain. Whether that was all of it.
    fn look(&mut self, page: &AuditPage) -> Result<bool, Wrong> {
        let end = |last| Wrong::End { last, head: page.head.seq };
        let Some(first) = page.entries.first() else {
            // Where nothing lies behind, nothing is said of what lies before.
            let held = self.held.unwrap_or(page.head);
            return if held == page.head { Ok(true) } else { Err(end(self.last())) };
        };
        // Of a part it is believed that the entry before has the hash which the first one names.
        let before = AuditHead { seq: self.after, hash: first.prev };
        let held = verify(self.held.unwrap_or(before), &page.entries)?;
        self.held = Some(held);
        self.entries += page.entries.len() as u64;
        match held.seq.cmp(&page.head.seq) {
            std::cmp::Ordering::Less => Ok(false),
            std::cmp::Ordering::Equal if held == page.head => Ok(true),
            std::cmp::Ordering::Equal | std::cmp::Ordering::Greater => Err(end(held.seq)),
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
            let page = AuditPage { entries: behind.take(2).cloned().collect(), head };
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
