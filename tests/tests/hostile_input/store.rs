//! G3: a store that cannot do what it should.

use std::fs;

use protocol::QoS;
use protocol::mqtt::codec::AckKind;
use tests::harness::{Dial, Fleet, Settings, run, tidegate};

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
