//! G3: a store that cannot do what it should.

use std::fs;
use std::path::Path;

use protocol::QoS;
use protocol::mqtt::ReasonCode;
use protocol::mqtt::codec::AckKind;
use tests::harness::{
    Dial, Ended, Fleet, Settings, eventually, fill_disk, get, run, small_disk, tidegate,
};

use super::pair::Pair;

#[test]
fn a_store_that_cannot_write_acknowledges_nothing_and_recovers() {
    // A gateway that cannot renew its lease is another promise.
    let lease = "[lease]\nttl_ms = 60000\n";
    let fleet = Fleet::start_with(1, &Settings::default().everywhere(lease));
    let mut device = Dial::v5("device").persistent().connect(fleet.mqtt(1));
    device.subscribe("g3", QoS::AtLeastOnce);
    device.disconnect();
    let pair = Pair::start(fleet.mqtt(1));
    let mut writer = Dial::v5("writer").connect(fleet.mqtt(1));
    writer.publish("g3", "before", QoS::AtLeastOnce);
    fleet.process(1).allow_file_bytes(Some(1));
    pair.unmoved_by("G3", || {
        let id = writer.start_publish("g3", "refused", QoS::AtLeastOnce).expect("an id");
        let reason = writer.answer_to(AckKind::PubAck, id);
        assert!(reason.is_error(), "{reason:?} for what is not stored");
    });
    assert!(fleet.metric(1, "tidegate_commit_failures_total") > 0);
    fleet.process(1).allow_file_bytes(None);
    writer.publish("g3", "after", QoS::AtLeastOnce);
    let mut device = Dial::v5("device").persistent().connect(fleet.mqtt(1));
    let texts = device.receive_until("after");
    assert_eq!(texts.first().map(String::as_str), Some("before"));
    // What was refused was not stored either: nothing of a commit that failed is left.
    assert_eq!(texts, ["before", "after"]);
    pair.assert_undisturbed();
}

#[test]
fn a_disk_that_is_full_stops_acknowledgements_until_there_is_room() {
    let lease = "[lease]\nttl_ms = 60000\n";
    let mut fleet = Fleet::prepare(1, &Settings::default().everywhere(lease));
    let folder = fleet.dir().join("store");
    fs::create_dir(&folder).expect("a folder");
    let Some(prelude) = small_disk(&folder, 24) else {
        // Such a machine tries it with files that may not grow, in the test above.
        println!("G3: no file system can be mounted here");
        return;
    };
    fleet.launch_in(1, &prelude);
    fleet.wait_ready(1);
    let mut device = Dial::v5("device").persistent().connect(fleet.mqtt(1));
    device.subscribe("g3", QoS::AtLeastOnce);
    device.disconnect();
    let pair = Pair::start(fleet.mqtt(1));
    let mut writer = Dial::v5("writer").connect(fleet.mqtt(1));
    let mut taken = Vec::new();
    let mut publish = |taken: &mut Vec<String>, text: String| {
        let id = writer.start_publish("g3", &text, QoS::AtLeastOnce).expect("an id");
        let reason = writer.answer_to(AckKind::PubAck, id);
        if reason.is_error() {
            assert_eq!(reason, ReasonCode::QuotaExceeded);
        } else {
            taken.push(text);
        }
        !reason.is_error()
    };
    assert!(publish(&mut taken, "before".to_owned()));
    // As the gateway sees the folder, and nobody else.
    let inside = format!("/proc/{}/root{}", fleet.process(1).id(), folder.display());
    let filler = Path::new(&inside).join("filler");
    for round in 0..3 {
        // Who comes while nothing can be written is told to come again.
        let mut old = Dial::v311("old").connect(fleet.mqtt(1));
        fill_disk(&filler);
        // The log of the store may have some room left in its file.
        let number = eventually_refused(round, |text| publish(&mut taken, text));
        println!("G3: full after {number} more publications");
        pair.unmoved_by("G3, full disk", || {
            let text = format!("{round} full {}", "x".repeat(5_000));
            publish(&mut taken, text);
        });
        // 3.1.1 has no word for it: no acknowledgement, and the connection ends.
        old.start_publish("g3", &"x".repeat(5_000), QoS::AtLeastOnce);
        assert_eq!(old.ended(), Ended::Closed);
        assert_eq!(get(fleet.place(1).http, "/healthz").map(|it| it.status), Some(200));
        fs::remove_file(&filler).expect("the file that is in the way");
        eventually("there is room again", || {
            publish(&mut taken, format!("{round} after")).then_some(())
        });
    }
    assert!(fleet.metric(1, "tidegate_commit_failures_total") > 0);
    assert!(publish(&mut taken, "last".to_owned()));
    let mut device = Dial::v5("device").persistent().connect(fleet.mqtt(1));
    // All that was acknowledged and nothing that was refused, in order.
    assert_eq!(device.receive_until("last"), taken);
    pair.assert_undisturbed();
}

/// Publishes until the store takes no more; answers how many it took.
fn eventually_refused(round: usize, mut publish: impl FnMut(String) -> bool) -> usize {
    let mut number = 0;
    while publish(format!("{round} {number} {}", "x".repeat(5_000))) {
        number += 1;
        assert!(number < 20_000, "the disk is full, and everything is taken");
    }
    number
}

#[test]
fn a_damaged_store_and_one_of_another_fleet_are_refused() {
    let mut fleet = Fleet::start(1);
    let mut device = Dial::v5("device").persistent().connect(fleet.mqtt(1));
    device.subscribe("t", QoS::AtLeastOnce);
    device.disconnect();
    fleet.stop(1);
    let file = fleet.configuration(1);
    let ours = fs::read_to_string(&file).expect("a configuration");
    // Two fleets on one folder.
    fs::write(&file, ours.replacen("[gateway]", "[gateway]\nfleet = \"other\"", 1))
        .expect("a file");
    let ran = run(tidegate(["run", "-c"]).arg(&file));
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("fleet"), "{ran:?}");
    fs::write(&file, ours).expect("a file");
    // Cut short.
    let database = fleet.dir().join("store").join("tidegate.db");
    let whole = fs::read(&database).expect("the database");
    fs::write(&database, whole.get(..whole.len() / 2).unwrap_or_default()).expect("a file");
    let ran = run(tidegate(["run", "-c"]).arg(&file));
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("damaged"), "{ran:?}");
    // It was left as it was, and is good again when it is whole again.
    fs::write(&database, whole).expect("a file");
    fleet.restart(1);
    let device = Dial::v5("device").persistent().connect(fleet.mqtt(1));
    assert!(device.session_present);
}
