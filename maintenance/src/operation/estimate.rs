//! How long things take, learned from visits that are over.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::kind::OpKind;
use crate::fleet::Estimate;

/// What past operations took, by kind and version. Bounded: [`Self::KINDS`] of the newest kinds, [`Self::SAMPLES`] of the
/// newest times each.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Estimates {
    learned: u64,
    kinds: BTreeMap<String, Samples>,
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

    /// Remembers what an operation took. Of too many kinds, the one that was not seen for longest is forgotten.
    pub fn learn(&mut self, kind: &OpKind, took: Duration) {
        self.learned += 1;
        let samples = self.kinds.entry(kind.learned_as()).or_default();
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

    /// How long an operation probably takes. `assumed` stands in as long as little is known: a plan may be too careful
    /// then, never too bold.
    pub fn estimate(&self, kind: &OpKind, assumed: Estimate) -> Estimate {
        let Some(samples) = self.kinds.get(&kind.learned_as()) else {
            return assumed;
        };
        let mut sorted = samples.took_ms.clone();
        sorted.sort_unstable();
        let at = |percent: usize| {
            let place = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
            sorted.get(place).map_or(Duration::ZERO, |ms| Duration::from_millis(*ms))
        };
        let learned = Estimate { p50: at(50), p95: at(95) };
        if sorted.len() >= Self::ENOUGH {
            return learned;
        }
        Estimate { p50: learned.p50.max(assumed.p50), p95: at(100).max(assumed.p95) }
    }
}
