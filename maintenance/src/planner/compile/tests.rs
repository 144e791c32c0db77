//! From the operator's words to a plan and back to the operator's words.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::tz::TimeZone;
use proptest::prelude::*;
use protocol::{GatewayId, Incarnation, Wall};

use super::{Expected, Finished, Outlook, compile};
use crate::calendar::{Interval, Window, Zone};
use crate::fleet::{
    Availability, Blocker, Capacity, Estimate, Forecast, Host, HostState, Load, LoadHistory,
    OwnDrain, Preferred, Term,
};
use crate::ledger::{Grant, Ledger, Seen, SlotClass};
use crate::operation::{
    Approval, BatchOf, Campaign, CampaignId, Class, Due, Merging, OpKind, Operation, OperationId,
    PhaseTimes, Share, Visit, merge,
};
use crate::planner::{Breach, Effort, Plan, Problem, Rule, Suits, check, plan, why};
use crate::policy::{Effective, Freeze, PolicySet};
use crate::verdict::{Counts, Outcome, Verdict};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The policy of the design, but for what other documents say.
const POLICY: &str = r#"
[policy.eu-gateways]
selector   = "role=gateway,region=eu"
windows    = [ { rrule = "FREQ=WEEKLY;BYDAY=TU,WE,TH", start = "01:00", duration = "PT4H", tz = "host",
                 on_gap = "skip", on_fold = "first" } ]
exclude    = [ { from = "2026-11-20", to = "2026-12-02", tz = "Europe/Berlin", reason = "season", allow = ["cert_rotate"] },
               { rrule = "FREQ=MONTHLY;BYDAY=-1FR", duration = "P1D", reason = "billing" } ]
min_available  = { fleet = "97%", zone = "90%", rack = "n-1" }
max_concurrent = { fleet = 300, zone = 12, rack = 1 }
never_together = ["power", "twin_group"]
headroom   = { conns = "15%", msgs = "20%" }
drain      = { profile = "planned", host_rate = 400, fleet_rate = 5000, lb_grace = "30s",
               takeover_wait = "60s", timeout = "20m", on_timeout = "undrain" }
moves      = { second_moves = "2%" }
failure    = { max = 2, per = "24h" }
gate       = { close_if = ["lost_hosts >= 2", "connect_error_rate > 0.5%"], reopen_after = "10m" }
approval   = { when = "class >= drain && hosts > 20", approvers = 2, valid = "48h" }
"#;

fn at(text: &str) -> Wall {
    Window::once(text, "2100-01-01T00:00:00Z").unwrap().next(Wall(0)).unwrap().from
}

/// Forty gateways in two zones of four racks, each a quarter full, one reboot each.
struct Fleet {
    now: Wall,
    policy: String,
    freezes: Vec<Freeze>,
    hosts: Vec<Host>,
    answers: BTreeMap<GatewayId, Availability>,
    ledger: Ledger,
    operations: Vec<Operation>,
    finished: Vec<Finished>,
    closed_until: Option<Wall>,
}

impl Fleet {
    fn new() -> Self {
        let now = at("2026-11-15T12:00:00Z");
        let hosts: Vec<Host> = (0..40).map(host).collect();
        let answers = hosts.iter().map(|host| (host.id.clone(), answer(host, now))).collect();
        let reboot = |host: &Host| {
            let id = OperationId::new(&format!("reboot:{}", host.id.as_str())).unwrap();
            let estimate = Estimate { p50: 5 * MINUTE, p95: 10 * MINUTE };
            Operation { estimate, ..Operation::new(id, OpKind::Reboot, host.id.clone()) }
        };
        Self {
            now,
            policy: POLICY.to_owned(),
            freezes: Vec::new(),
            operations: hosts.iter().map(reboot).collect(),
            hosts,
            answers,
            ledger: Ledger::default(),
            finished: Vec::new(),
            closed_until: None,
        }
    }

    fn says(mut self, from: &str, to: &str) -> Self {
        assert!(self.policy.contains(from), "{from}");
        self.policy = self.policy.replace(from, to);
        self
    }

    /// One campaign of so many hosts: a first batch, if that has any, and all others together.
    fn campaign(mut self, hosts: usize, first: usize) -> Self {
        self.operations.truncate(hosts);
        let campaign = CampaignId(OperationId::new("C").unwrap());
        for (number, operation) in self.operations.iter_mut().enumerate() {
            let (campaign, number) = (campaign.clone(), usize::from(number >= first));
            let (soak, failure_budget) = (Duration::ZERO, 0);
            operation.batch = Some(BatchOf { campaign, number, soak, failure_budget });
        }
        self
    }

    fn policies(&self) -> PolicySet {
        PolicySet::read(&self.policy, &BTreeMap::new()).unwrap()
    }

