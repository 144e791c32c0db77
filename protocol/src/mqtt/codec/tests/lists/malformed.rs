//! What no receiver may accept.

use crate::mqtt::{ReasonCode, Version, codec::Sender};

use super::{ALL, Case, OLD, V5, V31, V311};

use ReasonCode::{
    ClientIdentifierNotValid, MalformedPacket, ProtocolError, TopicAliasInvalid, TopicNameInvalid,
    UnsupportedProtocolVersion,
};
use Sender::{Client, Server};

type Row = (&'static [Version], Sender, &'static str, &'static str, ReasonCode, &'static str);

/// All of them.
pub(crate) fn malformed() -> Vec<Case> {
    let groups: [(&str, &[Row]); 13] = [
        ("header", HEADER),
        ("length", LENGTH),
        ("direction", DIRECTION),
        ("connect", CONNECT),
        ("connect properties", CONNECT_PROPERTIES),
        ("will", WILL),
        ("publish", PUBLISH),
        ("publish properties", PUBLISH_PROPERTIES),
        ("string", STRING),
        ("acknowledgement", ACKNOWLEDGEMENT),
        ("subscribe", SUBSCRIBE),
        ("end", END),
        ("from a server", FROM_A_SERVER),
    ];
    let cases = groups.iter().flat_map(|(group, rows)| {
        rows.iter().map(|&(versions, from, name, wire, reason, statement)| Case {
            group,
            name,
            versions,
            from,
            wire,
            wrong: Some((reason, statement)),
        })
    });
    cases.collect()
}

#[rustfmt::skip]
const HEADER: &[Row] = &[
    (ALL, Client, "packet type 0", "00 []", MalformedPacket, "MQTT5-4.13.1-1"),
    (ALL, Client, "packet type 0 with flags", "0f []", MalformedPacket, "MQTT5-4.13.1-1"),
    (V311, Client, "flags of connect", "11 ['MQTT' 04 02 003c 'c']", MalformedPacket, "MQTT5-2.1.3-1"),
    (V5, Client, "flags of connect", "18 ['MQTT' 05 02 003c [] 'c']", MalformedPacket, "MQTT5-2.1.3-1"),
    (OLD, Client, "qos 3", "36 ['a' 0001]", MalformedPacket, "MQTT5-3.3.1-4"),
    (V5, Client, "qos 3", "36 ['a' 0001 []]", MalformedPacket, "MQTT5-3.3.1-4"),
    (V5, Client, "qos 3 with retain", "37 ['a' 0001 []]", MalformedPacket, "MQTT5-3.3.1-4"),
    (V5, Client, "qos 3 with dup", "3e ['a' 0001 []]", MalformedPacket, "MQTT5-3.3.1-4"),
    (OLD, Client, "dup at qos 0", "38 ['a']", MalformedPacket, "MQTT5-3.3.1-2"),
    (V5, Client, "dup at qos 0", "38 ['a' []]", MalformedPacket, "MQTT5-3.3.1-2"),
    (V5, Client, "dup and retain at qos 0", "39 ['a' []]", MalformedPacket, "MQTT5-3.3.1-2"),
    (ALL, Client, "flags of puback", "41 [0001]", MalformedPacket, "MQTT5-2.1.3-1"),
    (ALL, Client, "flags of pubrec", "52 [0001]", MalformedPacket, "MQTT5-2.1.3-1"),
    (ALL, Client, "flags of pubrel are 0", "60 [0001]", MalformedPacket, "MQTT5-3.6.1-1"),
    (ALL, Client, "flags of pubrel are 3", "63 [0001]", MalformedPacket, "MQTT5-3.6.1-1"),
    (ALL, Client, "flags of pubcomp", "74 [0001]", MalformedPacket, "MQTT5-2.1.3-1"),
    (OLD, Client, "flags of subscribe are 0", "80 [0001 'a' 00]", MalformedPacket, "MQTT5-3.8.1-1"),
    (V5, Client, "flags of subscribe are 0", "80 [0001 [] 'a' 00]", MalformedPacket, "MQTT5-3.8.1-1"),
    (V5, Client, "flags of subscribe are 15", "8f [0001 [] 'a' 00]", MalformedPacket, "MQTT5-3.8.1-1"),
    (OLD, Client, "flags of unsubscribe are 0", "a0 [0001 'a']", MalformedPacket, "MQTT5-3.10.1-1"),
    (V5, Client, "flags of unsubscribe are 0", "a0 [0001 [] 'a']", MalformedPacket, "MQTT5-3.10.1-1"),
    (ALL, Client, "flags of pingreq", "c1 []", MalformedPacket, "MQTT5-2.1.3-1"),
    (ALL, Client, "flags of disconnect", "e1 []", MalformedPacket, "MQTT5-3.14.1-1"),
    (V5, Client, "flags of auth", "f1 [18 [15 'scram']]", MalformedPacket, "MQTT5-3.15.1-1"),
    (OLD, Client, "type 15 before 5.0", "f0 []", MalformedPacket, "MQTT5-4.13.1-1"),
    (OLD, Client, "auth before 5.0", "f0 [18 [15 'scram']]", MalformedPacket, "MQTT5-4.13.1-1"),
];

