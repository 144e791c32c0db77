//! What operators of a fleet see of a drain in the metrics of its gateways: who was moved, where everybody came, what was missed, and how
//! much is left.
#![expect(clippy::expect_used, reason = "a scenario may fail loudly")]

use std::collections::BTreeMap;
use std::net::SocketAddr;

use protocol::QoS;
use protocol::mqtt::ReasonCode;
use tests::harness::{Answer, Client, Dial, Ended, Fleet, Settings, eventually, get};

const POLICY: &str = r#"
[policy.all]
windows = [{ from = "2020-01-01", to = "2990-01-01", tz = "UTC" }]
min_available = { fleet = 1, zone = 1 }
"#;

/// Three gateways, the first of them alone in its zone.
fn fleet() -> Fleet {
    let zone = |zone: &str| format!("[maintenance]\nlabels = [\"zone={zone}\"]\n");
    let settings = Settings::default()
        .everywhere("[drain]\nannounce_ms = 0\n[presence]\nreturn_within_ms = 3600000\n")
        .only(1, zone("a"))
        .only(2, zone("b"))
        .only(3, zone("b"));
    let fleet = Fleet::start_with(3, &settings);
    let file = fleet.dir().join("policy.toml");
    std::fs::write(&file, POLICY).expect("a file");
    maintenance(&fleet, &format!("policy put all {} --accept-lints --reason t", file.display()));
    fleet
}

fn maintenance(fleet: &Fleet, line: &str) {
    let mut typed = vec!["maintenance", "--json"];
    typed.extend(line.split_whitespace());
    let ran = fleet.command(&typed);
    assert_eq!(ran.code, Some(0), "{line}: {ran:?}");
}

/// All that a gateway tells of drains and maintenance, by name and labels.
fn numbers(fleet: &Fleet, number: usize) -> BTreeMap<String, f64> {
    let answer = get(fleet.place(number).http, "/metrics").expect("the gateway tells its metrics");
    let lines = answer.body.lines().filter(|line| !line.starts_with('#'));
    let pairs = lines.filter_map(|line| line.rsplit_once(' '));
    pairs.map(|(name, value)| (name.to_owned(), value.parse().expect("a number"))).collect()
}

/// The same of all three, added up; what nobody tells is 0.
fn sum(fleet: &Fleet, name: &str) -> f64 {
    (1..=3).filter_map(|number| numbers(fleet, number).get(name).copied()).sum()
}

fn number(fleet: &Fleet, gateway: usize, name: &str) -> Option<f64> {
    numbers(fleet, gateway).get(name).copied()
}

/// Where a client of 5.0 that was sent away may go, the first before the other.
fn told(mut client: Client) -> Vec<SocketAddr> {
    let Ended::Told { reason, server_reference: Some(reference) } = client.ended() else {
        return Vec::new();
    };
    assert_eq!(reason, ReasonCode::UseAnotherServer);
    reference.split(' ').map(|address| address.parse().expect("an address")).collect()
}

