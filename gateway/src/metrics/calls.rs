//! Requests of devices by HTTPS, by what they ask and how they were answered.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

/// Counts by call and status, of which there are as many as our code names.
#[derive(Debug, Default)]
pub struct CallCounts(Mutex<BTreeMap<(&'static str, u16), u64>>);

impl CallCounts {
    /// One more request, by what it asked, and the status of its answer.
    pub fn count(&self, call: &'static str, status: u16) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((call, status)).or_default() += 1;
    }

    pub(super) fn render(&self, text: &mut String) {
        const FAMILY: &str = "tidegate_device_http_requests_total";
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "# HELP {FAMILY} Requests of devices by HTTPS, by what they ask and the status of the answer.\n\
             # TYPE {FAMILY} counter"
        );
        for ((call, status), count) in &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = writeln!(text, "{FAMILY}{{call=\"{call}\",code=\"{status}\"}} {count}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_call_and_status() {
        let counts = CallCounts::default();
        counts.count("publish", 200);
        counts.count("publish", 200);
        counts.count("none", 404);
        let mut text = String::new();
        counts.render(&mut text);
        let line = "tidegate_device_http_requests_total{call=\"publish\",code=\"200\"} 2\n";
        assert!(text.ends_with(line), "{text}");
        assert!(text.contains("{call=\"none\",code=\"404\"} 1\n"), "{text}");
    }
}