    fn visits(&self) -> Vec<Visit> {
        let (drain, verify, warm) = (8 * MINUTE, MINUTE, 5 * MINUTE);
        let times = |_: &GatewayId| PhaseTimes {
            announce: Duration::from_secs(30),
            drain,
            verify,
            warm,
            soak: 5 * MINUTE,
        };
        let merging = Merging { now: self.now, join: DAY, times: &times };
        merge(&self.operations, &merging).unwrap()
    }

    fn problem(&self) -> Problem {
        let (policies, visits) = (self.policies(), self.visits());
        let closed_until = |_: &Effective| self.closed_until;
        compile(&Outlook {
            now: self.now,
            horizon: 28 * DAY,
            policies: &policies,
            freezes: &self.freezes,
            hosts: &self.hosts,
            answers: &self.answers,
            ledger: &self.ledger,
            visits: &visits,
            operations: &self.operations,
            finished: &self.finished,
            closed_until: &closed_until,
            expected: Expected::default(),
        })
    }

    fn plan(&self) -> Plan {
        planned(&self.problem())
    }

    /// Why the visit of a host is not earlier, as codes, each once.
    fn codes(&self, host: &str) -> Vec<&'static str> {
        let (problem, plan) = (self.problem(), self.plan());
        let job = problem.jobs.iter().find(|job| job.host.as_str() == host).unwrap();
        let told = why(&problem, &plan, &job.visit).unwrap().unwrap();
        let mut codes: Vec<_> = told.obstacles.iter().map(|it| it.reason.code()).collect();
        codes.sort_unstable();
        codes.dedup();
        codes
    }

    fn start(&self, host: &str) -> Option<Wall> {
        let plan = self.plan();
        plan.entries.iter().find(|entry| entry.host.as_str() == host).map(|entry| entry.start)
    }

    fn answer(&mut self, host: &str) -> &mut Availability {
        self.answers.get_mut(&GatewayId::new(host).unwrap()).unwrap()
    }
}

fn planned(problem: &Problem) -> Plan {
    let plan = plan(problem, None, &Effort::default(), &mut || false).unwrap();
    assert_eq!(check(problem, &plan), Ok(()));
    plan
}

fn host(number: usize) -> Host {
    let labels = [
        ("role", "gateway".to_owned()),
        ("region", "eu".to_owned()),
        ("zone", format!("z{}", number / 20)),
        ("rack", format!("r{}", number / 5)),
        ("power", format!("p{number}")),
    ];
    Host {
        labels: labels.into_iter().map(|(kind, value)| (kind.to_owned(), value)).collect(),
        capacity: Capacity { connections: 1000, messages_per_s: 1000, connects_per_s: 100 },
        zone: "Europe/Berlin".to_owned(),
        ..Host::new(
            GatewayId::new(&format!("gw-{number:02}")).unwrap(),
            Incarnation(1),
            HostState::Serving,
        )
    }
}

fn answer(host: &Host, now: Wall) -> Availability {
    Availability {
        host: host.id.clone(),
        incarnation: host.incarnation,
        state: HostState::Serving,
        seq: 1,
        issued: now,
        valid_until: now.after(60 * DAY),
        blockers: Vec::new(),
        load: Load { connections: 250, messages_per_s: 250 },
        forecast: Forecast::default(),
        drain_estimate: Estimate::default(),
        drain: OwnDrain::default(),
        sessions: 250,
        v5_share_percent: Some(50),
        needs: Vec::new(),
        preferred: Vec::new(),
    }
}

#[test]
fn the_policy_of_the_design_gives_a_plan_in_its_windows_outside_its_exclusions() {
    let fleet = Fleet::new();
    let plan = fleet.plan();
    assert_eq!((plan.entries.len(), plan.unplanned.len()), (40, 0));
    let berlin = Zone::named("Europe/Berlin").unwrap();
    for entry in &plan.entries {
        let (start, end) = (berlin.shown(entry.start), berlin.shown(entry.end));
        let (day, clock) = (start.get(..14).unwrap(), start.get(15..20).unwrap());
        assert!(["Tue", "Wed", "Thu"].contains(&day.get(..3).unwrap()), "{start}");
        assert!(("01:00".."05:00").contains(&clock), "{start}");
        assert!(end.get(..14) == Some(day) && end.get(15..20).unwrap() <= "05:00", "{end}");
        let season = "2026-11-20".."2026-12-03";
        assert!(!season.contains(&day.get(4..).unwrap()), "{start}");
    }
    assert!(berlin.shown(plan.entries[0].start).starts_with("Tue 2026-11-17 01:00:00"));
}

