//! The world: gateways, devices, a network and a store, on one thread and one virtual clock.

use protocol::mqtt::Version;
use protocol::session::{QueueLimits, WhenFull};
use protocol::{GatewayId, QoS};
use store::{MemoryStore, Space, Store as _};

use super::agenda::{Agenda, Event, Moment, Place, Urge};
use super::around::Around;
use super::device::{Bookmarks, Device, Subscribed};
use super::device_packets::{FILTERS, SHARED};
use super::journal::{Journal, Keep};
use super::network::{End, Network, Party, WireId};
use super::plan::{self, Fault};
use super::presence;
use super::process::{Process, Start};
use super::random::Random;
use super::scenario::Scenario;
use super::shadow_device::{self, Asks};
use super::truth::Truth;
use super::wills::{LastWord, WILL_TOPICS};

/// A gateway's machine: it outlives its processes.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) start: Start,
    pub(super) process: Option<Process>,
    store: MemoryStore,
}

/// Everything there is.
#[derive(Debug)]
pub(super) struct World {
    pub(super) around: Around,
    pub(super) sites: Vec<Site>,
    pub(super) devices: Vec<Device>,
    pub(super) plan: Vec<(Moment, Fault)>,
    /// When the faults are over.
    pub(super) wild: Moment,
    /// Until when each site does not run.
    pub(super) frozen: Vec<Moment>,
}

impl World {
    pub(super) fn new(scenario: &Scenario, keep: Keep) -> Self {
        let mut random = Random::new(scenario.seed);
        let network = Network::new(random.fork());
        let workers = random.place(2) + 1;
        let wild = Moment(0).plus_ms(scenario.wild_s * 1000);
        let plan = plan::faults(
            &mut random,
            (scenario.gateways, workers, scenario.devices),
            wild,
            scenario.all_faults,
        );
        let mut around = Around {
            now: Moment(0),
            agenda: Agenda::default(),
            network,
            journal: Journal::new(keep),
            truth: Truth::new(scenario.strict),
            listening: vec![None; scenario.gateways],
            clock_ms: 0,
            presence: presence::settings(scenario.shadows),
            mistake: scenario.mistake,
            is_tight: random.percent(25),
            random,
        };
        let shared = MemoryStore::new();
        let queue = limits(&mut around.random);
        around.truth.full = (queue != WIDE).then_some(queue.when_full);
        let sites = (0..scenario.gateways).filter_map(|site| {
            let id = GatewayId::new(&format!("gw-{}", site + 1)).ok()?;
            let store = shared.another_process();
            let place = Place { site, life: 0 };
            let skew_ms = around.random.below(80);
            let start = Start { place, id, workers, skew_ms, store: store.clone(), queue };
            Some(Site { start, process: None, store })
        });
        let sites = sites.collect();
        // Two clients without a word for it may refuse each other for ever, as README says.
        let wordy = queue.when_full == WhenFull::Reject;
        let device = |index| device(index, (scenario.devices, wordy), &mut around.random);
        let mut devices: Vec<_> = (0..scenario.devices).map(device).collect();
        if scenario.shadows {
            shadow_device::give_roles(&mut devices, Random::new(scenario.seed ^ 0x726f_6c65));
        }
        let frozen = vec![Moment(0); scenario.gateways];
        let mut world = Self { around, sites, devices, plan, wild, frozen };
        world.plan_everything(scenario, wild);
        world
    }

    fn plan_everything(&mut self, scenario: &Scenario, wild: Moment) {
        let Self { around, sites, devices, plan, .. } = self;
        for site in 0..sites.len() {
            around.after_ms(site as u64 * 37, Event::Restart(site));
        }
        for device in &mut *devices {
            device.off = scenario.silent.contains(&device.index);
        }
        for device in devices.iter().filter(|device| !device.off) {
            around.after_ms(500, Event::Device(device.index, Urge::Connect));
            around.after_ms(900, Event::Device(device.index, Urge::Publish));
        }
        let spared = |number: &usize| !scenario.spared.contains(number);
        for (number, (when, _)) in plan.iter().enumerate().filter(|(number, _)| spared(number)) {
            around.agenda.at(*when, Event::Fault(number));
        }
        around.agenda.at(wild, Event::Settle);
        around.agenda.at(wild.plus_ms(scenario.settle_s * 1000), Event::End);
    }

