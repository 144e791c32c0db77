//! `mosquitto_pub` and `mosquitto_sub`, as people type them.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;

use tests::harness::{Fleet, PATIENCE, Ran, eventually, run};

const VERSIONS: [&str; 2] = ["mqttv311", "mqttv5"];

#[test]
fn a_message_crosses_the_fleet_at_every_level_and_version() {
    let fleet = Fleet::start(2);
    for version in VERSIONS {
        for qos in ["0", "1", "2"] {
            let id = format!("sub-{version}-{qos}");
            let sub = Subscriber::start(
                fleet.mqtt(2),
                &[&["-V", version, "-i", &id, "-q", qos, "-v", "-t", "a/#"]],
            );
            publish(fleet.mqtt(1), &[&["-V", version, "-q", qos, "-t", "a/b", "-m", "hello"]]);
            assert_eq!(sub.line(), "a/b hello", "{version} at {qos}");
        }
    }
}

#[test]
fn retained_messages_are_there_and_go_away() {
    let fleet = Fleet::start(2);
    for version in VERSIONS {
        publish(fleet.mqtt(1), &[&["-V", version, "-r", "-q", "1", "-t", "state", "-m", "on"]]);
        let one = &["-V", version, "-C", "1", "-t", "state", "-F", "%t %p %r"];
        assert_eq!(subscribe(fleet.mqtt(2), &[one]).out, "state on 1\n", "{version}");
        publish(fleet.mqtt(1), &[&["-V", version, "-r", "-n", "-q", "1", "-t", "state"]]);
        publish(fleet.mqtt(1), &[&["-V", version, "-r", "-q", "1", "-t", "other", "-m", "off"]]);
        let both = &["-V", version, "-C", "1", "-t", "state", "-t", "other"];
        assert_eq!(subscribe(fleet.mqtt(2), &[both]).out, "off\n", "{version}");
    }
}

#[test]
fn a_persistent_session_is_served_at_the_other_gateway() {
    let fleet = Fleet::start(2);
    for version in VERSIONS {
        let id = format!("kept-{version}");
        let mut session = vec!["-V", version, "-i", &id, "-c", "-q", "1", "-t", "kept"];
        if version == "mqttv5" {
            session.extend(["-x", "3600"]);
        }
        // Subscribes and leaves; no message is waited for.
        let leave = [session.as_slice(), &["-E"]].concat();
        assert_eq!(subscribe(fleet.mqtt(1), &[&leave]).code, Some(0));
        for text in ["one", "two", "three"] {
            publish(fleet.mqtt(2), &[&["-V", version, "-q", "1", "-t", "kept", "-m", text]]);
        }
        let three = [session.as_slice(), &["-C", "3"]].concat();
        assert_eq!(subscribe(fleet.mqtt(2), &[&three]).out, "one\ntwo\nthree\n", "{version}");
    }
}

#[test]
fn tls_with_client_certificates_works_and_without_does_not() {
    let fleet = Fleet::start(2);
    let certs = fleet.certificates();
    let file = |name: &str| certs.join(name).display().to_string();
    let (ca, cert, key) = (file("ca.pem"), file("device-1.pem"), file("device-1.key"));
    let with = ["--cafile", &ca, "--cert", &cert, "--key", &key];
    for version in VERSIONS {
        let id = format!("tls-{version}");
        let sub = Subscriber::start(
            fleet.place(2).mqtts,
            &[&with, &["-V", version, "-i", &id, "-q", "1", "-t", "t"]],
        );
        let place = fleet.place(1).mqtts;
        publish(place, &[&with, &["-V", version, "-q", "1", "-t", "t", "-m", "secret"]]);
        assert_eq!(sub.line(), "secret", "{version}");
        let without = &["--cafile", ca.as_str(), "-V", version, "-q", "1", "-t", "t", "-m", "x"];
        let refused = run(&mut mosquitto("mosquitto_pub", place, &[without]));
        assert_ne!(refused.code, Some(0), "{version}: {refused:?}");
    }
}

#[test]
fn a_will_is_published_when_a_client_is_killed() {
    let fleet = Fleet::start(2);
    let watcher =
        Subscriber::start(fleet.mqtt(2), &[&["-i", "watcher", "-q", "1", "-t", "gone/#"]]);
    let will = ["--will-topic", "gone/device", "--will-payload", "bye", "--will-qos", "1"];
    let mut device = Subscriber::start(fleet.mqtt(1), &[&["-i", "device", "-t", "x"], &will]);
    device.child.kill().expect("our child");
    assert_eq!(watcher.line(), "bye");
}

#[test]
fn properties_arrive_as_they_were_sent() {
    let fleet = Fleet::start(2);
    let format = ["-F", "%t %p %C %R %D %P"];
    let sub = Subscriber::start(
        fleet.mqtt(2),
        &[&["-V", "5", "-i", "reader", "-q", "1", "-t", "p"], &format],
    );
    let properties = [
        "-D",
        "publish",
        "content-type",
        "text/plain",
        "-D",
        "publish",
        "response-topic",
        "answer",
        "-D",
        "publish",
        "correlation-data",
        "c1",
        "-D",
        "publish",
        "user-property",
        "name",
        "value",
    ];
    publish(fleet.mqtt(1), &[&["-V", "5", "-q", "1", "-t", "p", "-m", "x"], &properties]);
    assert_eq!(sub.line(), "p x text/plain answer c1 name:value");
}

