//! What the published plan stands on: the zone database that its windows were reckoned with, and the answers of gateways.

use maintenance::audit::AuditRecord;
use maintenance::calendar::Zone;
use maintenance::planner::Published;
use protocol::GatewayId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::{Expect, Put};

use super::look::Look;
use crate::control::ControlError;
use crate::scheduler::acts::unavailable;
use crate::scheduler::documents::Documents;
use crate::scheduler::thread::Scheduler;

/// What a plan stands on; one document beside the plan, written with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanBasis {
    /// Which plan: of another one nothing is known.
    pub revision: u64,
    /// The version of the zone database; another one may know of other clock changes.
    pub tzdb: String,
    /// The answers that were believed, by gateway.
    pub based_on: Vec<BasedOn>,
}

/// One answer of a gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BasedOn {
    /// Which gateway.
    pub host: String,
    /// Which life of it.
    pub incarnation: u64,
    /// Which of its answers: they grow within one life.
    pub seq: u64,
}

/// The plan that the fleet follows, and what it stands on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanAnswer {
    /// The plan.
    #[serde(flatten)]
    pub published: Published,
    /// The version of the zone database that it was made with; none if a version of the gateway made it that did not note it.
    pub tzdb: Option<String>,
    /// The answers that it was made from; none of a plan of such a version.
    pub based_on: Vec<BasedOn>,
}

/// Where it stands.
const BASIS: &str = "plan-basis";

impl Look {
    /// The basis of a plan that is made of this.
    pub(super) fn basis(&self, revision: u64) -> PlanBasis {
        let fresh = self.hosts.iter().filter_map(|host| {
            let answer = self.answers.get(&host.id)?;
            answer.is_fresh(self.now, host.incarnation).then(|| BasedOn {
                host: host.id.to_string(),
                incarnation: host.incarnation.0,
                seq: answer.seq,
            })
        });
        let tzdb = Zone::database().to_owned();
        PlanBasis { revision, tzdb, based_on: fresh.collect() }
    }
}

impl Documents {
    /// What the plan of that revision stands on, as far as somebody noted it.
    pub(super) fn basis_of(&mut self, revision: u64) -> Result<Option<PlanBasis>, ControlError> {
        let stored = self.get::<PlanBasis>(BASIS).map_err(unavailable)?;
        Ok(stored.map(|(basis, _)| basis).filter(|basis| basis.revision == revision))
    }

    /// The writes by which the plan of a revision comes to stand on what was seen, if that is not what is stored. That its windows
    /// were reckoned with another zone database than those before is told to the audit, with how many visits were moved.
    pub(super) fn stand_on(
        &mut self,
        look: &Look,
        (revision, moved): (u64, usize),
        by: &GatewayId,
    ) -> Result<Vec<Put>, ControlError> {
        let before = match &look.published {
            Some((old, _)) => self.basis_of(old.revision)?,
            None => None,
        };
        let basis = look.basis(revision);
        let same = |it: &PlanBasis| it.revision == basis.revision && it.tzdb == basis.tzdb;
        if before.as_ref().is_some_and(same) {
            return Ok(Vec::new());
        }
        let other = before.filter(|before| before.tzdb != basis.tzdb);
        let told = other.map(|before| AuditRecord {
            at: look.now,
            actor: format!("scheduler {by}"),
            action: "tzdb.changed".to_owned(),
            object: format!("plan {revision}"),
            before: Some(Value::from(before.tzdb)),
            after: Some(Value::from(basis.tzdb.as_str())),
            reason: format!("another zone database: {moved} visits are elsewhere, or gone"),
        });
        let mut puts = self.told(told.into_iter().collect())?;
        puts.push(Self::put_of(BASIS, &basis, Expect::Any).map_err(unavailable)?);
        Ok(puts)
    }
}

impl Scheduler {
    /// The published plan with what it stands on, if there ever was one.
    pub(in crate::scheduler) fn plan_answer(&mut self) -> Result<Option<PlanAnswer>, ControlError> {
        let Some(published) = self.published()? else { return Ok(None) };
        let basis = self.documents.basis_of(published.revision)?;
        let (tzdb, based_on) = basis.map(|it| (it.tzdb, it.based_on)).unzip();
        Ok(Some(PlanAnswer { published, tzdb, based_on: based_on.unwrap_or_default() }))
    }
}
