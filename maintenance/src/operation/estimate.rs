//! How long things take, learned from visits that are over.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::kind::OpKind;
use crate::fleet::Estimate;

/// What past operations took, by kind and version, and by class of hosts. Bounded: [`Self::KINDS`] of the newest kinds, [`Self::SAMPLES`] of the
/// newest times each.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Estimates {
    learned: u64,
    kinds: BTreeMap<String, Samples>,
}

/// What was learned of one kind of work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Learned {
    /// The kind, with the version it leads to; behind `@` the class of hosts, if it is of one.
    pub kind: String,
    /// How many times are remembered.
    pub samples: usize,
    /// How long it takes.
    pub takes: Estimate,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Samples {
    /// When the last was learned, counted in samples of all kinds.
    last: u64,
    /// The oldest first.
    took_ms: Vec<u64>,
}

impl Estimates {
    /// How many kinds are remembered.
    pub const KINDS: usize = 256;
    /// How many times of a kind are remembered.
    pub const SAMPLES: usize = 64;
    /// With fewer samples than this, what was assumed before counts as well.
    pub const ENOUGH: usize = 8;

    /// Remembers what an operation took on a host of a class, if it has one. Of too many kinds, the one that was not seen for
    /// longest is forgotten.
    pub fn learn(&mut self, kind: &OpKind, class: Option<&str>, took: Duration) {
        self.note(kind.learned_as(), took);
        if let Some(class) = class {
            self.note(of_class(kind, class), took);
        }
    }

    fn note(&mut self, kind: String, took: Duration) {
        self.learned += 1;
        let samples = self.kinds.entry(kind).or_default();
        samples.last = self.learned;
        if samples.took_ms.len() >= Self::SAMPLES {
            samples.took_ms.remove(0);
        }
        samples.took_ms.push(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        if self.kinds.len() > Self::KINDS {
            let oldest = self.kinds.iter().min_by_key(|(_, samples)| samples.last);
            if let Some(oldest) = oldest.map(|(kind, _)| kind.clone()) {
                self.kinds.remove(&oldest);
            }
        }
    }

    /// How long an operation probably takes on a host of a class: as on others of its class once enough of that is known, else
    /// as on all. `assumed` stands in as long as little is known: a plan may be too careful then, never too bold.
    pub fn estimate(&self, kind: &OpKind, class: Option<&str>, assumed: Estimate) -> Estimate {
        let own = class.and_then(|class| self.kinds.get(&of_class(kind, class)));
        let own = own.filter(|samples| samples.took_ms.len() >= Self::ENOUGH);
        let Some(samples) = own.or_else(|| self.kinds.get(&kind.learned_as())) else {
            return assumed;
        };
        let learned = samples.takes();
        if samples.took_ms.len() >= Self::ENOUGH {
            return learned;
        }
        let longest = samples.took_ms.iter().max().map_or(Duration::ZERO, |ms| millis(*ms));
        Estimate { p50: learned.p50.max(assumed.p50), p95: longest.max(assumed.p95) }
    }

    /// All that was learned, by kind.
    pub fn learned(&self) -> Vec<Learned> {
        let one = |(kind, samples): (&String, &Samples)| Learned {
            kind: kind.clone(),
            samples: samples.took_ms.len(),
            takes: samples.takes(),
        };
        self.kinds.iter().map(one).collect()
    }
}

impl Samples {
    fn takes(&self) -> Estimate {
        let mut sorted = self.took_ms.clone();
        sorted.sort_unstable();
        let at = |percent: usize| {
            let place = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
            sorted.get(place).map_or(Duration::ZERO, |ms| millis(*ms))
        };
        Estimate { p50: at(50), p95: at(95) }
    }
}

fn of_class(kind: &OpKind, class: &str) -> String {
    format!("{}@{class}", kind.learned_as())
}

const fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}
