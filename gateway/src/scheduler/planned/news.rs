//! That the plan is another one, in a few words: for those who follow what happens, and read the plan if they want to know more.

use maintenance::planner::Published;
use protocol::GatewayId;
use serde::{Deserialize, Serialize};
use store::Expect;

use crate::control::ControlError;
use crate::scheduler::acts::unavailable;
use crate::scheduler::documents::{DocumentError, Documents};
use crate::scheduler::thread::Scheduler;

/// What is new of the plan; one document, written with the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanNews {
    /// Which plan it is: each has a higher number than the one before.
    pub revision: u64,
    /// When it was made, in milliseconds since 1970.
    pub made_ms: u64,
    /// The gateway that made it.
    pub by: String,
    /// Visits that have a place in it.
    pub planned: usize,
    /// Those of them that are over after their deadline.
    pub late: usize,
    /// Visits that have none.
    pub unplanned: usize,
    /// Visits of the plan before that are elsewhere in it now, or gone.
    pub moved: usize,
}

/// Where it stands.
pub(super) const NEWS: &str = "plan-news";
/// Where it stands up to which plan the webhook was told.
const TOLD: &str = "plan-told";

impl PlanNews {
    pub(super) fn of(published: &Published) -> Self {
        let Published { revision, made, by, plan, .. } = published;
        Self {
            revision: *revision,
            made_ms: made.0,
            by: GatewayId::to_string(by),
            planned: plan.entries.len(),
            late: plan.entries.iter().filter(|entry| entry.late).count(),
            unplanned: plan.unplanned.len(),
            moved: plan.churn,
        }
    }
}

impl Documents {
    /// What is new of the plan, if there ever was one.
    pub(in crate::scheduler) fn plan_news(&mut self) -> Result<Option<PlanNews>, ControlError> {
        Ok(self.get(NEWS).map_err(unavailable)?.map(|(news, _)| news))
    }

    /// What the webhook is to be told of the plan, if there is anything new: the newest alone.
    pub(in crate::scheduler) fn untold_news(&mut self) -> Result<Option<PlanNews>, ControlError> {
        let told = self.get::<u64>(TOLD).map_err(unavailable)?.map_or(0, |(told, _)| told);
        Ok(self.plan_news()?.filter(|news| news.revision > told))
    }

    /// Notes that a plan was told.
    pub(in crate::scheduler) fn note_news(&self, revision: u64) -> Result<(), ControlError> {
        match self.put(TOLD, &revision, Expect::Any) {
            Ok(()) | Err(DocumentError::Conflict { .. }) => Ok(()),
            Err(error) => Err(unavailable(error)),
        }
    }
}

impl Scheduler {
    /// The same, if it is this gateway that tells.
    pub(in crate::scheduler) fn outgoing_news(&mut self) -> Result<Option<PlanNews>, ControlError> {
        match self.watch.held(self.shared.now().mono) {
            Some(_) => self.documents.untold_news(),
            None => Ok(None),
        }
    }
}
