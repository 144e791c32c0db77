//! Visits by themselves: when a window opens, the ledger is asked for a slot, and this gateway drains.

use std::time::Duration;

use maintenance::ledger::{Asked, Grant, Slot, SlotClass};
use maintenance::policy::Freeze;
use maintenance::{
    Decision, Host, HostState, Interval, Intervals, Ledger, Limits, Outcome, Situation, SlotEpoch,
    Visit, decide,
};
use protocol::{GatewayId, Incarnation, Wall};

use super::members::{Member, one_each};
use super::page::Page;
use super::thread::Housekeeper;
use crate::control::{ControlError, DrainRequest, GatewayState};
use crate::scheduler::{Beside, OVERRUN_MS, freezes_on, registered_state};

/// Why a window of the configuration drains.
const WINDOW: &str = "maintenance window";
/// How often a slot is asked for that others are quicker than.
const TRIES: usize = 8;
/// Characters of a freeze's reason that the audit repeats.
const REASON: usize = 1000;
/// Characters of what policies say that it repeats where they are overruled.
const AGAINST: usize = 300;

impl Housekeeper {
    /// One look at the windows and the ledger. Lost races are looked at again next time.
    pub(super) fn visit(&mut self) {
        if self.drains.successor.is_some() {
            // From here on the gateway is its successor.
            return;
        }
        let Some(mut page) = self.read_ledger() else { return };
        let me = self.config.id.gateway();
        let slot = page.ledger.slot(&me);
        // A visit of the plan looks after its slot itself.
        let planned = slot.is_some_and(|slot| slot.visit.is_some());
        if planned || (self.config.maintenance.windows.is_empty() && slot.is_none()) {
            return;
        }
        if self.conclude(&mut page) {
            return;
        }
        let now = self.shared.now().wall;
        let freezes = self.freezes();
        self.heed_freezes(freezes.as_deref().unwrap_or_default(), now);
        if let Some((_, until)) = self.drains.slot
            && now >= until
            && self.state.get() == GatewayState::Quiesced
        {
            // The window is over: serve again. Releasing the slot follows once everybody sees that.
            tracing::info!("the maintenance window is over");
            if self.undrain().is_ok() {
                self.drains.ended = Some(self.own_words("the window is over"));
            }
        }
        self.count_overrun(now);
        let windows: Vec<_> =
            self.config.maintenance.windows.iter().map(|w| w.window.clone()).collect();
        // What is not known excludes everything.
        let always = || Intervals::from(Interval { from: Wall(0), to: Wall(u64::MAX) });
        let excluded = freezes.map(|known| known.iter().map(|it| it.interval).collect());
        let excluded = excluded.unwrap_or_else(always);
        let hosts = self.hosts();
        // Only what is open is granted anything; the rest need not know what policies say.
        let is_open = windows.iter().any(|window| window.open_at(now).is_some());
        let beside = if is_open { self.beside(&page.ledger, hosts.clone()) } else { None };
        let excluded = if is_open && beside.is_none() { always() } else { excluded };
        let beside = beside.unwrap_or_else(|| Beside::plain(self.limits(), hosts));
        let pending = !windows.is_empty();
        let visits: Vec<_> = pending
            .then(|| Visit { host: me.clone(), estimate: self.estimate() })
            .into_iter()
            .collect();
        let ledger = page.ledger.clone();
        let situation = Situation {
            now,
            windows: &windows,
            excluded: &excluded,
            hosts: &beside.hosts,
            answers: beside.answers.as_ref(),
            ledger: &ledger,
            rules: &beside.rules,
            visits: &visits,
        };
        for decision in decide(&situation) {
            if self.carry_out(decision, &mut page, &beside) {
                return;
            }
        }
    }

    /// This gateway as policies and freezes choose it.
    fn own(&self) -> Host {
        let (id, life) = (self.config.id.gateway(), self.config.me.record.incarnation);
        let labels = self.config.maintenance.labels.clone();
        Host { labels, ..Host::new(id, Incarnation(life), HostState::Serving) }
    }

    /// What must hold for a drain of this gateway by itself; none if it is not known what policies say.
    fn beside(&mut self, ledger: &Ledger, hosts: Vec<Host>) -> Option<Beside> {
        let own = (&self.own(), self.limits());
        let ledger = (ledger, self.shared.now().wall);
        let read = Beside::read(own, hosts, ledger, &mut *self.reader);
        read.inspect_err(|error| tracing::error!("nothing is drained by itself: {error}")).ok()
    }

