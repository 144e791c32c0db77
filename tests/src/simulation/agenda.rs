//! Virtual time: what happens when, in one order.

use std::collections::BTreeMap;
use std::fmt;

use super::network::{End, WireId};

/// Microseconds since the simulation began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Moment(pub(super) u64);

impl Moment {
    pub(super) const fn plus_us(self, us: u64) -> Self {
        Self(self.0 + us)
    }

    pub(super) const fn plus_ms(self, ms: u64) -> Self {
        Self(self.0 + ms * 1000)
    }

    /// Microseconds since an earlier moment; 0 if it is not earlier.
    pub(super) const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>3}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// One life of one gateway; what was meant for an earlier life reaches nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) site: usize,
    pub(super) life: u32,
}

/// What a gateway process has a thread for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Actor {
    Worker(u8),
    Tail,
    Committer,
    Links,
    Service,
}

/// What a device is reminded of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urge {
    Connect,
    /// Connects anew although it is connected, somewhere.
    TurnUp,
    /// No CONNACK on this wire so far: give up.
    Late(WireId),
    Publish,
    Read(WireId),
    Ping(WireId),
}

/// Something that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// What was sent over a wire may have come to this end.
    Arrive(WireId, End),
    /// The party at this end may send more.
    Room(WireId, End),
    Turn(Place, Actor),
    /// A worker's turn ends: what it wrote and asked leaves it.
    Flush(Place, u8),
    /// A tenth of a second has passed for a worker.
    Tick(Place, u8),
    /// The answers of a commit leave the committer.
    Told(Place),
    /// Peers are told of commits that were held back.
    Held(Place),
    /// An attempt to reach a peer: which one, and the attempt's number.
    Dial(Place, usize, u64),
    /// The service looks at its duties.
    Beat(Place),
    Device(usize, Urge),
    /// A fault of the plan, by its place there.
    Fault(usize),
    /// A fault that has an end ends.
    Relief(usize),
    Restart(usize),
    /// No more faults and no more new publications.
    Settle,
    End,
}

/// What is going to happen.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    events: BTreeMap<(Moment, u64), Event>,
    count: u64,
}

impl Agenda {
    pub(super) fn at(&mut self, when: Moment, event: Event) {
        self.count += 1;
        self.events.insert((when, self.count), event);
    }

    pub(super) fn next(&mut self) -> Option<(Moment, Event)> {
        self.events.pop_first().map(|((when, _), event)| (when, event))
    }

    /// How much has been planned so far.
    pub(super) const fn count(&self) -> u64 {
        self.count
    }
}
