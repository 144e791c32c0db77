//! Several policies about one host, freezes, and what will not work.

use std::time::Duration;

use protocol::Wall;

use super::{host, read};
use crate::calendar::{Closed, Interval, Window, Zone};
use crate::drain::MoveBudget;
use crate::fleet::Host;
use crate::ledger::{GrantRules, OnWindowEnd};
use crate::policy::{Effective, Freeze, Lint, Planned, PolicySet, Profile, Sourced, Value};

const HOUR: Duration = Duration::from_secs(3600);

const TWO: &str = r#"
[policy.all]
windows = [ { rrule = "FREQ=DAILY", start = "00:00", duration = "PT6H", tz = "UTC" } ]
min_available = { fleet = "50%", zone = "n-1" }
max_concurrent = { fleet = "40%" }
never_together = ["power"]
headroom = { conns = "10%", msgs = "10%" }
drain = { profile = "urgent", host_rate = 400, lb_grace = "10s", timeout = "20m", on_timeout = "extend" }
moves = { second_moves = "3%" }
failure = { max = 3, per = "48h" }
gate = { close_if = ["lost_hosts >= 2"], reopen_after = "5m" }
approval = { when = "hosts > 20", approvers = 2, valid = "48h" }

[policy.eu]
selector = "region=eu"
windows = [ { rrule = "FREQ=WEEKLY;BYDAY=TU", start = "04:00", duration = "PT4H", tz = "UTC" } ]
exclude = [ { from = "2026-12-01", to = "2026-12-01", reason = "sale" } ]
min_available = { fleet = 3 }
max_concurrent = { fleet = 2, zone = 1 }
never_together = ["power", "twin_group"]
headroom = { conns = "5%", msgs = "20%" }
drain = { host_rate = 200, fleet_rate = 1000, lb_grace = "10s", timeout = "30m", on_timeout = "undrain" }
moves = { second_moves = "1.5%" }
failure = { max = 5, per = "72h" }
gate = { close_if = ["lost_hosts >= 2", "failed_visits > 1"] }
approval = { when = "class >= drain", approvers = 1, valid = "24h" }
"#;

fn at(text: &str) -> Wall {
    Window::once(text, "2100-01-01T00:00:00Z").unwrap().next(Wall(0)).unwrap().from
}

fn said<T: PartialEq + std::fmt::Debug>(sourced: &Sourced<T>, value: T, from: &[&str]) {
    assert_eq!(sourced.value, value);
    let names: Vec<&str> = sourced.from.iter().map(AsRef::as_ref).collect();
    assert_eq!(names, from);
}

fn five() -> Vec<Host> {
    (1..=5)
        .map(|n| {
            host(&format!("gw-{n}"), &format!("region=eu,zone={},power=p1,twin_group=t{n}", n % 2))
        })
        .collect()
}

fn effective() -> Effective {
    read(TWO).effective(&five()[0], &[])
}

#[test]
fn the_caps_on_drains_that_no_plan_asks_for_are_those_that_somebody_said() {
    let hosts = five();
    let caps = effective().caps(&hosts[0], &hosts);
    let kinds: Vec<_> = caps
        .domains
        .iter()
        .map(|rule| (rule.domain.kind(), rule.min_available, rule.max_concurrent))
        .collect();
    assert_eq!(kinds, [("fleet", 3, 2), ("zone", 2, 1)]);
    assert_eq!(caps.never_together, ["power", "twin_group"]);
    assert!(caps.headroom.is_some() && caps.failures.is_empty());
    // What holds if nobody says anything is for visits of a plan.
    let of = |text| read(text).effective(&hosts[0], &[]).caps(&hosts[0], &hosts);
    assert_eq!(of(""), GrantRules::default());
    let some = of("[policy.a]\nmax_concurrent = { fleet = 2 }\n").domains;
    assert_eq!((some[0].min_available, some[0].max_concurrent), (0, 2));
    let some = of("[policy.a]\nmin_available = { zone = 1 }\n").domains;
    assert_eq!((some.len(), some[0].min_available, some[0].max_concurrent), (1, 1, usize::MAX));
}

