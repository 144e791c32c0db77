//! Byte streams between parties: delay, limited room, cuts that lose what is on its way.

use std::collections::{BTreeSet, VecDeque};

use super::agenda::{Agenda, Event, Moment, Place};
use super::random::Random;

/// A connection of two parties; never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct WireId(pub(super) usize);

/// One end of a wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum End {
    Opener,
    Accepter,
}

impl End {
    const fn other(self) -> Self {
        match self {
            Self::Opener => Self::Accepter,
            Self::Accepter => Self::Opener,
        }
    }
}

/// Who holds an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Party {
    Device(usize),
    Gateway(Place),
}

/// What an end finds when it reads.
#[derive(Debug, Default)]
pub(super) struct Arrived {
    pub(super) bytes: Vec<u8>,
    /// Nothing more will come.
    pub(super) over: bool,
}

#[derive(Debug)]
struct Wire {
    opener: Party,
    accepter: Party,
    /// What the opener sends, and what the accepter sends.
    flows: [Flow; 2],
}

/// One direction.
#[derive(Debug)]
struct Flow {
    on_its_way: VecDeque<(Moment, Chunk)>,
    bytes_on_its_way: usize,
    arrived: Vec<u8>,
    over: bool,
    /// The sender said its last word.
    shut: bool,
    /// The wire is cut: what is sent from now on goes nowhere.
    severed: bool,
    window: usize,
    /// The sender waits for room.
    waited_for: bool,
    last_due: Moment,
}

#[derive(Debug)]
enum Chunk {
    Bytes(Vec<u8>),
    Over,
}

/// All wires.
#[derive(Debug)]
pub(super) struct Network {
    wires: Vec<Wire>,
    random: Random,
    /// From which sites nothing reaches which.
    partitions: Vec<(usize, usize)>,
    /// Ends to which something would have come.
    held: BTreeSet<(WireId, End)>,
}

/// Bytes that may be on their way or unread in one direction.
const WINDOW: usize = 16 * 1024;

impl Network {
    pub(super) const fn new(random: Random) -> Self {
        Self { wires: Vec::new(), random, partitions: Vec::new(), held: BTreeSet::new() }
    }

    /// Opens a wire. Nothing is told to the accepter before bytes come.
    pub(super) fn open(&mut self, opener: Party, accepter: Party) -> WireId {
        let flow = || Flow {
            on_its_way: VecDeque::new(),
            bytes_on_its_way: 0,
            arrived: Vec::new(),
            over: false,
            shut: false,
            severed: false,
            window: WINDOW,
            waited_for: false,
            last_due: Moment(0),
        };
        self.wires.push(Wire { opener, accepter, flows: [flow(), flow()] });
        WireId(self.wires.len() - 1)
    }

    /// Limits what an end may leave unread.
    pub(super) fn set_window(&mut self, wire: WireId, reader: End, bytes: usize) {
        if let Some(flow) = self.flow(wire, reader.other()) {
            flow.window = bytes;
        }
    }

    pub(super) fn party(&self, wire: WireId, end: End) -> Option<Party> {
        let wire = self.wires.get(wire.0)?;
        Some(match end {
            End::Opener => wire.opener,
            End::Accepter => wire.accepter,
        })
    }

    /// The wires that a life of a gateway has or had an end of.
    pub(super) fn wires_of(&self, place: Place) -> Vec<WireId> {
        let mine = |wire: &Wire| [wire.opener, wire.accepter].contains(&Party::Gateway(place));
        let all = self.wires.iter().enumerate();
        all.filter(|(_, wire)| mine(wire)).map(|(number, _)| WireId(number)).collect()
    }

    /// Whether both ends are gateways.
    pub(super) fn is_peer_wire(&self, wire: WireId) -> bool {
        matches!(self.party(wire, End::Opener), Some(Party::Gateway(_)))
    }

    /// Sends as much as there is room for and answers how much that was.
    pub(super) fn send(
        &mut self,
        (wire, from): (WireId, End),
        bytes: &[u8],
        now: Moment,
        agenda: &mut Agenda,
    ) -> usize {
        let us = self.latency();
        let Some(flow) = self.flow(wire, from) else { return bytes.len() };
        if flow.shut || flow.severed {
            return bytes.len();
        }
        let room = flow.window.saturating_sub(flow.bytes_on_its_way + flow.arrived.len());
        let (fits, rest) = bytes.split_at(room.min(bytes.len()));
        flow.waited_for = !rest.is_empty();
        if !fits.is_empty() {
            flow.bytes_on_its_way += fits.len();
            let due = flow.push(now.plus_us(us), Chunk::Bytes(fits.to_vec()));
            agenda.at(due, Event::Arrive(wire, from.other()));
        }
        fits.len()
    }

    /// One end says that it sends no more.
    pub(super) fn shut(&mut self, wire: WireId, from: End, now: Moment, agenda: &mut Agenda) {
        let us = self.latency();
        if let Some(flow) = self.flow(wire, from)
            && !flow.shut
        {
            flow.shut = true;
            if !flow.severed {
                let due = flow.push(now.plus_us(us), Chunk::Over);
                agenda.at(due, Event::Arrive(wire, from.other()));
            }
        }
    }

    /// One end lets go: it sends no more and reads no more.
    pub(super) fn close(&mut self, wire: WireId, from: End, now: Moment, agenda: &mut Agenda) {
        self.shut(wire, from, now, agenda);
        if let Some(flow) = self.flow(wire, from.other()) {
            flow.severed = true;
            flow.on_its_way.clear();
            flow.arrived = Vec::new();
        }
    }

