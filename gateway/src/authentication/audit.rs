//! Who was turned away, in the log.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use protocol::mqtt::ReasonCode;

/// Lines that may be written in a second; an attack should not fill the disk.
const LINES_PER_S: u64 = 50;

/// Writes at most so many lines a second, and counts the others.
#[derive(Debug, Default)]
pub(super) struct Audit {
    /// The second, and the lines in it.
    spent: AtomicU64,
}

impl Audit {
    /// A client was turned away.
    pub(super) fn refused(
        &self,
        second: u64,
        (client_id, login): (&str, Option<&str>),
        address: Option<std::net::IpAddr>,
        (reason, why): (ReasonCode, &dyn std::fmt::Display),
    ) {
        match self.line(second) {
            Line::Write => {}
            Line::Last => {
                tracing::info!(target: "audit", "more clients are turned away than are written down");
            }
            Line::Silent => return,
        }
        tracing::info!(
            target: "audit",
            client_id,
            user = login,
            address = address.map(tracing::field::display),
            reason = format!("0x{:02x}", reason as u8),
            "a client is turned away: {why}"
        );
    }

    /// Whether one more line may be written in this second. Two threads that meet here may write a line too many.
    fn line(&self, second: u64) -> Line {
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

#[derive(Debug, PartialEq, Eq)]
enum Line {
    Write,
    Last,
    Silent,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_writes_so_many_lines_a_second() {
        let audit = Audit::default();
        let lines: Vec<_> = (0..100).map(|_| audit.line(7)).collect();
        assert_eq!(lines.iter().filter(|line| **line != Line::Silent).count(), 50);
        assert_eq!(lines[49], Line::Last);
        assert_eq!(audit.line(8), Line::Write);
    }
}
