//! What is told over MQTT: what has come of the visits of each gateway, under a topic of the fleet's own.
//!
//! The scheduler's gateway tells, and each is retained. So what was told last stands where it was told, and whoever is the
//! scheduler next goes on behind it: nothing is left out, and nothing has to be remembered elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use maintenance::Ledger;
use maintenance::execution::{Notice, NoticeState, untold};
use maintenance::fleet::{Term, VisitId};
use maintenance::ledger::Slot;
use protocol::{GatewayId, Publication, QoS, Wall, hash64};
use store::{Check, Expect, Space};
use tokio::sync::oneshot::Receiver;
use tokio::sync::oneshot::error::TryRecvError;

use super::thread::{REIGN, Scheduler};
use super::visits::VisitDocument;
use crate::control::ControlError;
use crate::hub::{Post, Posted};
use crate::scheduler::acts::unavailable;
use crate::worker::Mail;

/// Before the name of a gateway; clients publish nothing there.
pub(super) const TOPIC: &str = "$fleet/maintenance/";

/// What this gateway knows of what was told, while it is the scheduler.
#[derive(Debug)]
pub(super) struct Notices {
    /// Whether anything is to be told.
    pub(super) is_on: bool,
    /// The last of each gateway; none before it was looked up.
    told: Option<BTreeMap<GatewayId, Notice>>,
    /// On their way to the store, in order.
    under_way: BTreeMap<GatewayId, Vec<(Notice, Receiver<Posted>)>>,
    /// Whether it has said that one was not taken; once is enough.
    is_silent: bool,
}

/// What became of what was on its way.
#[derive(Debug, PartialEq, Eq)]
enum Arrived {
    /// Some of it still is.
    Waits,
    /// All of it was taken.
    All,
    /// This was not; what is behind it is told again, too.
    Not(String),
}

impl Notices {
    pub(super) const fn new(is_on: bool) -> Self {
        Self { is_on, told: None, under_way: BTreeMap::new(), is_silent: false }
    }

    /// Another gateway tells.
    pub(super) fn forget(&mut self) {
        self.told = None;
        self.under_way.clear();
    }

    /// Looks what became of what is on its way of a gateway.
    fn look(&mut self, host: &GatewayId) -> Arrived {
        let Some(told) = &mut self.told else { return Arrived::Waits };
        let Some(waiting) = self.under_way.get_mut(host) else { return Arrived::All };
        while let Some((notice, posted)) = waiting.first_mut() {
            let why = match posted.try_recv() {
                Ok(Posted::Taken) => {
                    told.insert(host.clone(), notice.clone());
                    waiting.remove(0);
                    continue;
                }
                Err(TryRecvError::Empty) => return Arrived::Waits,
                Ok(Posted::Refused(reason)) => format!("it is refused ({:#04x})", reason.code()),
                Ok(Posted::NotStored) => "it could not be stored".to_owned(),
                Err(TryRecvError::Closed) => "its worker does not answer".to_owned(),
            };
            self.under_way.remove(host);
            return Arrived::Not(why);
        }
        self.under_way.remove(host);
        Arrived::All
    }

    /// The gateways of whom there may be something to tell.
    fn concerned<'a>(
        &self,
        notices: &'a BTreeMap<GatewayId, Vec<Notice>>,
        ledger: &'a Ledger,
    ) -> BTreeSet<GatewayId> {
        let open = self.told.iter().flatten().filter(|(_, last)| !last.state.is_over());
        let slots = ledger.slots().iter().map(|slot| &slot.host);
        let all = open.map(|(host, _)| host).chain(slots);
        all.chain(notices.keys()).chain(self.under_way.keys()).cloned().collect()
    }
}

impl Scheduler {
    /// Tells what has come of visits since it was told last, if this gateway is to.
    pub(super) fn tell_notices(
        &mut self,
        documents: &BTreeMap<VisitId, VisitDocument>,
    ) -> Result<(), ControlError> {
        if !self.notices.is_on {
            self.notices.forget();
            return Ok(());
        }
        if self.notices.told.is_none() {
            let told = self.documents.notices(TOPIC).map_err(unavailable)?;
            let told = told.into_iter().map(|it| (it.gateway.clone(), it)).collect();
            self.notices.told = Some(told);
        }
        let (now, (ledger, _)) = (self.shared.now().wall, self.documents.ledger()?);
        let of_visits = of_visits(documents);
        for host in self.notices.concerned(&of_visits, &ledger) {
            match self.notices.look(&host) {
                Arrived::Waits => continue,
                Arrived::All => {}
                Arrived::Not(why) => {
                    if !self.notices.is_silent {
                        tracing::warn!("what happens to {host} is told later over MQTT: {why}");
                    }
                    self.notices.is_silent = true;
                    continue;
                }
            }
            let last = self.notices.told.as_ref().and_then(|told| told.get(&host));
            let visits = of_visits.get(&host).map(Vec::as_slice).unwrap_or_default();
            let all = with_plain(visits, (&host, ledger.slot(&host)), last, now);
            let next = untold(&all, last);
            if !next.is_empty() {
                self.notices.is_silent = false;
            }
            for notice in next {
                self.publish_notice(&host, notice);
            }
        }
        Ok(())
    }