#[test]
fn the_strictest_value_of_each_field_wins_and_says_who_said_it() {
    let effective = effective();
    said(&effective.min_available("fleet", 5), 3, &["all", "eu"]);
    said(&effective.min_available("fleet", 10), 5, &["all"]);
    said(&effective.min_available("zone", 3), 2, &["all"]);
    said(&effective.max_concurrent("fleet", 5), 2, &["all", "eu"]);
    said(&effective.max_concurrent("fleet", 4), 1, &["all"]);
    said(&effective.max_concurrent("zone", 3), 1, &["eu"]);
    said(&effective.connections_percent, 10, &["all"]);
    said(&effective.messages_percent, 20, &["eu"]);
    said(&effective.profile, Profile::Urgent, &["all"]);
    said(&effective.host_rate, Some(200), &["eu"]);
    said(&effective.fleet_rate, Some(1000), &["eu"]);
    said(&effective.lb_grace, Some(Duration::from_secs(10)), &["all", "eu"]);
    said(&effective.timeout, Some(Duration::from_secs(1200)), &["all"]);
    said(&effective.takeover_wait, None, &[]);
    said(&effective.flush, None, &[]);
    said(&effective.per_device, None, &[]);
    said(&effective.second_moves, Some(150), &["eu"]);
    let failures = effective.failures.iter().map(|it| (it.value.max, it.value.per));
    assert_eq!(failures.collect::<Vec<_>>(), [(3, 48 * HOUR), (5, 72 * HOUR)], "each for itself");
    let labels: Vec<_> =
        effective.never_together.iter().map(|it| (it.value.as_str(), it.from.len())).collect();
    assert_eq!(labels, [("power", 2), ("twin_group", 1)]);
    assert_eq!(effective.close_if.len(), 2);
}

#[test]
fn of_how_clients_are_moved_the_longest_time_and_the_fewest_moves_hold() {
    let one = |name: &str, flush: &str, max: u32, per: &str| {
        let budget = format!("per_device = {{ max = {max}, per = \"{per}\" }}");
        format!("[policy.{name}]\ndrain = {{ flush = \"{flush}\" }}\nmoves = {{ {budget} }}\n")
    };
    let text = one("a", "200ms", 2, "7d") + &one("b", "2s", 1, "1h") + &one("c", "0s", 1, "24h");
    let effective = read(&text).effective(&five()[0], &[]);
    said(&effective.flush, Some(Duration::from_secs(2)), &["b"]);
    said(&effective.per_device, Some(MoveBudget { max: 1, per: 24 * HOUR }), &["c"]);
    let wishes = effective.drain_wishes(&crate::fleet::OwnDrain::default()).moves;
    assert_eq!(
        (wishes.flush, wishes.per_device),
        (effective.flush.value, effective.per_device.value)
    );
}

#[test]
fn the_ledger_gets_numbers_for_the_hosts_that_are_registered() {
    let hosts = five();
    let rules = read(TWO).effective(&hosts[0], &[]).grant_rules(&hosts[0], &hosts);
    let domains: Vec<_> = rules
        .domains
        .iter()
        .map(|it| (it.domain.to_string(), it.min_available, it.max_concurrent))
        .collect();
    assert_eq!(domains, [("fleet".to_owned(), 3, 2), ("zone 1".to_owned(), 2, 1)]);
    let budgets: Vec<_> = rules.failures.iter().map(|it| (it.scope.as_str(), it.max)).collect();
    assert_eq!(budgets, [("all", 3), ("eu", 5)]);
    // Nobody says anything: one at a time, and all others serve.
    let plain = PolicySet::default().effective(&hosts[0], &[]).grant_rules(&hosts[0], &hosts);
    let domains: Vec<_> =
        plain.domains.iter().map(|it| (it.min_available, it.max_concurrent)).collect();
    assert_eq!(domains, [(4, 1)]);
    assert_eq!(plain.headroom, None);
}

#[test]
fn what_a_visit_does_about_the_end_of_its_window_is_what_the_strictest_says_and_it_is_told_who() {
    let hosts = five();
    let of = |text: &str| {
        let effective = read(text).effective(&hosts[0], &[]);
        let shown = effective.show(&hosts[0], &hosts).into_iter();
        let shown = shown.filter(|field| field.field == "on_window_end");
        let shown: Vec<_> =
            shown.map(|it| format!("{} [{}]", it.value, it.from.join("+"))).collect();
        (effective.grant_rules(&hosts[0], &hosts).on_window_end, shown)
    };
    let [finish, undrain] =
        [("finish_if_past_ponr", OnWindowEnd::FinishIfPastPonr), ("undrain", OnWindowEnd::Undrain)];
    let said = |name: &str, word: &str| format!("[policy.{name}]\non_window_end = \"{word}\"\n");
    assert_eq!(of(""), (undrain.1, vec!["undrain []".to_owned()]));
    for word in [finish, undrain] {
        let text = said("a", word.0);
        assert_eq!(of(&text), (word.1, vec![format!("{} [a]", word.0)]));
    }
    let both = said("a", finish.0) + &said("b", undrain.0) + &said("c", undrain.0);
    assert_eq!(of(&both), (undrain.1, vec!["undrain [b+c]".to_owned()]));
}

