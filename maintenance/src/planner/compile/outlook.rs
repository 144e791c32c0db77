//! What a plan is compiled from.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::{GatewayId, Wall};

use crate::calendar::Interval;
use crate::fleet::{Availability, Host, HostState};
use crate::ledger::Ledger;
use crate::operation::{BatchOf, Operation, Visit};
use crate::policy::{Effective, Freeze, PolicySet};

/// The fleet, what is allowed and what is to be done, as whoever plans sees it at one moment.
pub struct Outlook<'a> {
    /// Calendar time; nothing is planned before it.
    pub now: Wall,
    /// How far is planned.
    pub horizon: Duration,
    /// What operators allow.
    pub policies: &'a PolicySet,
    /// What they exclude for the time being.
    pub freezes: &'a [Freeze],
    /// Every registered host, whether it answers or not.
    pub hosts: &'a [Host],
    /// What they answered.
    pub answers: &'a BTreeMap<GatewayId, Availability>,
    /// Who may be disturbed already.
    pub ledger: &'a Ledger,
    /// What is to be done, merged; also what is on its way.
    pub visits: &'a [Visit],
    /// The operations of the visits.
    pub operations: &'a [Operation],
    /// Which visits of campaigns are over, as far as their batches are still watched.
    pub finished: &'a [Finished],
    /// Until when at least the gate is closed for hosts with these policies; none if it is open. Who asks
    /// [`Effective::closed_by`] adds [`Effective::reopen_after`].
    pub closed_until: &'a dyn Fn(&Effective) -> Option<Wall>,
    /// What is assumed where nobody knows.
    pub expected: Expected,
}

/// A visit of a campaign that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// The batch it was in.
    pub batch: BatchOf,
    /// When it was over.
    pub at: Wall,
}

/// What is assumed where nobody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// What is added to the time that a visit probably takes, as by the ledger; none by default.
    pub margin: Duration,
    /// How much longer a visit takes that is not over when it should be; 15 minutes by default.
    pub overrun: Duration,
    /// How long it takes until a host serves that answers and does not serve; 10 minutes by default.
    pub settle: Duration,
}

impl Default for Expected {
    fn default() -> Self {
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        Self { margin: Duration::ZERO, overrun: minutes(15), settle: minutes(10) }
    }
}

impl std::fmt::Debug for Outlook<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outlook")
            .field("now", &self.now)
            .field("hosts", &self.hosts.len())
            .field("visits", &self.visits.len())
            .finish_non_exhaustive()
    }
}

/// Whether a host is there, as far as anybody can know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    /// It serves, and says so.
    Serves,
    /// It answers, and does not serve.
    Otherwise(HostState),
    /// It has not answered in time, or nobody hears of it.
    Silent,
}

impl Outlook<'_> {
    /// When planning ends.
    pub(super) fn until(&self) -> Wall {
        self.now.after(self.horizon)
    }

    /// From a moment to the end of the horizon, if that is before it.
    pub(super) fn rest(&self, from: Wall) -> Option<Interval> {
        Interval::new(from, self.until())
    }

    /// What a host answered, if it is still believed.
    pub(super) fn answer(&self, host: &Host) -> Option<&Availability> {
        self.answers.get(&host.id).filter(|answer| answer.is_fresh(self.now, host.incarnation))
    }

    /// As the ledger judges it, with a word for what is not.
    pub(super) fn presence(&self, host: &Host) -> Presence {
        let Some(answer) = self.answer(host) else {
            return Presence::Silent;
        };
        match (host.state, answer.state) {
            (HostState::Serving, HostState::Serving) => Presence::Serves,
            (HostState::Suspect | HostState::Lost, _) => Presence::Silent,
            (HostState::Serving, state) | (state, _) => Presence::Otherwise(state),
        }
    }
}
