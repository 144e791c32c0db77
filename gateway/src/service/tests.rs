//! What the keeper finds in a store, and how numbers are given out.

use bytes::Bytes;
use maintenance::rendezvous;
use protocol::session::{Owner, SessionRecord, StoredSubscription, StoredWill};
use protocol::{ClientId, GatewayId, Incarnation, Publication, QoS, SessionEpoch, SessionNo, Wall};
use store::{
    Doc, Expect, MemoryStore, Outcome, Put, Reader, Rev, Space, Store as _, Write, Writer,
};

use super::{keeper, numbers};

const NOW: Wall = Wall(100_000);

struct Fleet {
    writer: Box<dyn Writer>,
    reader: Box<dyn Reader>,
}

impl Fleet {
    fn new() -> Self {
        let store = MemoryStore::new();
        Self { writer: store.writer().unwrap(), reader: store.reader().unwrap() }
    }

    fn put(&mut self, space: Space, key: &str, value: Bytes) {
        let mut write = Write::default();
        let key = Bytes::copy_from_slice(key.as_bytes());
        let (value, expect) = (Some(value), Expect::Any);
        write.puts.push(Put { space, key, value, expect, announce: false });
        assert!(matches!(self.commit(&write), Outcome::Done { .. }));
    }

    fn commit(&mut self, write: &Write) -> Outcome {
        self.writer.commit(std::slice::from_ref(write)).unwrap().outcomes.remove(0)
    }

    fn record(&mut self, client: &str) -> Option<SessionRecord> {
        let doc = self.reader.get(Space::Session, client.as_bytes()).unwrap();
        doc.map(|doc| SessionRecord::decode(&doc.value).unwrap())
    }

    /// A will of a session in this ownership that is due then.
    fn will(&mut self, client: &str, due: Wall, epoch: u64) {
        let value = [due.0.to_be_bytes(), epoch.to_be_bytes()].concat();
        self.put(Space::Will, client, value.into());
    }

    fn session(&mut self, client: &str, record: &SessionRecord) {
        self.put(Space::Session, client, record.encode());
    }

    /// Writes off what `gw-dead` owned, and what has expired.
    fn write_off(&mut self) -> Vec<Write> {
        let is_dead = |owner: &Owner| owner.gateway.as_str() == "gw-dead";
        keeper::orphans(&mut *self.reader, &|_| true, &is_dead, (NOW, std::time::Duration::ZERO))
            .unwrap()
    }
}

fn gateway(name: &str) -> GatewayId {
    GatewayId::new(name).unwrap()
}

/// A session that is kept for a minute, with a will that waits ten seconds.
fn record(owner: Option<&str>) -> SessionRecord {
    let mut record = SessionRecord::new(SessionNo(1), SessionEpoch(4), 60);
    record.owner = owner.map(|name| Owner { gateway: gateway(name), incarnation: Incarnation(1) });
    record.will = Some(StoredWill {
        publication: Publication::new("will", &[], b"gone", QoS::AtMostOnce, false),
        delay_s: 10,
        expiry_s: None,
    });
    record
}

#[test]
fn a_will_is_due_at_its_time_if_nobody_owns_its_session() {
    let mut fleet = Fleet::new();
    for (client, due, epoch, owner) in [
        ("due", NOW, 4, None),
        ("later", Wall(NOW.0 + 1), 4, None),
        ("back", NOW, 4, Some("gw-1")),
        ("another ownership", NOW, 3, None),
    ] {
        fleet.will(client, due, epoch);
        fleet.session(client, &record(owner));
    }
    fleet.will("no session", NOW, 4);
    fleet.put(Space::Will, "damaged", Bytes::from_static(b"x"));
    let me = gateway("gw-1");
    let due = keeper::due_wills(&mut *fleet.reader, &me, std::slice::from_ref(&me), NOW).unwrap();
    let clients: Vec<_> = due.iter().map(|due| due.client.as_str()).collect();
    assert_eq!(clients, ["due"]);
    assert_eq!(*due[0].record, record(None));
}

