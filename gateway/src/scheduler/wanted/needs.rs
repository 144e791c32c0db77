//! What hosts say they need: which work would meet it, and wanting it where policies say that nobody need be asked.

use maintenance::Ledger;
use maintenance::fleet::{Need, NeedKind};
use maintenance::operation::{Class, Due, OpKind, OperationId};
use maintenance::policy::Needs;
use protocol::{Incarnation, hash64};

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

/// What would meet a need.
pub const fn met_by(need: &Need) -> OpKind {
    match need.kind {
        NeedKind::Certificate => OpKind::CertRotate,
        NeedKind::Reboot => OpKind::Reboot,
        // The other program is installed already: all that is left is to start it.
        NeedKind::Restart | NeedKind::Upgrade => OpKind::Restart,
    }
}

/// The pending operation that meets a need of a host, whoever wants it and for whatever reason.
pub fn pending<'d>(
    need: &Need,
    host: &str,
    known: &'d [OperationDocument],
) -> Option<&'d OperationDocument> {
    known.iter().find(|it| {
        it.state == OperationState::Pending
            && it.operation.host.as_str() == host
            && meets(&it.operation.kind, need.kind)
    })
}

/// Whether a host does not need that any more once this was done to it.
const fn meets(kind: &OpKind, need: NeedKind) -> bool {
    match (need, kind) {
        (NeedKind::Certificate, OpKind::CertRotate) | (NeedKind::Reboot, OpKind::Reboot) => true,
        // After all of these another process runs.
        (
            NeedKind::Restart | NeedKind::Upgrade,
            OpKind::Restart | OpKind::Upgrade { .. } | OpKind::Reboot,
        ) => true,
        (
            NeedKind::Certificate | NeedKind::Restart | NeedKind::Upgrade | NeedKind::Reboot,
            OpKind::DrainOnly { .. }
            | OpKind::Restart
            | OpKind::CertRotate
            | OpKind::ConfigChange { .. }
            | OpKind::Upgrade { .. }
            | OpKind::Reboot
            | OpKind::Hook { .. },
        ) => false,
    }
}

/// What to want for a need of one life of a host. Named after it, so that it is wanted once.
pub fn request((host, life): (&str, Incarnation), need: &Need, reason: &str) -> OperationRequest {
    let kind = met_by(need);
    OperationRequest {
        id: Some(name(kind.name(), host, which(life, need))),
        class: matches!(kind, OpKind::Restart).then_some(Class::Drain),
        deadline: need.by.map(|at| Due { at, hard: false }),
        ..OperationRequest::new(kind, &[host], reason)
    }
}

/// Which need of its kind it is. One without an end is known by what it says, and if another life of the process does not have it,
/// by the life that does.
fn which(life: Incarnation, need: &Need) -> u64 {
    let of_life = match need.kind {
        NeedKind::Restart | NeedKind::Upgrade => life.0,
        NeedKind::Certificate | NeedKind::Reboot => 0,
    };
    let said = || hash64(format!("{of_life} {}", need.detail).as_bytes());
    need.by.map_or_else(said, |by| by.0)
}

/// The name of what is wanted for a need. Where the name of the host does not fit, its hash stands for it.
fn name(kind: &str, host: &str, which: u64) -> String {
    let name = format!("need-{kind}-{host}-{which}");
    match OperationId::new(&name) {
        Ok(_) => name,
        Err(_) => format!("need-{kind}-{:016x}-{which}", hash64(host.as_bytes())),
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
            let life = (host.id.as_str(), host.incarnation);
            needs.iter().filter(move |_| auto).map(move |need| (life, need))
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
    fn want(
        &mut self,
        wanted: &[((&str, Incarnation), &Need)],
        acting: &Acting<'_>,
    ) -> Result<(), ControlError> {
        let (mut known, mut all) = (self.operations()?, Ok(()));
        for ((host, life), need) in wanted {
            let request = request((host, *life), need, &need.detail);
            let named =
                |it: &OperationDocument| Some(it.operation.id.as_str()) == request.id.as_deref();
            if known.iter().any(named) || pending(need, host, &known).is_some() {
                continue;
            }
            match self.add_operations(&request, acting) {
                // It may meet another need of the same host, too.
                Ok(added) => known.extend(added),
                Err(why) => {
                    tracing::debug!("what {host} needs cannot be wanted: {why}");
                    all = Err(why);
                }
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use maintenance::{Host, HostState};
    use protocol::{GatewayId, Wall};

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
        let wanted = ["gw-9", long, "gw-1"].map(|host| ((host, Incarnation(1)), &need));
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

    #[test]
    fn one_restart_meets_all_that_a_restart_can_and_another_need_is_wanted_anew() {
        let host = GatewayId::new("gw-1").unwrap();
        let hosts = [Host::new(host, Incarnation(1), HostState::Serving)];
        let need = |kind, detail: &str| Need { kind, by: None, detail: detail.to_owned() };
        let needs = [
            need(NeedKind::Upgrade, "another program"),
            need(NeedKind::Restart, "settings"),
            need(NeedKind::Reboot, "since noon"),
        ];
        let mut documents = in_memory();
        let acting = Acting { by: BY, now: Wall(1), hosts: &hosts, most: 10 };
        let mut wanted = |life, needs: &[Need]| {
            let all: Vec<_> =
                needs.iter().map(|need| (("gw-1", Incarnation(life)), need)).collect();
            documents.want(&all, &acting).unwrap();
            let known = documents.operations().unwrap();
            let mut kinds: Vec<_> = known.iter().map(|it| it.operation.kind.name()).collect();
            kinds.sort_unstable();
            kinds
        };
        assert_eq!(wanted(1, &needs[..2]), ["restart"], "the program and the settings");
        assert_eq!(wanted(1, &needs), ["reboot", "restart"]);
        assert_eq!(wanted(1, &needs), ["reboot", "restart"], "once is enough");
        // A need is the same one or it is not.
        let (upgrade, reboot) = (&needs[0], &needs[2]);
        let later = need(NeedKind::Reboot, "since one");
        assert_ne!(which(Incarnation(1), upgrade), which(Incarnation(2), upgrade));
        assert_eq!(which(Incarnation(1), reboot), which(Incarnation(2), reboot));
        assert_ne!(which(Incarnation(1), reboot), which(Incarnation(1), &later));
    }
}
