//! One span of calendar time.

use std::time::Duration;

use protocol::Wall;
use serde::{Deserialize, Serialize};

use crate::record;

/// A span of calendar time: from its first moment until just before its last; never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Interval {
    /// The first moment inside.
    #[serde(rename = "from_ms", with = "record::wall")]
    pub from: Wall,
    /// The first moment after it.
    #[serde(rename = "to_ms", with = "record::wall")]
    pub to: Wall,
}

impl Interval {
    /// A span, unless it would be empty.
    pub fn new(from: Wall, to: Wall) -> Option<Self> {
        (from < to).then_some(Self { from, to })
    }

    /// Whether a moment lies inside.
    pub fn contains(self, at: Wall) -> bool {
        self.from <= at && at < self.to
    }

    /// Whether two spans share a moment.
    pub fn overlaps(self, other: Self) -> bool {
        self.from < other.to && other.from < self.to
    }

    /// What two spans share, if anything.
    pub fn common(self, other: Self) -> Option<Self> {
        Self::new(self.from.max(other.from), self.to.min(other.to))
    }

    /// How long it is.
    pub const fn length(self) -> Duration {
        self.from.until(self.to)
    }
}
