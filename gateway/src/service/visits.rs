//! Visits by themselves: when a window opens, the ledger is asked for a slot, and this gateway drains.

use std::time::Duration;

use bytes::Bytes;

use maintenance::ledger::{Grant, GrantRules, Seen, SlotClass};
use maintenance::{
    Decision, Host, HostState, Interval, Intervals, Ledger, Limits, Outcome, Situation, SlotEpoch,
    Visit, decide,
};
use protocol::{GatewayId, Incarnation, Wall};
use store::{Expect, Put, Rev, Space, Write};

use super::members::{Member, one_each};
use super::thread::Housekeeper;
use crate::control::{ControlError, DrainRequest, GatewayState};
use crate::scheduler::{frozen, registered_state};

/// The ledger's key.
pub(super) const LEDGER: &[u8] = b"ledger";

impl Housekeeper {
    /// One look at the windows and the ledger. Lost races are looked at again next time.
    pub(super) fn visit(&mut self) {
        if self.drains.successor.is_some() {
            // From here on the gateway is its successor.
            return;
        }
        let Some((mut ledger, rev)) = self.read_ledger() else { return };
        let me = self.config.id.gateway();
        let slot = ledger.slot(&me);
        // A visit of the plan looks after its slot itself.
        let planned = slot.is_some_and(|slot| slot.visit.is_some());
        if planned || (self.config.maintenance.windows.is_empty() && slot.is_none()) {
            return;
        }
        if self.conclude(&mut ledger, rev) {
            return;
        }
        let now = self.shared.now().wall;
        if let Some((_, until)) = self.drains.slot
            && now >= until
            && self.state.get() == GatewayState::Quiesced
        {
            // The window is over: serve again. Releasing the slot follows once everybody sees that.
            tracing::info!("the maintenance window is over");
            let _ = self.undrain();
        }
        let windows: Vec<_> =
            self.config.maintenance.windows.iter().map(|w| w.window.clone()).collect();
        let excluded = self.excluded();
        let hosts = self.hosts();
        let limits = self.limits();
        let pending = !windows.is_empty();
        let visits: Vec<_> = pending
            .then(|| Visit { host: me.clone(), estimate: self.estimate() })
            .into_iter()
            .collect();
        let situation = Situation {
            now,
            windows: &windows,
            excluded: &excluded,
            hosts: &hosts,
            ledger: &ledger,
            limits,
            visits: &visits,
        };
        for decision in decide(&situation) {
            if self.carry_out(decision, &mut ledger, rev, &hosts) {
                return;
            }
        }
    }

    /// When no window of this gateway's own configuration counts. If that is not known, none ever does.
    fn excluded(&mut self) -> Intervals {
        let own = Host::new(
            self.config.id.clone(),
            Incarnation(self.config.me.record.incarnation),
            HostState::Serving,
        );
        let own = Host { labels: self.config.maintenance.labels.clone(), ..own };
        frozen(&own, &mut *self.reader).unwrap_or_else(|error| {
            tracing::error!("nothing is drained by itself: {error}");
            Intervals::from(Interval { from: Wall(0), to: Wall(u64::MAX) })
        })
    }

    /// Asks the ledger for a slot for a drain that an operator wants now.
    pub(super) fn take_slot(&mut self) -> Result<SlotEpoch, ControlError> {
        let unavailable = || ControlError::Unavailable("the ledger cannot be written now".into());
        let (mut ledger, rev) = self.read_ledger().ok_or_else(unavailable)?;
        let now = self.shared.now().wall;
        let me = self.config.id.gateway();
        let hosts = self.hosts();
        self.settle_last(&mut ledger, &hosts);
        // Only this moment: another drain may follow as soon as this one is over.
        let opening = Interval { from: now, to: Wall(now.0 + 1) };
        let refused = |reason: &dyn std::fmt::Display| ControlError::Refused(reason.to_string());
        let rules = GrantRules::plain(self.limits());
        let seen = Seen { now, hosts: &hosts, answers: None };
        let grant = self.asked((&me, &ledger), opening, Duration::ZERO);
        ledger.grant(&grant, &seen, &rules).map_err(|why| refused(&why))?;
        let epoch = ledger.slot(&me).map(|slot| slot.epoch).ok_or_else(unavailable)?;
        ledger.start(&me, epoch, Duration::ZERO, &seen, &rules).map_err(|why| refused(&why))?;
        if !self.store_ledger(&ledger, rev) {
            return Err(unavailable());
        }
        self.drains.concluded = None;
        Ok(epoch)
    }

