//! Whether a host works as it should after the work on it.

use maintenance::execution::Track;
use maintenance::ledger::SlotClass;
use maintenance::operation::OpKind;

use super::document::VisitDocument;
use super::work::worked_as;
use crate::control::GatewayState;
use crate::scheduler::thread::Scheduler;
use crate::scheduler::works::Tools;

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
        if !self.is_ready(document) || !self.is_linked() || self.tools.is_taking_over() {
            return Sound::NotYet;
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

    /// Whether it reaches every other gateway that lives, in the life that it is in.
    fn is_linked(&self) -> bool {
        let Some(links) = &self.shared.links else { return true };
        let (links, gateways) = (links.peers(), self.shared.tables.gateways().clone());
        let mut others = gateways.iter().filter(|it| it.id.gateway() != self.id);
        others.all(|other| {
            let link = links.iter().find(|link| link.gateway == other.id);
            link.is_some_and(|link| link.up && link.incarnation == other.incarnation)
        })
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
