//! Lines of the log that strangers can cause: so many a second.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

/// Lines that may be written in a second; an attack should not fill the disk.
const LINES_PER_S: u64 = 50;

/// Lets at most so many lines through a second.
#[derive(Debug, Default)]
pub struct LineLimit {
    /// The second, and the lines in it.
    spent: AtomicU64,
}

/// What becomes of one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// It is written.
    Write,
    /// It is the last of its second that is.
    Last,
    /// It is not.
    Silent,
}

impl LineLimit {
    /// Whether one more line about `what` may be written now; says so when it is the last.
    pub fn admits_now(&self, what: &str) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.admits(now.as_secs(), what)
    }

    /// Whether one more line about `what` may be written in this second; says so when it is the last.
    pub fn admits(&self, second: u64, what: &str) -> bool {
        let line = self.line(second);
        if line == Line::Last {
            tracing::info!("there are more {what} than are written down");
        }
        line != Line::Silent
    }

    /// What becomes of one more line in this second. Two threads that meet here may write a line too many.
    pub fn line(&self, second: u64) -> Line {
        let spent = self.spent.load(Relaxed);
        let (of, lines) = (spent >> 8, spent & 0xff);
        let lines = if of == second { lines } else { 0 };
        if lines >= LINES_PER_S {
            return Line::Silent;
        }
        self.spent.store((second << 8) | (lines + 1), Relaxed);
        if lines + 1 == LINES_PER_S { Line::Last } else { Line::Write }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_writes_so_many_lines_a_second() {
        let limit = LineLimit::default();
        let lines: Vec<_> = (0..100).map(|_| limit.line(7)).collect();
        assert_eq!(lines.iter().filter(|line| **line != Line::Silent).count(), 50);
        assert_eq!(lines[49], Line::Last);
        assert!(limit.admits(8, "tests"));
    }
}
