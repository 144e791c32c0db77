//! A client of the host's own does what devices do, at the doors of devices: whoever is checked like this serves them.
//!
//! At the first door it does all of it; at each other one what depends on how a device gets in. What it leaves in the store ends with
//! it; if it is cut short, within [`KEPT_S`].

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use protocol::QoS;
use protocol::mqtt::{Connect, ConnectProperties, Version};

use super::callers::Callers;
use super::device::{Device, Fault, Said};
use super::program::ProgramEnd;
use super::way::{Way, Ways};
use crate::hub::trial::{Badge, PEERS, Trials, USER_NAME};

/// How long one step may take, and all of them together.
const LIMITS: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(40));
/// Seconds that a session and a retained message of a trial are kept which did not come to its end.
const KEPT_S: u32 = 60;

/// How a host tries itself.
#[derive(Debug, Clone)]
pub(super) struct Trial {
    ways: Ways,
    trials: Arc<Trials>,
    callers: Callers,
    /// How long one step may take, and all of them together.
    limits: (Duration, Duration),
}

/// Why a trial did not come to its end, for programs.
type Failed = String;

impl Trial {
    /// Of a host that devices reach like this, as far as there are ways for a trial, and that has these peers.
    pub(super) const fn new(ways: Ways, trials: Arc<Trials>, callers: Callers) -> Self {
        Self { ways, trials, callers, limits: LIMITS }
    }

    /// Tries everything, one thing after the other. What it says is where, and how long each took.
    pub(super) fn run(&self, stopped: &AtomicBool) -> ProgramEnd {
        let mut output = String::new();
        let failed = self.tried(stopped, &mut output).err();
        for (door, why) in &self.ways.passed {
            let _ = writeln!(output, "no trial at {door}: {why}");
        }
        ProgramEnd { failed, output }
    }

    fn tried(&self, stopped: &AtomicBool, output: &mut String) -> Result<(), Failed> {
        if self.ways.tried.is_empty() {
            output.push_str("no trial: no listener lets in who has no certificate of a device\n");
            return Ok(());
        }
        let wearing = self.trials.begin().ok_or("trial_no_randomness")?;
        let latest = Instant::now() + self.limits.1;
        for (number, way) in self.ways.tried.iter().enumerate() {
            let mut course = Course {
                way,
                badge: wearing.badge(),
                callers: &self.callers,
                is_whole: number == 0,
                device: None,
                is_kept: true,
                silent: Vec::new(),
            };
            let _ = write!(output, "trial at {} ({}):", way.door, way.kind.as_str());
            let done = self.try_steps(&mut course, (latest, stopped), output);
            output.push('\n');
            done?;
        }
        Ok(())
    }

    fn try_steps(
        &self,
        course: &mut Course<'_>,
        (latest, stopped): (Instant, &AtomicBool),
        output: &mut String,
    ) -> Result<(), Failed> {
        let is_whole = course.is_whole;
        for (name, _, step) in STEPS.iter().filter(|(_, each, _)| *each || is_whole) {
            if stopped.load(Ordering::Relaxed) {
                return Err("stopped".to_owned());
            }
            let begun = Instant::now();
            let done = step(course, (begun + self.limits.0).min(latest));
            let _ = write!(output, " {name} {} ms", begun.elapsed().as_millis());
            if let Err(why) = done {
                let _ = write!(output, " ({why}{})", course.missing());
                return Err(format!("trial_{}_{name}_{}", course.way.kind.as_str(), why.code()));
            }
        }
        let _ = write!(output, " (peers: {})", self.callers.names());
        if !course.is_kept {
            output.push_str(" (no session is kept here)");
        }
        Ok(())
    }
}

