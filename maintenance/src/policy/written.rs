//! A policy as it is written.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::meant::{DrainTimeout, Needs, Profile};
use super::share::Share;
use crate::calendar::OnGap;
use crate::execution::WorkFailure;
use crate::fleet::Statistic;
use crate::ledger::OnWindowEnd;

/// A file of policies.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenFile {
    #[serde(default)]
    pub(super) policy: BTreeMap<String, WrittenPolicy>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenPolicy {
    #[serde(default)]
    pub(super) selector: String,
    pub(super) windows: Option<Vec<WrittenRule>>,
    #[serde(default)]
    pub(super) exclude: Vec<WrittenRule>,
    #[serde(default)]
    pub(super) min_available: BTreeMap<String, Share>,
    #[serde(default)]
    pub(super) max_concurrent: BTreeMap<String, Share>,
    #[serde(default)]
    pub(super) never_together: Vec<String>,
    #[serde(default)]
    pub(super) headroom: WrittenHeadroom,
    #[serde(default)]
    pub(super) drain: WrittenDrain,
    #[serde(default)]
    pub(super) moves: WrittenMoves,
    pub(super) failure: Option<WrittenFailure>,
    #[serde(default)]
    pub(super) gate: WrittenGate,
    pub(super) approval: Option<WrittenApproval>,
    pub(super) on_failed_work: Option<WorkFailure>,
    pub(super) soak: Option<String>,
    pub(super) needs: Option<Needs>,
    pub(super) soft_yields_to: Option<u8>,
    pub(super) on_window_end: Option<OnWindowEnd>,
}

/// A window or an exclusion.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WrittenRule {
    pub(super) rrule: Option<String>,
    pub(super) first: Option<String>,
    pub(super) start: Option<String>,
    pub(super) duration: Option<String>,
    pub(super) from: Option<String>,
    pub(super) to: Option<String>,
    pub(super) ics: Option<String>,
    pub(super) tz: Option<String>,
    pub(super) on_gap: Option<OnGap>,
    pub(super) on_fold: Option<WrittenFold>,
    pub(super) overrides: Vec<WrittenOneOff>,
    pub(super) reason: String,
    pub(super) allow: Vec<String>,
}

/// There is only one answer to a start that comes twice.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum WrittenFold {
    First,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenOneOff {
    pub(super) at: String,
    #[serde(default)]
    pub(super) cancel: bool,
    pub(super) start: Option<String>,
    pub(super) duration: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WrittenHeadroom {
    pub(super) conns: Option<String>,
    pub(super) msgs: Option<String>,
    pub(super) forecast: Option<Statistic>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WrittenDrain {
    pub(super) profile: Option<Profile>,
    pub(super) host_rate: Option<u32>,
    pub(super) fleet_rate: Option<u32>,
    pub(super) lb_grace: Option<String>,
    pub(super) flush: Option<String>,
    pub(super) takeover_wait: Option<String>,
    pub(super) timeout: Option<String>,
    pub(super) on_timeout: Option<DrainTimeout>,
    pub(super) warm: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WrittenMoves {
    pub(super) second_moves: Option<String>,
    pub(super) per_device: Option<WrittenBudget>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenBudget {
    pub(super) max: u32,
    pub(super) per: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenFailure {
    pub(super) max: u32,
    pub(super) per: String,
    #[serde(default)]
    #[expect(
        dead_code,
        reason = "there is only one thing to do then; the word is checked by reading it"
    )]
    pub(super) then: WrittenThen,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum WrittenThen {
    #[default]
    Pause,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WrittenGate {
    pub(super) close_if: Vec<String>,
    pub(super) reopen_after: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenApproval {
    pub(super) when: Option<String>,
    pub(super) approvers: u32,
    #[serde(default = "two_days")]
    pub(super) valid: String,
}

fn two_days() -> String {
    "48h".to_owned()
}
