//! Classes of clients: limits of their own.

use access::{Class, ClassLimits, Classes, Who, WhoWritten};
use protocol::session::QueueLimits;

use super::fault::Fault;
use super::limits::{Limits, QueueWhenFull, WhatIsTooFast};
use super::settings::section;

section! {
    /// A class of clients with limits of its own; the first that a client fits is its class, what it leaves out is as in `[limits]`.
    pub struct ClassSection in "class" {
        /// Name of the class; the answer of the HTTP hook may name it too.
        name: Option<String> = None, "name", "a class is spoken of by its name" needed "\"sensors\"";
        /// Patterns for the client id: `*` is anything, `?` one character, `%u`, `%cn` and their like what else the client says.
        client: Vec<String> = Vec::new(), "list of patterns", "any client id" shown "[\"sensor-*\"]";
        /// Patterns for the user.
        user: Vec<String> = Vec::new(), "list of patterns", "any user, or none" shown "[\"*\"]";
        /// Addresses and networks.
        address: Vec<String> = Vec::new(), "list of networks", "from anywhere" shown "[\"10.0.0.0/8\"]";
        /// Patterns for the common name in the certificate.
        cn: Vec<String> = Vec::new(), "list of patterns", "any, or none" shown "[\"*\"]";
        /// Patterns for the organisation in the certificate.
        o: Vec<String> = Vec::new(), "list of patterns", "any, or none" shown "[\"acme\"]";
        /// Patterns for the organisational unit in the certificate.
        ou: Vec<String> = Vec::new(), "list of patterns", "any, or none" shown "[\"pumps\"]";
        /// Patterns for any alternative name in the certificate.
        san: Vec<String> = Vec::new(), "list of patterns", "any, or none" shown "[\"*.example\"]";
        /// Patterns for the issuer of the certificate, as RFC 4514 writes it.
        issuer: Vec<String> = Vec::new(), "list of patterns", "any, or none" shown "[\"CN=partner*\"]";
        /// Largest control packet of a client; not beyond `limits.packet_bytes`.
        packet_bytes: Option<u32> = None, "bytes", "as in `[limits]`" shown "65536";
        /// Publications of QoS 1 and 2 that one client may have in flight towards us.
        receive_maximum: Option<u16> = None, "messages", "as in `[limits]`" shown "16";
        /// Publications per second of one client; 0 is no limit.
        publish_per_s: Option<u32> = None, "messages per second", "as in `[limits]`" shown "10";
        /// Bytes of PUBLISH packets per second of one client; 0 is no limit.
        publish_bytes_per_s: Option<u32> = None, "bytes per second", "as in `[limits]`" shown "10000";
        /// Packets of any kind per second of one client; 0 is no limit.
        packets_per_s: Option<u32> = None, "packets per second", "as in `[limits]`" shown "100";
        /// What becomes of what is too fast.
        on_excess: Option<WhatIsTooFast> = None, "\"delay\" or \"refuse\"", "as in `[limits]`" shown "\"refuse\"";
        /// Subscriptions of one session.
        subscriptions_per_session: Option<u32> = None, "subscriptions", "as in `[limits]`" shown "10";
        /// Shared groups of one topic that a session may be in.
        groups_per_topic: Option<u16> = None, "groups", "as in `[limits]`" shown "2";
        /// Filters in one SUBSCRIBE or UNSUBSCRIBE.
        filters_per_subscribe: Option<u16> = None, "filters", "as in `[limits]`" shown "10";
        /// Levels of a topic.
        topic_levels: Option<u16> = None, "levels", "as in `[limits]`" shown "8";
        /// Length of a topic name or filter.
        topic_bytes: Option<u16> = None, "bytes", "as in `[limits]`" shown "256";
        /// Clients of one user that are connected to one gateway; 0 is no limit.
        connections_per_user: Option<u32> = None, "clients", "as in `[limits]`" shown "5";
        /// Whether a client may ask to be shown positions.
        positions: Option<bool> = None, "true or false", "as in `[limits]`" shown "true";
        /// Messages queued for one session.
        queue_messages: Option<u32> = None, "messages", "as in `[limits]`" shown "1000";
        /// Bytes of messages queued for one session.
        queue_bytes: Option<u64> = None, "bytes", "as in `[limits]`" shown "1048576";
        /// What becomes of a message at QoS 1 or 2 that finds a queue full.
        queue_when_full: Option<QueueWhenFull> = None, "\"reject\", \"drop-oldest\" or \"drop-new\"", "as in `[limits]`" shown "\"drop-oldest\"";
    }
}

/// The least that a class may set for the largest packet, in bytes: as in `[limits]`.
const PACKET_BYTES: u32 = 1_024;

