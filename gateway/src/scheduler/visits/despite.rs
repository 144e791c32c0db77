//! That a visit begins despite hard blockers of its host and outside of its windows: the word of an operator who has broken the
//! glass, kept in a document until the glass has ended or the visit is over, and in the visit from its begin on.

use std::collections::BTreeMap;

use maintenance::audit::AuditRecord;
use maintenance::fleet::{Availability, VisitId};
use maintenance::planner::{Despite, Published};
use protocol::Wall;
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::Put;

use super::begin::PLAN;
use super::document::VisitDocument;
use crate::control::ControlError;
use crate::scheduler::acts::unavailable;
use crate::scheduler::documents::Documents;
use crate::scheduler::thread::Scheduler;
use crate::scheduler::wanted::{Acting, Step, put, value};

/// Which visit is to begin despite what speaks against it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DespiteRequest {
    /// The visit, as the plan names it.
    pub visit: String,
    /// Why; everybody is told. 1 to 4,096 bytes.
    pub reason: String,
}

/// A visit that is to begin despite what speaks against it, as long as the glass is broken: `despite/` and its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BeginDespite {
    /// Which.
    pub visit: VisitId,
    /// Whose word that is, why, and until when.
    pub despite: Despite,
    /// The entry of the audit by which the glass was broken: the word ends with that glass.
    pub glass: u64,
}

const PREFIX: &str = "despite/";
/// So many at once.
const MOST: usize = 16;

impl BeginDespite {
    fn key(visit: &VisitId) -> String {
        format!("{PREFIX}{visit}")
    }
}

impl Documents {
    /// Those that are stored, by visit. What cannot be read overrules nothing.
    pub(in crate::scheduler) fn despites(&mut self) -> Result<Vec<BeginDespite>, ControlError> {
        self.all(PREFIX).map_err(unavailable)
    }

    /// Notes that a visit of the plan is to begin, in the name of an operator who holds a broken glass.
    pub(in crate::scheduler) fn begin_despite(
        &mut self,
        request: &DespiteRequest,
        acting: &Acting<'_>,
    ) -> Result<BeginDespite, ControlError> {
        let refused = |why: String| Err(ControlError::Refused(why));
        let DespiteRequest { visit: name, reason } = request;
        self.change(acting, |documents, _| {
            let Some((glass, _)) = documents.glass_of(acting.by, acting.now)? else {
                let why = "this needs a broken glass: `maintenance break-glass take`".to_owned();
                return Err(ControlError::Forbidden(why));
            };
            let plan = documents.get::<Published>(PLAN).map_err(unavailable)?;
            let visit = VisitId::new(name).ok();
            let visit = visit
                .filter(|visit| plan.as_ref().is_some_and(|(plan, _)| plan.visit(visit).is_some()));
            let Some(visit) = visit else {
                return refused(format!("there is no visit {name} in the plan"));
            };
            let key = VisitDocument::key(&visit);
            let known = documents.get::<VisitDocument>(&key).map_err(unavailable)?;
            if known.is_some_and(|(it, _)| it.execution.at().is_some() || it.execution.is_over()) {
                return refused(format!("visit {visit} has begun"));
            }
            let stored = documents.despites()?;
            if stored.iter().filter(|it| it.visit != visit).count() >= MOST {
                return refused(format!("{MOST} visits are to begin so already"));
            }
            let (by, until) = (acting.by.to_owned(), Wall(glass.until_ms));
            let despite = Despite { by, reason: reason.clone(), at: acting.now, until };
            let made = BeginDespite { visit, despite, glass: glass.revision };
            Ok(Step {
                action: "visit.begin_despite",
                object: format!("visit {}", made.visit),
                before: stored.iter().find(|it| it.visit == made.visit).and_then(value),
                after: value(&made),
                reason: reason.clone(),
                puts: vec![put(&BeginDespite::key(&made.visit), &made)?],
                made,
            })
        })
    }

    /// What makes a begin fail if the glass has ended that it rests on; none if it has ended already.
    pub(super) fn hold_glass(
        &mut self,
        ordered: &BeginDespite,
        now: Wall,
    ) -> Result<Option<Put>, ControlError> {
        let held = self.glass_of(&ordered.despite.by, now)?;
        let held = held.filter(|(glass, _)| glass.revision == ordered.glass);
        Ok(held.filter(|_| ordered.despite.holds(now)).map(|(_, put)| put))
    }