    pub(super) fn run(&mut self) {
        while let Some((when, event)) = self.around.agenda.next() {
            self.around.now = when;
            if event == Event::End {
                let now = self.around.now;
                self.check_quiet();
                let truth = &mut self.around.truth;
                truth.conclude(now);
                truth.conclude_groups();
                truth.conclude_retained(now);
                truth.conclude_shadows();
                return truth.conclude_wills(now);
            }
            self.handle(event);
            if self.around.truth.first_breach().is_some() {
                return self.describe();
            }
        }
    }

    /// Notes how connections stand, for whoever wants to know why a promise was broken.
    fn describe(&mut self) {
        for process in self.sites.iter().filter_map(|site| site.process.as_ref()) {
            for worker in &process.workers {
                worker.describe(&mut self.around);
            }
        }
    }

    /// The end only says something if everybody is there to hear what they are owed.
    fn check_quiet(&mut self) {
        self.look_at_store();
        for (number, site) in self.sites.iter().enumerate() {
            if let Some(process) = &site.process {
                self.around.truth.compare_retained(number, &process.tail.retained());
                for device in &self.devices {
                    let dropped = process.tail.dropped(&device.name);
                    self.around.truth.dropped.insert((device.index, number), dropped);
                }
            }
        }
        for device in self.devices.iter().filter(|device| !device.off) {
            if !device.is_up() {
                let what = format!("{} is not connected at the end", device.name);
                self.around.truth.breach("liveness", what);
            }
            let asked = |state: &Subscribed| *state != Subscribed::Held;
            if device.subscribed.values().any(asked) {
                let what = format!("{} still waits: {:?}", device.name, device.subscribed);
                self.around.truth.breach("liveness", what);
            }
            let asked = device.asks.as_ref().map(Asks::waiting).unwrap_or_default();
            if !asked.is_empty() {
                let what = format!("{} still waits for answers: {asked:?}", device.name);
                self.around.truth.breach("liveness", what);
            }
            if !device.open.is_empty() {
                let what = format!("{} still waits for answers: {:?}", device.name, device.open);
                self.around.truth.breach("liveness", what);
            }
        }
    }

    /// Until when an event waits because the gateway that it is about does not run.
    fn held_until(&self, event: Event) -> Option<Moment> {
        let place = match event {
            Event::Arrive(wire, end) | Event::Room(wire, end) => {
                match self.around.network.party(wire, end)? {
                    Party::Gateway(place) => place,
                    Party::Device(_) => return None,
                }
            }
            Event::Turn(place, _)
            | Event::Flush(place, _)
            | Event::Tick(place, _)
            | Event::Told(place)
            | Event::Held(place)
            | Event::Beat(place)
            | Event::Dial(place, ..) => place,
            Event::Device(..)
            | Event::Fault(_)
            | Event::Relief(_)
            | Event::Restart(_)
            | Event::Settle
            | Event::End => return None,
        };
        let until = self.frozen.get(place.site).copied()?;
        (until > self.around.now).then_some(until)
    }

