//! A store that cannot write costs acknowledgements and nothing else, and is used again as soon as it can.
#![expect(clippy::panic, clippy::expect_used, reason = "a scenario may fail loudly")]

use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::path::Path;

use protocol::mqtt::ReasonCode;
use protocol::mqtt::codec::AckKind;
use protocol::{PacketId, QoS};
use tests::harness::{
    Answer, Client, Dial, Fleet, Settings, Signal, eventually, fill_disk, get, small_disk,
};

/// Long enough for any commit of a test, short enough to wait for a few times.
const BUSY: &str = "[store]\nbusy_ms = 1000\n";

const REFUSED_BUSY: &str = "tidegate_store_refused_total{reason=\"busy\"}";

/// The turn to write, held by this test as by a process that stands still.
fn lock(store: &Path) -> File {
    File::options().read(true).write(true).open(store.join("writer.lock")).expect("the lock file")
}

fn is_ready(fleet: &Fleet, number: usize) -> bool {
    get(fleet.place(number).http, "/readyz").is_some_and(|answer| answer.status == 200)
}

fn publish(writer: &mut Client, topic: &str, text: &str) -> ReasonCode {
    let id = writer.start_publish(topic, text, QoS::AtLeastOnce).expect("a packet id");
    writer.answer_to(AckKind::PubAck, id)
}

/// What a slow machine does not take at once is refused, and nothing of it is stored.
fn publish_until_taken(writer: &mut Client, topic: &str, text: &str) {
    eventually("the store takes it", || (!publish(writer, topic, text).is_error()).then_some(()));
}

#[test]
fn a_process_that_keeps_the_store_stops_acknowledgements_and_nothing_else() {
    let fleet = Fleet::start_with(2, &Settings::default().everywhere(BUSY));
    let mut reader = Dial::v5("reader").persistent().connect(fleet.mqtt(2));
    reader.subscribe("stored", QoS::AtLeastOnce);
    let mut listener = Dial::v5("listener").connect(fleet.mqtt(2));
    listener.subscribe("live", QoS::AtMostOnce);
    let mut writer = Dial::v5("writer").connect(fleet.mqtt(1));
    publish_until_taken(&mut writer, "stored", "before");

    let turn = lock(&fleet.dir().join("store"));
    turn.lock().expect("a turn");
    assert_eq!(publish(&mut writer, "stored", "refused"), ReasonCode::QuotaExceeded);
    for number in [1, 2] {
        // More renewals than a lease lasts.
        eventually("the store is given up again and again", || {
            (fleet.metric(number, REFUSED_BUSY) >= 4).then_some(())
        });
        assert_eq!(fleet.metric(number, "tidegate_store_writable"), 0);
        let ready = get(fleet.place(number).http, "/readyz").expect("an answer");
        assert_eq!(ready.status, 503, "{ready:?}");
        assert!(ready.body.contains("the store cannot be written"), "{ready:?}");
    }
    writer.publish("live", "goes on", QoS::AtMostOnce);
    assert_eq!(listener.receive().text, "goes on");
    match Dial::v5("newcomer").try_connect(fleet.mqtt(1)) {
        Answer::Refused { reason, .. } => assert_eq!(reason, ReasonCode::ServerUnavailable),
        other @ (Answer::Accepted(_) | Answer::Closed) => panic!("{other:?}"),
    }

    turn.unlock().expect("our lock");
    for number in [1, 2] {
        eventually("the gateway is ready again", || is_ready(&fleet, number).then_some(()));
    }
    publish_until_taken(&mut writer, "stored", "after");
    // Nobody was taken for dead meanwhile, so everybody is where they were.
    assert_eq!(reader.receive().text, "before");
    assert_eq!(reader.receive().text, "after");
    writer.publish("live", "and on", QoS::AtMostOnce);
    assert_eq!(listener.receive().text, "and on");
    for number in [1, 2] {
        assert_eq!(fleet.serving(number).len(), 2);
    }
}

