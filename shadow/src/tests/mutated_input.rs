//! Damaged requests, records, topics and calls, the same in every run; `TIDEGATE_MUTATIONS` says how many.

use std::time::Duration;

use protocol::{ClientId, GatewayId, Incarnation, Wall};

use super::any_bytes;
use super::mutation::run;
use crate::{
    Arrival, DisconnectReason, Presence, PresenceLimits, Sent, ShadowLimits, Thing, ThingName,
    UpdateRequest, update,
};

/// Inputs for each subject unless the environment names another number.
const INPUTS: u64 = 30_000;

fn inputs() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "a test may be told how long to run")]
    let told = std::env::var("TIDEGATE_MUTATIONS");
    told.map_or(INPUTS, |text| text.parse().unwrap())
}

fn corpus(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

const REQUESTS: [&str; 4] = [
    "{\"state\":{\"desired\":{\"a\":1.50,\"b\":{\"c\":[1,{\"d\":\"x\"}]}}},\"clientToken\":\"t\"}",
    "{\"state\":{\"reported\":{\"a\":15e-1,\"b\":null}},\"version\":1}\n{\"state\":{\"desired\":null}}",
    "{\"state\":null}\n{\"state\":{\"desired\":{\"\\u00e9\\ud83d\\ude00\":{}}}}\n{\"state\":{}}",
    "{\"clientToken\":\"abc\"}",
];

#[test]
fn no_mutated_request_does_harm() {
    run("requests", &corpus(&REQUESTS), inputs(), any_bytes::requests);
}

#[test]
fn no_mutated_record_does_harm() {
    let mut records = Vec::new();
    for text in REQUESTS.iter().flat_map(|text| text.lines()) {
        let limits = ShadowLimits::default();
        if let Ok(request) = UpdateRequest::parse(text.as_bytes(), &limits) {
            let updated = update(None, &request, Wall(5_000), &limits).unwrap();
            records.push(updated.record().encode());
        }
    }
    let client = ClientId::new("c").unwrap();
    let arrival = Arrival {
        session: "s".into(),
        since: Wall(1),
        gateway: GatewayId::new("gw-1").unwrap(),
        incarnation: Incarnation(3),
        principal: "p".into(),
        address: "192.0.2.1".into(),
        thing: Some("t".into()),
        clean: true,
        keep_alive_s: 60,
        expiry_s: 0,
    };
    let mut presence = Presence::never();
    presence.arrive(&client, arrival.clone(), &PresenceLimits::default());
    presence.leave(&client, "s", DisconnectReason::ConnectionLost, Wall(2));
    presence.arrive(&client, arrival.clone(), &PresenceLimits::default());
    records.push(presence.encode());
    let mut drained = presence.clone();
    presence.send("s", DisconnectReason::ServerError, Wall(9));
    records.push(presence.encode());
    let named = vec![GatewayId::new("gw-2").unwrap()];
    let sent = Sent { named, level: 4, at_most_once_per_1000_s: 9 };
    drained.send_by("plan", "s", sent, (Wall(3), Wall(9)), Duration::from_secs(1));
    records.push(drained.encode());
    // Names that share their beginning, or end in other digits, at two gateways.
    let mut busy = Presence::never();
    for n in 0..4_u64 {
        let name = if n == 2 { format!("{n:015x}g") } else { format!("00ff00ff00ff00ff{n:016x}") };
        let gateway = GatewayId::new(if n == 1 { "gw-2" } else { "gw-1" }).unwrap();
        let since = Wall(n * 9);
        let session = name.as_str().into();
        let next = Arrival { session, gateway, since, ..arrival.clone() };
        busy.arrive(&client, next, &PresenceLimits::default());
        records.push(busy.encode());
        busy.leave(&client, &name, DisconnectReason::ConnectionLost, Wall(n * 9 + 300));
    }
    records.push(busy.encode());
    run("records", &records, inputs(), any_bytes::records);
}

#[test]
fn no_mutated_thing_or_search_does_harm() {
    let mut thing = Thing::new(ThingName::new("t").unwrap(), Wall(7));
    thing.set_attribute("model", "P4").unwrap();
    thing.join("north").unwrap();
    let texts = [
        "thingName:pump-* AND (shadow.reported.bar > 7 OR NOT connectivity.connected:true)",
        r"attributes.a\:b:x* shadow.name.n.desired.x.y:{1 TO 2e3] connectivity.timestamp>=5",
        "NOT NOT (attributes.model:\"P 4\" OR shadow.hasDelta:true)",
    ];
    let mut inputs_of_both = corpus(&texts);
    inputs_of_both.push(thing.encode());
    run("things", &inputs_of_both, inputs(), any_bytes::things);
}

#[test]
fn no_mutated_topic_does_harm() {
    let texts = [
        "$aws/things/t/shadow/name/n/update/documents",
        "$aws/things/t:1/shadow/get",
        "$aws/events/presence/connected/+",
        "$aws/things/+/shadow/#",
        "pump-1/conf",
    ];
    run("topics", &corpus(&texts), inputs(), any_bytes::reserved_topics);
}

#[test]
fn no_mutated_call_does_harm() {
    let texts = [
        "GET\n/things/a%3Ab/shadow\nname=%24n",
        "POST\n/topics/a%2Fb\nqos=1&retain=true&messageExpiry=60",
        "DELETE\n/connections/c\ncleanSession=true&preventWillMessage=false",
        "POST\n/connections/c/messages\ntopic=a&timeout=15&confirmation=true",
        "W3siYSI6IjEifV0=",
    ];
    run("calls", &corpus(&texts), inputs(), any_bytes::calls);
}