/// A fleet in which a quarter may be away, and each takes so many clients per second.
fn taking(connects_per_s: u64) -> Fleet {
    let mut fleet = Fleet::new().says("fleet = \"97%\"", "fleet = \"75%\"");
    for host in &mut fleet.hosts {
        host.capacity.connects_per_s = connects_per_s;
    }
    fleet
}

fn quiesced() -> Verdict {
    let (outcome, evidence) = (Outcome::Quiesced, Counts::default());
    Verdict { outcome, evidence, clients: 0, moved: 0, departed: 0, elapsed: Duration::ZERO }
}

/// The most whose clients may leave at once.
fn most_moving(fleet: &Fleet) -> usize {
    let (plan, phases) = (fleet.plan(), fleet.visits()[0].phases);
    let moving = |at: Wall| {
        let until = |start: Wall| start.after(phases.announce).after(phases.drain);
        plan.entries.iter().filter(|it| it.start <= at && at < until(it.start)).count()
    };
    plan.entries.iter().map(|entry| moving(entry.start)).max().unwrap()
}

#[test]
fn no_more_clients_leave_at_once_than_all_may_and_than_the_others_take() {
    assert_eq!(most_moving(&taking(100)), 4, "zones and racks hold up more");
    assert_eq!(most_moving(&taking(0)), 4, "nobody knows what they take");
    let rate = |all: &str| taking(0).says("fleet_rate = 5000", &format!("fleet_rate = {all}"));
    // 400 leave each.
    assert_eq!(most_moving(&rate("1600")), 4);
    assert_eq!(most_moving(&rate("1599")), 3);
    assert_eq!(most_moving(&rate("100")), 1, "one may always leave, at less pace");
    // Two who are away leave 38 that take 22 each: 836. With 21 they take 798.
    assert_eq!(most_moving(&taking(22)), 2);
    assert_eq!(most_moving(&taking(21)), 1);
    assert_eq!(most_moving(&taking(1)), 1);
    assert!(taking(21).codes("gw-39").contains(&"RATE_BUDGET"));
}

#[test]
fn what_is_planned_the_ledger_grants() {
    for fleet in [
        Fleet::new(),
        Fleet::new().says("fleet = \"97%\"", "fleet = \"75%\""),
        Fleet::new()
            .says("fleet = \"97%\"", "fleet = 0")
            .says("conns = \"15%\"", "conns = \"70%\""),
        Fleet::new()
            .says("fleet = \"97%\"", "fleet = \"75%\"")
            .says("fleet_rate = 5000", "fleet_rate = 900"),
        taking(40),
    ] {
        let (plan, policies) = (fleet.plan(), fleet.policies());
        let phases = fleet.visits()[0].phases;
        assert_eq!(plan.unplanned, []);
        for entry in &plan.entries {
            let mut ledger = Ledger::default();
            let active = plan
                .entries
                .iter()
                .filter(|other| other.start <= entry.start && entry.start < other.end);
            for other in active {
                let host = fleet.hosts.iter().find(|host| host.id == other.host).unwrap();
                let effective = policies.effective(host, &[]);
                let seen =
                    Seen { now: entry.start, hosts: &fleet.hosts, answers: Some(&fleet.answers) };
                let grant = Grant {
                    host: &host.id,
                    offered: host.incarnation,
                    visit: Some(other.visit.clone()),
                    term: Term(1),
                    class: SlotClass::Drain,
                    opening: Interval { from: other.start, to: other.end },
                    remaining: Duration::ZERO,
                    once: false,
                    asked: None,
                };
                let rules = effective.grant_rules(host, &fleet.hosts);
                let granted = ledger.grant(&grant, &seen, &rules).unwrap();
                // Whose clients are gone sends nobody any more.
                if other.start.after(phases.announce).after(phases.drain) <= entry.start {
                    let epoch = granted.epoch().unwrap();
                    ledger.start(&host.id, epoch, Duration::ZERO, &seen, &rules).unwrap();
                    ledger.conclude(&host.id, epoch, quiesced()).unwrap();
                }
            }
        }
    }
}

