//! Who sees the hosts as they are, and judges every step that takes one from its clients (P1 to P4).

use crate::fleet::{Host, HostState};
use crate::ledger::{Allowed, Approval, Gate, GrantRules, Ledger};

/// What is wrong with taking a host from its clients now.
pub(super) fn judge(
    host: &Host,
    hosts: &[Host],
    ledger: &Ledger,
    rules: &GrantRules,
) -> Vec<String> {
    let mut wrong = Vec::new();
    for rule in &rules.domains {
        let of = hosts.iter().filter(|it| rule.domain.contains(it));
        let serving = |it: &&Host| it.id != host.id && it.state == HostState::Serving;
        let serving = of.clone().filter(serving).count();
        if serving < rule.min_available {
            let (kind, least) = (rule.domain.kind(), rule.min_available);
            wrong.push(format!("{} goes, and {serving} of its {kind} serve, not {least}", host.id));
        }
        let held = of.filter(|it| ledger.slot(&it.id).is_some()).count();
        if held > rule.max_concurrent {
            let (kind, most) = (rule.domain.kind(), rule.max_concurrent);
            wrong.push(format!("{held} of the {kind} of {} are visited, not {most}", host.id));
        }
    }
    for label in &rules.never_together {
        let same = |it: &&Host| {
            it.id != host.id
                && it.labels.contains_key(label)
                && it.labels.get(label) == host.labels.get(label)
                && ledger.slot(&it.id).is_some()
        };
        if let Some(other) = hosts.iter().find(same) {
            wrong.push(format!("{} and {} of one {label} are visited", host.id, other.id));
        }
    }
    let open = rules.gate == Gate::Open && rules.allowed != Allowed::Never;
    if !open || matches!(rules.approval, Approval::Missing { .. }) {
        wrong.push(format!("{} goes though nothing allows it now", host.id));
    }
    wrong
}