#[test]
fn a_session_that_cannot_be_read_is_left_as_it_is() {
    let mut fleet = Fleet::new();
    let mut newer = record(Some("gw-dead")).encode().to_vec();
    newer[8] = 0xff;
    fleet.put(Space::Session, "c", newer.into());
    fleet.will("c", NOW, 4);
    assert!(fleet.write_off().is_empty());
    let me = gateway("gw-1");
    let due = keeper::due_wills(&mut *fleet.reader, &me, std::slice::from_ref(&me), NOW).unwrap();
    assert!(due.is_empty());
}

#[test]
fn every_will_has_one_keeper_among_the_living() {
    let mut fleet = Fleet::new();
    for number in 0..600 {
        fleet.will(&number.to_string(), NOW, 4);
        fleet.session(&number.to_string(), &record(None));
    }
    let live = ["gw-1", "gw-2", "gw-3"].map(gateway);
    let mut kept = Vec::new();
    for me in &live {
        let due = keeper::due_wills(&mut *fleet.reader, me, &live, NOW).unwrap();
        assert!(due.iter().all(|due| rendezvous(&due.client, &live) == Some(me)));
        assert!(due.len() > 100, "{me} looks after its share");
        kept.extend(due.into_iter().map(|due| due.client));
    }
    kept.sort_unstable();
    kept.dedup();
    assert_eq!(kept.len(), 600);
}

#[test]
fn what_a_dead_gateway_owned_is_written_off() {
    let mut fleet = Fleet::new();
    fleet.session("a", &record(Some("gw-dead")));
    fleet.session("alive", &record(Some("gw-1")));
    fleet.session("offline", &record(None));
    let writes = fleet.write_off();
    assert_eq!(writes.len(), 1);
    assert!(matches!(fleet.commit(&writes[0]), Outcome::Done { .. }));
    let found = fleet.record("a").unwrap();
    assert_eq!((found.owner.clone(), found.detached_at), (None, Some(NOW)));
    assert!(found.orphaned && !found.will_parked);
    assert!(found.epoch > record(None).epoch, "what its owner still writes is refused");
    let will = fleet.reader.get(Space::Will, b"a").unwrap().unwrap();
    let due = [110_000_u64.to_be_bytes(), found.epoch.0.to_be_bytes()].concat();
    assert_eq!(will.value, due);
    let live = [gateway("gw-1")];
    let due = keeper::due_wills(&mut *fleet.reader, &live[0], &live, Wall(110_000)).unwrap();
    assert_eq!(due.len(), 1);
}

#[test]
fn the_will_of_a_dead_gateways_client_waits_at_most_as_long_as_its_session() {
    for (expiry_s, due) in [(60, 110_000_u64), (3, 103_000), (0, 100_000)] {
        let mut fleet = Fleet::new();
        fleet.session("a", &SessionRecord { expiry_s, ..record(Some("gw-dead")) });
        let writes = fleet.write_off();
        fleet.commit(&writes[0]);
        let will = fleet.reader.get(Space::Will, b"a").unwrap().unwrap();
        assert_eq!(will.value[..8], due.to_be_bytes());
    }
}

#[test]
fn a_session_that_was_claimed_meanwhile_is_not_written_off() {
    let mut fleet = Fleet::new();
    fleet.session("a", &record(Some("gw-dead")));
    let writes = fleet.write_off();
    fleet.session("a", &record(Some("gw-1")));
    assert!(matches!(fleet.commit(&writes[0]), Outcome::Conflict { .. }));
    assert_eq!(fleet.record("a"), Some(record(Some("gw-1"))));
    assert_eq!(fleet.reader.get(Space::Will, b"a").unwrap(), None);
}

#[test]
fn a_clean_session_of_a_dead_gateway_lives_as_long_as_its_will() {
    let mut fleet = Fleet::new();
    let clean = SessionRecord { no: SessionNo(0), expiry_s: 0, ..record(Some("gw-dead")) };
    fleet.session("will", &clean);
    fleet.session("no will", &SessionRecord { will: None, ..clean });
    // First everyone hears that nobody owns them any more, then what nobody needs goes.
    for is_told in [true, false] {
        for write in fleet.write_off() {
            let session = write.puts.iter().find(|put| put.space == Space::Session).unwrap();
            assert_eq!(session.announce, is_told, "its owner may only have been cut off");
            fleet.commit(&write);
        }
        assert!(fleet.record("will").is_some_and(|record| record.owner.is_none()));
    }
    assert_eq!(fleet.record("no will"), None);
    assert!(fleet.write_off().is_empty(), "its will comes first");
}

