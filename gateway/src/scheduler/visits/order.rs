//! What operators want of a visit that is on its way.

use maintenance::audit::AuditRecord;
use maintenance::execution::{Event, Order};
use maintenance::fleet::VisitId;
use serde::{Deserialize, Serialize};

use super::document::VisitDocument;
use super::turn::{Said, Turned};
use crate::control::ControlError;
use crate::scheduler::acts::unavailable;
use crate::scheduler::thread::Scheduler;

/// What may be wanted of a visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VisitOrder {
    /// Begin no other step, and move nobody.
    Pause,
    /// Go on.
    Resume,
    /// Call it off: back to where the host was, as long as that is possible.
    Abort,
    /// Give the step as much time again.
    Extend,
    /// Move the rest of the clients without waiting for those that take them.
    ForceRest,
    /// Try the step again that somebody must decide about.
    Retry,
    /// Go on without it.
    Skip,
}

/// An order for a visit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderRequest {
    /// Which visit.
    pub visit: String,
    /// What is wanted.
    pub order: VisitOrder,
    /// Why, for the audit; 1 to 4,096 bytes.
    pub reason: String,
}

impl VisitOrder {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Abort => "abort",
            Self::Extend => "extend",
            Self::ForceRest => "force_rest",
            Self::Retry => "retry",
            Self::Skip => "skip",
        }
    }

    const fn meant(self) -> Order {
        match self {
            Self::Pause => Order::Pause,
            Self::Resume => Order::Resume,
            Self::Abort => Order::Abort,
            Self::Extend => Order::Extend,
            Self::ForceRest => Order::ForceRest,
            Self::Retry => Order::Retry,
            Self::Skip => Order::Skip,
        }
    }
}

impl Scheduler {
    /// Every visit that is on its way or was, by name.
    pub(in crate::scheduler) fn visits(&mut self) -> Result<Vec<VisitDocument>, ControlError> {
        self.documents.all(VisitDocument::PREFIX).map_err(unavailable)
    }

    /// Gives an order, in the name of an operator. Its host follows it as soon as it sees it.
    pub(in crate::scheduler) fn order(
        &mut self,
        request: &OrderRequest,
        by: &str,
    ) -> Result<VisitDocument, ControlError> {
        let unknown = || ControlError::Refused(format!("there is no visit {}", request.visit));
        let visit = VisitId::new(&request.visit).map_err(|_| unknown())?;
        let event = Event::Order { by: by.to_owned(), order: request.order.meant() };
        let said = Said { by, why: &request.reason, attempt: None };
        let record = AuditRecord {
            at: self.shared.now().wall,
            actor: by.to_owned(),
            action: format!("visit.{}", request.order.as_str()),
            object: format!("visit {visit}"),
            before: None,
            after: None,
            reason: request.reason.clone(),
        };
        match self.turn_told(&visit, &event, said, Some(record))? {
            Turned::Changed(document, _) => {
                let order = request.order.as_str();
                tracing::warn!("{by} wants visit {visit} to {order}: {}", request.reason);
                Ok(*document)
            }
            Turned::Ignored(why) => Err(ControlError::Refused(why.to_string())),
        }
    }
}
