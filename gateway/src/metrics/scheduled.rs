//! What the scheduler's gateway shows of the fleet: by domain and by campaign. Other gateways show none of it.

use super::labelled::{Family, GaugesBy, Labels, label, render};

/// How far the visit, or the drain, of a slot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotState {
    /// Granted, and its drain has not begun.
    Granted,
    /// Its drain goes on.
    Draining,
    /// Its drain is over.
    Drained,
    /// What was begun cannot be taken back.
    Crossed,
    /// The host has passed its checks.
    Verified,
    /// Its visit failed.
    Failed,
}

impl SlotState {
    /// All of them, as they are shown.
    const ALL: [(Self, &str); 6] = [
        (Self::Granted, "granted"),
        (Self::Draining, "draining"),
        (Self::Drained, "drained"),
        (Self::Crossed, "crossed"),
        (Self::Verified, "verified"),
        (Self::Failed, "failed"),
    ];
}

/// One slot that is held: how far it is, and the campaign of its visit.
pub type SlotShown = (SlotState, String);

/// What stands for the campaign of work that belongs to none.
pub const NO_CAMPAIGN: &str = "none";

/// The families.
#[derive(Debug, Default)]
pub struct Scheduled {
    domains: Labels,
    margins: GaugesBy,
    slots: [GaugesBy; SlotState::ALL.len()],
}

impl Scheduled {
    pub(super) fn allow(&self, most: u64) {
        self.domains.allow(most);
    }

    /// How many gateways of each domain may stop to serve; none where this gateway is not the scheduler.
    pub fn set_margins(&self, margins: &[(String, u64)]) {
        self.margins.set(margins, u64::min, &self.domains);
    }

    /// The slots that are held; none where this gateway is not the scheduler.
    pub fn set_slots(&self, slots: Option<&[SlotShown]>, campaigns: &Labels) {
        for ((state, _), gauges) in SlotState::ALL.iter().zip(&self.slots) {
            let own = slots.into_iter().flatten().filter(|(of, _)| of == state);
            // None of a state is told too, so that its series is there before its first slot.
            let none = slots.map(|_| (NO_CAMPAIGN.to_owned(), 0));
            let rows: Vec<_> = own.map(|(_, by)| (by.clone(), 1)).chain(none).collect();
            gauges.set(&rows, u64::saturating_add, campaigns);
        }
    }

    pub(super) fn render(&self, text: &mut String) {
        let margins = self.margins.rows().into_iter();
        let margin = Family {
            name: "tidegate_maintenance_min_available_margin",
            kind: "gauge",
            help: "Gateways of a domain that may stop to serve before it has as few as its policies demand; in the scheduler's gateway alone.",
        };
        render(text, margin, margins.map(|(domain, left)| (label("domain", &domain), left)));
        let slots = SlotState::ALL.iter().zip(&self.slots).flat_map(|((_, state), gauges)| {
            let rows = gauges.rows().into_iter();
            rows.map(|(campaign, n)| {
                (format!("{},{}", label("state", state), label("campaign", &campaign)), n)
            })
        });
        let held = Family {
            name: "tidegate_maintenance_slots_held",
            kind: "gauge",
            help: "Slots of the ledger that are held, by how far they are and by the campaign of their visit; in the scheduler's gateway alone.",
        };
        render(text, held, slots);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheduler_shows_each_domain_and_each_slot_and_nobody_else_shows_any() {
        let (scheduled, campaigns) = (Scheduled::default(), Labels::default());
        let shown = |scheduled: &Scheduled| {
            let mut text = String::new();
            scheduled.render(&mut text);
            text
        };
        assert_eq!(shown(&scheduled), "");
        scheduled.set_margins(&[("fleet".to_owned(), 2), ("zone=a".to_owned(), 0)]);
        let slot = |state, campaign: &str| (state, campaign.to_owned());
        let slots = [
            slot(SlotState::Draining, "os-7"),
            slot(SlotState::Draining, "os-7"),
            slot(SlotState::Failed, NO_CAMPAIGN),
        ];
        scheduled.set_slots(Some(&slots), &campaigns);
        let text = shown(&scheduled);
        let held = "tidegate_maintenance_slots_held";
        for line in [
            "tidegate_maintenance_min_available_margin{domain=\"fleet\"} 2".to_owned(),
            "tidegate_maintenance_min_available_margin{domain=\"zone=a\"} 0".to_owned(),
            format!("{held}{{state=\"draining\",campaign=\"os-7\"}} 2"),
            format!("{held}{{state=\"granted\",campaign=\"none\"}} 0"),
            format!("{held}{{state=\"failed\",campaign=\"none\"}} 1"),
        ] {
            assert!(text.lines().any(|it| it == line), "{line} is not in {text}");
        }
        scheduled.set_margins(&[]);
        scheduled.set_slots(None, &campaigns);
        assert_eq!(shown(&scheduled), "");
    }
}
