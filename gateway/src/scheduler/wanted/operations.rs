//! Operations as operators want them: added, listed, approved, cancelled; over when their visit is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use maintenance::operation::{Approval, Operation, OperationId, validate};
use protocol::{GatewayId, Wall};
use serde::{Deserialize, Serialize};
use store::{Expect, Put, Rev};

use super::change::{Acting, Step, put, value};
use super::control::Removal;
use super::outcome::{OperationState, is_waited_for};
use super::request::{OperationRequest, is_named};
use super::wide::{Paused, Scope};
use crate::control::ControlError;
use crate::scheduler::acts::unavailable;
use crate::scheduler::documents::Documents;
use crate::scheduler::visits::VisitDocument;

/// An operation and what became of it: `operation/` and its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperationDocument {
    /// What is to be done.
    pub operation: Operation,
    /// Whether it is still to be done.
    pub state: OperationState,
    /// Grows with each change: the number of its entry in the audit.
    pub revision: u64,
    /// When it was over, in milliseconds since 1970.
    pub ended_ms: Option<u64>,
    /// Whether an operator lets go on what waits for it although it was not done.
    #[serde(default)]
    pub passed_over: bool,
    /// Who wants that nobody begins it for now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Paused>,
}

const PREFIX: &str = "operation/";
/// How long it is remembered what became of an operation; the audit never forgets.
const REMEMBERED: Duration = Duration::from_secs(7 * 24 * 3600);

impl Documents {
    /// All of them, by name; also those that were over lately.
    pub(in crate::scheduler) fn operations(
        &mut self,
    ) -> Result<Vec<OperationDocument>, ControlError> {
        self.kind(PREFIX)
    }

    /// Adds operations; the same once more are answered as they stand, since an answer may be lost.
    pub(in crate::scheduler) fn add_operations(
        &mut self,
        request: &OperationRequest,
        acting: &Acting<'_>,
    ) -> Result<Vec<OperationDocument>, ControlError> {
        if let Some(there) = self.same_operations(request, acting)? {
            return Ok(there);
        }
        self.change(acting, |documents, seq| {
            let stored = documents.operations()?;
            let named = request.id.clone().unwrap_or_else(|| format!("op-{seq}"));
            let operations = request.operations(&named, &known(&stored), acting)?;
            check(&operations, &stored, acting)?;
            let made = |operation: Operation| OperationDocument {
                operation,
                state: OperationState::Pending,
                revision: seq,
                ended_ms: None,
                passed_over: false,
                paused: request.paused.then(|| Paused::by(acting, &request.reason)),
            };
            let made: Vec<_> = operations.into_iter().map(made).collect();
            let mut puts = forgotten(&stored, acting.now);
            for document in &made {
                puts.push(put(&key(&document.operation.id), document)?);
            }
            Ok(Step {
                action: "operation.added",
                object: format!("operation {named}"),
                before: None,
                after: value(&made),
                reason: request.reason.clone(),
                puts,
                made,
            })
        })
    }

    /// Notes that somebody agrees to an operation, or to all of a campaign; never whoever wants it.
    pub(in crate::scheduler) fn approve_operations(
        &mut self,
        (id, reason): (&str, &str),
        acting: &Acting<'_>,
    ) -> Result<Vec<OperationDocument>, ControlError> {
        self.change(acting, |documents, seq| {
            let mut named = named(&documents.operations()?, id)?;
            named.retain(|it| it.state == OperationState::Pending);
            if named.iter().any(|it| it.operation.requester == acting.by) {
                let why = "whoever wants an operation does not approve it";
                return Err(ControlError::Refused(why.into()));
            }
            if named.is_empty() {
                return Err(ControlError::WrongState(format!("nothing of {id} is pending")));
            }
            let before = value(&named);
            for document in &mut named {
                let approval = Approval { actor: acting.by.to_owned(), at: acting.now };
                document.operation.approvals.retain(|it| it.actor != approval.actor);
                document.operation.approvals.push(approval);
                document.revision = seq;
            }
            step("operation.approved", (id, reason), before, named)
        })
    }

    /// Lets go on what waits for an operation that was not done, or what is left of a campaign of which some were not.
    pub(in crate::scheduler) fn pass_over_operations(
        &mut self,
        (id, reason): (&str, &str),
        acting: &Acting<'_>,
    ) -> Result<Vec<OperationDocument>, ControlError> {
        self.change(acting, |documents, seq| {
            let mut named = named(&documents.operations()?, id)?;
            named.retain(OperationDocument::holds_up);
            if named.is_empty() {
                return Err(ControlError::WrongState(format!("nothing of {id} holds up others")));
            }
            let before = value(&named);
            for document in &mut named {
                (document.passed_over, document.revision) = (true, seq);
            }
            step("operation.passed_over", (id, reason), before, named)
        })
    }

