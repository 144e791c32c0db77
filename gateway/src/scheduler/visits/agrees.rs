//! A host's own word before its visit begins: what it cannot do, what was said against visits of it, and what it sees itself.

use maintenance::execution::Report;
use maintenance::fleet::{Blocker, Preferred};
use maintenance::operation::Visit;
use protocol::Wall;
use serde_json::{Value, json};

use super::document::VisitDocument;
use super::hands::{done, failed};
use crate::scheduler::acts::unavailable;
use crate::scheduler::host::blockers;
use crate::scheduler::thread::Scheduler;

/// What a host says that would rather be visited at another time.
const COUNTER: &str = "prefers_other_time";

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
        if let Some(Blocker { code, until, .. }) =
            document.planned.visit.declined_by(&all, yields_to, now)
        {
            let (code, until) = (code.clone(), *until);
            return Some(Report::Declined { code, until, preferred: Vec::new() });
        }
        // What the plan has overruled is not said again.
        if document.overruled.is_some() {
            return Some(done());
        }
        let preferred = self.documents.preferences_said(now).map_err(unavailable);
        let preferred = preferred.inspect_err(unread).ok()?.of(&self.id);
        Some(countered(&document.planned.visit, &preferred, yields_to, now).unwrap_or_else(done))
    }
}

/// What the audit is told of a host that does not agree.
pub(super) fn told_of_declined(code: &str, until: Option<Wall>, preferred: &[Preferred]) -> Value {
    let mut told = json!({ "code": code, "until_ms": until.map(|until| until.0) });
    if let Some(told) = told.as_object_mut().filter(|_| !preferred.is_empty()) {
        told.insert("preferred".to_owned(), json!(preferred));
    }
    told
}

/// What a host answers that would rather be visited at another time; none if it agrees.
fn countered(
    visit: &Visit,
    preferred: &[Preferred],
    yields_to: Option<u8>,
    now: Wall,
) -> Option<Report> {
    let preferred = visit.counter(preferred, yields_to, now);
    let until = Some(preferred.iter().map(|it| it.from.max(now)).min()?);
    Some(Report::Declined { code: COUNTER.to_owned(), until, preferred })
}

#[cfg(test)]
mod tests {
    use maintenance::fleet::VisitId;
    use maintenance::operation::Class;

    use super::*;
    use crate::scheduler::visits::written_for_tests;

    #[test]
    fn a_host_says_when_it_would_rather_be_visited_and_what_it_says_names_the_first_of_that() {
        let mut visit = written_for_tests(&VisitId::new("gw-1/a").unwrap(), "gw-1").planned.visit;
        visit.class = Class::Drain;
        let preferred =
            |cost, from, until| Preferred { cost, from: Wall(from), until: Wall(until) };
        let [cheap, first] = [preferred(0, 900_000, 999_000), preferred(5, 500_000, 600_000)];
        let at = |now, yields_to| countered(&visit, &[first, cheap], yields_to, Wall(now));
        let said = Report::Declined {
            code: "prefers_other_time".to_owned(),
            until: Some(Wall(500_000)),
            preferred: vec![cheap, first],
        };
        assert_eq!(at(100, None), Some(said));
        assert_eq!(at(500_000, None), None, "that suits it");
        assert_eq!(at(999_001, None), None, "it has no other time");
        assert_eq!(at(100, Some(0)), None, "it yields to every visit");
    }
}
