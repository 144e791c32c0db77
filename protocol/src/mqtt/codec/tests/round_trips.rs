//! What is encoded decodes to itself, and means the same to every version.

use std::borrow::Cow;

use proptest::{collection::vec, option, prelude::*};

use crate::{
    PacketId, Publication, QoS,
    mqtt::{
        Ack, Auth, ConnAck, Connect, ConnectProperties, Disconnect, Filter, LastWill, Packet,
        Publish, PublishProperties, ReasonCode, RetainHandling, SubAck, Subscribe,
        SubscribeOptions, UnsubAck, Unsubscribe, Version, WillProperties,
        codec::{self, AckKind, PublishHead, Sender},
        reason::ReasonPlace,
    },
};

fn text() -> impl Strategy<Value = String> {
    "[^\\x00]{0,40}"
}

fn topic() -> impl Strategy<Value = String> {
    "[^\\x00+#]{1,60}"
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..300)
}

fn version() -> impl Strategy<Value = Version> {
    prop_oneof![Just(Version::V31), Just(Version::V311), Just(Version::V5)]
}

fn qos() -> impl Strategy<Value = QoS> {
    prop_oneof![Just(QoS::AtMostOnce), Just(QoS::AtLeastOnce), Just(QoS::ExactlyOnce)]
}

fn packet_id() -> impl Strategy<Value = PacketId> {
    (1..=u16::MAX).prop_map(|value| PacketId::new(value).unwrap())
}

fn reason(place: ReasonPlace) -> impl Strategy<Value = ReasonCode> {
    let all: Vec<_> =
        (0..=255).filter_map(ReasonCode::from_code).filter(|code| code.fits(place)).collect();
    proptest::sample::select(all)
}

/// Property bytes that travel end to end, and how many user properties there are among them.
fn end_to_end() -> impl Strategy<Value = (Vec<u8>, usize)> {
    let pairs = vec((text(), text()), 0..3);
    (option::of(any::<bool>()), option::of(topic()), option::of(bytes()), pairs).prop_map(
        |(format, response, correlation, pairs)| {
            let mut out = Vec::new();
            if let Some(format) = format {
                out.extend_from_slice(&[1, u8::from(format)]);
            }
            super::super::write::property_text(&mut out, 8, response.as_deref());
            super::super::write::property_binary(&mut out, 9, correlation.as_deref());
            for (name, value) in &pairs {
                super::super::write::property_user(&mut out, &[(name, value)]);
            }
            (out, pairs.len())
        },
    )
}

#[track_caller]
fn reads_back(out: &[u8], version: Version, from: Sender, expected: &Packet<'_>) {
    assert_eq!(codec::frame(out, u32::MAX), Ok(Some(out.len())));
    assert_eq!(codec::decode(out, version, from).as_ref(), Ok(expected));
}

