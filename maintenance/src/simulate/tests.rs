//! Tales of small fleets.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::{GatewayId, Incarnation, Wall};

use super::observer::judge;
use super::*;
use crate::fleet::{Host, HostState, Limits};
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