#[test]
fn one_field_of_the_policy_changes_the_plan_as_it_says() {
    let end = |fleet: Fleet| fleet.plan().end().unwrap();
    let most = |fleet: Fleet| {
        let plan = fleet.plan();
        let at_once =
            |at: Wall| plan.entries.iter().filter(|e| e.start <= at && at < e.end).count();
        plan.entries.iter().map(|entry| at_once(entry.start)).max().unwrap()
    };
    let plain = || Fleet::new().says("fleet = \"97%\"", "fleet = \"75%\"");
    // 97 percent of 40 are 39: one at a time. By 75 percent the zones count: two of each twenty.
    assert_eq!((most(Fleet::new()), most(plain())), (1, 4));
    assert!(end(plain()) < end(Fleet::new()));
    assert_eq!(most(plain().says("fleet = 300", "fleet = 3")), 3);
    assert_eq!(most(plain().says("zone = 12", "zone = 1")), 2);
    // All of a zone on one rack: one of each zone.
    let mut racks = plain();
    for host in &mut racks.hosts {
        host.labels.insert("rack".to_owned(), "r".to_owned());
    }
    assert_eq!(most(racks), 2);
    let mut power = plain();
    for host in &mut power.hosts {
        host.labels.insert("power".to_owned(), "a".to_owned());
    }
    assert_eq!(most(power), 1);
    // 40 hosts carry 10000 and may carry 26 percent of 1000 each: one may be away, with two it is less.
    assert_eq!(most(plain().says("conns = \"15%\"", "conns = \"74%\"")), 1);
    // 400 clients a second leave each, 500 may leave all: the drains follow each other.
    let slow = plain().says("fleet_rate = 5000", "fleet_rate = 500");
    let slow = (slow.plan(), slow.visits()[0].phases);
    for (one, next) in slow.0.entries.iter().zip(slow.0.entries.iter().skip(1)) {
        assert!(one.start.until(next.start) >= slow.1.drain, "{one:?} {next:?}");
    }
    let later = Fleet::new().says("start = \"01:00\"", "start = \"02:00\"");
    assert_eq!(later.start("gw-00"), Some(at("2026-11-17T01:00:00Z")));
    assert!(
        end(Fleet::new().says("from = \"2026-11-20\"", "from = \"2026-12-01\""))
            < at("2026-12-01T00:00:00Z")
    );
}

/// A week of which each hour had 250 connections in half of its minutes, 500 in most of the others, and 900 in three.
fn a_week() -> Forecast {
    let mut history = LoadHistory::default();
    for minute in 0..=168 * 60_u32 {
        let connections =
            [250, 500, 900][usize::from(minute % 60 >= 30) + usize::from(minute % 60 >= 57)];
        let now = at("2026-11-02T00:00:00Z").after(MINUTE * minute);
        history.note(now, Load { connections, messages_per_s: 0 });
    }
    history.forecast()
}

#[test]
fn headroom_is_measured_against_the_load_of_each_hour_that_the_strictest_policy_names() {
    let week = a_week();
    let begun = |said: &str| {
        let mut fleet = Fleet::new()
            .says("fleet = \"97%\"", "fleet = \"75%\"")
            .says("conns = \"15%\"", &format!("conns = \"48%\"{said}"));
        fleet.answers.values_mut().for_each(|answer| answer.forecast = week.clone());
        let plan = fleet.plan();
        let at_once =
            |at: Wall| plan.entries.iter().filter(|e| e.start <= at && at < e.end).count();
        plan.entries.iter().map(|entry| at_once(entry.start)).max().unwrap_or(0)
    };
    // 40 hosts may carry 520 each: beside 250 four may be away, as their zones allow, beside 500 one, beside 900 none.
    let [p50, p95, peak] = ["p50", "p95", "peak"].map(|word| format!(", forecast = \"{word}\""));
    assert_eq!([&p50, &p95, &peak].map(|said| begun(said)), [4, 1, 0]);
    assert_eq!(begun(""), 0, "the peak, if nobody says");
    let other =
        |said: &str| format!("{p50} }}\n[policy.other]\nheadroom = {{ forecast = \"{said}\"");
    assert_eq!(["p50", "p95"].map(|word| begun(&other(word))), [4, 1]);
}

#[test]
fn a_host_that_does_not_answer_is_down_and_is_not_visited() {
    let mut fleet = Fleet::new();
    fleet.answer("gw-07").valid_until = fleet.now;
    // One of forty may be away, and it is.
    assert_eq!(fleet.plan().entries.len(), 0);
    assert_eq!(fleet.codes("gw-07"), ["STALE_REPORT"]);
    assert!(fleet.codes("gw-00").contains(&"MIN_AVAILABLE"));
    let problem = fleet.problem();
    let told = why(&problem, &planned(&problem), &problem.jobs[0].visit).unwrap().unwrap();
    let text = told.text(&TimeZone::UTC);
    assert!(text.contains("of which 1 host down unplanned"), "{text}");
    // It comes back in a new life: what the old one said is worth nothing.
    let mut reborn = Fleet::new();
    reborn.hosts[7].incarnation = Incarnation(2);
    assert_eq!(reborn.codes("gw-07"), ["STALE_REPORT"]);
    assert_eq!(reborn.plan().entries.len(), 0);
}

