//! What a seed plays, and how it ended.

use std::collections::BTreeSet;

use super::journal::Keep;
use super::mistakes::Mistake;
use super::random::Random;
use super::truth::Breach;
use super::world::World;

/// What a seed plays. Everything by chance follows from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    /// The source of all chance.
    pub seed: u64,
    /// Gateways, 2 or more.
    pub gateways: usize,
    /// Devices, 1 or more.
    pub devices: usize,
    /// Whether devices change shadows and watch them, and who is there is remembered.
    pub shadows: bool,
    /// Seconds with faults and new publications.
    pub wild_s: u64,
    /// Seconds after that for everything owed to arrive.
    pub settle_s: u64,
    /// Whether gateways freeze, clocks are set, stores are slow and answers lost, and crowds share a name, besides what
    /// happens to every fleet.
    pub all_faults: bool,
    /// Whether holes that README names count as breaches too.
    pub strict: bool,
    /// What gateways do wrong on purpose.
    pub mistake: Option<Mistake>,
    /// Faults of the plan that do not strike, by their number.
    pub spared: BTreeSet<usize>,
    /// Devices that are never switched on.
    pub silent: BTreeSet<usize>,
}

/// How a seed ended.
#[derive(Debug)]
pub struct Report {
    /// What was played.
    pub scenario: Scenario,
    /// The first promise that was broken, if one was.
    pub breach: Option<Breach>,
    /// What happened, as much of it as was asked for.
    pub log: Vec<String>,
    /// A hash of all events.
    pub hash: u64,
    /// Events that were logged.
    pub events: u64,
    /// Faults of the plan.
    pub faults: usize,
    /// Publications that were acknowledged.
    pub acknowledged: usize,
    /// Publications that devices received.
    pub received: u64,
    /// Wills that devices received.
    pub wills: u64,
    /// Devices that came back with a position and got exactly what follows.
    pub resumes: u64,
    /// Updates of shadows that were answered.
    pub updates: usize,
}

/// Which events a report tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Telling {
    /// The last few hundred.
    #[default]
    Last,
    /// All of them.
    All,
    /// Those that concern one of these words: a device, a message, a gateway, `fault`.
    About(Vec<String>),
}

impl Scenario {
    /// The fleet of a seed: most are small, so that a fault is met often, some are large.
    pub fn of(seed: u64) -> Self {
        // A sequence of its own, so that the size of a fleet may be set without changing what else the seed does.
        let mut random = Random::new(seed ^ 0x7369_7a65);
        let ((gateways, most_gateways), (devices, most_devices)) = match random.below(1000) {
            0..800 => ((2, 3), (3, 7)),
            800..960 => ((3, 4), (8, 12)),
            960..995 => ((4, 5), (15, 30)),
            _ => ((6, 7), (80, 160)),
        };
        let mut between = |low, high: usize| low + random.place(high - low + 1);
        Self {
            seed,
            gateways: between(gateways, most_gateways),
            devices: between(devices, most_devices),
            // So that fleets without any play as if there were none.
            shadows: Random::new(seed ^ 0x7368_6164).percent(40),
            wild_s: 15,
            settle_s: 17,
            all_faults: false,
            strict: false,
            mistake: None,
            spared: BTreeSet::new(),
            silent: BTreeSet::new(),
        }
    }

    /// Plays it.
    pub fn play(&self) -> Report {
        self.play_and_tell(&Telling::Last)
    }

    /// Plays it and tells what happened.
    pub fn play_and_tell(&self, telling: &Telling) -> Report {
        let keep = match telling {
            Telling::Last => Keep::Last,
            Telling::All => Keep::All,
            Telling::About(words) => Keep::About(words.clone()),
        };
        let mut world = World::new(self, keep);
        world.run();
        let faults = world.plan.len();
        let around = world.around;
        Report {
            scenario: self.clone(),
            breach: around.truth.first_breach().cloned(),
            hash: around.journal.hash(),
            events: around.journal.count(),
            faults,
            acknowledged: around.truth.messages.iter().filter(|m| m.accepted.is_some()).count(),
            received: around.truth.seen.values().map(|seen| u64::from(seen.all)).sum(),
            wills: around.truth.wills_received(),
            resumes: around.truth.resumes.exact,
            updates: around.truth.shadows.answered(),
            log: around.journal.into_lines(),
        }
    }
}
