//! What operators may ask of maintenance, asked of the scheduler's thread.

use maintenance::Host;
use maintenance::operation::Learned;
use maintenance::planner::Agenda;
use maintenance::policy::Freeze;
use protocol::Wall;

use super::blockers::{BlockerRequest, HostBlocker};
use super::change::Acting;
use super::control::{MaintenanceControl, Removal};
use super::feed_tokens::{self, FeedToken, FeedTokenRequest, NewFeedToken, StoredFeedToken};
use super::freezes::FreezeRequest;
use super::glass::{self, Allowed, Glass, GlassRequest};
use super::operations::OperationDocument;
use super::policies::{PolicyAnswer, PolicyDocument, PolicyRequest};
use super::preferences::{HostPreference, PreferenceRequest};
use super::request::OperationRequest;
use super::wide::{Paused, WideAnswer, WideRequest};
use crate::config::Right;
use crate::control::ControlError;
use crate::scheduler::acts::unavailable;
use crate::scheduler::ask::SchedulerSender;
use crate::scheduler::documents::Documents;
use crate::scheduler::planned::{HostWhy, PlanAnswer, PlanNews, PlanPreview, WhatIf};
use crate::scheduler::thread::Scheduler;
use crate::scheduler::visits::{BeginDespite, DespiteRequest};

impl MaintenanceControl for SchedulerSender {
    fn policies(&self) -> Result<Vec<PolicyDocument>, ControlError> {
        self.act(|scheduler| scheduler.documents.policies())
    }

    fn put_policy(
        &self,
        name: String,
        expected: Option<u64>,
        request: PolicyRequest,
        by: String,
    ) -> Result<PolicyAnswer, ControlError> {
        self.change(by, move |documents, acting| {
            documents.put_policy((&name, expected), &request, acting)
        })
    }

    fn remove_policy(&self, removal: Removal) -> Result<PolicyDocument, ControlError> {
        self.remove(removal, Documents::remove_policy)
    }

    fn freezes(&self) -> Result<Vec<Freeze>, ControlError> {
        self.act(|scheduler| {
            let now = scheduler.shared.now().wall;
            let mut freezes = scheduler.documents.freezes()?;
            freezes.retain(|freeze| now < freeze.interval.to);
            Ok(freezes)
        })
    }

    fn add_freeze(&self, request: FreezeRequest, by: String) -> Result<Freeze, ControlError> {
        self.change(by, move |documents, acting| documents.add_freeze(&request, acting))
    }

    fn remove_freeze(&self, removal: Removal) -> Result<Freeze, ControlError> {
        self.remove(removal, Documents::remove_freeze)
    }

    fn blockers(&self) -> Result<Vec<HostBlocker>, ControlError> {
        self.look(Documents::blockers)
    }

    fn add_blocker(
        &self,
        request: BlockerRequest,
        by: String,
    ) -> Result<HostBlocker, ControlError> {
        self.change(by, move |documents, acting| documents.add_blocker(&request, acting))
    }

    fn remove_blocker(&self, removal: Removal) -> Result<HostBlocker, ControlError> {
        self.remove(removal, Documents::remove_blocker)
    }

    fn preferences(&self) -> Result<Vec<HostPreference>, ControlError> {
        self.look(Documents::preferences)
    }

    fn add_preference(
        &self,
        request: PreferenceRequest,
        by: String,
    ) -> Result<HostPreference, ControlError> {
        self.change(by, move |documents, acting| documents.add_preference(&request, acting))
    }

    fn remove_preference(&self, removal: Removal) -> Result<HostPreference, ControlError> {
        self.remove(removal, Documents::remove_preference)
    }

    fn feed_tokens(&self) -> Result<Vec<StoredFeedToken>, ControlError> {
        self.look(Documents::feed_tokens)
    }

    fn add_feed_token(
        &self,
        request: FeedTokenRequest,
        by: String,
    ) -> Result<NewFeedToken, ControlError> {
        let secret = feed_tokens::secret()?;
        self.change(by, move |documents, acting| {
            documents.add_feed_token((&request, &secret), acting)
        })
    }

    fn revoke_feed_token(&self, removal: Removal) -> Result<FeedToken, ControlError> {
        self.remove(removal, Documents::revoke_feed_token)
    }

    fn operations(&self) -> Result<Vec<OperationDocument>, ControlError> {
        self.act(|scheduler| scheduler.documents.operations())
    }

    fn add_operations(
        &self,
        request: OperationRequest,
        by: String,
    ) -> Result<Vec<OperationDocument>, ControlError> {
        self.change(by, move |documents, acting| documents.add_operations(&request, acting))
    }

    fn lints_of(&self, operations: Vec<OperationDocument>) -> Result<Vec<String>, ControlError> {
        self.change(String::new(), move |documents, acting| documents.lints_of(&operations, acting))
    }

    fn approve_operations(
        &self,
        id: String,
        reason: String,
        by: String,
    ) -> Result<Vec<OperationDocument>, ControlError> {
        self.change(by, move |documents, acting| {
            documents.approve_operations((&id, &reason), acting)
        })
    }

