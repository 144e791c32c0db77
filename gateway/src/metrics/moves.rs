//! What becomes of clients that drains move.

use std::time::Duration;

use protocol::mqtt::Version;

use super::count::Count;
use super::counters::WorkerCounters;
use super::labelled::{Family, Thousandths, label, render};

/// Where a client that was moved came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Came {
    /// At a gateway that it was told, or was sent to.
    Named,
    /// At another one.
    Elsewhere,
    /// Nowhere within the time that it had.
    Missing,
}

/// A client that a drain had moved, and that is back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Back {
    /// How long it was away.
    pub gap: Duration,
    /// What the gateway that moved it has written down of that; nothing if it is of a version that did not.
    pub sent: Option<BackFrom>,
}

/// How a client was sent away, and where it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackFrom {
    /// The level of its protocol: 3, 4 or 5.
    pub level: u8,
    /// Where it came.
    pub came: Came,
    /// Publications at `QoS` 0 that it got in a thousand seconds before.
    pub at_most_once_per_1000_s: u32,
}

impl WorkerCounters {
    /// Counts a client that a drain had moved, and that is back.
    pub fn count_back(&self, back: &Back) {
        self.count_drain_gap(back.gap);
        let Some(BackFrom { level, came, at_most_once_per_1000_s }) = back.sent else { return };
        self.redirected(level, came).add(1);
        let gap_ms = u64::try_from(back.gap.as_millis()).unwrap_or(u64::MAX);
        // Milliseconds times publications per thousand seconds are millionths of publications.
        let missed = gap_ms.saturating_mul(at_most_once_per_1000_s.into()) / 1_000;
        self.at_most_once_gap.add(missed);
    }

    /// The counter of clients of a level of the protocol that were moved, by where they came.
    pub const fn redirected(&self, level: u8, came: Came) -> &Count {
        match (level, came) {
            (..=3, Came::Named) => &self.redirects_v31_named,
            (..=3, Came::Elsewhere) => &self.redirects_v31_elsewhere,
            (..=3, Came::Missing) => &self.redirects_v31_missing,
            (4, Came::Named) => &self.redirects_v311_named,
            (4, Came::Elsewhere) => &self.redirects_v311_elsewhere,
            (4, Came::Missing) => &self.redirects_v311_missing,
            (5.., Came::Named) => &self.redirects_v5_named,
            (5.., Came::Elsewhere) => &self.redirects_v5_elsewhere,
            (5.., Came::Missing) => &self.redirects_v5_missing,
        }
    }

    /// Counts a will that is not published since its client came back; `parked` if it waited since a drain moved that.
    pub fn count_will_cancelled(&self, parked: bool) {
        self.wills_cancelled.add(1);
        self.drain_wills_cancelled.add(parked.into());
    }

    /// Counts a move of a client, by which of its moves that is.
    pub fn count_move(&self, nth: u32) {
        let within = [
            (1, &self.moves_1),
            (2, &self.moves_2),
            (3, &self.moves_3),
            (5, &self.moves_5),
            (u32::MAX, &self.moves_all),
        ];
        within.iter().filter(|(bound, _)| nth <= *bound).for_each(|(_, count)| count.add(1));
        self.moves_sum.add(nth.into());
        self.moves.add(1);
    }
}

/// The part of those that came back, or did not, that came where they were sent; of versions of which nobody was moved it is not
/// told.
pub(super) fn render_followed(text: &mut String, sum: impl Fn(u8, Came) -> u64) {
    let family = Family {
        name: "tidegate_drain_redirect_followed_ratio",
        kind: "gauge",
        help: "Of the clients that drains had moved and that came here or were missed here, the part that came where it was sent.",
    };
    let ratio = |version: Version| {
        let [named, elsewhere, missing] =
            [Came::Named, Came::Elsewhere, Came::Missing].map(|came| sum(version.level(), came));
        let all = named + elsewhere + missing;
        let ratio = (named * 1_000 + all / 2).checked_div(all)?;
        Some((label("proto", version.number()), Thousandths(ratio)))
    };
    render(text, family, Version::ALL.into_iter().filter_map(ratio));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    fn back(level: u8, came: Came, gap_ms: u64, per_1000_s: u32) -> Back {
        let sent = Some(BackFrom { level, came, at_most_once_per_1000_s: per_1000_s });
        Back { gap: Duration::from_millis(gap_ms), sent }
    }

    #[test]
    fn who_is_back_is_counted_by_version_and_place_and_with_what_it_probably_missed() {
        let metrics = Metrics::new(2);
        let (one, other) = (metrics.worker(0).unwrap(), metrics.worker(1).unwrap());
        one.count_back(&back(5, Came::Named, 200, 10_000));
        other.count_back(&back(5, Came::Named, 300, 0));
        other.count_back(&back(5, Came::Elsewhere, 100, 500));
        one.count_back(&back(4, Came::Elsewhere, 100, 0));
        one.redirected(5, Came::Missing).add(1);
        // Moved by a gateway of an older version.
        one.count_back(&Back { gap: Duration::from_secs(1), sent: None });
        let text = metrics.render();
        let has = |line: &str| assert!(text.lines().any(|it| it == line), "{line} in {text}");
        has("tidegate_drain_redirects_total{proto=\"5.0\",came=\"named\"} 2");
        has("tidegate_drain_redirects_total{proto=\"5.0\",came=\"elsewhere\"} 1");
        has("tidegate_drain_redirects_total{proto=\"5.0\",came=\"missing\"} 1");
        has("tidegate_drain_redirects_total{proto=\"3.1.1\",came=\"elsewhere\"} 1");
        has("tidegate_drain_redirect_followed_ratio{proto=\"5.0\"} 0.500");
        has("tidegate_drain_redirect_followed_ratio{proto=\"3.1.1\"} 0.000");
        assert!(!text.contains("followed_ratio{proto=\"3.1\"}"), "nobody of it was moved");
        // 10 per second for 0.2 s, and 0.5 per second for 0.1 s.
        has("tidegate_drain_qos0_gap_estimate_total 2.050");
        has("tidegate_drain_gap_seconds_count 5");
    }

    #[test]
    fn moves_are_counted_by_which_of_their_client_they_are() {
        let metrics = Metrics::new(1);
        let worker = metrics.worker(0).unwrap();
        [1, 1, 1, 2, 2, 3, 9].into_iter().for_each(|nth| worker.count_move(nth));
        let text = metrics.render();
        for (bound, count) in [("1", 3), ("2", 5), ("3", 6), ("5", 6), ("+Inf", 7)] {
            let line =
                format!("tidegate_drain_moves_per_device_bucket{{le=\"{bound}\"}} {count}\n");
            assert!(text.contains(&line), "{line} in {text}");
        }
        assert!(text.contains("tidegate_drain_moves_per_device_sum 19\n"), "{text}");
        assert!(text.contains("tidegate_drain_moves_per_device_count 7\n"), "{text}");
    }
}