#[rustfmt::skip]
const LENGTH: &[Row] = &[
    (ALL, Client, "remaining length of five bytes", "c0 ffffffff01", MalformedPacket, "MQTT5-1.5.5-1"),
    (ALL, Client, "remaining length of five bytes that say 0", "c0 8080808000", MalformedPacket, "MQTT5-1.5.5-1"),
    (ALL, Client, "remaining length 0 in two bytes", "c0 8000", MalformedPacket, "MQTT5-1.5.5-1"),
    (ALL, Client, "remaining length 0 in four bytes", "c0 80808000", MalformedPacket, "MQTT5-1.5.5-1"),
    (ALL, Client, "remaining length 2 in three bytes", "40 828000 0001", MalformedPacket, "MQTT5-1.5.5-1"),
    (ALL, Client, "pingreq with a body", "c0 [00]", MalformedPacket, "MQTT5-4.13.1-1"),
    (OLD, Client, "disconnect with a body", "e0 [00]", MalformedPacket, "MQTT5-4.13.1-1"),
    (ALL, Client, "puback without an id", "40 []", MalformedPacket, "MQTT5-4.13.1-1"),
    (ALL, Client, "puback with half an id", "40 [00]", MalformedPacket, "MQTT5-4.13.1-1"),
    (ALL, Client, "publish without a topic", "30 []", MalformedPacket, "MQTT5-4.13.1-1"),
    (ALL, Client, "topic of half a length", "30 [00]", MalformedPacket, "MQTT5-4.13.1-1"),
    (ALL, Client, "topic beyond the packet", "30 [0005 <a/b>]", MalformedPacket, "MQTT5-4.13.1-1"),
    (ALL, Client, "qos 1 publish that ends behind its topic", "32 ['a/b']", MalformedPacket, "MQTT5-4.13.1-1"),
    (ALL, Client, "qos 2 publish with half an id", "34 ['a/b' 00]", MalformedPacket, "MQTT5-4.13.1-1"),
    (V5, Client, "publish without a property length", "30 ['a/b']", MalformedPacket, "MQTT5-4.13.1-1"),
    (V5, Client, "property length beyond the packet", "30 ['a/b' 05 0101]", MalformedPacket, "MQTT5-4.13.1-1"),
    (V5, Client, "property length of five bytes", "30 ['a/b' ffffffff01]", MalformedPacket, "MQTT5-1.5.5-1"),
    (V5, Client, "property length 0 in two bytes", "30 ['a/b' 8000 <x>]", MalformedPacket, "MQTT5-1.5.5-1"),
    (V5, Client, "property length that is cut", "30 ['a/b' 80]", MalformedPacket, "MQTT5-4.13.1-1"),
    (ALL, Client, "connect without anything", "10 []", MalformedPacket, "MQTT5-4.13.1-1"),
    (V311, Client, "connect that ends behind its level", "10 ['MQTT' 04]", MalformedPacket, "MQTT5-4.13.1-1"),
    (V311, Client, "connect with half a keep alive", "10 ['MQTT' 04 02 00]", MalformedPacket, "MQTT5-4.13.1-1"),
    (V311, Client, "connect without a client id", "10 ['MQTT' 04 02 003c]", MalformedPacket, "MQTT5-4.13.1-1"),
    (V5, Client, "connect without a property length", "10 ['MQTT' 05 02 003c]", MalformedPacket, "MQTT5-4.13.1-1"),
    (V5, Client, "client id beyond the packet", "10 ['MQTT' 05 02 003c [] 0009 <c>]", MalformedPacket, "MQTT5-4.13.1-1"),
    (OLD, Client, "subscribe without an id", "82 []", MalformedPacket, "MQTT5-4.13.1-1"),
    (V5, Client, "subscribe without a property length", "82 [0001]", MalformedPacket, "MQTT5-4.13.1-1"),
    (OLD, Client, "subscribe that ends behind its filter", "82 [0001 'a/b']", MalformedPacket, "MQTT5-4.13.1-1"),
    (V5, Client, "subscribe that ends behind its filter", "82 [0001 [] 'a/b']", MalformedPacket, "MQTT5-4.13.1-1"),
    (V5, Client, "second filter without options", "82 [0001 [] 'a' 00 'b']", MalformedPacket, "MQTT5-4.13.1-1"),
    (OLD, Client, "filter beyond the packet", "a2 [0001 0009 <a>]", MalformedPacket, "MQTT5-4.13.1-1"),
    (V5, Client, "user property without a value", "30 ['a' [26 'k']]", MalformedPacket, "MQTT5-4.13.1-1"),
    (V5, Client, "user property beyond its section", "30 ['a' 06 26 'k' 'v' <payload>]", MalformedPacket, "MQTT5-4.13.1-1"),
    (V5, Client, "four-byte property of three bytes", "30 ['a' [02 000000]]", MalformedPacket, "MQTT5-4.13.1-1"),
    (V5, Client, "binary property beyond its section", "30 ['a' [09 0005 00]]", MalformedPacket, "MQTT5-4.13.1-1"),
];

