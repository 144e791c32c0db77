//! A client of the host's own does what devices do, at a door of devices: whoever is checked like this serves them.
//!
//! What it leaves in the store ends with it; if it is cut short, within [`KEPT_S`].

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use protocol::QoS;
use protocol::mqtt::{Connect, ConnectProperties, Version};

use super::device::{Device, Fault, Said};
use super::doors::{self, OwnCertificate};
use super::program::ProgramEnd;
use crate::config::{Bind, ClientCertificate, ListenKind, Listener, Resolved, UnknownName};
use crate::hub::trial::{Badge, Trials, USER_NAME};

/// How long one step may take, and all of them together.
const LIMITS: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(40));
/// Seconds that a session and a retained message of a trial are kept which did not come to its end.
const KEPT_S: u32 = 60;

/// How a host tries itself.
#[derive(Debug, Clone)]
pub(super) struct Trial {
    way: Option<Way>,
    trials: Arc<Trials>,
    /// How long one step may take, and all of them together.
    limits: (Duration, Duration),
}

/// A door for devices, and what is shown there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Way {
    Plain(SocketAddr),
    Secure { door: SocketAddr, shown: PathBuf, own: Option<OwnCertificate> },
}

impl Way {
    /// The first with TLS, or else the first without: on the network, without a proxy before it, and open to who shows the gateway's
    /// own certificate at most.
    pub(super) fn of(config: &Resolved) -> Option<Self> {
        let ways = || config.listeners.iter().filter_map(|it| Self::at(it, config));
        let secure = ways().find(|way| matches!(way, Self::Secure { .. }));
        secure.or_else(|| ways().next())
    }

    fn at(listener: &Listener, config: &Resolved) -> Option<Self> {
        let Bind::Network(address) = listener.bind else { return None };
        let door = doors::reached(address);
        if listener.proxies.is_some() {
            return None;
        }
        match (listener.kind, &config.tls) {
            (ListenKind::Tcp, _) => Some(Self::Plain(door)),
            (ListenKind::Tls, Some(tls)) if tls.unknown_name == UnknownName::Default => {
                let own = match (listener.client_certificate, &listener.authority) {
                    (ClientCertificate::None | ClientCertificate::Optional, _) => None,
                    (ClientCertificate::Required, None) => {
                        Some(OwnCertificate { cert: tls.cert.clone(), key: tls.key.clone() })
                    }
                    (ClientCertificate::Required, Some(_)) => return None,
                };
                Some(Self::Secure { door, shown: tls.cert.clone(), own })
            }
            (
                ListenKind::Tls
                | ListenKind::Websocket
                | ListenKind::SecureWebsocket
                | ListenKind::Unix,
                _,
            ) => None,
        }
    }

    const fn door(&self) -> SocketAddr {
        match self {
            Self::Plain(door) | Self::Secure { door, .. } => *door,
        }
    }

    fn open(&self, until: Instant) -> Result<Device, Fault> {
        match self {
            Self::Plain(door) => {
                let socket = doors::open(*door).ok_or(Fault::Closed)?;
                Device::new(Box::new(socket.try_clone()?), socket, until)
            }
            Self::Secure { door, shown, own } => {
                // It is told the secret once it has shown who it is.
                let tls = doors::secure(*door, own.as_ref(), shown).ok_or(Fault::Certificate)?;
                let socket = tls.sock.try_clone()?;
                Device::new(Box::new(tls), socket, until)
            }
        }
    }
}

impl Trial {
    /// Of a host that devices reach like this, if there is a way for a trial.
    pub(super) const fn new(way: Option<Way>, trials: Arc<Trials>) -> Self {
        Self { way, trials, limits: LIMITS }
    }

    /// Tries everything, one thing after the other. What it says is how long each took.
    pub(super) fn run(&self, stopped: &AtomicBool) -> ProgramEnd {
        let Some(way) = &self.way else {
            let output = "no trial: no listener lets in who has no certificate of a device".into();
            return ProgramEnd { failed: None, output };
        };
        let Some(wearing) = self.trials.begin() else {
            return ProgramEnd {
                failed: Some("trial_no_randomness".into()),
                output: String::new(),
            };
        };
        let mut course = Course { way, badge: wearing.badge(), device: None, is_kept: true };
        let mut output = format!("trial at {}:", way.door());
        let latest = Instant::now() + self.limits.1;
        for (name, step) in STEPS {
            if stopped.load(Ordering::Relaxed) {
                return ProgramEnd { failed: Some("stopped".into()), output };
            }
            let begun = Instant::now();
            let done = step(&mut course, (begun + self.limits.0).min(latest));
            let took = begun.elapsed().as_millis();
            output.push_str(&format!(" {name} {took} ms"));
            if let Err(why) = done {
                output.push_str(&format!(" ({why})"));
                return ProgramEnd { failed: Some(format!("trial_{name}_{}", why.code())), output };
            }
        }
        if !course.is_kept {
            output.push_str(" (no session is kept here)");
        }
        ProgramEnd { failed: None, output }
    }
}

