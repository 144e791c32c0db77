//! A session does not change hands: who comes with a client id that somebody else has is refused, and nothing of the session
//! moves for it.

use protocol::Now;
use protocol::mqtt::ReasonCode;
use protocol::session::SessionRecord;

use crate::hub::{ConnectRequest, Hub};

impl Hub {
    /// Why a CONNECT cannot have its client id, as far as that is known in memory `[MQTT5-3.1.4-2]`.
    pub(in crate::hub) fn held_here(&self, request: &ConnectRequest) -> Option<ReasonCode> {
        if self.config.sessions_change_hands {
            return None;
        }
        let holder = request.identity.holder();
        if let Some(claim) = self.claims.get(&request.client)
            && claim.request.identity.holder() != holder
        {
            // Whose it is is being read: it may try again when that is known.
            return Some(ReasonCode::ServerBusy);
        }
        let live = self.live(&request.client).filter(|live| !live.leaving)?;
        let admitted = live.holder.admits(holder);
        (!admitted).then(|| Self::note_stranger(request))
    }

    /// Whether a stored session is somebody else's than this client's, and not over.
    pub(in crate::hub) fn is_anothers(
        &self,
        stored: &SessionRecord,
        request: &ConnectRequest,
        now: Now,
    ) -> bool {
        if self.config.sessions_change_hands || stored.holder.admits(request.identity.holder()) {
            return false;
        }
        let held = match &stored.owner {
            // A clean session ended with the gateway that served it.
            Some(owner) => stored.no.0 != 0 || self.tables.is_live(owner),
            None => stored.will_parked || stored.expires_at().is_none_or(|at| at > now.wall),
        };
        if held {
            Self::note_stranger(request);
        }
        held
    }

    fn note_stranger(request: &ConnectRequest) -> ReasonCode {
        tracing::info!(
            target: "audit",
            client_id = request.client.as_str(),
            user = request.identity.user.as_deref(),
            "a client is refused: the session of that client id is somebody else's"
        );
        ReasonCode::ClientIdentifierNotValid
    }
}