#[rustfmt::skip]
const DIRECTION: &[Row] = &[
    (OLD, Client, "connack from a client", "20 [0000]", ProtocolError, "MQTT5-4.13.1-1"),
    (V5, Client, "connack from a client", "20 [0000 []]", ProtocolError, "MQTT5-4.13.1-1"),
    (OLD, Client, "suback from a client", "90 [0001 00]", ProtocolError, "MQTT5-4.13.1-1"),
    (V5, Client, "suback from a client", "90 [0001 [] 00]", ProtocolError, "MQTT5-4.13.1-1"),
    (OLD, Client, "unsuback from a client", "b0 [0001]", ProtocolError, "MQTT5-4.13.1-1"),
    (V5, Client, "unsuback from a client", "b0 [0001 [] 00]", ProtocolError, "MQTT5-4.13.1-1"),
    (ALL, Client, "pingresp from a client", "d0 []", ProtocolError, "MQTT5-4.13.1-1"),
    (V5, Server, "connect from a server", "10 ['MQTT' 05 02 003c [] 'c']", ProtocolError, "MQTT5-4.13.1-1"),
    (V5, Server, "subscribe from a server", "82 [0001 [] 'a' 00]", ProtocolError, "MQTT5-4.13.1-1"),
    (V5, Server, "unsubscribe from a server", "a2 [0001 [] 'a']", ProtocolError, "MQTT5-4.13.1-1"),
    (ALL, Server, "pingreq from a server", "c0 []", ProtocolError, "MQTT5-4.13.1-1"),
    (OLD, Server, "disconnect from a server before 5.0", "e0 []", ProtocolError, "MQTT5-4.13.1-1"),
    (V5, Client, "subscription identifier from a client", "30 ['a' [0b 01]]", ProtocolError, "MQTT5-3.3.4-6"),
    (V5, Client, "server reference from a client", "e0 [00 [1c 'other']]", MalformedPacket, "MQTT5-4.13.1-1"),
    (V5, Server, "session expiry from a server", "e0 [00 [11 00000001]]", MalformedPacket, "MQTT5-4.13.1-1"),
    (V5, Client, "server shutting down from a client", "e0 [8b]", ProtocolError, "MQTT5-3.14.2-1"),
    (V5, Server, "disconnect with will from a server", "e0 [04]", ProtocolError, "MQTT5-3.14.2-1"),
    (V5, Server, "re-authenticate from a server", "f0 [19 [15 'scram']]", ProtocolError, "MQTT5-3.15.2-1"),
    (V5, Client, "authentication succeeded from a client", "f0 [00 [15 'scram']]", ProtocolError, "MQTT5-3.15.2-1"),
];

#[rustfmt::skip]
const CONNECT: &[Row] = &[
    (V311, Client, "protocol name in lower case", "10 ['mqtt' 04 02 003c 'c']", UnsupportedProtocolVersion, "MQTT5-3.1.2-1"),
    (V5, Client, "empty protocol name", "10 ['' 05 02 003c [] 'c']", UnsupportedProtocolVersion, "MQTT5-3.1.2-1"),
    (V5, Client, "protocol name with a letter too many", "10 ['MQTTX' 05 02 003c [] 'c']", UnsupportedProtocolVersion, "MQTT5-3.1.2-1"),
    (V311, Client, "level 0", "10 ['MQTT' 00 02 003c 'c']", UnsupportedProtocolVersion, "MQTT5-3.1.2-2"),
    (V311, Client, "level 6", "10 ['MQTT' 06 02 003c 'c']", UnsupportedProtocolVersion, "MQTT5-3.1.2-2"),
    (V31, Client, "level 3 with the newer name", "10 ['MQTT' 03 02 003c 'c']", UnsupportedProtocolVersion, "MQTT5-3.1.2-2"),
    (V31, Client, "level 4 with the older name", "10 ['MQIsdp' 04 02 003c 'c']", UnsupportedProtocolVersion, "MQTT5-3.1.2-2"),
    (V311, Client, "level of a bridge", "10 ['MQTT' 84 02 003c 'c']", UnsupportedProtocolVersion, "MQTT5-3.1.2-2"),
    (V311, Client, "reserved connect flag", "10 ['MQTT' 04 03 003c 'c']", MalformedPacket, "MQTT5-3.1.2-3"),
    (V5, Client, "reserved connect flag", "10 ['MQTT' 05 03 003c [] 'c']", MalformedPacket, "MQTT5-3.1.2-3"),
    (V311, Client, "password without a user name", "10 ['MQTT' 04 42 003c 'c' 'p']", MalformedPacket, "MQTT3-3.1.2-22"),
    (V311, Client, "empty id without a clean session", "10 ['MQTT' 04 00 003c '']", ClientIdentifierNotValid, "MQTT3-3.1.3-8"),
    (V311, Client, "user name flag without a user name", "10 ['MQTT' 04 82 003c 'c']", MalformedPacket, "MQTT5-4.13.1-1"),
    (V5, Client, "user name flag without a user name", "10 ['MQTT' 05 82 003c [] 'c']", MalformedPacket, "MQTT5-4.13.1-1"),
    (V5, Client, "password flag without a password", "10 ['MQTT' 05 c2 003c [] 'c' 'n']", MalformedPacket, "MQTT5-4.13.1-1"),
    (V311, Client, "bytes behind the client id", "10 ['MQTT' 04 02 003c 'c' <!>]", MalformedPacket, "MQTT5-4.13.1-1"),
    (V5, Client, "user name without its flag", "10 ['MQTT' 05 02 003c [] 'c' 'n']", MalformedPacket, "MQTT5-4.13.1-1"),
    (V5, Client, "bytes behind the password", "10 ['MQTT' 05 c2 003c [] 'c' 'n' 'p' 00]", MalformedPacket, "MQTT5-4.13.1-1"),
    (V311, Client, "client id that is not utf-8", "10 ['MQTT' 04 02 003c {ff}]", MalformedPacket, "MQTT5-1.5.4-1"),
    (V5, Client, "client id with a null", "10 ['MQTT' 05 02 003c [] {610062}]", MalformedPacket, "MQTT5-1.5.4-2"),
    (V5, Client, "user name that is not utf-8", "10 ['MQTT' 05 82 003c [] 'c' {c080}]", MalformedPacket, "MQTT5-1.5.4-1"),
    (V311, Client, "user name with a null", "10 ['MQTT' 04 82 003c 'c' {00}]", MalformedPacket, "MQTT5-1.5.4-2"),
];