/// P21 at the level of policies: without what is named, the visit is earlier.
#[test]
fn the_reason_that_is_named_is_true() {
    let plain = Fleet::new().start("gw-00").unwrap();
    let named = |fleet: &Fleet, code: &str| {
        let start = fleet.start("gw-00");
        assert!(start.is_none_or(|start| plain < start), "{code} {start:?}");
        let codes = fleet.codes("gw-00");
        assert!(codes.contains(&code), "{code} is not in {codes:?}");
    };
    let only = || {
        let mut fleet = Fleet::new();
        fleet.operations.truncate(1);
        fleet
    };
    let day = |fleet: &Fleet| fleet.now.after(3 * DAY);
    let mut fleet = only();
    fleet.closed_until = Some(day(&fleet));
    named(&fleet, "GATE_CLOSED");
    let mut fleet = only();
    let until = Some(day(&fleet));
    let backup = Blocker { code: "backup".to_owned(), until, hard: true, detail: String::new() };
    fleet.answer("gw-00").blockers.push(backup);
    named(&fleet, "HOST_BLOCKER");
    let mut fleet = only();
    fleet.freezes.push(Freeze {
        id: "launch".to_owned(),
        selector: "zone=z0".parse().unwrap(),
        // It ends while a window is open.
        interval: Interval::new(fleet.now, at("2026-11-18T01:00:00Z")).unwrap(),
        reason: "launch".to_owned(),
        by: "ops-1".to_owned(),
        allow: vec!["cert_rotate".to_owned()],
    });
    named(&fleet, "FROZEN");
    fleet.operations[0].kind = OpKind::CertRotate;
    assert_eq!(fleet.start("gw-00"), Some(plain));
    let fleet = only().says("hosts > 20", "hosts > 0");
    named(&fleet, "APPROVAL");
    named(&only().says("PT4H", "PT20M"), "WINDOW_TOO_SHORT");
    named(&only().says("role=gateway,", "role=other,"), "NO_WINDOW");
    named(&only().says("rack = 1 }", "rack = 0 }"), "DOMAIN_CAP");
    named(&only().says("conns = \"15%\"", "conns = \"75%\""), "HEADROOM");
}

#[test]
fn a_soft_blocker_yields_to_a_deadline() {
    let mut fleet = Fleet::new();
    fleet.operations.truncate(1);
    let plain = fleet.start("gw-00").unwrap();
    let (until, hard) = (Some(fleet.now.after(3 * DAY)), false);
    let soft = Blocker { code: "backup".to_owned(), until, hard, detail: String::new() };
    fleet.answer("gw-00").blockers.push(soft);
    assert!(fleet.start("gw-00") > Some(plain));
    fleet.operations[0].deadline = Some(Due { at: fleet.now.after(3 * DAY), hard: true });
    assert_eq!(fleet.start("gw-00"), Some(plain));
    fleet.operations[0].deadline = None;
    fleet.operations[0].priority = 5;
    assert!(fleet.start("gw-00") > Some(plain), "nobody says that this is important");
    let (windows, yields) =
        ("windows    =", |least| format!("soft_yields_to = {least}\nwindows    ="));
    let mut six = fleet.says(windows, &yields(6));
    assert!(six.start("gw-00") > Some(plain));
    six.operations[0].priority = 6;
    assert_eq!(six.start("gw-00"), Some(plain));
}

#[test]
fn what_a_host_prefers_is_heeded_as_long_as_no_deadline_and_nothing_important_speaks_against_it() {
    let mut fleet = Fleet::new();
    fleet.operations.truncate(1);
    let plain = fleet.start("gw-00").unwrap();
    let preferred = |from: &str, cost| {
        let from = at(from);
        Preferred { cost, from, until: from.after(Duration::from_secs(7200)) }
    };
    fleet.answer("gw-00").preferred =
        vec![preferred("2026-11-18T01:00:00Z", 5), preferred("2026-11-19T02:00:00Z", 1)];
    assert_eq!(fleet.start("gw-00"), Some(at("2026-11-19T02:00:00Z")));
    assert_eq!(fleet.codes("gw-00"), ["HOST_PREFERS", "WINDOW_CLOSED"]);
    let due = |at| Some(Due { at, hard: false });
    fleet.operations[0].deadline = due(at("2026-11-19T00:00:00Z"));
    assert_eq!(fleet.start("gw-00"), Some(at("2026-11-18T01:00:00Z")));
    fleet.operations[0].deadline = due(at("2026-11-17T12:00:00Z"));
    assert_eq!(fleet.start("gw-00"), Some(plain));
    assert_eq!(fleet.plan().entries[0].suits, Some(Suits::Late));
    fleet.operations[0].deadline = None;
    fleet.operations[0].priority = 6;
    let mut six = fleet.says("windows    =", "soft_yields_to = 6\nwindows    =");
    assert_eq!(six.start("gw-00"), Some(plain));
    assert_eq!(six.plan().entries[0].suits, Some(Suits::Important));
    six.operations[0].priority = 5;
    assert_eq!(six.start("gw-00"), Some(at("2026-11-19T02:00:00Z")));
    six.operations[0].kind = OpKind::CertRotate;
    six.operations[0].class = Class::Hot;
    assert!(six.plan().entries[0].suits.is_none(), "it takes nothing from anybody");
}

