//! Client libraries of other languages: each has a driver in `tests/interop/` that runs the cases of `cases.py` or, in
//! JavaScript, the same ones. What they can do stands in `docs/which-clients-work.md`, which is held to it here.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tests::harness::{Fleet, PATIENCE, Place, Settings, run, run_within, tidegate};
use tests::workspace_root;

use crate::table::Table;

#[test]
fn paho_mqtt_for_python_can_do_everything() {
    all_cases(&mut python("paho_cases.py"));
}

#[test]
fn gmqtt_for_python_can_do_everything() {
    all_cases(&mut python("gmqtt_cases.py"));
}

#[test]
fn the_sdk_of_aws_iot_for_python_can_do_everything() {
    all_cases(&mut python("aws_cases.py"));
}

#[test]
fn mqtt_js_can_do_everything() {
    let mut command = Command::new("node");
    command.arg(driver("mqttjs_cases.mjs")).arg("--libraries").arg(installed("node"));
    all_cases(&mut command);
}

#[test]
fn boto3_makes_every_call_and_raises_its_typed_exceptions() {
    // A machine that builds meanwhile has time.
    let settings =
        "[device_http]\nbind = \"@extra1@\"\nbody_bytes = 8192\nanswer_timeout_ms = 50_000\n";
    let fleet = Fleet::start_with(2, &Settings::default().everywhere(settings));
    let mut command = python("boto3_calls.py");
    command.arg("--certs").arg(fleet.certificates()).stdin(Stdio::null());
    let places = [fleet.place(1), fleet.place(2)];
    command.arg("--mqtts").args(places.each_ref().map(|it| it.mqtts.to_string()));
    command.arg("--urls").args(places.each_ref().map(|it| format!("https://{}", it.extra[0])));
    let ran = run_within(PATIENCE * 4, &mut command);
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
}

#[test]
fn the_shadow_clients_of_aws_iot_for_python_get_what_they_expect() {
    shadow_cases(&mut python("aws_shadows.py"));
}

#[test]
fn the_shadow_clients_of_aws_iot_for_javascript_get_what_they_expect() {
    let mut command = Command::new("node");
    command.arg(driver("aws_shadows.mjs")).arg("--libraries").arg(installed("node"));
    shadow_cases(&mut command);
}

/// Runs a driver that asks for shadows, and says how many cases there were.
fn shadow_cases(command: &mut Command) {
    let fleet = Fleet::start(2);
    let (first, other) = (fleet.place(1).mqtts, fleet.place(2).mqtts);
    command.args(["--first", &first.to_string(), "--other", &other.to_string()]);
    command.arg("--certs").arg(fleet.certificates()).stdin(Stdio::null());
    let ran = run_within(PATIENCE * 8, command);
    writeln!(std::io::stdout(), "{}", ran.out).expect("somebody reads");
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
}

/// Runs a driver against a fleet of two and holds the page to what it says. `TIDEGATE_ONLY="5.0 wss"` runs a part.
fn all_cases(command: &mut Command) {
    let fleet = fleet();
    command.args(["--first", &addresses(&fleet.place(1)), "--other", &addresses(&fleet.place(2))]);
    command.arg("--certs").arg(fleet.certificates()).stdin(Stdio::null());
    if let Ok(only) = std::env::var("TIDEGATE_ONLY") {
        command.args(["--only", &only]);
    }
    let ran = run_within(PATIENCE * 8, command);
    let table = Table::read(&ran.out);
    table.show(&ran.out);
    assert_eq!(table.failed(), Vec::<&str>::new(), "{}", ran.err);
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
    table.assert_on_page();
}

/// Two gateways that know one user, and let in who names none.
fn fleet() -> Fleet {
    let settings = "[access]\nanonymous = true\n[access.password]\nfile = \"passwords\"\n";
    let mut fleet = Fleet::prepare(2, &Settings::default().everywhere(settings));
    let file = fleet.dir().join("passwords").display().to_string();
    let made = run(&mut tidegate(["passwd", &file, "device", "secret", "-b"]));
    assert_eq!(made.code, Some(0), "{}", made.err);
    (1..=2).for_each(|number| fleet.launch(number));
    (1..=2).for_each(|number| fleet.wait_ready(number));
    fleet.wait_linked();
    fleet
}

/// Where a gateway listens, as drivers read it.
fn addresses(place: &Place) -> String {
    let Place { mqtt, mqtts, websocket, secure_websocket, .. } = place;
    format!("tcp={mqtt},mtls={mqtts},ws={websocket},wss={secure_websocket}")
}

/// A driver in Python.
fn python(name: &str) -> Command {
    let mut command = Command::new(installed("python/bin/python"));
    command.arg(driver(name));
    command
}

fn driver(name: &str) -> PathBuf {
    workspace_root().join("tests/interop").join(name)
}

/// What `tests/interop/install` puts into the build folder, in which this test lies too.
fn installed(path: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the test knows where it is");
    let target = test.ancestors().nth(3).expect("a test lies in target/<profile>/deps");
    let place = target.join("clients").join(path);
    assert!(place.exists(), "{path} is missing: run `tests/interop/install` first");
    place
}
