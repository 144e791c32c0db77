//! Large packets from socket to socket, whatever the pieces in which they come and go, and the memory that they take.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;

use proptest::prelude::*;

use protocol::mqtt::{Version, codec};
use protocol::{GatewayId, QoS};

use super::rounds_tests::{Room, heard};
use super::sending::PORTION_BYTES;
use crate::hub::tests::gateway::{config, one_class};
use crate::hub::tests::packets::{bytes, filter, publish, subscribe};
use crate::hub::{ConnId, HELD_BYTES, HubConfig};

/// Rounds in which everything has come that will.
const ROUNDS: usize = 1_000_000;

/// A worker whose clients may send large packets.
fn room() -> Room {
    let classes = one_class(|limits| limits.packet_bytes = 1_114_112);
    Room::with(HubConfig { classes, ..config(GatewayId::new("gw-1").unwrap()) })
}

/// A client that gets what is published.
fn reader(room: &mut Room, name: &str, qos: QoS) -> UnixStream {
    let mut client = room.join(name);
    client.write_all(&subscribe(Version::V5, 1, &[filter("t", qos)])).unwrap();
    let answered = (0..10).any(|_| {
        room.round();
        heard(&client).starts_with(&[0x90])
    });
    assert!(answered, "it is not subscribed");
    client
}

/// A publication whose text says which one it is, everywhere.
fn packet(number: usize, len: usize, qos: QoS) -> Vec<u8> {
    let digits = ('0'..='9').cycle().skip(number % 10).take(len);
    let id = u16::try_from(number + 1).unwrap();
    bytes(Version::V5, &publish("t", &digits.collect::<String>(), qos, id))
}

/// Says as much of it as the kernel takes, in rounds.
fn say(room: &mut Room, mut client: &UnixStream, mut piece: &[u8], mut meanwhile: impl FnMut()) {
    while !piece.is_empty() {
        match client.write(piece) {
            Ok(took) => piece = &piece[took..],
            Err(e) => assert_eq!(e.kind(), ErrorKind::WouldBlock),
        }
        room.round();
        meanwhile();
    }
}

/// The texts of the publications in these whole packets.
fn texts(mut rest: &[u8]) -> Vec<Vec<u8>> {
    let mut texts = Vec::new();
    while let Some(len) = codec::frame(rest, u32::MAX).unwrap() {
        if rest[0] >> 4 == 3 {
            let read = codec::decode_publish(&rest[..len], Version::V5, codec::Sender::Server);
            texts.push(read.unwrap().payload.to_vec());
        }
        rest = &rest[len..];
    }
    assert!(rest.is_empty(), "{} bytes of a packet", rest.len());
    texts
}

/// A client that reads, so much at a time.
struct Ear {
    stream: UnixStream,
    place: Vec<u8>,
    came: Vec<u8>,
}

impl Ear {
    fn new(stream: UnixStream) -> Self {
        Self { stream, place: vec![0; 300_000], came: Vec::new() }
    }

