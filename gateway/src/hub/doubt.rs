//! Whether a session that we hold is still ours: what the log says, what the store answers, and what follows.

use protocol::mqtt::ReasonCode;
use protocol::session::SessionRecord;
use protocol::{ClientId, Now, SessionEpoch};

use super::{Ask, Close, Hub, Outlet};

impl Hub {
    /// The log says that another gateway owns a session, or owned it since: if ours is older, we lost it.
    pub fn handle_superseded(
        &mut self,
        client: &ClientId,
        epoch: SessionEpoch,
        now: Now,
        out: &mut dyn Outlet,
    ) {
        match self.live(client) {
            Some(live) if live.epoch < epoch => self.handle_fenced(client, now, out),
            Some(_) => {}
            // The claim that was overtaken may be one of ours that is not answered yet.
            None => self.doubt(client.clone(), out),
        }
    }

    /// The session that we hold for a client, or are about to, may be ours no longer: its document decides.
    pub fn doubt(&mut self, client: ClientId, out: &mut dyn Outlet) {
        let held = self.live(&client).is_some_and(|live| !live.leaving);
        if !held && !self.claims.contains_key(&client) {
            return;
        }
        if held {
            out.ask(Ask::Read(client.clone()));
        }
        self.doubts.insert(client);
    }

    /// Any session that we hold may be ours no longer.
    pub fn doubt_all(&mut self, out: &mut dyn Outlet) {
        let held: Vec<ClientId> =
            self.sessions.iter().map(|(_, live)| live.client.clone()).collect();
        for client in held {
            self.doubt(client, out);
        }
    }

    /// The document of a session that was doubted.
    pub(super) fn settle_doubt(
        &mut self,
        client: &ClientId,
        stands: Option<&bytes::Bytes>,
        now: Now,
        out: &mut dyn Outlet,
    ) {
        if self.live(client).is_some_and(|live| !live.leaving) && self.doubts.remove(client) {
            self.handle_conflict(client, stands, now, out);
        }
    }

    /// Asks again for every session in doubt; forgets those that are gone.
    pub(super) fn look_at_doubts(&mut self, out: &mut dyn Outlet) {
        for client in std::mem::take(&mut self.doubts) {
            self.doubt(client, out);
        }
    }

    /// A write of ours met another document. Only a newer ownership, or none, means that we lost the session.
    pub(crate) fn handle_conflict(
        &mut self,
        client: &ClientId,
        stands: Option<&bytes::Bytes>,
        now: Now,
        out: &mut dyn Outlet,
    ) {
        let Some(live) = self.live(client) else { return };
        let fence = SessionRecord::fence(live.epoch);
        if !stands.is_some_and(|doc| doc.starts_with(&fence)) {
            self.handle_fenced(client, now, out);
        }
    }

    /// Another gateway owns the session: we lost it and must not act for it.
    pub fn handle_fenced(&mut self, client: &ClientId, now: Now, out: &mut dyn Outlet) {
        let conn = self
            .by_client
            .get(client)
            .and_then(|slot| Some(self.sessions.get(*slot as usize)?.conn));
        self.drop_session(client, out);
        if let Some(conn) = conn {
            self.end_connection(conn, Close::Reason(ReasonCode::SessionTakenOver), out);
        }
        self.giving_up.remove(client);
        self.claim_goes_on(client, now, out);
    }
}
