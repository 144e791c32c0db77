//! A visit that was begun, given up before it was done, and is in the plan again: when, why, and what follows.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use maintenance::execution::{End, Stage};
use maintenance::planner::PlannedVisit;
use protocol::Wall;
use serde::{Deserialize, Serialize};

use super::begin::again;
use super::document::VisitDocument;

/// A visit that was given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GivenUp {
    /// Which.
    pub visit: String,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Why, as `visit list` says it.
    pub why: String,
    /// Before when it is not tried again, in milliseconds since 1970; none if it was planned anew since, and begins when the plan says.
    pub again_ms: Option<u64>,
    /// For people, with times of the gateway's zone.
    pub text: String,
}

impl VisitDocument {
    /// That it was given up, if it was and is wanted still; `planned` is how it is wanted.
    pub(in crate::scheduler) fn given_up(
        &self,
        planned: &PlannedVisit,
        zone: &TimeZone,
    ) -> Option<GivenUp> {
        match self.execution.stage() {
            Stage::Planned | Stage::Approved => {}
            Stage::Going(_)
            | Stage::NeedsOperator { .. }
            | Stage::Done
            | Stage::Cancelled
            | Stage::Failed { .. }
            | Stage::WrittenOff => return None,
        }
        let journal = self.execution.journal();
        let ended = journal.last()?.outcome.as_ref()?;
        let (why, visit) = (self.execution.why()?, self.execution.visit());
        let again = again(journal, None).filter(|_| self.planned == *planned);
        let (again, follows) = match (again, &ended.end) {
            (None, _) => {
                (None, "It was planned anew since, and begins when the plan says".to_owned())
            }
            (Some(again), End::Declined { until: Some(until), preferred, .. })
                if preferred.is_empty() =>
            {
                let at = again.max(*until);
                let unless = "unless its gateway takes that back before";
                (Some(at), format!("It is not tried again before {}, {unless}", clock(at, zone)))
            }
            (Some(at), _) => {
                (Some(at), format!("It is tried again, not before {}", clock(at, zone)))
            }
        };
        let ends = "`operation cancel` ends that";
        Some(GivenUp {
            visit: visit.to_string(),
            at_ms: ended.at.0,
            text: format!(
                "{visit} was given up at {}: {why}. {follows}; {ends}",
                clock(ended.at, zone)
            ),
            why,
            again_ms: again.map(|at| at.0),
        })
    }
}

fn clock(at: Wall, zone: &TimeZone) -> String {
    let moment = i64::try_from(at.0).ok().and_then(|at| Timestamp::from_millisecond(at).ok());
    moment.map_or_else(String::new, |at| {
        at.to_zoned(zone.clone()).strftime("%a %Y-%m-%d %H:%M:%S %:z").to_string()
    })
}

#[cfg(test)]
mod tests {
    use maintenance::execution::{Course, Event, Execution, PlannedStep, Report, Step};
    use maintenance::operation::{OpKind, Operation, OperationId};
    use protocol::GatewayId;

    use super::super::document::begun_for_tests;
    use super::*;

    /// 2026-01-05 10:00 UTC.
    const NOW: Wall = Wall(1_767_607_200_000);

    /// A visit whose gateway said that of its first step.
    fn after(said: Report) -> VisitDocument {
        let (id, host) = (OperationId::new("r").unwrap(), GatewayId::new("gw-1").unwrap());
        let mut visit = begun_for_tests(Operation::new(id, OpKind::CertRotate, host.clone()));
        let like = visit.execution.course().clone();
        let mut steps = like.steps.clone();
        steps.insert(0, PlannedStep { step: Step::PreCheck, ..steps[0] });
        let name = visit.execution.visit().clone();
        visit.execution = Execution::new(name, host, Course { steps, ..like });
        let report = Event::Report { epoch: None, attempt: 1, what: said };
        for event in [Event::Approved, Event::Begin, report] {
            visit.execution = visit.execution.handle(&event, NOW).unwrap().next;
        }
        visit
    }

    #[test]
    fn when_why_and_what_follows_is_told_of_a_visit_that_was_given_up() {
        let visit = after(Report::Failed { code: "no_hook_reboot".into() });
        let told = visit.given_up(&visit.planned, &TimeZone::UTC).unwrap();
        let text = "gw-1/r was given up at Mon 2026-01-05 10:00:00 +00:00: no_hook_reboot. \
            It is tried again, not before Mon 2026-01-05 10:00:10 +00:00; `operation cancel` ends that";
        assert_eq!((told.text.as_str(), told.why.as_str()), (text, "no_hook_reboot"));
        let mut anew = visit.planned.clone();
        anew.visit.priority += 1;
        let told = visit.given_up(&anew, &TimeZone::UTC).unwrap();
        assert_eq!(told.again_ms, None);
        assert!(told.text.contains("begins when the plan says"), "{}", told.text);
    }

    #[test]
    fn what_a_gateway_declines_waits_as_long_as_it_says() {
        let until = Wall(NOW.0 + 3_600_000);
        let no = |until| Report::Declined { code: "backup".into(), until, preferred: Vec::new() };
        let visit = after(no(Some(until)));
        let told = visit.given_up(&visit.planned, &TimeZone::UTC).unwrap();
        assert_eq!(told.again_ms, Some(until.0));
        assert!(
            told.text.contains("not tried again before Mon 2026-01-05 11:00:00"),
            "{}",
            told.text
        );
        let visit = after(no(None));
        let told = visit.given_up(&visit.planned, &TimeZone::UTC).unwrap();
        assert_eq!(told.again_ms, Some(NOW.0 + 10_000));
    }

    #[test]
    fn what_goes_on_was_not_given_up() {
        let visit = after(Report::Done { verdict: None });
        assert!(visit.given_up(&visit.planned, &TimeZone::UTC).is_none());
    }
}
