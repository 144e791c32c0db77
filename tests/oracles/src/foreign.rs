//! The codecs of others behind one signature.

use std::panic::catch_unwind;

use bytes::BytesMut;
use tokio_util::codec::{Decoder as _, Encoder as _};

use crate::mqtt::Version;
use crate::mqtt::codec::{Sender, decode, decode_connect, frame};

const LIMIT: usize = 1 << 20;

/// What a codec makes of the bytes of one whole packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It refuses them, waits for more, or leaves some over.
    Refused,
    /// It reads them; as it would write what it read, if it can.
    Accepted(Option<Vec<u8>>),
    /// It panics.
    Panicked,
}

/// A codec of somebody else.
pub struct Foreign {
    /// Its crate.
    pub name: &'static str,
    read: fn(&[u8], Version) -> Option<Option<Vec<u8>>>,
}

/// All of them.
pub const FOREIGN: [Foreign; 4] = [
    Foreign { name: "flowsdk", read: flowsdk },
    Foreign { name: "mqtt-protocol-core", read: protocol_core },
    Foreign { name: "rmqtt-codec", read: rmqtt },
    Foreign { name: "rumqttc", read: rumqttc },
];

impl Foreign {
    /// Gives it the bytes. The version is 3.1.1 or 5.0.
    pub fn read(&self, wire: &[u8], version: Version) -> Verdict {
        match catch_unwind(|| (self.read)(wire, version)) {
            Ok(None) => Verdict::Refused,
            Ok(Some(again)) => Verdict::Accepted(again),
            Err(_) => Verdict::Panicked,
        }
    }
}

/// Whether our own codec accepts the bytes as one whole packet of that side.
pub fn ours(wire: &[u8], version: Version, from: Sender) -> bool {
    let whole = frame(wire, 1 << 20) == Ok(Some(wire.len()));
    // The first packet of a client says which version it speaks.
    let fits = wire.first() != Some(&0x10)
        || decode_connect(wire).is_ok_and(|connect| connect.version == version);
    whole && fits && decode(wire, version, from).is_ok()
}

fn flowsdk(wire: &[u8], version: Version) -> Option<Option<Vec<u8>>> {
    let level = if version == Version::V5 { 5 } else { 4 };
    let mut parser = flowsdk::mqtt_serde::parser::stream::MqttParser::new(4096, level);
    parser.feed(wire);
    let packet = parser.next_packet().ok()??;
    parser.buffer_mut().is_empty().then(|| packet.to_bytes().ok())
}

fn rmqtt(wire: &[u8], version: Version) -> Option<Option<Vec<u8>>> {
    let mut stream = BytesMut::from(wire);
    if wire.first() == Some(&0x10) {
        use rmqtt_codec::version::{ProtocolVersion, VersionCodec};
        let wanted = match version {
            Version::V5 => ProtocolVersion::MQTT5,
            Version::V31 | Version::V311 => ProtocolVersion::MQTT3,
        };
        if VersionCodec.decode(&mut stream).ok()?? != wanted {
            return None;
        }
    }
    let mut out = BytesMut::new();
    let written = if version == Version::V5 {
        let mut codec = rmqtt_codec::v5::Codec::new(0, 0);
        let (packet, _) = codec.decode(&mut stream).ok()??;
        codec.encode(packet, &mut out).is_ok()
    } else {
        let mut codec = rmqtt_codec::v3::Codec::new(0);
        let (packet, _) = codec.decode(&mut stream).ok()??;
        codec.encode(packet, &mut out).is_ok()
    };
    stream.is_empty().then(|| written.then(|| out.to_vec()))
}

fn rumqttc(wire: &[u8], version: Version) -> Option<Option<Vec<u8>>> {
    let mut stream = BytesMut::from(wire);
    let mut out = BytesMut::new();
    let written = if version == Version::V5 {
        let packet = rumqttc::v5::mqttbytes::v5::Packet::read(&mut stream, Some(1 << 20)).ok()?;
        packet.write(&mut out, None).is_ok()
    } else {
        let packet = rumqttc::mqttbytes::v4::Packet::read(&mut stream, LIMIT).ok()?;
        packet.write(&mut out, LIMIT).is_ok()
    };
    stream.is_empty().then(|| written.then(|| out.to_vec()))
}

/// It frames a packet and reads its body in two steps, between which a connection looks at the version.
fn protocol_core(wire: &[u8], version: Version) -> Option<Option<Vec<u8>>> {
    use mqtt::connection::{PacketBuildResult, PacketBuilder, PacketData};
    use mqtt::packet::{v3_1_1, v5_0};
    use mqtt_protocol_core::mqtt;

    let mut cursor = mqtt::common::Cursor::new(wire);
    let PacketBuildResult::Complete(raw) = PacketBuilder::new().feed(&mut cursor) else {
        return None;
    };
    if cursor.position() != wire.len() as u64 {
        return None;
    }
    macro_rules! read {
        ($packet:path) => {{
            type Read = $packet;
            raw.parse_exact(Read::parse).ok()?.to_continuous_buffer()
        }};
    }
    macro_rules! read_publish {
        ($packet:path) => {{
            type Read = $packet;
            let PacketData::Publish(body) = &raw.data else { return None };
            Read::parse(raw.flags(), body.clone()).ok()?.0.to_continuous_buffer()
        }};
    }
    Some(Some(match (version, raw.packet_type()) {
        (Version::V5, 1) => read!(v5_0::Connect),
        (Version::V5, 2) => read!(v5_0::Connack),
        (Version::V5, 3) => read_publish!(v5_0::Publish),
        (Version::V5, 4) => read!(v5_0::Puback),
        (Version::V5, 5) => read!(v5_0::Pubrec),
        (Version::V5, 6) => read!(v5_0::Pubrel),
        (Version::V5, 7) => read!(v5_0::Pubcomp),
        (Version::V5, 8) => read!(v5_0::Subscribe),
        (Version::V5, 9) => read!(v5_0::Suback),
        (Version::V5, 10) => read!(v5_0::Unsubscribe),
        (Version::V5, 11) => read!(v5_0::Unsuback),
        (Version::V5, 12) => read!(v5_0::Pingreq),
        (Version::V5, 13) => read!(v5_0::Pingresp),
        (Version::V5, 14) => read!(v5_0::Disconnect),
        (Version::V5, 15) => read!(v5_0::Auth),
        (_, 1) => read!(v3_1_1::Connect),
        (_, 2) => read!(v3_1_1::Connack),
        (_, 3) => read_publish!(v3_1_1::Publish),
        (_, 4) => read!(v3_1_1::Puback),
        (_, 5) => read!(v3_1_1::Pubrec),
        (_, 6) => read!(v3_1_1::Pubrel),
        (_, 7) => read!(v3_1_1::Pubcomp),
        (_, 8) => read!(v3_1_1::Subscribe),
        (_, 9) => read!(v3_1_1::Suback),
        (_, 10) => read!(v3_1_1::Unsubscribe),
        (_, 11) => read!(v3_1_1::Unsuback),
        (_, 12) => read!(v3_1_1::Pingreq),
        (_, 13) => read!(v3_1_1::Pingresp),
        (_, 14) => read!(v3_1_1::Disconnect),
        _ => return None,
    }))
}
