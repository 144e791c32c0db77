//! S1: a client id has one owner in the fleet; a second connection takes over; the first hears 0x8E.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a scenario may fail loudly"
)]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "what was not expected is told, whatever it is"
)]

use std::collections::BTreeSet;
use std::thread;

use protocol::QoS;
use protocol::mqtt::{ReasonCode, Version};
use tests::harness::{Answer, Client, Dial, Ended, Fleet, eventually};

#[test]
fn a_second_connection_takes_over_wherever_it_comes_to() {
    let fleet = Fleet::start(2);
    for second in [1, 2] {
        for version in [Version::V311, Version::V5] {
            take_over(&fleet, second, version, false);
            take_over(&fleet, second, version, true);
        }
    }
}

fn take_over(fleet: &Fleet, second: usize, version: Version, persistent: bool) {
    let id = format!("device-{second}-{version:?}-{persistent}");
    let clean = Dial::new(version, &id);
    let dial = if persistent { clean.persistent() } else { clean };
    let mut old = dial.clone().connect(fleet.mqtt(1));
    let mut new = dial.connect(fleet.mqtt(second));
    assert_eq!(new.session_present, persistent, "{id}");
    let told = Ended::Told { reason: ReasonCode::SessionTakenOver, server_reference: None };
    assert_eq!(old.ended(), if version == Version::V5 { told } else { Ended::Closed }, "{id}");
    new.ping();
    assert_eq!(owners(fleet, &id), [second], "{id}");
}

#[test]
fn a_clean_start_elsewhere_ends_the_session_here() {
    let fleet = Fleet::start(2);
    let mut old = Dial::v5("device").persistent().connect(fleet.mqtt(1));
    old.subscribe("t", QoS::AtLeastOnce);
    let mut new = Dial::v5("device").persistent().clean_start().connect(fleet.mqtt(2));
    assert!(!new.session_present);
    assert_eq!(old.end_reason(), Some(ReasonCode::SessionTakenOver));
    let mut writer = Dial::v5("writer").connect(fleet.mqtt(1));
    writer.publish("t", "for the old", QoS::AtLeastOnce);
    new.subscribe("u", QoS::AtLeastOnce);
    writer.publish("u", "for the new", QoS::AtLeastOnce);
    assert_eq!(new.receive().text, "for the new");
}

#[test]
fn of_a_crowd_with_one_client_id_one_is_left_and_it_is_served() {
    let fleet = Fleet::start(2);
    let crowd: Vec<_> = (0..24)
        .map(|n| {
            let place = fleet.mqtt(n % 2 + 1);
            thread::spawn(move || Dial::v5("device").persistent().try_connect(place))
        })
        .collect();
    let answers = crowd.into_iter().map(|one| one.join().expect("no one panics")).collect();
    one_is_left(&fleet, answers);
}

#[test]
fn a_client_id_that_comes_again_and_again_at_every_gateway_ends_with_one_owner() {
    let fleet = Fleet::start(3);
    let storm: Vec<_> = (0..6)
        .map(|n| {
            let place = fleet.mqtt(n % 3 + 1);
            let come = move |_| Dial::v5("device").persistent().try_connect(place);
            thread::spawn(move || (0..30).map(come).collect::<Vec<_>>())
        })
        .collect();
    let answers = storm.into_iter().flat_map(|one| one.join().expect("no one panics")).collect();
    one_is_left(&fleet, answers);
}

/// Of those who came with the client id `device`, one is left, whom every gateway knows and who gets its messages.
fn one_is_left(fleet: &Fleet, answers: Vec<Answer>) {
    let mut accepted = Vec::new();
    for answer in answers {
        match answer {
            Answer::Accepted(client) => accepted.push(client),
            Answer::Refused { reason, .. } => {
                let known = [ReasonCode::SessionTakenOver, ReasonCode::ServerBusy];
                assert!(known.contains(&reason), "{reason:?}");
            }
            Answer::Closed => panic!("someone got no answer"),
        }
    }
    // Whose gateway did not let go in time loses its session without being asked, and hears of it a moment later.
    let left = eventually("one is left", || {
        accepted.retain_mut(is_served);
        (accepted.len() <= 1).then(|| accepted.pop())
    });
    let mut device = left.expect("one is left");
    let owners = eventually("one owner", || {
        let owners = owners(fleet, "device");
        (owners.len() == 1).then_some(owners)
    });
    let mut writer =
        Dial::v5("writer").connect(fleet.mqtt(owners[0] % fleet.running().count() + 1));
    device.subscribe("t", QoS::AtLeastOnce);
    writer.publish("t", "hello", QoS::AtLeastOnce);
    assert_eq!(device.receive().text, "hello");
}

#[test]
fn made_up_client_ids_are_unique_in_the_fleet() {
    let fleet = Fleet::start(2);
    let clients: Vec<_> = (0..20).map(|n| Dial::v5("").connect(fleet.mqtt(n % 2 + 1))).collect();
    let ids: BTreeSet<_> = clients.iter().map(|client| client.id().to_owned()).collect();
    assert_eq!(ids.len(), clients.len());
    // 128 bits that nobody can guess, behind the gateway's name.
    let random = |id: &String| id.split_once("gw-").is_some_and(|(_, rest)| rest.len() >= 24);
    assert!(ids.iter().all(random), "{ids:?}");
}

/// Whether the gateway answers this connection, or ends it as taken over.
fn is_served(client: &mut Client) -> bool {
    let mut ping = Vec::new();
    protocol::mqtt::codec::pingreq(&mut ping);
    // A connection that is ended already cannot be written to.
    let _ = client.try_send(&ping);
    let Some(frame) = client.next_or_end() else { return false };
    match frame.packet() {
        protocol::mqtt::Packet::PingResp => true,
        protocol::mqtt::Packet::Disconnect(told) => {
            assert_eq!(told.reason, ReasonCode::SessionTakenOver);
            false
        }
        other => panic!("{other:?}"),
    }
}

/// The gateways that say they have a client.
fn owners(fleet: &Fleet, id: &str) -> Vec<usize> {
    let has = |number: &usize| {
        let page = fleet.api(*number, "/api/v1/clients?max=1000");
        let clients = page["clients"].as_array().expect("a list of clients");
        clients.iter().any(|client| client["client_id"] == id)
    };
    fleet.running().filter(has).collect()
}
