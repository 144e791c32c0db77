//! One visit of all pending work of a host.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use protocol::{GatewayId, Wall};

use super::kind::Class;
use super::order::{Due, Operation, OperationId};
use super::validate::{InvalidOperations, validate};
use super::visit::{PhaseTimes, Phases, Visit, VisitAfter, works};
use crate::fleet::VisitId;

/// What merging depends on besides the operations.
pub struct Merging<'a> {
    /// Calendar time.
    pub now: Wall,
    /// Work that may start within this time of each other is done together.
    pub join: Duration,
    /// How long the parts of a host's visit take.
    pub times: &'a dyn Fn(&GatewayId) -> PhaseTimes,
}

impl std::fmt::Debug for Merging<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Merging").field("now", &self.now).field("join", &self.join).finish()
    }
}

/// A visit that is being put together.
struct Draft<'o> {
    operations: Vec<&'o Operation>,
    /// The drafts it waits for.
    after: BTreeMap<usize, Duration>,
}

/// Makes visits of pending operations: one per host, unless what it waits for, its deadlines or the batches of campaigns
/// forbid to do everything at once. The order of the operations does not matter.
///
/// # Errors
/// [`InvalidOperations`], if operations wait for each other or for what is not there.
pub fn merge(
    operations: &[Operation],
    merging: &Merging<'_>,
) -> Result<Vec<Visit>, InvalidOperations> {
    let hosts: Vec<GatewayId> = operations.iter().map(|operation| operation.host.clone()).collect();
    validate(operations, &hosts)?;
    let mut drafts = Vec::<Draft<'_>>::new();
    let mut drafts_of = BTreeMap::<&GatewayId, Vec<usize>>::new();
    let mut draft_of = BTreeMap::<&OperationId, usize>::new();
    for operation in in_order(operations) {
        let after = operation
            .depends_on
            .iter()
            .filter_map(|on| draft_of.get(&on.operation).map(|draft| (*draft, on.lag)));
        let after: Vec<(usize, Duration)> = after.collect();
        let own = drafts_of.entry(&operation.host).or_default();
        let fits = |draft: &usize| may_join(&drafts, *draft, operation, &after, merging);
        let place = match own.iter().copied().find(fits) {
            Some(place) => place,
            None => {
                let before = own.last().map(|last| (*last, Duration::ZERO));
                drafts.push(Draft { operations: Vec::new(), after: before.into_iter().collect() });
                own.push(drafts.len() - 1);
                drafts.len() - 1
            }
        };
        draft_of.insert(&operation.id, place);
        if let Some(draft) = drafts.get_mut(place) {
            draft.operations.push(operation);
            for (before, lag) in after.into_iter().filter(|(before, _)| *before != place) {
                let waits = draft.after.entry(before).or_default();
                *waits = (*waits).max(lag);
            }
        }
    }
    let names: Vec<VisitId> = drafts.iter().filter_map(name).collect();
    Ok(drafts.iter().filter_map(|draft| finish(draft, &names, merging)).collect())
}

/// None before what it waits for, otherwise by when they may start, by batch, by name.
fn in_order(operations: &[Operation]) -> Vec<&Operation> {
    let key = |operation: &Operation| {
        let batch = operation.batch.as_ref().map_or(0, |batch| batch.number);
        (operation.not_before.unwrap_or_default(), batch, operation.id.clone())
    };
    let mut waiting: BTreeMap<_, &Operation> = operations.iter().map(|o| (key(o), o)).collect();
    let mut done = BTreeSet::new();
    let mut order = Vec::with_capacity(operations.len());
    loop {
        let ready: Vec<_> = waiting
            .iter()
            .filter(|(_, operation)| {
                operation.depends_on.iter().all(|on| done.contains(&on.operation))
            })
            .map(|(key, operation)| (key.clone(), *operation))
            .collect();
        if ready.is_empty() {
            return order;
        }
        for (key, operation) in ready {
            waiting.remove(&key);
            done.insert(&operation.id);
            order.push(operation);
        }
    }
}

