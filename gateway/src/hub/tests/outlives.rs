//! What must outlive a power failure: everything that anybody but the client of a connection was told or promised.

use protocol::mqtt::ReasonCode;
use protocol::session::SessionRecord;
use store::Outlives::{self, PowerFailure, Processes};
use store::Space;

use super::gateway::Gateway;
use super::packets::*;
use crate::config::PresenceSettings;
use crate::hub::{ConnId, ConnectRequest};
use crate::presence::record_key;

fn gateway() -> Gateway {
    Gateway::with(|config| config.presence = PresenceSettings::default())
}

/// Lets everything happen that follows; what the writes that change a client's session have to outlive, in their order.
fn of_session(gateway: &mut Gateway, client: &str) -> Vec<Outlives> {
    let mut outlives = Vec::new();
    loop {
        while gateway.answer_asks() {}
        let writes = gateway.worker.take_writes();
        if writes.is_empty() {
            gateway.settle();
            return outlives;
        }
        for ordered in &writes {
            let write = &ordered.write;
            let is_about = |space, key: &[u8]| {
                write.puts.iter().any(|put| (put.space, &*put.key) == (space, key))
            };
            if is_about(Space::Session, client.as_bytes()) {
                let presence = record_key(client);
                assert!(is_about(Space::Presence, &presence), "both are written together");
                outlives.push(write.outlives);
            }
        }
        gateway.commit_these(writes);
    }
}

/// Who comes and says goodbye: what must outlive what.
fn visit(gateway: &mut Gateway, request: ConnectRequest) -> (Vec<Outlives>, Vec<Outlives>) {
    let (conn, came) = come(gateway, request);
    gateway.send(conn, &disconnect(ReasonCode::Success, None));
    (came, of_session(gateway, "a"))
}

fn come(gateway: &mut Gateway, request: ConnectRequest) -> (ConnId, Vec<Outlives>) {
    let conn = gateway.connect(request);
    let came = of_session(gateway, "a");
    let heard = gateway.hear(conn);
    assert!(heard.len() == 1 && heard[0].starts_with("CONNACK Success"), "{heard:?}");
    (conn, came)
}

#[test]
fn a_clean_session_ends_with_the_machine_and_so_may_what_is_written_of_it() {
    let mut gateway = gateway();
    for _ in 0..2 {
        assert_eq!(visit(&mut gateway, clean("a")), (vec![Processes], vec![Processes]));
    }
    let (conn, _) = come(&mut gateway, clean("a"));
    gateway.worker.handle_lost(conn, gateway.now, &mut gateway.sockets);
    assert_eq!(of_session(&mut gateway, "a"), [Processes]);
}

#[test]
fn a_will_is_published_after_a_power_failure_and_one_that_was_given_up_is_not() {
    let mut gateway = gateway();
    let mut request = clean("a");
    request.will = Some(will("gone", 0));
    assert_eq!(visit(&mut gateway, request), (vec![PowerFailure], vec![PowerFailure]));
}

#[test]
fn a_session_that_is_kept_is_kept_and_so_is_that_it_ended() {
    let mut gateway = gateway();
    assert_eq!(visit(&mut gateway, durable("a")), (vec![PowerFailure], vec![PowerFailure]));
    let (came, gone) = visit(&mut gateway, clean("a"));
    assert_eq!((came, gone), (vec![PowerFailure], vec![Processes]));
}

#[test]
fn what_others_hear_of_stands() {
    for qos in [Q0, Q1] {
        let mut gateway = gateway();
        gateway.subscriber(durable("watcher"), "$aws/events/presence/+/a", qos);
        assert_eq!(visit(&mut gateway, clean("a")), (vec![PowerFailure], vec![PowerFailure]));
    }
}

#[test]
fn a_session_that_was_taken_from_another_gateway_stands() {
    let mut here = gateway();
    let mut there = Gateway::named("gw-2", &here.store, |config| {
        config.presence = PresenceSettings::default();
    });
    come(&mut there, clean("a"));
    let (_, came) = come(&mut here, clean("a"));
    assert_eq!(came, [PowerFailure]);
    let owner = here.record("a").and_then(|record: SessionRecord| record.owner);
    assert_eq!(owner.unwrap().gateway, here.id);
}
