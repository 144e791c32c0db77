//! S5: a client that shows a position resumes exactly there; a position that is too old gets an explicit answer, never a
//! silent gap.

use std::net::SocketAddr;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use protocol::QoS;
use tests::harness::{Client, Dial, Fleet, Message, Settings};

const LEVELS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

#[test]
fn a_client_gets_exactly_what_follows_the_position_it_shows_at_either_gateway() {
    let fleet = fleet_of(2, "");
    let mut reader = begin(&fleet, 1, "reader");
    let mut writer = Dial::v5("writer").connect(fleet.mqtt(2));
    publish_mixed(&mut writer, 0..60);
    let mut seen = receive(&mut reader, 0..60);
    reader.disconnect();
    // Also what came while it was away, at every level.
    publish_mixed(&mut writer, 60..66);
    for (turn, known) in [59, 65, 40, 7, 0, 41, 23].into_iter().enumerate() {
        let newest = 66 + turn;
        let mut reader = resume(fleet.mqtt(turn % 2 + 1), "reader", &seen[known], "exact");
        let again = receive(&mut reader, known + 1..newest);
        for (before, again) in seen.iter().skip(known + 1).zip(&again) {
            assert_eq!(before.position, again.position, "a message keeps its position");
        }
        seen.truncate(known + 1);
        seen.extend(again);
        // And what follows is what is new.
        publish_mixed(&mut writer, newest..newest + 1);
        seen.extend(receive(&mut reader, newest..newest + 1));
        reader.disconnect();
    }
}

#[test]
fn a_client_goes_back_and_forth_between_gateways_while_messages_flow() {
    let fleet = fleet_of(2, "");
    let mut reader = begin(&fleet, 1, "reader");
    let writing = flow(fleet.mqtt(2), 1_500);
    let mut seen: Vec<Message> = Vec::new();
    let mut turn = 0;
    while seen.len() < 1_500 {
        let more = (seen.len() + 130).min(1_500);
        let got = receive(&mut reader, seen.len()..more);
        seen.extend(got);
        turn += 1;
        // The older connection stands when the newer one comes, every other time.
        if turn % 2 == 0 {
            drop(reader);
        }
        let back = seen.len() - 1 - turn * 7 % 60;
        reader = resume(fleet.mqtt(turn % 2 + 1), "reader", &seen[back].clone(), "exact");
        seen.truncate(back + 1);
        if more == 1_500 {
            break;
        }
    }
    receive(&mut reader, seen.len()..1_500);
    writing.join().unwrap();
}

#[test]
fn a_client_resumes_exactly_when_its_gateway_is_killed() {
    let mut fleet = fleet_of(2, "");
    let mut reader = begin(&fleet, 1, "reader");
    let writing = flow(fleet.mqtt(2), 900);
    let mut seen = receive(&mut reader, 0..200);
    fleet.kill(1);
    let mut reader = resume(fleet.mqtt(2), "reader", &seen[199], "exact");
    seen.extend(receive(&mut reader, 200..400));
    let mut reader = resume(fleet.mqtt(2), "reader", &seen[120], "exact");
    seen.truncate(121);
    seen.extend(receive(&mut reader, 121..900));
    writing.join().unwrap();
    // What is known of the queue is read from the log again.
    fleet.kill(2);
    fleet.restart(1);
    fleet.restart(2);
    let mut reader = resume(fleet.mqtt(1), "reader", &seen[333], "exact");
    receive(&mut reader, 334..900);
}

#[test]
fn a_position_that_is_too_old_is_answered_with_the_earliest_and_what_is_left() {
    let fleet = fleet_of(2, "[resume]\nkeep_messages = 5\n");
    let mut reader = begin(&fleet, 1, "reader");
    let mut writer = Dial::v5("writer").connect(fleet.mqtt(2));
    publish_mixed(&mut writer, 0..20);
    let seen = receive(&mut reader, 0..20);
    reader.disconnect();
    let mut reader = resume(fleet.mqtt(2), "reader", &seen[3], "truncated");
    assert_eq!(told(&reader, "tidegate-position"), seen[14].position.as_deref());
    receive(&mut reader, 15..20);
    reader.disconnect();
    let mut reader = resume(fleet.mqtt(1), "reader", &seen[14], "exact");
    receive(&mut reader, 15..20);
}

#[test]
fn what_is_no_position_of_this_session_is_refused_and_nothing_is_lost_by_it() {
    let (fleet, other_fleet) = (fleet_of(2, ""), fleet_of(1, ""));
    let mut writers = [&fleet, &other_fleet].map(|it| Dial::v5("writer").connect(it.mqtt(1)));
    let mut shown = Vec::new();
    for (fleet, name, writer) in [(&fleet, "another", 0), (&other_fleet, "reader", 1)] {
        let mut reader = begin(fleet, 1, name);
        publish_mixed(&mut writers[writer], 0..2);
        shown.extend(receive(&mut reader, 0..2).into_iter().filter_map(|it| it.position));
        reader.disconnect();
    }
    begin(&fleet, 1, "reader").disconnect();
    let mut damaged = shown[0].clone();
    damaged.replace_range(5..6, if damaged.get(5..6) == Some("A") { "B" } else { "A" });
    shown.extend([damaged, "garbage".to_owned(), "x".repeat(30_000)]);
    for (turn, wrong) in shown.iter().enumerate() {
        publish_mixed(&mut writers[0], turn..turn + 1);
        let dial = Dial::v5("reader").persistent().position(wrong);
        let mut reader = dial.connect(fleet.mqtt(turn % 2 + 1));
        assert!(reader.session_present);
        assert_eq!(told(&reader, "tidegate-resume"), Some("refused"), "{wrong}");
        assert!(told(&reader, "tidegate-position").is_some());
        // The session goes on as any other does.
        receive(&mut reader, turn..turn + 1);
        reader.disconnect();
    }
    // A clean start ends the session that a position is of.
    let mut reader = begin(&fleet, 1, "reader");
    publish_mixed(&mut writers[0], 0..1);
    let own = receive(&mut reader, 0..1).remove(0).position.unwrap_or_default();
    let reader = Dial::v5("reader").persistent().clean_start().position(&own);
    let reader = reader.connect(fleet.mqtt(2));
    assert_eq!(told(&reader, "tidegate-resume"), Some("refused"));
}

