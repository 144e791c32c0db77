//! Work of seconds that all gateways could do at any time is done by one of them at a time; who dies in it holds nobody up, and what
//! must be done is done in the end.
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a scenario may fail loudly")]

use std::collections::BTreeMap;
use std::time::Duration;

use maintenance::pauses::{PauseFor, PauseHolder, Pauses};
use protocol::{GatewayId, Incarnation, QoS, Wall};
use serde_json::{Value, json};
use store::{Expect, Outcome, Put, Space, SqliteOptions, SqliteStore, Store as _, Write};
use tests::harness::{Client, Dial, Fleet, Settings, eventually};

/// Where gateways have their micro slots.
const KEY: &[u8] = b"pauses";
/// How they count what they have done in one, and what they have done without.
const HELD: &str = "tidegate_maintenance_pauses_total{work=\"checkpoint\",slot=\"held\"}";
const ALONE: &str = "tidegate_maintenance_pauses_total{work=\"checkpoint\",slot=\"none\"}";

#[test]
fn two_gateways_never_move_the_log_at_once() {
    let often =
        "[store]\nbusy_ms = 30000\ncheckpoint_pages = 256\n[maintenance]\npause_wait_s = 3600\n";
    let mut fleet = Fleet::prepare(2, &Settings::default().everywhere(often));
    for number in [1, 2] {
        // Each begin and each end is told.
        fleet.launch_in(number, "TIDEGATE_LOG=info,tidegate::pauses=debug; export TIDEGATE_LOG");
    }
    (1..=2).for_each(|number| fleet.wait_ready(number));
    fleet.wait_linked();
    let mut writers =
        [1, 2].map(|number| Dial::v5(&format!("writer-{number}")).connect(fleet.mqtt(number)));
    eventually("both have moved the log a few times", || {
        writers.iter_mut().for_each(fill);
        let shown = fleet.api(1, "/api/v1/maintenance/visits");
        let held = shown["pauses"].as_array().expect("a list of pauses").len();
        assert!(held <= 1, "{shown}");
        (1..=2).all(|number| fleet.metric(number, HELD) >= 3).then_some(())
    });
    let copy = fleet.dir().join("copy.db");
    let file = fleet.configuration(1);
    let [copy, file] = [&copy, &file].map(|path| path.to_str().expect("a path in UTF-8"));
    let ran = fleet.command(&["store", "backup", copy, "--config", file]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    // What was held has ended, by the word of whoever held it.
    eventually("nobody pauses", || {
        let shown = fleet.api(2, "/api/v1/maintenance/visits");
        shown["pauses"].as_array().expect("a list of pauses").is_empty().then_some(())
    });
    assert_eq!(fleet.metric(1, "tidegate_maintenance_pauses_left_total"), 0);
    for number in [1, 2] {
        fleet.stop(number);
    }
    one_at_a_time(&fleet);
}

#[test]
fn a_holder_that_dies_holds_nobody_up_and_what_must_be_done_is_done_in_the_end() {
    // The second gateway has never anything to do, and holds a micro slot all the same.
    let settings = Settings::mortal()
        .everywhere("[maintenance]\npause_wait_s = 3600\n")
        .only(1, "[store]\nbusy_ms = 30000\ncheckpoint_pages = 256\n")
        .only(2, "[store]\nbusy_ms = 30000\ncheckpoint_pages = 1000000\n");
    let mut fleet = Fleet::start_with(2, &settings);
    hold(&fleet, 2);
    let mut writer = Dial::v5("writer").connect(fleet.mqtt(1));
    (0..5).for_each(|_| fill(&mut writer));
    eventually("there is no micro slot", || {
        (fleet.metric(1, "tidegate_maintenance_pauses_refused_total") > 2).then_some(())
    });
    let ran = fleet.command(&["maintenance", "slots"]);
    assert!(ran.out.contains("gw-2") && ran.out.contains("micro"), "{ran:?}");
    let held = fleet.maintain("slots");
    assert_eq!(held["slots"], json!([]), "a pause is no slot of the ledger: {held}");
    let pause = |pause: &Value| [pause["by"]["gateway"]["id"].clone(), pause["for"].clone()];
    let pauses: Vec<_> = held["pauses"].as_array().into_iter().flatten().map(pause).collect();
    assert_eq!(pauses, [[json!("gw-2"), json!("checkpoint")]], "{held}");
    assert_eq!((fleet.metric(1, HELD), fleet.metric(1, ALONE)), (0, 0));

    let path = fleet.configuration(1);
    let text = std::fs::read_to_string(&path).expect("a configuration");
    let beside = path.with_extension("new");
    std::fs::write(&beside, text.replace("wait_s = 3600", "wait_s = 1")).expect("a file of ours");
    std::fs::rename(beside, path).expect("a file of ours");
    eventually("it is done without", || (fleet.metric(1, ALONE) > 0).then_some(()));
    let log = std::fs::read_to_string(fleet.dir().join("gw-1.log")).expect("a log");
    let why = "no micro slot for checkpoint, which is done without: gw-2 pauses for checkpoint";
    assert!(log.contains(why), "{log}");
    assert_eq!(fleet.metric(1, HELD), 0);

    fleet.kill(2);
    eventually("the micro slot is free", || {
        fill(&mut writer);
        (fleet.metric(1, HELD) > 0).then_some(())
    });
    assert_eq!(fleet.metric(1, "tidegate_maintenance_pauses_left_total"), 1);
}

/// Some 80 pages of the store's log of changes, which leave nothing behind but one message.
fn fill(writer: &mut Client) {
    let text = "x".repeat(20_000);
    let topic = format!("kept/{}", writer.id());
    for _ in 0..32 {
        writer.publish_retained(&topic, &text, QoS::AtLeastOnce);
    }
}

/// Whoever looks at the logs of both sees that each pause had ended when the next one began.
fn one_at_a_time(fleet: &Fleet) {
    let mut told = Vec::new();
    for number in [1, 2] {
        let log = fleet.dir().join(format!("gw-{number}.log"));
        let log = std::fs::read_to_string(log).expect("a log");
        for line in log.lines().filter(|line| line.contains("tidegate::pauses")) {
            let (moment, _) = line.trim_start().split_once(' ').expect("a moment");
            let which = line.rsplit_once("number=").and_then(|(_, number)| number.parse().ok());
            let begins = line.contains("pauses for");
            assert!(begins || line.contains("pauses no longer"), "{line}");
            let which: u64 = which.unwrap_or_else(|| unreadable(line));
            told.push((moment.to_owned(), which, begins));
        }
    }
    told.sort();
    let (mut open, mut seen) = (None, BTreeMap::new());
    for (moment, which, begins) in told {
        if begins {
            assert_eq!(open, None, "{which} began at {moment}");
            open = Some(which);
            *seen.entry(which).or_insert(0) += 1;
        } else {
            assert_eq!(open, Some(which), "{which} ended at {moment}");
            open = None;
        }
    }
    assert!(seen.len() >= 6 && seen.values().all(|times| *times == 1), "{seen:?}");
}

#[expect(clippy::panic, reason = "a scenario may fail loudly")]
fn unreadable(line: &str) -> u64 {
    panic!("no number in {line}")
}

/// Writes down that the life of this gateway pauses.
fn hold(fleet: &Fleet, number: usize) {
    let about = fleet.api(number, "/api/v1/gateway");
    let life = about["incarnation"].as_u64().expect("a life");
    let id = GatewayId::new(&format!("gw-{number}")).expect("a name");
    let by = PauseHolder::Gateway { id, life: Incarnation(life) };
    let options = SqliteOptions { busy: Duration::from_secs(60), ..SqliteOptions::default() };
    let store = SqliteStore::existing(&fleet.dir().join("store"), options).expect("a store");
    let (mut reader, mut writer) =
        (store.reader().expect("a reader"), store.writer().expect("a writer"));
    eventually("it is written down", || {
        let stands = reader.get(Space::Maintenance, KEY).expect("a store that can be read");
        let known = stands.as_ref().map(|doc| Pauses::decode(&doc.value).expect("pauses"));
        let mut pauses = known.unwrap_or_default();
        pauses.begin(&by, PauseFor::Checkpoint, (1, Wall(1)), |_| true).ok()?;
        let mut write = Write::default();
        write.puts.push(Put {
            space: Space::Maintenance,
            key: KEY.into(),
            value: Some(pauses.encode().expect("bytes").into()),
            expect: stands.map_or(Expect::Absent, |doc| Expect::Rev(doc.rev)),
            announce: false,
        });
        let commit = writer.commit(&[write]).expect("a store that can be written");
        matches!(commit.outcomes.first(), Some(Outcome::Done { .. })).then_some(())
    });
}