    /// Always by the same worker, which keeps them in order.
    fn publish_notice(&mut self, host: &GatewayId, notice: Notice) {
        let Ok(payload) = serde_json::to_vec(&notice) else { return };
        // What a scheduler says late must not take the place of what the next one has said.
        let Some(Term(term)) = self.watch.held(self.shared.now().mono) else { return };
        let key = Bytes::from_static(REIGN.as_bytes());
        let expect = Expect::Prefix(term.to_be_bytes());
        let fence = Check { space: Space::Maintenance, key, expect };
        let topic = format!("{TOPIC}{host}");
        let workers = u64::try_from(self.shared.mailboxes.len().max(1)).unwrap_or(1);
        let worker = usize::try_from(hash64(topic.as_bytes()) % workers).unwrap_or(0);
        let Some(mailbox) = self.shared.mailboxes.get(worker) else { return };
        let publication = Publication::new(&topic, &[], &payload, QoS::AtLeastOnce, true);
        let (post, posted) = Post::of_fleet(publication, Some(fence));
        mailbox.send(Mail::Post(Box::new(post)));
        self.metrics.process().notices_told.add(1);
        self.notices.under_way.entry(host.clone()).or_default().push((notice, posted));
    }
}

/// What there is to tell of visits, in the order of time.
fn of_visits(documents: &BTreeMap<VisitId, VisitDocument>) -> BTreeMap<GatewayId, Vec<Notice>> {
    let mut visits: Vec<_> = documents.values().collect();
    visits.sort_by_key(|it| it.execution.journal().first().map(|first| first.intent));
    let mut notices: BTreeMap<_, Vec<Notice>> = BTreeMap::new();
    for visit in visits {
        let told = visit.execution.notices();
        if !told.is_empty() {
            notices.entry(visit.execution.host().clone()).or_default().extend(told);
        }
    }
    notices
}

/// The same, with drains by command and by windows of the configuration, of which the ledger alone knows.
fn with_plain(
    visits: &[Notice],
    (host, slot): (&GatewayId, Option<&Slot>),
    last: Option<&Notice>,
    now: Wall,
) -> Vec<Notice> {
    let plain = slot.filter(|it| it.visit.is_none());
    let plain = plain.map(|slot| Notice {
        gateway: host.clone(),
        visit: None,
        state: NoticeState::Started,
        at: slot.granted,
        attempt: u32::try_from(slot.epoch.0).unwrap_or(u32::MAX),
        until: None,
        why: None,
    });
    let mut all: Vec<Notice> = visits.to_vec();
    let open = last.filter(|last| last.visit.is_none() && !last.state.is_over());
    if let Some(open) =
        open.filter(|open| plain.as_ref().is_none_or(|it| it.attempt != open.attempt))
    {
        let ended = Notice { state: NoticeState::Ended, at: now, ..open.clone() };
        let place = all.iter().take_while(|it| it.at <= open.at).count();
        all.splice(place..place, [open.clone(), ended]);
    }
    all.extend(plain);
    all
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    fn host() -> GatewayId {
        GatewayId::new("gw-1").unwrap()
    }

    fn plain(state: NoticeState, at: u64, attempt: u32) -> Notice {
        let at = Wall(at);
        Notice { gateway: host(), visit: None, state, at, attempt, until: None, why: None }
    }

    #[test]
    fn a_drain_beside_the_plan_ends_when_its_slot_is_given_back() {
        let started = plain(NoticeState::Started, 5, 3);
        let visit =
            Notice { visit: VisitId::new("gw-1/a").ok(), ..plain(NoticeState::Ended, 2, 1) };
        let later = Notice { at: Wall(7), ..visit.clone() };
        let visits = [visit, later.clone()];
        let all = with_plain(&visits, (&host(), None), Some(&started), Wall(9));
        let ended = plain(NoticeState::Ended, 9, 3);
        assert_eq!(untold(&all, Some(&started)), [ended, later]);
        let over = plain(NoticeState::Ended, 9, 3);
        assert_eq!(with_plain(&[], (&host(), None), Some(&over), Wall(10)), []);
    }

    #[test]
    fn what_was_not_taken_is_told_again_with_all_that_is_behind_it() {
        let mut notices = Notices { told: Some(BTreeMap::new()), ..Notices::new(true) };
        let (answers, waiting): (Vec<_>, Vec<_>) = (1..4)
            .map(|at| {
                let (answer, posted) = oneshot::channel();
                (answer, (plain(NoticeState::Started, at, 1), posted))
            })
            .unzip();
        notices.under_way.insert(host(), waiting);
        assert_eq!(notices.look(&host()), Arrived::Waits);
        for (answer, posted) in
            answers.into_iter().zip([Posted::Taken, Posted::NotStored, Posted::Taken])
        {
            answer.send(posted).unwrap();
        }
        assert!(matches!(notices.look(&host()), Arrived::Not(_)));
        let told = notices.told.as_ref().and_then(|told| told.get(&host()));
        assert_eq!(told.map(|it| it.at), Some(Wall(1)));
        assert_eq!(notices.look(&host()), Arrived::All, "nothing is on its way any more");
    }
}