    fn handle(&mut self, event: Event) {
        let sites = self.sites.len();
        if let Some(until) = self.held_until(event) {
            return self.around.agenda.at(until, event);
        }
        match event {
            Event::Arrive(wire, end) => {
                let Around { network, now, .. } = &mut self.around;
                match network.arrive(wire, end, *now) {
                    Some(Party::Device(index)) => {
                        if let Some(device) = self.devices.get_mut(index) {
                            device.handle_arrival(wire, &mut self.around);
                        }
                    }
                    Some(Party::Gateway(place)) => self.with(place, |process, around| {
                        process.handle_arrival(wire, end, around);
                    }),
                    None => {}
                }
            }
            Event::Room(wire, end) => {
                if let Some(Party::Gateway(place)) = self.around.network.party(wire, end) {
                    self.with(place, |process, around| {
                        process.wake_socket(wire, around);
                    });
                }
            }
            Event::Turn(place, actor) => self.with(place, |process, around| {
                if let Err(error) = process.turn(actor, around) {
                    around.note(format_args!("gw-{}: {error}", place.site + 1));
                }
            }),
            Event::Flush(place, worker) => self.with(place, |p, around| p.flush(worker, around)),
            Event::Tick(place, worker) => self.with(place, |p, around| p.tick(worker, around)),
            Event::Told(place) => self.with(place, Process::told),
            Event::Held(place) => self.with(place, Process::poke),
            Event::Beat(place) => self.with(place, Process::beat),
            Event::Dial(place, site, number) => self.dial(place, site, number),
            Event::Device(index, urge) => {
                if let Some(device) = self.devices.get_mut(index) {
                    device.remind(urge, sites, &mut self.around);
                }
            }
            Event::Fault(number) => self.strike(number),
            Event::Relief(number) => self.relieve(number),
            Event::Restart(site) => self.restart(site),
            Event::Settle => self.settle(),
            Event::End => {}
        }
    }

    /// Lets one life of a gateway do something, if it still lives; it may die of it.
    pub(super) fn with(&mut self, place: Place, step: impl FnOnce(&mut Process, &mut Around)) {
        let Some(site) = self.sites.get_mut(place.site) else { return };
        let Some(process) = site.process.as_mut().filter(|p| p.place == place) else { return };
        step(process, &mut self.around);
        if process.store.is_dead() {
            self.kill(place.site);
        }
    }

    fn dial(&mut self, place: Place, site: usize, number: u64) {
        let alive = self.sites.get(place.site).and_then(|s| s.process.as_ref());
        if alive.is_some_and(|process| process.place == place) {
            let wire = self.around.dial_peer(place, site);
            self.with(place, |p, around| p.handle_dialled((site, number), wire, around));
        }
    }

    /// Begins the next life of a gateway.
    pub(super) fn restart(&mut self, number: usize) {
        let Some(site) = self.sites.get_mut(number) else { return };
        if site.process.is_some() {
            return;
        }
        site.start.place.life += 1;
        site.start.store = site.store.another_process();
        self.around
            .note(format_args!("{} begins its life {}", site.start.id, site.start.place.life));
        match Process::start(&site.start, &mut self.around) {
            Ok(process) => {
                site.process = Some(process);
                if let Some(place) = self.around.listening.get_mut(number) {
                    *place = Some(site.start.place);
                }
            }
            Err(error) => {
                let what = format!("{} cannot start: {error}", site.start.id);
                self.around.truth.breach("liveness", what);
            }
        }
    }

    /// Ends the life of a gateway: all in its memory is gone, its wires break.
    pub(super) fn kill(&mut self, number: usize) {
        let Some(site) = self.sites.get_mut(number) else { return };
        let Some(process) = site.process.take() else { return };
        let place = process.place;
        if let Some(frozen) = self.frozen.get_mut(number) {
            *frozen = Moment(0);
        }
        self.around.note(format_args!("gw-{} dies", number + 1));
        if let Some(listening) = self.around.listening.get_mut(number) {
            *listening = None;
        }
        let now = self.around.now;
        self.around.truth.crashed(place, now);
        if let Ok(mut reader) = site.store.another_process().reader()
            && let Ok(stands) = reader.scan(Space::Session, &[], None, 1024)
            && let Ok(retained) = reader.scan(Space::Retained, &[], None, 1024)
            && let Ok(shadows) = reader.scan(Space::Shadow, &[], None, 1024)
        {
            let Around { truth, journal, .. } = &mut self.around;
            truth.look_at_store(place, (&stands, &retained, &shadows), now, journal);
        }
        for wire in self.around.network.wires_of(place) {
            let ms = self.around.random.between(1, 40);
            self.break_wire(wire, (Some(ms), Some(ms)));
        }
        if self.around.now >= self.wild {
            // A commit that it was to die in came late, since it was frozen.
            self.trouble(3_000);
            self.around.after_ms(1_000, Event::Restart(number));
        }
    }