#[test]
fn hosts_are_open_where_all_their_policies_are_and_closed_where_one_is() {
    let hosts = five();
    let set = read(TWO);
    let freeze = Freeze {
        id: "launch".into(),
        selector: "host=gw-2".parse().unwrap(),
        interval: Interval::new(at("2026-11-24T05:00:00Z"), at("2026-11-25T00:00:00Z")).unwrap(),
        reason: "launch".into(),
        by: "ops-1".into(),
        allow: vec![],
    };
    assert_eq!(freeze.check(), Ok(()));
    let stored = serde_json::to_string(&freeze).unwrap();
    assert_eq!(serde_json::from_str::<Freeze>(&stored).unwrap(), freeze);
    let horizon = Interval::new(at("2026-11-22T00:00:00Z"), at("2026-12-06T00:00:00Z")).unwrap();
    let open = |host: &Host| {
        let effective = set.effective(host, std::slice::from_ref(&freeze));
        let openings = effective.openings(&Zone::utc(), horizon, &[]);
        openings
            .openings()
            .iter()
            .map(|it| (it.interval.from, it.interval.length()))
            .collect::<Vec<_>>()
    };
    assert_eq!(open(&hosts[0]), [(at("2026-11-24T04:00:00Z"), 2 * HOUR)]);
    assert_eq!(open(&hosts[1]), [(at("2026-11-24T04:00:00Z"), HOUR)]);
    assert_eq!(open(&host("gw-9", "region=us")).len(), 14);
    let frozen = set.effective(&hosts[1], &[freeze]);
    let openings = frozen.openings(&Zone::utc(), horizon, &[]);
    let closed = openings.why_closed(at("2026-11-24T05:30:00Z"));
    assert!(matches!(closed, Some(Closed::Excluded { rule, .. }) if &*rule == "freeze.launch"));
    let rules: Vec<&str> = openings.openings()[0].rules.iter().map(AsRef::as_ref).collect();
    assert_eq!(rules, ["all.windows[0]", "eu.windows[0]"]);
    assert_ne!(
        frozen.calendar_key(&hosts[1]),
        set.effective(&hosts[0], &[]).calendar_key(&hosts[0])
    );
}

#[test]
fn gate_and_approval_heed_what_is_not_known() {
    let effective = effective();
    let facts = |lost: f64| {
        move |name: &str| match name {
            "lost_hosts" => Some(Value::Number(lost)),
            "failed_visits" => Some(Value::Number(0.0)),
            _ => None,
        }
    };
    assert_eq!(effective.closed_by(&facts(0.0)).len(), 0);
    assert_eq!(effective.closed_by(&facts(2.0)).len(), 1);
    assert_eq!(effective.closed_by(&|_| None).len(), 2);
    let work = |class: &'static str, hosts: f64| {
        effective.approvers(&move |name| match name {
            "class" => Some(Value::Word(class)),
            "hosts" => Some(Value::Number(hosts)),
            _ => None,
        })
    };
    assert_eq!(work("hot", 1.0), (0, None));
    assert_eq!(work("drain", 1.0), (1, Some(24 * HOUR)));
    assert_eq!(work("absent", 30.0), (2, Some(24 * HOUR)));
    assert_eq!(work("hot", 30.0), (2, Some(48 * HOUR)));
}

