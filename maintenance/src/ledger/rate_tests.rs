//! How many clients may leave at once: what all may, and what those that stay take.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use protocol::{GatewayId, Incarnation, Wall};

use super::*;
use crate::calendar::Interval;
use crate::fleet::{
    Availability, Capacity, Estimate, Forecast, Host, HostState, Limits, Load, OwnDrain, Term,
};
use crate::verdict::{Counts, Outcome, Verdict};

const OPENING: Interval = Interval { from: Wall(0), to: Wall(10_000) };
const ANY: Limits = Limits { min_available: 0, max_concurrent: 99 };

fn id(n: usize) -> GatewayId {
    GatewayId::new(&format!("gw-{n}")).unwrap()
}

/// Gateways of one region or another, and how many clients leave each and come to it per second.
struct Fleet {
    hosts: Vec<Host>,
    answers: BTreeMap<GatewayId, Availability>,
    ledger: Ledger,
}

impl Fleet {
    fn new(gateways: &[(&str, u32, u64)]) -> Self {
        let hosts = gateways.iter().enumerate().map(|(n, (region, _, connects_per_s))| {
            let labels = BTreeMap::from([("region".to_owned(), (*region).to_owned())]);
            let capacity = Capacity { connects_per_s: *connects_per_s, ..Capacity::default() };
            Host { labels, capacity, ..Host::new(id(n), Incarnation(1), HostState::Serving) }
        });
        let hosts: Vec<_> = hosts.collect();
        let answers = hosts.iter().zip(gateways).map(|(host, (_, per_s, _))| {
            let answer = Availability {
                host: host.id.clone(),
                incarnation: host.incarnation,
                state: host.state,
                seq: 1,
                issued: Wall(0),
                valid_until: Wall(90_000),
                blockers: Vec::new(),
                load: Load::default(),
                forecast: Forecast::default(),
                drain_estimate: Estimate::default(),
                drain: OwnDrain { per_s: *per_s, ..OwnDrain::default() },
                sessions: 0,
                v5_share_percent: None,
                needs: Vec::new(),
                preferred: Vec::new(),
            };
            (host.id.clone(), answer)
        });
        let answers = answers.collect();
        Self { hosts, answers, ledger: Ledger::default() }
    }

    fn grant(&mut self, n: usize, rules: &GrantRules) -> Result<SlotEpoch, GrantRefused> {
        let host = &id(n);
        let seen = Seen { now: Wall(1), hosts: &self.hosts, answers: Some(&self.answers) };
        let grant = Grant {
            host,
            offered: Incarnation(1),
            visit: None,
            term: Term(0),
            class: SlotClass::Drain,
            opening: OPENING,
            remaining: Duration::ZERO,
            once: false,
            asked: None,
        };
        let granted = self.ledger.grant(&grant, &seen, rules)?;
        Ok(granted.epoch().unwrap())
    }

    /// Starts what is granted, if it still may.
    fn start(&mut self, n: usize, rules: &GrantRules) -> Result<(), StartRefused> {
        let epoch = self.ledger.slot(&id(n)).map_or(SlotEpoch(0), |slot| slot.epoch);
        let seen = Seen { now: Wall(1), hosts: &self.hosts, answers: Some(&self.answers) };
        self.ledger.start(&id(n), epoch, Duration::ZERO, &seen, rules).map(drop)
    }

    /// All of its clients are gone.
    fn conclude(&mut self, n: usize) -> Result<(), ConcludeRefused> {
        let epoch = self.ledger.slot(&id(n)).map_or(SlotEpoch(0), |slot| slot.epoch);
        let (outcome, evidence, elapsed) = (Outcome::Quiesced, Counts::default(), Duration::ZERO);
        let verdict = Verdict { outcome, evidence, clients: 0, moved: 0, departed: 0, elapsed };
        self.ledger.conclude(&id(n), epoch, verdict).map(drop)
    }
}

fn all_may(fleet_rate: Option<u32>) -> GrantRules {
    GrantRules { fleet_rate, ..GrantRules::plain(ANY) }
}