    /// The slot of the drain before, if it is over and only the ledger has not heard of it.
    fn settle_last(&self, ledger: &mut Ledger, hosts: &[Host]) {
        let me = &self.config.id.gateway();
        let own = ledger.slot(me).filter(|slot| slot.visit.is_none());
        let Some(epoch) = own.map(|slot| slot.epoch) else { return };
        if let Some(verdict) = self.drains.concluded {
            // What is not taken leaves the slot held, and the new grant is refused.
            let _ = ledger.conclude(me, epoch, verdict);
        }
        if let Some(this) = hosts.iter().find(|host| host.id == *me) {
            let _ = ledger.release(this, epoch);
        }
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
    fn conclude(&mut self, ledger: &mut Ledger, rev: Option<Rev>) -> bool {
        let me = &self.config.id.gateway();
        let Some(slot) = ledger.slot(me).filter(|s| s.started.is_some() && s.verdict.is_none())
        else {
            return false;
        };
        let epoch = slot.epoch;
        let verdict = match (self.drains.concluded, self.drains.slot) {
            (Some(verdict), Some(_)) => verdict,
            (None, Some(_)) => return false,
            // Another life of this gateway held it.
            (_, None) => maintenance::Verdict {
                outcome: Outcome::Aborted,
                evidence: maintenance::Counts::default(),
                clients: 0,
                moved: 0,
                departed: 0,
                elapsed: Duration::ZERO,
            },
        };
        if let Err(error) = ledger.conclude(&me.clone(), epoch, verdict) {
            tracing::error!("the ledger does not take the verdict: {error}");
            return false;
        }
        if self.store_ledger(ledger, rev) {
            self.drains.concluded = None;
        }
        true
    }

    /// Does one decision about this gateway. Answers whether the ledger was written, so that the rest must be decided anew.
    fn carry_out(
        &mut self,
        decision: Decision,
        ledger: &mut Ledger,
        rev: Option<Rev>,
        hosts: &[Host],
    ) -> bool {
        let me = self.config.id.gateway();
        let rules = GrantRules::plain(self.limits());
        let seen = Seen { now: self.shared.now().wall, hosts, answers: None };
        match decision {
            Decision::Grant { host, opening } if host == me => {
                let grant = self.asked((&me, ledger), opening, self.estimate());
                ledger.grant(&grant, &seen, &rules).is_ok() && self.store_ledger(ledger, rev)
            }
            Decision::Start { host, epoch, until } if host == me => {
                let started = ledger.start(&host, epoch, self.estimate(), &seen, &rules).is_ok();
                if !started || !self.store_ledger(ledger, rev) {
                    return started;
                }
                self.drains.slot = Some((epoch, until));
                let request = DrainRequest {
                    reason: Some("maintenance window".into()),
                    ..DrainRequest::default()
                };
                if let Err(error) = self.begin_drain(&request, &[]) {
                    tracing::warn!("the drain of a window could not begin: {error}");
                    self.drains.slot = None;
                }
                true
            }
            Decision::HandBack { host, epoch, why } if host == me => {
                tracing::info!("the slot is handed back: {why}");
                ledger.hand_back(&host, epoch).is_ok() && self.store_ledger(ledger, rev)
            }
            Decision::Release { host, epoch } if host == me => {
                let Some(this) = hosts.iter().find(|h| h.id == host) else { return false };
                let released =
                    ledger.release(this, epoch).is_ok() && self.store_ledger(ledger, rev);
                if released {
                    self.drains.slot = None;
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

    /// A slot for a drain of this gateway, in its present life.
    fn asked<'a>(
        &self,
        (host, ledger): (&'a GatewayId, &Ledger),
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

    fn read_ledger(&mut self) -> Option<(Ledger, Option<Rev>)> {
        match self.reader.get(Space::Maintenance, LEDGER) {
            Ok(None) => Some((Ledger::default(), None)),
            Ok(Some(doc)) => match Ledger::decode(&doc.value) {
                Ok(ledger) => Some((ledger, Some(doc.rev))),
                Err(error) => {
                    tracing::error!(
                        "the ledger cannot be read; nothing is drained by itself: {error}"
                    );
                    None
                }
            },
            Err(error) => {
                tracing::error!("the ledger cannot be read: {error}");
                None
            }
        }
    }

    fn store_ledger(&self, ledger: &Ledger, rev: Option<Rev>) -> bool {
        let Ok(value) = ledger.encode() else { return false };
        let mut write = Write::default();
        write.puts.push(Put {
            space: Space::Maintenance,
            key: Bytes::from_static(LEDGER),
            value: Some(value.into()),
            expect: rev.map_or(Expect::Absent, Expect::Rev),
            announce: false,
        });
        matches!(self.write(write), Some((store::Outcome::Done { .. }, _)))
    }

    /// The ledger as it stands, and when the next windows open, for operators.
    pub(super) fn visits(&mut self) -> serde_json::Value {
        let now = self.shared.now().wall;
        let stored = self.read_ledger().and_then(|(ledger, _)| ledger.encode().ok());
        let ledger =
            stored.and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok());
        let windows = self.config.maintenance.windows.iter();
        let next: Vec<_> = windows
            .filter_map(|w| w.window.open_at(now).or_else(|| w.window.next(now)))
            .map(|interval| serde_json::json!({ "from_ms": interval.from.0, "to_ms": interval.to.0 }))
            .collect();
        serde_json::json!({ "ledger": ledger, "windows": next })
    }
}

fn host(member: &Member, live: bool) -> Option<Host> {
    let state = registered_state(member, live);
    Some(Host::new(member.id()?.gateway(), Incarnation(member.record.incarnation), state))
}
