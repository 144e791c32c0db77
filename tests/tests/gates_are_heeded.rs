//! Nothing begins while a gate is closed: by what Prometheus answers, by how those fare that connect, or because nobody knows.
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a scenario may fail loudly")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;

use tests::harness::{Answer, Dial, Fleet, Settings, eventually};

/// What stands for Prometheus: answers whatever it is told to, and notes what it was asked.
struct Prometheus {
    url: String,
    says: Arc<Mutex<(&'static str, &'static str)>>,
    asked: Arc<Mutex<String>>,
}

const HOLDS: (&str, &str) = (
    "200 OK",
    r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1.0,"0"]}]}}"#,
);
const HOLDS_NOT: (&str, &str) =
    ("200 OK", r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#);
const BROKEN: (&str, &str) = ("500 Oops", "");

impl Prometheus {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/api/v1/query", listener.local_addr().expect("an address"));
        let (says, asked) = (Arc::new(Mutex::new(BROKEN)), Arc::new(Mutex::default()));
        let (saying, asking) = (Arc::clone(&says), Arc::clone(&asked));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = BufReader::new(stream.expect("a connection"));
                let (mut first, mut line) = (String::new(), String::new());
                let _ = stream.read_line(&mut first);
                while stream.read_line(&mut line).unwrap_or(0) > 2 {
                    line.clear();
                }
                *asking.lock().expect("no panic") = first;
                let (status, body) = *saying.lock().expect("no panic");
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
                );
                let _ = stream.get_mut().write_all(answer.as_bytes());
            }
        });
        Self { url, says, asked }
    }

    fn say(&self, what: (&'static str, &'static str)) {
        *self.says.lock().expect("no panic") = what;
    }
}

/// Two gateways that may be visited now, unless the gate is closed by a condition.
fn fleet(condition: &str, reopen: &str, (more, policy): (&str, &str)) -> Fleet {
    let quick = "[maintenance]\nscheduler_ttl_ms = 3000\n[drain]\nannounce_ms = 100\n";
    let fleet = Fleet::start_with(2, &Settings::default().everywhere(quick).everywhere(more));
    fleet.allow_visits(&format!(
        "{policy}\ngate = {{ close_if = [\"{condition}\"], reopen_after = \"{reopen}\" }}\n"
    ));
    fleet
}

fn want(fleet: &Fleet) {
    fleet.maintain("operation add --kind drain-only --hold-s 0 --host gw-1 --id it --reason t");
}

fn why(fleet: &Fleet) -> String {
    fleet.api(1, "/api/v1/maintenance/why?host=gw-1").to_string()
}

fn is_closed(fleet: &Fleet) -> bool {
    why(fleet).to_ascii_lowercase().contains("gate")
}

/// Whether anything has begun.
fn visits(fleet: &Fleet) -> usize {
    let visits = fleet.api(1, "/api/v1/maintenance/executions");
    visits["executions"].as_array().expect("visits").len()
}

fn wait_done(fleet: &Fleet) {
    eventually("the visit is done", || {
        let visits = fleet.api(2, "/api/v1/maintenance/executions");
        let visit = visits["executions"].as_array()?.first()?.clone();
        (visit.pointer("/execution/stage")? == "done").then_some(())
    });
}

#[test]
fn a_gate_waits_until_prometheus_says_that_nothing_is_wrong() {
    let prometheus = Prometheus::start();
    let more = format!("[maintenance.prometheus]\nurl = \"{}\"\nevery_s = 1\n", prometheus.url);
    let fleet = fleet("promql:sum(up) < 3", "1s", (&more, ""));
    want(&fleet);
    // No answer that can be understood: nobody knows.
    eventually("the gate is closed", || is_closed(&fleet).then_some(()));
    assert_eq!(visits(&fleet), 0);
    prometheus.say(HOLDS);
    eventually("it is answered", || {
        let answered = "tidegate_maintenance_queries_total{result=\"answered\"}";
        (1..=2).any(|number| fleet.metric(number, answered) > 0).then_some(())
    });
    assert!(is_closed(&fleet), "{}", why(&fleet));
    assert_eq!(visits(&fleet), 0);
    let asked = prometheus.asked.lock().expect("no panic").clone();
    assert!(asked.starts_with("GET /api/v1/query?query=sum%28up%29%20%3C%203 HTTP/1.1"), "{asked}");
    prometheus.say(HOLDS_NOT);
    wait_done(&fleet);
}

#[test]
fn a_query_that_nobody_is_asked_closes_the_gate() {
    let fleet = fleet("promql:up", "1s", ("", ""));
    want(&fleet);
    eventually("the gate is closed", || is_closed(&fleet).then_some(()));
    assert_eq!(visits(&fleet), 0);
}

#[test]
fn who_is_refused_closes_the_gate_for_all() {
    // Nobody approves it: so nothing begins before the gate is closed.
    let approval = "approval = { approvers = 1 }";
    let fleet = fleet("connect_error_rate > 90%", "1h", ("", approval));
    want(&fleet);
    eventually("the gate is closed", || {
        // At the gateway that is not to be visited. Only what happened lately counts, so they go on.
        for _ in 0..20 {
            let answer = Dial::v311("").persistent().try_connect(fleet.mqtt(2));
            assert!(matches!(answer, Answer::Refused { .. }));
        }
        // Who approved it now would wait until the gate opens again.
        let why = fleet.api(1, "/api/v1/maintenance/why?host=gw-1");
        let now = why.pointer("/visits/0/why/obstacles/0/from_ms")?.as_u64()?;
        let start = why.pointer("/visits/0/why/relaxations/0/start_ms")?.as_u64()?;
        (start - now > 1_800_000).then_some(())
    });
    assert_eq!(visits(&fleet), 0);
}

#[test]
fn who_connects_as_ever_keeps_no_gate_closed() {
    let fleet = fleet("connect_error_rate > 90%", "1s", ("", ""));
    let device = Dial::v5("device").connect(fleet.mqtt(2));
    want(&fleet);
    wait_done(&fleet);
    device.disconnect();
}
