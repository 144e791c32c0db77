//! A policy as meant: only what it says itself; what nobody says has its default in [`super::Effective`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::expression::Expression;
use super::selector::Selector;
use super::share::Share;
use crate::calendar::TimeRule;
use crate::drain::MoveBudget;
use crate::execution::WorkFailure;
use crate::fleet::Statistic;
use crate::ledger::OnWindowEnd;

/// One policy.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// What it is called.
    pub name: Arc<str>,
    /// Which hosts it is about.
    pub selector: Selector,
    /// When they may be visited; nothing if it does not say.
    pub windows: Option<Arc<[TimeRule]>>,
    /// When they may not.
    pub exclude: Arc<[TimeRule]>,
    /// How many hosts of each kind of domain must serve.
    pub min_available: BTreeMap<String, Share>,
    /// How many hosts of each kind of domain may be visited at once.
    pub max_concurrent: BTreeMap<String, Share>,
    /// Labels of which no two hosts with the same value are visited at once.
    pub never_together: Vec<String>,
    /// What must stay free.
    pub headroom: HeadroomRule,
    /// How hosts are drained.
    pub drain: DrainRule,
    /// How often clients are moved.
    pub moves: MovesRule,
    /// How many visits may fail.
    pub failure: Option<FailureRule>,
    /// When nothing new begins.
    pub gate: GateRule,
    /// When people must agree.
    pub approval: Option<ApprovalRule>,
    /// What becomes of a drained host whose work failed.
    pub on_failed_work: Option<WorkFailure>,
    /// How long a host is watched that serves again.
    pub soak: Option<Duration>,
    /// What becomes of what hosts say they need.
    pub needs: Option<Needs>,
    /// From which priority on a visit does not wait for soft blockers.
    pub soft_yields_to: Option<u8>,
    /// What a visit does about the end of its window.
    pub on_window_end: Option<OnWindowEnd>,
}

/// What must stay free of the capacity of the hosts that take the clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HeadroomRule {
    /// Of connections, in percent.
    pub connections_percent: Option<u8>,
    /// Of messages per second, in percent.
    pub messages_percent: Option<u8>,
    /// Of which load of each hour.
    pub forecast: Option<Statistic>,
}

/// How hosts are drained; what is not said is as the gateway's own `[drain]` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DrainRule {
    /// In how much of a hurry.
    pub profile: Option<Profile>,
    /// Clients that leave one host per second.
    pub host_rate: Option<u32>,
    /// Clients that leave all hosts together per second.
    pub fleet_rate: Option<u32>,
    /// From "not ready" to the first refused client.
    pub lb_grace: Option<Duration>,
    /// How long a client may take to finish what is under way once it is to move.
    pub flush: Option<Duration>,
    /// How long its will waits for it to come back.
    pub takeover_wait: Option<Duration>,
    /// How long the drain may take.
    pub timeout: Option<Duration>,
    /// What then.
    pub on_timeout: Option<DrainTimeout>,
    /// How long it takes until a host that was drained takes as many clients as ever.
    pub warm: Option<Duration>,
}

/// In how much of a hurry a host is drained, the stricter last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// As fast as the receivers can, without waiting.
    HostDying,
    /// Faster than planned.
    Urgent,
    /// At the given pace.
    Planned,
}

/// What becomes of a drain that takes too long, the stricter last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DrainTimeout {
    /// The rest is told to go at once.
    ForceRest,
    /// It goes on until the window ends.
    Extend,
    /// An operator is asked.
    Ask,
    /// The host serves again and keeps what it still has.
    Undrain,
}

/// How often clients are moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MovesRule {
    /// The part of a campaign's clients that may be moved twice, in hundredths of a percent.
    pub second_moves: Option<u32>,
    /// How often one client may be moved.
    pub per_device: Option<MoveBudget>,
}

/// How many visits may fail before nothing new begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailureRule {
    /// With so many nothing new begins.
    pub max: u32,
    /// How long a failure counts.
    pub per: Duration,
}

/// When nothing new begins.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct GateRule {
    /// Any of these closes it.
    pub close_if: Vec<Expression>,
    /// How long none must hold before it opens again.
    pub reopen_after: Option<Duration>,
}

/// When people must agree.
#[derive(Debug, Clone, PartialEq)]
pub struct ApprovalRule {
    /// For which work; nothing means for all.
    pub when: Option<Expression>,
    /// How many.
    pub approvers: u32,
    /// How long an approval holds.
    pub valid: Duration,
}

/// What becomes of what hosts say they need, the stricter last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Needs {
    /// It is wanted without anybody saying so.
    Auto,
    /// Somebody must want it.
    Ask,
}
