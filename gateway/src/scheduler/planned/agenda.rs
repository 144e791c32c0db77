//! What calendars of others show of visits: kept by the scheduler beside the plan.

use std::collections::BTreeMap;

use maintenance::execution::Stage;
use maintenance::fleet::VisitId;
use maintenance::planner::{Agenda, Fate};
use store::Expect;

use crate::control::ControlError;
use crate::scheduler::acts::unavailable;
use crate::scheduler::documents::{DocumentError, Documents};
use crate::scheduler::thread::Scheduler;
use crate::scheduler::visits::VisitDocument;

/// Where it stands.
const AGENDA: &str = "agenda";

impl Documents {
    /// What calendars of others show; nothing if nothing was ever planned.
    pub(in crate::scheduler) fn agenda(&mut self) -> Result<Agenda, ControlError> {
        let stored = self.get::<Agenda>(AGENDA).map_err(unavailable)?;
        Ok(stored.map(|(agenda, _)| agenda).unwrap_or_default())
    }
}

impl Scheduler {
    /// Keeps the agenda if this gateway is the scheduler, and the plan or anything that the audit tells is another than when it
    /// was looked at last.
    pub(in crate::scheduler) fn keep_agenda(&mut self) -> Result<(), ControlError> {
        let now = self.shared.now();
        if self.watch.held(now.mono).is_none() {
            return Ok(());
        }
        let revision = self.documents.plan_news()?.map_or(0, |news| news.revision);
        let seen = Some((self.documents.audit_head()?.0.seq, revision));
        if self.planning.noted == seen {
            return Ok(());
        }
        if let Some(plan) = self.published()? {
            let visits = self.documents.all::<VisitDocument>(VisitDocument::PREFIX);
            let visits = visits.map_err(unavailable)?;
            let fates: BTreeMap<VisitId, Fate> =
                visits.iter().map(|it| (it.execution.visit().clone(), fate(it))).collect();
            let fate = |visit: &VisitId| fates.get(visit).copied().unwrap_or(Fate::Waits);
            let stored = self.documents.get::<Agenda>(AGENDA).map_err(unavailable)?;
            let (old, rev) = stored.unzip();
            let old = old.unwrap_or_default();
            let new = old.follow(&plan, fate, now.wall);
            if new != old {
                let expect = rev.map_or(Expect::Absent, Expect::Rev);
                match self.documents.put(AGENDA, &new, expect) {
                    Ok(()) => {}
                    // Another one is the scheduler now: it goes on.
                    Err(DocumentError::Conflict { .. }) => return Ok(()),
                    Err(error) => return Err(unavailable(error)),
                }
            }
        }
        self.planning.noted = seen;
        Ok(())
    }
}

/// What calendars need to know of a visit. One that was called off is as one that never began, and what was left out begins anew.
fn fate(document: &VisitDocument) -> Fate {
    let execution = &document.execution;
    match execution.stage() {
        Stage::Done if !document.left_out().is_empty() => Fate::Waits,
        Stage::Done | Stage::Failed { .. } | Stage::WrittenOff => Fate::Ended,
        Stage::Cancelled | Stage::Planned | Stage::Approved => Fate::Waits,
        Stage::Going(_) | Stage::NeedsOperator { .. } => {
            if execution.epoch().is_some() {
                Fate::Begun
            } else {
                Fate::Waits
            }
        }
    }
}
