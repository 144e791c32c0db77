//! From the operator's words to a plan and back to the operator's words.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::tz::TimeZone;
use protocol::{GatewayId, Incarnation, Wall};

use super::{Expected, Finished, Outlook, compile};
use crate::calendar::{Interval, Window, Zone};
use crate::fleet::{
    Availability, Blocker, Capacity, Estimate, Forecast, Host, HostState, Load, OwnDrain, Term,
};
use crate::ledger::{Grant, Ledger, Seen, SlotClass};
use crate::operation::{
    Approval, BatchOf, Campaign, CampaignId, Due, Merging, OpKind, Operation, OperationId,
    PhaseTimes, Share, Visit, merge,
};
use crate::planner::{Effort, Plan, Problem, check, plan, why};
use crate::policy::{Effective, Freeze, PolicySet};

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
headroom   = { conns = "15%", msgs = "20%", forecast = "p95" }
drain      = { profile = "planned", host_rate = 400, fleet_rate = 5000, lb_grace = "30s", flush = "2s",
               takeover_wait = "60s", timeout = "20m", on_timeout = "undrain" }
moves      = { second_moves = "2%", per_device = { max = 1, per = "24h" } }
failure    = { max = 2, per = "24h", then = "pause" }
gate       = { close_if = ["lost_hosts >= 2", "connect_error_rate > 0.5%"], reopen_after = "10m" }
approval   = { when = "class >= drain && hosts > 20", approvers = 2, valid = "48h" }
on_window_end = "finish_if_past_ponr"
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

#[test]
fn what_is_planned_the_ledger_grants() {
    for fleet in [
        Fleet::new(),
        Fleet::new().says("fleet = \"97%\"", "fleet = \"75%\""),
        Fleet::new()
            .says("fleet = \"97%\"", "fleet = 0")
            .says("conns = \"15%\"", "conns = \"70%\""),
    ] {
        let (plan, policies) = (fleet.plan(), fleet.policies());
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
                ledger.grant(&grant, &seen, &effective.grant_rules(host, &fleet.hosts)).unwrap();
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
    fleet.finished = vec![Finished { batch, at: night.after(2 * MINUTE) }];
    fleet.now = night.after(3 * MINUTE);
    assert!(fleet.plan().entries[0].start >= night.after(DAY + 2 * MINUTE));
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
