//! Reading policies.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{host, read, wrong};
use crate::calendar::{Interval, Zone};
use crate::policy::PolicySet;

/// The policy of the design, with every key that it has, and some more.
const WHOLE: &str = r#"
[policy.eu-gateways]
selector = "role=gateway,region=eu"
windows = [
    { rrule = "FREQ=WEEKLY;BYDAY=TU,WE,TH", start = "01:00", duration = "PT4H", tz = "host", on_gap = "skip",
      on_fold = "first", overrides = [ { at = "2026-11-24T01:00", cancel = true },
                                       { at = "2026-11-25T01:00", start = "2026-11-25T02:00", duration = "PT1H" } ] },
    { from = "2026-12-24T01:00", to = "2026-12-24T05:00:00Z" },
]
exclude = [
    { from = "2026-11-26", to = "2026-12-02", tz = "Europe/Berlin", reason = "season", allow = ["security"] },
    { rrule = "FREQ=MONTHLY;BYDAY=-1FR", duration = "P1D", reason = "billing" },
    { ics = "holidays", tz = "host" },
]
min_available = { fleet = "97%", zone = "90%", rack = "n-1" }
max_concurrent = { fleet = 300, zone = 12, rack = 1 }
never_together = ["power", "twin_group"]
headroom = { conns = "15%", msgs = "20%", forecast = "p95" }
drain = { profile = "planned", host_rate = 400, fleet_rate = 5000, lb_grace = "30s", flush = "2s",
          takeover_wait = "60s", timeout = "20m", on_timeout = "undrain" }
moves = { second_moves = "2%", per_device = { max = 1, per = "24h" } }
failure = { max = 2, per = "24h", then = "pause" }
gate = { close_if = ["lost_hosts >= 2", "connect_error_rate > 0.5%", "promql:sum(up) < 3"], reopen_after = "10m" }
approval = { when = "class >= Drain && hosts > 20", approvers = 2, valid = "48h" }
on_window_end = "finish_if_past_ponr"
"#;

const HOLIDAYS: &str = "BEGIN:VCALENDAR\nBEGIN:VEVENT\nUID:1\nDTSTART;VALUE=DATE:20261203\nSUMMARY:Feast\nEND:VEVENT\nEND:VCALENDAR\n";

