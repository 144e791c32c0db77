//! The drains of this gateway, by the campaign of the visit that each is for.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::labelled::{CountsBy, Family, Labels, label, render};
use super::scheduled::NO_CAMPAIGN;

/// How far the drain that runs is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrainShown {
    /// The campaign of its visit.
    pub campaign: String,
    /// Clients that are still here.
    pub left: u64,
    /// Clients that were moved in the last minute.
    pub moved_per_minute: u64,
    /// How long until they are all moved, probably (p50) and if it goes slowly (p95); none while nobody moves.
    pub eta: Option<(Duration, Duration)>,
}

/// The families.
#[derive(Debug, Default)]
pub struct Drains {
    moved: CountsBy,
    second_moves: CountsBy,
    running: Mutex<Option<DrainShown>>,
}

impl Drains {
    /// So many clients were moved, of whom so many had been moved before, lately.
    pub fn add(&self, campaign: &str, (moved, again): (u64, u64), campaigns: &Labels) {
        self.moved.add(campaign, moved, campaigns);
        self.second_moves.add(campaign, again, campaigns);
    }

    /// How far the drain is that runs, if one does.
    pub fn show(&self, running: Option<DrainShown>, campaigns: &Labels) {
        let shown = running.map(|it| DrainShown { campaign: campaigns.of(&it.campaign), ..it });
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = shown;
    }

    pub(super) fn render(&self, text: &mut String) {
        let counters = [
            ("tidegate_drain_moved_total", "Clients handed over by drains.", &self.moved),
            (
                "tidegate_drain_second_moves_total",
                "Those of them that drains had moved before, within `presence.moves_within_s`; of clients whose presence is kept.",
                &self.second_moves,
            ),
        ];
        for (name, help, counts) in counters {
            let family = Family { name, kind: "counter", help };
            let mut rows = counts.rows();
            // Told from the beginning on, so that the first drain is an increase.
            rows.entry(NO_CAMPAIGN.to_owned()).or_default();
            let rows = rows.into_iter();
            render(text, family, rows.map(|(campaign, n)| (label("campaign", &campaign), n)));
        }
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(DrainShown { campaign, left, moved_per_minute, eta }) = running else { return };
        let campaign = label("campaign", &campaign);
        let gauge = |name, help| Family { name, kind: "gauge", help };
        let clients = gauge(
            "tidegate_drain_clients_left",
            "Clients that are still here, of the drain that runs.",
        );
        render(text, clients, [(campaign.clone(), left)]);
        let pace = gauge(
            "tidegate_drain_moved_per_minute",
            "Clients that the drain that runs has moved in the last minute.",
        );
        render(text, pace, [(campaign.clone(), moved_per_minute)]);
        let until = gauge(
            "tidegate_drain_eta_seconds",
            "Until they are all moved, as it went in the last minute (0.5), and at the slowest of that (0.95).",
        );
        let rows = eta.map(|(probably, slowly)| [("0.5", probably), ("0.95", slowly)]);
        let row = |(quantile, span): (&str, Duration)| {
            (format!("{campaign},{}", label("quantile", quantile)), span.as_secs())
        };
        render(text, until, rows.into_iter().flatten().map(row));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_is_shown_by_its_campaign_while_it_runs_and_what_it_moved_stays() {
        let (drains, campaigns) = (Drains::default(), Labels::default());
        campaigns.allow(1);
        drains.add("os-7", (3, 1), &campaigns);
        drains.add("os-8", (2, 0), &campaigns);
        let shown = |campaign: &str| DrainShown {
            campaign: campaign.to_owned(),
            left: 40,
            moved_per_minute: 120,
            eta: Some((Duration::from_secs(20), Duration::from_secs(42))),
        };
        let render = || {
            let mut text = String::new();
            drains.render(&mut text);
            text
        };
        drains.show(Some(shown("os-7")), &campaigns);
        let text = render();
        for line in [
            "tidegate_drain_moved_total{campaign=\"os-7\"} 3",
            "tidegate_drain_moved_total{campaign=\"other\"} 2",
            "tidegate_drain_second_moves_total{campaign=\"os-7\"} 1",
            "tidegate_drain_second_moves_total{campaign=\"none\"} 0",
            "tidegate_drain_clients_left{campaign=\"os-7\"} 40",
            "tidegate_drain_moved_per_minute{campaign=\"os-7\"} 120",
            "tidegate_drain_eta_seconds{campaign=\"os-7\",quantile=\"0.5\"} 20",
            "tidegate_drain_eta_seconds{campaign=\"os-7\",quantile=\"0.95\"} 42",
        ] {
            assert!(text.lines().any(|it| it == line), "{line} is not in {text}");
        }
        drains.show(Some(DrainShown { eta: None, ..shown("os-8") }), &campaigns);
        let text = render();
        assert!(text.contains("tidegate_drain_clients_left{campaign=\"other\"} 40\n"), "{text}");
        assert!(!text.contains("eta_seconds"), "nobody moves: {text}");
        drains.show(None, &campaigns);
        let text = render();
        assert!(!text.contains("clients_left") && text.contains("moved_total"), "{text}");
    }
}