    /// The freezes that are about drains of this gateway beside the plan; none if they are not known.
    pub(super) fn freezes(&mut self) -> Option<Vec<Freeze>> {
        let own = self.own();
        match freezes_on(&own, &mut *self.reader) {
            Ok(freezes) => Some(freezes),
            Err(error) => {
                tracing::error!("nothing is drained by itself: {error}");
                None
            }
        }
    }

    /// The window of a drain ends where a freeze begins: then nobody is moved any more, and the gateway serves again. A drain
    /// by command has no window; it is told.
    fn heed_freezes(&mut self, freezes: &[Freeze], now: Wall) {
        let Some((epoch, until)) = self.drains.slot else { return };
        let ahead = freezes.iter().filter(|freeze| freeze.interval.to > now);
        let Some(next) = ahead.min_by_key(|freeze| freeze.interval.from) else { return };
        let (id, begins) = (&next.id, next.interval.from);
        if until.0 == u64::MAX {
            if begins <= now && self.drains.frozen.as_ref() != Some(id) {
                tracing::warn!("freeze {id} of {} begins, and a drain by command goes on", next.by);
                self.drains.frozen = Some(id.clone());
            }
            return;
        }
        if begins >= until {
            return;
        }
        tracing::info!("freeze {id} of {} ends the window of the drain", next.by);
        self.drains.slot = Some((epoch, begins));
        self.cut_drain(begins);
        let is_over = begins <= now
            && match self.state.get() {
                GatewayState::Quiesced => self.undrain().is_ok(),
                GatewayState::Starting
                | GatewayState::Serving
                | GatewayState::Announced
                | GatewayState::Refusing
                | GatewayState::Moving
                | GatewayState::Stopping => self.abort_drain().is_ok(),
            };
        if is_over {
            let reason = format!("freeze {id} of {}: {}", next.by, next.reason);
            self.drains.ended =
                Some(self.own_words(reason.chars().take(REASON).collect::<String>()));
        }
    }

    /// Counts a window that is over while its gateway does not serve, once.
    fn count_overrun(&mut self, now: Wall) {
        let ended = |(_, until): &(SlotEpoch, Wall)| until.0 <= now.0.saturating_sub(OVERRUN_MS);
        let late = self.drains.slot.as_ref().is_some_and(ended);
        if late
            && self.state.get() != GatewayState::Serving
            && !std::mem::replace(&mut self.drains.overrun, true)
        {
            tracing::error!("the drain of a window goes on behind its end");
            self.metrics.process().window_overruns.add(1);
        }
    }

    /// Asks the ledger for a slot for a drain that an operator wants now.
    pub(super) fn take_slot(
        &mut self,
        asked: &Asked,
        despite_policies: bool,
    ) -> Result<SlotEpoch, ControlError> {
        for _ in 0..TRIES {
            if let Some(epoch) = self.try_take_slot(asked, despite_policies)? {
                return Ok(epoch);
            }
        }
        Err(ControlError::Unavailable("others change the ledger all the time".into()))
    }

    /// None if somebody else wrote meanwhile.
    fn try_take_slot(
        &mut self,
        asked: &Asked,
        despite_policies: bool,
    ) -> Result<Option<SlotEpoch>, ControlError> {
        let unavailable = || ControlError::Unavailable("the ledger cannot be written now".into());
        let mut page = self.read_ledger().ok_or_else(unavailable)?;
        let now = self.shared.now().wall;
        let me = self.config.id.gateway();
        let hosts = self.hosts();
        self.settle_last(&mut page, &hosts);
        // Only this moment: another drain may follow as soon as this one is over.
        let opening = Interval { from: now, to: Wall(now.0 + 1) };
        let refused = |reason: &dyn std::fmt::Display| ControlError::Refused(reason.to_string());
        let own = (&self.own(), self.limits());
        let read = Beside::read(own, hosts, (&page.ledger, now), &mut *self.reader);
        let grant = self.asked((&me, asked), &page.ledger, opening, Duration::ZERO);
        let (beside, asked) = match read {
            Ok(beside) if !despite_policies => (beside, asked.clone()),
            Err(error) if !despite_policies => return Err(error),
            read => self.overrule(read, &grant, (&page.ledger, now), asked),
        };
        let (seen, rules) = (beside.seen(now), &beside.rules);
        let grant = Grant { asked: Some(asked.clone()), ..grant };
        let granted = page.change(&asked, now, |ledger| ledger.grant(&grant, &seen, rules));
        let epoch = granted.map_err(|why| refused(&why))?.epoch().ok_or_else(unavailable)?;
        let started = page
            .change(&asked, now, |ledger| ledger.start(&me, epoch, Duration::ZERO, &seen, rules));
        started.map_err(|why| refused(&why))?;
        Ok(self.store_page(&page)?.then_some(epoch))
    }

