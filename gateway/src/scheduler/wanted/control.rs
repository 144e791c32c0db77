//! What operators may ask of maintenance.

use maintenance::operation::Learned;
use maintenance::planner::Agenda;
use maintenance::policy::Freeze;
use serde::{Deserialize, Serialize};

use super::blockers::{BlockerRequest, HostBlocker};
use super::feed_tokens::{FeedToken, FeedTokenRequest, NewFeedToken, StoredFeedToken};
use super::freezes::FreezeRequest;
use super::glass::{Allowed, Glass, GlassRequest};
use super::operations::OperationDocument;
use super::policies::{PolicyAnswer, PolicyDocument, PolicyRequest};
use super::preferences::{HostPreference, PreferenceRequest};
use super::request::OperationRequest;
use super::wide::{Paused, WideAnswer, WideRequest};
use crate::config::Right;
use crate::control::ControlError;
use crate::scheduler::planned::{HostWhy, PlanAnswer, PlanNews, PlanPreview, WhatIf};
use crate::scheduler::visits::{BeginDespite, DespiteRequest};

/// What is to go, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    /// Its name.
    pub name: String,
    /// The revision that the operator has seen, if that matters.
    pub expected: Option<u64>,
    /// Why, for the audit.
    pub reason: String,
    /// Which operator.
    pub by: String,
}

/// Policies, freezes and operations of the fleet. Whoever is asked, the whole fleet is meant.
///
/// All answer [`ControlError::Unavailable`] if the store does not answer, and changes [`ControlError::Invalid`] for what
/// cannot be meant, also without a reason.
pub trait MaintenanceControl: Send + Sync {
    /// The policies, by name.
    ///
    /// # Errors
    /// The store or the process does not answer.
    fn policies(&self) -> Result<Vec<PolicyDocument>, ControlError>;

    /// Puts policies under a name. What is there must have the expected revision; without one there must be nothing.
    ///
    /// # Errors
    /// It cannot be read, it will not work and nobody accepts that, or somebody else changed it.
    fn put_policy(
        &self,
        name: String,
        expected: Option<u64>,
        request: PolicyRequest,
        by: String,
    ) -> Result<PolicyAnswer, ControlError>;

    /// Takes policies away.
    ///
    /// # Errors
    /// There are none of that name, or somebody else changed them.
    fn remove_policy(&self, removal: Removal) -> Result<PolicyDocument, ControlError>;

    /// The freezes that are not over, by name.
    ///
    /// # Errors
    /// The store or the process does not answer.
    fn freezes(&self) -> Result<Vec<Freeze>, ControlError>;

    /// Adds a freeze.
    ///
    /// # Errors
    /// It cannot be meant, there is one of that name, or there is no room.
    fn add_freeze(&self, request: FreezeRequest, by: String) -> Result<Freeze, ControlError>;

    /// Takes a freeze away.
    ///
    /// # Errors
    /// There is none of that name.
    fn remove_freeze(&self, removal: Removal) -> Result<Freeze, ControlError>;

    /// What speaks against visits, as operators say it, by gateway and code.
    ///
    /// # Errors
    /// The store or the process does not answer.
    fn blockers(&self) -> Result<Vec<HostBlocker>, ControlError>;

    /// Says that something speaks against visits of a gateway.
    ///
    /// # Errors
    /// It cannot be meant, or there is no room.
    fn add_blocker(&self, request: BlockerRequest, by: String)
    -> Result<HostBlocker, ControlError>;

    /// Takes that back; its name is that of the gateway, a slash and the code.
    ///
    /// # Errors
    /// There is none of that name.
    fn remove_blocker(&self, removal: Removal) -> Result<HostBlocker, ControlError>;

    /// When visits would suit gateways, as operators say it, by gateway and name.
    ///
    /// # Errors
    /// The store or the process does not answer.
    fn preferences(&self) -> Result<Vec<HostPreference>, ControlError>;

    /// Says when visits would suit a gateway.
    ///
    /// # Errors
    /// It cannot be meant, there is no room, or a gateway of an older version could not read the plan that follows.
    fn add_preference(
        &self,
        request: PreferenceRequest,
        by: String,
    ) -> Result<HostPreference, ControlError>;

    /// Takes that back; its name is that of the gateway, a slash and that of the time.
    ///
    /// # Errors
    /// There is none of that name.
    fn remove_preference(&self, removal: Removal) -> Result<HostPreference, ControlError>;

    /// The tokens by which calendar programs read the feed of visits, by name.
    ///
    /// # Errors
    /// The store or the process does not answer.
    fn feed_tokens(&self) -> Result<Vec<StoredFeedToken>, ControlError>;

    /// Adds one; nobody is told its secret again.
    ///
    /// # Errors
    /// It cannot be meant, there is one of that name, or there is no room.
    fn add_feed_token(
        &self,
        request: FeedTokenRequest,
        by: String,
    ) -> Result<NewFeedToken, ControlError>;

