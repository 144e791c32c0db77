//! One or more valid packets of every kind, for every version and side.

use crate::{
    PacketId, QoS,
    mqtt::{
        Ack, Auth, ConnAck, Connect, ConnectProperties, Disconnect, Filter, LastWill, Publish,
        PublishProperties, ReasonCode, RetainHandling, SubAck, Subscribe, SubscribeOptions,
        UnsubAck, Unsubscribe, Version, WillProperties,
        codec::{self, AckKind, Sender},
    },
};

pub(super) const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];

pub(super) fn packet_id(value: u16) -> PacketId {
    PacketId::new(value).unwrap()
}

pub(super) fn a_connect(version: Version) -> Connect<'static> {
    let mut properties = ConnectProperties::default();
    let mut will_properties = WillProperties { payload_is_utf8: true, ..WillProperties::default() };
    if version == Version::V5 {
        properties.session_expiry_s = 3_600;
        properties.receive_maximum = 20;
        properties.maximum_packet_bytes = 100_000;
        properties.topic_alias_maximum = 10;
        properties.request_problem_information = false;
        properties.authentication_method = Some("scram");
        properties.authentication_data = Some(&[0, 255]);
        properties.user = vec![("a", "b"), ("a", "c")];
        will_properties.delay_s = 5;
        will_properties.message_expiry_s = Some(9);
        will_properties.end_to_end = vec![1, 1, 3, 0, 1, b't'].into();
    }
    Connect {
        version,
        clean_start: true,
        keep_alive_s: 60,
        client_id: "device-1",
        will: Some(LastWill {
            topic: "will/device-1",
            payload: b"gone",
            qos: QoS::AtLeastOnce,
            retain: true,
            properties: will_properties,
        }),
        user_name: Some("name"),
        password: Some(&[1, 0, 255]),
        properties,
    }
}

pub(super) fn a_publish(version: Version, qos: QoS) -> Publish<'static> {
    let mut properties = PublishProperties::default();
    if version == Version::V5 {
        properties.topic_alias = Some(3);
        properties.message_expiry_s = Some(77);
        properties.payload_is_utf8 = true;
        properties.response_topic = Some("r/t");
        let end_to_end: &[u8] =
            b"\x01\x01\x08\x00\x03r/t\x09\x00\x02\x00\xff\x26\x00\x01k\x00\x01v";
        properties.end_to_end = end_to_end.into();
    }
    Publish {
        dup: qos != QoS::AtMostOnce,
        qos,
        retain: true,
        topic: "plant/7/température",
        packet_id: (qos != QoS::AtMostOnce).then(|| packet_id(258)),
        properties,
        payload: b"21.5",
    }
}

fn from_clients(version: Version, all: &mut Vec<Vec<u8>>) {
    let mut add = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::new();
        write(&mut out);
        all.push(out);
    };
    let filter = |text| Filter {
        text,
        options: SubscribeOptions {
            qos: QoS::ExactlyOnce,
            no_local: version == Version::V5,
            retain_as_published: version == Version::V5,
            retain_handling: RetainHandling::Send,
        },
    };
    add(&|out| codec::connect(out, &a_connect(version)));
    add(&|out| {
        let filters = vec![filter("a/+"), filter("é/#")];
        let subscription_id = (version == Version::V5).then_some(200);
        let packet_id = packet_id(1);
        codec::subscribe(out, version, &Subscribe { packet_id, subscription_id, filters });
    });
    add(&|out| {
        let filters = vec!["a/+", "b"];
        codec::unsubscribe(out, version, &Unsubscribe { packet_id: packet_id(2), filters });
    });
    add(&|out| codec::pingreq(out));
    add(&|out| {
        let mut disconnect = Disconnect::of(ReasonCode::DisconnectWithWill);
        disconnect.session_expiry_s = Some(1);
        disconnect.reason_string = Some("bye");
        codec::disconnect(out, version, &disconnect);
    });
}

fn from_servers(version: Version, all: &mut Vec<Vec<u8>>) {
    let mut add = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::new();
        write(&mut out);
        all.push(out);
    };
    add(&|out| {
        let mut ack = ConnAck::of(false, ReasonCode::ServerMoved);
        ack.session_expiry_s = Some(1);
        ack.receive_maximum = Some(2);
        ack.maximum_packet_bytes = Some(3);
        ack.assigned_client_id = Some("id");
        ack.topic_alias_maximum = Some(4);
        ack.server_keep_alive_s = Some(5);
        ack.server_reference = Some("other:1883");
        ack.reason_string = Some("moved");
        codec::connack(out, version, &ack);
    });
    let why = (version == Version::V5).then_some("why");
    add(&|out| {
        let reasons = vec![ReasonCode::Success, ReasonCode::UnspecifiedError];
        let ack = SubAck { packet_id: packet_id(1), reasons, reason_string: why };
        codec::suback(out, version, &ack);
    });
    add(&|out| {
        let reasons = vec![ReasonCode::Success, ReasonCode::NoSubscriptionExisted];
        let ack = UnsubAck { packet_id: packet_id(1), reasons, reason_string: why };
        codec::unsuback(out, version, &ack);
    });
    add(&|out| codec::pingresp(out));
    if version == Version::V5 {
        add(&|out| {
            let mut disconnect = Disconnect::of(ReasonCode::UseAnotherServer);
            disconnect.server_reference = Some("other:1883");
            codec::disconnect(out, version, &disconnect);
        });
    }
}

fn from_both(version: Version, all: &mut Vec<Vec<u8>>) {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut out = Vec::new();
        codec::publish_client(&mut out, version, &a_publish(version, qos));
        all.push(out);
    }
    for kind in [AckKind::PubAck, AckKind::PubRec, AckKind::PubRel, AckKind::PubComp] {
        let bad = match kind {
            AckKind::PubAck | AckKind::PubRec => ReasonCode::QuotaExceeded,
            AckKind::PubRel | AckKind::PubComp => ReasonCode::PacketIdentifierNotFound,
        };
        for (reason, reason_string) in
            [(ReasonCode::Success, None), (bad, None), (bad, Some("because"))]
        {
            let mut out = Vec::new();
            let ack = Ack { packet_id: packet_id(7), reason, reason_string };
            codec::ack(&mut out, version, kind, &ack);
            all.push(out);
        }
    }
    if version == Version::V5 {
        let mut out = Vec::new();
        let auth = Auth {
            reason: ReasonCode::ContinueAuthentication,
            method: Some("scram"),
            data: Some(&[0, 1]),
            reason_string: Some("go on"),
        };
        codec::auth(&mut out, &auth);
        all.push(out);
    }
}

/// Valid packets of one side.
pub(crate) fn samples(version: Version, from: Sender) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    match from {
        Sender::Client => from_clients(version, &mut all),
        Sender::Server => from_servers(version, &mut all),
    }
    from_both(version, &mut all);
    all
}
