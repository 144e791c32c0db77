//! What operators want of all of a campaign, or of all maintenance that is planned: each is one word about what has not begun and
//! about the visits that are on their way.

use std::fmt;

use maintenance::operation::OperationId;
use serde::{Deserialize, Serialize};
use store::{Expect, Put};

use super::change::{Acting, Step, put, value};
use super::operations::{OperationDocument, named, step};
use super::outcome::OperationState;
use crate::control::ControlError;
use crate::scheduler::acts::unavailable;
use crate::scheduler::documents::Documents;
use crate::scheduler::thread::Scheduler;
use crate::scheduler::visits::{OrderRequest, VisitDocument, VisitOrder};

/// What may be wanted of all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WideOrder {
    /// Begin what was added to be begun later, or was paused before it began. Visits that are paused stay so.
    Run,
    /// Begin nothing more of it, and no other step of its visits.
    Pause,
    /// Go on with it, and with its visits.
    Resume,
    /// Cancel what has not begun, and call off its visits, as far as that is possible.
    Abort,
}

/// An order for a campaign, or for the fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WideRequest {
    /// The name of a campaign, or of an operation.
    #[serde(default)]
    pub campaign: Option<String>,
    /// Whether all that is planned for the fleet is meant.
    #[serde(default)]
    pub fleet: bool,
    /// What is wanted.
    pub order: WideOrder,
    /// Why, for the audit; 1 to 4,096 bytes.
    pub reason: String,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WideAnswer {
    /// Operations that had not begun and are different now, by name.
    pub operations: Vec<String>,
    /// Visits that have taken the order.
    pub visits: Vec<String>,
    /// Those that have not.
    pub not_taken: Vec<NotTaken>,
}

/// A visit that does not do what is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotTaken {
    /// Which.
    pub visit: String,
    /// Why not.
    pub why: String,
}

/// Who wants that something is not begun for now: in an operation, or of all, as the document `paused`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Paused {
    /// Which operator.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
}

/// What is meant.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scope<'a> {
    /// An operation, or all of a campaign.
    Named(&'a str),
    /// All.
    Fleet,
}

/// Where it stands that all is paused.
const PAUSED: &str = "paused";

impl Paused {
    pub(super) fn by(acting: &Acting<'_>, reason: &str) -> Self {
        Self { by: acting.by.to_owned(), reason: reason.to_owned(), since_ms: acting.now.0 }
    }
}

impl fmt::Display for Paused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "paused by {}: {}", self.by, self.reason)
    }
}

impl fmt::Display for Scope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Named(name) => name,
            Self::Fleet => "the fleet",
        })
    }
}

impl Scope<'_> {
    /// What of it is pending.
    pub(super) fn pending(
        self,
        stored: &[OperationDocument],
    ) -> Result<Vec<OperationDocument>, ControlError> {
        let mut all = match self {
            Self::Named(name) => named(stored, name)?,
            Self::Fleet => stored.to_vec(),
        };
        all.retain(|it| it.state == OperationState::Pending);
        Ok(all)
    }
}

impl WideOrder {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Abort => "abort",
        }
    }

    /// What its visits are told, if they are told anything.
    const fn of_visits(self) -> Option<VisitOrder> {
        match self {
            Self::Run => None,
            Self::Pause => Some(VisitOrder::Pause),
            Self::Resume => Some(VisitOrder::Resume),
            Self::Abort => Some(VisitOrder::Abort),
        }
    }
}

impl WideRequest {
    fn scope(&self) -> Result<Scope<'_>, ControlError> {
        match (&self.campaign, self.fleet) {
            (Some(name), false) => Ok(Scope::Named(name)),
            (None, true) => Ok(Scope::Fleet),
            _ => Err(ControlError::Invalid("name a campaign, or mean the fleet".to_owned())),
        }
    }
}

impl Documents {
    /// Who has paused all that is planned.
    pub(in crate::scheduler) fn paused(&mut self) -> Result<Option<Paused>, ControlError> {
        Ok(self.get::<Paused>(PAUSED).map_err(unavailable)?.map(|(paused, _)| paused))
    }

    /// What makes a write fail if all is paused meanwhile.
    pub(super) fn not_paused() -> Put {
        Put { expect: Expect::Absent, ..Self::delete_of(PAUSED) }
    }

    /// Notes an order about what has not begun. Answers whose turn has changed with it.
    fn note_order(
        &mut self,
        scope: Scope<'_>,
        (order, reason): (WideOrder, &str),
        acting: &Acting<'_>,
    ) -> Result<Vec<OperationDocument>, ControlError> {
        match (order, scope) {
            (WideOrder::Abort, _) => match self.cancel(scope, reason, acting) {
                // What is left of it are visits.
                Err(ControlError::WrongState(_)) => Ok(Vec::new()),
                cancelled => cancelled,
            },
            (WideOrder::Pause, Scope::Named(name)) => {
                let paused = Paused::by(acting, reason);
                self.set_paused((name, reason), Some(&paused), acting)
            }
            (WideOrder::Run | WideOrder::Resume, Scope::Named(name)) => {
                self.set_paused((name, reason), None, acting)
            }
            (WideOrder::Pause, Scope::Fleet) => {
                let paused = Paused::by(acting, reason);
                self.set_all_paused(reason, Some(&paused), acting)
            }
            (WideOrder::Run | WideOrder::Resume, Scope::Fleet) => {
                self.set_all_paused(reason, None, acting)
            }
        }
    }