    /// Ends a word that has nothing more to say.
    fn end_despite(
        &mut self,
        ordered: &BeginDespite,
        why: &str,
        acting: &Acting<'_>,
    ) -> Result<(), ControlError> {
        let key = BeginDespite::key(&ordered.visit);
        self.change(acting, |_, _| {
            Ok(Step {
                action: "visit.despite_ended",
                object: format!("visit {}", ordered.visit),
                before: value(ordered),
                after: None,
                reason: why.to_owned(),
                puts: vec![Self::delete_of(&key)],
                made: (),
            })
        })
    }
}

impl Scheduler {
    /// Notes that a visit is to begin despite what speaks against it, and says so loudly.
    pub(in crate::scheduler) fn begin_despite(
        &mut self,
        request: &DespiteRequest,
        by: &str,
    ) -> Result<BeginDespite, ControlError> {
        let acting = Acting { by, now: self.shared.now().wall, hosts: &[], most: self.most };
        let made = self.documents.begin_despite(request, &acting)?;
        let BeginDespite { visit, despite: Despite { reason, until, .. }, .. } = &made;
        tracing::error!(
            "operator {by} has visit {visit} begun despite blockers and windows, until {} ms: {reason}",
            until.0
        );
        self.metrics.process().visits_despite.add(1);
        Ok(made)
    }

    /// What is to begin so, by visit; what has nothing more to say is ended.
    pub(super) fn heed_despites(
        &mut self,
        documents: &BTreeMap<VisitId, VisitDocument>,
    ) -> Result<BTreeMap<VisitId, BeginDespite>, ControlError> {
        let mut heeded = BTreeMap::new();
        for ordered in self.documents.despites()? {
            let known = documents.get(&ordered.visit);
            let is_over = known.is_some_and(|it| it.execution.is_over());
            match self.heed(&ordered, is_over) {
                Ok(true) => drop(heeded.insert(ordered.visit.clone(), ordered)),
                Ok(false) => {}
                Err(why) => self.note(&ordered.visit, Err(why)),
            }
        }
        Ok(heeded)
    }

    /// Whether a word still says something; if not, it is ended.
    fn heed(&mut self, ordered: &BeginDespite, is_over: bool) -> Result<bool, ControlError> {
        let (now, by) = (self.shared.now().wall, format!("scheduler {}", self.id));
        let why = if is_over {
            "the visit is over"
        } else if self.documents.hold_glass(ordered, now)?.is_none() {
            "the glass has ended"
        } else {
            return Ok(true);
        };
        let acting = Acting { by: &by, now, hosts: &[], most: self.most };
        self.documents.end_despite(ordered, why, &acting)?;
        tracing::warn!("visit {} is not begun despite anything any more: {why}", ordered.visit);
        Ok(false)
    }
}

/// What the audit is told of a visit that begins so: whose word that was, and what it has overruled.
pub(super) fn overruled(
    (visit, despite): (&VisitId, &Despite),
    (is_open, answer): (bool, &Availability),
    now: Wall,
) -> AuditRecord {
    let blocker = answer.hard_blocker(now).map(|blocker| blocker.code.as_str());
    AuditRecord {
        at: now,
        actor: despite.by.clone(),
        action: "visit.begun_despite".to_owned(),
        object: format!("visit {visit}"),
        before: None,
        after: Some(json!({
            "blocker": blocker,
            "no_window": !is_open,
            "until_ms": despite.until.0,
        })),
        reason: despite.reason.clone(),
    }
}

#[cfg(test)]
mod tests {
    use maintenance::fleet::Term;
    use maintenance::operation::{OpKind, Operation, OperationId};
    use maintenance::planner::{Plan, PlanId};
    use protocol::GatewayId;
    use store::Expect;

    use super::super::document::begun_for_tests;
    use super::*;
    use crate::scheduler::documents::in_memory;

