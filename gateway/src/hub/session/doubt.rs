//! Whether a session that we hold is still ours: what the log says, what the store takes, and what follows.

use fanout::Slot;
use protocol::mqtt::ReasonCode;
use protocol::session::SessionRecord;
use protocol::{ClientId, Now, SessionEpoch};

use crate::hub::session::live::put_by_owner;
use crate::hub::{Close, Fx, Hub, Outlet, Output, Record};

/// How far a doubt about a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::hub) enum Doubt {
    /// The store is to be asked.
    Open,
    /// The document is on its way there.
    Asked,
}

/// Documents of doubted sessions that are on their way to the store at once.
const DOUBTS_AT_ONCE: usize = 256;

impl Hub {
    /// The log says that another gateway owns a session, or owned it since: if ours is older, we lost it. If it is not, the log
    /// is late, or the other's clock was set back and it had not heard of ours: the store knows.
    pub fn handle_superseded(
        &mut self,
        client: &ClientId,
        epoch: SessionEpoch,
        now: Now,
        out: &mut dyn Outlet,
    ) {
        match self.live(client) {
            Some(live) if live.epoch < epoch => self.handle_fenced(client, now, out),
            // The claim that was overtaken may be one of ours that is not answered yet.
            Some(_) | None => self.doubt(client.clone()),
        }
    }

    /// The session that we hold for a client, or are about to, may be ours no longer.
    pub fn doubt(&mut self, client: ClientId) {
        if self.is_held(&client) || self.claims.contains_key(&client) {
            self.doubts.insert(client, Doubt::Open);
        }
    }

    /// Any session that we hold may be ours no longer.
    pub fn doubt_all(&mut self) {
        let held: Vec<ClientId> =
            self.sessions.iter().map(|(_, live)| live.client.clone()).collect();
        held.into_iter().for_each(|client| self.doubt(client));
    }

    /// Settles doubts by writing the document anew, which the store refuses if the session is not ours; some at a time.
    /// Forgets those about sessions that are gone.
    pub(in crate::hub) fn look_at_doubts(&mut self) {
        let asked = self.doubts.values().filter(|doubt| **doubt == Doubt::Asked).count();
        let mut room = DOUBTS_AT_ONCE.saturating_sub(asked);
        for (client, doubt) in std::mem::take(&mut self.doubts) {
            let slot = self.by_client.get(&client).copied().filter(|_| self.is_held(&client));
            match (doubt, slot) {
                (Doubt::Open, Some(slot)) if room > 0 => {
                    room -= 1;
                    self.ask_the_store(slot);
                    self.doubts.insert(client, Doubt::Asked);
                }
                (_, Some(_)) => {
                    self.doubts.insert(client, doubt);
                }
                (_, None) => self.doubt(client),
            }
        }
    }

    fn ask_the_store(&mut self, slot: Slot) {
        if let Some(live) = self.sessions.get(slot as usize) {
            let put = put_by_owner(&live.client, &live.record());
            let mut fx = Fx::new();
            fx.first(Record::Put(put));
            fx.then(Output::Sure(live.client.clone()));
            self.side.push_back(fx);
        }
    }

    /// The store took the document of a session in doubt: it is ours. If the log spoke of it again meanwhile, it is looked at
    /// again.
    pub(crate) fn handle_sure(&mut self, client: &ClientId) {
        if self.doubts.get(client) == Some(&Doubt::Asked) {
            self.doubts.remove(client);
        }
    }

    /// The store did not take it: it is asked again.
    pub(crate) fn handle_unsure(&mut self, client: ClientId) {
        self.doubts.insert(client, Doubt::Open);
    }

    pub(in crate::hub) fn is_held(&self, client: &ClientId) -> bool {
        self.live(client).is_some_and(|live| !live.leaving)
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
        if self.live(client).is_some() {
            self.metrics.sessions_lost.add(1);
            // Of one that is on its way out, its last word counts.
            self.moved.departed += u64::from(!self.giving_up.contains(client));
        }
        self.drop_session(client, out);
        if let Some(conn) = conn {
            self.end_connection(conn, Close::Reason(ReasonCode::SessionTakenOver), out);
        }
        self.giving_up.remove(client);
        self.claim_goes_on(client, now, out);
        self.answer_waiting_releases(client, out);
    }
}
