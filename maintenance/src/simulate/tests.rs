//! Tales of small fleets.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::{GatewayId, Incarnation, Wall};

use super::observer::judge;
use super::world::{Conduct, simulate_as};
use super::*;
use crate::drain::{Taker, spared};
use crate::fleet::{Capacity, Host, HostState, Limits, Load};
use crate::ledger::{Gate, GrantRules, Ledger};
use crate::operation::{Campaign, CampaignId, Class, OpKind, Operation, OperationId};
use crate::policy::PolicySet;

/// Open from one to five each night.
const POLICY: &str = r#"
    [policy.all]
    windows = [{ rrule = "FREQ=DAILY", start = "01:00", duration = "PT4H", tz = "UTC" }]
    min_available = { fleet = "50%" }
    max_concurrent = { fleet = 2 }
    never_together = ["power"]
"#;
/// 2026-01-05 10:00 UTC.
const TEN: Wall = Wall(1_767_607_200_000);

fn scenario(hosts: usize, seed: u64, faults: Faults) -> Scenario {
    let host = |n: usize| {
        let id = GatewayId::new(&format!("gw-{n:02}")).unwrap();
        let host = Host::new(id, Incarnation(1), HostState::Serving);
        let labels = BTreeMap::from([("power".to_owned(), format!("p{}", n % 3))]);
        Host { labels, ..host }
    };
    let hosts: Vec<Host> = (0..hosts).map(host).collect();
    let ids: Vec<GatewayId> = hosts.iter().map(|host| host.id.clone()).collect();
    let id = OperationId::new("R").unwrap();
    let template = Operation {
        class: Class::Drain,
        ..Operation::new(id.clone(), OpKind::Restart, ids[0].clone())
    };
    let campaign = Campaign {
        id: CampaignId(id),
        template,
        canary: Campaign::CANARY.to_vec(),
        soak: Duration::from_secs(600),
        failure_budget: 0,
    };
    Scenario {
        policies: PolicySet::read(POLICY, &BTreeMap::new()).unwrap(),
        operations: campaign.operations(&ids).unwrap(),
        hosts,
        loads: BTreeMap::new(),
        from: TEN,
        lasts: Duration::from_secs(14 * 24 * 3600),
        habits: Habits::default(),
        faults,
        seed,
    }
}

#[test]
fn without_faults_all_is_done_at_night_and_the_same_seed_tells_the_same_tale() {
    let scenario = scenario(12, 7, Faults::default());
    let tale = simulate(&scenario, &mut || false).unwrap();
    assert_eq!(tale.broken, []);
    let Totals { visits, done, left, most_at_once, .. } = tale.totals;
    assert_eq!((visits, done, left), (12, 12, 0), "{tale:#?}");
    assert!((1..=2).contains(&most_at_once), "{most_at_once}");
    let first = tale.lines.iter().find(|line| line.what.ends_with("begins")).unwrap();
    assert_eq!(first.at.0 / 3_600_000 % 24, 1, "the window opens at one");
    assert_eq!(simulate(&scenario, &mut || false).unwrap(), tale);
}

#[test]
fn whatever_fails_and_dies_no_limit_is_passed() {
    for seed in 0..12 {
        let faults = Faults { works_permille: 100, deaths_permille: 150 };
        let tale = simulate(&scenario(9, seed, faults), &mut || false).unwrap();
        assert_eq!(tale.broken, [], "seed {seed}: {:#?}", tale.lines);
        let Totals { visits, done, failed, left, .. } = tale.totals;
        assert_eq!(done + failed + left, visits, "seed {seed}");
        assert!(done > 0, "seed {seed}: {tale:#?}");
    }
}

#[test]
fn the_observer_sees_what_must_not_be() {
    let hosts = scenario(3, 0, Faults::default()).hosts;
    let ledger = Ledger::default();
    let judged = |min_available, gate| {
        let plain = GrantRules::plain(Limits { min_available, max_concurrent: 1 });
        judge(&hosts[0], &hosts, &ledger, &GrantRules { gate, ..plain }).len()
    };
    assert_eq!(judged(2, Gate::Open), 0);
    assert_eq!(judged(3, Gate::Open), 1, "two others serve");
    assert_eq!(judged(2, Gate::Closed { why: "test".to_owned() }), 1);
}

