//! Who is to be disturbed now, and why the others are not.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::{GatewayId, Incarnation, Wall};

use crate::calendar::{Interval, Intervals, Window};
use crate::fleet::{Availability, Host, HostState};
use crate::ledger::{
    Grant, GrantRefused, GrantRules, Ledger, Seen, Slot, SlotClass, SlotEpoch, Stage,
};

/// All pending work of one host, done in one drain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visit {
    /// The host.
    pub host: GatewayId,
    /// How long it will probably take; it is started only if that fits before the window ends.
    pub estimate: Duration,
}

/// All that a decision depends on.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// Calendar time.
    pub now: Wall,
    /// When visits are allowed; without any, never.
    pub windows: &'a [Window],
    /// When they are not, in spite of windows.
    pub excluded: &'a Intervals,
    /// Every registered host, whether it answers or not.
    pub hosts: &'a [Host],
    /// The ledger as stored.
    pub ledger: &'a Ledger,
    /// What they answered, where policies ask for it; see [`Seen::answers`].
    pub answers: Option<&'a BTreeMap<GatewayId, Availability>>,
    /// How much may be disturbed.
    pub rules: &'a GrantRules,
    /// What is pending, the most urgent first.
    pub visits: &'a [Visit],
}

/// What the scheduler wants done with a host. All but [`Self::Wait`] are one step of the ledger, stored by
/// compare-and-set; whoever loses that race decides anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// [`Ledger::grant`] a slot.
    Grant {
        /// To whom.
        host: GatewayId,
        /// For which opening.
        opening: Interval,
    },
    /// [`Ledger::start`] the drain, then tell the host.
    Start {
        /// Whose.
        host: GatewayId,
        /// Of which slot.
        epoch: SlotEpoch,
        /// When the window ends.
        until: Wall,
    },
    /// [`Ledger::hand_back`] a slot that was not used.
    HandBack {
        /// Whose.
        host: GatewayId,
        /// Which.
        epoch: SlotEpoch,
        /// Why it cannot start.
        why: Wait,
    },
    /// [`Ledger::release`] a slot: the host serves again.
    Release {
        /// Whose.
        host: GatewayId,
        /// Which.
        epoch: SlotEpoch,
    },
    /// Nothing can be done with this host now.
    Wait {
        /// Which.
        host: GatewayId,
        /// Why not.
        why: Wait,
    },
}

/// Why a visit does not go on now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Wait {
    /// No window will ever open.
    #[error("there is no window")]
    NoWindow,
    /// Outside every window.
    #[error("window opens at {} ms", next.0)]
    Closed {
        /// When one opens.
        next: Wall,
    },
    /// A window is open, and somebody has excluded this time.
    #[error("work is excluded until {} ms", until.0)]
    Excluded {
        /// Until when.
        until: Wall,
    },
    /// It would not be over when the window ends.
    #[error("last safe start was at {} ms", last_safe_start.0)]
    TooLate {
        /// Until when it could have started.
        last_safe_start: Wall,
    },
    /// The ledger says no.
    #[error(transparent)]
    Refused(#[from] GrantRefused),
    /// The visit was withdrawn after the grant.
    #[error("nothing is pending any more")]
    Withdrawn,
    /// The drain is running.
    #[error("drain is running")]
    Draining,
    /// The drain is over and the host does not serve yet.
    #[error("host is not serving again")]
    NotBack,
}

/// Decides on every host that holds a slot, then on every pending visit in its order. The same situation always
/// gives the same decisions; carried out in order, none is refused by the ledger.
pub fn decide(situation: &Situation<'_>) -> Vec<Decision> {
    let mut ledger = situation.ledger.clone();
    let mut decisions = Vec::new();
    for slot in situation.ledger.slots() {
        let decision = situation.on_slot(slot);
        match &decision {
            Decision::HandBack { host, epoch, .. } => {
                // It is there: it was just read.
                let _ = ledger.hand_back(host, *epoch);
            }
            Decision::Release { .. } => {
                if let Some(host) = situation.host(&slot.host) {
                    let _ = ledger.release(host, slot.epoch);
                }
            }
            Decision::Grant { .. } | Decision::Start { .. } | Decision::Wait { .. } => {}
        }
        decisions.push(decision);
    }
    for visit in situation.visits {
        if situation.ledger.slot(&visit.host).is_none() {
            decisions.push(situation.on_visit(visit, &mut ledger));
        }
    }
    decisions
}

