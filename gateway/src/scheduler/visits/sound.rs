//! Whether a host works as it should after the work on it.

use std::time::Duration;

use maintenance::execution::Track;
use maintenance::ledger::SlotClass;
use maintenance::operation::OpKind;
use protocol::GatewayId;

use super::document::VisitDocument;
use super::work::worked_as;
use crate::control::GatewayState;
use crate::hub::LiveGateway;
use crate::hub::echo::{Echo, EchoWord, Word};
use crate::scheduler::thread::Scheduler;
use crate::scheduler::works::{Attempt, Tools};
use crate::worker::{Mail, Shared};

/// How long links may be down before the attempt has failed: a gateway that died counts as alive as long as its lease is good.
const LINKED: Duration = Duration::from_secs(50);
/// How long words of its own may be unanswered over links that are up.
const ANSWERED: Duration = Duration::from_secs(15);
/// How often words that were not answered are said again.
const AGAIN: Duration = Duration::from_secs(1);

/// What this life has said to its peers to hear it again.
#[derive(Debug)]
pub(super) struct Spoken {
    /// For which attempt.
    attempt: Attempt,
    round: u64,
    /// Since when it waits for links, and then for answers, by the steady clock.
    since: (Duration, Option<Duration>),
    /// When it spoke last.
    spoke: Option<Duration>,
}

/// What the checks of a host say.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sound {
    /// It works as it should.
    Yes,
    /// It may, soon.
    NotYet,
    /// It does not.
    No(String),
}

impl Scheduler {
    /// Whether this life works as it should: it has read what it needs, knows its peers' interest, can write, and is what the
    /// work was to make of it.
    pub(super) fn soundness(&mut self, document: &VisitDocument) -> Sound {
        if !self.is_ready(document) || self.tools.is_taking_over() {
            return Sound::NotYet;
        }
        match self.is_heard(document) {
            Sound::Yes => {}
            other @ (Sound::NotYet | Sound::No(_)) => return other,
        }
        // On the way back the work has failed.
        let forward = document.execution.at().is_some_and(|at| at.track == Track::Forward);
        let works = if forward { document.execution.course().works.len() } else { 0 };
        let wrong = (0..works).find_map(|work| self.not_shown(work, document));
        wrong.map_or(Sound::Yes, Sound::No)
    }

    fn is_ready(&self, document: &VisitDocument) -> bool {
        let drained = document.execution.course().slot == Some(SlotClass::Drain);
        let ready = match self.state.get() {
            GatewayState::Serving => true,
            GatewayState::Quiesced => drained,
            GatewayState::Starting
            | GatewayState::Announced
            | GatewayState::Refusing
            | GatewayState::Moving
            | GatewayState::Stopping => false,
        };
        ready && self.metrics.process().store_writable.get() == 1
    }

    /// Whether it reaches every other gateway that lives, in the life that it is in, and publications of each of its workers go
    /// there and come back.
    fn is_heard(&mut self, document: &VisitDocument) -> Sound {
        let (Some(links), Some(attempt)) = (&self.shared.links, document.attempt()) else {
            return Sound::Yes;
        };
        let (links, now) = (links.peers(), self.shared.now().mono);
        let live = self.shared.tables.gateways().clone();
        let others = || live.iter().filter(|it| it.id.gateway() != self.id);
        let echoes = self.shared.tables.echoes();
        let said = match self.body.said.take().filter(|said| said.attempt == attempt) {
            Some(said) => said,
            None => Spoken { attempt, round: echoes.begin(), since: (now, None), spoke: None },
        };
        let said = self.body.said.insert(said);
        let linked = |other: &&LiveGateway| {
            let link = links.iter().find(|link| link.gateway == other.id);
            link.is_some_and(|link| link.up && link.incarnation == other.incarnation)
        };
        if let Some(lost) = others().find(|other| !linked(other)) {
            said.since.1 = None;
            let is_late = now.saturating_sub(said.since.0) >= LINKED;
            return if is_late {
                Sound::No(format!("no_link_to_{}", lost.id))
            } else {
                Sound::NotYet
            };
        }
        let linked = *said.since.1.get_or_insert(now);
        let workers = u8::try_from(self.shared.mailboxes.len()).unwrap_or(u8::MAX);
        let silent = others().filter(|other| other.echoes).flat_map(|other| {
            let silent = echoes.silent((&other.id, other.incarnation), workers);
            silent.into_iter().map(|worker| (&other.id, worker))
        });
        let silent: Vec<_> = silent.collect();
        let Some((first, _)) = silent.first() else { return Sound::Yes };
        if now.saturating_sub(linked) >= ANSWERED {
            return Sound::No(format!("nothing_comes_back_from_{first}"));
        }
        if said.spoke.is_none_or(|spoke| now.saturating_sub(spoke) >= AGAIN) {
            said.spoke = Some(now);
            let round = said.round;
            silent.iter().for_each(|(to, worker)| say(&self.shared, to, *worker, round));
        }
        Sound::NotYet
    }

    /// What a work was to lead to and has not, for programs. One that somebody left out shows nothing.
    fn not_shown(&self, work: usize, document: &VisitDocument) -> Option<String> {
        let record = worked_as(document, work)?;
        let same_life = record.life >= self.speaker.facts.incarnation;
        match &document.operation(work)?.kind {
            OpKind::Restart => same_life.then(|| "is_not_restarted".to_owned()),
            OpKind::Upgrade { to } if to != Tools::version() => {
                Some(format!("version_is_{}", Tools::version()))
            }
            OpKind::Upgrade { .. } => same_life.then(|| "is_not_restarted".to_owned()),
            OpKind::Reboot => (!self.has_rebooted(record)).then(|| "is_not_rebooted".to_owned()),
            OpKind::ConfigChange { rev } => {
                let now = self.tools.revision().unwrap_or("none");
                let waits = self.body.needs_restart.first();
                let waits = waits.map(|name| format!("{name}_needs_a_restart"));
                if now == rev { waits } else { Some(format!("revision_is_{now}")) }
            }
            OpKind::CertRotate | OpKind::Hook { .. } | OpKind::DrainOnly { .. } => None,
        }
    }
}

/// Has a worker publish a word to another gateway.
fn say(shared: &Shared, to: &GatewayId, worker: u8, round: u64) {
    let word = Word::Echo(EchoWord { round, worker, is_answer: false });
    if let Some(mailbox) = shared.mailboxes.get(usize::from(worker)) {
        mailbox.send(Mail::Echo(Box::new(Echo { to: to.clone(), word })));
    }
}