proptest! {
    #[test]
    fn connects_read_back(
        version in version(),
        flags in any::<[bool; 4]>(),
        numbers in (any::<u16>(), any::<u32>(), 1..=u16::MAX, 1..=u32::MAX, any::<u16>()),
        client_id in text(),
        will in option::of((topic(), bytes(), qos(), any::<bool>(), any::<u32>(), option::of(any::<u32>()), end_to_end())),
        login in (option::of(text()), option::of(bytes())),
        auth in option::of((text(), option::of(bytes()))),
        user in vec((text(), text()), 0..3),
    ) {
        let [clean_start, response, problem, _] = flags;
        let v5 = version == Version::V5;
        let mut properties = ConnectProperties::default();
        if v5 {
            properties.session_expiry_s = numbers.1;
            properties.receive_maximum = numbers.2;
            properties.maximum_packet_bytes = numbers.3;
            properties.topic_alias_maximum = numbers.4;
            properties.request_response_information = response;
            properties.request_problem_information = problem;
            properties.authentication_method = auth.as_ref().map(|auth| auth.0.as_str());
            properties.authentication_data = auth.as_ref().and_then(|auth| auth.1.as_deref());
            properties.user = user.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        } else if !clean_start {
            properties.session_expiry_s = u32::MAX;
        }
        let connect = Connect {
            version,
            clean_start,
            keep_alive_s: numbers.0,
            client_id: if client_id.is_empty() && !v5 { "x" } else { &client_id },
            will: will.as_ref().map(|(topic, payload, qos, retain, delay_s, expiry, rest)| LastWill {
                topic,
                payload,
                qos: *qos,
                retain: *retain,
                properties: if v5 {
                    WillProperties {
                        delay_s: *delay_s,
                        message_expiry_s: *expiry,
                        payload_is_utf8: rest.0.starts_with(&[1, 1]),
                        end_to_end: Cow::Borrowed(&rest.0),
                        user_count: rest.1,
                    }
                } else {
                    WillProperties::default()
                },
            }),
            user_name: login.0.as_deref(),
            password: login.1.as_deref().filter(|_| v5 || login.0.is_some()),
            properties,
        };
        let mut out = Vec::new();
        codec::connect(&mut out, &connect);
        prop_assert_eq!(codec::decode_connect(&out), Ok(connect.clone()));
        prop_assert_eq!(codec::connect_version(&out), Some(version));
        reads_back(&out, version, Sender::Client, &Packet::Connect(Box::new(connect)));
    }

    #[test]
    fn publishes_read_back(
        version in version(),
        qos in qos(),
        flags in any::<[bool; 2]>(),
        topic in topic(),
        id in packet_id(),
        hop in (option::of(1..=u16::MAX), option::of(any::<u32>()), vec(1..=268_435_455_u32, 0..4)),
        (rest, users) in end_to_end(),
        payload in bytes(),
    ) {
        let above_0 = qos != QoS::AtMostOnce;
        let publish = Publish {
            dup: flags[0] && above_0,
            qos,
            retain: flags[1],
            topic: &topic,
            packet_id: above_0.then_some(id),
            properties: if version == Version::V5 {
                PublishProperties {
                    topic_alias: hop.0,
                    message_expiry_s: hop.1,
                    subscription_ids: hop.2.into(),
                    end_to_end: Cow::Borrowed(&rest),
                    user_count: users,
                    ..PublishProperties::default()
                }
            } else {
                PublishProperties::default()
            },
            payload: &payload,
        };
        let mut out = Vec::new();
        let id_at = codec::publish_client(&mut out, version, &publish);
        if above_0 {
            prop_assert_eq!(&out[id_at..id_at + 2], &id.get().to_be_bytes());
        }
        let mut decoded = codec::decode_publish(&out, version, Sender::Server).unwrap();
        prop_assert!(
            decoded.properties.end_to_end.is_empty()
                || matches!(decoded.properties.end_to_end, Cow::Borrowed(_))
        );
        // Views into the bytes that travel on.
        decoded.properties.payload_is_utf8 = false;
        decoded.properties.response_topic = None;
        prop_assert_eq!(decoded, publish);
    }

    #[test]
    fn publications_reach_receivers_with_their_properties(
        version in version(),
        qos in qos(),
        flags in any::<[bool; 2]>(),
        topic in topic(),
        id in packet_id(),
        ids in vec(1..=268_435_455_u32, 0..4),
        expiry in option::of(any::<u32>()),
        alias in option::of((1..=u16::MAX, any::<bool>())),
        ((rest, _), user) in (end_to_end(), option::of((text(), text()))),
        payload in bytes(),
        before in bytes(),
    ) {
        let publication = Publication::new(&topic, &rest, &payload, qos, false);
        let above_0 = qos != QoS::AtMostOnce;
        let head = PublishHead {
            dup: flags[0] && above_0,
            qos,
            retain: flags[1],
            packet_id: above_0.then_some(id),
            subscription_ids: &ids,
            message_expiry_s: expiry,
            topic_alias: alias,
            user: user.as_ref().map(|(name, value)| (name.as_str(), value.as_str())),
        };
        let mut out = before.clone();
        let id_at = codec::publish(&mut out, version, &publication, &head);
        let out = &out[before.len()..];
        prop_assert_eq!(out.len(), codec::publish_len(version, &publication, &head));
        prop_assert_eq!(id_at == 0, !above_0);
        let decoded = codec::decode_publish(out, version, Sender::Server).unwrap();
        prop_assert_eq!(decoded.packet_id, head.packet_id);
        prop_assert_eq!((decoded.dup, decoded.qos, decoded.retain), (head.dup, qos, head.retain));
        prop_assert_eq!(decoded.payload, &payload);
        if version == Version::V5 {
            let topic_sent = alias.is_none_or(|(_, send)| send);
            prop_assert_eq!(decoded.topic, if topic_sent { &topic } else { "" });
            let mut all = rest.clone();
            if let Some((name, value)) = &user {
                all.push(0x26);
                for text in [name, value] {
                    all.extend_from_slice(&u16::try_from(text.len()).unwrap().to_be_bytes());
                    all.extend_from_slice(text.as_bytes());
                }
            }
            prop_assert_eq!(&*decoded.properties.end_to_end, &all);
            prop_assert_eq!(decoded.properties.subscription_ids.as_slice(), &ids);
            prop_assert_eq!(decoded.properties.message_expiry_s, expiry);
            prop_assert_eq!(decoded.properties.topic_alias, alias.map(|(alias, _)| alias));
        } else {
            prop_assert_eq!(decoded.topic, &topic);
            prop_assert_eq!(decoded.properties, PublishProperties::default());
        }
    }

    #[test]
    fn acknowledgements_read_back(
        version in version(),
        packet_id in packet_id(),
        receipt in reason(ReasonPlace::Receipt),
        release in reason(ReasonPlace::Release),
        why in option::of(text()),
    ) {
        let v5 = version == Version::V5;
        let ack = |reason| Ack {
            packet_id,
            reason: if v5 { reason } else { ReasonCode::Success },
            reason_string: why.as_deref().filter(|_| v5),
        };
        for (kind, packet) in [
            (AckKind::PubAck, Packet::PubAck(ack(receipt))),
            (AckKind::PubRec, Packet::PubRec(ack(receipt))),
            (AckKind::PubRel, Packet::PubRel(ack(release))),
            (AckKind::PubComp, Packet::PubComp(ack(release))),
        ] {
            let reason = if kind == AckKind::PubAck || kind == AckKind::PubRec { receipt } else { release };
            let mut out = Vec::new();
            codec::ack(&mut out, version, kind, &ack(reason));
            reads_back(&out, version, Sender::Client, &packet);
            reads_back(&out, version, Sender::Server, &packet);
        }
    }

    #[test]
    fn subscribes_and_unsubscribes_read_back(
        version in version(),
        packet_id in packet_id(),
        subscription in option::of(1..=268_435_455_u32),
        filters in vec((text(), qos(), any::<[bool; 2]>(), 0..3_u8), 1..6),
    ) {
        let v5 = version == Version::V5;
        let filters: Vec<_> = filters
            .iter()
            .map(|(text, qos, flags, handling)| Filter {
                text,
                options: SubscribeOptions {
                    qos: *qos,
                    no_local: v5 && flags[0] && !text.starts_with("$share/"),
                    retain_as_published: v5 && flags[1],
                    retain_handling: match handling {
                        1 if v5 => RetainHandling::SendIfNew,
                        2 if v5 => RetainHandling::DoNotSend,
                        _ => RetainHandling::Send,
                    },
                },
            })
            .collect();
        let names = filters.iter().map(|filter| filter.text).collect();
        let subscribe = Subscribe { packet_id, subscription_id: subscription.filter(|_| v5), filters };
        let mut out = Vec::new();
        codec::subscribe(&mut out, version, &subscribe);
        reads_back(&out, version, Sender::Client, &Packet::Subscribe(subscribe));
        let unsubscribe = Unsubscribe { packet_id, filters: names };
        out.clear();
        codec::unsubscribe(&mut out, version, &unsubscribe);
        reads_back(&out, version, Sender::Client, &Packet::Unsubscribe(unsubscribe));
    }

    #[test]
    fn answers_to_subscribers_read_back(
        packet_id in packet_id(),
        granted in vec(reason(ReasonPlace::SubAck), 1..200),
        removed in vec(reason(ReasonPlace::UnsubAck), 1..200),
        why in option::of(text()),
    ) {
        let suback = SubAck { packet_id, reasons: granted, reason_string: why.as_deref() };
        let mut out = Vec::new();
        codec::suback(&mut out, Version::V5, &suback);
        reads_back(&out, Version::V5, Sender::Server, &Packet::SubAck(suback.clone()));
        out.clear();
        codec::suback(&mut out, Version::V311, &suback);
        let Ok(Packet::SubAck(old)) = codec::decode(&out, Version::V311, Sender::Server) else {
            panic!("no suback");
        };
        for (old, new) in old.reasons.iter().zip(&suback.reasons) {
            prop_assert!(old == new || (new.is_error() && *old == ReasonCode::UnspecifiedError));
        }
        let unsuback = UnsubAck { packet_id, reasons: removed, reason_string: why.as_deref() };
        out.clear();
        codec::unsuback(&mut out, Version::V5, &unsuback);
        reads_back(&out, Version::V5, Sender::Server, &Packet::UnsubAck(unsuback));
        out.clear();
        let empty = UnsubAck { packet_id, reasons: Vec::new(), reason_string: None };
        codec::unsuback(&mut out, Version::V311, &empty);
        reads_back(&out, Version::V311, Sender::Server, &Packet::UnsubAck(empty));
    }

    #[test]
    fn connacks_and_goodbyes_read_back(
        reason in reason(ReasonPlace::ConnAck),
        client_leaves in reason(ReasonPlace::ClientDisconnect),
        server_leaves in reason(ReasonPlace::ServerDisconnect),
        present in any::<bool>(),
        numbers in (option::of(any::<u32>()), option::of(1..=u16::MAX), option::of(1..=u32::MAX), option::of(any::<u16>()), option::of(any::<u16>())),
        texts in (option::of(text()), option::of(text()), option::of(text())),
        auth in (text(), option::of(bytes())),
        user in vec((text(), text()), 0..3),
    ) {
        let ack = ConnAck {
            session_present: present && reason == ReasonCode::Success,
            reason,
            session_expiry_s: numbers.0,
            receive_maximum: numbers.1,
            maximum_packet_bytes: numbers.2,
            assigned_client_id: texts.0.as_deref(),
            topic_alias_maximum: numbers.3,
            server_keep_alive_s: numbers.4,
            response_information: texts.0.as_deref(),
            server_reference: texts.1.as_deref(),
            reason_string: texts.2.as_deref(),
            // Data without a method is malformed.
            authentication_method: auth.1.as_ref().map(|_| auth.0.as_str()),
            authentication_data: auth.1.as_deref(),
            user: user.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
        };
        let mut out = Vec::new();
        codec::connack(&mut out, Version::V5, &ack);
        reads_back(&out, Version::V5, Sender::Server, &Packet::ConnAck(ack));
        let client = Disconnect {
            reason: client_leaves,
            session_expiry_s: numbers.0,
            server_reference: None,
            reason_string: texts.2.as_deref(),
        };
        out.clear();
        codec::disconnect(&mut out, Version::V5, &client);
        reads_back(&out, Version::V5, Sender::Client, &Packet::Disconnect(client));
        let server = Disconnect {
            reason: server_leaves,
            session_expiry_s: None,
            server_reference: texts.1.as_deref(),
            reason_string: texts.2.as_deref(),
        };
        out.clear();
        codec::disconnect(&mut out, Version::V5, &server);
        reads_back(&out, Version::V5, Sender::Server, &Packet::Disconnect(server));
        let auth = Auth {
            reason: ReasonCode::ContinueAuthentication,
            method: Some(&auth.0),
            data: auth.1.as_deref(),
            reason_string: texts.2.as_deref(),
        };
        out.clear();
        codec::auth(&mut out, &auth);
        reads_back(&out, Version::V5, Sender::Client, &Packet::Auth(auth));
        reads_back(&out, Version::V5, Sender::Server, &Packet::Auth(auth));
    }

    #[test]
    fn publish_properties_of_one_hop_are_taken_out_wherever_they_stand(
        order in Just(vec![0_u8, 1, 2, 3, 4, 5]).prop_shuffle(),
    ) {
        let pieces: [&[u8]; 6] = [
            b"\x01\x01", b"\x02\x00\x00\x00\x09", b"\x23\x00\x07", b"\x0b\x05", b"\x26\x00\x01k\x00\x01v", b"\x03\x00\x01t",
        ];
        let section: Vec<u8> = order.iter().flat_map(|&i| pieces[usize::from(i)]).copied().collect();
        let kept: Vec<u8> = order
            .iter()
            .filter(|&&i| matches!(i, 0 | 4 | 5))
            .flat_map(|&i| pieces[usize::from(i)])
            .copied()
            .collect();
        let mut out = vec![0x30, u8::try_from(section.len() + 4).unwrap(), 0, 1, b'a'];
        out.push(u8::try_from(section.len()).unwrap());
        out.extend_from_slice(&section);
        let publish = codec::decode_publish(&out, Version::V5, Sender::Server).unwrap();
        prop_assert_eq!(&*publish.properties.end_to_end, &kept);
        prop_assert_eq!(publish.properties.topic_alias, Some(7));
        prop_assert_eq!(publish.properties.message_expiry_s, Some(9));
        prop_assert_eq!(publish.properties.subscription_ids.as_slice(), &[5]);
        prop_assert!(publish.properties.payload_is_utf8);
    }
}

#[test]
fn a_bare_success_of_auth_has_no_body() {
    let auth = Auth { reason: ReasonCode::Success, method: None, data: None, reason_string: None };
    let mut out = Vec::new();
    codec::auth(&mut out, &auth);
    assert_eq!(out, [0xF0, 0]);
    reads_back(&out, Version::V5, Sender::Server, &Packet::Auth(auth));
}