type TrialStep = fn(&mut Course<'_>, Instant) -> Result<(), Fault>;

/// What a device does, in the order in which it is tried: at the first door all of it, at each other one what depends on the way in.
const STEPS: [(&str, bool, TrialStep); 12] = [
    ("connect", true, |course, until| course.connect(until)),
    ("subscribe", true, |course, until| course.subscribe(until)),
    ("qos_0", true, |course, until| course.echo(until, "qos-0", QoS::AtMostOnce)),
    ("qos_1", true, |course, until| course.echo(until, "qos-1", QoS::AtLeastOnce)),
    ("qos_2", true, |course, until| course.echo(until, "qos-2", QoS::ExactlyOnce)),
    ("peers", true, |course, until| course.peers(until)),
    ("retain", false, |course, until| course.retain(until)),
    ("clear", false, |course, until| course.clear(until)),
    ("leave", true, |course, until| course.leave(until)),
    ("queue", false, |course, until| course.queue(until)),
    ("resume", false, |course, until| course.resume(until)),
    ("end", false, |course, until| course.end(until)),
];

/// A trial at one door that goes on.
struct Course<'a> {
    way: &'a Way,
    badge: &'a Badge,
    callers: &'a Callers,
    /// Whether all is tried, so that its session is kept.
    is_whole: bool,
    device: Option<Device>,
    /// Whether sessions outlive their connections here.
    is_kept: bool,
    /// What other gateways were asked to publish and was not heard.
    silent: Vec<Said>,
}

