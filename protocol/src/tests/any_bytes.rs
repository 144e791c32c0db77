//! What must hold of any bytes whatsoever, for each thing that reads them. A breach panics.
//!
//! The fuzz targets outside the workspace include this file as it is, so it uses nothing but the public face of the room.

use std::time::Duration;

use bytes::Bytes;

use crate::mqtt::codec::{self, AckKind, Sender};
use crate::mqtt::{Packet, Version};
use crate::peer::{Acceptor, Dialler, Frame, FrameBuffer, Identity, OwnInterest, PeerLimits};
use crate::session::SessionRecord;
use crate::{
    GatewayId, Incarnation, Now, Publication, Refs, TopicFilter, TopicName, Wall, levels, matches,
};

const LIMIT: u32 = 1 << 20;

/// A stream that begins with an MQTT packet, in a connection of that version.
///
/// A frame lies within the stream, is read without what follows it, and what it means survives being written again.
pub(crate) fn packet(stream: &[u8], version: Version) {
    let Ok(Some(len)) = codec::frame(stream, LIMIT) else {
        // Not whole, or no packet: then it decodes as none either.
        assert!(codec::decode(stream, version, Sender::Client).is_err());
        assert!(codec::decode_connect(stream).is_err());
        return;
    };
    assert!((2..=stream.len()).contains(&len));
    let whole = &stream[..len];
    for from in [Sender::Client, Sender::Server] {
        if len < stream.len() {
            assert!(codec::decode(stream, version, from).is_err(), "more than one packet is taken");
        }
        let Ok(packet) = codec::decode(whole, version, from) else { continue };
        let mut again = Vec::new();
        write(&mut again, &packet, version);
        assert_eq!(codec::frame(&again, u32::MAX), Ok(Some(again.len())));
        let second = codec::decode(&again, version, from);
        assert_eq!(second.as_ref(), Ok(&packet), "{again:x?}");
        let mut third = Vec::new();
        write(&mut third, &packet, version);
        assert_eq!(again, third);
    }
    if let Ok(connect) = codec::decode_connect(whole) {
        assert_eq!(codec::connect_version(whole), Some(connect.version));
    }
}

/// Appends a packet of any kind.
pub(crate) fn write(out: &mut Vec<u8>, packet: &Packet<'_>, version: Version) {
    match packet {
        Packet::Connect(connect) => codec::connect(out, connect),
        Packet::ConnAck(ack) => codec::connack(out, version, ack),
        Packet::Publish(publish) => drop(codec::publish_client(out, version, publish)),
        Packet::PubAck(ack) => codec::ack(out, version, AckKind::PubAck, ack),
        Packet::PubRec(ack) => codec::ack(out, version, AckKind::PubRec, ack),
        Packet::PubRel(ack) => codec::ack(out, version, AckKind::PubRel, ack),
        Packet::PubComp(ack) => codec::ack(out, version, AckKind::PubComp, ack),
        Packet::Subscribe(subscribe) => codec::subscribe(out, version, subscribe),
        Packet::SubAck(ack) => codec::suback(out, version, ack),
        Packet::Unsubscribe(unsubscribe) => codec::unsubscribe(out, version, unsubscribe),
        Packet::UnsubAck(ack) => codec::unsuback(out, version, ack),
        Packet::PingReq => codec::pingreq(out),
        Packet::PingResp => codec::pingresp(out),
        Packet::Disconnect(disconnect) => codec::disconnect(out, version, disconnect),
        Packet::Auth(auth) => codec::auth(out, auth),
    }
}

/// A property section, in a PUBLISH, as a will's and as CONNECT's own.
pub(crate) fn properties(section: &[u8]) {
    let section = &section[..section.len().min(120)];
    let length = [u8::try_from(section.len()).unwrap()];
    let framed = |first: u8, before: &[u8], behind: &[u8]| {
        let body = [before, &length, section, behind].concat();
        let mut out = vec![first];
        if body.len() < 128 {
            out.push(u8::try_from(body.len()).unwrap());
        } else {
            out.extend([u8::try_from(body.len() & 0x7F | 0x80).unwrap(), 1]);
        }
        out.extend(body);
        out
    };
    packet(&framed(0x30, b"\x00\x01a", b"x"), Version::V5);
    packet(&framed(0x10, b"\x00\x04MQTT\x05\x02\x00\x00", b"\x00\x01c"), Version::V5);
    let will = framed(0x10, b"\x00\x04MQTT\x05\x06\x00\x00\x00\x00\x01c", b"\x00\x01w\x00\x00");
    packet(&will, Version::V5);
    packet(&framed(0x82, b"\x00\x01", b"\x00\x01a\x00"), Version::V5);
    packet(&framed(0x20, b"\x00\x00", b""), Version::V5);
    packet(&framed(0x40, b"\x00\x01\x00", b""), Version::V5);
    packet(&framed(0xE0, b"\x00", b""), Version::V5);
    packet(&framed(0xF0, b"\x18", b""), Version::V5);
}