#[rustfmt::skip]
const CONNECT_PROPERTIES: &[Row] = &[
    (V5, Client, "receive maximum 0", "10 ['MQTT' 05 02 003c [21 0000] 'c']", ProtocolError, "MQTT5-4.9.0-1"),
    (V5, Client, "maximum packet size 0", "10 ['MQTT' 05 02 003c [27 00000000] 'c']", ProtocolError, "MQTT5-4.13.1-1"),
    (V5, Client, "request problem information 2", "10 ['MQTT' 05 02 003c [17 02] 'c']", ProtocolError, "MQTT5-4.13.1-1"),
    (V5, Client, "request response information 2", "10 ['MQTT' 05 02 003c [19 02] 'c']", ProtocolError, "MQTT5-4.13.1-1"),
    (V5, Client, "session expiry twice", "10 ['MQTT' 05 02 003c [11 00000001 11 00000001] 'c']", ProtocolError, "MQTT5-4.13.1-1"),
    (V5, Client, "receive maximum twice", "10 ['MQTT' 05 02 003c [21 0001 21 0002] 'c']", ProtocolError, "MQTT5-4.13.1-1"),
    (V5, Client, "topic alias maximum twice", "10 ['MQTT' 05 02 003c [22 0001 22 0001] 'c']", ProtocolError, "MQTT5-4.13.1-1"),
    (V5, Client, "authentication method twice", "10 ['MQTT' 05 02 003c [15 'a' 15 'b'] 'c']", ProtocolError, "MQTT5-4.13.1-1"),
    (V5, Client, "authentication data without a method", "10 ['MQTT' 05 02 003c [16 {00}] 'c']", ProtocolError, "MQTT5-4.13.1-1"),
    (V5, Client, "payload format in connect", "10 ['MQTT' 05 02 003c [01 01] 'c']", MalformedPacket, "MQTT5-4.13.1-1"),
    (V5, Client, "will delay among the connect properties", "10 ['MQTT' 05 02 003c [18 00000001] 'c']", MalformedPacket, "MQTT5-4.13.1-1"),
    (V5, Client, "reason string in connect", "10 ['MQTT' 05 02 003c [1f 'why'] 'c']", MalformedPacket, "MQTT5-4.13.1-1"),
    (V5, Client, "unknown property 0x7f", "10 ['MQTT' 05 02 003c [7f] 'c']", MalformedPacket, "MQTT5-4.13.1-1"),
    (V5, Client, "unknown property 0", "10 ['MQTT' 05 02 003c [00] 'c']", MalformedPacket, "MQTT5-4.13.1-1"),
    (V5, Client, "authentication method that is not utf-8", "10 ['MQTT' 05 02 003c [15 {80}] 'c']", MalformedPacket, "MQTT5-1.5.4-1"),
    (V5, Client, "section that ends within a property", "10 ['MQTT' 05 02 003c 03 11 000000 01 'c']", MalformedPacket, "MQTT5-4.13.1-1"),
];

