//! Exclusions that operators add while the fleet runs.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::selector::Selector;
use crate::calendar::{Edge, Interval, OnGap, Purpose, TimeRule, When, Zone, ZoneChoice};
use crate::fleet::Host;

/// A time in which some hosts are not visited, because an operator said so; a document of the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Freeze {
    /// What it is called.
    pub id: String,
    /// Which hosts.
    pub selector: Selector,
    /// When.
    pub interval: Interval,
    /// Why.
    pub reason: String,
    /// Who said so.
    pub by: String,
    /// Kinds of work that it does not exclude.
    #[serde(default)]
    pub allow: Vec<String>,
}

/// Why something is no freeze; the operator's to mend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFreeze {
    /// It would end before it starts.
    #[error("the freeze ends before it starts")]
    Empty,
    /// Nobody says why.
    #[error("a freeze needs a reason")]
    NoReason,
}

impl Freeze {
    /// Whether it can be meant.
    ///
    /// # Errors
    /// [`InvalidFreeze`].
    pub fn check(&self) -> Result<(), InvalidFreeze> {
        if self.interval.from >= self.interval.to {
            return Err(InvalidFreeze::Empty);
        }
        if self.reason.trim().is_empty() {
            return Err(InvalidFreeze::NoReason);
        }
        Ok(())
    }

    /// Whether it excludes a kind of work on a host.
    pub fn excludes(&self, host: &Host, work: &str) -> bool {
        self.selector.matches(host) && !self.allow.iter().any(|kind| kind == work)
    }

    /// The same as a rule.
    pub(super) fn rule(&self) -> TimeRule {
        TimeRule {
            name: Arc::from(format!("freeze.{}", self.id)),
            purpose: Purpose::Exclusion,
            when: When::Once {
                from: Edge::Moment(self.interval.from),
                to: Edge::Moment(self.interval.to),
            },
            zone: ZoneChoice::Fixed(Zone::utc()),
            on_gap: OnGap::Shift,
            one_offs: Vec::new(),
            reason: Arc::from(self.reason.as_str()),
            allow: self.allow.clone(),
        }
    }
}