/// A text as topic name, filter and shared subscription.
pub(crate) fn topics(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let name = TopicName::new(text);
    assert_eq!(name.is_ok(), TopicName::check(text).is_ok());
    let filter = TopicFilter::new(text);
    if name.is_ok() {
        // What has no wildcard is a filter for itself only.
        assert!(filter.as_ref().is_ok_and(|filter| !filter.has_wildcard()), "{text:?}");
        assert!(matches(text, text), "{text:?}");
    }
    if let Ok(filter) = &filter {
        assert_eq!(filter.as_str(), text);
        let topic = levels(text).map(|level| match level {
            "+" | "#" => "x",
            other => other,
        });
        let topic = topic.collect::<Vec<_>>().join("/");
        if TopicName::new(&topic).is_ok() && !text.starts_with('$') {
            assert!(topic.starts_with('$') || matches(text, &topic), "{text:?} {topic:?}");
        }
    }
    if let Ok((share, filter)) = TopicFilter::parse_subscription(text) {
        let again = match share {
            Some(share) => format!("$share/{}/{}", share.as_str(), filter.as_str()),
            None => filter.as_str().to_owned(),
        };
        assert_eq!(again, text);
    }
}

/// What a peer sends before and after its greeting, cut into frames.
pub(crate) fn peer_stream(stream: &[u8]) {
    let mut buffer = FrameBuffer::new(1 << 16);
    let half = stream.len() / 2;
    for piece in [&stream[..half], &stream[half..]] {
        buffer.space().extend_from_slice(piece);
        loop {
            match buffer.take() {
                Ok(Some(frame)) => reads_back(&frame),
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
    assert!(buffer.space().len() <= stream.len());
}

fn reads_back(frame: &Frame) {
    let mut out = Vec::new();
    frame.encode(&mut out);
    let body = out.len() - 4;
    assert_eq!(out[..4], u32::try_from(body).unwrap().to_be_bytes());
    assert_eq!(Frame::decode(&Bytes::from(out).slice(4..)).as_ref(), Ok(frame));
}

/// The same given to both machines of a link. What they answer has a bound, whatever they are told.
pub(crate) fn peer_machines(stream: &[u8]) {
    let (me, you) = (identity("gw-1", 1), identity("gw-2", 2));
    let now = Now { mono: Duration::from_secs(1), wall: Wall(1) };
    let limits = PeerLimits { max_frame_bytes: 1 << 16, max_releases: 8, ..PeerLimits::default() };
    let mut acceptor = Acceptor::new(me.clone(), you.gateway.clone(), limits);
    acceptor.handle_connected(now);
    let mut dialler = Dialler::new(me, you.gateway, limits);
    dialler.handle_connected(now);
    let (mut buffer, mut out, mut frames) = (FrameBuffer::new(1 << 16), Vec::new(), 0);
    buffer.space().extend_from_slice(stream);
    let own = OwnInterest::default();
    let (mut accepting, mut dialling) = (true, true);
    while let Ok(Some(frame)) = buffer.take() {
        frames += 1;
        accepting = accepting && acceptor.handle_frame(now, frame.clone()).is_ok();
        dialling = dialling && dialler.handle_frame(now, frame).is_ok();
        while acceptor.poll_event().is_some() || dialler.poll_event().is_some() {}
        while acceptor.poll_write(&mut out) || dialler.poll_write(&mut out, &own) {}
        assert!(out.len() <= 1024 * (frames + 1), "{} bytes for {frames} frames", out.len());
    }
}

fn identity(name: &str, life: u64) -> Identity {
    let gateway = GatewayId::new(name).unwrap();
    Identity { fleet: "fleet".to_owned(), gateway, incarnation: Incarnation(life) }
}

/// References of a stored publication.
pub(crate) fn refs(bytes: &[u8]) {
    let Some(refs) = Refs::from_bytes(bytes) else { return };
    assert_eq!(refs.as_bytes(), bytes);
    assert_eq!(refs.len(), refs.iter().count());
    assert!(refs.iter().is_sorted_by(|a, b| a.0 < b.0));
}

/// A session's document.
pub(crate) fn session_record(bytes: &[u8]) {
    if let Some(record) = SessionRecord::decode(&Bytes::copy_from_slice(bytes)) {
        let again = record.encode();
        assert_eq!(SessionRecord::decode(&again).as_ref(), Some(&record));
        assert_eq!(again[..8], SessionRecord::fence(record.epoch));
    }
}

/// A stored or forwarded publication.
pub(crate) fn publication(bytes: &[u8]) {
    if let Some(publication) = Publication::decode(&Bytes::copy_from_slice(bytes)) {
        let mut again = Vec::new();
        publication.encode(&mut again);
        assert_eq!(again.len(), publication.encoded_len());
        assert_eq!(Publication::decode(&again.into()).as_ref(), Some(&publication));
        let parts =
            [publication.topic().as_bytes(), publication.properties(), publication.payload()];
        assert_eq!(parts.concat().len(), publication.len_bytes());
    }
}