#[rustfmt::skip]
const WILL: &[Row] = &[
    (V311, Client, "will qos 3", "10 ['MQTT' 04 1e 003c 'c' 'w' 'm']", MalformedPacket, "MQTT5-3.1.2-12"),
    (V5, Client, "will qos 3", "10 ['MQTT' 05 1e 003c [] 'c' [] 'w' 'm']", MalformedPacket, "MQTT5-3.1.2-12"),
    (V311, Client, "will qos without a will", "10 ['MQTT' 04 0a 003c 'c']", MalformedPacket, "MQTT5-3.1.2-11"),
    (V5, Client, "will qos without a will", "10 ['MQTT' 05 12 003c [] 'c']", MalformedPacket, "MQTT5-3.1.2-11"),
    (V311, Client, "will retain without a will", "10 ['MQTT' 04 22 003c 'c']", MalformedPacket, "MQTT5-3.1.2-13"),
    (V5, Client, "will retain without a will", "10 ['MQTT' 05 22 003c [] 'c']", MalformedPacket, "MQTT5-3.1.2-13"),
    (V311, Client, "will flag without a will", "10 ['MQTT' 04 06 003c 'c']", MalformedPacket, "MQTT5-4.13.1-1"),
    (V5, Client, "will without properties", "10 ['MQTT' 05 06 003c [] 'c']", MalformedPacket, "MQTT5-4.13.1-1"),
    (V5, Client, "will without a message", "10 ['MQTT' 05 06 003c [] 'c' [] 'w']", MalformedPacket, "MQTT5-4.13.1-1"),
    (V311, Client, "will message beyond the packet", "10 ['MQTT' 04 06 003c 'c' 'w' 0009 <m>]", MalformedPacket, "MQTT5-4.13.1-1"),
    (V311, Client, "will topic with a wildcard", "10 ['MQTT' 04 06 003c 'c' 'w/#' 'm']", TopicNameInvalid, "MQTT5-3.3.2-2"),
    (V5, Client, "will topic with a wildcard", "10 ['MQTT' 05 06 003c [] 'c' [] 'w/+' 'm']", TopicNameInvalid, "MQTT5-3.3.2-2"),
    (V311, Client, "empty will topic", "10 ['MQTT' 04 06 003c 'c' '' 'm']", TopicNameInvalid, "MQTT5-4.7.3-1"),
    (V5, Client, "empty will topic", "10 ['MQTT' 05 06 003c [] 'c' [] '' 'm']", TopicNameInvalid, "MQTT5-4.7.3-1"),
    (V5, Client, "will topic with a null", "10 ['MQTT' 05 06 003c [] 'c' [] {0077} 'm']", MalformedPacket, "MQTT5-1.5.4-2"),
    (V5, Client, "will delay twice", "10 ['MQTT' 05 06 003c [] 'c' [18 00000001 18 00000001] 'w' 'm']", ProtocolError, "MQTT5-4.13.1-1"),
    (V5, Client, "payload format of a will is 2", "10 ['MQTT' 05 06 003c [] 'c' [01 02] 'w' 'm']", ProtocolError, "MQTT5-4.13.1-1"),
    (V5, Client, "response topic of a will with a wildcard", "10 ['MQTT' 05 06 003c [] 'c' [08 'r/#'] 'w' 'm']", ProtocolError, "MQTT5-3.3.2-14"),
    (V5, Client, "topic alias in a will", "10 ['MQTT' 05 06 003c [] 'c' [23 0001] 'w' 'm']", MalformedPacket, "MQTT5-4.13.1-1"),
    (V5, Client, "session expiry in a will", "10 ['MQTT' 05 06 003c [] 'c' [11 00000001] 'w' 'm']", MalformedPacket, "MQTT5-4.13.1-1"),
];

#[rustfmt::skip]
const PUBLISH: &[Row] = &[
    (OLD, Client, "empty topic", "30 ['' <x>]", ProtocolError, "MQTT5-4.7.3-1"),
    (V5, Client, "empty topic without an alias", "30 ['' [] <x>]", ProtocolError, "MQTT5-4.7.3-1"),
    (OLD, Client, "topic with #", "30 ['a/#']", TopicNameInvalid, "MQTT5-3.3.2-2"),
    (V5, Client, "topic with #", "30 ['a/#' []]", TopicNameInvalid, "MQTT5-3.3.2-2"),
    (OLD, Client, "topic with +", "30 ['+/a']", TopicNameInvalid, "MQTT5-3.3.2-2"),
    (V5, Client, "topic with + inside a level", "30 ['a/b+c' []]", TopicNameInvalid, "MQTT5-3.3.2-2"),
    (OLD, Client, "id 0 at qos 1", "32 ['a' 0000 <x>]", ProtocolError, "MQTT5-2.2.1-3"),
    (V5, Client, "id 0 at qos 1", "32 ['a' 0000 [] <x>]", ProtocolError, "MQTT5-2.2.1-3"),
    (V5, Client, "id 0 at qos 2", "34 ['a' 0000 [] <x>]", ProtocolError, "MQTT5-2.2.1-3"),
];

#[rustfmt::skip]
const PUBLISH_PROPERTIES: &[Row] = &[
    (V5, Client, "topic alias 0", "30 ['a' [23 0000]]", TopicAliasInvalid, "MQTT5-3.3.2-8"),
    (V5, Client, "topic alias twice", "30 ['a' [23 0001 23 0001]]", ProtocolError, "MQTT5-4.13.1-1"),
    (V5, Client, "payload format 2", "30 ['a' [01 02]]", ProtocolError, "MQTT5-4.13.1-1"),
    (V5, Client, "payload format twice", "30 ['a' [01 01 01 01]]", ProtocolError, "MQTT5-4.13.1-1"),
    (V5, Client, "message expiry twice", "30 ['a' [02 00000001 02 00000001]]", ProtocolError, "MQTT5-4.13.1-1"),
    (V5, Client, "content type twice", "30 ['a' [03 't' 03 't']]", ProtocolError, "MQTT5-4.13.1-1"),
    (V5, Client, "response topic twice", "30 ['a' [08 'r' 08 'r']]", ProtocolError, "MQTT5-4.13.1-1"),
    (V5, Client, "correlation data twice", "30 ['a' [09 {00} 09 {00}]]", ProtocolError, "MQTT5-4.13.1-1"),
    (V5, Client, "response topic with #", "30 ['a' [08 '#']]", ProtocolError, "MQTT5-3.3.2-14"),
    (V5, Client, "response topic with +", "30 ['a' [08 'r/+/s']]", ProtocolError, "MQTT5-3.3.2-14"),
    (V5, Client, "response topic that is not utf-8", "30 ['a' [08 {ff}]]", MalformedPacket, "MQTT5-1.5.4-1"),
    (V5, Server, "subscription identifier 0", "30 ['a' [0b 00]]", ProtocolError, "MQTT5-4.13.1-1"),
    (V5, Server, "subscription identifier of five bytes", "30 ['a' [0b ffffffff01]]", MalformedPacket, "MQTT5-1.5.5-1"),
    (V5, Client, "session expiry in publish", "30 ['a' [11 00000001]]", MalformedPacket, "MQTT5-4.13.1-1"),
    (V5, Client, "reason string in publish", "30 ['a' [1f 'why']]", MalformedPacket, "MQTT5-4.13.1-1"),
    (V5, Client, "will delay in publish", "30 ['a' [18 00000001]]", MalformedPacket, "MQTT5-4.13.1-1"),
    (V5, Client, "unknown property 0x04", "30 ['a' [04 00]]", MalformedPacket, "MQTT5-4.13.1-1"),
    (V5, Client, "unknown property 0xff", "30 ['a' [ff 00]]", MalformedPacket, "MQTT5-4.13.1-1"),
    (V5, Client, "property id of two bytes", "30 ['a' [8100 01]]", MalformedPacket, "MQTT5-4.13.1-1"),
];

