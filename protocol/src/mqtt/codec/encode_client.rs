//! What only clients send. Every function appends one packet.

use crate::mqtt::{
    Connect, ConnectProperties, LastWill, Publish, Subscribe, SubscribeOptions, Unsubscribe,
    Version,
};

use super::{
    frame::kind,
    properties::id,
    publish::{Parts, PublishHead},
    write::{
        binary, first_byte, packet, properties, property_binary, property_flag, property_text,
        property_u16, property_u32, property_user, text, varint,
    },
};

/// Appends a CONNECT in the version it names. Properties that have their default are left out.
pub fn connect(out: &mut Vec<u8>, connect: &Connect<'_>) {
    let (name, level) = match connect.version {
        Version::V31 => ("MQIsdp", 3),
        Version::V311 => ("MQTT", 4),
        Version::V5 => ("MQTT", 5),
    };
    packet(out, first_byte(kind::CONNECT, 0), |out| {
        text(out, name);
        out.extend_from_slice(&[level, flags(connect)]);
        out.extend_from_slice(&connect.keep_alive_s.to_be_bytes());
        if connect.version == Version::V5 {
            properties(out, |out| connect_properties(out, &connect.properties));
        }
        text(out, connect.client_id);
        if let Some(last) = &connect.will {
            will(out, connect.version, last);
        }
        if let Some(name) = connect.user_name {
            text(out, name);
        }
        if let Some(password) = connect.password {
            binary(out, password);
        }
    });
}

fn flags(connect: &Connect<'_>) -> u8 {
    let will = connect
        .will
        .as_ref()
        .map_or(0, |will| 0x04 | will.qos.bits() << 3 | u8::from(will.retain) << 5);
    will | u8::from(connect.clean_start) << 1
        | u8::from(connect.password.is_some()) << 6
        | u8::from(connect.user_name.is_some()) << 7
}

fn connect_properties(out: &mut Vec<u8>, properties: &ConnectProperties<'_>) {
    let default = ConnectProperties::default();
    let unless = |value: u32, default: u32| (value != default).then_some(value);
    let unless_u16 = |value: u16, default: u16| (value != default).then_some(value);
    property_u32(
        out,
        id::SESSION_EXPIRY,
        unless(properties.session_expiry_s, default.session_expiry_s),
    );
    property_u16(
        out,
        id::RECEIVE_MAXIMUM,
        unless_u16(properties.receive_maximum, default.receive_maximum),
    );
    property_u32(
        out,
        id::MAXIMUM_PACKET_SIZE,
        unless(properties.maximum_packet_bytes, default.maximum_packet_bytes),
    );
    property_u16(
        out,
        id::TOPIC_ALIAS_MAXIMUM,
        unless_u16(properties.topic_alias_maximum, default.topic_alias_maximum),
    );
    if properties.request_response_information {
        property_flag(out, id::REQUEST_RESPONSE_INFORMATION, true);
    }
    if !properties.request_problem_information {
        property_flag(out, id::REQUEST_PROBLEM_INFORMATION, false);
    }
    property_text(out, id::AUTHENTICATION_METHOD, properties.authentication_method);
    property_binary(out, id::AUTHENTICATION_DATA, properties.authentication_data);
    property_user(out, &properties.user);
}

fn will(out: &mut Vec<u8>, version: Version, will: &LastWill<'_>) {
    if version == Version::V5 {
        properties(out, |out| {
            let delay = will.properties.delay_s;
            property_u32(out, id::WILL_DELAY, (delay != 0).then_some(delay));
            property_u32(out, id::MESSAGE_EXPIRY, will.properties.message_expiry_s);
            out.extend_from_slice(&will.properties.end_to_end);
        });
    }
    text(out, will.topic);
    binary(out, will.payload);
}

/// Appends a PUBLISH and returns where in the appended bytes the packet id stands (0 at `QoS` 0). Of its
/// properties the bytes of `end_to_end` are written, which hold the format indicator and the response topic.
pub fn publish_client(out: &mut Vec<u8>, version: Version, publish: &Publish<'_>) -> usize {
    let properties = &publish.properties;
    let head = PublishHead {
        dup: publish.dup,
        qos: publish.qos,
        retain: publish.retain,
        packet_id: publish.packet_id,
        subscription_ids: &properties.subscription_ids,
        message_expiry_s: properties.message_expiry_s,
        topic_alias: properties.topic_alias.map(|alias| (alias, true)),
        user: None,
    };
    let parts = Parts {
        head: &head,
        topic: publish.topic.as_bytes(),
        properties: (version == Version::V5).then_some(&*properties.end_to_end),
        payload: publish.payload,
    };
    parts.write(out)
}

/// Appends a SUBSCRIBE.
pub fn subscribe(out: &mut Vec<u8>, version: Version, subscribe: &Subscribe<'_>) {
    packet(out, first_byte(kind::SUBSCRIBE, 2), |out| {
        out.extend_from_slice(&subscribe.packet_id.get().to_be_bytes());
        if version == Version::V5 {
            properties(out, |out| {
                if let Some(subscription) = subscribe.subscription_id {
                    out.push(id::SUBSCRIPTION_ID);
                    varint(out, subscription as usize);
                }
            });
        }
        for filter in &subscribe.filters {
            text(out, filter.text);
            out.push(options(version, filter.options));
        }
    });
}

fn options(version: Version, options: SubscribeOptions) -> u8 {
    match version {
        Version::V31 | Version::V311 => options.qos.bits(),
        Version::V5 => {
            options.qos.bits()
                | u8::from(options.no_local) << 2
                | u8::from(options.retain_as_published) << 3
                | (options.retain_handling as u8) << 4
        }
    }
}

/// Appends an UNSUBSCRIBE.
pub fn unsubscribe(out: &mut Vec<u8>, version: Version, unsubscribe: &Unsubscribe<'_>) {
    packet(out, first_byte(kind::UNSUBSCRIBE, 2), |out| {
        out.extend_from_slice(&unsubscribe.packet_id.get().to_be_bytes());
        if version == Version::V5 {
            properties(out, |_| {});
        }
        for filter in &unsubscribe.filters {
            text(out, filter);
        }
    });
}

/// Appends a PINGREQ.
pub fn pingreq(out: &mut Vec<u8>) {
    out.extend_from_slice(&[first_byte(kind::PINGREQ, 0), 0]);
}
