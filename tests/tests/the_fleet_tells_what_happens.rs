//! What happens to maintenance is told outside: as a stream of events, as a calendar, and to a webhook, which gets every entry of the
//! audit at least once, in order, whichever gateway is the scheduler.
#![expect(clippy::expect_used, reason = "a scenario may fail loudly")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use aws_lc_rs::hmac;
use protocol::QoS;
use serde_json::Value;
use tests::harness::{Dial, Fleet, PATIENCE, Settings, eventually, get};

const SECRET: &str = "a secret of at least sixteen bytes";

fn settings(more: &str) -> Settings {
    Settings::mortal().everywhere(&format!("[maintenance]\nscheduler_ttl_ms = 3000\n{more}"))
}

/// Adds a freeze, which is one entry of the audit.
fn freeze(fleet: &Fleet, name: &str) {
    let line =
        format!("maintenance freeze add --to 2999-01-01T00:00:00Z --id {name} --reason test");
    let ran = fleet.command(&line.split_whitespace().collect::<Vec<_>>());
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

/// A stream of events.
struct Stream(BufReader<TcpStream>);

impl Stream {
    fn open(fleet: &Fleet, number: usize, path: &str, header: &str) -> Self {
        let address = fleet.place(number).http;
        let mut stream = TcpStream::connect(address).expect("a gateway that listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket of ours");
        let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n{header}\r\n");
        stream.write_all(request.as_bytes()).expect("a gateway that reads");
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        stream.read_line(&mut line).expect("an answer");
        assert!(line.starts_with("HTTP/1.1 200"), "{line}");
        Self(stream)
    }

    /// The id and the name of the next event.
    fn next(&mut self) -> (String, String) {
        let mut id = None;
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).expect("a line in time") > 0, "the stream ended");
            if let Some(seen) = line.trim().strip_prefix("id: ") {
                id = Some(seen.to_owned());
            }
            if let (Some(name), Some(id)) = (line.trim().strip_prefix("event: "), &id) {
                return (id.clone(), name.to_owned());
            }
        }
    }

    /// What the next event of that name says.
    fn data_of(&mut self, wanted: &str) -> Value {
        let mut name = String::new();
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).expect("a line in time") > 0, "the stream ended");
            if let Some(seen) = line.trim().strip_prefix("event: ") {
                seen.clone_into(&mut name);
            }
            if let Some(data) = line.trim().strip_prefix("data: ").filter(|_| name == wanted) {
                return serde_json::from_str(data).expect("JSON");
            }
        }
    }
}

#[test]
fn events_come_as_they_happen_and_go_on_where_somebody_was() {
    let fleet = Fleet::start_with(2, &settings(""));
    let path = "/api/v1/maintenance/events";
    freeze(&fleet, "one");
    // Who has seen nothing is told what happens from now on, at any gateway.
    let mut live = Stream::open(&fleet, 2, path, "");
    freeze(&fleet, "two");
    let added = |id: &str| (id.to_owned(), "freeze.added".to_owned());
    assert_eq!(live.next(), added("2"));
    let mut whole = Stream::open(&fleet, 1, &format!("{path}?after=0"), "");
    assert_eq!((whole.next(), whole.next()), (added("1"), added("2")));
    let mut again = Stream::open(&fleet, 1, path, "last-event-id: 1\r\n");
    assert_eq!(again.next(), added("2"));
    freeze(&fleet, "three");
    for stream in [&mut live, &mut whole, &mut again] {
        assert_eq!(stream.next(), added("3"));
    }
    let wrong = get(fleet.place(1).http, &format!("{path}?after=soon")).expect("an answer");
    assert_eq!(wrong.status, 400, "{wrong:?}");
}

#[test]
fn who_subscribes_is_told_what_becomes_of_a_gateway_and_so_is_who_comes_later() {
    let quick = "labels = [\"zone=a\"]\n[drain]\nannounce_ms = 100\n";
    let fleet = Fleet::start_with(2, &settings(quick));
    let filter = "$fleet/maintenance/+";
    let mut watcher = Dial::v5("watcher").connect(fleet.mqtt(2));
    watcher.subscribe(filter, QoS::AtLeastOnce);
    fleet.allow_visits("");
    fleet
        .maintain("operation add --kind drain-only --hold-s 0 --host gw-1 --id once --reason test");
    let mut told = Vec::new();
    // It is tried again if it is called off on a busy machine, and told.
    while told.last().is_none_or(|state| state != "ended") {
        let message = watcher.receive();
        assert_eq!(message.topic, "$fleet/maintenance/gw-1");
        let notice: Value = serde_json::from_str(&message.text).expect("JSON");
        assert_eq!(notice["visit"], "gw-1/once", "{notice}");
        told.push(notice["state"].as_str().expect("a word").to_owned());
    }
    assert_eq!(told.first().map(String::as_str), Some("announced"), "{told:?}");
    assert_eq!(told.get(told.len() - 2).map(String::as_str), Some("started"), "{told:?}");
    for gateway in 1..=2 {
        let mut late = Dial::v5("late").connect(fleet.mqtt(gateway));
        late.subscribe(filter, QoS::AtLeastOnce);
        let message = late.receive();
        assert!(message.retain && message.text.contains("\"ended\""), "{message:?}");
        late.disconnect();
    }
}

