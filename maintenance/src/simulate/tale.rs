//! What happened, as it is told.

use std::time::Duration;

use protocol::Wall;
use serde::{Deserialize, Serialize};

use super::returns::Returns;
use crate::record;

/// What would happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tale {
    /// In the order of time.
    pub lines: Vec<Line>,
    /// In numbers.
    pub totals: Totals,
    /// How clients probably come back that are moved; nothing if nobody is, or a gateway told it that does not know.
    #[serde(default)]
    pub returns: Option<Returns>,
    /// What must not happen and did; nothing unless the program is wrong.
    pub broken: Vec<Line>,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// When.
    #[serde(rename = "at_ms", with = "record::wall")]
    pub at: Wall,
    /// What.
    pub what: String,
}

/// A tale in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Visits that were wanted.
    pub visits: usize,
    /// Those that did it.
    pub done: usize,
    /// Those that failed or were called off.
    pub failed: usize,
    /// Those that did not begin, or are not over at the end.
    pub left: usize,
    /// Hosts that died, each time.
    pub deaths: usize,
    /// Times that a person had to decide.
    pub asked: usize,
    /// Plans that were made.
    pub plans: usize,
    /// The most slots that were held at once.
    pub most_at_once: usize,
    /// Clients that were moved; whoever is moved twice counts twice.
    pub moved: u64,
    /// Of those moves, how many were of clients that had been moved before.
    pub moved_again: u64,
    /// How often the client was moved that was moved most often.
    pub most_moves: usize,
    /// The most clients that all drains together send to other hosts in a second, at the pace that policies give them.
    pub peak_connects_per_s: u64,
    /// The longest visit.
    #[serde(rename = "longest_ms", with = "record::millis")]
    pub longest: Duration,
    /// When the last visit was over.
    #[serde(rename = "over_ms", with = "record::maybe_wall")]
    pub over: Option<Wall>,
}
