//! The receiving half of a device: answers publications and checks that each came once and in order.

use std::collections::BTreeSet;

use hdrhistogram::Histogram;
use protocol::{
    PacketId, QoS,
    mqtt::{
        Ack, Publish, ReasonCode, Version,
        codec::{self, AckKind},
    },
};

use crate::{
    Plan,
    moves::Moves,
    payload::Head,
    track::{Arrival, Missing, Track},
};

/// Repeats without DUP that one worker remembers; what goes beyond counts as unexplained.
const REMEMBERED: usize = 100_000;

/// What the devices of one worker have received.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Nanoseconds from sent to seen.
    pub(crate) latency_ns: Histogram<u64>,
    /// Milliseconds from losing service to being served again.
    pub(crate) gaps_ms: Histogram<u64>,
    /// When that was.
    pub(crate) moves: Moves,
    pub(crate) delivered: u64,
    /// All that came again.
    pub(crate) duplicates: u64,
    /// Those of them without the DUP flag.
    pub(crate) duplicates_without_dup: u64,
    /// Publisher and sequence number of those, the first [`REMEMBERED`].
    pub(crate) without_dup: Vec<(usize, u64)>,
    pub(crate) reordered: u64,
    /// Not from this run.
    pub(crate) foreign: u64,
}

impl Tally {
    pub(crate) fn new() -> Result<Self, hdrhistogram::CreationError> {
        Ok(Self {
            latency_ns: Histogram::new_with_max(600_000_000_000, 3)?,
            gaps_ms: Histogram::new_with_max(86_400_000, 3)?,
            moves: Moves::default(),
            delivered: 0,
            duplicates: 0,
            duplicates_without_dup: 0,
            without_dup: Vec::new(),
            reordered: 0,
            foreign: 0,
        })
    }

    fn repeated_without_dup(&mut self, publisher: usize, sequence: u64) {
        self.duplicates_without_dup += 1;
        if self.without_dup.len() < REMEMBERED {
            self.without_dup.push((publisher, sequence));
        }
    }
}

#[derive(Debug)]
pub(crate) struct Receiving {
    number: usize,
    version: Version,
    run: u32,
    first_publisher: usize,
    tracks: Vec<Track>,
    /// `QoS` 2: received and not yet released.
    unreleased: BTreeSet<PacketId>,
    last_ns: Option<u64>,
    longest_silence_ns: u64,
}

impl Receiving {
    pub(crate) fn new(plan: &Plan, number: usize, run: u32) -> Self {
        let heard = plan.heard_by(number);
        Self {
            number,
            version: plan.version,
            run,
            first_publisher: heard.start,
            tracks: vec![Track::default(); heard.len()],
            unreleased: BTreeSet::new(),
            last_ns: None,
            longest_silence_ns: 0,
        }
    }

    pub(crate) const fn number(&self) -> usize {
        self.number
    }

    pub(crate) const fn longest_silence_ns(&self) -> u64 {
        self.longest_silence_ns
    }

    /// A new connection; without a session the exchanges of the old one are void.
    pub(crate) fn resume(&mut self, session_present: bool) {
        if !session_present {
            self.unreleased.clear();
        }
    }

    /// Answers and checks one publication. Returns its publisher and how far that one has been seen.
    pub(crate) fn take(
        &mut self,
        publish: &Publish<'_>,
        now_ns: u64,
        out: &mut Vec<u8>,
        tally: &mut Tally,
    ) -> Option<(usize, u64)> {
        if !answer(publish, self.version, out, &mut self.unreleased) {
            return None;
        }
        let ours = Head::decode(publish.payload).filter(|head| head.run == self.run);
        let publisher = ours.and_then(|head| usize::try_from(head.publisher).ok());
        let track = publisher
            .and_then(|publisher| publisher.checked_sub(self.first_publisher))
            .and_then(|place| self.tracks.get_mut(place));
        let (Some(head), Some(publisher), Some(track)) = (ours, publisher, track) else {
            tally.foreign += 1;
            return None;
        };
        match track.see(head.sequence) {
            Arrival::InOrder => {}
            Arrival::Late => tally.reordered += 1,
            Arrival::Repeat => {
                tally.duplicates += 1;
                if !publish.dup {
                    tally.repeated_without_dup(publisher, head.sequence);
                }
                return None;
            }
        }
        tally.delivered += 1;
        tally.latency_ns.saturating_record(now_ns.saturating_sub(head.sent_ns));
        if let Some(last_ns) = self.last_ns.replace(now_ns) {
            self.longest_silence_ns = self.longest_silence_ns.max(now_ns.saturating_sub(last_ns));
        }
        Some((publisher, track.next()))
    }

    pub(crate) fn release(&mut self, id: PacketId, out: &mut Vec<u8>) {
        release(id, self.version, out, &mut self.unreleased);
    }

    /// What it has seen of one of its publishers.
    pub(crate) fn track_of(&self, publisher: usize) -> Option<&Track> {
        publisher.checked_sub(self.first_publisher).and_then(|place| self.tracks.get(place))
    }

    /// What never came from one of its publishers.
    pub(crate) fn never_came(&self, publisher: usize, published: u64, excused: &[u64]) -> Missing {
        self.track_of(publisher)
            .map_or_else(Missing::default, |track| track.never_came(published, excused))
    }
}

/// Answers a publication by its level; false if it repeats an open exchange `[MQTT5-4.3.3-10]`.
pub(crate) fn answer(
    publish: &Publish<'_>,
    version: Version,
    out: &mut Vec<u8>,
    unreleased: &mut BTreeSet<PacketId>,
) -> bool {
    let Some(id) = publish.packet_id else { return true };
    let ack = Ack::of(id, ReasonCode::Success);
    match publish.qos {
        QoS::AtMostOnce => true,
        QoS::AtLeastOnce => {
            codec::ack(out, version, AckKind::PubAck, &ack);
            true
        }
        QoS::ExactlyOnce => {
            codec::ack(out, version, AckKind::PubRec, &ack);
            unreleased.insert(id)
        }
    }
}

/// Answers PUBREL `[MQTT5-4.3.3-11]`.
pub(crate) fn release(
    id: PacketId,
    version: Version,
    out: &mut Vec<u8>,
    unreleased: &mut BTreeSet<PacketId>,
) {
    unreleased.remove(&id);
    codec::ack(out, version, AckKind::PubComp, &Ack::of(id, ReasonCode::Success));
}
