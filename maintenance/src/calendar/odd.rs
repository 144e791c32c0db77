//! What a clock change does to an occurrence.

use std::fmt;

use jiff::civil::DateTime;
use jiff::tz::Offset;
use serde::{Serialize, Serializer};

/// Why an occurrence is not as on every other day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Odd {
    /// Its start does not exist, because the clocks skip it: it does not happen.
    Skipped,
    /// Its start does not exist: it starts at this time instead.
    Shifted(DateTime),
    /// Its start comes twice: it starts the first time.
    Repeated,
    /// The clocks change while it lasts.
    ClocksChange {
        /// Offset from UTC at its start.
        from: Offset,
        /// Offset from UTC after the change.
        to: Offset,
    },
}

impl fmt::Display for Odd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Skipped => f.write_str("skipped: the clocks leave its start out"),
            Self::Shifted(to) => {
                write!(f, "starts at {}: the clocks leave its start out", to.strftime("%H:%M"))
            }
            Self::Repeated => f.write_str("its start comes twice: the first time counts"),
            Self::ClocksChange { from, to } => {
                write!(f, "the clocks change inside, from UTC{from} to UTC{to}")
            }
        }
    }
}

impl Serialize for Odd {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}