#[test]
fn a_session_ends_when_it_has_expired_and_its_will_is_out() {
    let mut fleet = Fleet::new();
    let detached = |millis: u64| SessionRecord {
        detached_at: Some(Wall(NOW.0 - millis)),
        will: None,
        ..record(None)
    };
    fleet.session("expired", &detached(60_000));
    fleet.session("in time", &detached(59_999));
    fleet.session("with a will", &SessionRecord { will: record(None).will, ..detached(60_000) });
    fleet.session("for ever", &SessionRecord { expiry_s: u32::MAX, ..detached(60_000) });
    let writes = fleet.write_off();
    let keys: Vec<_> = writes.iter().map(|write| &*write.puts[0].key).collect();
    assert_eq!(keys, [b"expired"]);
    assert!(writes[0].puts[0].announce, "everybody forgets its queue");
    fleet.commit(&writes[0]);
    assert_eq!(fleet.record("expired"), None);
}

#[test]
fn what_an_expired_member_of_a_group_has_not_acknowledged_is_left_to_the_group() {
    let mut fleet = Fleet::new();
    let subscription = StoredSubscription {
        filter: "$share/g/t".into(),
        qos: QoS::AtLeastOnce,
        no_local: false,
        retain_as_published: false,
        id: None,
    };
    let (subscriptions, detached_at) = (vec![subscription], Some(Wall(NOW.0 - 60_000)));
    let member = SessionRecord { will: None, subscriptions, detached_at, ..record(None) };
    fleet.session("member", &member);
    let writes = fleet.write_off();
    let spaces: Vec<_> = writes[0].puts.iter().map(|put| put.space).collect();
    assert_eq!(spaces, [Space::Estate, Space::Session], "before the end of the session is told");
}

#[test]
fn a_keeper_leaves_the_clients_of_others_alone() {
    let mut fleet = Fleet::new();
    fleet.session("mine", &record(Some("gw-dead")));
    fleet.session("theirs", &record(Some("gw-dead")));
    let is_mine = |client: &ClientId| client.as_str() == "mine";
    let writes =
        keeper::orphans(&mut *fleet.reader, &is_mine, &|_| true, (NOW, std::time::Duration::ZERO))
            .unwrap();
    assert_eq!(writes.len(), 1);
    assert_eq!(writes[0].puts[0].key, "mine");
}

#[test]
fn blocks_of_session_numbers_never_overlap() {
    let mut fleet = Fleet::new();
    let stands = |fleet: &mut Fleet| fleet.reader.get(Space::Counter, numbers::KEY).unwrap();
    let (first, block) = numbers::take(None).unwrap();
    let (rival, _) = numbers::take(None).unwrap();
    assert_eq!(block.0, 1, "0 is no session");
    assert!(matches!(fleet.commit(&first), Outcome::Done { .. }));
    assert!(matches!(fleet.commit(&rival), Outcome::Conflict { .. }));
    let doc = stands(&mut fleet);
    let (second, next) = numbers::take(doc.as_ref()).unwrap();
    assert_eq!(next.0, block.1);
    assert!(matches!(fleet.commit(&second), Outcome::Done { .. }));
}

#[test]
fn the_last_block_of_session_numbers_is_the_last() {
    let doc = |value: &[u8]| Doc { rev: Rev(1), value: Bytes::copy_from_slice(value) };
    let (_, (from, to)) = numbers::take(Some(&doc(&(u32::MAX - 4096).to_be_bytes()))).unwrap();
    assert_eq!((from, to), (u32::MAX - 4096, u32::MAX));
    assert!(numbers::take(Some(&doc(&u32::MAX.to_be_bytes()))).is_none());
    assert!(numbers::take(Some(&doc(b"abc"))).is_none(), "damaged");
}