fn drain(fleet: &Fleet, gateway: &str) {
    // What policies keep available is for the other test.
    let despite = ["--despite-policies", "--reason", "test"];
    let ran = fleet.command(&[&["drain", "start", gateway, "--wait"][..], &despite].concat());
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

/// Until a gateway serves and holds no slot, as all others see it too.
fn serve_again(fleet: &Fleet, gateway: &str) {
    assert_eq!(fleet.command(&["drain", "undrain", gateway]).code, Some(0));
    eventually("its slot is free", || {
        let visits = fleet.api(1, "/api/v1/maintenance/visits");
        let slots = visits.pointer("/ledger/slots")?.as_array()?.clone();
        slots.is_empty().then_some(())
    });
    eventually("everybody knows that it serves", || {
        let known = |by| fleet.serving(by).len() == 3;
        (1..=3).all(known).then_some(())
    });
}

#[test]
fn a_drain_shows_who_was_moved_where_they_came_and_what_they_missed() {
    let fleet = fleet();
    let five = ["five-0", "five-1", "five-2", "back"];
    let old = ["old-0", "old-1"];
    let come = |id: &str, at: SocketAddr| {
        let dial = if id.starts_with("old") { Dial::v311(id) } else { Dial::v5(id) };
        dial.persistent().connect(at)
    };
    let mut clients: Vec<_> = five.iter().map(|id| come(id, fleet.mqtt(1))).collect();
    let mut older: Vec<_> = old.iter().map(|id| come(id, fleet.mqtt(1))).collect();
    if let Some(reader) = clients.first_mut() {
        reader.subscribe("often", QoS::AtMostOnce);
        let mut writer = Dial::v5("writer").connect(fleet.mqtt(2));
        for n in 0..20 {
            writer.publish("often", &n.to_string(), QoS::AtMostOnce);
            // One after the other, so that there is some time between the first and the last.
            assert_eq!(reader.receive().text, n.to_string());
        }
        writer.disconnect();
    }
    drain(&fleet, "gw-1");
    let at = |name: &str| number(&fleet, 1, name);
    assert_eq!(at("tidegate_drain_moved_total{campaign=\"none\"}"), Some(6.0));
    assert_eq!(at("tidegate_drain_second_moves_total{campaign=\"none\"}"), Some(0.0));
    assert_eq!(at("tidegate_drain_moves_per_device_bucket{le=\"1\"}"), Some(6.0));
    assert_eq!(at("tidegate_drain_moves_per_device_sum"), Some(6.0));
    for code in ["gone", "store", "taken"] {
        let name = format!("tidegate_drain_handoff_fail_total{{code=\"{code}\"}}");
        assert_eq!(at(&name), Some(0.0), "{code}");
    }
    assert_eq!(at("tidegate_drain_clients_left{campaign=\"none\"}"), None, "it is over");

    // One does not listen, and comes back twice while it is sent away.
    for _ in 0..3 {
        assert!(matches!(Dial::v5("back").try_connect(fleet.mqtt(1)), Answer::Refused { .. }));
    }
    assert_eq!(at("tidegate_drain_bounce_total"), Some(2.0));

    // Two follow the first name that they were told, one the other, and one neither.
    let mut told = clients.into_iter().map(told);
    let named = told.by_ref().take(3).zip([0, 0, 1]).map(|(named, which)| {
        assert_eq!(named.len(), 2, "{named:?}");
        named.get(which).copied().expect("a name")
    });
    let named: Vec<_> = named.collect();
    assert!(told.all(|named| named.len() == 2));
    let mut back: Vec<_> = five.iter().zip(&named).map(|(id, at)| come(id, *at)).collect();
    older.iter_mut().for_each(|client| assert_eq!(client.ended(), Ended::Closed));
    // They know one other address.
    back.extend(old.iter().map(|id| come(id, fleet.mqtt(2))));
    serve_again(&fleet, "gw-1");
    back.push(come("back", fleet.mqtt(1)));
    assert!(back.iter().all(|client| client.session_present));

    let redirects = |proto: &str, came: &str| {
        let name = format!("tidegate_drain_redirects_total{{proto=\"{proto}\",came=\"{came}\"}}");
        sum(&fleet, &name)
    };
    assert_eq!((redirects("5.0", "named"), redirects("5.0", "elsewhere")), (3.0, 1.0));
    // Which of the two gateways took each of them on credit is nobody's choice here.
    assert_eq!(redirects("3.1.1", "named") + redirects("3.1.1", "elsewhere"), 2.0);
    assert_eq!(redirects("5.0", "missing") + redirects("3.1.1", "missing"), 0.0);
    let ratio = "tidegate_drain_redirect_followed_ratio{proto=\"5.0\"}";
    assert_eq!(number(&fleet, 1, ratio), Some(0.0), "who came back did not listen");
    let taker = (2..=3).find(|number| Some(&fleet.mqtt(*number)) == named.first());
    assert_eq!(number(&fleet, taker.expect("a gateway"), ratio), Some(1.0));
    assert_eq!(sum(&fleet, "tidegate_drain_gap_seconds_count"), 6.0);
    assert!(sum(&fleet, "tidegate_drain_qos0_gap_estimate_total") > 0.0, "it was sent 20");

    // Whoever is at gw-2 now is moved once more.
    let again = named.iter().filter(|at| **at == fleet.mqtt(2)).count() + old.len();
    drain(&fleet, "gw-2");
    let at = |name: &str| number(&fleet, 2, name);
    let again = again as f64;
    assert_eq!(at("tidegate_drain_moved_total{campaign=\"none\"}"), Some(again));
    assert_eq!(at("tidegate_drain_second_moves_total{campaign=\"none\"}"), Some(again));
    assert_eq!(at("tidegate_drain_moves_per_device_bucket{le=\"1\"}"), Some(0.0));
    assert_eq!(at("tidegate_drain_moves_per_device_bucket{le=\"2\"}"), Some(again));
}

#[test]
fn the_scheduler_shows_each_domain_and_slot_and_a_visit_is_shown_by_its_campaign() {
    let fleet = fleet();
    let scheduler = eventually("a gateway plans, and knows all", || {
        let margin = "tidegate_maintenance_min_available_margin{domain=\"fleet\"}";
        (1..=3).find(|gateway| number(&fleet, *gateway, margin) == Some(2.0))
    });
    let margins = |gateway: usize| {
        let numbers = numbers(&fleet, gateway).into_iter();
        let own = numbers.filter_map(|(name, value)| {
            let domain = name.strip_prefix("tidegate_maintenance_min_available_margin")?;
            Some(format!("{domain} {value}"))
        });
        own.collect::<Vec<_>>()
    };
    let all = ["{domain=\"fleet\"} 2", "{domain=\"zone=a\"} 0", "{domain=\"zone=b\"} 1"];
    assert_eq!(margins(scheduler), all);
    for other in (1..=3).filter(|other| *other != scheduler) {
        assert!(margins(other).is_empty(), "it is not the scheduler");
        assert_eq!(number(&fleet, other, "tidegate_maintenance_scheduler"), Some(0.0));
    }
    let held = |state: &str, campaign: &str| {
        let labels = format!("state=\"{state}\",campaign=\"{campaign}\"");
        sum(&fleet, &format!("tidegate_maintenance_slots_held{{{labels}}}"))
    };
    assert_eq!(held("draining", "none") + held("drained", "none"), 0.0);

    // What a visit took is compared with what was reckoned with, at its host.
    let once =
        "operation add --kind drain-only --hold-s 0 --host gw-2 --id once --reason test --wait";
    maintenance(&fleet, once);
    let at = |name: &str| number(&fleet, 2, name).expect("a number");
    assert_eq!(at("tidegate_maintenance_visit_overrun_ratio_count"), 1.0);
    let (took, reckoned) = (
        at("tidegate_maintenance_visit_seconds_total"),
        at("tidegate_maintenance_visit_estimated_seconds_total"),
    );
    let ratio = at("tidegate_maintenance_visit_overrun_ratio_sum");
    assert!((ratio - took / reckoned).abs() < 0.002, "{took} / {reckoned} is not {ratio}");

    // One of each gateway of a zone, which is visited by a campaign, one after the other.
    let devices = [2, 3].map(|number| {
        Dial::v5(&format!("device-{number}")).persistent().connect(fleet.mqtt(number))
    });
    let hold = "operation add --kind drain-only --hold-s 7200 -l zone=b --id week-47 --reason test";
    maintenance(&fleet, hold);
    eventually("a slot of the campaign is held, and its host is drained", || {
        (held("drained", "week-47") == 1.0).then_some(())
    });
    assert_eq!(sum(&fleet, "tidegate_drain_moved_total{campaign=\"week-47\"}"), 1.0);
    assert_eq!(sum(&fleet, "tidegate_maintenance_deadline_at_risk"), 0.0);
    drop(devices);
}
