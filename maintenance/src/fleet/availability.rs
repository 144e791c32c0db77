//! What a host says of itself when it is asked whether it could be visited.

use std::time::Duration;

use protocol::{GatewayId, Incarnation, Wall};
use serde::{Deserialize, Serialize};

use super::forecast::{Forecast, Statistic};
use super::host::{HostState, Load};
use super::own_drain::OwnDrain;
use crate::record;

/// A host's answer: its own document in the store, believed until `valid_until`. A host without a fresh one is
/// not available for maintenance and counts as down. What a later version adds to it is passed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Availability {
    /// Who answers.
    #[serde(with = "record::gateway")]
    pub host: GatewayId,
    /// The life of its process that answers.
    #[serde(with = "record::incarnation")]
    pub incarnation: Incarnation,
    /// What it is doing.
    pub state: HostState,
    /// Grows with each answer of one life.
    pub seq: u64,
    /// When it was given.
    #[serde(rename = "issued_ms", with = "record::wall")]
    pub issued: Wall,
    /// Until when it is believed.
    #[serde(rename = "valid_until_ms", with = "record::wall")]
    pub valid_until: Wall,
    /// What speaks against a visit now.
    pub blockers: Vec<Blocker>,
    /// What it carries now.
    pub load: Load,
    /// What it probably carries later.
    #[serde(flatten)]
    pub forecast: Forecast,
    /// How long a drain of it probably takes where no policy says anything, with what it announces.
    pub drain_estimate: Estimate,
    /// How it is drained where no policy says anything.
    #[serde(default)]
    pub drain: OwnDrain,
    /// Sessions it owns.
    pub sessions: u64,
    /// How many of its clients speak MQTT 5.0, in percent; none if it does not know.
    pub v5_share_percent: Option<u8>,
    /// What it needs of its operators.
    pub needs: Vec<Need>,
    /// When a visit would suit it; at any time if it says nothing.
    #[serde(default)]
    pub preferred: Vec<Preferred>,
}

/// A time that would suit a host for a visit, if all of the visit lies in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preferred {
    /// What a visit in it costs the host, compared with others that it prefers: the least is the best.
    pub cost: u32,
    /// From when on.
    #[serde(rename = "from_ms", with = "record::wall")]
    pub from: Wall,
    /// Until when.
    #[serde(rename = "until_ms", with = "record::wall")]
    pub until: Wall,
}

/// What speaks against a visit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blocker {
    /// What it is, for programs: `backup`, `broadcast`, `twin_down`.
    pub code: String,
    /// When it is probably over.
    #[serde(rename = "until_ms", with = "record::maybe_wall")]
    pub until: Option<Wall>,
    /// Whether only breaking the glass overrules it; a soft one yields to a deadline.
    pub hard: bool,
    /// What it is, for people.
    pub detail: String,
}

/// How long something probably takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Estimate {
    /// Half of the times it took no longer.
    #[serde(rename = "p50_ms", with = "record::millis")]
    pub p50: Duration,
    /// Nineteen times of twenty it took no longer.
    #[serde(rename = "p95_ms", with = "record::millis")]
    pub p95: Duration,
}

/// What a host needs of its operators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Need {
    /// What.
    pub kind: NeedKind,
    /// By when.
    #[serde(rename = "by_ms", with = "record::maybe_wall")]
    pub by: Option<Wall>,
    /// What it is, for people.
    pub detail: String,
}

/// What a host can need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NeedKind {
    /// A certificate that ends.
    Certificate,
    /// A configuration that only a restart takes.
    Restart,
    /// Another version of the program.
    Upgrade,
    /// A reboot of its machine.
    Reboot,
}

impl Availability {
    /// Whether it is still believed, and speaks of this life of the host.
    pub fn is_fresh(&self, now: Wall, incarnation: Incarnation) -> bool {
        now < self.valid_until && self.incarnation == incarnation
    }

    /// What it carries now, and at least what hours like this one had, if that is to count and one was seen.
    pub fn carries(&self, now: Wall, statistic: Option<Statistic>) -> Load {
        let seen = statistic.and_then(|statistic| self.forecast.seen(now, statistic));
        seen.map_or(self.load, |seen| self.load.higher(seen))
    }

    /// The first blocker that only breaking the glass overrules.
    pub fn hard_blocker(&self, now: Wall) -> Option<&Blocker> {
        self.blockers.iter().find(|blocker| blocker.hard && blocker.until.is_none_or(|u| now < u))
    }
}

impl Preferred {
    /// Whether something of such a length that begins then lies in it.
    pub fn holds(&self, start: Wall, length: Duration) -> bool {
        self.from <= start && start.after(length) <= self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_believed_until_it_ends_and_only_of_its_life() {
        let answer = Availability {
            host: GatewayId::new("gw-1").unwrap(),
            incarnation: Incarnation(4),
            state: HostState::Warming { admit: 20 },
            seq: 1,
            issued: Wall(0),
            valid_until: Wall(90),
            blockers: vec![Blocker {
                code: "backup".into(),
                until: Some(Wall(50)),
                hard: true,
                detail: String::new(),
            }],
            load: Load::default(),
            forecast: Forecast::default(),
            drain_estimate: Estimate::default(),
            drain: OwnDrain::default(),
            sessions: 0,
            v5_share_percent: None,
            needs: Vec::new(),
            preferred: vec![Preferred { cost: 2, from: Wall(60), until: Wall(70) }],
        };
        assert!(answer.is_fresh(Wall(89), Incarnation(4)));
        assert!(!answer.is_fresh(Wall(90), Incarnation(4)));
        assert!(!answer.is_fresh(Wall(89), Incarnation(5)));
        assert!(answer.hard_blocker(Wall(49)).is_some());
        assert!(answer.hard_blocker(Wall(50)).is_none());
        let bytes = serde_json::to_vec(&answer).unwrap();
        assert_eq!(serde_json::from_slice::<Availability>(&bytes).unwrap(), answer);
        // One of a version that tells less, and one that tells more.
        let mut other: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let told = other.as_object_mut().unwrap();
        told.remove("drain").unwrap();
        told.remove("preferred").unwrap();
        told.insert("color".to_owned(), 1.into());
        let less = Availability { preferred: Vec::new(), ..answer };
        assert_eq!(serde_json::from_value::<Availability>(other).unwrap(), less);
    }
}