#[rustfmt::skip]
const STRING: &[Row] = &[
    (OLD, Client, "lone continuation byte", "30 [{80}]", MalformedPacket, "MQTT5-1.5.4-1"),
    (V5, Client, "lone continuation byte", "30 [{80} []]", MalformedPacket, "MQTT5-1.5.4-1"),
    (V5, Client, "overlong slash", "30 [{c0af} []]", MalformedPacket, "MQTT5-1.5.4-1"),
    (V5, Client, "overlong null", "30 [{c080} []]", MalformedPacket, "MQTT5-1.5.4-1"),
    (OLD, Client, "surrogate", "30 [{eda080}]", MalformedPacket, "MQTT5-1.5.4-1"),
    (V5, Client, "surrogate", "30 [{eda080} []]", MalformedPacket, "MQTT5-1.5.4-1"),
    (V5, Client, "pair of surrogates", "30 [{eda080edb080} []]", MalformedPacket, "MQTT5-1.5.4-1"),
    (V5, Client, "beyond U+10FFFF", "30 [{f4908080} []]", MalformedPacket, "MQTT5-1.5.4-1"),
    (V5, Client, "character cut at the end", "30 [{61e282} []]", MalformedPacket, "MQTT5-1.5.4-1"),
    (V5, Client, "byte 0xff", "30 [{61ff62} []]", MalformedPacket, "MQTT5-1.5.4-1"),
    (OLD, Client, "null in a topic", "30 [{610062}]", MalformedPacket, "MQTT5-1.5.4-2"),
    (V5, Client, "null in a topic", "30 [{610062} []]", MalformedPacket, "MQTT5-1.5.4-2"),
    (OLD, Client, "null in a filter", "82 [0001 {610062} 00]", MalformedPacket, "MQTT5-1.5.4-2"),
    (V5, Client, "null in a filter", "82 [0001 [] {610062} 00]", MalformedPacket, "MQTT5-1.5.4-2"),
    (OLD, Client, "filter that is not utf-8", "82 [0001 {ff} 00]", MalformedPacket, "MQTT5-1.5.4-1"),
    (V5, Client, "filter to give up that is not utf-8", "a2 [0001 [] {c0af}]", MalformedPacket, "MQTT5-1.5.4-1"),
    (V5, Client, "name of a user property is not utf-8", "30 ['a' [26 {ff} 'v']]", MalformedPacket, "MQTT5-1.5.4-1"),
    (V5, Client, "value of a user property is not utf-8", "30 ['a' [26 'k' {eda080}]]", MalformedPacket, "MQTT5-1.5.4-1"),
    (V5, Client, "null in a user property", "30 ['a' [26 {00} 'v']]", MalformedPacket, "MQTT5-1.5.4-2"),
    (V5, Client, "content type that is not utf-8", "30 ['a' [03 {c0}]]", MalformedPacket, "MQTT5-1.5.4-1"),
    (V5, Client, "reason string that is not utf-8", "40 [0001 80 [1f {ff}]]", MalformedPacket, "MQTT5-1.5.4-1"),
    (V5, Client, "null in a reason string", "e0 [80 [1f {00}]]", MalformedPacket, "MQTT5-1.5.4-2"),
];

