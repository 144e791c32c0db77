//! What every receiver has to accept, however seldom it is seen.

use crate::mqtt::{Version, codec::Sender};

use super::{ALL, Case, OLD, V5, V31, V311};

use Sender::{Client, Server};

type Row = (&'static [Version], Sender, &'static str, &'static str);

/// All of them.
pub(crate) fn unusual() -> Vec<Case> {
    let groups: [(&str, &[Row]); 6] = [
        ("connect", CONNECT),
        ("publish", PUBLISH),
        ("string", STRING),
        ("acknowledgement", ACKNOWLEDGEMENT),
        ("subscribe", SUBSCRIBE),
        ("from a server", FROM_A_SERVER),
    ];
    let cases = groups.iter().flat_map(|(group, rows)| {
        rows.iter().map(|&(versions, from, name, wire)| Case {
            group,
            name,
            versions,
            from,
            wire,
            wrong: None,
        })
    });
    cases.collect()
}

#[rustfmt::skip]
const CONNECT: &[Row] = &[
    (V31, Client, "3.1 with a will and credentials", "10 ['MQIsdp' 03 ee 000a 'c' 'w' 'm' 'n' 'p']"),
    (V31, Client, "3.1 with a session to keep", "10 ['MQIsdp' 03 00 0000 'c']"),
    (V311, Client, "empty id with a clean session", "10 ['MQTT' 04 02 0000 '']"),
    (V5, Client, "empty id without a clean start", "10 ['MQTT' 05 00 0000 [] '']"),
    (V5, Client, "password without a user name", "10 ['MQTT' 05 42 0000 [] 'c' 'p']"),
    (V5, Client, "user name without a password", "10 ['MQTT' 05 82 0000 [] 'c' 'n']"),
    (V311, Client, "user name without a password", "10 ['MQTT' 04 82 0000 'c' 'n']"),
    (V5, Client, "empty user name and empty password", "10 ['MQTT' 05 c2 0000 [] 'c' '' '']"),
    (V5, Client, "password of any bytes", "10 ['MQTT' 05 c2 0000 [] 'c' 'n' {00ff80c0}]"),
    (V311, Client, "password of any bytes", "10 ['MQTT' 04 c2 0000 'c' 'n' {00ff80c0}]"),
    (V5, Client, "keep alive 65,535", "10 ['MQTT' 05 02 ffff [] 'c']"),
    (V5, Client, "session that never expires", "10 ['MQTT' 05 02 003c [11 ffffffff] 'c']"),
    (V5, Client, "receive maximum 1", "10 ['MQTT' 05 02 003c [21 0001] 'c']"),
    (V5, Client, "maximum packet size 1", "10 ['MQTT' 05 02 003c [27 00000001] 'c']"),
    (V5, Client, "topic alias maximum 0", "10 ['MQTT' 05 02 003c [22 0000] 'c']"),
    (V5, Client, "every property of connect", "10 ['MQTT' 05 02 003c [16 {00ff} 15 'scram' 19 01 17 00 22 ffff 27 ffffffff 21 ffff 11 00000000 26 'k' 'v'] 'c']"),
    (V5, Client, "authentication method without data", "10 ['MQTT' 05 02 003c [15 'scram'] 'c']"),
    (V5, Client, "the same user property three times", "10 ['MQTT' 05 02 003c [26 'k' 'v' 26 'k' 'v' 26 'k' 'v'] 'c']"),
    (V5, Client, "client id of 300 characters", "10 ['MQTT' 05 02 003c [] {61x300}]"),
    (V311, Client, "client id with every kind of character", "10 ['MQTT' 04 02 003c '/+#$ é🦀']"),
    (V5, Client, "every property of a will", "10 ['MQTT' 05 36 003c [] 'c' [18 ffffffff 01 01 02 00000000 03 '' 08 'r' 09 {} 26 '' ''] 'w' 'm']"),
    (V5, Client, "will of an empty message", "10 ['MQTT' 05 2e 003c [] 'c' [] 'w' '']"),
    (V311, Client, "will of an empty message", "10 ['MQTT' 04 26 003c 'c' 'w' '']"),
    (V5, Client, "will of any bytes", "10 ['MQTT' 05 06 003c [] 'c' [] 'w' {00ff}]"),
    (V5, Client, "will on a reserved topic", "10 ['MQTT' 05 06 003c [] 'c' [] '$SYS/x' 'm']"),
];

#[rustfmt::skip]
const PUBLISH: &[Row] = &[
    (OLD, Client, "no payload", "30 ['a']"),
    (V5, Client, "no payload", "30 ['a' []]"),
    (OLD, Client, "retain at every level", "35 ['a' 0001]"),
    (OLD, Client, "repeat at qos 2", "3c ['a' ffff <x>]"),
    (V5, Client, "repeat at qos 1 with retain", "3b ['a' ffff [] <x>]"),
    (V5, Client, "empty topic with an alias", "30 ['' [23 0001]]"),
    (V5, Client, "topic with an alias of 65,535", "30 ['a' [23 ffff]]"),
    (V5, Client, "message expiry 0", "30 ['a' [02 00000000]]"),
    (V5, Client, "message expiry 4,294,967,295", "30 ['a' [02 ffffffff]]"),
    (V5, Client, "payload format 0", "30 ['a' [01 00] ff]"),
    (V5, Client, "empty content type", "30 ['a' [03 '']]"),
    (V5, Client, "empty correlation data", "30 ['a' [08 'r' 09 {}]]"),
    (V5, Client, "correlation data without a response topic", "30 ['a' [09 {00ff}]]"),
    (V5, Client, "user property without name and value", "30 ['a' [26 '' '']]"),
    (V5, Client, "user properties between others", "30 ['a' [26 'k' 'v' 01 01 26 'k' 'v' 02 00000001 26 'k' 'w']]"),
    (V5, Client, "property section of two length bytes", "30 ['a' [26 'k' {61x200}] <x>]"),
    (V5, Client, "property section of three length bytes", "30 ['a' [26 'k' {61x20000}] <x>]"),
    (V5, Server, "several subscription identifiers", "30 ['a' [0b 01 0b ffffff7f 0b 8001]]"),
    (ALL, Client, "topic of a slash", "30 ['/' 00]"),
    (ALL, Client, "topic of empty levels", "30 ['///' 00]"),
    (ALL, Client, "topic with spaces", "30 [' a / b ' 00]"),
    (ALL, Client, "topic of a share's name", "30 ['$share/g/a' 00]"),
    (ALL, Client, "topic of 10,000 characters", "30 [{61x10000} 00]"),
    (ALL, Client, "remaining length of two bytes", "30 ['a' 00x126]"),
    (ALL, Client, "remaining length of three bytes", "30 ['a' 00x16384]"),
];

#[rustfmt::skip]
const STRING: &[Row] = &[
    (ALL, Client, "characters of two, three and four bytes", "30 ['é/日本/🦀' 00]"),
    (ALL, Client, "byte order mark at the begin", "30 [{efbbbf61} 00]"),
    (ALL, Client, "byte order mark inside", "30 [{61efbbbf62} 00]"),
    (ALL, Client, "highest character", "30 [{f48fbfbd} 00]"),
    (ALL, Client, "last character before the surrogates", "30 [{ed9fbf} 00]"),
    (ALL, Client, "first character behind the surrogates", "30 [{ee8080} 00]"),
    (ALL, Client, "replacement character", "30 [{efbfbd} 00]"),
    (V5, Client, "right-to-left mark in a user property", "30 ['a' [26 {e2808f} 'v']]"),
];

#[rustfmt::skip]
const ACKNOWLEDGEMENT: &[Row] = &[
    (ALL, Client, "puback of the highest id", "40 [ffff]"),
    (V5, Client, "puback without a reason", "40 [0001]"),
    (V5, Client, "puback without properties", "40 [0001 10]"),
    (V5, Client, "puback with empty properties", "40 [0001 00 []]"),
    (V5, Client, "pubrec with a reason string", "50 [0001 97 [1f 'full']]"),
    (V5, Client, "pubrec with an empty reason string", "50 [0001 80 [1f '']]"),
    (V5, Client, "pubrel of an unknown id", "62 [0001 92]"),
    (V5, Client, "pubcomp with user properties", "70 [0001 92 [26 'k' 'v' 26 'k' 'v']]"),
    (V5, Client, "disconnect without a reason", "e0 []"),
    (V5, Client, "disconnect of one byte", "e0 [04]"),
    (V5, Client, "disconnect with empty properties", "e0 [00 []]"),
    (V5, Client, "disconnect with everything", "e0 [04 [11 ffffffff 1f 'bye' 26 'k' 'v']]"),
    (V5, Client, "auth with empty data", "f0 [18 [15 'scram' 16 {}]]"),
    (V5, Client, "auth with everything", "f0 [19 [16 {00ff} 15 'scram' 1f 'why' 26 'k' 'v']]"),
];

#[rustfmt::skip]
const SUBSCRIBE: &[Row] = &[
    (OLD, Client, "the same filter twice", "82 [0001 'a' 00 'a' 02]"),
    (V5, Client, "the same filter twice", "82 [0001 [] 'a' 00 'a' 02]"),
    (V5, Client, "every option", "82 [0001 [] 'a' 2e]"),
    (V5, Client, "highest subscription identifier", "82 [0001 [0b ffffff7f] 'a' 00]"),
    (V5, Client, "user properties in subscribe", "82 [0001 [26 'k' 'v' 0b 01 26 'k' 'v'] 'a' 00]"),
    (V5, Client, "shared subscription", "82 [0001 [] '$share/g/+/#' 01]"),
    (OLD, Client, "unsubscribe of the highest id", "a2 [ffff 'a']"),
    (V5, Client, "unsubscribe of the highest id", "a2 [ffff [] 'a']"),
    (OLD, Client, "filters of wildcards", "82 [0001 '#' 00 '+' 01 '+/+' 02 '/+' 00 '/#' 00 '$SYS/#' 00]"),
    (V5, Client, "filters of wildcards", "82 [0001 [] '#' 00 '+' 01 '+/+' 02 '/+' 00 '/#' 00 '$SYS/#' 00]"),
    (V5, Client, "user properties in unsubscribe", "a2 [0001 [26 'k' 'v'] 'a' 'a']"),
];

#[rustfmt::skip]
const FROM_A_SERVER: &[Row] = &[
    (OLD, Server, "session present", "20 [0100]"),
    (V5, Server, "every property of connack", "20 [0000 [11 00000000 21 0001 24 00 25 00 27 00000001 12 'id' 22 0000 1f 'why' 26 'k' 'v' 28 00 29 00 2a 00 13 0000 1a 'r' 1c 's' 15 'scram' 16 {00}]]"),
    (V5, Server, "maximum qos 1", "20 [0000 [24 01]]"),
    (OLD, Server, "suback with every code", "90 [0001 00 01 02 80]"),
    (V5, Server, "suback with every code", "90 [0001 [] 00 01 02 80 83 87 8f 91 97 9e a1 a2]"),
    (V5, Server, "unsuback with every code", "b0 [0001 [1f 'why' 26 'k' 'v'] 00 11 80 83 87 8f 91]"),
    (V5, Server, "disconnect with a reference", "e0 [9c [1c 'other:1883' 1f 'moved']]"),
    (V5, Server, "auth of a success without a body", "f0 []"),
];