impl Situation<'_> {
    fn on_slot(&self, slot: &Slot) -> Decision {
        let (host, epoch) = (slot.host.clone(), slot.epoch);
        if slot.started.is_some() {
            let serving = self.host(&host).is_some_and(|h| {
                h.state == HostState::Serving && h.incarnation >= slot.incarnation
            });
            return match slot.verdict {
                None => Decision::Wait { host, why: Wait::Draining },
                Some(_) if serving => Decision::Release { host, epoch },
                Some(_) => Decision::Wait { host, why: Wait::NotBack },
            };
        }
        let Some(visit) = self.visits.iter().find(|visit| visit.host == host) else {
            return Decision::HandBack { host, epoch, why: Wait::Withdrawn };
        };
        let checked = self.in_time(visit, slot.opening).and_then(|until| {
            self.check(&host)?;
            Ok(until)
        });
        match checked {
            Ok(until) => Decision::Start { host, epoch, until },
            Err(why) => Decision::HandBack { host, epoch, why },
        }
    }

    fn on_visit(&self, visit: &Visit, ledger: &mut Ledger) -> Decision {
        let host = visit.host.clone();
        let granted = self.opening().and_then(|opening| {
            self.in_time(visit, opening)?;
            let offered = self.host(&host).map_or(Incarnation(0), |own| own.incarnation);
            let grant = Grant {
                host: &host,
                offered,
                visit: None,
                term: ledger.term(),
                class: SlotClass::Drain,
                opening,
                remaining: visit.estimate,
                once: true,
                asked: None,
            };
            ledger.grant(&grant, &self.seen(), self.rules)?;
            Ok(opening)
        });
        match granted {
            Ok(opening) => Decision::Grant { host, opening },
            Err(why) => Decision::Wait { host, why },
        }
    }

    /// The opening that lasts longest of those that are open.
    fn opening(&self) -> Result<Interval, Wait> {
        let open = self.windows.iter().filter_map(|window| window.open_at(self.now));
        if let Some(opening) = open.max_by_key(|opening| opening.to) {
            return Ok(opening);
        }
        let next = self.windows.iter().filter_map(|window| window.next(self.now)).min();
        Err(next.map_or(Wait::NoWindow, |opening| Wait::Closed { next: opening.from }))
    }

    /// When the drain must be over: at the end of the opening, or where something excluded begins.
    fn in_time(&self, visit: &Visit, opening: Interval) -> Result<Wall, Wait> {
        if !opening.contains(self.now) {
            return Err(GrantRefused::Closed.into());
        }
        if let Some(excluded) = self.excluded.covering(self.now) {
            return Err(Wait::Excluded { until: excluded.to });
        }
        let excluded = self.excluded.at_or_after(self.now).map(|excluded| excluded.from);
        let until = excluded.map_or(opening.to, |from| from.min(opening.to));
        if self.now.after(visit.estimate) <= until {
            return Ok(until);
        }
        let estimate_ms = u64::try_from(visit.estimate.as_millis()).unwrap_or(u64::MAX);
        Err(Wait::TooLate { last_safe_start: Wall(until.0.saturating_sub(estimate_ms)) })
    }

    fn check(&self, host: &GatewayId) -> Result<(), GrantRefused> {
        self.ledger.check(Stage::Begin, SlotClass::Drain, host, &self.seen(), self.rules)
    }

    const fn seen(&self) -> Seen<'_> {
        Seen { now: self.now, hosts: self.hosts, answers: self.answers }
    }

    fn host(&self, id: &GatewayId) -> Option<&Host> {
        self.hosts.iter().find(|host| host.id == *id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::{Domain, Limits, Term};
    use crate::ledger::DomainRule;
    use crate::verdict::{Counts, Outcome, Verdict};

    const MINUTE: Duration = Duration::from_secs(60);
    const LIMITS: Limits = Limits { min_available: 2, max_concurrent: 1 };

    fn id(n: usize) -> GatewayId {
        GatewayId::new(&format!("gw-{n}")).unwrap()
    }

    fn hosts(n: usize) -> Vec<Host> {
        let host = |n| Host::new(id(n), Incarnation(1), HostState::Serving);
        (1..=n).map(host).collect()
    }

    fn visits(n: usize) -> Vec<Visit> {
        (1..=n).map(|n| Visit { host: id(n), estimate: 10 * MINUTE }).collect()
    }

    fn window() -> [Window; 1] {
        [Window::once("2026-11-20T01:00:00Z", "2026-11-20T02:00:00Z").unwrap()]
    }

    fn from() -> Wall {
        window()[0].next(Wall(0)).unwrap().from
    }

    fn asked(host: &GatewayId, opening: Interval) -> Grant<'_> {
        Grant {
            host,
            offered: Incarnation(1),
            visit: None,
            term: Term(0),
            class: SlotClass::Drain,
            opening,
            remaining: 10 * MINUTE,
            once: true,
            asked: None,
        }
    }

    fn granted(ledger: &mut Ledger, hosts: &[Host], opening: Interval) -> SlotEpoch {
        let seen = Seen { now: from(), hosts, answers: None };
        ledger.grant(&asked(&id(1), opening), &seen, &GrantRules::plain(LIMITS)).unwrap();
        ledger.slot(&id(1)).unwrap().epoch
    }

    /// Carries decisions out; every one must be accepted. Drains end at once, hosts come back at once.
    fn carry_out(ledger: &mut Ledger, situation: &Situation<'_>, decisions: &[Decision]) {
        let hosts = situation.hosts;
        let (seen, rules) = (situation.seen(), situation.rules);
        for decision in decisions {
            match decision {
                Decision::Grant { host, opening } => {
                    ledger.grant(&asked(host, *opening), &seen, rules).unwrap();
                }
                Decision::Start { host, epoch, .. } => {
                    ledger.start(host, *epoch, 10 * MINUTE, &seen, rules).unwrap();
                    let verdict = Verdict {
                        outcome: Outcome::Quiesced,
                        evidence: Counts::default(),
                        clients: 0,
                        moved: 0,
                        departed: 0,
                        elapsed: MINUTE,
                    };
                    ledger.conclude(host, *epoch, verdict).unwrap();
                }
                Decision::HandBack { host, epoch, .. } => {
                    ledger.hand_back(host, *epoch).unwrap();
                }
                Decision::Release { host, epoch } => {
                    let host = hosts.iter().find(|h| h.id == *host).unwrap();
                    ledger.release(host, *epoch).unwrap();
                }
                Decision::Wait { .. } => {}
            }
        }
    }

    #[test]
    fn every_host_is_visited_once_per_opening_and_one_at_a_time() {
        let (hosts, visits, windows) = (hosts(3), visits(3), window());
        let mut ledger = Ledger::default();
        let mut visited = Vec::new();
        let mut now = from();
        for _ in 0..15 {
            let before = ledger.clone();
            let situation = Situation {
                now,
                windows: &windows,
                excluded: &Intervals::empty(),
                hosts: &hosts,
                ledger: &before,
                answers: None,
                rules: &GrantRules::plain(LIMITS),
                visits: &visits,
            };
            let decisions = decide(&situation);
            assert_eq!(decisions, decide(&situation));
            for decision in &decisions {
                if let Decision::Start { host, .. } = decision {
                    visited.push(host.clone());
                }
            }
            carry_out(&mut ledger, &situation, &decisions);
            assert!(ledger.slots().len() <= 1);
            now = now.after(MINUTE);
        }
        assert_eq!(visited, [id(1), id(2), id(3)]);
    }

    fn decide_at(now: Wall, windows: &[Window], hosts: &[Host], ledger: &Ledger) -> Vec<Decision> {
        decide_around(&Intervals::empty(), now, windows, hosts, ledger)
    }

    fn decide_around(
        excluded: &Intervals,
        now: Wall,
        windows: &[Window],
        hosts: &[Host],
        ledger: &Ledger,
    ) -> Vec<Decision> {
        let visits = visits(1);
        let (answers, rules) = (None, &GrantRules::plain(LIMITS));
        let visits = &visits;
        decide(&Situation { now, windows, excluded, hosts, answers, ledger, rules, visits })
    }

    #[test]
    fn nothing_starts_outside_a_window_or_too_late_in_it() {
        let (hosts, windows) = (hosts(3), window());
        let ledger = Ledger::default();
        let why = |now, windows: &[Window]| match decide_at(now, windows, &hosts, &ledger).pop() {
            Some(Decision::Wait { why, .. }) => Some(why),
            _ => None,
        };
        assert_eq!(why(Wall(0), &windows), Some(Wait::Closed { next: from() }));
        assert_eq!(why(from(), &windows), None);
        let last_safe_start = from().after(50 * MINUTE);
        assert_eq!(why(last_safe_start, &windows), None);
        let late = Wall(last_safe_start.0 + 1);
        assert_eq!(why(late, &windows), Some(Wait::TooLate { last_safe_start }));
        assert_eq!(why(from().after(60 * MINUTE), &windows), Some(Wait::NoWindow));
        assert_eq!(why(from(), &[]), Some(Wait::NoWindow));
    }

    #[test]
    fn a_window_waits_for_the_rack_as_policies_want_it() {
        let (mut hosts, windows, visits) = (hosts(4), window(), visits(2));
        for host in &mut hosts[..2] {
            host.labels.insert("rack".to_owned(), "r1".to_owned());
        }
        let (now, domain) = (from(), Domain::of(&hosts[1], "rack").unwrap());
        let limits = Limits { max_concurrent: 2, ..LIMITS };
        let cap = DomainRule { domain: domain.clone(), min_available: 0, max_concurrent: 1 };
        let caps = GrantRules { domains: vec![cap], ..GrantRules::default() };
        let mut ledger = Ledger::default();
        granted(&mut ledger, &hosts, windows[0].next(Wall(0)).unwrap());
        let decided = |rules: &GrantRules| {
            let (answers, ledger, excluded) = (None, &ledger, &Intervals::empty());
            let (windows, hosts, visits) = (&windows, &hosts, &visits);
            decide(&Situation { now, windows, excluded, hosts, answers, ledger, rules, visits })
        };
        let plain = GrantRules::plain(limits);
        assert!(matches!(decided(&plain)[1], Decision::Grant { .. }));
        let full = GrantRefused::MaxConcurrent { domain, slots: 1, max_concurrent: 1 };
        let waits = Decision::Wait { host: id(2), why: full.into() };
        assert_eq!(decided(&plain.with_caps(caps))[1], waits);
    }

    #[test]
    fn what_is_excluded_is_heeded_before_the_grant_and_after_it() {
        let (hosts, windows) = (hosts(3), window());
        let opening = windows[0].next(Wall(0)).unwrap();
        let frozen = |minutes: u32| -> Intervals {
            let from = opening.from.after(minutes * MINUTE);
            Interval::new(from, opening.to).into_iter().collect()
        };
        let around = |minutes, ledger: &Ledger| {
            let all = decide_around(&frozen(minutes), from(), &windows, &hosts, ledger);
            let [one] = <[Decision; 1]>::try_from(all).unwrap();
            one
        };
        let mut ledger = Ledger::default();
        let until = Wait::Excluded { until: opening.to };
        assert_eq!(around(0, &ledger), Decision::Wait { host: id(1), why: until.clone() });
        assert!(matches!(around(9, &ledger), Decision::Wait { why: Wait::TooLate { .. }, .. }));
        // All of the opening sees the host once, also if only a part of it could be used.
        assert_eq!(around(10, &ledger), Decision::Grant { host: id(1), opening });
        let epoch = granted(&mut ledger, &hosts, opening);
        assert_eq!(around(0, &ledger), Decision::HandBack { host: id(1), epoch, why: until });
        let until = from().after(10 * MINUTE);
        assert_eq!(around(10, &ledger), Decision::Start { host: id(1), epoch, until });
    }

    #[test]
    fn a_grant_that_came_too_late_or_lost_its_ground_is_handed_back() {
        let (mut hosts, windows) = (hosts(3), window());
        let mut ledger = Ledger::default();
        let opening = windows[0].next(Wall(0)).unwrap();
        let epoch = granted(&mut ledger, &hosts, opening);
        let start = Decision::Start { host: id(1), epoch, until: opening.to };
        assert_eq!(decide_at(from(), &windows, &hosts, &ledger), [start]);
        let late = decide_at(from().after(55 * MINUTE), &windows, &hosts, &ledger);
        assert!(matches!(late[..], [Decision::HandBack { why: Wait::TooLate { .. }, .. }]));
        hosts[2].state = HostState::Lost;
        let lost = decide_at(from(), &windows, &hosts, &ledger);
        assert!(matches!(lost[..], [Decision::HandBack { why: Wait::Refused(_), .. }]));
    }

    #[test]
    fn a_dead_host_keeps_its_slot_whatever_the_time() {
        let (mut hosts, windows) = (hosts(4), window());
        let mut ledger = Ledger::default();
        let opening = windows[0].next(Wall(0)).unwrap();
        let epoch = granted(&mut ledger, &hosts, opening);
        let seen = Seen { now: from(), hosts: &hosts, answers: None };
        ledger.start(&id(1), epoch, 10 * MINUTE, &seen, &GrantRules::plain(LIMITS)).unwrap();
        hosts[0].state = HostState::Lost;
        let years_later = from().after(Duration::from_secs(100_000_000));
        let decisions = decide_at(years_later, &windows, &hosts, &ledger);
        assert_eq!(decisions, [Decision::Wait { host: id(1), why: Wait::Draining }]);
    }
}
