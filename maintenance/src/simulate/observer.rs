//! Who sees the hosts as they are, and judges every step that takes one from its clients (P1 to P4, and P11 as far as room goes).

use crate::fleet::{Host, HostState};
use crate::ledger::{Allowed, Approval, Gate, GrantRules, Ledger};
use crate::policy::PolicySet;

/// Which of those who are away are so together although somebody said never (P3).
pub(super) fn away_together(away: &[&Host], policies: &PolicySet) -> Vec<String> {
    let mut wrong = Vec::new();
    for (place, host) in away.iter().enumerate().filter(|_| away.len() > 1) {
        for label in &policies.effective(host, &[]).never_together {
            let value = host.labels.get(&label.value);
            let same = |it: &&&Host| {
                it.id != host.id && value.is_some() && it.labels.get(&label.value) == value
            };
            // Each pair once, unless only the later one of them has the policy.
            if let Some(other) =
                away.iter().skip(place).find(same).or_else(|| away.iter().find(same))
            {
                let label = &label.value;
                wrong.push(format!("{} and {} of one {label} are away", host.id, other.id));
            }
        }
    }
    wrong
}

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
