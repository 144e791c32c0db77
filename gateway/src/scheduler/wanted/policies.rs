//! Policies as operators put them: their text, which gateways read when they plan.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use maintenance::Host;
use maintenance::operation::Class;
use maintenance::policy::{LintCode, Planned, PolicySet};
use protocol::{GatewayId, Wall};
use serde::{Deserialize, Serialize};
use store::Reader;

use super::change::{Acting, Step, check_name, put, value};
use super::control::Removal;
use super::operations::OperationDocument;
use super::outcome::OperationState;
use crate::control::ControlError;
use crate::scheduler::acts::unavailable;
use crate::scheduler::documents::{Documents, every};
use crate::scheduler::host::HostDocument;

/// Policies under one name: `policy/` and the name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyDocument {
    /// The name.
    pub name: String,
    /// One or more policies, as TOML.
    pub text: String,
    /// The calendars that exclusions name, as iCalendar text.
    pub calendars: BTreeMap<String, String>,
    /// Grows with each change: the number of its entry in the audit.
    pub revision: u64,
    /// Who put it.
    pub by: String,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
}

/// Policies that an operator puts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyRequest {
    /// One or more policies, as TOML.
    pub text: String,
    /// The calendars that exclusions name, as iCalendar text.
    #[serde(default)]
    pub calendars: BTreeMap<String, String>,
    /// Whether to take them although some of it will not work as somebody probably thinks.
    #[serde(default)]
    pub accept_lints: bool,
    /// Why, for the audit.
    pub reason: String,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyAnswer {
    /// As it stands now.
    pub policy: PolicyDocument,
    /// What will not work as somebody probably thinks, and was accepted.
    pub lints: Vec<String>,
}

const PREFIX: &str = "policy/";
/// How long each gateway should be open in 32 days.
const LEAST_OPEN: Duration = Duration::from_secs(8 * 3600);

impl Documents {
    /// All of them, by name.
    pub(in crate::scheduler) fn policies(&mut self) -> Result<Vec<PolicyDocument>, ControlError> {
        self.kind(PREFIX)
    }

    /// What they say together.
    ///
    /// # Errors
    /// [`ControlError::Unavailable`], and [`ControlError::Invalid`] if another version of the program wrote them.
    pub fn policy_set(&mut self) -> Result<PolicySet, ControlError> {
        together(&self.policies()?)
    }

    /// Puts policies in the place of what has this name and revision; a new one has none.
    pub(in crate::scheduler) fn put_policy(
        &mut self,
        (name, expected): (&str, Option<u64>),
        request: &PolicyRequest,
        acting: &Acting<'_>,
    ) -> Result<PolicyAnswer, ControlError> {
        check_name("policy", name)?;
        self.change(acting, |documents, seq| {
            let stored = documents.policies()?;
            let old = stored.iter().find(|it| it.name == name);
            check_seen(name, old, expected)?;
            if old.is_none() && stored.len() >= acting.most {
                return Err(full(acting.most));
            }
            let policy = PolicyDocument {
                name: name.to_owned(),
                text: request.text.clone(),
                calendars: request.calendars.clone(),
                revision: seq,
                by: acting.by.to_owned(),
                at_ms: acting.now.0,
            };
            let mut now: Vec<_> = stored.iter().filter(|it| it.name != name).cloned().collect();
            now.push(policy.clone());
            let lints = new_lints(documents, (stored.as_slice(), now.as_slice()), acting)?;
            if !lints.is_empty() && !request.accept_lints {
                return Err(ControlError::Refused(format!(
                    "{}; accept it, or mend it",
                    lints.join("; ")
                )));
            }
            Ok(Step {
                action: "policy.put",
                object: format!("policy {name}"),
                before: old.and_then(value),
                after: value(&policy),
                reason: request.reason.clone(),
                puts: vec![put(&format!("{PREFIX}{name}"), &policy)?],
                made: PolicyAnswer { policy, lints },
            })
        })
    }

    /// Takes policies away; what they allowed is not allowed any more, what they forbade may be.
    pub(in crate::scheduler) fn remove_policy(
        &mut self,
        removal: &Removal,
        acting: &Acting<'_>,
    ) -> Result<PolicyDocument, ControlError> {
        let Removal { name, expected, reason, .. } = removal;
        self.change(acting, |documents, _| {
            let stored = documents.policies()?;
            let Some(old) = stored.into_iter().find(|it| it.name == *name) else {
                return Err(ControlError::Missing(format!("there is no policy {name}")));
            };
            if expected.is_some() {
                check_seen(name, Some(&old), *expected)?;
            }
            let (object, key) = (format!("policy {name}"), format!("{PREFIX}{name}"));
            Ok(Step::removal("policy.removed", object, reason, (&key, old)))
        })
    }
}