#[test]
fn people_agree_for_a_time() {
    let mut fleet = Fleet::new().says("hosts > 20", "hosts > 0");
    fleet.operations.truncate(1);
    let agreed = |actor: &str, at: Wall| Approval { actor: actor.to_owned(), at };
    let now = fleet.now;
    fleet.operations[0].approvals = vec![agreed("ann", now), agreed("ann", now)];
    assert_eq!(fleet.start("gw-00"), None);
    fleet.operations[0].approvals[1].actor = "bob".to_owned();
    // The first window begins 36 hours from now.
    assert!(fleet.start("gw-00").is_some());
    fleet.operations[0].approvals[0].at = at("2026-11-14T12:00:00Z");
    assert_eq!(fleet.start("gw-00"), None);
    fleet.operations[0].approvals[0].at = now.after(MINUTE);
    assert_eq!(fleet.start("gw-00"), None, "a clock that is ahead agrees to nothing yet");
}

#[test]
fn people_agree_to_everything_that_is_done_in_a_visit() {
    let mut fleet = Fleet::new().says("hosts > 20", "hosts > 0");
    fleet.operations.truncate(1);
    let approvals = ["ann", "bob"].map(|actor| Approval { actor: actor.to_owned(), at: fleet.now });
    let id = OperationId::new("another").unwrap();
    fleet.operations.push(Operation { id, ..fleet.operations[0].clone() });
    fleet.operations[0].approvals = approvals.to_vec();
    assert_eq!((fleet.visits().len(), fleet.start("gw-00")), (1, None));
    fleet.operations[1].approvals = approvals.to_vec();
    assert!(fleet.start("gw-00").is_some());
}

#[test]
fn a_spent_failure_budget_holds_visits_until_enough_of_it_is_forgotten() {
    let mut fleet = Fleet::new().says("per = \"24h\"", "per = \"48h\"");
    fleet.operations.truncate(1);
    let first = at("2026-11-17T00:00:00Z");
    assert_eq!(fleet.start("gw-00"), Some(first));
    let policies = fleet.policies();
    for (host, now) in [(38, "2026-11-15T02:00:00Z"), (39, "2026-11-15T11:00:00Z")] {
        let (host, now) = (&fleet.hosts[host], at(now));
        let seen = Seen { now, hosts: &fleet.hosts, answers: None };
        let grant = Grant {
            host: &host.id,
            offered: host.incarnation,
            visit: None,
            term: Term(1),
            class: SlotClass::Drain,
            opening: Interval { from: now, to: now.after(DAY) },
            remaining: Duration::ZERO,
            once: false,
            asked: None,
        };
        let rules = policies.effective(host, &[]).grant_rules(host, &fleet.hosts);
        let epoch = fleet.ledger.grant(&grant, &seen, &rules).unwrap().epoch().unwrap();
        fleet.ledger.fail(now, &host.id, epoch).unwrap();
        fleet.ledger.hand_back(&host.id, epoch).unwrap();
        if host.id.as_str() == "gw-38" {
            assert_eq!(fleet.start("gw-00"), Some(first), "two are too many, one is not");
        }
    }
    assert_eq!(fleet.start("gw-00"), Some(at("2026-11-17T02:00:00Z")));
    assert!(fleet.codes("gw-00").contains(&"FAILURE_BUDGET"));
}