#[rustfmt::skip]
const ACKNOWLEDGEMENT: &[Row] = &[
    (ALL, Client, "puback of id 0", "40 [0000]", ProtocolError, "MQTT5-2.2.1-3"),
    (ALL, Client, "pubrec of id 0", "50 [0000]", ProtocolError, "MQTT5-2.2.1-3"),
    (ALL, Client, "pubrel of id 0", "62 [0000]", ProtocolError, "MQTT5-2.2.1-3"),
    (ALL, Client, "pubcomp of id 0", "70 [0000]", ProtocolError, "MQTT5-2.2.1-3"),
    (OLD, Client, "puback with a byte too many", "40 [0001 00]", MalformedPacket, "MQTT5-4.13.1-1"),
    (OLD, Client, "pubrel with a byte too many", "62 [0001 00]", MalformedPacket, "MQTT5-4.13.1-1"),
    (V5, Client, "puback with an unknown reason", "40 [0001 01]", ProtocolError, "MQTT5-3.4.2-1"),
    (V5, Client, "puback with a reason of pubrel", "40 [0001 92]", ProtocolError, "MQTT5-3.4.2-1"),
    (V5, Client, "pubrec with an unknown reason", "50 [0001 ff]", ProtocolError, "MQTT5-3.4.2-1"),
    (V5, Client, "pubrel with a reason of puback", "62 [0001 80]", ProtocolError, "MQTT5-3.6.2-1"),
    (V5, Client, "pubcomp with a reason of puback", "70 [0001 10]", ProtocolError, "MQTT5-3.6.2-1"),
    (V5, Client, "bytes behind the properties of puback", "40 [0001 00 [] 00]", MalformedPacket, "MQTT5-4.13.1-1"),
    (V5, Client, "puback with its properties cut", "40 [0001 00 04 1f]", MalformedPacket, "MQTT5-4.13.1-1"),
    (V5, Client, "reason string twice", "40 [0001 80 [1f 'a' 1f 'b']]", ProtocolError, "MQTT5-4.13.1-1"),
    (V5, Client, "message expiry in puback", "40 [0001 00 [02 00000001]]", MalformedPacket, "MQTT5-4.13.1-1"),
    (V5, Client, "server reference in pubrel", "62 [0001 00 [1c 's']]", MalformedPacket, "MQTT5-4.13.1-1"),
];

#[rustfmt::skip]
const SUBSCRIBE: &[Row] = &[
    (OLD, Client, "subscribe with id 0", "82 [0000 'a' 00]", ProtocolError, "MQTT5-2.2.1-3"),
    (V5, Client, "subscribe with id 0", "82 [0000 [] 'a' 00]", ProtocolError, "MQTT5-2.2.1-3"),
    (OLD, Client, "unsubscribe with id 0", "a2 [0000 'a']", ProtocolError, "MQTT5-2.2.1-3"),
    (V5, Client, "unsubscribe with id 0", "a2 [0000 [] 'a']", ProtocolError, "MQTT5-2.2.1-3"),
    (OLD, Client, "subscribe without a filter", "82 [0001]", ProtocolError, "MQTT5-3.8.3-2"),
    (V5, Client, "subscribe without a filter", "82 [0001 []]", ProtocolError, "MQTT5-3.8.3-2"),
    (OLD, Client, "unsubscribe without a filter", "a2 [0001]", ProtocolError, "MQTT5-3.10.3-2"),
    (V5, Client, "unsubscribe without a filter", "a2 [0001 []]", ProtocolError, "MQTT5-3.10.3-2"),
    (OLD, Client, "subscribe at qos 3", "82 [0001 'a' 03]", ProtocolError, "MQTT5-3.8.3-5"),
    (V5, Client, "subscribe at qos 3", "82 [0001 [] 'a' 03]", ProtocolError, "MQTT5-3.8.3-5"),
    (OLD, Client, "reserved bits of the qos byte", "82 [0001 'a' 04]", MalformedPacket, "MQTT3-3.8.3-4"),
    (OLD, Client, "highest bit of the qos byte", "82 [0001 'a' 80]", MalformedPacket, "MQTT3-3.8.3-4"),
    (V5, Client, "reserved bit of the options", "82 [0001 [] 'a' 40]", MalformedPacket, "MQTT5-3.8.3-5"),
    (V5, Client, "highest bit of the options", "82 [0001 [] 'a' 80]", MalformedPacket, "MQTT5-3.8.3-5"),
    (V5, Client, "retain handling 3", "82 [0001 [] 'a' 30]", ProtocolError, "MQTT5-3.8.3-5"),
    (V5, Client, "no local on a shared subscription", "82 [0001 [] '$share/g/a' 04]", ProtocolError, "MQTT5-3.8.3-4"),
    (V5, Client, "bad options behind good ones", "82 [0001 [] 'a' 00 'b' 03]", ProtocolError, "MQTT5-3.8.3-5"),
    (V5, Client, "subscription identifier 0 in subscribe", "82 [0001 [0b 00] 'a' 00]", ProtocolError, "MQTT5-4.13.1-1"),
    (V5, Client, "subscription identifier twice in subscribe", "82 [0001 [0b 01 0b 02] 'a' 00]", ProtocolError, "MQTT5-4.13.1-1"),
    (V5, Client, "subscription identifier in unsubscribe", "a2 [0001 [0b 01] 'a']", MalformedPacket, "MQTT5-4.13.1-1"),
    (V5, Client, "topic alias in subscribe", "82 [0001 [23 0001] 'a' 00]", MalformedPacket, "MQTT5-4.13.1-1"),
    (V5, Client, "reason string in subscribe", "82 [0001 [1f 'why'] 'a' 00]", MalformedPacket, "MQTT5-4.13.1-1"),
];