/// What the policies of the fleet say together, for whoever has no more than a reader.
pub(in crate::scheduler) fn policies_in(
    reader: &mut dyn Reader,
) -> Result<PolicySet, ControlError> {
    together(&every(reader, PREFIX).map_err(unavailable)?)
}

fn full(most: usize) -> ControlError {
    let why = format!("limits.maintenance_documents allows {most}, and as many policies are there");
    ControlError::Refused(why)
}

/// Whether the one who changes it knows what it says.
fn check_seen(
    name: &str,
    old: Option<&PolicyDocument>,
    expected: Option<u64>,
) -> Result<(), ControlError> {
    match (old, expected) {
        (None, None) => Ok(()),
        (Some(old), Some(expected)) if old.revision == expected => Ok(()),
        (None, Some(_)) => Err(ControlError::Outdated(format!("there is no policy {name}"))),
        (Some(old), _) => {
            let revision = old.revision;
            Err(ControlError::Outdated(format!("policy {name} is there, in revision {revision}")))
        }
    }
}

/// What policies say together.
///
/// # Errors
/// [`ControlError::Invalid`] if another version of the program wrote them.
pub fn together(documents: &[PolicyDocument]) -> Result<PolicySet, ControlError> {
    let read = |document: &PolicyDocument| {
        PolicySet::read(&document.text, &document.calendars)
            .map_err(|wrong| ControlError::Invalid(wrong.to_string()))
    };
    let sets = documents.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    PolicySet::together(sets).map_err(|wrong| ControlError::Invalid(wrong.to_string()))
}

/// A visit as lints look at it: of one operation, with the drain that it needs.
type Pending = (GatewayId, Duration, Option<Wall>);

impl Documents {
    /// What of operations that were added will probably not work by the policies of the fleet: their openings are too short, or come
    /// too late.
    pub(in crate::scheduler) fn lints_of(
        &mut self,
        operations: &[OperationDocument],
        acting: &Acting<'_>,
    ) -> Result<Vec<String>, ControlError> {
        let (policies, freezes) = (self.policy_set()?, self.freezes()?);
        let pending = self.pending(operations)?;
        let of = |host: &&Host| pending.iter().any(|(id, ..)| *id == host.id);
        let hosts: Vec<Host> = acting.hosts.iter().filter(of).cloned().collect();
        let planned: Vec<_> = pending.iter().map(planned).collect();
        let mut lints = policies.lints(&hosts, &freezes, &planned, acting.now, LEAST_OPEN);
        lints.retain(|lint| {
            matches!(lint.code, LintCode::WindowTooShort | LintCode::DeadlineBeforeOpening)
        });
        Ok(lints.iter().map(ToString::to_string).collect())
    }

    /// What of operations is still to be done, and how long each probably takes.
    fn pending(&mut self, operations: &[OperationDocument]) -> Result<Vec<Pending>, ControlError> {
        let told = self.all::<HostDocument>(HostDocument::PREFIX).map_err(unavailable)?;
        let drains: BTreeMap<_, _> =
            told.into_iter().map(|it| (it.host.id, it.answer.drain_estimate.p95)).collect();
        let pending = operations.iter().filter(|it| it.state == OperationState::Pending);
        let visit = |OperationDocument { operation: it, .. }: &OperationDocument| {
            let moves = it.class >= Class::Drain;
            let drain = drains.get(&it.host).copied().filter(|_| moves).unwrap_or_default();
            (it.host.clone(), it.estimate.p95 + drain, it.deadline.map(|due| due.at))
        };
        Ok(pending.map(visit).collect())
    }
}

const fn planned((host, length, deadline): &Pending) -> Planned<'_> {
    Planned { host, length: *length, deadline: *deadline }
}

/// What will not work now and did before. What is stored can always be read: it was read when it was put.
fn new_lints(
    documents: &mut Documents,
    (before, now): (&[PolicyDocument], &[PolicyDocument]),
    acting: &Acting<'_>,
) -> Result<Vec<String>, ControlError> {
    let freezes = documents.freezes()?;
    let stored = documents.operations()?;
    let pending = documents.pending(&stored)?;
    let planned: Vec<_> = pending.iter().map(planned).collect();
    let lints = |policies: &[PolicyDocument]| {
        let set = together(policies)?;
        let lints = set.lints(acting.hosts, &freezes, &planned, acting.now, LEAST_OPEN);
        Ok::<_, ControlError>(lints.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    let known: BTreeSet<String> = lints(before)?.into_iter().collect();
    let mut lints = lints(now)?;
    lints.retain(|lint| !known.contains(lint));
    Ok(lints)
}
