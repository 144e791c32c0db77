//! What every part of the simulated world may use.

use std::fmt;
use std::time::Duration;

use protocol::{Now, Wall};
use tidegate::config::PresenceSettings;

use super::agenda::{Agenda, Event, Moment, Place};
use super::journal::Journal;
use super::mistakes::Mistake;
use super::network::{Arrived, End, Network, Party, WireId};
use super::random::Random;
use super::truth::Truth;

/// Clock, chance, network, log, and those who know the truth.
#[derive(Debug)]
pub(super) struct Around {
    pub(super) now: Moment,
    pub(super) agenda: Agenda,
    pub(super) random: Random,
    pub(super) network: Network,
    pub(super) journal: Journal,
    pub(super) truth: Truth,
    /// Which life of each site accepts connections.
    pub(super) listening: Vec<Option<Place>>,
    /// What is done wrong on purpose.
    pub(super) mistake: Option<Mistake>,
    /// Whether gateways have little room for what peers forward.
    pub(super) is_tight: bool,
    /// What is remembered of who is there.
    pub(super) presence: PresenceSettings,
    /// By how much the wall clock was set since the simulation began.
    pub(super) clock_ms: i64,
}

/// The wall clock when the simulation begins, in milliseconds since 1970.
const BEGAN_MS: u64 = 1_790_000_000_000;

impl Around {
    pub(super) fn note(&mut self, what: fmt::Arguments<'_>) {
        self.journal.note(self.now, what);
    }

    pub(super) fn after_us(&mut self, us: u64, event: Event) {
        self.agenda.at(self.now.plus_us(us), event);
    }

    pub(super) fn after_ms(&mut self, ms: u64, event: Event) {
        self.agenda.at(self.now.plus_ms(ms), event);
    }

    /// The clocks of a process that began at `started` on a machine whose wall clock is ahead by `skew_ms`.
    pub(super) const fn clocks(&self, started: Moment, skew_ms: u64) -> Now {
        Now {
            mono: Duration::from_micros(self.now.since(started)),
            wall: Wall(
                (BEGAN_MS + skew_ms + self.now.0 / 1000).saturating_add_signed(self.clock_ms),
            ),
        }
    }

    /// Opens a wire from a device; `None` if nobody listens.
    pub(super) fn dial(&mut self, device: usize, site: usize) -> Option<WireId> {
        let place = self.listening.get(site).copied().flatten()?;
        Some(self.network.open(Party::Device(device), Party::Gateway(place)))
    }

    /// Opens a wire from a gateway; `None` if nobody listens or the way is parted.
    pub(super) fn dial_peer(&mut self, from: Place, site: usize) -> Option<WireId> {
        let place = self.listening.get(site).copied().flatten()?;
        if self.network.is_parted(from.site, site) {
            return None;
        }
        let wire = self.network.open(Party::Gateway(from), Party::Gateway(place));
        // What a link has on its way is limited by whoever writes to it.
        self.network.set_window(wire, End::Opener, usize::MAX);
        self.network.set_window(wire, End::Accepter, usize::MAX);
        Some(wire)
    }

    /// A device waited long for CONNACK. S3: whoever serves answers, however many others are gone.
    pub(super) fn check_service(&mut self, name: &str, wire: WireId) {
        let Some(Party::Gateway(place)) = self.network.party(wire, End::Accepter) else { return };
        let serves = self.listening.get(place.site).copied().flatten() == Some(place);
        let since = Moment(self.now.0.saturating_sub(3_500_000));
        if serves && !self.network.is_cut(wire) && !self.truth.was_hindered(place.site, since) {
            let what = format!("gw-{} does not let {name} in for 3 s", place.site + 1);
            self.truth.breach("S3", what);
        }
    }

    pub(super) fn send(&mut self, from: (WireId, End), bytes: &[u8]) -> usize {
        self.network.send(from, bytes, self.now, &mut self.agenda)
    }

    pub(super) fn read(&mut self, at: (WireId, End), max: usize) -> Arrived {
        self.network.read(at, max, self.now, &mut self.agenda)
    }

    pub(super) fn shut(&mut self, wire: WireId, from: End) {
        self.network.shut(wire, from, self.now, &mut self.agenda);
    }

    pub(super) fn close(&mut self, wire: WireId, from: End) {
        self.network.close(wire, from, self.now, &mut self.agenda);
    }
}