type TrialStep = fn(&mut Course<'_>, Instant) -> Result<(), Fault>;

/// What a device does, in the order in which it is tried.
const STEPS: [(&str, TrialStep); 11] = [
    ("connect", |course, until| course.connect(until)),
    ("subscribe", |course, until| course.subscribe(until)),
    ("qos_0", |course, until| course.echo(until, "qos-0", QoS::AtMostOnce)),
    ("qos_1", |course, until| course.echo(until, "qos-1", QoS::AtLeastOnce)),
    ("qos_2", |course, until| course.echo(until, "qos-2", QoS::ExactlyOnce)),
    ("retain", |course, until| course.retain(until)),
    ("clear", |course, until| course.clear(until)),
    ("leave", |course, until| course.leave(until)),
    ("queue", |course, until| course.queue(until)),
    ("resume", |course, until| course.resume(until)),
    ("end", |course, until| course.end(until)),
];

/// A trial that goes on.
struct Course<'a> {
    way: &'a Way,
    badge: &'a Badge,
    device: Option<Device>,
    /// Whether sessions outlive their connections here.
    is_kept: bool,
}

impl Course<'_> {
    fn connect(&mut self, until: Instant) -> Result<(), Fault> {
        let (device, said) = self.dial("a", (true, KEPT_S), until)?;
        if said.session_present {
            return Err(Fault::Other("a session that nobody has left"));
        }
        self.is_kept = said.expiry_s != Some(0);
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
    use std::net::TcpListener;
    use std::path::Path;

    use super::*;
    use crate::config::{parse, resolve};

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

    fn tried(way: Option<Way>) -> ProgramEnd {
        Trial::new(way, Arc::default()).run(&AtomicBool::new(false))
    }

    #[test]
    fn a_door_that_does_not_let_a_device_in_or_says_something_else_is_told() {
        for (says, expected) in [
            (&[0x20, 3, 0, 0x9c, 0][..], "trial_connect_refused_0x9c"),
            (&[0x20, 3, 1, 0, 0], "trial_connect_other_answer"),
            (&[0xd0, 0], "trial_connect_other_answer"),
            (b"HTTP/1.1 400 Bad Request", "trial_connect_other_answer"),
            (b"", "trial_connect_closed"),
            (&[0x20, 3, 0, 0, 0], "trial_subscribe_closed"),
        ] {
            let end = tried(Some(Way::Plain(door(says))));
            assert_eq!(end.failed.as_deref(), Some(expected), "{}", end.output);
            assert!(end.output.starts_with("trial at 127.0.0.1:"), "{}", end.output);
        }
    }

    #[test]
    fn a_door_that_says_nothing_is_not_waited_for_longer_than_a_step_may_take() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let way = Way::Plain(silent.local_addr().unwrap());
        let limits = (Duration::from_millis(20), Duration::from_secs(3600));
        for limits in [limits, (limits.1, limits.0)] {
            let trial = Trial { limits, ..Trial::new(Some(way.clone()), Arc::default()) };
            let end = trial.run(&AtomicBool::new(false));
            assert_eq!(end.failed.as_deref(), Some("trial_connect_silent"));
        }
    }

    #[test]
    fn where_no_trial_is_possible_or_wanted_it_says_so() {
        let end = tried(None);
        assert!(end.failed.is_none() && end.output.starts_with("no trial"), "{}", end.output);
        let way = Way::Plain(door(b""));
        let end = Trial::new(Some(way), Arc::default()).run(&AtomicBool::new(true));
        assert_eq!(end.failed.as_deref(), Some("stopped"));
    }

    #[test]
    fn the_first_door_with_tls_is_tried_that_a_certificate_of_the_gateway_opens() {
        let way = |listeners: &str| {
            let tls = "[tls]\nca = \"ca.pem\"\ncert = \"gw.pem\"\nkey = \"gw.key\"\n";
            let text = format!("[gateway]\nid = \"gw-1\"\n{tls}{listeners}");
            let config = parse(&text).and_then(|it| resolve(&it, Path::new("/base")));
            Way::of(&config.unwrap_or_else(|error| panic!("{error}: {text}")))
        };
        let plain = "[[listen]]\nkind = \"tcp\"\nbind = \"127.0.0.1:1883\"\n";
        assert_eq!(way(plain), Some(Way::Plain("127.0.0.1:1883".parse().unwrap())));
        let tls = "[[listen]]\nkind = \"tls\"\nbind = \"127.0.0.1:8883\"\n";
        let secure = |own: bool| {
            let own = own.then(|| OwnCertificate {
                cert: "/base/gw.pem".into(),
                key: "/base/gw.key".into(),
            });
            Some(Way::Secure {
                door: "127.0.0.1:8883".parse().unwrap(),
                shown: "/base/gw.pem".into(),
                own,
            })
        };
        assert_eq!(way(&format!("{plain}{tls}")), secure(true));
        assert_eq!(way(&format!("{tls}client_certificate = \"optional\"\n")), secure(false));
        let others = format!("{tls}ca = \"other.pem\"\n");
        assert_eq!(way(&others), None, "it has no certificate of that authority");
        let proxied = "proxy_protocol = true\nproxy_trusted = [\"127.0.0.1\"]\n";
        assert_eq!(way(&format!("{plain}{proxied}")), None);
    }
}
