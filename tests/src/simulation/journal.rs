//! What happened, for whoever reads a failed seed; and its hash, for replays.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};

use super::agenda::Moment;

/// What is kept of it, and a hash over all of it.
#[derive(Debug)]
pub(super) struct Journal {
    lines: VecDeque<String>,
    keep: Keep,
    hash: u64,
    count: u64,
}

/// Which lines are kept.
#[derive(Debug)]
pub(super) enum Keep {
    /// The last [`KEPT`].
    Last,
    All,
    /// All with one of these words.
    About(Vec<String>),
}

/// Lines that are kept of a seed that nobody wants to read.
const KEPT: usize = 250;

impl Journal {
    pub(super) const fn new(keep: Keep) -> Self {
        Self { lines: VecDeque::new(), keep, hash: 0xcbf2_9ce4_8422_2325, count: 0 }
    }

    pub(super) fn note(&mut self, now: Moment, what: fmt::Arguments<'_>) {
        let mut line = match self.keep {
            Keep::Last if self.lines.len() >= KEPT => self.lines.pop_front().unwrap_or_default(),
            Keep::Last | Keep::All | Keep::About(_) => String::new(),
        };
        line.clear();
        // Writing to a string cannot fail.
        let _ = write!(line, "{now} {what}");
        for bytes in line.as_bytes().chunks(8) {
            let word = bytes.iter().fold(0, |word: u64, byte| (word << 8) | u64::from(*byte));
            self.hash = (self.hash ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
        }
        self.count += 1;
        let kept = match &self.keep {
            Keep::Last | Keep::All => true,
            Keep::About(words) => {
                let mut said = line.split([' ', ',', ':']);
                said.any(|word| words.iter().any(|wanted| wanted == word))
            }
        };
        if kept {
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