    fn acting(now: u64) -> Acting<'static> {
        Acting { by: "dan", now: Wall(now), hosts: &[], most: 3 }
    }

    fn request(visit: &str) -> DespiteRequest {
        DespiteRequest { visit: visit.to_owned(), reason: "fire".to_owned() }
    }

    /// A plan with so many visits, without a place for any.
    fn planned(documents: &Documents, visits: usize) {
        let host = GatewayId::new("gw-1").unwrap();
        let visit = |n: usize| {
            let id = OperationId::new(&format!("r{n}")).unwrap();
            begun_for_tests(Operation::new(id, OpKind::CertRotate, host.clone())).planned
        };
        let plan = Plan {
            id: PlanId(1),
            from: Wall(0),
            until: Wall(1),
            entries: Vec::new(),
            unplanned: Vec::new(),
            lower_bound: Wall(0),
            infeasible: Vec::new(),
            churn: 0,
        };
        let visits = (0..visits).map(visit).collect();
        let (revision, made, by, term) = (1, Wall(1), host.clone(), Term(1));
        let plan = Published { revision, made, by, term, plan, visits };
        documents.put(PLAN, &plan, Expect::Absent).unwrap();
    }

    #[test]
    fn it_is_the_word_of_who_holds_a_broken_glass_about_a_visit_of_the_plan_that_has_not_begun() {
        let mut documents = in_memory();
        let order = |documents: &mut Documents, visit: &str, now| {
            documents.begin_despite(&request(visit), &acting(now))
        };
        planned(&documents, MOST + 2);
        let glassless = order(&mut documents, "gw-1/r0", 10);
        assert!(matches!(glassless, Err(ControlError::Forbidden(_))), "{glassless:?}");
        documents.break_glass(("fire", Wall(100)), &acting(10)).unwrap();
        for unknown in ["gw-1/x", "gw-2/r0", " "] {
            let answer = order(&mut documents, unknown, 11);
            assert!(matches!(answer, Err(ControlError::Refused(_))), "{unknown}: {answer:?}");
        }
        let silent = DespiteRequest { reason: " ".to_owned(), ..request("gw-1/r0") };
        let answer = documents.begin_despite(&silent, &acting(11));
        assert!(matches!(answer, Err(ControlError::Invalid(_))), "nobody says why: {answer:?}");
        let made = order(&mut documents, "gw-1/r0", 11).unwrap();
        assert_eq!((made.despite.at, made.despite.until, made.glass), (Wall(11), Wall(100), 1));
        let of = Operation::new(
            OperationId::new("r1").unwrap(),
            OpKind::CertRotate,
            GatewayId::new("gw-1").unwrap(),
        );
        let begun = begun_for_tests(of);
        let key = VisitDocument::key(begun.execution.visit());
        documents.put(&key, &begun, Expect::Absent).unwrap();
        let answer = order(&mut documents, "gw-1/r1", 12);
        assert!(matches!(answer, Err(ControlError::Refused(_))), "{answer:?}");
        for n in 2..=MOST {
            order(&mut documents, &format!("gw-1/r{n}"), 12).unwrap();
        }
        let full = order(&mut documents, &format!("gw-1/r{}", MOST + 1), 12);
        assert!(matches!(full, Err(ControlError::Refused(_))), "{full:?}");
        order(&mut documents, "gw-1/r0", 12).unwrap();
        assert_eq!(documents.despites().unwrap().len(), MOST, "said again it is there once");
        let answer = order(&mut documents, "gw-1/r0", 100);
        assert!(matches!(answer, Err(ControlError::Forbidden(_))), "its time is over: {answer:?}");
    }

    #[test]
    fn it_ends_with_the_glass_that_it_was_said_under_and_a_begin_loses_to_that_end() {
        let mut documents = in_memory();
        planned(&documents, 1);
        documents.break_glass(("fire", Wall(100)), &acting(10)).unwrap();
        let made = documents.begin_despite(&request("gw-1/r0"), &acting(11)).unwrap();
        let held = documents.hold_glass(&made, Wall(99)).unwrap().unwrap();
        assert!(documents.hold_glass(&made, Wall(100)).unwrap().is_none(), "its time");
        documents.mend_glass("out", &acting(12)).unwrap();
        assert!(documents.write(vec![held]).is_err(), "what was to be begun is not");
        assert!(documents.hold_glass(&made, Wall(13)).unwrap().is_none());
        documents.break_glass(("again", Wall(100)), &acting(14)).unwrap();
        assert!(documents.hold_glass(&made, Wall(15)).unwrap().is_none(), "another glass");
        documents.end_despite(&made, "the glass has ended", &acting(16)).unwrap();
        assert!(documents.despites().unwrap().is_empty());
        let told = documents.audit(0, 10).unwrap().entries;
        let told: Vec<_> = told.iter().map(|it| it.record.action.as_str()).collect();
        assert_eq!(
            told,
            [
                "glass.broken",
                "visit.begin_despite",
                "glass.mended",
                "glass.broken",
                "visit.despite_ended"
            ]
        );
    }
}