#[test]
fn a_request_is_answered() {
    let fleet = Fleet::start(2);
    for version in VERSIONS {
        let ask = format!("ask/{version}");
        let asked = ["-V", version, "-i", "server", "-q", "1", "-t", &ask, "-F", "%p"];
        let server = Subscriber::start(fleet.mqtt(2), &[&asked]);
        let answer = format!("answer/{version}");
        let request = ["-V", version, "-q", "1", "-t", &ask, "-e", &answer, "-m", "how much"];
        let (place, arguments) = (fleet.mqtt(1), [request.as_slice(), &["-W", "30"]].concat());
        let asker = thread::spawn({
            let mut command = mosquitto("mosquitto_rr", place, &[&arguments]);
            move || run(&mut command)
        });
        assert_eq!(server.line(), "how much", "{version}");
        publish(fleet.mqtt(2), &[&["-V", version, "-q", "1", "-t", &answer, "-m", "42"]]);
        let ran = asker.join().expect("a thread that runs a program");
        assert_eq!((ran.code, ran.out.as_str()), (Some(0), "42\n"), "{version}: {ran:?}");
    }
}

#[test]
fn a_shared_subscription_is_shared() {
    let fleet = Fleet::start(2);
    let member = |id: &str, gateway: usize| {
        Subscriber::start(
            fleet.mqtt(gateway),
            &[&["-V", "5", "-i", id, "-q", "1", "-t", "$share/g/jobs"]],
        )
    };
    let members = [member("first", 1), member("second", 2)];
    for number in 0..20 {
        publish(fleet.mqtt(1), &[&["-q", "1", "-t", "jobs", "-m", &number.to_string()]]);
    }
    let mut jobs = Vec::new();
    eventually("all jobs are taken", || {
        let printed = members.iter().flat_map(|member| member.lines.try_iter());
        jobs.extend(printed.filter(|line| !line.starts_with("Client ")));
        (jobs.len() >= 20).then_some(())
    });
    let mut jobs: Vec<u32> = jobs.iter().map(|job| job.parse().expect("a number")).collect();
    jobs.sort_unstable();
    assert_eq!(jobs, (0..20).collect::<Vec<_>>());
}

#[test]
fn the_lines_that_the_greeting_offers_work() {
    let fleet = Fleet::start(2);
    // The subscriber of the greeting has a session of an hour and may come back.
    let greeting = ["-V", "5", "-i", "reader", "-c", "-x", "3600", "-q", "1", "-t", "demo/#", "-v"];
    let sub = Subscriber::start(fleet.mqtt(2), &[&greeting]);
    publish(
        fleet.mqtt(1),
        &[&["-q", "1", "-t", "demo/hello", "-m", "hello from the other gateway"]],
    );
    assert_eq!(sub.line(), "demo/hello hello from the other gateway");
    let drained = fleet.command(&["drain", "start", "gw-2", "--wait", "--announce-ms", "0"]);
    assert_eq!(drained.code, Some(0), "{drained:?}");
}

/// A subscriber that runs until it is dropped. When it is there, its subscription is known to the whole fleet.
struct Subscriber {
    child: Child,
    /// What it prints of messages.
    lines: mpsc::Receiver<String>,
}

impl Subscriber {
    fn start(place: SocketAddr, arguments: &[&[&str]]) -> Self {
        // With -d it tells when SUBACK has come; with line buffers, when it has.
        let program = ["-oL", "mosquitto_sub", "-d"];
        let mut command = Command::new("stdbuf");
        command.args(program).args(address(place)).args(arguments.concat());
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("mosquitto-clients are installed");
        let out = BufReader::new(child.stdout.take().expect("a pipe"));
        let (print, lines) = mpsc::channel();
        // Ends with the process.
        thread::spawn(move || {
            out.lines().map_while(Result::ok).try_for_each(|line| print.send(line))
        });
        let subscriber = Self { child, lines };
        while !subscriber.printed().starts_with("Subscribed") {}
        subscriber
    }

    /// The next message, as printed.
    fn line(&self) -> String {
        loop {
            let line = self.printed();
            // Its own talk begins with its name.
            if !line.starts_with("Client ") {
                return line;
            }
        }
    }

    fn printed(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("mosquitto_sub goes on")
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn publish(place: SocketAddr, arguments: &[&[&str]]) {
    let ran = run(&mut mosquitto("mosquitto_pub", place, arguments));
    assert_eq!(ran.code, Some(0), "{arguments:?}: {ran:?}");
}

fn subscribe(place: SocketAddr, arguments: &[&[&str]]) -> Ran {
    // -W: a subscriber that gets nothing ends too.
    run(mosquitto("mosquitto_sub", place, arguments).args(["-W", "30"]))
}

fn mosquitto(program: &str, place: SocketAddr, arguments: &[&[&str]]) -> Command {
    let mut command = Command::new(program);
    command.args(address(place)).args(arguments.concat()).stdin(Stdio::null());
    command
}

fn address(place: SocketAddr) -> [String; 4] {
    ["-h".to_owned(), place.ip().to_string(), "-p".to_owned(), place.port().to_string()]
}
