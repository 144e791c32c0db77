//! What an operator asks for, and the operations that it becomes: one, or those of a campaign.

use std::time::Duration;

use maintenance::fleet::Estimate;
use maintenance::operation::{
    After, Campaign, CampaignId, Class, Due, OpKind, Operation, OperationId, Share,
};
use maintenance::policy::Selector;
use maintenance::{Host, HostState};
use protocol::{GatewayId, Wall};
use serde::{Deserialize, Serialize};

use super::change::{Acting, check_name};
use super::learned::assumed;
use crate::control::ControlError;

/// One kind of work for one gateway or for many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperationRequest {
    /// Its name; one is made when absent. With several gateways it names a campaign, whose operations have theirs behind it.
    #[serde(default)]
    pub id: Option<String>,
    /// What is to be done.
    pub kind: OpKind,
    /// To which gateways, by name.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// To which gateways, by their labels; instead of names.
    #[serde(default)]
    pub selector: Option<Selector>,
    /// How much it disturbs, if that is more than its kind does.
    #[serde(default)]
    pub class: Option<Class>,
    /// The higher the more important.
    #[serde(default)]
    pub priority: u8,
    /// Not earlier, in milliseconds since 1970.
    #[serde(default)]
    pub not_before_ms: Option<u64>,
    /// By when.
    #[serde(default)]
    pub deadline: Option<Due>,
    /// What must be over before: operations, or all of a campaign.
    #[serde(default)]
    pub depends_on: Vec<After>,
    /// How long it probably takes; assumed by its kind when absent.
    #[serde(default)]
    pub estimate: Option<Estimate>,
    /// How many gateways the first batches have; 1, 3 and 5 percent when absent.
    #[serde(default)]
    pub canary: Option<Vec<Share>>,
    /// How long a batch is watched before the next begins, in milliseconds.
    #[serde(default)]
    pub soak_ms: u64,
    /// How many visits of a campaign may fail before what is left of it stands still.
    #[serde(default)]
    pub failure_budget: u32,
    /// Whether nobody begins it before somebody says so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// Why, for people and the audit.
    pub reason: String,
}

impl OperationRequest {
    /// One kind of work for these gateways, for this reason, with nothing else said of it.
    pub fn new(kind: OpKind, hosts: &[&str], reason: &str) -> Self {
        Self {
            id: None,
            kind,
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            selector: None,
            class: None,
            priority: 0,
            not_before_ms: None,
            deadline: None,
            depends_on: Vec::new(),
            estimate: None,
            canary: None,
            soak_ms: 0,
            failure_budget: 0,
            paused: false,
            reason: reason.to_owned(),
        }
    }

    /// The operations that are asked for: one, or those of a campaign.
    pub(in crate::scheduler) fn operations(
        &self,
        named: &str,
        known: &[&Operation],
        acting: &Acting<'_>,
    ) -> Result<Vec<Operation>, ControlError> {
        let invalid = |why: &dyn std::fmt::Display| ControlError::Invalid(why.to_string());
        check_name("operation", named)?;
        let hosts = hosts(self, acting.hosts)?;
        let id = OperationId::new(named).map_err(|why| invalid(&why))?;
        let first = hosts.first().cloned().ok_or_else(|| invalid(&"no gateway is selected"))?;
        let template = Operation {
            class: self.class.unwrap_or_else(|| self.kind.class()),
            priority: self.priority,
            not_before: self.not_before_ms.map(Wall),
            deadline: self.deadline,
            depends_on: self.depends_on.iter().flat_map(|on| each(on, known)).collect(),
            estimate: self.estimate.unwrap_or_else(|| assumed(&self.kind)),
            reason: self.reason.clone(),
            requester: acting.by.to_owned(),
            ..Operation::new(id.clone(), self.kind.clone(), first)
        };
        if hosts.len() == 1 && self.selector.is_none() && self.canary.is_none() {
            return Ok(vec![template]);
        }
        let campaign = Campaign {
            id: CampaignId(id),
            template,
            canary: self.canary.clone().unwrap_or_else(|| Campaign::CANARY.to_vec()),
            soak: Duration::from_millis(self.soak_ms),
            failure_budget: self.failure_budget,
        };
        campaign.operations(&hosts).map_err(|why| invalid(&why))
    }
}

/// What is waited for where a campaign is named: each of its operations.
fn each(on: &After, known: &[&Operation]) -> Vec<After> {
    let name = on.operation.as_str();
    let of = |it: &&&Operation| is_named(it, name) && it.id != on.operation;
    let all: Vec<_> = known
        .iter()
        .filter(of)
        .map(|it| After { operation: it.id.clone(), ..on.clone() })
        .collect();
    if all.is_empty() { vec![on.clone()] } else { all }
}

/// Whether that is its name, or its campaign's.
pub(super) fn is_named(operation: &Operation, name: &str) -> bool {
    let campaign = operation.batch.as_ref().map(|batch| batch.campaign.0.as_str());
    operation.id.as_str() == name || campaign == Some(name)
}

fn hosts(request: &OperationRequest, known: &[Host]) -> Result<Vec<GatewayId>, ControlError> {
    match (&request.selector, request.hosts.as_slice()) {
        (Some(selector), []) => {
            let chosen = known
                .iter()
                .filter(|host| host.state != HostState::Retired && selector.matches(host));
            Ok(chosen.map(|host| host.id.clone()).collect())
        }
        (None, [_, ..]) => {
            let id = |name: &String| {
                let host = known.iter().find(|host| host.id.as_str() == name);
                let unknown = || ControlError::Invalid(format!("there is no gateway {name}"));
                host.map(|host| host.id.clone()).ok_or_else(unknown)
            };
            request.hosts.iter().map(id).collect()
        }
        _ => Err(ControlError::Invalid("name gateways, or select them by their labels".into())),
    }
}
