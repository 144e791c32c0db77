//! Reason strings: for whom, and how long.

use protocol::mqtt::{ReasonCode, Version};
use tests::harness::{Client, Dial};

use super::stage::{Stage, connect, fresh, publish, subscribe, text, unsubscribe};

const CLEAN: u8 = 0x02;
const MAXIMUM: u8 = 0x27;
const PROBLEM_INFORMATION: u8 = 0x17;

/// A client whose CONNECT has these properties.
fn client(stage: &Stage, section: &[u8]) -> Client {
    let bytes = connect(Version::V5, CLEAN, section, &[&text(fresh("words"))]);
    stage.connect(Dial::v5("words").saying(bytes))
}

/// What comes of everything that is answered with a refusal.
fn refusals(client: &mut Client) -> Vec<Vec<u8>> {
    client.send(&publish(Version::V5, 0x32, "$SYS/x", (Some(1), &[]), b"x"));
    let puback = client.next_frame().bytes().to_vec();
    client.send(&publish(Version::V5, 0x34, "$SYS/x", (Some(2), &[]), b"x"));
    let pubrec = client.next_frame().bytes().to_vec();
    client.send(&subscribe(Version::V5, 3, &[(b"a/#/b", 0)]));
    let suback = client.next_frame().bytes().to_vec();
    client.send(&unsubscribe(Version::V5, 4, &[b"unknown"]));
    let unsuback = client.next_frame().bytes().to_vec();
    client.send(&[0x62, 2, 0, 9]);
    let pubcomp = client.next_frame().bytes().to_vec();
    client.send(&[0x50, 2, 0, 9]);
    let pubrel = client.next_frame().bytes().to_vec();
    vec![puback, pubrec, suback, unsuback, pubcomp, pubrel]
}

/// The refusals with nothing but their codes.
fn wordless() -> Vec<Vec<u8>> {
    vec![
        vec![0x40, 3, 0, 1, 0x87],
        vec![0x50, 3, 0, 2, 0x87],
        vec![0x90, 4, 0, 3, 0, 0x8F],
        vec![0xB0, 4, 0, 4, 0, 0x11],
        vec![0x70, 3, 0, 9, 0x92],
        vec![0x62, 3, 0, 9, 0x92],
    ]
}

/// [MQTT5-3.1.2-29]
#[test]
fn who_wants_no_words_gets_none() {
    let stage = Stage::enter();
    assert_eq!(refusals(&mut client(&stage, &[PROBLEM_INFORMATION, 0])), wordless());
    let told = refusals(&mut client(&stage, &[PROBLEM_INFORMATION, 1]));
    assert!(told[0].len() > 5 && told[2].len() > 6, "who wants them gets some: {told:02x?}");
}

/// [MQTT5-3.4.2-2] [MQTT5-3.5.2-2] [MQTT5-3.6.2-2] [MQTT5-3.7.2-2] [MQTT5-3.9.2-1] [MQTT5-3.11.2-1] [MQTT5-3.14.2-3]
/// [MQTT5-3.1.2-24]
#[test]
fn words_that_do_not_fit_are_left_out() {
    let stage = Stage::enter();
    let small = [MAXIMUM, 0, 0, 0, 20];
    assert_eq!(refusals(&mut client(&stage, &small)), wordless());
    let mut offender = client(&stage, &small);
    offender.send(&[0x36, 0]);
    assert_eq!(offender.next_frame().bytes(), [0xE0, 2, 0x81, 0]);
    assert!(offender.next_or_end().is_none());
}

/// [MQTT5-3.2.2-19] [MQTT5-3.1.2-24]
#[test]
fn a_refusal_of_a_connect_fits_too() {
    let stage = Stage::enter();
    let will = [text("$SYS/x"), text("gone")].concat();
    for (maximum, section) in [(10, [MAXIMUM, 0, 0, 0, 10]), (5, [MAXIMUM, 0, 0, 0, 5])] {
        let fields: [&[u8]; 3] = [&text(fresh("tight")), &[0], &will];
        let answer = stage.answer_to(&connect(Version::V5, CLEAN | 4, &section, &fields));
        assert!(answer.len() <= maximum, "{answer:02x?}");
        assert_eq!(answer[..4], [0x20, 3, 0, ReasonCode::NotAuthorized.code()]);
    }
}
