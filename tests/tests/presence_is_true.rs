//! Who is there: told once for each real change, with its reason, and never for a move; the same in the store, and to operators.
#![expect(clippy::panic, clippy::indexing_slicing, reason = "a scenario may fail loudly")]

use std::time::{Duration, Instant};

use protocol::QoS;
use protocol::mqtt::ReasonCode;
use tests::harness::{Client, Dial, Ended, Fleet, Identity, Settings, dial_tls, eventually};

/// How long a client may take to come back in these fleets.
const RETURN: Duration = Duration::from_secs(12);

fn settings() -> Settings {
    Settings::mortal()
        .everywhere(&format!("[presence]\nreturn_within_ms = {}\n", RETURN.as_millis()))
}

/// Somebody who hears of all clients at gateway `number`, in the order of the log.
fn watcher(fleet: &Fleet, number: usize) -> Client {
    let mut watcher = Dial::v5("watcher").persistent().connect(fleet.mqtt(number));
    watcher.subscribe("$aws/events/presence/+/+", QoS::AtLeastOnce);
    watcher
}

/// The next that is told: of whom, what, why, and with which version number.
fn next(watcher: &mut Client) -> (String, String) {
    let told: serde_json::Value =
        serde_json::from_str(&watcher.receive().text).unwrap_or_else(|why| panic!("{why}"));
    let text = |name: &str| told[name].as_str().unwrap_or_default().to_owned();
    let what = [text("eventType"), text("disconnectReason"), told["versionNumber"].to_string()];
    (text("clientId"), what.join(" ").replace("  ", " "))
}

/// What is told of devices until now: until a client is heard of that connects now.
fn told(watcher: &mut Client, fleet: &Fleet, (at, last): (usize, &str)) -> Vec<(String, String)> {
    let _last = Dial::v5(last).connect(fleet.mqtt(at));
    let mut all = Vec::new();
    loop {
        let (client, what) = next(watcher);
        if client == last {
            return all;
        }
        if client.starts_with("device") {
            all.push((client, what));
        }
    }
}

fn device(number: usize) -> Dial {
    Dial::v5(&format!("device-{number:03}")).persistent()
}

fn connection(fleet: &Fleet, number: usize, client: &str) -> serde_json::Value {
    fleet.api(number, &format!("/api/v1/connections/{client}"))
}

fn administrative() -> Ended {
    Ended::Told { reason: ReasonCode::AdministrativeAction, server_reference: None }
}

#[test]
fn each_real_change_is_told_once_wherever_the_watcher_is() {
    let fleet = Fleet::start_with(2, &settings());
    let mut watcher = watcher(&fleet, 2);
    for dial in [Dial::v5("device-a"), Dial::v5("device-a").persistent(), Dial::v311("device-a")] {
        dial.connect(fleet.mqtt(1)).disconnect();
    }
    let mut lost = Dial::v5("device-a").connect(fleet.mqtt(1));
    lost.finish();
    eventually("it is gone", || {
        (connection(&fleet, 2, "device-a")["connected"] == false).then_some(())
    });
    let told = told(&mut watcher, &fleet, (1, "last"));
    let goodbye = "disconnected CLIENT_INITIATED_DISCONNECT";
    let mut expected: Vec<String> =
        (0..3).flat_map(|n| [format!("connected {n}"), format!("{goodbye} {n}")]).collect();
    expected.extend(["connected 3".into(), "disconnected CONNECTION_LOST 3".into()]);
    let told: Vec<String> = told.into_iter().map(|(_, what)| what).collect();
    assert_eq!(told, expected);
    let known = connection(&fleet, 1, "device-a");
    assert_eq!(known["left"].as_array().map(Vec::len), Some(4), "{known}");
    assert_eq!(known["left"][0]["reason"], "CONNECTION_LOST", "{known}");
    assert_eq!(known["left"][0]["gateway"], "gw-1", "{known}");
}

