//! Faults strike, and end.

use protocol::mqtt::Version;
use store::{Fault as StoreFault, Unavailable};

use super::agenda::{Actor, Event, Urge};
use super::around::Around;
use super::device::Device;
use super::plan::{Death, Fault};
use super::world::World;

impl World {
    /// A fault of the plan strikes.
    pub(super) fn strike(&mut self, number: usize) {
        let Some((_, fault)) = self.plan.get(number).copied() else { return };
        self.around.note(format_args!("fault: {fault:?}"));
        match fault {
            Fault::CutDevice { .. }
            | Fault::TurnUpElsewhere { .. }
            | Fault::Goodbye { .. }
            | Fault::CleanStart { .. }
            | Fault::StayAway { .. }
            | Fault::Unsubscribe { .. }
            | Fault::Sluggish { .. }
            | Fault::Storm { .. } => self.strike_device(number, fault),
            Fault::CutPeers { a, b, silent } => self.cut_peers((a, b), silent),
            Fault::Part { a, b, ms, one_way } => {
                self.around.network.part(a, b);
                if !one_way {
                    self.around.network.part(b, a);
                }
                self.trouble(ms);
                self.around.after_ms(ms, Event::Relief(number));
            }
            Fault::Crash { site, ms, how } => self.crash(site, ms, how),
            Fault::RefuseCommits { site, count } => {
                let process = self.sites.get(site).and_then(|site| site.process.as_ref());
                if let Some(process) = process {
                    let why = Unavailable::Full;
                    process.store.inject(StoreFault::FailCommits { count, why });
                }
                // Each of them answers a portion of what waits.
                self.hinder(site, 1_000 + u64::from(count) * 100);
            }
            Fault::Stall { site, actor, ms } => {
                self.stall(site, actor, ms);
                self.hinder(site, ms);
            }
            Fault::Freeze { site, ms } => self.freeze(site, ms),
            Fault::SetClock { ms } => {
                self.around.clock_ms += ms;
                self.around.truth.clock_is_set(self.around.now);
            }
            Fault::SlowStore { site, commit_ms, ms } => {
                let until = self.around.now.plus_ms(ms);
                if let Some(process) = self.sites.get_mut(site).and_then(|s| s.process.as_mut()) {
                    process.slow_commits(commit_ms, until);
                }
                self.hinder(site, ms + 2 * commit_ms);
            }
            Fault::LoseAnswer { site, happened } => {
                let process = self.sites.get(site).and_then(|site| site.process.as_ref());
                if let Some(process) = process {
                    process.store.inject(StoreFault::LoseAnswer { happened });
                }
            }
            Fault::Drain { site, clients, ms } => {
                let place = self.around.listening.get(site).copied().flatten();
                if let Some(place) = place {
                    self.with(place, |process, around| process.drain(clients, around));
                }
                self.around.after_ms(ms, Event::Relief(number));
            }
        }
    }

    /// A fault of a device, or of its connection.
    fn strike_device(&mut self, number: usize, fault: Fault) {
        match fault {
            Fault::CutDevice { device, device_ms, gateway_ms } => {
                let link = self.devices.get(device).and_then(|device| device.link.as_ref());
                if let Some(wire) = link.map(|link| link.wire) {
                    let now = self.around.now;
                    self.around.truth.wills.left(wire, now);
                    self.break_wire(wire, (device_ms, gateway_ms));
                }
            }
            Fault::TurnUpElsewhere { device, site } => {
                let Self { around, devices, .. } = self;
                if let Some(device) = devices.get_mut(device) {
                    device.next_site = Some(site);
                    device.drop_link(false, around);
                }
            }
            Fault::Goodbye { device } => {
                let Self { around, devices, .. } = self;
                if let Some(device) = devices.get_mut(device) {
                    device.say_goodbye(around);
                }
            }
            Fault::CleanStart { device } => {
                let Self { around, devices, .. } = self;
                // In 3.1.1 a session that begins clean also ends with its connection.
                let v5 = |device: &&mut Device| device.version == Version::V5;
                if let Some(device) = devices.get_mut(device).filter(v5) {
                    device.wants_clean = true;
                    device.drop_link(true, around);
                }
            }
            Fault::StayAway { device, ms } => {
                let Self { around, devices, wild, .. } = self;
                if let Some(device) = devices.get_mut(device) {
                    device.away_until = around.now.plus_ms(ms).min(*wild);
                    device.drop_link(true, around);
                }
            }
            Fault::Unsubscribe { device, ms } => {
                let Self { around, devices, .. } = self;
                if let Some(device) = devices.get_mut(device).filter(|device| device.is_up()) {
                    device.unsubscribe(around);
                }
                self.around.after_ms(ms, Event::Relief(number));
            }
            Fault::Sluggish { device, ms } => {
                self.set_pace(device, true);
                self.around.after_ms(ms, Event::Relief(number));
            }
            Fault::Storm { device, connects } => {
                for _ in 0..connects {
                    let ms = self.around.random.between(1, 15 * connects);
                    self.around.after_ms(ms, Event::Device(device, Urge::TurnUp));
                }
            }
            Fault::CutPeers { .. }
            | Fault::Part { .. }
            | Fault::Crash { .. }
            | Fault::RefuseCommits { .. }
            | Fault::Stall { .. }
            | Fault::Freeze { .. }
            | Fault::SetClock { .. }
            | Fault::SlowStore { .. }
            | Fault::LoseAnswer { .. }
            | Fault::Drain { .. } => {}
        }
    }

