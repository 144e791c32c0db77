//! Plays a script to one broker and notes what everybody sees of each step. After each step a mark is published that everybody
//! waits for, so that nothing of the step is still on its way.

use std::net::SocketAddr;

use protocol::QoS;
use protocol::mqtt::{
    Connect, ConnectProperties, Disconnect, Filter, LastWill, Publish, PublishProperties,
    RetainHandling, Subscribe, SubscribeOptions, Unsubscribe, Version, WillProperties, codec,
};

use super::raw::Raw;
use super::script::{Publication, Script, Step, Will};
pub(crate) use super::seen::Answers;
use super::seen::Seen;

/// What everybody saw of each step.
pub(crate) fn play(script: &Script, place: SocketAddr) -> Vec<Answers> {
    let mut player = Player::new(script, place);
    (0..).zip(&script.steps).map(|(at, step)| player.step(at, step)).collect()
}

struct Player<'a> {
    script: &'a Script,
    place: SocketAddr,
    clients: Vec<Option<Raw>>,
    /// The will of each, by the number of the step that it came with.
    wills: Vec<String>,
    /// Publishes the marks, and sees the wills.
    marker: Raw,
}

const PLAIN: SubscribeOptions = SubscribeOptions {
    qos: QoS::ExactlyOnce,
    no_local: false,
    retain_as_published: false,
    retain_handling: RetainHandling::Send,
};

impl<'a> Player<'a> {
    fn new(script: &'a Script, place: SocketAddr) -> Self {
        let seed = script.seed;
        let mut marker = Raw::open(place, Version::V5);
        connect(&mut marker, &format!("s{seed}-marker"), (true, 0), None);
        subscribe(&mut marker, &[(format!("s{seed}/w/+"), PLAIN)], None);
        let clients = script.versions.iter().map(|_| None).collect();
        let wills = script.versions.iter().map(|_| String::new()).collect();
        Self { script, place, clients, wills, marker }
    }

    fn step(&mut self, at: usize, step: &Step) -> Answers {
        let mut answers = Answers::new();
        let who = step.who();
        let version = *self.script.versions.get(who).expect("a client of the script");
        let connected = self.client(who).is_some();
        match step {
            // The broker has ended the connection.
            Step::Disconnect { .. }
            | Step::Kill { .. }
            | Step::Subscribe { .. }
            | Step::Unsubscribe { .. }
            | Step::Publish { .. }
            | Step::Leave { .. }
                if !connected => {}
            Step::Connect { clean, expiry_s, will, .. } => {
                let new = self.connect(at, who, (*clean, *expiry_s), will);
                if let Some(mut old) = self.client(who).replace(new) {
                    old.until_closed();
                    answers.entry(who).or_default().append(&mut old.seen);
                }
            }
            Step::Disconnect { reason, .. } => {
                let raw = self.raw(who);
                raw.send(|out| codec::disconnect(out, version, &Disconnect::of(*reason)));
                raw.until_closed();
                if reason.code() != 0 {
                    self.wait_for_will(who);
                }
            }
            Step::Kill { .. } => {
                *self.client(who) = None;
                self.wait_for_will(who);
            }
            Step::Subscribe { filters, id, .. } => subscribe(self.raw(who), filters, *id),
            Step::Unsubscribe { filters, .. } => unsubscribe(self.raw(who), filters),
            Step::Publish { publication, .. } => publish(self.raw(who), publication),
            Step::Leave { habit, .. } => self.raw(who).habit = *habit,
        }
        self.settle(at, who);
        for (who, client) in self.clients.iter_mut().enumerate() {
            if let Some(raw) = client {
                answers.entry(who).or_default().append(&mut raw.seen);
                if raw.is_closed() {
                    *client = None;
                }
            }
        }
        answers
    }

    /// Waits until everybody has seen what came of a step.
    fn settle(&mut self, at: usize, who: usize) {
        if let Some(raw) = self.client(who) {
            raw.settle();
        }
        let mark = format!("m{at}");
        let id = self.marker.next_id();
        // At level 2, since a gateway stores more before it sends that: no other level is slower.
        let publication = Publish {
            dup: false,
            qos: QoS::ExactlyOnce,
            retain: false,
            topic: &format!("mark/{}", self.script.seed),
            packet_id: Some(id),
            properties: PublishProperties::default(),
            payload: mark.as_bytes(),
        };
        self.marker.send(|out| {
            codec::publish_client(out, Version::V5, &publication);
        });
        self.marker.until(|seen| matches!(seen, Seen::Done(_)));
        self.marker.seen.clear();
        for raw in self.clients.iter_mut().flatten() {
            raw.until_mark(&mark);
            raw.settle();
        }
    }