    fn set_paused(
        &mut self,
        (name, reason): (&str, &str),
        paused: Option<&Paused>,
        acting: &Acting<'_>,
    ) -> Result<Vec<OperationDocument>, ControlError> {
        let different = |stored: &[OperationDocument]| {
            let mut pending = Scope::Named(name).pending(stored)?;
            pending.retain(|it| it.paused.is_some() != paused.is_some());
            Ok::<_, ControlError>(pending)
        };
        if different(&self.operations()?)?.is_empty() {
            return Ok(Vec::new());
        }
        self.change(acting, |documents, seq| {
            let mut changed = different(&documents.operations()?)?;
            let before = value(&changed);
            for document in &mut changed {
                (document.paused, document.revision) = (paused.cloned(), seq);
            }
            let action = if paused.is_some() { "operation.paused" } else { "operation.resumed" };
            step(action, (name, reason), before, changed)
        })
    }

    fn set_all_paused(
        &mut self,
        reason: &str,
        paused: Option<&Paused>,
        acting: &Acting<'_>,
    ) -> Result<Vec<OperationDocument>, ControlError> {
        if self.paused()?.is_some() == paused.is_some() {
            return Ok(Vec::new());
        }
        self.change(acting, |documents, _| {
            let before = documents.paused()?;
            let pending = Scope::Fleet.pending(&documents.operations()?)?;
            let (action, write) = match paused {
                Some(paused) => ("fleet.paused", put(PAUSED, paused)?),
                None => ("fleet.resumed", Self::delete_of(PAUSED)),
            };
            Ok(Step {
                action,
                object: "fleet".to_owned(),
                before: before.as_ref().and_then(value),
                after: paused.and_then(value),
                reason: reason.to_owned(),
                puts: vec![write],
                made: pending,
            })
        })
    }
}

impl Scheduler {
    /// Gives an order to all of a campaign, or to all that is planned: first to what has not begun, so that nothing begins behind it.
    pub(super) fn order_all(
        &mut self,
        request: &WideRequest,
        by: &str,
    ) -> Result<WideAnswer, ControlError> {
        let (scope, order) = (request.scope()?, request.order);
        let acting = Acting { by, now: self.shared.now().wall, hosts: &[], most: self.most };
        let stored = self.documents.operations()?;
        let noted = self.documents.note_order(scope, (order, &request.reason), &acting)?;
        let mut answer = WideAnswer::default();
        answer.operations.extend(noted.iter().map(|it| it.operation.id.to_string()));
        if let Some(order) = order.of_visits() {
            // One that has begun before that was noted is told; behind it none begins.
            for document in self.documents.going(None)? {
                if scope.has(&document, &stored) {
                    self.order_one(&document, (order, request), by, &mut answer)?;
                }
            }
        }
        if answer == WideAnswer::default() {
            let order = order.as_str();
            let why = format!("there is nothing of {scope} to {order}");
            return Err(ControlError::WrongState(why));
        }
        Ok(answer)
    }