fn refused(granted: Result<SlotEpoch, GrantRefused>) -> String {
    granted.unwrap_err().to_string()
}

#[test]
fn so_many_leave_as_may_until_the_clients_of_one_are_gone() {
    let mut fleet = Fleet::new(&[("eu", 200, 0); 4]);
    let rules = all_may(Some(500));
    fleet.grant(0, &rules).unwrap();
    fleet.grant(1, &rules).unwrap();
    let why = "fleet: 600 clients per second would move, 500 may";
    assert_eq!(refused(fleet.grant(2, &rules)), why);
    fleet.start(0, &rules).unwrap();
    assert_eq!(refused(fleet.grant(2, &rules)), why);
    fleet.conclude(0).unwrap();
    fleet.grant(2, &rules).unwrap();
    // What policies say of a gateway is stronger than what it says itself.
    let slow = GrantRules { rate: Some(100), ..rules };
    assert_eq!(fleet.grant(3, &slow), Ok(SlotEpoch(4)));
    let rates: Vec<_> = fleet.ledger.slots().iter().map(|slot| slot.rate).collect();
    assert_eq!(rates, [Some(200), Some(200), Some(200), Some(100)]);
}

#[test]
fn the_strictest_of_all_who_move_counts_and_one_may_always_leave() {
    let mut fleet = Fleet::new(&[("eu", 200, 0); 3]);
    fleet.grant(0, &all_may(Some(250))).unwrap();
    // The policies of this one allow more, or say nothing; those of the first do not.
    for rules in [all_may(Some(1_000)), all_may(None)] {
        let why = "fleet: 400 clients per second would move, 250 may";
        assert_eq!(refused(fleet.grant(1, &rules)), why);
    }
    let mut alone = Fleet::new(&[("eu", 200, 0); 3]);
    alone.grant(0, &all_may(Some(50))).unwrap();
    assert!(alone.grant(1, &all_may(Some(1_000))).is_err());
}

#[test]
fn policies_that_became_stricter_are_asked_again_before_it_starts() {
    let mut fleet = Fleet::new(&[("eu", 200, 0); 3]);
    fleet.grant(0, &all_may(None)).unwrap();
    fleet.grant(1, &all_may(None)).unwrap();
    let answer = fleet.start(1, &all_may(Some(300)));
    assert!(matches!(answer, Err(StartRefused::Grant(GrantRefused::RateBudget { .. }))));
    fleet.start(1, &all_may(Some(400))).unwrap();
}

#[test]
fn no_more_leave_a_region_than_the_others_there_take_if_all_say_what_that_is() {
    let heeds = GrantRules { heeds_intake: true, ..all_may(None) };
    let mut fleet = Fleet::new(&[
        ("eu", 200, 300),
        ("eu", 200, 300),
        ("eu", 200, 300),
        ("us", 200, 100),
        ("us", 200, 100),
    ]);
    fleet.grant(0, &heeds).unwrap();
    assert_eq!(
        refused(fleet.grant(1, &heeds)),
        "region eu: 400 clients per second would move, 300 may"
    );
    fleet.grant(3, &heeds).unwrap();
    fleet.grant(1, &all_may(None)).unwrap();
    // An older gateway does not say what it takes.
    let mut silent = Fleet::new(&[("eu", 200, 300), ("eu", 200, 300), ("eu", 200, 0)]);
    silent.grant(0, &heeds).unwrap();
    silent.grant(1, &heeds).unwrap();
}