#[test]
fn that_the_plan_is_another_one_is_an_event() {
    let fleet = Fleet::start_with(2, &settings(""));
    let path = "/api/v1/maintenance/events";
    let mut live = Stream::open(&fleet, 1, path, "");
    // A window that opens one day: what is wanted has a place and does not begin.
    let file = fleet.dir().join("policy.toml");
    let policy = "[policy.all]\nwindows = [{ rrule = \"FREQ=DAILY\", start = \"03:00\", duration = \"PT4H\", tz = \"UTC\" }]\n";
    std::fs::write(&file, policy).expect("a file");
    fleet.maintain(&format!("policy put all {} --accept-lints --reason test", file.display()));
    let line = "operation add --kind drain-only --hold-s 0 --host gw-1 --id later --reason test";
    fleet.maintain(&format!("{line} --not-before 2990-01-01T00:00:00Z"));
    let news = live.data_of("plan.changed");
    let planned = news["planned"].as_u64().expect("a number");
    let unplanned = news["unplanned"].as_u64().expect("a number");
    assert_eq!(planned + unplanned, 1, "{news}");
    // The plan says by which zone database it was reckoned, and from what gateways have answered.
    let plan = fleet.maintain("plan");
    assert!(plan["tzdb"].as_str().is_some_and(|version| version.starts_with("20")), "{plan}");
    let answered = plan["based_on"].as_array().expect("a list");
    assert!(answered.iter().all(|it| it["seq"].as_u64() > Some(0)), "{plan}");
    let text = fleet.command(&["maintenance", "plan"]).out;
    assert!(text.contains("by zone database 20"), "{text}");
    // Who comes back is told the plan as it stands.
    let mut again = Stream::open(&fleet, 2, path, "last-event-id: 0\r\n");
    assert!(again.data_of("plan.changed")["revision"].as_u64() >= news["revision"].as_u64());
}

#[test]
fn the_plan_is_a_calendar_with_a_tag() {
    let fleet = Fleet::start_with(2, &settings("labels = [\"zone=a\"]\n"));
    let path = "/api/v1/maintenance/calendar.ics";
    let calendar = |query: &str| get(fleet.place(2).http, &format!("{path}{query}")).expect("it");
    assert!(!calendar("").body.contains("BEGIN:VEVENT"), "nothing is planned");
    fleet.allow_visits("");
    fleet.maintain(
        "operation add --kind drain-only --hold-s 7200 --host gw-2 --id long --reason test",
    );
    let confirmed = eventually("the visit is in the calendar, and begun", || {
        Some(calendar("?selector=zone=a").body).filter(|text| text.contains("STATUS:CONFIRMED"))
    });
    assert!(confirmed.contains("UID:gw-2/long@tidegate"), "{confirmed}");
    assert!(confirmed.contains("SUMMARY:gw-2: drain_only"), "{confirmed}");
    assert!(!calendar("?selector=zone=b").body.contains("BEGIN:VEVENT"));
    assert_eq!(calendar("?selector==").status, 400);
}

