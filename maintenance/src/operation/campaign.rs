//! One change of many hosts, in batches that grow.

use std::fmt;
use std::time::Duration;

use protocol::{GatewayId, hash64};
use serde::{Deserialize, Serialize};

use super::order::{Operation, OperationId};
use crate::record;

/// Names a campaign: as an operation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CampaignId(pub OperationId);

/// One change of many hosts: small batches first, each watched before the next, then all others as fast as limits allow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Campaign {
    /// Its name.
    pub id: CampaignId,
    /// What is done to each host; its name and host are filled in.
    pub template: Operation,
    /// How many hosts the first batches have.
    pub canary: Vec<Share>,
    /// How long a batch is watched before the next begins.
    #[serde(rename = "soak_ms", with = "record::millis")]
    pub soak: Duration,
    /// How many visits may fail before it pauses.
    pub failure_budget: u32,
}

/// How many hosts of a campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Share {
    /// So many.
    Hosts(u32),
    /// So many of a hundred, rounded up.
    Percent(u8),
}

/// A batch of a campaign.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchOf {
    /// Which campaign.
    pub campaign: CampaignId,
    /// Which of its batches, from zero.
    pub number: usize,
    /// How long it is watched before the next begins.
    #[serde(rename = "soak_ms", with = "record::millis")]
    pub soak: Duration,
    /// How many visits of the campaign may fail before it stands still.
    #[serde(default, skip_serializing_if = "is_none")]
    pub failure_budget: u32,
}

/// Why a campaign cannot be what was asked for; the requester's to mend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCampaign {
    /// It has no host.
    #[error("no host is selected")]
    NoHosts,
    /// A batch of nobody, or of more than all.
    #[error("a batch has at least one host and at most 100 percent")]
    Batch,
    /// A name would be longer than 64 characters.
    #[error("the name of a campaign and of its hosts together have at most 63 characters")]
    Name,
}

impl Campaign {
    /// The first batches of every campaign that does not say otherwise: 1 host, 3 hosts, 5 percent.
    pub const CANARY: [Share; 3] = [Share::Hosts(1), Share::Hosts(3), Share::Percent(5)];

    /// Its hosts by batch. Which ones come first looks random and is always the same, so that a batch is spread over zones.
    ///
    /// # Errors
    /// [`InvalidCampaign::NoHosts`] or [`InvalidCampaign::Batch`].
    pub fn batches(&self, hosts: &[GatewayId]) -> Result<Vec<Vec<GatewayId>>, InvalidCampaign> {
        let mut order: Vec<(u64, &GatewayId)> =
            hosts.iter().map(|host| (self.draw(host), host)).collect();
        order.sort_unstable();
        order.dedup();
        if order.is_empty() {
            return Err(InvalidCampaign::NoHosts);
        }
        let all = order.len();
        let mut left = order.into_iter().map(|(_, host)| host.clone());
        let mut batches = Vec::new();
        for share in &self.canary {
            let size = share.of(all).ok_or(InvalidCampaign::Batch)?;
            batches.push(left.by_ref().take(size).collect());
        }
        batches.push(left.collect());
        batches.retain(|batch: &Vec<GatewayId>| !batch.is_empty());
        Ok(batches)
    }

    /// Its operations, named after it and the host.
    ///
    /// # Errors
    /// [`InvalidCampaign`].
    pub fn operations(&self, hosts: &[GatewayId]) -> Result<Vec<Operation>, InvalidCampaign> {
        let mut operations = Vec::with_capacity(hosts.len());
        for (number, batch) in self.batches(hosts)?.into_iter().enumerate() {
            for host in batch {
                let name = format!("{}:{}", self.id, host.as_str());
                let id = OperationId::new(&name).map_err(|_| InvalidCampaign::Name)?;
                let (campaign, soak) = (self.id.clone(), self.soak);
                let failure_budget = self.failure_budget;
                let batch = Some(BatchOf { campaign, number, soak, failure_budget });
                operations.push(Operation { id, host, batch, ..self.template.clone() });
            }
        }
        operations.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(operations)
    }

    fn draw(&self, host: &GatewayId) -> u64 {
        hash64(format!("{}/{}", self.id, host.as_str()).as_bytes())
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_none(budget: &u32) -> bool {
    *budget == 0
}

impl Share {
    fn of(self, all: usize) -> Option<usize> {
        match self {
            Self::Hosts(0) | Self::Percent(0 | 101..) => None,
            Self::Hosts(hosts) => usize::try_from(hosts).ok(),
            Self::Percent(percent) => Some(all.saturating_mul(usize::from(percent)).div_ceil(100)),
        }
    }
}

impl fmt::Display for CampaignId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Display for BatchOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} batch {}", self.campaign, self.number + 1)
    }
}