#[test]
fn a_gateway_frozen_inside_a_commit_holds_the_others_up_until_it_goes_on_or_is_gone() {
    let mut fleet = Fleet::start_with(2, &Settings::default().everywhere(BUSY));
    let mut reader = Dial::v5("reader").persistent().connect(fleet.mqtt(1));
    reader.subscribe("t", QoS::AtLeastOnce);
    reader.disconnect();
    let mut writer = Dial::v5("writer").connect(fleet.mqtt(1));
    let mut frozen = Dial::v5("frozen").connect(fleet.mqtt(2));
    let mut acknowledged = BTreeSet::new();
    for goes_on in [true, false] {
        let open = freeze_inside_a_commit(&fleet, 2, &mut frozen, &mut acknowledged);
        assert_eq!(publish(&mut writer, "t", "refused"), ReasonCode::QuotaExceeded);
        assert!(!is_ready(&fleet, 1));
        if goes_on {
            fleet.process(2).send(Signal::Continue);
            finish(&mut frozen, open, &mut acknowledged);
        } else {
            fleet.kill(2);
        }
        eventually("the other gateway is ready again", || is_ready(&fleet, 1).then_some(()));
        let text = format!("after, {goes_on}");
        publish_until_taken(&mut writer, "t", &text);
        acknowledged.insert(text);
    }
    let mut reader = Dial::v5("reader").persistent().connect(fleet.mqtt(1));
    let received: BTreeSet<_> = reader.receive_until("after, false").into_iter().collect();
    assert!(received.is_superset(&acknowledged), "{:?}", acknowledged.difference(&received));
    assert!(!received.contains("refused"));
}

/// Publications that are not acknowledged yet.
type Open = Vec<(PacketId, String)>;

/// Stops a gateway at moments until one lies inside a commit of what this client publishes.
fn freeze_inside_a_commit(
    fleet: &Fleet,
    number: usize,
    client: &mut Client,
    acknowledged: &mut BTreeSet<String>,
) -> Open {
    let lock = lock(&fleet.dir().join("store"));
    let is_free = || match lock.try_lock() {
        Ok(()) => {
            lock.unlock().expect("our lock");
            true
        }
        Err(TryLockError::WouldBlock) => false,
        Err(TryLockError::Error(error)) => panic!("{error}"),
    };
    let mut round = 0;
    loop {
        round += 1;
        let mut open = Vec::new();
        for part in 0..20 {
            let text = format!("{}, {round}, {part}", acknowledged.len());
            let id = client.start_publish("t", &text, QoS::AtLeastOnce).expect("a packet id");
            open.push((id, text));
        }
        fleet.process(number).stop();
        // Whoever else has the turn gives it up before long; only then does the other gateway wait for one in vain.
        let other = 3 - number;
        let before = fleet.metric(other, REFUSED_BUSY);
        let frozen = eventually("the turn is free, or is not to be had", || {
            if is_free() {
                return Some(false);
            }
            (fleet.metric(other, REFUSED_BUSY) >= before + 2).then_some(true)
        });
        if frozen {
            return open;
        }
        fleet.process(number).send(Signal::Continue);
        finish(client, open, acknowledged);
    }
}

fn finish(client: &mut Client, open: Open, acknowledged: &mut BTreeSet<String>) {
    for (id, text) in open {
        // On a slow machine the other gateway may have had the store for too long.
        if !client.answer_to(AckKind::PubAck, id).is_error() {
            acknowledged.insert(text);
        }
    }
}

/// What stands in the way of the store, and the reason that is counted then.
struct Trouble<'a> {
    begin: &'a dyn Fn(&Fleet),
    end: &'a dyn Fn(&Fleet),
    refused: &'a str,
}