#[test]
fn batches_follow_each_other_after_their_soak() {
    let mut fleet = Fleet::new().says("hosts > 20", "hosts > 200");
    let ids: Vec<GatewayId> = fleet.hosts.iter().map(|host| host.id.clone()).collect();
    let campaign = Campaign {
        id: CampaignId(OperationId::new("C-12").unwrap()),
        template: fleet.operations[0].clone(),
        canary: vec![Share::Hosts(1), Share::Hosts(3)],
        soak: DAY,
        failure_budget: 2,
    };
    fleet.operations = campaign.operations(&ids).unwrap();
    let (plan, visits) = (fleet.plan(), fleet.visits());
    let of = |number: usize| {
        let visits = visits.iter().filter(move |visit| visit.batches[0].number == number);
        visits.map(|visit| plan.entry(&visit.id).unwrap()).collect::<Vec<_>>()
    };
    for number in [0, 1] {
        let end = of(number).iter().map(|entry| entry.end).max().unwrap();
        let next = of(number + 1).iter().map(|entry| entry.start).min().unwrap();
        assert!(end.after(DAY) <= next);
    }
    // Once the first is over, the second is still watched for.
    let first = visits.iter().find(|visit| visit.batches[0].number == 0).unwrap().host.clone();
    fleet.operations.retain(|operation| operation.host != first);
    let night = at("2026-11-17T00:00:00Z");
    let batch = BatchOf { campaign: campaign.id, number: 0, soak: DAY, failure_budget: 0 };
    fleet.finished = vec![Finished { batch: batch.clone(), at: night.after(2 * MINUTE) }];
    fleet.now = night.after(3 * MINUTE);
    assert!(fleet.plan().entries[0].start >= night.after(DAY + 2 * MINUTE));
    // Those that go together do not wait for each other.
    let second = visits.iter().find(|visit| visit.batches[0].number == 1).unwrap().host.clone();
    fleet.operations.retain(|operation| operation.host != second);
    let batch = BatchOf { number: 1, ..batch };
    fleet.finished = vec![Finished { batch, at: night.after(2 * MINUTE) }];
    let beside = fleet.plan().entries.into_iter().map(|entry| entry.start).min();
    assert!(beside.is_some_and(|start| start < night.after(DAY)));
}

#[test]
fn who_holds_a_slot_keeps_it_and_others_wait() {
    let mut fleet = Fleet::new();
    fleet.now = at("2026-11-17T00:10:00Z");
    let visit = fleet.visits()[0].clone();
    let policies = fleet.policies();
    let rules = policies.effective(&fleet.hosts[0], &[]).grant_rules(&fleet.hosts[0], &fleet.hosts);
    let grant = Grant {
        host: &visit.host,
        offered: Incarnation(1),
        visit: Some(visit.id.clone()),
        term: Term(1),
        class: SlotClass::Drain,
        opening: Interval { from: fleet.now, to: fleet.now.after(DAY) },
        remaining: visit.phases.total(),
        once: false,
        asked: None,
    };
    let seen = Seen { now: fleet.now, hosts: &fleet.hosts, answers: Some(&fleet.answers) };
    fleet.ledger.grant(&grant, &seen, &rules).unwrap();
    let granted = fleet.now;
    // It is away as planned: not down, and not stale either.
    fleet.now = granted.after(5 * MINUTE);
    fleet.answer("gw-00").valid_until = granted;
    let plan = fleet.plan();
    assert_eq!((plan.entries[0].host.as_str(), plan.entries[0].start), ("gw-00", granted));
    assert_eq!((plan.entries[1].start, plan.entries.len()), (plan.entries[0].end, 40));
    // Nobody frees a slot but evidence: it is still held when it should be over.
    fleet.now = granted.after(60 * MINUTE);
    let plan = fleet.plan();
    assert!(plan.entries[0].end > fleet.now && plan.entries[1].start >= plan.entries[0].end);
    // The visit is no longer wanted: the slot counts all the same.
    fleet.operations.remove(0);
    let plan = fleet.plan();
    assert_eq!((plan.entries.len(), plan.entries[0].host.as_str()), (40, "gw-00"));
}

/// Everything may be visited at any time and together, but for the clients.
const LADDER: &str = r#"
[policy.all]
windows        = [ { rrule = "FREQ=DAILY", start = "00:00", duration = "P1D" } ]
min_available  = { fleet = 0 }
max_concurrent = { fleet = "100%" }
moves          = { second_moves = "0%" }
"#;

fn ladder(hosts: usize, first: usize) -> Fleet {
    Fleet { policy: LADDER.to_owned(), ..Fleet::new() }.campaign(hosts, first)
}

/// The most clients at any moment that have left their hosts and cannot all be where they stay: at hosts that are done, or at
/// others that have room for `room` more.
fn astray(fleet: &Fleet, plan: &Plan, room: u64) -> u64 {
    let of = |id: &GatewayId| {
        let host = fleet.hosts.iter().find(|host| host.id == *id).unwrap();
        let carries = fleet.answers[id].load.connections;
        (carries, host.capacity.connections.max(carries))
    };
    let at = |now: Wall| {
        let begun = plan.entries.iter().filter(|entry| entry.start <= now);
        let left: u64 = begun.map(|entry| of(&entry.host).0).sum();
        let done = plan.entries.iter().filter(|entry| entry.end <= now);
        left.saturating_sub(room + done.map(|entry| of(&entry.host).1).sum::<u64>())
    };
    plan.entries.iter().map(|entry| at(entry.start)).max().unwrap_or(0)
}