#[test]
fn a_client_that_hears_little_is_shown_newer_positions() {
    let fleet = fleet_of(1, "[resume]\nadvance_s = 1\n");
    let mut reader = begin(&fleet, 1, "reader");
    let mut writer = Dial::v5("writer").connect(fleet.mqtt(1));
    Dial::v5("other").persistent().connect(fleet.mqtt(1)).subscribe("other", QoS::AtLeastOnce);
    writer.publish("other", "x", QoS::AtLeastOnce);
    let note = reader.receive();
    assert_eq!((note.topic.as_str(), note.text.as_str()), ("$tidegate/position", ""));
    publish_mixed(&mut writer, 0..3);
    let mine = receive(&mut reader, 0..3);
    drop(reader);
    let mut reader = resume(fleet.mqtt(1), "reader", &note, "exact");
    assert_eq!(receive(&mut reader, 0..3).len(), mine.len());
}

#[test]
fn who_does_not_ask_is_shown_nothing() {
    let fleet = fleet_of(1, "");
    let mut readers = [Dial::v5("plain").persistent(), Dial::v311("old").persistent()]
        .map(|dial| dial.connect(fleet.mqtt(1)));
    let mut writer = Dial::v5("writer").connect(fleet.mqtt(1));
    for reader in &mut readers {
        reader.subscribe("t", QoS::ExactlyOnce);
        assert_eq!(reader.told, []);
    }
    publish_mixed(&mut writer, 0..3);
    for reader in &mut readers {
        let positions = (0..3).filter_map(|_| reader.receive().position);
        assert_eq!(positions.count(), 0);
    }
}

#[test]
fn who_may_not_be_shown_positions_is_told_so_unless_its_class_may() {
    let class = "[[class]]\nname = \"archives\"\nclient = [\"archive-*\"]\npositions = true\n";
    let fleet = Fleet::start_with(1, &Settings::default().everywhere(class));
    let other = Dial::v5("other").persistent().position("").connect(fleet.mqtt(1));
    assert_eq!(told(&other, "tidegate-resume"), Some("refused"));
    assert_eq!(told(&other, "tidegate-position"), None);
    begin(&fleet, 1, "archive-1");
}

/// A fleet whose clients may ask for positions.
fn fleet_of(gateways: usize, more: &str) -> Fleet {
    let settings = Settings::default().everywhere("[limits]\npositions = true\n");
    Fleet::start_with(gateways, &settings.everywhere(more))
}

/// A client with a session whose positions it is shown.
fn begin(fleet: &Fleet, gateway: usize, name: &str) -> Client {
    let dial = Dial::v5(name).persistent().position("");
    let mut reader = dial.connect(fleet.mqtt(gateway));
    assert_eq!(told(&reader, "tidegate-resume"), Some("start"));
    assert!(told(&reader, "tidegate-position").is_some());
    reader.subscribe("t", QoS::ExactlyOnce);
    reader
}

/// The client is back and shows the position of a message.
fn resume(address: SocketAddr, name: &str, last: &Message, answer: &str) -> Client {
    let position = last.position.as_deref().unwrap_or_default();
    let reader = Dial::v5(name).persistent().position(position).connect(address);
    assert!(reader.session_present);
    assert_eq!(told(&reader, "tidegate-resume"), Some(answer), "behind {:?}", last.text);
    reader
}

fn told<'a>(reader: &'a Client, name: &str) -> Option<&'a str> {
    reader.told.iter().find(|it| it.0 == name).map(|it| it.1.as_str())
}

/// Receives exactly these numbers, each with a position.
fn receive(reader: &mut Client, numbers: std::ops::Range<usize>) -> Vec<Message> {
    let mut got = Vec::new();
    for number in numbers {
        let message = reader.receive();
        assert_eq!(message.text, number.to_string());
        assert!(message.position.is_some());
        got.push(message);
    }
    got
}

/// Publishes numbers at all levels in turn, each until it is acknowledged.
fn publish_mixed(writer: &mut Client, numbers: std::ops::Range<usize>) {
    for (number, qos) in numbers.zip(LEVELS.into_iter().cycle()) {
        writer.publish("t", &number.to_string(), qos);
    }
    // What was not acknowledged is taken too.
    writer.ping();
}

/// Publishes numbers at all levels in turn, about 500 in a second.
fn flow(address: SocketAddr, count: usize) -> JoinHandle<()> {
    let mut writer = Dial::v5("writer").connect(address);
    thread::spawn(move || {
        for three in (0..count).step_by(3) {
            publish_mixed(&mut writer, three..three + 3);
            thread::sleep(Duration::from_millis(3));
        }
    })
}