    pub(super) fn break_wire(&mut self, wire: WireId, told_ms: (Option<u64>, Option<u64>)) {
        let Around { network, agenda, now, .. } = &mut self.around;
        network.cut(wire, told_ms, *now, agenda);
    }

    /// The faults are over; everyone comes back and hears what it missed.
    fn settle(&mut self) {
        self.around.note(format_args!("all faults are over"));
        for number in 0..self.plan.len() {
            self.relieve(number);
        }
        for site in 0..self.sites.len() {
            self.restart(site);
        }
        for device in &mut self.devices {
            device.settled = true;
        }
    }

    pub(super) fn set_pace(&mut self, device: usize, slow: bool) {
        let Self { around, devices, .. } = self;
        if let Some(device) = devices.get_mut(device) {
            device.slow = slow;
            if let Some(wire) = device.link.as_ref().map(|link| link.wire) {
                device.set_window(wire, around);
                around.truth.slows(wire, slow);
                around.after_us(1, Event::Room(wire, End::Accepter));
            }
        }
    }
}

/// How much may wait for a session: often as much as there is.
fn limits(random: &mut Random) -> QueueLimits {
    if !random.percent(20) {
        return WIDE;
    }
    let messages = u32::try_from(random.between(3, 25)).unwrap_or(3);
    let bytes = if random.percent(50) { random.between(300, 2_000) } else { u64::MAX };
    let when_full = match random.below(3) {
        0 => WhenFull::Reject,
        1 => WhenFull::DropOldest,
        _ => WhenFull::DropNew,
    };
    QueueLimits { messages, bytes, when_full }
}

/// More than is ever said.
const WIDE: QueueLimits = QueueLimits { messages: 100_000, ..QueueLimits::NONE };

fn device(index: usize, (of, wordy): (usize, bool), random: &mut Random) -> Device {
    let levels = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
    let level = |random: &mut Random, from: usize| {
        levels.get(from + random.place(3 - from)).copied().unwrap_or(QoS::AtLeastOnce)
    };
    let version = if random.percent(50) || wordy { Version::V5 } else { Version::V311 };
    let mut filters = Vec::new();
    let shares = version == Version::V5 && random.percent(35);
    if shares {
        let text = SHARED.get(random.place(SHARED.len())).copied().unwrap_or_default();
        filters.push((text.to_owned(), level(random, 1)));
    }
    for _ in 0..random.between(1, 2) {
        let text = FILTERS.get(random.place(FILTERS.len())).copied().unwrap_or("#");
        let qos = level(random, 0);
        let doubled = shares && text == "#";
        if !doubled && !filters.iter().any(|(known, _)| known == text) {
            filters.push((text.to_owned(), qos));
        }
    }
    let receive_maximum = u16::try_from(random.between(1, 12)).unwrap_or(1);
    let will = random.percent(50).then(|| LastWord {
        topic: random.place(WILL_TOPICS.len()),
        qos: level(random, 0),
        delay_s: if version == Version::V5 {
            u32::try_from(random.below(3)).unwrap_or(0)
        } else {
            0
        },
    });
    let persistent = random.percent(55);
    let bookmarks = (persistent && version == Version::V5 && !shares && random.percent(40))
        .then(Bookmarks::default);
    Device {
        index,
        off: false,
        name: format!("d{index}"),
        version,
        will,
        persistent,
        numbered: version == Version::V5 && random.percent(50),
        receive_maximum,
        filters,
        // A large fleet has many who listen, not more that is said.
        pause_ms: random.between(300, 2_000) * (of as u64).div_ceil(8),
        slow: false,
        link: None,
        life: 1,
        established: false,
        wants_clean: false,
        open: std::collections::VecDeque::new(),
        inbound: std::collections::BTreeSet::new(),
        last_id: 0,
        subscribed: std::collections::BTreeMap::new(),
        settled: false,
        next_site: None,
        away_until: Moment(0),
        bookmarks,
        asks: None,
    }
}