/// How many visits are on their way at once, the most.
fn most_at_once(plan: &Plan) -> usize {
    let goes = |at: Wall| move |it: &&crate::planner::Entry| it.start <= at && at < it.end;
    plan.entries.iter().map(|it| plan.entries.iter().filter(goes(it.start)).count()).max().unwrap()
}

#[test]
fn more_hosts_are_visited_at_once_the_more_are_done_that_take_the_clients() {
    let fleet = ladder(40, 2);
    let problem = fleet.problem();
    let plan = planned(&problem);
    assert_eq!((plan.entries.len(), plan.unplanned.len()), (40, 0));
    assert_eq!(astray(&fleet, &plan, 0), 500, "those of the first batch, and of no other");
    let first = plan.entries[2].start;
    let next = plan.entries.iter().filter(|entry| entry.start == first).count();
    assert_eq!(next, 8, "two empty hosts for a thousand clients each take those of eight");
    assert_eq!(most_at_once(&plan), 30, "then nobody waits any more");
    // The other code sees it when one more goes at that time.
    let mut wrong = plan.clone();
    let last = wrong.entries.last_mut().unwrap();
    (last.start, last.end) = (first, first.after(last.start.until(last.end)));
    let resource = problem.resources.len() - 1;
    let (taken, limit) = (2250, 2000);
    assert_eq!(
        check(&problem, &wrong),
        Err(Breach::Overdrawn { resource, at: first, taken, limit })
    );
    let codes = fleet.codes("gw-39");
    assert!(codes.contains(&"MOVE_BUDGET"), "{codes:?}");
}

#[test]
fn hosts_that_stay_take_clients_at_once_and_without_any_one_host_goes_first() {
    let spare = ladder(10, 0);
    assert_eq!(most_at_once(&spare.plan()), 10, "thirty others have room");
    let none = ladder(40, 0);
    let plan = none.plan();
    assert_eq!((plan.entries.len(), plan.unplanned.len()), (40, 0));
    assert!(plan.entries[0].end <= plan.entries[1].start, "somebody has to be the first");
    assert_eq!(astray(&none, &plan, 0), 250);
    // A part of all clients may be moved twice: of ten thousand as many as one host has.
    let some = ladder(40, 0).says("second_moves = \"0%\"", "second_moves = \"7.5%\"").plan();
    assert_eq!(some.entries.iter().filter(|it| it.start == some.from).count(), 3);
}

#[test]
fn nobody_is_held_up_for_second_moves_where_nobody_limits_them_or_room_is_not_known() {
    let has = |fleet: &Fleet| {
        let limits = fleet.problem().resources.into_iter().flat_map(|it| it.limits);
        limits.filter(|limit| limit.rule == Rule::MoveOnce).count()
    };
    assert_eq!(has(&ladder(40, 2)), 1);
    assert_eq!(has(&ladder(40, 2).says("moves          = { second_moves = \"0%\" }", "")), 0);
    let mut unknown = ladder(10, 0);
    unknown.hosts[20].capacity.connections = 0;
    assert_eq!(has(&unknown), 0, "whoever is not limited has room for all");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever hosts carry, all have a place, and no more are moved twice than the first ones and the part that is allowed.
    #[test]
    fn the_ladder_holds_up_nobody_for_ever(
        given in prop::collection::vec((0_u64..1000, 300_u64..1500), 1..14),
        (visited, first) in (1_usize..14, 0_usize..4),
        percent in 0_u64..30,
    ) {
        let part = format!("second_moves = \"{percent}%\"");
        let mut fleet = ladder(visited, first).says("second_moves = \"0%\"", &part);
        fleet.hosts.truncate(given.len());
        fleet.operations.truncate(given.len());
        for (host, (carries, most)) in fleet.hosts.iter_mut().zip(&given) {
            host.capacity.connections = *most;
            let id = host.id.clone();
            fleet.answers.get_mut(&id).unwrap().load.connections = *carries;
        }
        let plan = fleet.plan();
        prop_assert_eq!(plan.entries.len(), fleet.operations.len());
        let (drained, stay) = given.split_at(fleet.operations.len());
        let room = stay.iter().map(|(carries, most)| most.saturating_sub(*carries)).sum();
        let of = |hosts: &[(u64, u64)]| hosts.iter().map(|(carries, _)| carries).sum::<u64>();
        let slack = of(drained) * percent / 100;
        let first = if first < drained.len() { of(&drained[..first]) } else { 0 };
        let one = drained.iter().map(|(carries, _)| *carries).max().unwrap_or(0);
        prop_assert!(astray(&fleet, &plan, room) <= (slack + first).max(one), "{plan:?}");
    }
}
