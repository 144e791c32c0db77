//! Somebody's word that a visit begins although its host or the calendar speaks against it.

use protocol::Wall;
use serde::{Deserialize, Serialize};

use crate::calendar::Interval;
use crate::ledger::{Allowed, GrantRules};
use crate::record;

/// That a visit begins despite hard blockers of its host and outside of its windows, in the name of an operator who has broken the
/// glass, and for as long as that lasts. It overrules nothing else: not how many serve or are disturbed at once, what must stay
/// free, who must agree, a gate, a failure budget, or silence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Despite {
    /// Which operator.
    pub by: String,
    /// Why; 1 to 4,096 bytes.
    pub reason: String,
    /// Since when.
    #[serde(rename = "at_ms", with = "record::wall")]
    pub at: Wall,
    /// Until when.
    #[serde(rename = "until_ms", with = "record::wall")]
    pub until: Wall,
}

impl Despite {
    /// Whether it overrules anything at a moment.
    pub fn holds(&self, now: Wall) -> bool {
        self.at <= now && now < self.until
    }

    /// When the work is allowed, around now: as the windows say and as long as this holds, whichever is longer.
    pub fn opening(&self, of_windows: Option<Interval>, now: Wall) -> Option<Interval> {
        if !self.holds(now) {
            return of_windows;
        }
        let Interval { from, to } = of_windows.unwrap_or(Interval { from: now, to: now });
        Interval::new(from.min(self.at), to.max(self.until))
    }

    /// What the ledger must heed all the same.
    #[must_use]
    pub fn overrule(&self, rules: GrantRules, now: Wall) -> GrantRules {
        if !self.holds(now) {
            return rules;
        }
        let of_windows = match rules.allowed {
            Allowed::AsGranted => return GrantRules { glass_broken: true, ..rules },
            Allowed::Within(span) => Some(span),
            Allowed::Never => None,
        };
        let allowed = self.opening(of_windows, now).map_or(Allowed::Never, Allowed::Within);
        GrantRules { allowed, glass_broken: true, ..rules }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Approval, Gate};

    fn despite() -> Despite {
        let (by, reason) = ("dan".to_owned(), "fire".to_owned());
        Despite { by, reason, at: Wall(100), until: Wall(200) }
    }

    #[test]
    fn it_is_a_window_as_long_as_it_holds_and_cuts_none() {
        let span = |from, to| Interval::new(Wall(from), Wall(to));
        let at = |of_windows, now| despite().opening(of_windows, Wall(now));
        assert_eq!(at(None, 150), span(100, 200));
        assert_eq!(at(span(120, 180), 150), span(100, 200), "an exclusion is overruled");
        assert_eq!(at(span(50, 900), 150), span(50, 900));
        for now in [99, 200] {
            assert_eq!(at(None, now), None);
            assert_eq!(at(span(50, 900), now), span(50, 900));
        }
    }

    #[test]
    fn people_gates_and_caps_are_heard_all_the_same() {
        let rules = GrantRules {
            approval: Approval::Missing { given: 0, wanted: 1 },
            gate: Gate::Closed { why: "lost_hosts".to_owned() },
            allowed: Allowed::Never,
            ..GrantRules::default()
        };
        let overruled = despite().overrule(rules.clone(), Wall(150));
        let allowed = Allowed::Within(Interval { from: Wall(100), to: Wall(200) });
        assert_eq!(overruled, GrantRules { allowed, glass_broken: true, ..rules.clone() });
        assert_eq!(despite().overrule(rules.clone(), Wall(200)), rules);
    }
}