    /// Ends operations that nobody has begun: of a campaign what is left of it.
    pub(in crate::scheduler) fn cancel_operations(
        &mut self,
        removal: &Removal,
        acting: &Acting<'_>,
    ) -> Result<Vec<OperationDocument>, ControlError> {
        self.cancel(Scope::Named(&removal.name), &removal.reason, acting)
    }

    /// The same of all that is meant.
    pub(super) fn cancel(
        &mut self,
        scope: Scope<'_>,
        reason: &str,
        acting: &Acting<'_>,
    ) -> Result<Vec<OperationDocument>, ControlError> {
        self.change(acting, |documents, seq| {
            let stored = documents.operations()?;
            let mut named = scope.pending(&stored)?;
            if named.is_empty() {
                return Err(ControlError::WrongState(format!("nothing of {scope} is pending")));
            }
            // A visit that begins behind this look writes them, too.
            let seen = documents.revisions(&named)?;
            let (ledger, _) = documents.ledger()?;
            let going = documents.going(None)?;
            let of_going: BTreeSet<_> =
                going.iter().flat_map(|it| &it.planned.visit.operations).collect();
            // What a visit has begun ends with it, and while a slot is held there is one.
            let slot = |host: &GatewayId| ledger.slot(host).is_some_and(|it| it.visit.is_some());
            named.retain(|it| !slot(&it.operation.host) && !of_going.contains(&it.operation.id));
            if named.is_empty() {
                let why = "its gateway is being visited; abort the visit";
                return Err(ControlError::WrongState(why.into()));
            }
            let gone: BTreeSet<_> = named.iter().map(|it| it.operation.id.clone()).collect();
            let waits = stored.iter().find(|it| {
                it.state == OperationState::Pending
                    && !gone.contains(&it.operation.id)
                    && it.operation.depends_on.iter().any(|on| gone.contains(&on.operation))
            });
            if let Some(waits) = waits {
                let why =
                    format!("operation {} waits for it; cancel that first", waits.operation.id);
                return Err(ControlError::Refused(why));
            }
            let before = value(&named);
            for document in &mut named {
                document.end(OperationState::Cancelled, seq, acting.now);
            }
            let name = &scope.to_string();
            let mut step = step("operation.cancelled", (name, reason), before, Vec::new())?;
            for document in &named {
                let id = &document.operation.id;
                let expect = seen.get(id).map_or(Expect::Any, |rev| Expect::Rev(*rev));
                step.puts.push(Self::put_of(&key(id), document, expect).map_err(unavailable)?);
            }
            (step.after, step.made) = (value(&named), named);
            Ok(step)
        })
    }

    /// Where operations stand now.
    fn revisions(
        &mut self,
        of: &[OperationDocument],
    ) -> Result<BTreeMap<OperationId, Rev>, ControlError> {
        let mut found = BTreeMap::new();
        for OperationDocument { operation, .. } in of {
            let stored = self.get::<OperationDocument>(&key(&operation.id)).map_err(unavailable)?;
            found.extend(stored.map(|(_, rev)| (operation.id.clone(), rev)));
        }
        Ok(found)
    }

    /// Notes what a visit left of its operations; what is not pending stays as it is.
    ///
    /// # Errors
    /// [`ControlError::Unavailable`].
    pub fn end_operations(
        &mut self,
        ids: &[OperationId],
        (state, reason): (OperationState, &str),
        acting: &Acting<'_>,
    ) -> Result<(), ControlError> {
        self.end_and_learn(ids, (state, reason), None, acting)
    }

    /// The same, and learns from the visit how long its works take if it was done.
    pub(in crate::scheduler) fn end_and_learn(
        &mut self,
        ids: &[OperationId],
        (state, reason): (OperationState, &str),
        visit: Option<&VisitDocument>,
        acting: &Acting<'_>,
    ) -> Result<(), ControlError> {
        let named = |it: &OperationDocument| {
            it.state == OperationState::Pending && ids.contains(&it.operation.id)
        };
        if !self.operations()?.iter().any(named) {
            return Ok(());
        }
        self.change(acting, |documents, seq| {
            let mut over: Vec<_> = documents.operations()?.into_iter().filter(named).collect();
            let before = value(&over);
            over.iter_mut().for_each(|it| it.end(state, seq, acting.now));
            let name = ids.iter().map(OperationId::as_str).collect::<Vec<_>>().join(" ");
            let name: String = name.chars().take(200).collect();
            let mut step = step(state.action(), (&name, reason), before, over)?;
            if let Some(visit) = visit.filter(|_| state == OperationState::Done) {
                step.puts.extend(documents.learn(visit)?);
            }
            Ok(step)
        })?;
        Ok(())
    }