    /// The wire breaks: some of what is on its way is lost, and each end learns of it after its own time, or never.
    pub(super) fn cut(
        &mut self,
        wire: WireId,
        (opener_ms, accepter_ms): (Option<u64>, Option<u64>),
        now: Moment,
        agenda: &mut Agenda,
    ) {
        for (from, told_ms) in [(End::Opener, accepter_ms), (End::Accepter, opener_ms)] {
            let kept = self.random.below(4);
            let Some(flow) = self.flow(wire, from) else { continue };
            let kept = usize::try_from(kept).unwrap_or(0);
            flow.severed = true;
            flow.on_its_way.truncate(kept);
            if let Some(ms) = told_ms {
                let due = flow.push(now.plus_ms(ms), Chunk::Over);
                agenda.at(due, Event::Arrive(wire, from.other()));
            }
        }
    }

    /// Takes in what is due at this end. Answers who is to be told, if anything came.
    pub(super) fn arrive(&mut self, wire: WireId, at: End, now: Moment) -> Option<Party> {
        if self.is_held(wire, at) {
            // As TCP does: it comes once the way is free, if the wire still stands then.
            self.held.insert((wire, at));
            return None;
        }
        let flow = self.flow(wire, at.other())?;
        let mut came = false;
        while let Some((due, chunk)) = flow.on_its_way.pop_front() {
            if due > now {
                flow.on_its_way.push_front((due, chunk));
                break;
            }
            came = true;
            match chunk {
                Chunk::Bytes(bytes) => {
                    flow.bytes_on_its_way = flow.bytes_on_its_way.saturating_sub(bytes.len());
                    flow.arrived.extend_from_slice(&bytes);
                }
                Chunk::Over => flow.over = true,
            }
        }
        if came { self.party(wire, at) } else { None }
    }

    /// Reads at most `max` bytes that have come to this end.
    pub(super) fn read(
        &mut self,
        (wire, at): (WireId, End),
        max: usize,
        now: Moment,
        agenda: &mut Agenda,
    ) -> Arrived {
        let Some(flow) = self.flow(wire, at.other()) else {
            return Arrived { bytes: Vec::new(), over: true };
        };
        let max = max.min(flow.arrived.len());
        let bytes: Vec<u8> = flow.arrived.drain(..max).collect();
        if !bytes.is_empty() && std::mem::take(&mut flow.waited_for) {
            agenda.at(now.plus_us(50), Event::Room(wire, at.other()));
        }
        Arrived { over: flow.over && flow.arrived.is_empty(), bytes }
    }

    /// Whether an end has bytes to read, or the end of them.
    pub(super) fn is_readable(&self, wire: WireId, at: End) -> bool {
        let wire = self.wires.get(wire.0);
        let flow = wire.and_then(|wire| wire.flows.get(index(at.other())));
        flow.is_some_and(|flow| flow.over || !flow.arrived.is_empty())
    }

    /// Bytes that an end sent and that did not come yet.
    pub(super) fn on_its_way(&self, wire: WireId, from: End) -> usize {
        let wire = self.wires.get(wire.0);
        wire.and_then(|wire| wire.flows.get(index(from))).map_or(0, |flow| flow.bytes_on_its_way)
    }

    /// From now on nothing that one site sends reaches another.
    pub(super) fn part(&mut self, from: usize, to: usize) {
        self.partitions.push((from, to));
    }

    pub(super) fn heal(&mut self, (from, to): (usize, usize), now: Moment, agenda: &mut Agenda) {
        if let Some(at) = self.partitions.iter().position(|p| *p == (from, to)) {
            self.partitions.swap_remove(at);
        }
        for (wire, at) in std::mem::take(&mut self.held) {
            let us = self.random.between(100, 20_000);
            agenda.at(now.plus_us(us), Event::Arrive(wire, at));
        }
    }

    /// Whether a connection between two sites cannot be made: that needs both directions.
    pub(super) fn is_parted(&self, a: usize, b: usize) -> bool {
        self.partitions.contains(&(a, b)) || self.partitions.contains(&(b, a))
    }

    /// Whether what is sent over a wire to this end does not come.
    fn is_held(&self, wire: WireId, at: End) -> bool {
        match (self.party(wire, at.other()), self.party(wire, at)) {
            (Some(Party::Gateway(from)), Some(Party::Gateway(to))) => {
                self.partitions.contains(&(from.site, to.site))
            }
            _ => false,
        }
    }

    /// Whether a wire is cut in one direction at least.
    pub(super) fn is_cut(&self, wire: WireId) -> bool {
        self.wires.get(wire.0).is_none_or(|wire| wire.flows.iter().any(|flow| flow.severed))
    }

    fn flow(&mut self, wire: WireId, from: End) -> Option<&mut Flow> {
        self.wires.get_mut(wire.0)?.flows.get_mut(index(from))
    }

    /// Mostly well below a millisecond, now and then much more.
    fn latency(&mut self) -> u64 {
        match self.random.below(40) {
            0 => self.random.between(5_000, 60_000),
            1..=6 => self.random.between(800, 5_000),
            _ => self.random.between(60, 800),
        }
    }
}

impl Flow {
    /// Bytes of one direction never overtake each other.
    fn push(&mut self, due: Moment, chunk: Chunk) -> Moment {
        let due = due.max(self.last_due.plus_us(1));
        self.last_due = due;
        self.on_its_way.push_back((due, chunk));
        due
    }
}

const fn index(end: End) -> usize {
    match end {
        End::Opener => 0,
        End::Accepter => 1,
    }
}
