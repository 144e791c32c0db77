//! A host's own word before its visit begins: what it cannot do, what was said against visits of it, and what it sees itself.

use maintenance::audit::AuditRecord;
use maintenance::execution::{Event, Report};
use maintenance::fleet::Blocker;
use serde_json::json;

use super::document::VisitDocument;
use super::hands::{done, failed};
use crate::scheduler::acts::unavailable;
use crate::scheduler::host::blockers;
use crate::scheduler::thread::Scheduler;

impl Scheduler {
    /// Whether this host agrees to a visit that its scheduler has begun; none as long as it cannot be told. It is asked on the host,
    /// of what it sees now: whoever began the visit may have heard an older answer, or be cut off.
    pub(super) fn agrees(&mut self, document: &VisitDocument) -> Option<Report> {
        if let Some(code) = self.cannot(document) {
            return Some(failed(&code));
        }
        let now = self.shared.now().wall;
        if document.is_despite(now) {
            return Some(done());
        }
        let mut all = blockers(self.measure(self.state.get()));
        let said = self.documents.blockers_said(now).map_err(unavailable);
        let policies = said.and_then(|said| Ok((said, self.documents.policy_set()?)));
        let unread = |why: &_| tracing::debug!("what speaks against visits cannot be read: {why}");
        let (said, policies) = policies.inspect_err(unread).ok()?;
        all.extend(said.of(&self.id));
        let yields_to = policies.effective(&self.own_host(), &[]).soft_yields_to.value;
        let declined = document.planned.visit.declined_by(&all, yields_to, now);
        Some(declined.map_or_else(done, |Blocker { code, until, .. }| Report::Declined {
            code: code.clone(),
            until: *until,
        }))
    }

    /// What the audit is told of a host that does not agree.
    pub(super) fn told_of_declined(
        &self,
        event: &Event,
        document: &VisitDocument,
        by: &str,
    ) -> Option<AuditRecord> {
        let Event::Report { what: Report::Declined { code, until }, .. } = event else {
            return None;
        };
        Some(AuditRecord {
            at: self.shared.now().wall,
            actor: by.to_owned(),
            action: "visit.declined".to_owned(),
            object: format!("visit {}", document.execution.visit()),
            before: None,
            after: Some(json!({ "code": code, "until_ms": until.map(|until| until.0) })),
            reason: format!("the gateway declines: {code}"),
        })
    }
}