    fn hear(&mut self, most: usize) {
        let most = most.min(self.place.len());
        let len = self.stream.read(&mut self.place[..most]).unwrap_or(0);
        self.came.extend_from_slice(&self.place[..len]);
    }
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    let around = HELD_BYTES - 40..HELD_BYTES + 40;
    let size = prop_oneof![0..200_usize, around, 16_000..70_000_usize, 100_000..400_000_usize];
    prop::collection::vec(size, 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn packets_of_any_size_arrive_whole_and_in_order_in_whatever_pieces_they_come(
        sizes in sizes(),
        pieces in prop::collection::vec(prop_oneof![1..3_usize, 50..5_000_usize, 9_000..200_000_usize], 1..20),
        reads in prop::collection::vec(prop_oneof![1..400_usize, 10_000..300_000_usize], 1..20),
        level in 0..3_u8,
        taken in 0..3_u8,
    ) {
        let (level, taken) = (QoS::from_bits(level).unwrap(), QoS::from_bits(taken).unwrap());
        let mut room = room();
        let talker = room.join("talker");
        let mut swift = Ear::new(reader(&mut room, "swift", taken));
        let mut slow = Ear::new(reader(&mut room, "slow", taken));
        let all: Vec<_> = sizes.iter().enumerate().map(|(n, len)| packet(n, *len, level)).collect();
        let (said, mut at) = (all.concat(), 0);
        let mut reads = reads.into_iter().cycle();
        for piece in pieces.iter().cycle().take(400).chain([&said.len()]) {
            let end = (at + piece).min(said.len());
            say(&mut room, &talker, &said[at..end], || {
                swift.hear(usize::MAX);
                slow.hear(reads.next().unwrap_or(1));
            });
            at = end;
        }
        let owed = sizes.iter().enumerate().map(|(n, len)| packet(n, *len, level.min(taken)).len());
        let owed: usize = owed.sum();
        // Who sent crumbs is left alone for a millisecond.
        for _ in 0..ROUNDS {
            if swift.came.len() >= owed && slow.came.len() >= owed {
                break;
            }
            room.round();
            swift.hear(usize::MAX);
            slow.hear(300_000);
        }
        let expected: Vec<_> = all.iter().flat_map(|it| texts(it)).collect();
        for ear in [&swift, &slow] {
            prop_assert_eq!(ear.came.len(), owed);
            prop_assert!(texts(&ear.came) == expected, "another text");
        }
    }
}

#[test]
fn many_who_get_the_same_large_packet_and_do_not_read_hold_its_memory_once() {
    const READERS: usize = 30;
    const LEN: usize = 900_000;
    let mut room = room();
    let talker = room.join("talker");
    let readers: Vec<_> =
        (0..READERS).map(|n| reader(&mut room, &format!("reader-{n}"), QoS::AtMostOnce)).collect();
    let packet = packet(0, LEN, QoS::AtMostOnce);
    let cost = allocation_counter::measure(|| say(&mut room, &talker, &packet, || {}));
    assert!(cost.bytes_max < 4 * LEN as u64, "{} bytes at once", cost.bytes_max);
    let after = allocation_counter::measure(|| {
        for stream in readers {
            let mut ear = Ear::new(stream);
            for _ in 0..ROUNDS {
                room.round();
                ear.hear(usize::MAX);
                if ear.came.len() >= packet.len() {
                    break;
                }
            }
            assert!(texts(&ear.came) == texts(&packet));
        }
        // Nobody holds it, and a worker that rests keeps nothing.
        (0..20).for_each(|_| room.worker.tick());
    });
    let stays = cost.bytes_current + after.bytes_current;
    assert!(stays < 100_000, "{stays} bytes stay");
    assert!(room.worker.io.spare.take().is_none() && room.worker.io.reading.is_empty());
}

#[test]
fn who_announces_much_and_sends_little_holds_little() {
    let mut room = room();
    let talker = room.join("talker");
    let packet = packet(0, 900_000, QoS::AtMostOnce);
    for come in [5, 6, 1_000, HELD_BYTES, HELD_BYTES + 100, 100_000] {
        let at = room.worker.io.socket(ConnId { index: 0, life: 1 }).unwrap().inbox.len();
        say(&mut room, &talker, &packet[at..come], || {});
        (0..10).for_each(|_| room.round());
        let inbox = &room.worker.io.socket(ConnId { index: 0, life: 1 }).unwrap().inbox;
        assert_eq!(inbox.len(), come);
        assert!(inbox.capacity() <= 2 * come + 16, "{} bytes for {come}", inbox.capacity());
    }
    drop(talker);
    (0..10).for_each(|_| room.round());
    assert_eq!(room.worker.io.sockets.len(), 0, "it is gone in the middle of its packet");
}

#[test]
fn who_does_not_read_gets_no_more_than_its_limit_and_the_others_go_on() {
    const LEN: usize = 100_000;
    let most = config(GatewayId::new("gw-1").unwrap()).outbox_bytes;
    let mut room = room();
    let talker = room.join("talker");
    let (deaf, keen) =
        (reader(&mut room, "deaf", QoS::AtMostOnce), reader(&mut room, "keen", QoS::AtMostOnce));
    let (count, mut came) = (5 * most / LEN, Vec::new());
    for number in 0..count {
        let packet = packet(number, LEN, QoS::AtMostOnce);
        say(&mut room, &talker, &packet, || came.extend(heard(&keen)));
        let waiting = room.worker.io.socket(ConnId { index: 1, life: 2 }).unwrap().waiting_bytes();
        assert!(waiting <= most + packet.len() + PORTION_BYTES, "{waiting} bytes wait");
    }
    for _ in 0..ROUNDS {
        if texts_len(&came) == count {
            break;
        }
        room.round();
        came.extend(heard(&keen));
    }
    assert_eq!(texts(&came).len(), count, "who reads misses nothing");
    let (mut late, mut still) = (heard(&deaf), 0);
    while still < 5 {
        room.round();
        let more = heard(&deaf);
        still = if more.is_empty() { still + 1 } else { 0 };
        late.extend(more);
    }
    let got = texts(&late).len();
    assert!((most / LEN..count).contains(&got), "{got} of {count}, and those whole");
}

/// Whole publications in what came so far.
fn texts_len(came: &[u8]) -> usize {
    let (mut rest, mut count) = (came, 0);
    while let Some(len) = codec::frame(rest, u32::MAX).unwrap() {
        (rest, count) = (&rest[len..], count + 1);
    }
    count
}
