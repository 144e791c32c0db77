//! What one message costs: in allocations here, in instructions by `tests/instructions`, which looks at what happens within
//! the functions that are called `counted_…`. Each test is one of its figures; 3.1.1, clean sessions, 64 bytes of payload.

use fanout::{Subscription, SubscriptionTable};
use protocol::mqtt::codec::{self, AckKind, Sender};
use protocol::mqtt::{Packet, Version};
use protocol::{Now, QoS, TopicFilter};

use super::gateway::Gateway;
use super::packets::*;
use crate::hub::{Ask, Close, ConnId, Outlet};
use crate::worker::WorkerMachine;

const TOPIC: &str = "site/17/machine/4/meter";
const PAYLOAD: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// Publications that arrive together, fewer than the most we let a client have open.
const BATCH: u16 = 8;
/// Until buffers have grown and caches are filled.
const WARM: usize = 20;
const ROUNDS: usize = 25;

/// Outboxes as a worker's sockets have them, and nothing else.
#[derive(Debug, Default)]
struct Outboxes(Vec<Vec<u8>>);

impl Outlet for Outboxes {
    fn outbox(&mut self, conn: ConnId) -> Option<&mut Vec<u8>> {
        self.0.get_mut(conn.index as usize)
    }

    fn close(&mut self, _: ConnId, how: Close) {
        panic!("nothing ends here: {how:?}");
    }

    fn resume(&mut self, _: ConnId) {}

    fn ask(&mut self, ask: Ask) {
        panic!("nothing is asked here: {ask:?}");
    }
}

/// What a worker's sockets have for connections that come and go.
#[derive(Debug, Default)]
struct Doorway {
    outbox: Vec<u8>,
    closed: u32,
}

impl Outlet for Doorway {
    fn outbox(&mut self, _: ConnId) -> Option<&mut Vec<u8>> {
        Some(&mut self.outbox)
    }

    fn close(&mut self, _: ConnId, how: Close) {
        assert_eq!(how, Close::Quiet);
        self.closed += 1;
    }

    fn resume(&mut self, _: ConnId) {}

    fn ask(&mut self, ask: Ask) {
        assert!(matches!(ask, Ask::Read(_) | Ask::Presence(_)), "{ask:?}");
    }
}

/// Somebody with a clean session who was here before comes and says goodbye. Returns the allocations of a worker for that, and
/// leaves those of the store out.
fn visit(gateway: &mut Gateway, doorway: &mut Doorway, life: u32) -> u64 {
    let conn = ConnId { index: 0, life };
    let mut request = old("v");
    request.identity = std::sync::Arc::new(access::Identity {
        address: Some(std::net::Ipv4Addr::LOCALHOST.into()),
        ..access::Identity::anonymous(request.client.clone())
    });
    let (now, goodbye) = (gateway.now, [0xe0, 0]);
    let mut allocations = 0;
    let store = |gateway: &mut Gateway, doorway: &mut Doorway| {
        let mut writes = Vec::new();
        let taken = allocation_counter::measure(|| writes = gateway.worker.take_writes());
        let mut answers = Some(gateway.store_these(writes));
        let worker = &mut gateway.worker;
        let told = allocation_counter::measure(|| {
            answers.take().into_iter().for_each(|it| worker.handle_mail(it, now, doorway));
        });
        taken.count_total + told.count_total
    };
    let mut request = Some(request);
    let came = allocation_counter::measure(|| {
        let request = request.take().into_iter();
        request.for_each(|it| gateway.worker.handle_connect(conn, it, now, doorway));
    });
    allocations += came.count_total + store(gateway, doorway);
    assert_eq!(std::mem::take(&mut doorway.outbox), [0x20, 2, 0, 0]);
    let went = allocation_counter::measure(|| {
        take_all(&mut gateway.worker, conn, &goodbye, now, doorway);
    });
    allocations += went.count_total + store(gateway, doorway);
    assert_eq!(std::mem::take(&mut doorway.closed), 2);
    gateway.worker.forget(conn);
    allocations
}

/// One publisher and who hears it.
struct Flow {
    gateway: Gateway,
    outboxes: Outboxes,
    publisher: ConnId,
    receivers: Vec<ConnId>,
    batch: Vec<u8>,
    take: Take,
}

/// One of the functions that are counted.
type Take = fn(&mut WorkerMachine, ConnId, &[u8], Now, &mut dyn Outlet);

impl Flow {
    fn new(qos: QoS, receivers: usize, take: Take) -> Self {
        let mut gateway = Gateway::new();
        let receivers: Vec<_> =
            (0..receivers).map(|n| gateway.subscriber(old(&format!("s{n}")), TOPIC, qos)).collect();
        let publisher = gateway.join(old("p"));
        let id = |number| if qos == Q0 { 0 } else { number };
        let batch = (1..=BATCH)
            .flat_map(|number| bytes(Version::V311, &publish(TOPIC, PAYLOAD, qos, id(number))))
            .collect();
        let outboxes = Outboxes(vec![Vec::new(); receivers.len() + 1]);
        Self { gateway, outboxes, publisher, receivers, batch, take }
    }

    /// One batch comes in, goes out and is acknowledged. Returns the allocations of all that.
    fn round(&mut self) -> u64 {
        let batch = std::mem::take(&mut self.batch);
        let mut allocations = self.hear(self.publisher, &batch);
        self.batch = batch;
        for n in 0..self.receivers.len() {
            let conn = self.receivers[n];
            let acks = self.acknowledgements(conn);
            if !acks.is_empty() {
                allocations += self.hear(conn, &acks);
            }
        }
        self.outboxes.0.iter_mut().for_each(Vec::clear);
        allocations
    }