    fn connect(&mut self, at: usize, who: usize, session: (bool, u32), will: &Will) -> Raw {
        let seed = self.script.seed;
        let version = *self.script.versions.get(who).expect("a client of the script");
        let mut raw = Raw::open(self.place, version);
        let text = will_text(at);
        let topic = format!("s{seed}/w/{who}");
        let will = LastWill {
            topic: &topic,
            payload: text.as_bytes(),
            qos: will.qos,
            retain: will.retain,
            properties: WillProperties::default(),
        };
        connect(&mut raw, &format!("s{seed}-{who}"), session, Some(will));
        let answer = raw.seen.len();
        subscribe(&mut raw, &[(format!("mark/{seed}"), PLAIN)], None);
        // The script knows nothing of marks.
        let granted = raw.seen.iter().skip(answer).position(|it| matches!(it, Seen::Granted(_)));
        if let Some(granted) = granted {
            raw.seen.remove(answer + granted);
        }
        *self.wills.get_mut(who).expect("a client of the script") = text;
        raw
    }

    fn wait_for_will(&mut self, who: usize) {
        let will = self.wills.get(who).expect("a client of the script").clone();
        self.marker.until(|seen| matches!(seen, Seen::Message(it) if it.text == will));
    }

    fn client(&mut self, who: usize) -> &mut Option<Raw> {
        self.clients.get_mut(who).expect("a client of the script")
    }

    /// A client that the script takes for connected; one that the broker has closed sees nothing more.
    fn raw(&mut self, who: usize) -> &mut Raw {
        self.client(who).as_mut().expect("a client that is connected")
    }
}

/// The payload of the will that a connection of this step has.
pub(crate) fn will_text(at: usize) -> String {
    format!("will{at}")
}

fn connect(raw: &mut Raw, id: &str, (clean, expiry_s): (bool, u32), will: Option<LastWill<'_>>) {
    let connect = Connect {
        version: raw.version(),
        clean_start: clean,
        keep_alive_s: 600,
        client_id: id,
        will,
        user_name: None,
        password: None,
        properties: ConnectProperties {
            session_expiry_s: expiry_s,
            ..ConnectProperties::default()
        },
    };
    raw.send(|out| codec::connect(out, &connect));
    raw.until(|seen| matches!(seen, Seen::Accepted { .. } | Seen::Refused(_)));
}

fn subscribe(raw: &mut Raw, filters: &[(String, SubscribeOptions)], id: Option<u32>) {
    let filters = filters.iter().map(|(text, options)| Filter { text, options: *options });
    let subscribe =
        Subscribe { packet_id: raw.next_id(), subscription_id: id, filters: filters.collect() };
    let version = raw.version();
    raw.send(|out| codec::subscribe(out, version, &subscribe));
    raw.until(|seen| matches!(seen, Seen::Granted(_)));
}

fn unsubscribe(raw: &mut Raw, filters: &[String]) {
    let filters = filters.iter().map(String::as_str).collect();
    let unsubscribe = Unsubscribe { packet_id: raw.next_id(), filters };
    let version = raw.version();
    raw.send(|out| codec::unsubscribe(out, version, &unsubscribe));
    raw.until(|seen| matches!(seen, Seen::Unsubscribed(_)));
}

fn publish(raw: &mut Raw, publication: &Publication) {
    let id = (publication.qos != QoS::AtMostOnce).then(|| raw.next_id());
    let publish = Publish {
        dup: false,
        qos: publication.qos,
        retain: publication.retain,
        topic: &publication.topic,
        packet_id: id,
        properties: PublishProperties {
            message_expiry_s: publication.expires.then_some(3600),
            end_to_end: publication.properties.as_slice().into(),
            ..PublishProperties::default()
        },
        payload: publication.text.as_bytes(),
    };
    let version = raw.version();
    raw.send(|out| {
        codec::publish_client(out, version, &publish);
    });
    match publication.qos {
        QoS::AtMostOnce => {}
        QoS::AtLeastOnce => raw.until(|seen| matches!(seen, Seen::Taken(_))),
        QoS::ExactlyOnce => raw.until(|seen| {
            matches!(seen, Seen::Done(_)) || matches!(seen, Seen::Taken(code) if *code >= 0x80)
        }),
    }
}