    /// Ends one.
    ///
    /// # Errors
    /// There is none of that name.
    fn revoke_feed_token(&self, removal: Removal) -> Result<FeedToken, ControlError>;

    /// The operations that are pending, and those that were over lately.
    ///
    /// # Errors
    /// The store or the process does not answer.
    fn operations(&self) -> Result<Vec<OperationDocument>, ControlError>;

    /// Adds operations; the same once more are answered as they stand.
    ///
    /// # Errors
    /// They cannot be meant, there are others of that name, or there is no room.
    fn add_operations(
        &self,
        request: OperationRequest,
        by: String,
    ) -> Result<Vec<OperationDocument>, ControlError>;

    /// What of operations will probably not work by the policies of the fleet.
    ///
    /// # Errors
    /// The store or the process does not answer, or policies cannot be read.
    fn lints_of(&self, operations: Vec<OperationDocument>) -> Result<Vec<String>, ControlError>;

    /// Notes that somebody agrees to an operation, or to all of a campaign.
    ///
    /// # Errors
    /// Nothing of it is pending, or the same person wants it.
    fn approve_operations(
        &self,
        id: String,
        reason: String,
        by: String,
    ) -> Result<Vec<OperationDocument>, ControlError>;

    /// Lets go on what waits for an operation that was not done, or what is left of its campaign.
    ///
    /// # Errors
    /// Nothing of it holds up anything.
    fn pass_over_operations(
        &self,
        id: String,
        reason: String,
        by: String,
    ) -> Result<Vec<OperationDocument>, ControlError>;

    /// Ends an operation that nobody has begun, or what is left of a campaign.
    ///
    /// # Errors
    /// It is being done, over, or others wait for it.
    fn cancel_operations(&self, removal: Removal) -> Result<Vec<OperationDocument>, ControlError>;

    /// Tells all of a campaign, or all that is planned, what an operator wants of it.
    ///
    /// # Errors
    /// There is nothing of it, or nothing of it can do that.
    fn order_all(&self, request: WideRequest, by: String) -> Result<WideAnswer, ControlError>;

    /// Who has paused all that is planned.
    ///
    /// # Errors
    /// The store or the process does not answer.
    fn paused(&self) -> Result<Option<Paused>, ControlError>;

    /// The plan that the fleet follows, and what it stands on; none if nothing was ever planned.
    ///
    /// # Errors
    /// The store or the process does not answer.
    fn plan(&self) -> Result<Option<PlanAnswer>, ControlError>;

    /// What calendars of others show of visits now.
    ///
    /// # Errors
    /// The store or the process does not answer.
    fn agenda(&self) -> Result<Agenda, ControlError>;

    /// What is new of that plan, in a few words.
    ///
    /// # Errors
    /// The store or the process does not answer.
    fn plan_news(&self) -> Result<Option<PlanNews>, ControlError>;

    /// The plan as it would be now, also if something were different; nothing is written.
    ///
    /// # Errors
    /// What might be different cannot be meant.
    fn preview(&self, what_if: WhatIf, by: String) -> Result<PlanPreview, ControlError>;

    /// How long work takes, as far as that was learned, by kind.
    ///
    /// # Errors
    /// The store or the process does not answer.
    fn estimates(&self) -> Result<Vec<Learned>, ControlError>;

    /// By what an operator may do something.
    ///
    /// # Errors
    /// [`ControlError::Forbidden`] with the role that is missing.
    fn allows(&self, right: Right, by: &str) -> Result<Allowed, ControlError>;

    /// Takes every right for a while, in the name of an operator.
    ///
    /// # Errors
    /// It is for too long, or nobody has a role.
    fn break_glass(&self, request: GlassRequest, by: String) -> Result<Glass, ControlError>;

    /// Ends that before its time.
    ///
    /// # Errors
    /// The operator has not every right.
    fn mend_glass(&self, reason: String, by: String) -> Result<Glass, ControlError>;

    /// Has a visit of the plan begun despite hard blockers and windows, in the name of an operator who has every right now.
    ///
    /// # Errors
    /// [`ControlError::Forbidden`] if the operator has not, and there is no such visit, or it has begun.
    fn begin_despite(
        &self,
        request: DespiteRequest,
        by: String,
    ) -> Result<BeginDespite, ControlError>;

    /// The visits that are to begin so, by name.
    ///
    /// # Errors
    /// The store or the process does not answer.
    fn despites(&self) -> Result<Vec<BeginDespite>, ControlError>;

    /// Who has every right now, by name.
    ///
    /// # Errors
    /// The store or the process does not answer.
    fn glasses(&self) -> Result<Vec<Glass>, ControlError>;

    /// Why the visits of a gateway are not earlier.
    ///
    /// # Errors
    /// There is no such gateway.
    fn why(&self, host: String) -> Result<HostWhy, ControlError>;
}
