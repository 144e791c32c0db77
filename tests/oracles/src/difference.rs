//! Where a codec of somebody else and ours do not agree, in words that can be listed.

use std::borrow::Cow;

use crate::foreign::{Foreign, Verdict, ours};
use crate::known::KNOWN;
use crate::mqtt::codec::{Sender, connect_version, decode, frame};
use crate::mqtt::{Packet, ReasonCode, Version};

/// How the other codec differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// It accepts what we refuse.
    Accepts,
    /// It refuses what we accept.
    Refuses,
    /// It accepts as we do, and writes something else or nothing.
    Changes,
    /// It panics.
    Panics,
}

/// One disagreement.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// The other crate.
    pub foreign: &'static str,
    /// How it differs.
    pub way: Way,
    /// What we find wrong with the packet; or what is special about it, each of which may be the cause.
    pub about: Vec<&'static str>,
}

impl Difference {
    /// Whether the list of known differences explains it.
    pub fn is_known(&self) -> bool {
        KNOWN.iter().any(|known| {
            (known.foreign, known.way) == (self.foreign, self.way)
                && known.about.iter().any(|about| self.about.contains(about))
        })
    }
}

/// How a codec of somebody else and ours disagree about the bytes, if they do. The others know no sides, so we accept here
/// what either side may send.
pub fn difference(foreign: &Foreign, wire: &[u8], version: Version) -> Option<Difference> {
    let sides = [Sender::Client, Sender::Server];
    let side = sides.into_iter().find(|side| ours(wire, version, *side));
    let (way, about) = match (side, foreign.read(wire, version)) {
        (None, Verdict::Refused) => return None,
        (None, Verdict::Accepted(_)) => (Way::Accepts, vec![fault(wire, version)]),
        (None, Verdict::Panicked) => (Way::Panics, vec![fault(wire, version)]),
        (Some(side), Verdict::Panicked) => (Way::Panics, special(wire, version, side)),
        (Some(side), Verdict::Refused) => (Way::Refuses, special(wire, version, side)),
        (Some(side), Verdict::Accepted(again)) => {
            let meant = meaning(wire, version, side);
            if again.is_some_and(|again| meaning(&again, version, side) == meant) {
                return None;
            }
            (Way::Changes, special(wire, version, side))
        }
    };
    Some(Difference { foreign: foreign.name, way, about })
}

/// What we find wrong with bytes that we refuse from either side.
fn fault(wire: &[u8], version: Version) -> &'static str {
    match frame(wire, 1 << 20) {
        Ok(Some(len)) if len == wire.len() => {}
        Ok(_) => return "not one whole packet",
        Err(violation) => return violation.what,
    }
    if wire.first() == Some(&0x10) && connect_version(wire).is_some_and(|other| other != version) {
        return "connect of another version";
    }
    // The side that may send the packet knows best.
    let faults = [Sender::Client, Sender::Server]
        .map(|side| decode(wire, version, side).map_or_else(|fault| fault.what, |_| "nothing"));
    match faults {
        ["this side never sends such a packet", fault] | [fault, _] => fault,
    }
}

/// What a packet means, whatever the order of its properties.
fn meaning(wire: &[u8], version: Version, from: Sender) -> Option<String> {
    let mut packet = decode(wire, version, from).ok()?;
    match &mut packet {
        Packet::Publish(publish) => {
            publish.properties.subscription_ids.sort_unstable();
            sort(&mut publish.properties.end_to_end);
        }
        Packet::Connect(connect) => {
            if let Some(will) = &mut connect.will {
                sort(&mut will.properties.end_to_end);
            }
        }
        _ => {}
    }
    // What a packet does not show to logs is compared all the same.
    let hidden = match &packet {
        Packet::Connect(connect) => [connect.password, connect.properties.authentication_data],
        Packet::Auth(auth) => [auth.data, None],
        _ => [None; 2],
    };
    Some(format!("{packet:?} {hidden:?}"))
}

fn sort(section: &mut Cow<'_, [u8]>) {
    section.to_mut().sort_unstable();
}

/// All that is seldom seen about a packet that we accept.
fn special(wire: &[u8], version: Version, from: Sender) -> Vec<&'static str> {
    let Ok(packet) = decode(wire, version, from) else { return vec!["nothing"] };
    let mut special = Vec::new();
    let mut note = |is: bool, what| {
        if is {
            special.push(what);
        }
    };
    let odd = |text: &str| {
        let share = text.strip_prefix("$share/").and_then(|rest| rest.split_once('/'));
        protocol::TopicFilter::parse_subscription(text).is_err()
            || share.is_some_and(|(_, filter)| filter.is_empty())
    };
    match &packet {
        Packet::Connect(connect) => {
            let password = connect.password;
            let named = connect.user_name.is_some();
            note(password.is_some() && !named, "password without a user name");
            note(password.is_none() && named, "user name without a password");
            note(password == Some(b""), "empty password");
            note(connect.user_name == Some(""), "empty user name");
            note(password.is_some_and(|p| str::from_utf8(p).is_err()), "password of any bytes");
            note(connect.client_id.is_empty(), "empty client id");
            if let Some(will) = &connect.will {
                note(will.payload.is_empty(), "empty will message");
                note(will.properties.message_expiry_s == Some(0), "message expiry 0");
            }
        }
        Packet::Publish(publish) => {
            note(publish.properties.message_expiry_s == Some(0), "message expiry 0");
            let section = &publish.properties.end_to_end;
            note(section.windows(2).any(|two| two == [1, 0]), "payload format 0");
            note(!publish.properties.subscription_ids.is_empty(), "subscription identifiers");
            note(publish.properties.subscription_ids.len() > 1, "several subscription identifiers");
        }
        Packet::Subscribe(subscribe) => {
            let filters = &subscribe.filters;
            note(filters.iter().any(|filter| odd(filter.text)), "filter that is no filter");
        }
        Packet::Unsubscribe(unsubscribe) => {
            let filters = &unsubscribe.filters;
            note(filters.iter().any(|filter| odd(filter)), "filter that is no filter");
        }
        Packet::Disconnect(disconnect) => {
            note(disconnect.reason == ReasonCode::Success, "disconnect without an error");
            note(wire.len() < 4, "disconnect without a property length");
            note(true, "disconnect");
        }
        Packet::ConnAck(ack) => {
            note(ack.topic_alias_maximum == Some(0), "topic alias maximum 0");
            note(ack.receive_maximum == Some(u16::MAX), "receive maximum 65,535");
        }
        Packet::Auth(_) => note(true, "auth"),
        _ => {}
    }
    if special.is_empty() {
        special.push(packet_name(&packet));
    }
    special
}

fn packet_name(packet: &Packet<'_>) -> &'static str {
    match packet {
        Packet::Connect(_) => "connect",
        Packet::ConnAck(_) => "connack",
        Packet::Publish(_) => "publish",
        Packet::PubAck(_) => "puback",
        Packet::PubRec(_) => "pubrec",
        Packet::PubRel(_) => "pubrel",
        Packet::PubComp(_) => "pubcomp",
        Packet::Subscribe(_) => "subscribe",
        Packet::SubAck(_) => "suback",
        Packet::Unsubscribe(_) => "unsubscribe",
        Packet::UnsubAck(_) => "unsuback",
        Packet::PingReq => "pingreq",
        Packet::PingResp => "pingresp",
        Packet::Disconnect(_) => "disconnect",
        Packet::Auth(_) => "auth",
    }
}