    fn order_one(
        &mut self,
        document: &VisitDocument,
        (order, request): (VisitOrder, &WideRequest),
        by: &str,
        answer: &mut WideAnswer,
    ) -> Result<(), ControlError> {
        let paused = document.execution.is_paused();
        if (order == VisitOrder::Pause && paused) || (order == VisitOrder::Resume && !paused) {
            return Ok(());
        }
        let visit = document.execution.visit().to_string();
        let held = if order == VisitOrder::Resume { self.still_paused(document)? } else { None };
        let told = match held {
            Some(why) => Err(ControlError::Refused(why)),
            None => {
                let (visit, reason) = (visit.clone(), request.reason.clone());
                self.order(&OrderRequest { visit, order, reason }, by).map(drop)
            }
        };
        match told {
            Ok(()) => answer.visits.push(visit),
            Err(ControlError::Refused(why) | ControlError::WrongState(why)) => {
                answer.not_taken.push(NotTaken { visit, why });
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Whether a visit stays paused by a word that was not taken back.
    fn still_paused(&mut self, document: &VisitDocument) -> Result<Option<String>, ControlError> {
        if let Some(paused) = self.documents.paused()? {
            return Ok(Some(format!("the fleet is {paused}")));
        }
        let stored = self.documents.operations()?;
        let ids = &document.planned.visit.operations;
        let held = stored.iter().filter(|it| ids.contains(&it.operation.id));
        Ok(held.filter_map(|it| it.paused.as_ref()).map(ToString::to_string).next())
    }
}

impl Scope<'_> {
    /// Whether a visit does anything of it.
    fn has(self, document: &VisitDocument, stored: &[OperationDocument]) -> bool {
        let name = match self {
            Self::Fleet => return true,
            Self::Named(name) => name,
        };
        let of: Vec<OperationId> = named(stored, name)
            .map(|all| all.into_iter().map(|it| it.operation.id).collect())
            .unwrap_or_default();
        document.planned.visit.operations.iter().any(|id| of.contains(id))
    }
}

#[cfg(test)]
mod tests {
    use maintenance::{Host, HostState};
    use protocol::{GatewayId, Incarnation, Wall};

    use super::super::request::OperationRequest;
    use super::*;
    use crate::scheduler::documents::in_memory;
    use crate::scheduler::visits::begun_for_tests;

    fn hosts() -> Vec<Host> {
        let id = |n: usize| GatewayId::new(&format!("gw-{n}")).unwrap();
        (1..=2).map(|n| Host::new(id(n), Incarnation(1), HostState::Serving)).collect()
    }

    fn request(text: serde_json::Value) -> OperationRequest {
        serde_json::from_value(text).unwrap()
    }

    #[test]
    fn what_is_paused_does_not_begin_until_it_is_to_run_and_the_audit_tells() {
        let (mut documents, hosts) = (in_memory(), hosts());
        let acting = Acting { by: "ada", now: Wall(7), hosts: &hosts, most: 10 };
        let add = request(serde_json::json!({
            "id": "r", "kind": {"kind": "restart"}, "hosts": ["gw-1"], "paused": true, "reason": "new"
        }));
        let added = documents.add_operations(&add, &acting).unwrap().remove(0);
        let planned = begun_for_tests(added.operation).planned;
        let why =
            |documents: &mut Documents| documents.hold_operations(&planned, Wall(9)).unwrap().err();
        assert_eq!(why(&mut documents).unwrap(), "operation r is paused by ada: new");
        let told = |documents: &mut Documents, scope, order| {
            let noted = documents.note_order(scope, (order, "CHG"), &acting).unwrap();
            noted.len()
        };
        let named = Scope::Named("r");
        assert_eq!(told(&mut documents, named, WideOrder::Run), 1);
        assert_eq!(why(&mut documents), None);
        assert_eq!(told(&mut documents, named, WideOrder::Resume), 0, "it is not paused");
        assert_eq!(told(&mut documents, named, WideOrder::Pause), 1);
        assert_eq!(told(&mut documents, Scope::Fleet, WideOrder::Pause), 1);
        assert_eq!(told(&mut documents, named, WideOrder::Resume), 1);
        assert_eq!(why(&mut documents).unwrap(), "the fleet is paused by ada: CHG");
        assert_eq!(told(&mut documents, Scope::Fleet, WideOrder::Resume), 1);
        assert_eq!(why(&mut documents), None);
        assert_eq!(told(&mut documents, Scope::Fleet, WideOrder::Abort), 1);
        assert_eq!(why(&mut documents).unwrap(), "operation r is not pending any more");
        assert_eq!(told(&mut documents, Scope::Fleet, WideOrder::Abort), 0);
        let entries = documents.audit(0, 100).unwrap().entries;
        let actions: Vec<_> = entries.iter().map(|it| it.record.action.as_str()).collect();
        assert_eq!(
            actions,
            [
                "operation.added",
                "operation.resumed",
                "operation.paused",
                "fleet.paused",
                "operation.resumed",
                "fleet.resumed",
                "operation.cancelled"
            ]
        );
        let unknown = documents.note_order(Scope::Named("x"), (WideOrder::Pause, "r"), &acting);
        assert!(matches!(unknown, Err(ControlError::Missing(_))), "{unknown:?}");
    }

    #[test]
    fn a_begin_loses_to_a_pause_that_was_quicker() {
        let (mut documents, hosts) = (in_memory(), hosts());
        let acting = Acting { by: "ada", now: Wall(7), hosts: &hosts, most: 10 };
        let add = request(serde_json::json!({
            "id": "r", "kind": {"kind": "restart"}, "hosts": ["gw-1"], "reason": "new"
        }));
        let added = documents.add_operations(&add, &acting).unwrap().remove(0);
        let planned = begun_for_tests(added.operation).planned;
        for scope in [Scope::Fleet, Scope::Named("r")] {
            let puts = documents.hold_operations(&planned, Wall(9)).unwrap().unwrap();
            documents.note_order(scope, (WideOrder::Pause, "CHG"), &acting).unwrap();
            assert!(documents.write(puts).is_err(), "{scope}");
            documents.note_order(scope, (WideOrder::Resume, "CHG"), &acting).unwrap();
        }
        let puts = documents.hold_operations(&planned, Wall(9)).unwrap().unwrap();
        documents.write(puts).unwrap();
    }
}