#[test]
fn a_whole_policy_is_understood() {
    let calendars = BTreeMap::from([("holidays".to_owned(), HOLIDAYS.to_owned())]);
    let set = PolicySet::read(WHOLE, &calendars).unwrap();
    let gateway = host("gw-1", "role=gateway,region=eu,zone=a,rack=1");
    let effective = set.effective(&gateway, &[]);
    let at = |text: &str| {
        crate::calendar::Window::once(text, "2100-01-01T00:00:00Z")
            .unwrap()
            .next(protocol::Wall(0))
            .unwrap()
            .from
    };
    let horizon = Interval::new(at("2026-11-23T00:00:00Z"), at("2026-12-10T00:00:00Z")).unwrap();
    let berlin = Zone::named("Europe/Berlin").unwrap();
    let open = |work: &[&str]| -> Vec<String> {
        let openings = effective.openings(&berlin, horizon, work);
        openings.openings().iter().map(|it| berlin.shown(it.interval.from)).collect()
    };
    assert_eq!(
        open(&[]),
        [
            "Wed 2026-11-25 02:00:00 +01:00",
            // The third is the feast.
            "Tue 2026-12-08 01:00:00 +01:00",
            "Wed 2026-12-09 01:00:00 +01:00",
        ]
    );
    assert_eq!(open(&["security"]).len(), 6);
    let hosts = [gateway.clone(), host("gw-2", "role=gateway,region=eu,zone=a,rack=1")];
    let shown: Vec<String> = effective
        .show(&gateway, &hosts)
        .iter()
        .map(|field| format!("{} = {} [{}]", field.field, field.value, field.from.join("+")))
        .collect();
    for line in [
        "windows = FREQ=WEEKLY;BYDAY=TU,WE,TH at 01:00 for PT4H, host | from 2026-12-24T01:00 to 2026-12-24T05:00:00Z, UTC [eu-gateways]",
        "exclude = from 2026-11-26T00:00 to 2026-12-03T00:00, Europe/Berlin (season) [eu-gateways]",
        "exclude = FREQ=MONTHLY;BYDAY=-1FR at 00:00 for P1D, UTC (billing) [eu-gateways]",
        "exclude = 2026-12-03T00:00 for P1D, host (Feast) [eu-gateways]",
        "min_available.rack = 1 of 2 [eu-gateways]",
        "min_available.fleet = 2 of 2 [eu-gateways]",
        "max_concurrent.fleet = 300 of 2 [eu-gateways]",
        "headroom.conns = 15% [eu-gateways]",
        "headroom.forecast = p95 [eu-gateways]",
        "drain.timeout = 20m [eu-gateways]",
        "drain.flush = 2s [eu-gateways]",
        "moves.second_moves = 2.00% [eu-gateways]",
        "moves.per_device = 1 per 1d [eu-gateways]",
        "gate.close_if = connect_error_rate > 0.005 [eu-gateways]",
        "approval = 2 if (class >= drain && hosts > 20), valid 2d [eu-gateways]",
        "on_window_end = finish_if_past_ponr [eu-gateways]",
    ] {
        assert!(shown.iter().any(|it| it == line), "{line} is not in {shown:#?}");
    }
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_nearest_known_one() {
    assert_eq!(
        wrong("[policy.a]\nselector = \"\"\nwindow = []\n"),
        "line 3: unknown field `window`; did you mean `windows`?"
    );
    assert_eq!(
        wrong("[policy.a]\nwindows = [ { rule = \"FREQ=DAILY\" } ]\n"),
        "line 2: unknown field `rule`; did you mean `rrule`?"
    );
    assert_eq!(
        wrong("[policy.a]\ndrain = { on_timeout = \"undrained\" }\n"),
        "line 2: unknown variant `undrained`; did you mean `undrain`?"
    );
    assert_eq!(
        wrong("[policy.a]\non_window_end = \"finish\"\n"),
        "line 2: unknown variant `finish`, expected `finish_if_past_ponr` or `undrain`"
    );
    assert_eq!(
        wrong("[policy.a]\nheadroom = { forecast = \"p99\" }\n"),
        "line 2: unknown variant `p99`; did you mean `p95`?"
    );
    assert!(
        wrong("[policy.a]\nmin_available = { fleet = \"most\" }\n")
            .contains("\"most\" is no share of hosts")
    );
}

#[test]
fn every_value_that_cannot_be_meant_is_told_at_once_with_its_place() {
    let text = r#"
[policy.a]
selector = "role"
windows = [
    { rrule = "FREQ=DAILY;BYHOUR=3", start = "01:00", duration = "PT1H" },
    { rrule = "FREQ=DAILY;INTERVAL=2", start = "01:00", duration = "PT1H" },
    { rrule = "FREQ=DAILY", duration = "PT1H" },
    { rrule = "FREQ=DAILY", start = "1:00", duration = "PT1H" },
    { rrule = "FREQ=DAILY", start = "01:00" },
    { start = "01:00", duration = "PT1H" },
    { from = "2026-01-02", to = "2026-01-01" },
    { from = "now", to = "2026-01-01" },
    { ics = "holidays" },
    { rrule = "FREQ=DAILY", start = "01:00", duration = "PT1H", allow = ["x"] },
    { rrule = "FREQ=DAILY", start = "01:00", duration = "PT1H", tz = "Mars" },
    { rrule = "FREQ=DAILY", start = "01:00", duration = "PT1H", overrides = [ { at = "2026-01-01T02:00", cancel = true } ] },
]
exclude = [ { ics = "holidays" } ]
headroom = { conns = "101%" }
drain = { host_rate = 0, flush = "6s", timeout = "soon" }
moves = { second_moves = "n-1", per_device = { max = 1, per = "daily" } }
gate = { close_if = ["lost_hosts"] }
approval = { when = "promql:up", approvers = 0 }
"#;
    let lines: Vec<String> = wrong(text).lines().map(str::to_owned).collect();
    assert_eq!(
        lines,
        [
            "policy.a.windows[0]: rrule: BYHOUR at position 12: is not taken: the time of day is the start's",
            "policy.a.windows[1]: rrule: INTERVAL counts from a day: say which with `first`",
            "policy.a.windows[2]: start: is missing",
            "policy.a.windows[3]: start: \"1:00\" is no time of day (HH:MM)",
            "policy.a.windows[4]: duration: is missing",
            "policy.a.windows[5]: needs rrule with start and duration, or from and to, or ics",
            "policy.a.windows[6]: it ends before it starts",
            "policy.a.windows[7]: from: \"now\" is no time (such as 2026-11-20, 2026-11-20T01:00, 2026-11-20T01:00:00Z)",
            "policy.a.windows[8]: ics: is for exclusions",
            "policy.a.windows[9]: allow: is for exclusions",
            "policy.a.windows[10]: tz: \"Mars\" is no time zone (such as Europe/Berlin)",
            "policy.a.windows[11]: there is no occurrence at 2026-01-01T02:00:00",
            "policy.a.selector: at position 5: =, != or in is missing",
            "policy.a.exclude[0]: ics: there is no \"holidays\"",
            "policy.a.headroom.conns: \"101%\" is no percentage (such as 15%)",
            "policy.a.drain.host_rate: at least 1 client per second",
            "policy.a.drain.flush: at most 5s: receivers wait no longer",
            "policy.a.drain.timeout: \"soon\" is no span of time (such as 500ms, 30s, 20m, 48h, 7d)",
            "policy.a.moves.second_moves: \"n-1\" is no percentage (such as 2%)",
            "policy.a.moves.per_device.per: \"daily\" is no span of time (such as 500ms, 30s, 20m, 48h, 7d)",
            "policy.a.gate.close_if[0]: at position 11: a comparison is missing (<, <=, ==, !=, >=, >)",
            "policy.a.approval.when: a query is for the gate",
            "policy.a.approval.approvers: at least 1",
        ]
    );
}

#[test]
fn a_calendar_that_cannot_be_heeded_is_told_with_its_line() {
    let calendars = BTreeMap::from([(
        "c".to_owned(),
        "BEGIN:VCALENDAR\nBEGIN:VEVENT\nEND:VEVENT\nEND:VCALENDAR".to_owned(),
    )]);
    let wrong =
        PolicySet::read("[policy.a]\nexclude = [ { ics = \"c\" } ]\n", &calendars).unwrap_err();
    assert_eq!(
        wrong.to_string(),
        "policy.a.exclude[0]: ics \"c\": line 2: the event has no DTSTART"
    );
}

#[test]
fn no_policies_are_no_fault() {
    assert_eq!(read("").policies().len(), 0);
}

proptest! {
    #[test]
    fn no_text_makes_reading_policies_panic(
        key in "(selector|windows|exclude|min_available|max_concurrent|drain|moves|gate|approval|failure)",
        value in "(\"[a-z0-9=,%!() ü-]{0,20}\"|\\[ \\{ (rrule|from|start|ics) = \"[A-Z0-9=;,:T-]{0,24}\" \\} \\]|\\{ (fleet|timeout|max|when) = \"[a-z0-9%> &-]{0,12}\" \\}|[0-9]{1,25})",
    ) {
        let _ = PolicySet::read(&format!("[policy.a]\n{key} = {value}\n"), &BTreeMap::new());
    }
}
