//! The store of a running fleet is copied, and put back after the worst has happened.

use std::fs;

use protocol::QoS;
use tests::harness::{Dial, Fleet, Ran};

fn store(fleet: &Fleet, arguments: &[&str]) -> Ran {
    fleet.command(&[&["store"], arguments].concat())
}

#[test]
fn a_backup_of_a_running_fleet_brings_back_what_was_there_when_it_was_made() {
    let mut fleet = Fleet::start(2);
    let mut reader = Dial::v5("reader").persistent().connect(fleet.mqtt(1));
    reader.subscribe("t", QoS::AtLeastOnce);
    reader.disconnect();
    let mut writer = Dial::v5("writer").connect(fleet.mqtt(2));
    writer.publish("t", "before", QoS::AtLeastOnce);
    let file = fleet.dir().join("backup.db").display().to_string();

    let made = store(&fleet, &["backup", &file]);
    assert_eq!(made.code, Some(0), "{made:?}");
    assert!(made.out.contains("whole"), "{made:?}");
    assert!(made.err.contains("copied 100 %"), "{made:?}");
    let again = store(&fleet, &["backup", &file]);
    assert_eq!(again.code, Some(4), "{again:?}");
    writer.publish("t", "after", QoS::AtLeastOnce);
    let checked = store(&fleet, &["check", "--json"]);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    let told: serde_json::Value = serde_json::from_str(&checked.out).expect("JSON");
    assert_eq!((told["ok"].as_bool(), told["publications"].as_u64()), (Some(true), Some(2)));
    let in_use = store(&fleet, &["restore", "--force", &file]);
    assert_eq!(in_use.code, Some(4), "{in_use:?}");
    assert!(in_use.err.contains("in use"), "{in_use:?}");

    fleet.kill(1);
    fleet.kill(2);
    let there = store(&fleet, &["restore", &file]);
    assert_eq!(there.code, Some(4), "{there:?}");
    let put_back = store(&fleet, &["restore", "--force", "--json", &file]);
    assert_eq!(put_back.code, Some(0), "{put_back:?}");
    fleet.restart(1);
    let mut reader = Dial::v5("reader").persistent().connect(fleet.mqtt(1));
    assert!(reader.session_present);
    assert_eq!(reader.receive().text, "before");
    Dial::v5("writer").connect(fleet.mqtt(1)).publish("t", "next", QoS::AtLeastOnce);
    assert_eq!(reader.receive().text, "next");
}

#[test]
fn what_is_damaged_or_not_there_is_told_by_the_exit_code() {
    let mut fleet = Fleet::start(1);
    let file = fleet.dir().join("backup.db");
    let name = file.display().to_string();
    assert_eq!(store(&fleet, &["backup", &name]).code, Some(0));
    fleet.stop(1);
    let whole = fs::read(&file).expect("the backup");
    fs::write(&file, whole.get(..whole.len() / 2).unwrap_or_default()).expect("a file");
    for arguments in [&["check", name.as_str()][..], &["restore", "--force", &name]] {
        let ran = store(&fleet, arguments);
        assert_eq!(ran.code, Some(6), "{arguments:?}: {ran:?}");
    }
    // Nothing happened to the store, which a configuration file names as well.
    let configuration = fleet.configuration(1).display().to_string();
    let ran = store(&fleet, &["check", "-c", &configuration]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    fs::remove_dir_all(fleet.dir().join("store")).expect("a folder");
    assert_eq!(store(&fleet, &["check"]).code, Some(1));
    assert_eq!(store(&fleet, &["backup"]).code, Some(64));
}
