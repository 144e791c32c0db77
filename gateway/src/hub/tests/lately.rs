//! Clients that come back soon: not looked up first, and no less sure.

use protocol::mqtt::ReasonCode;
use shadow::Presence;
use store::{Expect, Put, Space, Store as _, Write};

use super::gateway::Gateway;
use super::packets::*;
use crate::config::PresenceSettings;
use crate::hub::Ask;
use crate::presence::record_key;

fn gateway() -> Gateway {
    Gateway::with(|config| config.presence = PresenceSettings::default())
}

fn presence(gateway: &mut Gateway, client: &str) -> Presence {
    let doc = gateway.reader().get(Space::Presence, &record_key(client)).unwrap();
    Presence::decode(&doc.unwrap().value).unwrap()
}

fn looks(gateway: &Gateway) -> usize {
    let looks = |ask: &&Ask| matches!(ask, Ask::Read(_));
    gateway.sockets.asks.iter().filter(looks).count()
}

/// Connects and says how often the store was looked at for that.
fn join(gateway: &mut Gateway, client: &str) -> (crate::hub::ConnId, usize) {
    let conn = gateway.connect(clean(client));
    let looks = looks(gateway);
    gateway.settle();
    assert_eq!(gateway.hear(conn), ["CONNACK Success"]);
    (conn, looks)
}

#[test]
fn who_has_left_and_comes_back_is_claimed_at_once() {
    for mut gateway in [gateway(), Gateway::new()] {
        let (a, first) = join(&mut gateway, "a");
        assert_eq!(first, 1);
        gateway.tell(a, &disconnect(ReasonCode::Success, None));
        assert!(gateway.record("a").is_none());
        let (a, again) = join(&mut gateway, "a");
        assert_eq!(again, 0);
        assert!(gateway.record("a").unwrap().owner.is_some());
        gateway.lose(a);
        let (_, again) = join(&mut gateway, "a");
        assert_eq!(again, 0);
        assert!(gateway.record("a").unwrap().owner.is_some());
    }
}

#[test]
fn who_comes_back_while_its_leaving_is_being_written_is_claimed_behind_that() {
    let mut gateway = gateway();
    let (mut a, _) = join(&mut gateway, "a");
    for times in 1..=12 {
        gateway.send(a, &disconnect(ReasonCode::Success, None));
        let next = gateway.connect(clean("a"));
        assert_eq!(looks(&gateway), 0);
        gateway.settle();
        assert_eq!(gateway.hear(next), ["CONNACK Success"]);
        assert!(gateway.sockets.closed(a).is_some());
        a = next;
        let there = presence(&mut gateway, "a");
        assert!(there.connection().is_some());
        assert_eq!(there.version(), Some(times));
        assert_eq!(there.departures().count(), usize::try_from(times.min(10)).unwrap());
        assert_eq!(gateway.worker.hub().sessions_len(), 1);
    }
    gateway.tell(a, &disconnect(ReasonCode::Success, None));
    assert!(presence(&mut gateway, "a").connection().is_none());
    assert_eq!((gateway.worker.hub().sessions_len(), gateway.record("a")), (0, None));
}

#[test]
fn who_is_back_before_its_last_request_is_answered_keeps_its_new_session() {
    let mut gateway = Gateway::with(super::shadows::rules);
    let (a, _) = join(&mut gateway, "a");
    gateway.send_publish(a, &publish("$aws/things/a/shadow/get", "", Q1, 1));
    // Its goodbye is stored behind that, and the word of it waits for the answer.
    gateway.worker.handle_lost(a, gateway.now, &mut gateway.sockets);
    let back = gateway.connect(clean("a"));
    gateway.commit();
    assert_eq!(gateway.hear(back), ["CONNACK Success"]);
    gateway.settle();
    assert_eq!(gateway.worker.hub().sessions_len(), 1);
    gateway.subscribe(back, "t", Q0);
    gateway.publish(back, &publish("t", "x", Q0, 0));
    assert_eq!(gateway.hear(back), ["PUBLISH t x q0"]);
}

#[test]
fn who_was_elsewhere_meanwhile_is_looked_up_after_all() {
    let mut here = gateway();
    let mut there = Gateway::named("gw-2", &here.store, |config| {
        config.presence = PresenceSettings::default();
    });
    let (a, _) = join(&mut here, "a");
    here.tell(a, &disconnect(ReasonCode::Success, None));
    let (a, _) = join(&mut there, "a");
    there.tell(a, &disconnect(ReasonCode::Success, None));
    let (_, looks) = join(&mut here, "a");
    assert_eq!(looks, 0, "it is found out by the claim");
    let a = presence(&mut here, "a");
    assert_eq!((a.version(), a.departures().count()), (Some(2), 2));
    assert_eq!(a.connection().unwrap().gateway, here.id);
    // And with an owner there.
    let (b, _) = join(&mut here, "b");
    here.tell(b, &disconnect(ReasonCode::Success, None));
    let (_, _) = join(&mut there, "b");
    let (_, _) = join(&mut here, "b");
    assert_eq!(here.record("b").unwrap().owner.unwrap().gateway, here.id);
    assert_eq!(presence(&mut here, "b").connection().unwrap().gateway, here.id);
}

#[test]
fn who_became_a_thing_meanwhile_is_one() {
    let mut gateway = gateway();
    let (a, _) = join(&mut gateway, "a");
    gateway.tell(a, &disconnect(ReasonCode::Success, None));
    let put = Put {
        space: Space::Thing,
        key: "a".into(),
        value: Some(vec![0; 9].into()),
        expect: Expect::Absent,
        announce: false,
    };
    let mut write = Write::default();
    write.puts.push(put);
    gateway.store.writer().unwrap().commit(&[write]).unwrap();
    join(&mut gateway, "a");
    let thing = presence(&mut gateway, "a").connection().unwrap().thing.clone();
    assert_eq!(thing.as_deref(), Some("a"));
}

#[test]
fn whose_leaving_could_not_be_written_is_looked_up() {
    let mut gateway = gateway();
    let (a, _) = join(&mut gateway, "a");
    gateway.send(a, &disconnect(ReasonCode::Success, None));
    gateway.store.inject(store::Fault::FailCommits { count: 1, why: store::Unavailable::Io });
    gateway.settle();
    let next = gateway.connect(clean("a"));
    gateway.settle();
    gateway.pass(200);
    assert_eq!(gateway.hear(next), ["CONNACK Success"]);
    let there = presence(&mut gateway, "a");
    assert_eq!((there.version(), there.departures().count()), (Some(1), 1));
}
