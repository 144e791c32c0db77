//! The cases of `cases.py`, as far as both clients offer them.

use std::net::SocketAddr;
use std::sync::Arc;

use rumqttc::{TlsConfiguration, Transport};
use tests::harness::{Fleet, Identity, tls_config};

use crate::table::{OF_VERSION_5, Table};

/// How a client is to connect.
#[derive(Debug, Clone, Default)]
pub(super) struct Wish {
    pub(super) id: String,
    pub(super) persistent: bool,
    /// Topic and payload.
    pub(super) will: Option<(String, String)>,
}

/// A message that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    pub(super) qos: u8,
    pub(super) retain: bool,
}

/// One connection. Its methods wait for the gateway's answer; dropping it closes the connection as a crash does.
pub(super) trait Link {
    fn session_present(&self) -> bool;
    fn subscribe(&mut self, filter: &str, qos: u8);
    fn publish(&mut self, topic: &str, payload: &[u8], qos: u8, retain: bool);
    /// Publishes all at level 1, as fast as the library does.
    fn publish_many(&mut self, topic: &str, payloads: &[String]);
    fn receive(&mut self) -> Message;
    fn disconnect(self);
    fn wait_lost(&mut self);
}

/// Connects a client of one version.
pub(super) type Open<L> = fn(SocketAddr, Transport, &Wish) -> L;

/// One case by one client.
type Case<L> = fn(&Bench<'_, L>);

/// The gateways of one transport.
struct Bench<'a, L> {
    open: Open<L>,
    prefix: String,
    places: [SocketAddr; 2],
    transport: &'a dyn Fn() -> Transport,
}

const FIRST: usize = 0;
const OTHER: usize = 1;

/// Runs all cases over TCP and TLS and holds the page to them.
pub(super) fn all<L: Link>(version: &str, open: Open<L>) -> String {
    let fleet = Fleet::start(2);
    let certs = fleet.certificates();
    let tls = || {
        let config = tls_config(&certs, Identity::Of(&certs, "device-1"));
        Transport::tls_with_config(TlsConfiguration::Rustls(Arc::new(config)))
    };
    let tcp = Transport::tcp;
    let [one, two] = [fleet.place(1), fleet.place(2)];
    let mut printed = String::from("client rumqttc 0.25.1\n");
    for (name, places) in [("tcp", [one.mqtt, two.mqtt]), ("mtls", [one.mqtts, two.mqtts])] {
        let transport: &dyn Fn() -> Transport = if name == "tcp" { &tcp } else { &tls };
        for (case, run) in cases::<L>() {
            let prefix = format!("{version}-{name}-{case}");
            run(&Bench { open, prefix, places, transport });
            printed.push_str(&format!("ok {version} {name} {case}\n"));
        }
        let of_version_5: &[&str] = if version == "5.0" { &OF_VERSION_5 } else { &[] };
        for case in ["shared", "no_certificate", "password"].iter().chain(of_version_5) {
            printed.push_str(&format!("skip {version} {name} {case}: not tried\n"));
        }
    }
    printed
}

fn cases<L: Link>() -> [(&'static str, Case<L>); 8] {
    [
        ("connect", connect),
        ("levels", levels),
        ("retained", retained),
        ("will", will),
        ("resume", resume),
        ("takeover", takeover),
        ("large", large),
        ("in_order", in_order),
    ]
}

impl<L: Link> Bench<'_, L> {
    fn open(&self, name: &str, gateway: usize) -> L {
        self.open_with(gateway, Wish { id: self.named(name), ..Wish::default() })
    }

    fn open_with(&self, gateway: usize, wish: Wish) -> L {
        let place = *self.places.get(gateway).expect("one of two gateways");
        (self.open)(place, (self.transport)(), &wish)
    }

    /// A client id or a topic of this case.
    fn named(&self, name: &str) -> String {
        format!("{}/{name}", self.prefix)
    }
}

fn connect<L: Link>(bench: &Bench<'_, L>) {
    let link = bench.open("a", FIRST);
    assert!(!link.session_present());
    link.disconnect();
}

