//! Sessions that are served here, as operators see them.

use protocol::ClientId;
use protocol::mqtt::Version;
use protocol::session::StoredSubscription;

use crate::control::ClientStatus;
use crate::hub::connection::State;
use crate::hub::session::live::Live;
use crate::hub::{ConnId, Hub, Moved};
use crate::presence::SubscriptionStatus;
use crate::sessions::LiveQueue;

impl Hub {
    /// Sessions owned here.
    pub fn sessions_len(&self) -> usize {
        self.sessions.len() - self.shares.partly()
    }

    /// How many clients a drain has moved.
    pub const fn moved(&self) -> Moved {
        self.moved
    }

    /// The connection on which a client's session is served.
    pub fn connection_of(&self, client: &ClientId) -> Option<ConnId> {
        self.live(client).filter(|live| !live.leaving).map(|live| live.conn)
    }

    /// Whose connection this is, until it is forgotten.
    pub fn client_of(&self, conn: ConnId) -> Option<&ClientId> {
        self.connection(conn).map(|connection| &connection.client)
    }

    /// A client as operators see it.
    pub fn client_status(&self, client: &ClientId) -> Option<ClientStatus> {
        let live = self.sessions.get(*self.by_client.get(client)? as usize)?;
        let connection = self.connection(live.conn);
        Some(ClientStatus {
            client_id: client.as_str().to_owned(),
            connected: connection.is_some_and(|c| matches!(c.state, State::Attached(_))),
            clean: !live.durable(),
            protocol_version: connection.map_or(Version::V311, |c| c.version).level(),
            remote: None,
            queue_len: live.session.queue_len() as u64,
            inflight: live.session.inflight().len() as u64,
            epoch: live.epoch.0,
        })
    }

    /// What a client is subscribed to whose session ends with its connection, if it is here.
    pub fn filters_of(&self, client: &ClientId) -> Option<Vec<SubscriptionStatus>> {
        let live = self.live(client).filter(|live| !live.durable() && !live.leaving)?;
        Some(filters(live))
    }

    /// What waits in memory for a client whose session ends with its connection, if it is here.
    pub fn waiting_for(&self, client: &ClientId) -> Option<LiveQueue> {
        let slot = *self.by_client.get(client)?;
        let live = self.sessions.get(slot as usize).filter(|live| !live.durable())?;
        Some(LiveQueue {
            messages: live.session.queue_len(),
            bytes: u64::from(live.session.queue_bytes()),
            limits: self.waits_at_most(live.conn),
            drops: self.drops_of(slot),
        })
    }
}

/// What a session is subscribed to, for others.
pub(super) fn filters(live: &Live) -> Vec<SubscriptionStatus> {
    let status = |it: &StoredSubscription| SubscriptionStatus {
        filter: it.filter.to_string(),
        qos: it.qos.bits(),
    };
    live.subscriptions.iter().map(status).collect()
}