fn lints(text: &str, hosts: &[Host], planned: &[Planned<'_>]) -> Vec<String> {
    let found = read(text).lints(hosts, &[], planned, at("2026-11-22T00:00:00Z"), 8 * HOUR);
    found.iter().map(Lint::to_string).collect()
}

const DAILY: &str = "windows = [ { rrule = \"FREQ=DAILY\", start = \"01:00\", duration = \"PT4H\", tz = \"host\" } ]\n";

#[test]
fn a_policy_without_faults_has_no_lints() {
    assert_eq!(lints(&format!("[policy.a]\n{DAILY}"), &five(), &[]), Vec::<String>::new());
}

#[test]
fn what_will_not_work_as_somebody_thinks_is_said() {
    let hosts = five();
    let only = |lines: &str| lints(&format!("[policy.a]\n{DAILY}{lines}\n"), &hosts, &[]);
    assert_eq!(
        only("selector = \"region=us\""),
        [
            "NO_HOSTS policy.a.selector: no host has labels as in \"region=us\"",
            "NO_WINDOW gw-1: no policy gives it a window: it is never visited",
        ]
    );
    assert_eq!(
        only("max_concurrent = { fleet = \"10%\" }"),
        ["CAP_ZERO policy.a.max_concurrent (fleet): 0 of 5 hosts may be visited at once: never"]
    );
    assert_eq!(
        only("min_available = { fleet = \"90%\" }"),
        [
            "CONTRADICTION policy.a.min_available (fleet): 5 of 5 hosts must serve: none may be visited"
        ]
    );
    assert_eq!(
        only("never_together = [\"twins\"]"),
        [
            "UNKNOWN_LABEL policy.a.never_together.twins: none of its hosts has a label \"twins\": it has no effect"
        ]
    );
    let mut told = five();
    for host in &mut told {
        host.capacity.connections = 1000;
    }
    let headroom = "headroom = { conns = \"10%\", msgs = \"10%\" }";
    assert_eq!(
        lints(&format!("[policy.a]\n{DAILY}{headroom}\n"), &told, &[]),
        [
            "UNKNOWN_CAPACITY policy.a.headroom.msgs: gw-1 does not tell how much it can carry: it has no effect"
        ]
    );
    let lone = [host("gw-1", "zone=a"), host("gw-2", "zone=b"), host("gw-3", "zone=b")];
    let found =
        lints(&format!("[policy.a]\n{DAILY}min_available = {{ zone = \"n-1\" }}\n"), &lone, &[]);
    assert_eq!(
        found,
        [
            "LONE_HOST policy.a.min_available (zone a): it has one host, and none must serve: all of it may be visited"
        ]
    );
    let mut lost = host("gw-1", "");
    lost.zone = "Mars".into();
    assert!(
        lints(&format!("[policy.a]\n{DAILY}"), &[lost, host("gw-2", "")], &[]).contains(
            &"UNKNOWN_ZONE gw-1: its time zone \"Mars\" is not in the database".to_owned()
        )
    );
}

#[test]
fn windows_that_leave_too_little_are_said() {
    let hosts = five();
    let monthly = "[policy.a]\nwindows = [ { rrule = \"FREQ=MONTHLY;BYDAY=1TU\", start = \"01:00\", duration = \"PT4H\", tz = \"host\" } ]\n";
    assert_eq!(
        lints(monthly, &hosts, &[]),
        [
            "SELF_BLOCK policy.a.windows: open for 4h of the next 32 days, less than 8h, as for gw-1 (Europe/Berlin)"
        ]
    );
    let apart = format!(
        "[policy.a]\n{DAILY}[policy.b]\nwindows = [ {{ rrule = \"FREQ=DAILY\", start = \"13:00\", duration = \"PT4H\", tz = \"host\" }} ]\n"
    );
    assert_eq!(
        lints(&apart, &hosts, &[]),
        [
            "CONTRADICTION policy.a+b.windows: in the next 32 days the policies are never open together, as for gw-1"
        ]
    );
    let policy = format!("[policy.a]\n{DAILY}");
    let visit = Planned { host: &hosts[0].id, length: 5 * HOUR, deadline: None };
    assert_eq!(
        lints(&policy, &hosts, &[visit]),
        ["WINDOW_TOO_SHORT gw-1: a visit takes 5h, the longest opening has 4h"]
    );
    let visit = Planned { length: HOUR, deadline: Some(at("2026-11-22T00:30:00Z")), ..visit };
    assert_eq!(
        lints(&policy, &hosts, &[visit]),
        [
            "DEADLINE_BEFORE_OPENING gw-1: its visit of 1h is due by Sun 2026-11-22 01:30:00 +01:00, but can begin at Sun 2026-11-22 01:00:00 +01:00 at the earliest"
        ]
    );
}