/// The classes as meant; notes every one that cannot be.
pub(super) fn resolve(
    written: &[ClassSection],
    limits: &Limits,
    faults: &mut Vec<Fault>,
) -> Classes {
    let mut classes: Vec<Class> = Vec::new();
    for (index, it) in written.iter().enumerate() {
        let fault = |key: &str, what: String| Fault::new(format!("class[{index}].{key}"), what);
        it.check_ranges(faults);
        let none = [
            ("receive_maximum", it.receive_maximum == Some(0)),
            ("groups_per_topic", it.groups_per_topic == Some(0)),
            ("filters_per_subscribe", it.filters_per_subscribe == Some(0)),
            ("topic_levels", it.topic_levels == Some(0)),
            ("topic_bytes", it.topic_bytes == Some(0)),
            ("queue_messages", it.queue_messages == Some(0)),
            ("queue_bytes", it.queue_bytes == Some(0)),
        ];
        for (key, _) in none.iter().filter(|(_, none)| *none) {
            faults.push(fault(key, "is 0, which leaves nothing".to_owned()));
        }
        // CONNECT is read before anybody is in a class, and a WebSocket has its limit from then on.
        let bytes = PACKET_BYTES..=limits.packet_bytes;
        if let Some(wrong) = it.packet_bytes.filter(|wanted| !bytes.contains(wanted)) {
            let (least, most) = bytes.into_inner();
            let what = format!("{wrong} is not in {least} to limits.packet_bytes ({most})");
            faults.push(fault("packet_bytes", what));
        }
        let Some(name) = it.name.as_deref().filter(|name| !name.is_empty()) else {
            faults.push(fault("name", "is missing".to_owned()));
            continue;
        };
        if classes.iter().any(|class| &*class.name == name) {
            faults.push(fault("name", format!("{name:?} stands twice")));
        }
        let who = WhoWritten {
            client: it.client.clone(),
            user: it.user.clone(),
            anonymous: None,
            address: it.address.clone(),
            cn: it.cn.clone(),
            o: it.o.clone(),
            ou: it.ou.clone(),
            san: it.san.clone(),
            issuer: it.issuer.clone(),
        };
        match Who::new(&who) {
            Ok(who) => classes.push(Class {
                name: name.into(),
                who,
                limits: std::sync::Arc::new(class_limits(it, limits)),
            }),
            Err(wrong) => faults.extend(wrong.into_iter().map(|(key, what)| fault(key, what))),
        }
    }
    Classes::new(classes, class_limits(&ClassSection::default(), limits))
}

fn class_limits(it: &ClassSection, rest: &Limits) -> ClassLimits {
    let subscriptions = it.subscriptions_per_session.unwrap_or(rest.subscriptions_per_session);
    let groups = it.groups_per_topic.unwrap_or(rest.groups_per_topic);
    let filters = it.filters_per_subscribe.unwrap_or(rest.filters_per_subscribe);
    ClassLimits {
        packet_bytes: it.packet_bytes.unwrap_or(rest.packet_bytes),
        receive_maximum: it.receive_maximum.unwrap_or(rest.receive_maximum),
        publish_per_s: it.publish_per_s.unwrap_or(rest.publish_per_s),
        publish_bytes_per_s: it.publish_bytes_per_s.unwrap_or(rest.publish_bytes_per_s),
        packets_per_s: it.packets_per_s.unwrap_or(rest.packets_per_s),
        on_excess: it.on_excess.unwrap_or(rest.on_excess).into(),
        subscriptions_per_session: subscriptions as usize,
        groups_per_topic: usize::from(groups),
        filters_per_subscribe: usize::from(filters),
        topic_levels: usize::from(it.topic_levels.unwrap_or(rest.topic_levels)),
        topic_bytes: usize::from(it.topic_bytes.unwrap_or(rest.topic_bytes)),
        connections_per_user: it.connections_per_user.unwrap_or(rest.connections_per_user),
        positions: it.positions.unwrap_or(rest.positions),
        queue: QueueLimits {
            messages: it.queue_messages.unwrap_or(rest.queue_messages),
            bytes: it.queue_bytes.unwrap_or(rest.queue_bytes),
            when_full: it.queue_when_full.unwrap_or(rest.queue_when_full).into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use access::Identity;
    use protocol::ClientId;

    use super::super::{parse, resolve};

    #[test]
    fn a_class_has_what_it_says_and_the_rest_of_everybody() {
        let text = "[gateway]\nid = \"g\"\n[limits]\npublish_per_s = 7\n\
                    [[class]]\nname = \"s\"\nclient = [\"s*\"]\npackets_per_s = 3\n";
        let resolved = resolve(&parse(text).unwrap(), Path::new("")).unwrap();
        let of = |id: &str| {
            let who = Identity::anonymous(ClientId::new(id).unwrap());
            let limits = resolved.classes.limits_of(&who);
            (limits.publish_per_s, limits.packets_per_s)
        };
        assert_eq!((of("s1"), of("x")), ((7, 3), (7, 0)));
    }

    #[test]
    fn positions_are_for_the_classes_that_say_so() {
        let text =
            "[gateway]\nid = \"g\"\n[[class]]\nname = \"s\"\nclient = [\"s*\"]\npositions = true\n";
        let resolved = resolve(&parse(text).unwrap(), Path::new("")).unwrap();
        let of = |id: &str| {
            let who = Identity::anonymous(ClientId::new(id).unwrap());
            resolved.classes.limits_of(&who).positions
        };
        assert!(of("s1") && !of("x"));
    }

    #[test]
    fn every_class_that_cannot_be_is_told() {
        let text = "[gateway]\nid = \"g\"\n[[class]]\n[[class]]\nname = \"a\"\naddress = [\"x\"]\n\
                    topic_levels = 0\nreceive_maximum = 0\npacket_bytes = 2000000\n";
        let error = resolve(&parse(text).unwrap(), Path::new("")).unwrap_err().to_string();
        for what in [
            "class[0].name",
            "class[1].address",
            "class[1].topic_levels",
            "class[1].packet_bytes",
            "class[1].receive_maximum",
        ] {
            assert!(error.contains(what), "{error}");
        }
    }
}
