//! What cannot be meant.

use std::collections::{BTreeMap, BTreeSet};

use protocol::GatewayId;

use super::kind::OpKind;
use super::order::{Operation, OperationId};

/// Why operations are not taken; the requester's to mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOperations {
    /// Two have one name.
    #[error("operation {0} is there twice")]
    Twice(OperationId),
    /// The host is not registered.
    #[error("operation {operation}: {} is no host of this fleet", host.as_str())]
    UnknownHost {
        /// Which operation.
        operation: OperationId,
        /// The host it names.
        host: GatewayId,
    },
    /// It waits for what is not there.
    #[error("operation {operation} waits for {on}, which is not there")]
    UnknownDependency {
        /// Which operation.
        operation: OperationId,
        /// What it names.
        on: OperationId,
    },
    /// Operations that wait for each other.
    #[error("operations wait for each other: {}", names(.0))]
    Cycle(Vec<OperationId>),
    /// It says that it disturbs less than its kind does.
    #[error("operation {0} disturbs more than it says")]
    Class(OperationId),
    /// Its deadline is before it may start.
    #[error("operation {0} is due before it may start")]
    Deadline(OperationId),
    /// The hook has no plain name, no time, or too much to be told.
    #[error(
        "operation {0}: a hook has a name of 1 to 64 letters, digits, `-` or `_`, a time limit up to one day, and at \
         most 32 arguments of at most 1,024 bytes without NUL"
    )]
    Hook(OperationId),
}

/// Looks at all operations of a fleet together.
///
/// # Errors
/// [`InvalidOperations`], the first that is found.
pub fn validate(operations: &[Operation], hosts: &[GatewayId]) -> Result<(), InvalidOperations> {
    let known: BTreeSet<&GatewayId> = hosts.iter().collect();
    let mut named = BTreeMap::new();
    for operation in operations {
        if named.insert(&operation.id, operation).is_some() {
            return Err(InvalidOperations::Twice(operation.id.clone()));
        }
    }
    for operation in operations {
        let id = || operation.id.clone();
        if !known.contains(&operation.host) {
            let host = operation.host.clone();
            return Err(InvalidOperations::UnknownHost { operation: id(), host });
        }
        let unknown = operation.depends_on.iter().find(|on| !named.contains_key(&on.operation));
        if let Some(unknown) = unknown {
            let on = unknown.operation.clone();
            return Err(InvalidOperations::UnknownDependency { operation: id(), on });
        }
        if operation.class < operation.kind.class() {
            return Err(InvalidOperations::Class(id()));
        }
        let start = operation.not_before.map(|at| at.after(operation.estimate.p50));
        if start.is_some_and(|start| operation.deadline.is_some_and(|due| due.at < start)) {
            return Err(InvalidOperations::Deadline(id()));
        }
        if !hook_is_plain(&operation.kind) {
            return Err(InvalidOperations::Hook(id()));
        }
    }
    find_cycle(operations, &named).map_or(Ok(()), |cycle| Err(InvalidOperations::Cycle(cycle)))
}

fn hook_is_plain(kind: &OpKind) -> bool {
    let OpKind::Hook { name, args, timeout, .. } = kind else {
        return true;
    };
    let letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    (1..=64).contains(&name.len())
        && name.bytes().all(letter)
        && !timeout.is_zero()
        && timeout.as_secs() <= 24 * 60 * 60
        && args.len() <= 32
        && args.iter().all(|arg| arg.len() <= 1024 && !arg.contains('\0'))
}

/// Who waits for each other, the first again after the last.
fn find_cycle(
    operations: &[Operation],
    named: &BTreeMap<&OperationId, &Operation>,
) -> Option<Vec<OperationId>> {
    let mut open: BTreeMap<&OperationId, usize> =
        operations.iter().map(|operation| (&operation.id, operation.depends_on.len())).collect();
    let mut next = BTreeMap::<&OperationId, Vec<&OperationId>>::new();
    for operation in operations {
        for on in &operation.depends_on {
            next.entry(&on.operation).or_default().push(&operation.id);
        }
    }
    let mut ready: Vec<&OperationId> =
        open.iter().filter(|(_, open)| **open == 0).map(|(id, _)| *id).collect();
    while let Some(id) = ready.pop() {
        open.remove(id);
        for after in next.get(id).into_iter().flatten() {
            let Some(waits) = open.get_mut(after) else {
                continue;
            };
            *waits -= 1;
            if *waits == 0 {
                ready.push(after);
            }
        }
    }
    // Whoever is left waits for somebody that is left: going back ends in a circle.
    let mut path: Vec<&OperationId> = Vec::new();
    let mut at = *open.keys().next()?;
    loop {
        if let Some(first) = path.iter().position(|seen| *seen == at) {
            let circle = path.get(first..).unwrap_or_default();
            return Some(circle.iter().rev().map(|id| (*id).clone()).collect());
        }
        path.push(at);
        let before = named.get(at)?.depends_on.iter().map(|on| &on.operation);
        at = before.into_iter().find(|on| open.contains_key(on))?;
    }
}

fn names(operations: &[OperationId]) -> String {
    operations.iter().map(OperationId::as_str).collect::<Vec<_>>().join(", ")
}
