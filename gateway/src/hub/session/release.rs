//! Peer gateways ask for sessions whose clients came to them.
//!
//! Who is told that a session is not ours in that ownership may rely on it: we never serve it again. So a gateway that lets
//! go in time keeps a crowd of connects with one client id at several gateways down to one that is served at any moment.

use fanout::Slot;
use protocol::mqtt::ReasonCode;
use protocol::peer::ReleaseOutcome;
use protocol::{ClientId, GatewayId, SessionEpoch};
use shadow::DisconnectReason;

use crate::hub::output::Farewell;
use crate::hub::session::claim::ClaimStage;
use crate::hub::{Ask, Close, ConnId, Hub, Outlet, Parting, Turn, WillFate};

/// A peer gateway's wish for a session.
#[derive(Debug)]
pub struct ReleaseAsked {
    /// Who asks.
    pub from: GatewayId,
    /// Its request.
    pub request: u64,
    /// Whose session.
    pub client: ClientId,
    /// Which ownership.
    pub epoch: SessionEpoch,
}

/// What an ownership that a peer asks about is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Ours, and served.
    Served(Slot),
    /// On its way in or out: the store has not answered yet.
    Unsettled,
    /// Not ours, and it never will be again.
    NotOurs,
}

impl Hub {
    /// A peer gateway wants a session whose client came to it. It is answered once the session is free.
    ///
    /// Returns the connection whose lane the effects belong to.
    pub fn handle_release(&mut self, asked: ReleaseAsked, cx: &mut Turn<'_>) -> Option<ConnId> {
        match self.standing(&asked.client, asked.epoch) {
            Standing::Served(slot) => self.release(slot, asked, cx),
            Standing::Unsettled => {
                self.waiting_releases.entry(asked.client.clone()).or_default().push(asked);
                None
            }
            Standing::NotOurs => {
                answer(asked, cx.out);
                None
            }
        }
    }

    fn release(&mut self, slot: Slot, asked: ReleaseAsked, cx: &mut Turn<'_>) -> Option<ConnId> {
        let live = self.sessions.get(slot as usize)?;
        let (conn, why) = (live.conn, DisconnectReason::DuplicateClientId);
        // With its session a client goes on over there.
        let parting = if live.durable() { Parting::Moving(why) } else { Parting::Over(why) };
        self.metrics.takeovers.add(1);
        let farewell = Farewell {
            close: Some((conn, Close::Reason(ReasonCode::SessionTakenOver))),
            answer: Some((asked.from, asked.request)),
            parting,
            ..Farewell::default()
        };
        self.give_up(slot, WillFate::Due, farewell, cx.now, cx.fx);
        Some(conn)
    }

    fn standing(&self, client: &ClientId, epoch: SessionEpoch) -> Standing {
        let slot = self.by_client.get(client).copied();
        let live = slot.and_then(|slot| Some((slot, self.sessions.get(slot as usize)?)));
        if let Some((slot, live)) = live.filter(|(_, live)| live.epoch == epoch) {
            return if live.leaving { Standing::Unsettled } else { Standing::Served(slot) };
        }
        match self.claims.get(client).map(|claim| &claim.stage) {
            Some(ClaimStage::Claiming { record, .. }) if record.epoch == epoch => {
                Standing::Unsettled
            }
            Some(ClaimStage::Entering(entering)) if entering.epoch() == epoch => {
                Standing::Unsettled
            }
            Some(
                ClaimStage::Claiming { .. }
                | ClaimStage::Entering(_)
                | ClaimStage::GivingUp
                | ClaimStage::Reading { .. }
                | ClaimStage::Asking { .. },
            )
            | None => Standing::NotOurs,
        }
    }

    /// A claim of ours is settled: peers that asked for the session meanwhile get it.
    pub(in crate::hub) fn go_on_with_releases(&mut self, client: &ClientId, cx: &mut Turn<'_>) {
        if let Some(waiting) = self.waiting_releases.remove(client) {
            for asked in waiting {
                self.handle_release(asked, cx);
            }
        }
    }

    /// A session or a claim of ours is over: peers that waited for that hear of it.
    pub(in crate::hub) fn answer_waiting_releases(
        &mut self,
        client: &ClientId,
        out: &mut dyn Outlet,
    ) {
        let Some(waiting) = self.waiting_releases.remove(client) else { return };
        let mut left = Vec::new();
        for asked in waiting {
            match self.standing(client, asked.epoch) {
                Standing::NotOurs => answer(asked, out),
                Standing::Served(_) | Standing::Unsettled => left.push(asked),
            }
        }
        if !left.is_empty() {
            self.waiting_releases.insert(client.clone(), left);
        }
    }
}

fn answer(asked: ReleaseAsked, out: &mut dyn Outlet) {
    let (to, request) = (asked.from, asked.request);
    out.ask(Ask::Released { to, request, outcome: ReleaseOutcome::NotOwner });
}
