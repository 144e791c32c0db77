//! What goes wrong, and when: decided by the seed before anything happens.

use super::agenda::{Actor, Moment};
use super::random::Random;

/// Something that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// A device's connection breaks; each side learns of it after its own time, or only by silence.
    CutDevice {
        device: usize,
        device_ms: Option<u64>,
        gateway_ms: Option<u64>,
    },
    /// A device turns up elsewhere and leaves its old connection as it is.
    TurnUpElsewhere {
        device: usize,
        site: usize,
    },
    Goodbye {
        device: usize,
    },
    /// A device wants a new session.
    CleanStart {
        device: usize,
    },
    /// A device is switched off for a while.
    StayAway {
        device: usize,
        ms: u64,
    },
    /// A device wants less for a while.
    Unsubscribe {
        device: usize,
        ms: u64,
    },
    /// A device reads little and late for a while.
    Sluggish {
        device: usize,
        ms: u64,
    },
    /// The wires between two gateways break.
    CutPeers {
        a: usize,
        b: usize,
        silent: bool,
    },
    /// Two gateways cannot reach each other for a while, or the second not the first; both reach the store.
    Part {
        a: usize,
        b: usize,
        ms: u64,
        one_way: bool,
    },
    /// A gateway dies and comes back.
    Crash {
        site: usize,
        ms: u64,
        how: Death,
    },
    /// The store refuses a gateway's next commits.
    RefuseCommits {
        site: usize,
        count: u32,
    },
    /// The system does not run a thread for a while.
    Stall {
        site: usize,
        actor: Actor,
        ms: u64,
    },
    /// Clients are handed over and refused, as in a drain, for a while.
    Drain {
        site: usize,
        clients: usize,
        ms: u64,
    },
    /// The system does not run a gateway at all for a while, often for longer than its lease.
    Freeze {
        site: usize,
        ms: u64,
    },
    /// The wall clock of the machine is set; forward or back.
    SetClock {
        ms: i64,
    },
    /// A gateway's commits take long for a while.
    SlowStore {
        site: usize,
        commit_ms: u64,
        ms: u64,
    },
    /// A commit's answer is lost.
    LoseAnswer {
        site: usize,
        happened: bool,
    },
    /// A device, or several with its name, connect everywhere at once.
    Storm {
        device: usize,
        connects: u64,
    },
}

/// How a gateway dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Death {
    /// At once.
    Now,
    /// In a commit soon; whether that became durable.
    InCommit { durable: bool },
}

/// Which faults a seed has, in percent of all.
#[derive(Debug)]
struct Temper {
    odds: [u64; KINDS],
}

const KINDS: usize = 18;

/// Kinds of faults of every seed; the rest come with `--all-faults`.
const USUAL_KINDS: usize = 13;
/// The kind of fault that sets clocks.
const SETS_CLOCK: usize = 14;

/// The faults of a seed, in order.
pub(super) fn faults(
    random: &mut Random,
    (sites, workers, devices): (usize, usize, usize),
    until: Moment,
    all: bool,
) -> Vec<(Moment, Fault)> {
    let temper = Temper::of(random, all);
    // Some seeds are calm, some wild.
    let pause_ms = random.between(150, 2_000);
    let mut plan = Vec::new();
    let mut at = Moment(0).plus_ms(2_000);
    loop {
        at = at.plus_ms(random.between(pause_ms / 4, pause_ms * 2));
        if at >= until {
            return plan;
        }
        let kind = temper.pick(random);
        plan.push((at, fault(kind, random, (sites, workers, devices))));
    }
}

impl Temper {
    fn of(random: &mut Random, all: bool) -> Self {
        // Faults of devices, links, gateways, store, threads: each seed has some of them, in its own mixture.
        let common = [16, 16, 8, 4, 12, 5, 10, 8, 7, 5, 8, 8, 8, 5, 0, 4, 3, 5];
        let mut odds =
            common.map(|odds| if random.percent(60) { odds * random.between(1, 4) } else { 0 });
        if !all {
            // Those that a whole set of seeds has not been through yet.
            for odds in odds.iter_mut().skip(USUAL_KINDS) {
                *odds = 0;
            }
        } else if random.percent(6) {
            // Clocks are seldom set, and much may depend on them.
            odds[SETS_CLOCK] = 5;
        }
        Self { odds }
    }

    fn pick(&self, random: &mut Random) -> usize {
        let total = self.odds.iter().sum();
        let mut left = random.below(total);
        for (kind, odds) in self.odds.iter().enumerate() {
            if left < *odds {
                return kind;
            }
            left -= odds;
        }
        0
    }
}

fn fault(
    kind: usize,
    random: &mut Random,
    (sites, workers, devices): (usize, usize, usize),
) -> Fault {
    let device = random.place(devices);
    let a = random.place(sites);
    let b = (a + 1 + random.place(sites - 1)) % sites;
    let known = |random: &mut Random| random.percent(60).then(|| random.between(1, 300));
    match kind {
        0 => Fault::CutDevice { device, device_ms: known(random), gateway_ms: known(random) },
        1 => Fault::TurnUpElsewhere { device, site: a },
        2 => Fault::Goodbye { device },
        3 => Fault::CleanStart { device },
        4 => Fault::Unsubscribe { device, ms: random.between(50, 3_000) },
        5 => Fault::Sluggish { device, ms: random.between(500, 5_000) },
        6 => Fault::CutPeers { a, b, silent: random.percent(30) },
        7 => {
            let ms = random.between(100, 9_000);
            Fault::Part { a, b, ms, one_way: random.percent(40) }
        }
        8 => {
            let durable = random.percent(50);
            let how = if random.percent(50) { Death::Now } else { Death::InCommit { durable } };
            Fault::Crash { site: a, ms: random.between(100, 7_000), how }
        }
        9 => {
            let most = if random.percent(80) { 4 } else { 60 };
            let count = u32::try_from(random.between(1, most)).unwrap_or(1);
            Fault::RefuseCommits { site: a, count }
        }
        10 => {
            Fault::Stall { site: a, actor: actor(random, workers), ms: random.between(20, 1_500) }
        }
        11 => {
            let clients = random.place(4) + 1;
            Fault::Drain { site: a, clients, ms: random.between(200, 4_000) }
        }
        12 => Fault::StayAway { device, ms: random.between(500, 8_000) },
        13 => Fault::Freeze { site: a, ms: random.between(500, 9_000) },
        SETS_CLOCK => {
            let ms = i64::try_from(random.between(0, 600_000)).unwrap_or_default();
            Fault::SetClock { ms: if random.percent(50) { ms } else { -ms } }
        }
        15 => {
            let commit_ms = random.between(20, 1_200);
            Fault::SlowStore { site: a, commit_ms, ms: random.between(500, 5_000) }
        }
        16 => Fault::LoseAnswer { site: a, happened: random.percent(50) },
        _ => Fault::Storm { device, connects: random.between(3, 25) },
    }
}

fn actor(random: &mut Random, workers: usize) -> Actor {
    match random.below(5) {
        0 => Actor::Worker(u8::try_from(random.place(workers)).unwrap_or(0)),
        1 => Actor::Tail,
        2 => Actor::Committer,
        3 => Actor::Links,
        _ => Actor::Service,
    }
}