impl Course<'_> {
    fn connect(&mut self, until: Instant) -> Result<(), Fault> {
        let wanted_s = if self.is_whole { KEPT_S } else { 0 };
        let (device, said) = self.dial("a", (true, wanted_s), until)?;
        if said.session_present {
            return Err(Fault::Other("a session that nobody has left"));
        }
        self.is_kept = !self.is_whole || said.expiry_s != Some(0);
        self.device = Some(device);
        Ok(())
    }

    fn subscribe(&mut self, until: Instant) -> Result<(), Fault> {
        let live = self.badge.topic("live/+");
        self.device(until)?.subscribe(&live, QoS::ExactlyOnce)
    }

    /// What it publishes comes to itself, at the same level.
    fn echo(&mut self, until: Instant, name: &str, qos: QoS) -> Result<(), Fault> {
        let topic = self.badge.topic(&format!("live/{name}"));
        let said = Said { topic, payload: name.into(), qos, retain: false };
        let device = self.device(until)?;
        device.publish(&said, None)?;
        device.hear(&said)
    }

    /// What is published at other gateways is heard here: by one whose session is kept out of its stored queue, and by one whose session
    /// is not over the peer links.
    fn peers(&mut self, until: Instant) -> Result<(), Fault> {
        let said = self.callers.said(self.badge);
        let (mut other, _) = self.dial("b", (true, 0), until)?;
        other.subscribe(&self.badge.topic(PEERS), QoS::AtLeastOnce)?;
        self.callers.call(self.badge);
        self.silent.clone_from(&said);
        other.hear_all(&mut self.silent)?;
        other.disconnect(None)?;
        self.silent = said;
        let device = self.device.as_mut().ok_or(Fault::Closed)?;
        device.wait_until(until);
        device.hear_all(&mut self.silent)
    }

    /// Of whom nothing was heard, if of somebody.
    fn missing(&self) -> String {
        let names = self.silent.iter().map(|said| String::from_utf8_lossy(&said.payload));
        let names: Vec<_> = names.collect();
        if names.is_empty() { String::new() } else { format!("; not heard: {}", names.join(", ")) }
    }

    /// Who subscribes later hears what is kept.
    fn retain(&mut self, until: Instant) -> Result<(), Fault> {
        let kept = self.kept("kept", true);
        let device = self.device(until)?;
        device.publish(&kept, Some(KEPT_S))?;
        device.subscribe(&kept.topic, QoS::AtLeastOnce)?;
        device.hear(&kept)
    }

    /// Who subscribes after it was taken away hears only what comes.
    fn clear(&mut self, until: Instant) -> Result<(), Fault> {
        let (nothing, later) = (self.kept("", true), self.kept("later", false));
        let device = self.device(until)?;
        device.unsubscribe(&nothing.topic)?;
        device.publish(&nothing, None)?;
        device.subscribe(&nothing.topic, QoS::AtLeastOnce)?;
        device.publish(&later, None)?;
        device.hear(&later)
    }

    fn leave(&mut self, until: Instant) -> Result<(), Fault> {
        self.device(until)?.disconnect(None)
    }

    /// Somebody else publishes what waits for it meanwhile.
    fn queue(&mut self, until: Instant) -> Result<(), Fault> {
        let waiting = self.waiting();
        let (mut other, _) = self.dial("b", (true, 0), until)?;
        other.publish(&waiting, None)?;
        other.disconnect(None)
    }

    /// It comes back to its session, and to what waited.
    fn resume(&mut self, until: Instant) -> Result<(), Fault> {
        let (mut device, said) = self.dial("a", (false, KEPT_S), until)?;
        if said.session_present != self.is_kept {
            return Err(Fault::Other("not the session that it left"));
        }
        if self.is_kept {
            device.hear(&self.waiting())?;
        }
        self.device = Some(device);
        Ok(())
    }

    /// Nothing is left of it.
    fn end(&mut self, until: Instant) -> Result<(), Fault> {
        self.device(until)?.disconnect(Some(0))?;
        let (mut device, said) = self.dial("a", (false, 0), until)?;
        device.disconnect(None)?;
        if said.session_present { Err(Fault::Other("the session that it ended")) } else { Ok(()) }
    }

    fn kept(&self, payload: &str, retain: bool) -> Said {
        let (topic, qos) = (self.badge.topic("kept"), QoS::AtLeastOnce);
        Said { topic, payload: payload.into(), qos, retain }
    }

    fn waiting(&self) -> Said {
        let (topic, qos) = (self.badge.topic("live/waiting"), QoS::AtLeastOnce);
        Said { topic, payload: "waiting".into(), qos, retain: false }
    }

    fn device(&mut self, until: Instant) -> Result<&mut Device, Fault> {
        let device = self.device.as_mut().ok_or(Fault::Closed)?;
        device.wait_until(until);
        Ok(device)
    }

    fn dial(
        &self,
        name: &str,
        (clean_start, session_expiry_s): (bool, u32),
        until: Instant,
    ) -> Result<(Device, super::device::Welcome), Fault> {
        let mut device = self.way.open(until)?;
        let welcome = device.connect(&Connect {
            version: Version::V5,
            clean_start,
            keep_alive_s: 0,
            client_id: &self.badge.client(name),
            will: None,
            user_name: Some(USER_NAME),
            password: Some(self.badge.secret()),
            properties: ConnectProperties { session_expiry_s, ..ConnectProperties::default() },
        })?;
        Ok((device, welcome))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{SocketAddr, TcpListener, TcpStream};

    use protocol::PacketId;
    use protocol::mqtt::{Publish, PublishProperties, codec};

    use super::*;

    /// A door at which whoever has said something is told this.
    fn door(says: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut asked = [0; 1024];
                assert!(stream.read(&mut asked).unwrap() > 0);
                let _ = stream.write_all(says);
            }
        });
        address
    }

    fn at(doors: &[SocketAddr]) -> Ways {
        let tried = doors.iter().map(|door| Way::plain(*door)).collect();
        Ways { tried, passed: vec![("/run/x".to_owned(), "a Unix socket")] }
    }

    fn tried(ways: Ways) -> ProgramEnd {
        Trial::new(ways, Arc::default(), Callers::default()).run(&AtomicBool::new(false))
    }

    #[test]
    fn a_door_that_does_not_let_a_device_in_or_says_something_else_is_told() {
        for (says, expected) in [
            (&[0x20, 3, 0, 0x9c, 0][..], "trial_tcp_connect_refused_0x9c"),
            (&[0x20, 3, 1, 0, 0], "trial_tcp_connect_other_answer"),
            (&[0xd0, 0], "trial_tcp_connect_other_answer"),
            (b"HTTP/1.1 400 Bad Request", "trial_tcp_connect_other_answer"),
            (b"", "trial_tcp_connect_closed"),
            (&[0x20, 3, 0, 0, 0], "trial_tcp_subscribe_closed"),
        ] {
            let end = tried(at(&[door(says)]));
            assert_eq!(end.failed.as_deref(), Some(expected), "{}", end.output);
            assert!(end.output.starts_with("trial at 127.0.0.1:"), "{}", end.output);
            assert!(end.output.ends_with("no trial at /run/x: a Unix socket\n"), "{}", end.output);
        }
    }

    #[test]
    fn a_door_that_says_nothing_is_not_waited_for_longer_than_a_step_may_take() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let ways = at(&[silent.local_addr().unwrap()]);
        let limits = (Duration::from_millis(20), Duration::from_secs(3600));
        for limits in [limits, (limits.1, limits.0)] {
            let trial =
                Trial { limits, ..Trial::new(ways.clone(), Arc::default(), Callers::default()) };
            let end = trial.run(&AtomicBool::new(false));
            assert_eq!(end.failed.as_deref(), Some("trial_tcp_connect_silent"));
        }
    }

    /// A door that tells each client that has said something what stands in its script, and closes once so many publications were
    /// acknowledged.
    fn scripted(scripts: [(Vec<u8>, usize); 2]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for (script, acknowledged) in scripts {
                let (stream, _) = listener.accept().unwrap();
                std::thread::spawn(move || follow(stream, &script, acknowledged));
            }
        });
        address
    }

    fn follow(mut stream: TcpStream, script: &[u8], acknowledged: usize) {
        let (mut more, mut heard) = ([0; 1024], Vec::new());
        assert!(stream.read(&mut more).unwrap() > 0);
        stream.write_all(script).unwrap();
        let is_ack = |part: &&[u8]| part[..3] == [0x40, 2, 0];
        while heard.windows(4).filter(is_ack).count() < acknowledged {
            match stream.read(&mut more).unwrap_or(0) {
                0 => break,
                got => heard.extend_from_slice(&more[..got]),
            }
        }
    }

    #[test]
    fn a_gateway_that_is_not_heard_is_named() {
        const CONNACK: [u8; 5] = [0x20, 3, 0, 0, 0];
        const SUBACK: [u8; 6] = [0x90, 4, 0, 1, 0, 1];
        let trials = Arc::new(Trials::default());
        let wearing = trials.begin().unwrap();
        let badge = wearing.badge();
        let callers = Callers::named(&["gw-2", "gw-3"]);
        let told = |said: &[Said]| {
            let mut bytes = Vec::new();
            for (said, id) in said.iter().zip(7..) {
                let publish = Publish {
                    dup: false,
                    qos: said.qos,
                    retain: said.retain,
                    topic: &said.topic,
                    packet_id: PacketId::new(id),
                    properties: PublishProperties::default(),
                    payload: &said.payload,
                };
                codec::publish_client(&mut bytes, Version::V5, &publish);
            }
            bytes
        };
        let all = callers.said(badge);
        let reversed: Vec<_> = all.iter().rev().cloned().collect();
        for (heard_by_a, heard_by_b, missing) in [
            (&all[..], &all[..1], "; not heard: gw-3"),
            (&all[1..], &all[..], "; not heard: gw-2"),
            (&all[..0], &reversed[..], "; not heard: gw-2, gw-3"),
            (&reversed[..], &all[..], ""),
        ] {
            let a = [&CONNACK[..], &told(heard_by_a)].concat();
            let b = [&CONNACK[..], &SUBACK, &told(heard_by_b)].concat();
            let way = Way::plain(scripted([(a, heard_by_a.len()), (b, heard_by_b.len())]));
            let mut course = Course {
                way: &way,
                badge,
                callers: &callers,
                is_whole: false,
                device: None,
                is_kept: true,
                silent: Vec::new(),
            };
            let until = Instant::now() + Duration::from_secs(600);
            course.connect(until).unwrap();
            let heard = course.peers(until);
            assert_eq!(heard.is_ok(), missing.is_empty(), "{heard:?}");
            assert_eq!(course.missing(), missing);
        }
    }

    #[test]
    fn where_no_trial_is_possible_or_wanted_it_says_so() {
        let end = tried(at(&[]));
        assert!(end.failed.is_none() && end.output.starts_with("no trial: "), "{}", end.output);
        assert!(end.output.contains("/run/x"), "{}", end.output);
        let trial = Trial::new(at(&[door(b"")]), Arc::default(), Callers::default());
        let end = trial.run(&AtomicBool::new(true));
        assert_eq!(end.failed.as_deref(), Some("stopped"));
    }
}