    /// A fault ends.
    pub(super) fn relieve(&mut self, number: usize) {
        let Some((when, fault)) = self.plan.get(number).copied() else { return };
        if when > self.around.now {
            return;
        }
        match fault {
            Fault::Sluggish { device, .. } => self.set_pace(device, false),
            Fault::Part { a, b, one_way, .. } => {
                let Around { network, agenda, now, .. } = &mut self.around;
                network.heal((a, b), *now, agenda);
                if !one_way {
                    network.heal((b, a), *now, agenda);
                }
            }
            Fault::CutPeers { .. }
            | Fault::RefuseCommits { .. }
            | Fault::Stall { .. }
            | Fault::Freeze { .. }
            | Fault::SetClock { .. }
            | Fault::SlowStore { .. }
            | Fault::LoseAnswer { .. }
            | Fault::Storm { .. }
            | Fault::Crash { .. } => {}
            Fault::Drain { site, .. } => {
                let place = self.around.listening.get(site).copied().flatten();
                if let Some(place) = place {
                    self.with(place, |process, around| process.reopen(around));
                }
            }
            Fault::CutDevice { .. }
            | Fault::TurnUpElsewhere { .. }
            | Fault::Goodbye { .. }
            | Fault::StayAway { .. }
            | Fault::CleanStart { .. } => {}
            Fault::Unsubscribe { device, .. } => {
                let Self { around, devices, .. } = self;
                if let Some(device) = devices.get_mut(device).filter(|device| device.is_up()) {
                    device.subscribe_all(around);
                }
            }
        }
    }

    fn cut_peers(&mut self, (a, b): (usize, usize), silent: bool) {
        let process = self.sites.get(a).and_then(|site| site.process.as_ref());
        let wires = process.map(|process| process.links.wires_to(b)).unwrap_or_default();
        for wire in wires {
            let ms = self.around.random.between(1, 100);
            let told = (!silent).then_some(ms);
            self.break_wire(wire, (told, told));
        }
        self.trouble(if silent { 4_000 } else { 1_000 });
    }

    fn crash(&mut self, site: usize, ms: u64, how: Death) {
        match how {
            Death::Now => self.kill(site),
            Death::InCommit { durable } => {
                let process = self.sites.get(site).and_then(|site| site.process.as_ref());
                if let Some(process) = process {
                    process.store.inject(StoreFault::Crash { after_writes: 2, durable });
                }
            }
        }
        // A commit comes within a second, be it only the lease's.
        self.trouble(ms + 2_000);
        self.around.after_ms(ms + 2_000, Event::Restart(site));
    }

    fn stall(&mut self, site: usize, actor: Actor, ms: u64) {
        let until = self.around.now.plus_ms(ms);
        let process = self.sites.get_mut(site).and_then(|site| site.process.as_mut());
        if let Some(process) = process {
            process.stall(actor, until);
        }
    }

    /// Nothing of a gateway runs until then; what comes to it waits.
    fn freeze(&mut self, site: usize, ms: u64) {
        let now = self.around.now;
        let until = now.plus_ms(ms).min(self.wild);
        if until <= now {
            return;
        }
        let Some(frozen) = self.frozen.get_mut(site) else { return };
        *frozen = until.max(*frozen);
        self.hinder(site, until.since(now) / 1000);
        if let Some(place) = self.around.listening.get(site).copied().flatten() {
            self.around.truth.frozen(place, now, until);
        }
    }

    /// One gateway may not do its work as usual for so long, and the others feel it.
    fn hinder(&mut self, site: usize, ms: u64) {
        let until = self.around.now.plus_ms(ms);
        self.around.truth.hinders(site, until);
        self.trouble(ms);
    }

    /// For so long gateways may not be able to ask each other.
    pub(super) fn trouble(&mut self, ms: u64) {
        let until = self.around.now.plus_ms(ms);
        let now = self.around.now;
        self.around.truth.trouble(now, until);
    }
}