#[test]
fn a_full_disk_stops_acknowledgements_until_there_is_room() {
    let mut fleet = Fleet::prepare(1, &Settings::default());
    let folder = fleet.dir().join("store");
    std::fs::create_dir(&folder).expect("a folder");
    let Some(prelude) = small_disk(&folder, 6) else {
        // Not everybody may mount; the next test is about the same without a disk.
        return;
    };
    fleet.launch_in(1, &prelude);
    fleet.wait_ready(1);
    // As the gateway sees the folder, and nobody else.
    let inside = format!("/proc/{}/root{}", fleet.process(1).id(), folder.display());
    let filler = Path::new(&inside).join("filler");
    let fill = |_: &Fleet| fill_disk(&filler);
    let make_room = |_: &Fleet| std::fs::remove_file(&filler).expect("our file");
    passes_a_trouble(
        &fleet,
        &Trouble {
            begin: &fill,
            end: &make_room,
            refused: "tidegate_store_refused_total{reason=\"full\"}",
        },
    );
}

#[test]
fn a_disk_that_fails_stops_acknowledgements_until_it_works() {
    let fleet = Fleet::start(1);
    passes_a_trouble(
        &fleet,
        &Trouble {
            begin: &|fleet| fleet.process(1).allow_file_bytes(Some(1)),
            end: &|fleet| fleet.process(1).allow_file_bytes(None),
            refused: "tidegate_store_refused_total{reason=\"io\"}",
        },
    );
}

/// Devices stay, QoS 0 goes on, what must be stored is refused, sessions stay where they are; then it goes on by itself, and
/// what was acknowledged is there.
fn passes_a_trouble(fleet: &Fleet, trouble: &Trouble<'_>) {
    let mut away = Dial::v5("away").persistent().connect(fleet.mqtt(1));
    away.subscribe("stored", QoS::AtLeastOnce);
    away.disconnect();
    let mut here = Dial::v5("here").persistent().connect(fleet.mqtt(1));
    here.subscribe("stored", QoS::AtLeastOnce);
    let mut listener = Dial::v5("listener").connect(fleet.mqtt(1));
    listener.subscribe("live", QoS::AtMostOnce);
    let mut writer = Dial::v5("writer").connect(fleet.mqtt(1));
    let mut acknowledged = Vec::new();
    let mut store = |writer: &mut Client, number: usize| {
        let text = format!("{number}");
        let reason = publish(writer, "stored", &text);
        if !reason.is_error() {
            acknowledged.push(text);
        }
        reason
    };
    (0..10).for_each(|number| assert_eq!(store(&mut writer, number), ReasonCode::Success));

    (trouble.begin)(fleet);
    // What lay free in the files may be filled first.
    let refused = (10..10_000).find(|number| store(&mut writer, *number).is_error());
    let refused = refused.expect("a store that cannot write refuses");
    assert_eq!(store(&mut writer, refused + 1), ReasonCode::QuotaExceeded);
    eventually("it is not ready", || (!is_ready(fleet, 1)).then_some(()));
    assert!(fleet.metric(1, trouble.refused) > 0);
    writer.publish("live", "goes on", QoS::AtMostOnce);
    assert_eq!(listener.receive().text, "goes on");
    for client in ["newcomer", "away"] {
        match Dial::v5(client).persistent().try_connect(fleet.mqtt(1)) {
            Answer::Refused { reason, .. } => assert_eq!(reason, ReasonCode::ServerUnavailable),
            other @ (Answer::Accepted(_) | Answer::Closed) => panic!("{client}: {other:?}"),
        }
    }
    here.ping();

    (trouble.end)(fleet);
    eventually("it is ready again", || is_ready(fleet, 1).then_some(()));
    assert_eq!(store(&mut writer, 20_000), ReasonCode::Success);
    writer.publish("live", "and on", QoS::AtMostOnce);
    assert_eq!(listener.receive().text, "and on");
    let mut away = Dial::v5("away").persistent().connect(fleet.mqtt(1));
    assert!(away.session_present);
    for reader in [&mut away, &mut here] {
        assert_eq!(reader.receive_until("20000"), acknowledged, "{}", reader.id());
    }
}