    /// What is there already, if all of it is and was asked for with the same words.
    fn same_operations(
        &mut self,
        request: &OperationRequest,
        acting: &Acting<'_>,
    ) -> Result<Option<Vec<OperationDocument>>, ControlError> {
        let Some(named) = &request.id else { return Ok(None) };
        let stored = self.operations()?;
        let same = |wanted: Operation| {
            let there = stored.iter().find(|it| it.operation.id == wanted.id)?;
            let approvals = there.operation.approvals.clone();
            (there.operation == Operation { approvals, ..wanted }).then(|| there.clone())
        };
        Ok(request.operations(named, &known(&stored), acting)?.into_iter().map(same).collect())
    }
}

impl OperationDocument {
    /// Whether it was to be done and was not, so that whatever waits for it waits on.
    pub(in crate::scheduler) const fn holds_up(&self) -> bool {
        self.state.holds_up() && !self.passed_over
    }

    fn end(&mut self, state: OperationState, revision: u64, now: Wall) {
        (self.state, self.revision, self.ended_ms) = (state, revision, Some(now.0));
    }
}

pub(super) fn step(
    action: &'static str,
    (name, reason): (&str, &str),
    before: Option<serde_json::Value>,
    made: Vec<OperationDocument>,
) -> Result<Step<Vec<OperationDocument>>, ControlError> {
    let puts = made.iter().map(|it| put(&key(&it.operation.id), it));
    Ok(Step {
        action,
        object: format!("operation {name}"),
        before,
        after: value(&made),
        reason: reason.to_owned(),
        puts: puts.collect::<Result<_, _>>()?,
        made,
    })
}

pub(super) fn key(id: &OperationId) -> String {
    format!("{PREFIX}{id}")
}

/// An operation of this name, or all of the campaign.
pub(super) fn named(
    stored: &[OperationDocument],
    id: &str,
) -> Result<Vec<OperationDocument>, ControlError> {
    let of = |it: &&OperationDocument| is_named(&it.operation, id);
    let named: Vec<_> = stored.iter().filter(of).cloned().collect();
    if named.is_empty() {
        return Err(ControlError::Missing(format!("there is no operation {id}")));
    }
    Ok(named)
}

/// What is over for so long that it is forgotten.
fn forgotten(stored: &[OperationDocument], now: Wall) -> Vec<Put> {
    let old = |it: &&OperationDocument| {
        let old = it.ended_ms.is_some_and(|ended| Wall(ended).after(REMEMBERED) <= now);
        old && !is_waited_for(it, stored)
    };
    stored.iter().filter(old).map(|it| Documents::delete_of(&key(&it.operation.id))).collect()
}

fn known(stored: &[OperationDocument]) -> Vec<&Operation> {
    stored.iter().map(|it| &it.operation).collect()
}

/// What can be meant beside what is there.
fn check(
    new: &[Operation],
    stored: &[OperationDocument],
    acting: &Acting<'_>,
) -> Result<(), ControlError> {
    if let Some(other) = new.iter().find(|it| it.kind.takes_anothers_program()) {
        let why = format!(
            "operation {}: the program of a kind of its own is not run as a hook; say that kind",
            other.id
        );
        return Err(ControlError::Invalid(why));
    }
    if let Some(twice) = new.iter().find(|it| stored.iter().any(|old| old.operation.id == it.id)) {
        let why = format!("there is an operation {} already, and it is another one", twice.id);
        return Err(ControlError::Refused(why));
    }
    let pending = stored.iter().filter(|it| it.state == OperationState::Pending);
    let mut all: Vec<Operation> = pending.map(|it| it.operation.clone()).collect();
    if all.len() + new.len() > acting.most {
        let most = acting.most;
        let why = format!(
            "limits.maintenance_documents allows {most} operations, and {} are pending",
            all.len()
        );
        return Err(ControlError::Refused(why));
    }
    let mut hosts: Vec<GatewayId> = acting.hosts.iter().map(|host| host.id.clone()).collect();
    hosts.extend(all.iter().map(|it| it.host.clone()));
    // What is over is not waited for.
    let over = stored.iter().filter(|it| it.state != OperationState::Pending);
    let over: BTreeSet<_> = over.map(|it| it.operation.id.clone()).collect();
    all.extend(new.iter().cloned());
    for operation in &mut all {
        operation.depends_on.retain(|on| !over.contains(&on.operation));
    }
    validate(&all, &hosts).map_err(|why| ControlError::Invalid(why.to_string()))
}
