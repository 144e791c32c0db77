//! What is to be tried, and what hosts answer in it.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::{GatewayId, Wall};

use super::returns::Habits;
use super::world::HORIZON;
use crate::drain::DrainWishes;
use crate::fleet::{Availability, Forecast, Host, Load, OwnDrain};
use crate::operation::{InvalidOperations, Operation, PhaseTimes};
use crate::policy::PolicySet;

/// What is to be tried.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// What operators allow.
    pub policies: PolicySet,
    /// The fleet; all serve at the begin.
    pub hosts: Vec<Host>,
    /// What each carries, as far as that is known; of others it is half of what they can.
    pub loads: BTreeMap<GatewayId, Load>,
    /// What is to be done.
    pub operations: Vec<Operation>,
    /// When it begins.
    pub from: Wall,
    /// How long it is looked at.
    pub lasts: Duration,
    /// What is assumed of clients that are moved.
    pub habits: Habits,
    /// What goes wrong.
    pub faults: Faults,
    /// Which of all tales.
    pub seed: u64,
}

/// What goes wrong, by chance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// Works that fail, of a thousand.
    pub works_permille: u32,
    /// Hosts that die on a day, of a thousand; each is back within an hour.
    pub deaths_permille: u32,
}

/// Why there is no tale; the caller's to mend.
#[derive(Debug, thiserror::Error)]
pub enum InvalidScenario {
    /// What is to be done cannot be meant.
    #[error(transparent)]
    Operations(#[from] InvalidOperations),
    /// There is no plan, or none that is sound; ours.
    #[error("there is no plan: {0}")]
    Plan(String),
    /// Whoever asked does not wait for it any longer.
    #[error("it takes too long")]
    TooLong,
}

impl Scenario {
    /// What a host carries all the time.
    pub(super) fn load(&self, host: &Host) -> Load {
        let half = Load {
            connections: host.capacity.connections / 2,
            messages_per_s: host.capacity.messages_per_s / 2,
        };
        self.loads.get(&host.id).copied().unwrap_or(half)
    }

    /// Clients that leave a host in a second while it is drained.
    pub(super) fn pace(&self, host: &Host) -> u64 {
        let effective = self.policies.effective(host, &[]);
        u64::from(effective.host_rate.value.unwrap_or_else(|| OwnDrain::default().per_s)).max(1)
    }

    /// What a host answers: it is drained as one whose settings say nothing.
    pub(super) fn answer(&self, host: &Host, load: Load, now: Wall) -> Availability {
        let (drain, none) = (OwnDrain::default(), DrainWishes::default());
        Availability {
            host: host.id.clone(),
            incarnation: host.incarnation,
            state: host.state,
            seq: 1,
            issued: now,
            valid_until: now.after(HORIZON),
            blockers: Vec::new(),
            load,
            forecast: Forecast::default(),
            drain_estimate: none.whole(&drain, load.connections),
            drain,
            sessions: load.connections,
            v5_share_percent: None,
            needs: Vec::new(),
            preferred: Vec::new(),
        }
    }
}

/// As the policies say and the host answers at the begin; one that is not known takes no time.
pub(super) fn times(scenario: &Scenario, policies: &PolicySet, id: &GatewayId) -> PhaseTimes {
    let host = scenario.hosts.iter().find(|host| host.id == *id);
    host.map_or_else(PhaseTimes::default, |host| {
        let answer = scenario.answer(host, scenario.load(host), scenario.from);
        policies.effective(host, &[]).phase_times(Some(&answer))
    })
}
