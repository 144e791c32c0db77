//! What hosts say they need: which work would meet it, and wanting it where policies say that nobody need be asked.

use maintenance::Ledger;
use maintenance::fleet::{Need, NeedKind};
use maintenance::operation::{Class, Due, OpKind, OperationId};
use maintenance::policy::Needs;
use protocol::hash64;

use super::change::Acting;
use super::operations::OperationDocument;
use super::outcome::OperationState;
use super::request::OperationRequest;
use crate::control::ControlError;
use crate::scheduler::documents::Documents;
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
        id: Some(name(kind.name(), host, by)),
        class: matches!(kind, OpKind::Restart).then_some(Class::Drain),
        deadline: need.by.map(|at| Due { at, hard: false }),
        ..OperationRequest::new(kind, &[host], reason)
    })
}

/// The name of what is wanted for a need. Where the name of the host does not fit, its hash stands for it.
fn name(kind: &str, host: &str, by: u64) -> String {
    let name = format!("need-{kind}-{host}-{by}");
    match OperationId::new(&name) {
        Ok(_) => name,
        Err(_) => format!("need-{kind}-{:016x}-{by}", hash64(host.as_bytes())),
    }
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
        let acting = Acting { by: BY, now: view.now, hosts: &view.hosts, most: self.most };
        self.documents.want(&wanted, &acting)
    }
}

impl Documents {
    /// Wants what hosts need. What cannot be wanted for one of them, which is answered at the end, does not hold up the others.
    fn want(&mut self, wanted: &[(&str, &Need)], acting: &Acting<'_>) -> Result<(), ControlError> {
        let (known, mut all) = (self.operations()?, Ok(()));
        for (host, need) in wanted {
            let Some(request) = request(host, need, &need.detail) else { continue };
            let named =
                |it: &OperationDocument| Some(it.operation.id.as_str()) == request.id.as_deref();
            if known.iter().any(named) || pending(&request.kind, host, &known).is_some() {
                continue;
            }
            if let Err(why) = self.add_operations(&request, acting) {
                tracing::debug!("what {host} needs cannot be wanted: {why}");
                all = Err(why);
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use maintenance::{Host, HostState};
    use protocol::{GatewayId, Incarnation, Wall};

    use super::*;
    use crate::scheduler::documents::in_memory;

    #[test]
    fn a_host_with_a_long_name_has_its_needs_met_and_one_that_is_not_there_holds_up_nobody() {
        let long = "a-gateway-with-a-name-that-is-quite-long";
        let ids = [long, "gw-1"].map(|name| GatewayId::new(name).unwrap());
        let hosts = ids.map(|id| Host::new(id, Incarnation(1), HostState::Serving));
        let (now, by) = (Wall(1), Some(Wall(1_767_607_200_000)));
        let need = Need { kind: NeedKind::Certificate, by, detail: "it ends".to_owned() };
        let mut documents = in_memory();
        let acting = Acting { by: BY, now, hosts: &hosts, most: 10 };
        let wanted = ["gw-9", long, "gw-1"].map(|host| (host, &need));
        assert!(documents.want(&wanted, &acting).is_err(), "nobody knows gw-9");
        let mut known: Vec<String> = documents
            .operations()
            .unwrap()
            .iter()
            .map(|it| it.operation.host.to_string())
            .collect();
        known.sort();
        assert_eq!(known, [long, "gw-1"]);
        // Once is enough.
        documents.want(&wanted[1..], &acting).unwrap();
        assert_eq!(documents.operations().unwrap().len(), 2);
    }
}