    /// What the configuration alone demands, and in whose name: the audit keeps which word of policies did not count.
    fn overrule(
        &self,
        read: Result<Beside, ControlError>,
        grant: &Grant<'_>,
        (ledger, now): (&Ledger, Wall),
        asked: &Asked,
    ) -> (Beside, Asked) {
        let (hosts, against) = match read {
            Ok(beside) => {
                let against = ledger.clone().grant(grant, &beside.seen(now), &beside.rules).err();
                (beside.hosts, against.map(|why| why.to_string()))
            }
            Err(error) => (self.hosts(), Some(error.to_string())),
        };
        let reason = match against {
            Some(against) => {
                let kept: String = asked.reason.chars().take(REASON - AGAINST).collect();
                let against: String = against.chars().take(AGAINST).collect();
                tracing::warn!("{} drains despite policies: {against}", asked.by);
                format!("{kept} (despite policies: {against})")
            }
            None => asked.reason.clone(),
        };
        (Beside::plain(self.limits(), hosts), Asked { by: asked.by.clone(), reason })
    }

    /// The slot of the drain before, if it is over and only the ledger has not heard of it.
    fn settle_last(&self, page: &mut Page, hosts: &[Host]) {
        let me = &self.config.id.gateway();
        let own = page.ledger.slot(me);
        let own = own.filter(|slot| slot.visit.is_none());
        let Some((epoch, said)) = own.map(|slot| (slot.epoch, self.ended_by(slot))) else { return };
        let now = self.shared.now().wall;
        if let Some(verdict) = self.drains.concluded {
            // What is not taken leaves the slot held, and the new grant is refused.
            let _ = page.change(&said, now, |ledger| ledger.conclude(me, epoch, verdict));
        }
        if let Some(this) = hosts.iter().find(|host| host.id == *me) {
            let _ = page.change(&said, now, |ledger| ledger.release(this, epoch));
        }
    }

    /// Who ended the drain of a slot, and why; by itself it ends for what it began for.
    fn ended_by(&self, slot: &Slot) -> Asked {
        let began = || slot.asked.as_ref().map_or("drain", |asked| &asked.reason);
        self.drains.ended.clone().unwrap_or_else(|| self.own_words(began()))
    }

    /// Every registered gateway, as last read; this one as it is.
    fn hosts(&self) -> Vec<Host> {
        let me = &self.config.me.record;
        let serving = self.state.get() == GatewayState::Serving;
        let gateway = self.config.id.gateway();
        let members = one_each(&self.members, |member| self.leases.is_good(member));
        let hosts = members.into_iter().filter_map(|(member, live)| host(member, live));
        hosts
            .map(|host| match host.id == gateway && serving {
                true => Host {
                    state: HostState::Serving,
                    incarnation: Incarnation(me.incarnation),
                    ..host
                },
                false => host,
            })
            .collect()
    }

    /// Tells the ledger how the drain ended, also one that a crash of ours cut off. Answers whether it wrote.
    fn conclude(&mut self, page: &mut Page) -> bool {
        let me = &self.config.id.gateway();
        let over = |s: &&Slot| s.started.is_some() && s.verdict.is_none();
        let Some(slot) = page.ledger.slot(me).filter(over) else { return false };
        let epoch = slot.epoch;
        let (verdict, said) = match (self.drains.concluded, self.drains.slot) {
            (Some(verdict), Some(_)) => (verdict, self.ended_by(slot)),
            (None, Some(_)) => return false,
            // Another life of this gateway held it.
            (_, None) => {
                let verdict = maintenance::Verdict {
                    outcome: Outcome::Aborted,
                    evidence: maintenance::Counts::default(),
                    clients: 0,
                    moved: 0,
                    departed: 0,
                    elapsed: Duration::ZERO,
                };
                (verdict, self.own_words("its process ended in the drain"))
            }
        };
        let now = self.shared.now().wall;
        let told = page.change(&said, now, |ledger| ledger.conclude(me, epoch, verdict));
        if let Err(error) = told {
            tracing::error!("the ledger does not take the verdict: {error}");
            return false;
        }
        if self.is_stored(page) {
            self.drains.concluded = None;
        }
        true
    }

