//! What a visit of the plan has done to this gateway: it is drained and serves again without asking the ledger, which the
//! visit has asked.

use maintenance::{Outcome, Verdict};
use protocol::{GatewayId, Wall};

use super::thread::Housekeeper;
use crate::control::{ControlError, DrainRequest, GatewayState};
use crate::front::Admission;

/// What a visit wants of its gateway.
#[derive(Debug)]
pub enum VisitAsk {
    /// How it is.
    Look,
    /// Begin to drain it.
    Drain {
        /// How.
        request: DrainRequest,
        /// When its window ends.
        until: Wall,
        /// The campaign of the visit.
        campaign: String,
        /// Those whose clients would soon be moved again: they take none as long as others can.
        spared: Vec<GatewayId>,
    },
    /// Move nobody for now, or move on.
    Hold(bool),
    /// Move the rest without credits.
    ForceRest,
    /// Take clients again, in percent of the usual pace.
    Admit(u8),
    /// Serve again, wherever the drain is.
    Serve,
    /// No visit is on its way here, or none any more: whatever one held back serves again.
    Leave,
}

/// How a gateway is that is visited.
#[derive(Debug, Clone, Copy)]
pub struct VisitedState {
    /// Where it is in its life.
    pub state: GatewayState,
    /// How the drain of the visit ended, if it did.
    pub verdict: Option<Verdict>,
}

/// So many percent of a pace.
pub(super) fn share(per_s: u32, percent: u8) -> u32 {
    let part = u64::from(per_s) * u64::from(percent.min(100)) / 100;
    u32::try_from(part).unwrap_or(per_s)
}

impl Housekeeper {
    /// Does what a visit wants.
    pub(super) fn visited(&mut self, ask: &VisitAsk) -> Result<VisitedState, ControlError> {
        match ask {
            VisitAsk::Look => {}
            VisitAsk::Drain { request, until, campaign, spared } => {
                self.begin_planned_drain(request, *until, (campaign, spared))?;
            }
            VisitAsk::Hold(held) => self.hold_drain(*held),
            VisitAsk::ForceRest => self.force_rest(),
            VisitAsk::Admit(percent) => self.warm_up(*percent),
            VisitAsk::Serve => self.serve_after_visit(),
            VisitAsk::Leave if self.drains.planned.is_some() => {
                tracing::warn!("the visit that held this gateway is over without it");
                self.serve_after_visit();
            }
            VisitAsk::Leave => {}
        }
        Ok(VisitedState { state: self.state.get(), verdict: self.planned_verdict() })
    }

    /// A life that begins in the middle of a visit does not serve before its host has passed its checks.
    pub(super) fn stay_out(&mut self) {
        self.drains.planned = Some(Wall(u64::MAX));
        self.close_for_visit();
        tracing::info!("a visit is on its way here: nobody is taken before its checks are passed");
    }

    /// Whether a visit holds this gateway, so that nobody else may bring it back.
    pub(super) fn refuse_beside_visit(&self) -> Result<(), ControlError> {
        match self.drains.planned {
            Some(_) => {
                let why = "a visit of the plan holds this gateway; abort the visit instead";
                Err(ControlError::Refused(why.to_owned()))
            }
            None => Ok(()),
        }
    }

    /// Serves, and takes so many of those who want to come. What it takes of other drains is as little.
    fn warm_up(&mut self, percent: u8) {
        self.drains.warming = Some(percent);
        let per_s = share(self.config.drain.accept_per_s, percent);
        self.front.warm_up(per_s.max(1));
        if self.state.get() == GatewayState::Quiesced {
            tracing::info!("takes clients again, {per_s} per second at first");
            self.enter(GatewayState::Serving);
        }
    }

    fn serve_after_visit(&mut self) {
        if self.drains.warming.take().is_some() {
            self.front.admit(Admission::Open);
        }
        // A running drain is called off; one that is over, or was over in another life, leaves nothing to call off.
        let called_off = self.abort_drain().is_ok();
        self.drains.planned = None;
        if !called_off && self.state.get() == GatewayState::Quiesced {
            self.serve_again();
        }
    }

    fn planned_verdict(&self) -> Option<Verdict> {
        let verdict = self.last_verdict()?;
        // What was called off afterwards serves again.
        match (verdict.outcome, self.state.get()) {
            (Outcome::Quiesced, GatewayState::Quiesced)
            | (Outcome::Aborted | Outcome::TimedOut, _) => Some(verdict),
            (Outcome::Quiesced, _) => None,
        }
    }
}