    fn pass_over_operations(
        &self,
        id: String,
        reason: String,
        by: String,
    ) -> Result<Vec<OperationDocument>, ControlError> {
        self.change(by, move |documents, acting| {
            documents.pass_over_operations((&id, &reason), acting)
        })
    }

    fn cancel_operations(&self, removal: Removal) -> Result<Vec<OperationDocument>, ControlError> {
        self.remove(removal, Documents::cancel_operations)
    }

    fn order_all(&self, request: WideRequest, by: String) -> Result<WideAnswer, ControlError> {
        self.act(move |scheduler| scheduler.order_all(&request, &by))
    }

    fn paused(&self) -> Result<Option<Paused>, ControlError> {
        self.act(|scheduler| scheduler.documents.paused())
    }

    fn plan(&self) -> Result<Option<PlanAnswer>, ControlError> {
        self.act(Scheduler::plan_answer)
    }

    fn agenda(&self) -> Result<Agenda, ControlError> {
        self.act(|scheduler| {
            let mut agenda = scheduler.documents.agenda()?;
            agenda.forget(scheduler.shared.now().wall);
            Ok(agenda)
        })
    }

    fn plan_news(&self) -> Result<Option<PlanNews>, ControlError> {
        self.act(|scheduler| scheduler.documents.plan_news())
    }

    fn preview(&self, what_if: WhatIf, by: String) -> Result<PlanPreview, ControlError> {
        self.act(move |scheduler| scheduler.preview(&what_if, &by))
    }

    fn estimates(&self) -> Result<Vec<Learned>, ControlError> {
        self.act(|scheduler| Ok(scheduler.documents.estimates()?.learned()))
    }

    fn allows(&self, right: Right, by: &str) -> Result<Allowed, ControlError> {
        self.allowed(right, by)
    }

    fn break_glass(&self, request: GlassRequest, by: String) -> Result<Glass, ControlError> {
        let roles = self.roles();
        self.act(move |scheduler| {
            let until = glass::until(&request, &roles, scheduler.shared.now().wall)?;
            let broken = scheduler.change_by(&by, |documents, acting| {
                documents.break_glass((&request.reason, until), acting)
            })?;
            scheduler.metrics.process().glasses_broken.add(1);
            let Glass { by, reason, .. } = &broken;
            tracing::error!("operator {by} has taken every right until {} ms: {reason}", until.0);
            Ok(broken)
        })
    }

    fn mend_glass(&self, reason: String, by: String) -> Result<Glass, ControlError> {
        self.change(by, move |documents, acting| documents.mend_glass(&reason, acting))
    }

    fn begin_despite(
        &self,
        request: DespiteRequest,
        by: String,
    ) -> Result<BeginDespite, ControlError> {
        self.act(move |scheduler| scheduler.begin_despite(&request, &by))
    }

    fn despites(&self) -> Result<Vec<BeginDespite>, ControlError> {
        self.act(|scheduler| scheduler.documents.despites())
    }

    fn glasses(&self) -> Result<Vec<Glass>, ControlError> {
        self.look(Documents::glasses)
    }

    fn why(&self, host: String) -> Result<HostWhy, ControlError> {
        self.act(move |scheduler| scheduler.why(&host))
    }
}

impl SchedulerSender {
    /// What stands in the documents now.
    fn look<T: Send + 'static>(
        &self,
        look: fn(&mut Documents, Wall) -> Result<T, ControlError>,
    ) -> Result<T, ControlError> {
        self.act(move |scheduler| {
            let now = scheduler.shared.now().wall;
            look(&mut scheduler.documents, now)
        })
    }

    /// A change of the documents in the name of `by`.
    fn change<T: Send + 'static>(
        &self,
        by: String,
        change: impl FnOnce(&mut Documents, &Acting<'_>) -> Result<T, ControlError> + Send + 'static,
    ) -> Result<T, ControlError> {
        self.act(move |scheduler| scheduler.change_by(&by, change))
    }

    /// Something taken out of the documents, or back, by `remove`.
    fn remove<T: Send + 'static>(
        &self,
        removal: Removal,
        remove: fn(&mut Documents, &Removal, &Acting<'_>) -> Result<T, ControlError>,
    ) -> Result<T, ControlError> {
        self.act(move |scheduler| {
            scheduler
                .change_by(&removal.by, |documents, acting| remove(documents, &removal, acting))
        })
    }
}

impl Scheduler {
    fn change_by<T>(
        &mut self,
        by: &str,
        change: impl FnOnce(&mut Documents, &Acting<'_>) -> Result<T, ControlError>,
    ) -> Result<T, ControlError> {
        let hosts: Vec<Host> =
            self.hosts().map_err(unavailable)?.into_iter().map(|status| status.host).collect();
        let acting = Acting { by, now: self.shared.now().wall, hosts: &hosts, most: self.most };
        change(&mut self.documents, &acting)
    }
}