/// Always open; nobody is to be moved twice who need not be.
const CAREFUL: &str = r#"
    [policy.all]
    windows = [{ from = "2026-01-01", to = "2026-12-01", tz = "UTC" }]
    min_available = { fleet = "50%" }
    max_concurrent = { fleet = 2 }
    never_together = ["power"]
    headroom = { conns = "1%" }
    moves = { second_moves = "0%" }
"#;

/// So many hosts that carry 1,000 clients each and may carry so many, and so many that are not visited and carry nobody.
fn loaded((hosts, spare): (usize, usize), most: u64, seed: u64) -> Scenario {
    let mut scenario = scenario(hosts + spare, seed, Faults::default());
    scenario.policies = PolicySet::read(CAREFUL, &BTreeMap::new()).unwrap();
    for (n, host) in scenario.hosts.iter_mut().enumerate() {
        host.capacity = Capacity { connections: most, ..host.capacity };
        let connections = if n < hosts { 1_000 } else { 0 };
        scenario.loads.insert(host.id.clone(), Load { connections, messages_per_s: 0 });
    }
    let visited: Vec<GatewayId> =
        scenario.hosts.iter().take(hosts).map(|host| host.id.clone()).collect();
    scenario.operations.retain(|operation| visited.contains(&operation.host));
    scenario
}

fn as_if(scenario: &Scenario, policies: &str, spared: fn(&[Taker], u64) -> Vec<GatewayId>) -> Tale {
    let policies = PolicySet::read(policies, &BTreeMap::new()).unwrap();
    simulate_as(scenario, Conduct { policies, spared }, &mut || false).unwrap()
}

#[test]
fn p29_only_clients_of_the_first_batch_are_moved_twice_and_with_room_to_spare_nobody_is() {
    for seed in 0..6 {
        for hosts in [4, 7, 12] {
            let tale = simulate(&loaded((hosts, 0), 1_500, seed), &mut || false).unwrap();
            assert_eq!(
                (tale.totals.done, &tale.broken[..]),
                (hosts, &[][..]),
                "seed {seed}: {tale:#?}"
            );
            let Totals { moved_again, most_moves, .. } = tale.totals;
            assert!(moved_again <= 1_000 && most_moves <= 2, "{hosts}, seed {seed}: {moved_again}");
            let tale = simulate(&loaded((hosts, 1), 1_500, seed), &mut || false).unwrap();
            assert_eq!(
                (tale.totals.done, &tale.broken[..]),
                (hosts, &[][..]),
                "seed {seed}: {tale:#?}"
            );
            let Totals { moved, moved_again, most_moves, .. } = tale.totals;
            assert_eq!((moved_again, most_moves), (0, 1), "{hosts}, seed {seed}");
            assert_eq!(moved, 1_000 * hosts as u64);
        }
    }
}

#[test]
fn clients_that_are_sent_anywhere_are_seen_to_move_again_and_again() {
    let tale = as_if(&loaded((12, 0), 1_500, 1), CAREFUL, |_, _| Vec::new());
    let Totals { moved_again, most_moves, .. } = tale.totals;
    assert!(moved_again > 1_000 && most_moves > 2, "{moved_again} {most_moves}");
}

#[test]
fn a_scheduler_that_goes_by_other_policies_than_operators_wrote_is_found() {
    let fleet = loaded((9, 0), 4_000, 3);
    let found = |without: &str, with: &str, scenario: &Scenario| {
        let believed = CAREFUL.replace(without, with);
        assert_ne!(believed, CAREFUL);
        let broken = as_if(scenario, &believed, spared).broken;
        broken.into_iter().map(|line| line.what).collect::<Vec<_>>().join("; ")
    };
    let more = "max_concurrent = { fleet = 3 }";
    assert!(found("max_concurrent = { fleet = 2 }", more, &fleet).contains("are visited, not 2"));
    // Of the slots and of the hosts as they are.
    let together = found("never_together = [\"power\"]", "", &fleet);
    assert!(together.contains("are visited") && together.contains("are away"), "{together}");
    let full = loaded((9, 0), 1_050, 3);
    let room = found("headroom = { conns = \"1%\" }", "", &full);
    assert!(room.contains("nobody has room"), "{room}");
    let mut shut = fleet;
    shut.policies = PolicySet::read(POLICY, &BTreeMap::new()).unwrap();
    assert!(found("fleet = 2", "fleet = 1", &shut).contains("nothing allows it now"));
}
