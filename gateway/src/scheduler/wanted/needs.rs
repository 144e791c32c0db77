//! What hosts say they need: which work would meet it, and wanting it where policies say that nobody need be asked.

use maintenance::Ledger;
use maintenance::fleet::{Need, NeedKind};
use maintenance::operation::{Class, Due, OpKind};
use maintenance::policy::Needs;

use super::change::Acting;
use super::operations::{OperationDocument, OperationRequest};
use super::outcome::OperationState;
use crate::control::ControlError;
use crate::scheduler::thread::Scheduler;
use crate::scheduler::visits::View;

/// In whose name something is wanted that nobody asked for.
const BY: &str = "scheduler";

/// What would meet a need; none if only a person can say that.
pub const fn met_by(need: &Need) -> Option<OpKind> {
    match need.kind {
        NeedKind::Certificate => Some(OpKind::CertRotate),
        NeedKind::Restart => Some(OpKind::Restart),
        NeedKind::Reboot => Some(OpKind::Reboot),
        // To which version is not the host's to say.
        NeedKind::Upgrade => None,
    }
}

/// The pending operation that does this to a host.
pub fn pending<'d>(
    kind: &OpKind,
    host: &str,
    known: &'d [OperationDocument],
) -> Option<&'d OperationDocument> {
    known.iter().find(|it| {
        it.state == OperationState::Pending
            && it.operation.host.as_str() == host
            && it.operation.kind.name() == kind.name()
    })
}

/// What to want for a need. Named after it, so that it is wanted once.
pub fn request(host: &str, need: &Need, reason: &str) -> Option<OperationRequest> {
    let kind = met_by(need)?;
    let by = need.by.map_or(0, |by| by.0);
    Some(OperationRequest {
        id: Some(format!("need-{}-{host}-{by}", kind.name())),
        class: matches!(kind, OpKind::Restart).then_some(Class::Drain),
        kind,
        hosts: vec![host.to_owned()],
        selector: None,
        priority: 0,
        not_before_ms: None,
        deadline: need.by.map(|at| Due { at, hard: false }),
        depends_on: Vec::new(),
        estimate: None,
        canary: None,
        soak_ms: 0,
        failure_budget: 0,
        reason: reason.to_owned(),
    })
}

impl Scheduler {
    /// Wants what hosts need whose policies all say so. What was wanted for a need, whatever became of it, is not wanted again.
    pub(in crate::scheduler) fn meet_needs(
        &mut self,
        view: &View,
        ledger: &Ledger,
    ) -> Result<(), ControlError> {
        let law = view.law(ledger);
        let wanted = view.hosts.iter().flat_map(|host| {
            let answer = view.answers.get(&host.id);
            let fresh = answer.filter(|it| it.is_fresh(view.now, host.incarnation));
            let needs = fresh.map(|it| it.needs.as_slice()).unwrap_or_default();
            let auto = !needs.is_empty() && law.effective(host).needs.value == Needs::Auto;
            needs.iter().filter(move |_| auto).map(|need| (host.id.as_str(), need))
        });
        let wanted: Vec<_> = wanted.collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let known = self.documents.operations()?;
        for (host, need) in wanted {
            let Some(request) = request(host, need, &need.detail) else { continue };
            let named =
                |it: &OperationDocument| Some(it.operation.id.as_str()) == request.id.as_deref();
            if known.iter().any(named) || pending(&request.kind, host, &known).is_some() {
                continue;
            }
            let acting = Acting { by: BY, now: view.now, hosts: &view.hosts, most: self.most };
            self.documents.add_operations(&request, &acting)?;
        }
        Ok(())
    }
}