    /// Does one decision about this gateway. Answers whether the ledger was written, so that the rest must be decided anew.
    fn carry_out(&mut self, decision: Decision, page: &mut Page, beside: &Beside) -> bool {
        let me = self.config.id.gateway();
        let now = self.shared.now().wall;
        let (hosts, rules, seen) = (&beside.hosts, &beside.rules, beside.seen(now));
        let said = self.own_words(WINDOW);
        match decision {
            Decision::Grant { host, opening } if host == me => {
                let grant = self.asked((&me, &said), &page.ledger, opening, self.estimate());
                page.change(&said, now, |ledger| ledger.grant(&grant, &seen, rules)).is_ok()
                    && self.is_stored(page)
            }
            Decision::Start { host, epoch, until } if host == me => {
                let estimate = self.estimate();
                let started = page.change(&said, now, |ledger| {
                    ledger.start(&host, epoch, estimate, &seen, rules)
                });
                if started.is_err() || !self.is_stored(page) {
                    return started.is_ok();
                }
                self.begin_window(epoch, until);
                true
            }
            Decision::HandBack { host, epoch, why } if host == me => {
                tracing::info!("the slot is handed back: {why}");
                let said = self.own_words(why.to_string());
                page.change(&said, now, |ledger| ledger.hand_back(&host, epoch)).is_ok()
                    && self.is_stored(page)
            }
            Decision::Release { host, epoch } if host == me => {
                let Some(this) = hosts.iter().find(|h| h.id == host) else { return false };
                let said = page.ledger.slot(&host).map_or(said, |slot| self.ended_by(slot));
                let released = page.change(&said, now, |ledger| ledger.release(this, epoch));
                let released = released.is_ok() && self.is_stored(page);
                if released {
                    (self.drains.slot, self.drains.ended, self.drains.frozen) = (None, None, None);
                    tracing::info!("the slot is released");
                }
                released
            }
            // The other gateways decide for themselves.
            Decision::Grant { .. }
            | Decision::Start { .. }
            | Decision::HandBack { .. }
            | Decision::Release { .. }
            | Decision::Wait { .. } => false,
        }
    }

    fn begin_window(&mut self, epoch: SlotEpoch, until: Wall) {
        self.drains.slot = Some((epoch, until));
        let request = DrainRequest { reason: Some(WINDOW.into()), ..DrainRequest::default() };
        if let Err(error) = self.begin_drain(&request, &[]) {
            tracing::warn!("the drain of a window could not begin: {error}");
            self.drains.slot = None;
        }
    }

    /// A slot for a drain of this gateway, in its present life.
    fn asked<'a>(
        &self,
        (host, asked): (&'a GatewayId, &Asked),
        ledger: &Ledger,
        opening: Interval,
        remaining: Duration,
    ) -> Grant<'a> {
        Grant {
            host,
            offered: Incarnation(self.config.me.record.incarnation),
            visit: None,
            term: ledger.term(),
            class: SlotClass::Drain,
            opening,
            remaining,
            once: true,
            asked: Some(asked.clone()),
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            min_available: usize::from(self.config.maintenance.min_available),
            max_concurrent: usize::from(self.config.maintenance.max_concurrent),
        }
    }

    /// How long a drain takes at its pace, with its announcement.
    fn estimate(&self) -> Duration {
        let clients = self.metrics.sum(|w| &w.connections);
        let seconds = clients / u64::from(self.config.drain.per_s.max(1)) + 1;
        self.config.drain.announce + Duration::from_secs(seconds)
    }

    /// The ledger as it stands, and when the next windows open, for operators.
    pub(super) fn visits(&mut self) -> serde_json::Value {
        let now = self.shared.now().wall;
        let stored = self.read_ledger().and_then(|page| page.ledger.encode().ok());
        let ledger =
            stored.and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok());
        let windows = self.config.maintenance.windows.iter();
        let next: Vec<_> = windows
            .filter_map(|w| w.window.open_at(now).or_else(|| w.window.next(now)))
            .map(|interval| serde_json::json!({ "from_ms": interval.from.0, "to_ms": interval.to.0 }))
            .collect();
        serde_json::json!({ "ledger": ledger, "windows": next, "pauses": self.pauses() })
    }
}

fn host(member: &Member, live: bool) -> Option<Host> {
    let state = registered_state(member, live);
    Some(Host::new(member.id()?.gateway(), Incarnation(member.record.incarnation), state))
}