fn levels<L: Link>(bench: &Bench<'_, L>) {
    let mut reader = bench.open("reader", OTHER);
    reader.subscribe(&bench.named("+"), 2);
    let mut writer = bench.open("writer", FIRST);
    for qos in 0..=2 {
        let topic = bench.named(&qos.to_string());
        writer.publish(&topic, b"hello", qos, false);
        // Nothing is answered at level 0: what follows makes the library send it.
        writer.publish("elsewhere", b"", 1, false);
        let message = reader.receive();
        let wanted = Message { topic, payload: b"hello".to_vec(), qos, retain: false };
        assert_eq!(message, wanted);
    }
}

fn retained<L: Link>(bench: &Bench<'_, L>) {
    let mut writer = bench.open("writer", FIRST);
    writer.publish(&bench.named("state"), b"on", 1, true);
    let mut reader = bench.open("reader", OTHER);
    reader.subscribe(&bench.named("#"), 1);
    let message = reader.receive();
    assert_eq!((message.payload.as_slice(), message.retain), (b"on".as_slice(), true));
    writer.publish(&bench.named("state"), b"", 1, true);
    assert_eq!(reader.receive().payload, b"");
    let mut later = bench.open("later", OTHER);
    later.subscribe(&bench.named("#"), 1);
    writer.publish(&bench.named("mark"), b"mark", 1, false);
    assert_eq!(later.receive().payload, b"mark");
}

fn will<L: Link>(bench: &Bench<'_, L>) {
    let mut watcher = bench.open("watcher", OTHER);
    watcher.subscribe(&bench.named("gone"), 1);
    let will = Some((bench.named("gone"), "bye".to_owned()));
    drop(bench.open_with(FIRST, Wish { id: bench.named("device"), will, persistent: false }));
    assert_eq!(watcher.receive().payload, b"bye");
}

fn resume<L: Link>(bench: &Bench<'_, L>) {
    let wish = || Wish { id: bench.named("device"), persistent: true, will: None };
    let mut device = bench.open_with(FIRST, wish());
    device.subscribe(&bench.named("t"), 1);
    device.disconnect();
    let mut writer = bench.open("writer", FIRST);
    for payload in ["one", "two", "three"] {
        writer.publish(&bench.named("t"), payload.as_bytes(), 1, false);
    }
    let mut device = bench.open_with(OTHER, wish());
    assert!(device.session_present());
    for payload in ["one", "two", "three"] {
        assert_eq!(device.receive().payload, payload.as_bytes());
    }
}

fn takeover<L: Link>(bench: &Bench<'_, L>) {
    let mut old = bench.open("device", FIRST);
    let mut new = bench.open("device", OTHER);
    old.wait_lost();
    new.subscribe(&bench.named("t"), 1);
    new.publish(&bench.named("t"), b"still here", 1, false);
    assert_eq!(new.receive().payload, b"still here");
}

fn large<L: Link>(bench: &Bench<'_, L>) {
    let mut reader = bench.open("reader", OTHER);
    reader.subscribe(&bench.named("t"), 1);
    let payload = vec![7; 1024 * 1024];
    bench.open("writer", FIRST).publish(&bench.named("t"), &payload, 1, false);
    assert!(reader.receive().payload == payload, "another payload came");
}

fn in_order<L: Link>(bench: &Bench<'_, L>) {
    let mut reader = bench.open("reader", OTHER);
    reader.subscribe(&bench.named("t"), 1);
    let payloads: Vec<_> = (0..10_000).map(|number: u32| number.to_string()).collect();
    let mut writer = bench.open("writer", FIRST);
    writer.publish_many(&bench.named("t"), &payloads);
    for payload in &payloads {
        assert_eq!(reader.receive().payload, payload.as_bytes());
    }
}

#[test]
fn both_clients_can_do_what_they_offer() {
    let printed = all("3.1.1", super::v311::open) + &all("5.0", super::v5::open);
    let table = Table::read(&printed);
    table.show(&printed);
    table.assert_on_page();
}