    fn hear(&mut self, conn: ConnId, bytes: &[u8]) -> u64 {
        let (machine, now, out) = (&mut self.gateway.worker, self.gateway.now, &mut self.outboxes);
        let counted = allocation_counter::measure(|| (self.take)(machine, conn, bytes, now, out));
        counted.count_total
    }

    /// What a receiver answers to the packets in its outbox, all of which must be there.
    fn acknowledgements(&self, conn: ConnId) -> Vec<u8> {
        let mut rest = self.outboxes.0[conn.index as usize].as_slice();
        let mut acks = Vec::new();
        let mut came = 0;
        while let Some(len) = codec::frame(rest, u32::MAX).unwrap() {
            let (packet, after) = rest.split_at(len);
            let Packet::Publish(publish) =
                codec::decode(packet, Version::V311, Sender::Server).unwrap()
            else {
                panic!("only publications come")
            };
            if let Some(id) = publish.packet_id {
                acks.extend(ack(AckKind::PubAck, id.get()));
            }
            came += 1;
            rest = after;
        }
        assert_eq!(came, BATCH);
        acks
    }

    /// Allocations per publication once everything has grown to its size.
    fn allocations_each(&mut self) -> f64 {
        (0..WARM).for_each(|_| {
            self.round();
        });
        let all: u64 = (0..ROUNDS).map(|_| self.round()).sum();
        all as f64 / (ROUNDS * usize::from(BATCH)) as f64
    }
}

#[inline(never)]
fn counted_publish(
    machine: &mut WorkerMachine,
    conn: ConnId,
    bytes: &[u8],
    now: Now,
    out: &mut dyn Outlet,
) {
    take_all(machine, conn, bytes, now, out);
}

#[inline(never)]
fn counted_fan_out(
    machine: &mut WorkerMachine,
    conn: ConnId,
    bytes: &[u8],
    now: Now,
    out: &mut dyn Outlet,
) {
    take_all(machine, conn, bytes, now, out);
}

/// Bytes that arrive, in as many turns as they take.
fn take_all(
    machine: &mut WorkerMachine,
    conn: ConnId,
    mut bytes: &[u8],
    now: Now,
    out: &mut dyn Outlet,
) {
    while !bytes.is_empty() {
        let (took, _) = machine.handle_bytes(conn, bytes, now, out);
        assert!(took > 0, "nothing holds a message back here");
        bytes = &bytes[took..];
    }
}

#[inline(never)]
fn counted_decode(mut bytes: &[u8]) -> usize {
    let mut payloads = 0;
    while let Some(len) = codec::frame(bytes, u32::MAX).unwrap() {
        let packet = codec::decode(&bytes[..len], Version::V311, Sender::Client).unwrap();
        let Packet::Publish(publish) = packet else { panic!("only publications come") };
        payloads += publish.payload.len();
        bytes = &bytes[len..];
    }
    payloads
}

#[inline(never)]
fn counted_match(table: &SubscriptionTable, topics: &[String]) -> usize {
    let mut receivers = 0;
    // No closure, whose name would begin with that of this function: counting begins and ends with a name.
    for topic in topics {
        receivers += table.route(topic).sessions.len();
    }
    receivers
}

#[test]
fn a_publication_is_decoded_without_an_allocation() {
    let packet = bytes(Version::V311, &publish(TOPIC, PAYLOAD, Q1, 1));
    let packets = packet.repeat(1_000);
    let mut payloads = 0;
    let counted = allocation_counter::measure(|| payloads = counted_decode(&packets));
    assert_eq!((payloads, counted.count_total), (64_000, 0));
}

#[test]
fn a_topic_finds_its_four_filters_among_ten_thousand() {
    let mut table = SubscriptionTable::default();
    let topics: Vec<String> = (0..2_500).map(|n| format!("t/f/{n}/v")).collect();
    let with = Subscription {
        qos: Q0,
        no_local: false,
        retain_as_published: false,
        id: None,
        durable: false,
    };
    let mut slots = 0..;
    for n in 0..topics.len() {
        let filters = [
            format!("t/f/{n}/v"),
            format!("t/+/{n}/v"),
            format!("t/f/{n}/+"),
            format!("t/f/{n}/#"),
        ];
        for (filter, slot) in filters.iter().zip(&mut slots) {
            table.subscribe(slot, &TopicFilter::new(filter).unwrap(), with);
        }
    }
    assert_eq!(counted_match(&table, &topics[..1_000]), 4_000);
}

#[test]
fn a_message_costs_no_allocation_at_any_level_whoever_many_get_it() {
    for qos in [Q0, Q1] {
        assert_eq!(Flow::new(qos, 1, counted_publish).allocations_each(), 0.0);
        assert_eq!(Flow::new(qos, 100, counted_fan_out).allocations_each(), 0.0);
    }
}

#[test]
fn a_connect_and_goodbye_cost_twenty_eight_allocations() {
    let presence = crate::config::PresenceSettings::default();
    let mut gateway = Gateway::with(|config| config.presence = presence);
    // Who was never here is looked up first.
    let conn = gateway.join(old("v"));
    gateway.tell(conn, &[0xe0, 0]);
    gateway.worker.forget(conn);
    let mut doorway = Doorway::default();
    let visits: Vec<_> = (100..140).map(|life| visit(&mut gateway, &mut doorway, life)).collect();
    assert_eq!(visits[WARM..], [28; 20], "{visits:?}");
}