#[test]
fn a_calendar_program_subscribes_by_a_token_and_is_told_what_is_called_off() {
    let labels = "labels = [\"zone=a\"]\n";
    let fleet = Fleet::start_with(2, &settings(labels).with_calendar_feeds());
    // Windows that open every night: what is wanted has a place, and since it is paused it does not begin.
    fleet.put_policy(
        "[policy.all]\nwindows = [{ rrule = \"FREQ=DAILY\", start = \"03:00\", duration = \"PT4H\", tz = \"UTC\" }]\n",
    );
    let added = fleet.maintain("feed-token add wall -l zone=a --reason test");
    let path = added["path"].as_str().expect("a path").to_owned();
    let other = fleet.maintain("feed-token add elsewhere -l zone=b --reason test");
    let other = other["path"].as_str().expect("a path").to_owned();
    let read = |path: &str| get(fleet.place(2).http, path).expect("an answer");
    let line = "operation add --kind drain-only --hold-s 0 --host gw-1 --id later --paused";
    fleet.maintain(&format!("{line} --reason test"));
    let planned = eventually("the visit is in the calendar", || {
        Some(read(&path).body).filter(|text| text.contains("UID:gw-1/later@tidegate"))
    });
    assert!(planned.contains("STATUS:TENTATIVE"), "{planned}");
    let number = |text: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix("SEQUENCE:").map(str::to_owned));
        line.and_then(|number| number.trim().parse::<u64>().ok()).expect("a number")
    };
    assert!(!read(&other).body.contains("BEGIN:VEVENT"), "it is about other gateways");
    fleet.maintain("operation cancel later --reason test");
    let cancelled = eventually("it is told that it was called off", || {
        Some(read(&path).body).filter(|text| text.contains("STATUS:CANCELLED"))
    });
    assert!(cancelled.contains("UID:gw-1/later@tidegate"), "{cancelled}");
    assert!(number(&cancelled) > number(&planned), "{planned} {cancelled}");
    // The secret is told once, and is good for nothing once it is revoked, at any gateway.
    let list = fleet.maintain("feed-token list").to_string();
    let audit = read("/api/v1/maintenance/audit?max=1000").body;
    let secret = path.split('/').nth(2).expect("a secret");
    assert!(list.contains("wall") && audit.contains("feed_token.added"), "{list} {audit}");
    assert!(!list.contains(secret) && !audit.contains(secret));
    fleet.maintain("feed-token revoke wall --reason test");
    eventually("it is revoked everywhere", || (read(&path).status == 403).then_some(()));
    assert_eq!(read(&other).status, 200);
}

/// Somebody who is told: the first of all is not taken. Gives the ids, and whether each was taken, with the entries.
fn listen() -> (String, Receiver<(bool, String, Value)>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/told", listener.local_addr().expect("an address"));
    let (sender, told) = channel();
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut stream = BufReader::new(stream.expect("a connection"));
            let (mut length, mut id, mut signature) = (0, String::new(), String::new());
            loop {
                let mut line = String::new();
                if stream.read_line(&mut line).unwrap_or(0) <= 2 {
                    break;
                }
                let (name, value) = line.split_once(':').unwrap_or_default();
                match name.to_ascii_lowercase().as_str() {
                    "content-length" => length = value.trim().parse().expect("a length"),
                    "tidegate-event-id" => value.trim().clone_into(&mut id),
                    "tidegate-signature" => value.trim().clone_into(&mut signature),
                    _ => {}
                }
            }
            let mut body = vec![0; length];
            if length == 0 || stream.read_exact(&mut body).is_err() {
                continue;
            }
            let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
            let hex = hmac::sign(&key, &body).as_ref().iter().map(|b| format!("{b:02x}")).collect();
            assert_eq!(signature.strip_prefix("sha256=").map(str::to_owned), Some(hex));
            let body: Value = serde_json::from_slice(&body).expect("JSON");
            let taken = number > 0;
            let status = if taken { "204 No Content" } else { "500 Oops" };
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
            let _ = stream.get_mut().write_all(answer.as_bytes());
            if sender.send((taken, id, body)).is_err() {
                return;
            }
        }
    });
    (url, told)
}

#[test]
fn a_webhook_is_told_every_entry_at_least_once_whoever_schedules() {
    let (url, told) = listen();
    let webhook = format!("[maintenance.webhook]\nurl = \"{url}\"\nsecret = \"@dir@/secret\"\n");
    let mut fleet = Fleet::prepare(2, &settings(&webhook));
    // With the end of the line that an editor makes.
    std::fs::write(fleet.dir().join("secret"), format!("{SECRET}\n")).expect("a file");
    (1..=2).for_each(|number| fleet.launch(number));
    (1..=2).for_each(|number| fleet.wait_ready(number));
    fleet.wait_linked();
    freeze(&fleet, "one");
    freeze(&fleet, "two");
    let next = || {
        let (taken, id, body) = told.recv_timeout(PATIENCE).expect("it is told");
        assert_eq!(body.get("id").and_then(Value::as_str), Some(id.as_str()), "{body}");
        (taken, id, body.pointer("/entry/seq").and_then(Value::as_u64).expect("a number"))
    };
    let first = next();
    assert_eq!((first.0, first.2), (false, 1), "the first is not taken");
    let again = next();
    assert_eq!((again.0, again.1, again.2), (true, first.1, 1), "it comes again, with its id");
    assert_eq!(next().2, 2);

    let scheduler = eventually("somebody schedules", || {
        (1..=2).find(|number| fleet.metric(*number, "tidegate_maintenance_scheduler") == 1)
    });
    fleet.kill(scheduler);
    freeze(&fleet, "three");
    // What was told and not noted is told again.
    let mut seq = 2;
    while seq < 3 {
        let (_, _, now) = next();
        assert!(now <= seq + 1, "none is left out: {now} behind {seq}");
        seq = seq.max(now);
    }
}