/// Whether an operation can be done in a visit.
fn may_join(
    drafts: &[Draft<'_>],
    place: usize,
    operation: &Operation,
    after: &[(usize, Duration)],
    merging: &Merging<'_>,
) -> bool {
    let Some(draft) = drafts.get(place) else {
        return false;
    };
    // Within a visit one thing follows the other at once.
    let apart = after.iter().any(|(before, lag)| *before == place && !lag.is_zero());
    // What it waits for must not wait for this visit.
    let circle =
        after.iter().any(|(before, _)| *before != place && reaches(drafts, *before, place));
    let batch = |operation: &Operation| operation.batch.as_ref().map(|batch| batch.number);
    let mut batches = draft.operations.iter().filter_map(|other| batch(other));
    let mixed = batch(operation).is_some_and(|number| batches.any(|other| other != number));
    if apart || circle || mixed {
        return false;
    }
    let mut all = draft.operations.clone();
    all.push(operation);
    let starts = || all.iter().map(|o| o.not_before.unwrap_or_default().max(merging.now));
    let (Some(first), Some(last)) = (starts().min(), starts().max()) else {
        return false;
    };
    let work: Duration = all.iter().map(|operation| operation.estimate.p95).sum();
    let due = all.iter().filter_map(|operation| operation.deadline).map(|due| due.at).min();
    let alone = |operation: &Operation| {
        let start = operation.not_before.unwrap_or_default().max(merging.now);
        operation.deadline.is_none_or(|due| start.after(operation.estimate.p95) <= due.at)
    };
    // A deadline that is lost anyway does not keep work apart.
    let in_time = due.is_none_or(|due| last.after(work) <= due) || !all.iter().all(|o| alone(o));
    first.until(last) <= merging.join && in_time
}

/// Whether a visit waits for another, directly or not.
fn reaches(drafts: &[Draft<'_>], from: usize, to: usize) -> bool {
    let mut seen = BTreeSet::from([from]);
    let mut queue = VecDeque::from([from]);
    while let Some(at) = queue.pop_front() {
        if at == to {
            return true;
        }
        let before = drafts.get(at).into_iter().flat_map(|draft| draft.after.keys());
        queue.extend(before.copied().filter(|before| seen.insert(*before)));
    }
    false
}

/// The host and the oldest operation.
fn name(draft: &Draft<'_>) -> Option<VisitId> {
    let oldest = draft.operations.iter().min_by_key(|operation| &operation.id)?;
    // At most 64 characters of each: it fits, cut by one for the sign between them.
    let name: String =
        format!("{}/{}", oldest.host.as_str(), oldest.id).chars().take(128).collect();
    VisitId::new(&name).ok()
}

fn finish(draft: &Draft<'_>, names: &[VisitId], merging: &Merging<'_>) -> Option<Visit> {
    let first = draft.operations.first()?;
    let ordered = by_place(&draft.operations);
    let class = ordered.iter().map(|operation| operation.class).max().unwrap_or(Class::Hot);
    let work: Duration = works(&ordered).iter().map(|work| work.estimate).sum();
    let hold = ordered.iter().map(|operation| operation.kind.hold());
    let operate = work.max(hold.max().unwrap_or_default());
    let due = |hard: bool| {
        let due = ordered.iter().filter_map(|operation| operation.deadline);
        due.filter(|due| due.hard == hard).map(|due| due.at).min()
    };
    // Beside a hard deadline a soft one is not worth another visit's hard one.
    let deadline = match (due(true), due(false)) {
        (Some(hard), _) => Some(Due { at: hard, hard: true }),
        (None, soft) => soft.map(|at| Due { at, hard: false }),
    };
    let mut batches: Vec<_> = ordered.iter().filter_map(|o| o.batch.clone()).collect();
    batches.sort();
    batches.dedup();
    let after = draft.after.iter().filter_map(|(before, lag)| {
        Some(VisitAfter { visit: names.get(*before)?.clone(), lag: *lag })
    });
    Some(Visit {
        id: name(draft)?,
        host: first.host.clone(),
        operations: ordered.iter().map(|operation| operation.id.clone()).collect(),
        class,
        phases: Phases::new(class, operate, &(merging.times)(&first.host)),
        not_before: ordered.iter().filter_map(|operation| operation.not_before).max(),
        deadline,
        priority: ordered.iter().map(|operation| operation.priority).max().unwrap_or(0),
        after: after.collect(),
        batches,
    })
}

/// By their places in a visit, but none before what it waits for.
fn by_place<'o>(operations: &[&'o Operation]) -> Vec<&'o Operation> {
    let mut left: Vec<&Operation> = operations.to_vec();
    left.sort_by_key(|operation| (operation.kind.place(), &operation.id));
    let mut ordered = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let free = |operation: &&Operation| {
            operation.depends_on.iter().all(|on| left.iter().all(|other| other.id != on.operation))
        };
        let next = left.iter().position(free).unwrap_or(0);
        ordered.push(left.remove(next));
    }
    ordered
}