/// Five hundred of them with `TIDEGATE_MOVES=500 cargo test -p tests --test presence_is_true moves -- --nocapture`.
#[test]
fn moves_are_not_told_neither_by_drain_nor_by_the_clients_own_will() {
    let moves = std::env::var("TIDEGATE_MOVES").ok().and_then(|it| it.parse().ok()).unwrap_or(40);
    let fleet = Fleet::start_with(2, &settings());
    let mut watcher = watcher(&fleet, 2);
    let mut devices: Vec<Client> = (0..10).map(|n| device(n).connect(fleet.mqtt(1))).collect();
    assert_eq!(told(&mut watcher, &fleet, (2, "first")).len(), 10);
    let (mut done, mut slowest) = (0_usize, Duration::ZERO);
    let mut at = 1;
    while done + devices.len() < moves {
        at = 3 - at;
        for (n, client) in devices.iter_mut().enumerate() {
            let moved = device(n).connect(fleet.mqtt(at));
            assert!(moved.session_present);
            *client = moved;
            done += 1;
        }
    }
    if at == 2 {
        for (n, client) in devices.iter_mut().enumerate() {
            *client = device(n).connect(fleet.mqtt(1));
            done += 1;
        }
    }
    let ran = fleet.command(&["drain", "start", "gw-1"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    for (n, client) in devices.iter_mut().enumerate() {
        assert!(matches!(client.ended(), Ended::Told { .. }));
        let since = Instant::now();
        *client = device(n).connect(fleet.mqtt(2));
        slowest = slowest.max(since.elapsed());
        done += 1;
    }
    let told = told(&mut watcher, &fleet, (2, "last"));
    println_of(&format!("{done} moves, {} events", told.len()));
    // On a machine where a move took that long it may have been told.
    assert!(told.is_empty() || slowest > RETURN / 10, "{told:?}");
    for n in 0..devices.len() {
        let known = connection(&fleet, 2, &format!("device-{n:03}"));
        assert_eq!((&known["connected"], &known["gateway"]), (&true.into(), &"gw-2".into()));
        assert_eq!(known["version"], 0, "{known}");
    }
}

/// Five hundred of them with `TIDEGATE_DEATHS=500 cargo test -p tests --test presence_is_true deaths -- --nocapture`.
#[test]
fn the_deaths_of_gateways_are_told_once_of_each_client_that_does_not_come_back_with_its_will() {
    let deaths = std::env::var("TIDEGATE_DEATHS").ok().and_then(|it| it.parse().ok()).unwrap_or(12);
    let mut fleet = Fleet::start_with(2, &settings());
    let mut watcher = watcher(&fleet, 2);
    let mut wills = Dial::v5("wills").persistent().connect(fleet.mqtt(2));
    wills.subscribe("gone/+", QoS::AtLeastOnce);
    let back = 4;
    let with_will = |n: usize| {
        let topic = format!("gone/{n}");
        if n < back { device(n) } else { device(n).will(&topic, "bye") }
    };
    let devices: Vec<Client> =
        (0..back + deaths).map(|n| with_will(n).connect(fleet.mqtt(1))).collect();
    assert_eq!(told(&mut watcher, &fleet, (2, "first")).len(), devices.len());
    let died = Instant::now();
    fleet.kill(1);
    let _returned: Vec<Client> = (0..back).map(|n| device(n).connect(fleet.mqtt(2))).collect();
    let in_time = died.elapsed() < RETURN / 2;
    let mut gone = Vec::new();
    while gone.len() < deaths {
        let (client, what) = next(&mut watcher);
        if !client.starts_with("device") {
            continue;
        }
        assert_eq!(what, "disconnected SERVER_ERROR 0", "{client}");
        let number = client.strip_prefix("device-").and_then(|it| it.parse::<usize>().ok());
        let number = number.unwrap_or_else(|| panic!("{client}"));
        assert!(number >= back || !in_time, "{client} came back in time");
        if number >= back {
            gone.push(number);
        }
    }
    let more = told(&mut watcher, &fleet, (2, "last"));
    let more: Vec<_> = more.iter().filter(|(_, what)| what.starts_with("disconnected")).collect();
    println_of(&format!("{deaths} deaths, {} events", gone.len() + more.len()));
    gone.sort_unstable();
    assert_eq!(gone, (back..back + deaths).collect::<Vec<_>>());
    assert!(more.is_empty() || !in_time, "{more:?}");
    let mut published: Vec<String> = (0..deaths).map(|_| wills.receive().topic).collect();
    published.sort_by_key(|topic| topic.trim_start_matches("gone/").parse::<usize>().ok());
    let expected: Vec<String> = gone.iter().map(|n| format!("gone/{n}")).collect();
    assert_eq!(published, expected);
    let known = connection(&fleet, 2, &format!("device-{back:03}"));
    assert_eq!(
        (&known["connected"], &known["left"][0]["reason"]),
        (&false.into(), &"SERVER_ERROR".into())
    );
}

#[test]
fn an_operator_sends_a_client_away_from_whichever_gateway_it_is_at() {
    let fleet = Fleet::start_with(2, &settings());
    let mut watcher = watcher(&fleet, 1);
    watcher.subscribe("gone", QoS::AtLeastOnce);
    let url = format!("https://{}", fleet.place(1).http);
    let clients = |arguments: &[&str]| {
        let all = [&["clients"], arguments, &["--url", &url]].concat();
        fleet.command(&all)
    };
    let mut there = Dial::v5("device-a").persistent().will("gone", "bye").connect(fleet.mqtt(2));
    there.subscribe("t/#", QoS::AtLeastOnce);
    let shown = clients(&["show", "device-a"]);
    assert!(shown.out.contains("gw-2") && shown.out.contains("t/# at QoS 1"), "{}", shown.out);
    let ran = clients(&["kick", "device-a", "--prevent-will"]);
    assert_eq!(ran.code, Some(0), "{} {}", ran.out, ran.err);
    assert_eq!(there.ended(), administrative());
    let mut there = Dial::v5("device-a").persistent().will("gone", "bye").connect(fleet.mqtt(2));
    assert!(there.session_present);
    let ran = clients(&["kick", "device-a", "--clean-session"]);
    assert_eq!(ran.code, Some(0), "{} {}", ran.out, ran.err);
    assert_eq!(there.ended(), administrative());
    assert!(!Dial::v5("device-a").persistent().connect(fleet.mqtt(2)).session_present);
    let mut heard = Vec::new();
    while heard.last().is_none_or(|it: &String| !it.ends_with("connected 2")) {
        let message = watcher.receive();
        if message.topic == "gone" {
            heard.push(message.text);
        } else {
            let told: serde_json::Value =
                serde_json::from_str(&message.text).unwrap_or_else(|why| panic!("{why}"));
            if told["clientId"] == "device-a" {
                let why = told["disconnectReason"].as_str().unwrap_or("connected");
                heard.push(format!("{why} {}", told["versionNumber"]));
            }
        }
    }
    heard.sort();
    let away = "API_INITIATED_DISCONNECT";
    let expected = [
        format!("{away} 0"),
        format!("{away} 1"),
        "bye".into(),
        "connected 0".into(),
        "connected 1".into(),
        "connected 2".into(),
    ];
    assert_eq!(heard, expected);
    assert_eq!(clients(&["kick", "nobody"]).code, Some(1));
    let mut left = Dial::v5("device-b").persistent().connect(fleet.mqtt(2));
    left.subscribe("t/#", QoS::AtLeastOnce);
    left.disconnect();
    assert!(clients(&["show", "device-b"]).out.contains("t/#"), "its session stays");
    assert_eq!(clients(&["kick", "device-b", "--clean-session"]).code, Some(0));
    let shown = clients(&["show", "device-b"]);
    assert!(shown.code == Some(0) && !shown.out.contains("t/#"), "{} {}", shown.out, shown.err);
}

#[test]
fn things_are_written_down_found_and_carried_over() {
    let fleet = Fleet::start_with(1, &Settings::default());
    let things = |arguments: &[&str]| {
        let ran = fleet.command(&[&["things"], arguments].concat());
        (ran.code, ran.out + &ran.err)
    };
    let done = |arguments: &[&str]| {
        let (code, said) = things(arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {said}");
        said
    };
    done(&["create", "device-a", "--attribute", "model=P 400", "--group", "north"]);
    done(&["create", "device-b", "--attribute", "model=P500"]);
    let (code, said) = things(&["create", "device-a"]);
    assert_eq!(code, Some(4), "{said}");
    let _device = Dial::v5("device-a").connect(fleet.mqtt(1));
    let found = done(&["list", "--query", "connectivity.connected:true"]);
    assert!(found.contains("device-a") && !found.contains("device-b"), "{found}");
    let found = done(&["list", "--query", "attributes.model:P5*"]);
    assert!(found.contains("device-b") && !found.contains("device-a"), "{found}");
    assert_eq!(things(&["list", "--query", "nothing:x"]).0, Some(64));
    for (thing, name, state) in [
        ("device-a", None, r#"{"state":{"desired":{"on":true},"reported":{"bar":6.5}}}"#),
        ("device-b", Some("cfg"), r#"{"state":{"reported":{"deep":{"bar":9}}}}"#),
    ] {
        let mut asked = vec!["shadow", "update", thing, state];
        name.into_iter().for_each(|name| asked.extend(["--name", name]));
        let ran = fleet.command(&asked);
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }
    for (query, wanted) in [
        ("shadow.reported.bar > 6 AND connectivity.connected:true", [true, false]),
        ("shadow.reported.bar:[5 TO 6]", [false, false]),
        ("shadow.hasDelta:true", [true, false]),
        ("shadow.desired.on:true OR shadow.name.cfg.reported.deep.bar:9", [true, true]),
        ("shadow.name.cfg.version:1 AND NOT shadow.desired.on:true", [false, true]),
    ] {
        let found = done(&["list", "--query", query]);
        let is_there = ["device-a", "device-b"].map(|name| found.contains(name));
        assert_eq!(is_there, wanted, "{query}: {found}");
    }
    done(&["update", "device-b", "--attribute", "model=", "--group", "south"]);
    assert_eq!(connection(&fleet, 1, "device-a")["thing"], "device-a");
    for format in ["csv", "json"] {
        let written = done(&["export", "--format", format]);
        let file = fleet.dir().join(format!("things.{format}"));
        std::fs::write(&file, &written).unwrap_or_else(|why| panic!("{why}"));
        done(&["remove", "device-b"]);
        let said = done(&["import", &file.to_string_lossy()]);
        assert!(said.starts_with("1 created, 0 replaced, 1 known"), "{said}");
        assert_eq!(done(&["export", "--format", format]).len(), written.len());
    }
    let shown = done(&["show", "device-b"]);
    assert!(shown.contains("south") && !shown.contains("model"), "{shown}");
}

#[test]
fn a_device_becomes_a_thing_with_its_certificate_when_it_comes_for_the_first_time() {
    let settings = "[presence]\ncreate_things = \"certificate\"\n";
    let fleet = Fleet::start_with(1, &Settings::default().everywhere(settings));
    let certs = fleet.certificates();
    let wire = dial_tls(fleet.place(1).mqtts, &certs, Identity::Of(&certs, "device-1"));
    let _device = Dial::v5("device-1").over(wire.unwrap_or_else(|why| panic!("{why:?}")));
    let _other = Dial::v5("without").connect(fleet.mqtt(1));
    let ran = fleet.command(&["things", "export", "--format", "json"]);
    let things: serde_json::Value =
        serde_json::from_str(&ran.out).unwrap_or_else(|why| panic!("{why}: {ran:?}"));
    assert_eq!(things.as_array().map(Vec::len), Some(1), "{things}");
    assert_eq!(things[0]["name"], "device-1");
    let fingerprint = things[0]["certificates"][0].as_str().map(str::len);
    assert_eq!(fingerprint, Some(64), "{things}");
}

/// For whoever runs this by hand.
fn println_of(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{text}");
}