#[test]
fn a_slot_of_a_version_that_noted_no_pace_is_read_and_its_host_has_the_pace_that_it_answers() {
    let mut fleet = Fleet::new(&[("eu", 10, 0); 3]);
    fleet.grant(0, &all_may(None)).unwrap();
    let slot = serde_json::to_value(&fleet.ledger.slots()[0]).unwrap();
    assert_eq!((&slot["per_s"], slot.get("fleet_rate")), (&10.into(), None));
    let mut older = slot;
    older.as_object_mut().unwrap().remove("per_s").unwrap();
    let older: Slot = serde_json::from_value(older).unwrap();
    assert_eq!(older.rate, None);
    fleet.ledger = Ledger::default();
    let change = Change::Granted { slot: Box::new(older), once: false };
    fleet.ledger.replay(&change).unwrap();
    let why = "fleet: 20 clients per second would move, 19 may";
    assert_eq!(refused(fleet.grant(1, &all_may(Some(19)))), why);
    let before = fleet.ledger.clone();
    fleet.grant(1, &all_may(Some(20))).unwrap();
    // Of one that does not answer nobody knows it: it counts as all that may leave.
    fleet.ledger = before;
    fleet.answers.remove(&id(0)).unwrap();
    let why = "fleet: 510 clients per second would move, 500 may";
    assert_eq!(refused(fleet.grant(1, &all_may(Some(500)))), why);
    fleet.grant(1, &all_may(None)).unwrap();
}

#[test]
fn what_older_versions_are_to_read_has_nothing_in_it_that_they_do_not_know() {
    let mut fleet = Fleet::new(&[("eu", 10, 0); 3]);
    let hides = GrantRules { hides_pace: true, ..all_may(Some(15)) };
    fleet.grant(0, &hides).unwrap();
    let slot = serde_json::to_value(&fleet.ledger.slots()[0]).unwrap();
    assert_eq!((slot.get("per_s"), slot.get("fleet_rate")), (None, None));
    // It is heeded all the same.
    assert!(fleet.grant(1, &hides).is_err());
}

#[derive(Debug, Clone, Copy)]
enum Op {
    Grant(usize),
    Start(usize),
    Conclude(usize),
}

fn op() -> impl Strategy<Value = Op> {
    (0_usize..6, 0..3).prop_map(|(n, which)| match which {
        0 => Op::Grant(n),
        1 => Op::Start(n),
        _ => Op::Conclude(n),
    })
}

proptest! {
    /// C4: in whatever order slots are granted, started and concluded.
    #[test]
    fn of_those_that_move_together_no_limit_of_any_is_passed(
        gateways in prop::collection::vec(
            (prop::sample::select(vec!["eu", "us"]), 1_u32..500, 1_u64..900), 6),
        limits in prop::collection::vec(prop::option::of(1_u32..1_500), 6),
        ops in prop::collection::vec(op(), 1..60),
    ) {
        let mut fleet = Fleet::new(&gateways);
        // As policies have it: nobody is drained faster than all may.
        let pace = |n: usize| limits[n].map_or(gateways[n].1, |all| all.min(gateways[n].1));
        let rules = |n: usize| {
            GrantRules { rate: Some(pace(n)), heeds_intake: true, ..all_may(limits[n]) }
        };
        for op in ops {
            let before = fleet.ledger.clone();
            let granted = match op {
                Op::Grant(n) => fleet.grant(n, &rules(n)).is_ok().then_some(n),
                Op::Start(n) => fleet.start(n, &rules(n)).is_ok().then_some(n),
                Op::Conclude(n) => { let _ = fleet.conclude(n); None }
            };
            let moving: Vec<usize> = (0..6)
                .filter(|n| fleet.ledger.slot(&id(*n)).is_some_and(|slot| slot.verdict.is_none()))
                .collect();
            let Some(n) = granted else { continue };
            let sum = |of: &[usize]| of.iter().map(|n| u64::from(pace(*n))).sum::<u64>();
            for limit in moving.iter().filter_map(|n| limits[*n]) {
                prop_assert!(sum(&moving) <= u64::from(limit), "{moving:?} {before:?}");
            }
            let near: Vec<usize> =
                moving.iter().copied().filter(|it| gateways[*it].0 == gateways[n].0).collect();
            let takes = (0..6)
                .filter(|it| gateways[*it].0 == gateways[n].0 && fleet.ledger.slot(&id(*it)).is_none());
            let takes: u64 = takes.map(|it| gateways[it].2).sum();
            prop_assert!(near.len() == 1 || sum(&near) <= takes, "{near:?}: {takes}");
        }
    }
}
