//! What happened, for whoever reads a failed seed; and its hash, for replays.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};

use super::agenda::Moment;

/// The last lines, and a hash over all of them.
#[derive(Debug)]
pub(super) struct Journal {
    lines: VecDeque<String>,
    /// If there are any, only lines with one of these words are kept, but all of those.
    focus: Vec<String>,
    hash: u64,
    count: u64,
}

/// Lines that are kept.
const KEPT: usize = 250;

impl Journal {
    pub(super) const fn new(focus: Vec<String>) -> Self {
        Self { lines: VecDeque::new(), focus, hash: 0xcbf2_9ce4_8422_2325, count: 0 }
    }

    pub(super) fn note(&mut self, now: Moment, what: fmt::Arguments<'_>) {
        let mut line = match self.lines.len() {
            KEPT if self.focus.is_empty() => self.lines.pop_front().unwrap_or_default(),
            _ => String::new(),
        };
        line.clear();
        // Writing to a string cannot fail.
        let _ = write!(line, "{now} {what}");
        for byte in line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.count += 1;
        let words = || line.split([' ', ',', ':']);
        if self.focus.is_empty() || words().any(|word| self.focus.iter().any(|f| f == word)) {
            self.lines.push_back(line);
        }
    }

    pub(super) const fn hash(&self) -> u64 {
        self.hash
    }

    pub(super) const fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn into_lines(self) -> Vec<String> {
        self.lines.into()
    }
}