#[rustfmt::skip]
const END: &[Row] = &[
    (V5, Client, "disconnect with an unknown reason", "e0 [01]", ProtocolError, "MQTT5-3.14.2-1"),
    (V5, Client, "disconnect with a reason of connack", "e0 [86]", ProtocolError, "MQTT5-3.14.2-1"),
    (V5, Client, "session expiry twice in disconnect", "e0 [00 [11 00000001 11 00000001]]", ProtocolError, "MQTT5-4.13.1-1"),
    (V5, Client, "receive maximum in disconnect", "e0 [00 [21 0001]]", MalformedPacket, "MQTT5-4.13.1-1"),
    (V5, Client, "bytes behind the properties of disconnect", "e0 [00 [] 00]", MalformedPacket, "MQTT5-4.13.1-1"),
    (V5, Client, "success of auth without a body, from a client", "f0 []", ProtocolError, "MQTT5-3.15.2-1"),
    (V5, Client, "auth without a method", "f0 [18 []]", ProtocolError, "MQTT5-4.12.0-5"),
    (V5, Client, "auth with an unknown reason", "f0 [17 [15 'scram']]", ProtocolError, "MQTT5-3.15.2-1"),
    (V5, Client, "auth with its data twice", "f0 [18 [15 'scram' 16 {00} 16 {00}]]", ProtocolError, "MQTT5-4.13.1-1"),
    (V5, Client, "auth with data only", "f0 [18 [16 {00}]]", ProtocolError, "MQTT5-4.13.1-1"),
    (V5, Client, "session expiry in auth", "f0 [18 [15 'scram' 11 00000001]]", MalformedPacket, "MQTT5-4.13.1-1"),
    (V5, Client, "bytes behind the properties of auth", "f0 [18 [15 'scram'] 00]", MalformedPacket, "MQTT5-4.13.1-1"),
];

#[rustfmt::skip]
const FROM_A_SERVER: &[Row] = &[
    (ALL, Server, "pingresp with a body", "d0 [00]", MalformedPacket, "MQTT5-4.13.1-1"),
    (ALL, Server, "flags of connack", "21 [0000]", MalformedPacket, "MQTT5-2.1.3-1"),
    (ALL, Server, "flags of suback", "92 [0001 00]", MalformedPacket, "MQTT5-2.1.3-1"),
    (OLD, Server, "connack of one byte", "20 [00]", MalformedPacket, "MQTT5-4.13.1-1"),
    (OLD, Server, "connack with a byte too many", "20 [0000 00]", MalformedPacket, "MQTT5-4.13.1-1"),
    (OLD, Server, "reserved connack flags", "20 [0200]", MalformedPacket, "MQTT5-3.2.2-1"),
    (V5, Server, "reserved connack flags", "20 [8000 []]", MalformedPacket, "MQTT5-3.2.2-1"),
    (OLD, Server, "session present with a refusal", "20 [0105]", ProtocolError, "MQTT5-3.2.2-6"),
    (V5, Server, "session present with a refusal", "20 [0187 []]", ProtocolError, "MQTT5-3.2.2-6"),
    (OLD, Server, "return code 6", "20 [0006]", ProtocolError, "MQTT3-3.2.2-6"),
    (V5, Server, "connack with an unknown reason", "20 [0001 []]", ProtocolError, "MQTT5-3.2.2-8"),
    (V5, Server, "connack without a property length", "20 [0000]", MalformedPacket, "MQTT5-4.13.1-1"),
    (V5, Server, "maximum qos 2", "20 [0000 [24 02]]", ProtocolError, "MQTT5-4.13.1-1"),
    (V5, Server, "retain available 2", "20 [0000 [25 02]]", ProtocolError, "MQTT5-4.13.1-1"),
    (V5, Server, "receive maximum 0 in connack", "20 [0000 [21 0000]]", ProtocolError, "MQTT5-4.9.0-1"),
    (V5, Server, "assigned client id twice", "20 [0000 [12 'a' 12 'b']]", ProtocolError, "MQTT5-4.13.1-1"),
    (V5, Server, "payload format in connack", "20 [0000 [01 01]]", MalformedPacket, "MQTT5-4.13.1-1"),
    (OLD, Server, "suback without codes", "90 [0001]", ProtocolError, "MQTT5-3.9.3-2"),
    (V5, Server, "suback without codes", "90 [0001 []]", ProtocolError, "MQTT5-3.9.3-2"),
    (OLD, Server, "return code 3 in suback", "90 [0001 03]", ProtocolError, "MQTT5-3.9.3-2"),
    (OLD, Server, "reason code of 5.0 in suback", "90 [0001 87]", ProtocolError, "MQTT3-3.9.3-2"),
    (V5, Server, "suback with an unknown reason", "90 [0001 [] 03]", ProtocolError, "MQTT5-3.9.3-2"),
    (ALL, Server, "suback of id 0", "90 [0000 00 00]", ProtocolError, "MQTT5-2.2.1-3"),
    (OLD, Server, "unsuback with a byte too many", "b0 [0001 00]", MalformedPacket, "MQTT5-4.13.1-1"),
    (V5, Server, "unsuback without codes", "b0 [0001 []]", ProtocolError, "MQTT5-3.11.3-2"),
    (V5, Server, "unsuback with a reason of suback", "b0 [0001 [] 01]", ProtocolError, "MQTT5-3.11.3-2"),
];
