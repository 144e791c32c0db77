//! Who is here and is banned.

use std::sync::Arc;

use access::Bans;
use protocol::Now;
use protocol::mqtt::ReasonCode;

use crate::hub::connection::State;
use crate::hub::{Close, ConnId, Hub, Turn};

impl Hub {
    /// Other bans hold from now on; these connections are of who is banned by them.
    pub fn set_bans(&mut self, bans: Arc<Bans>, now: Now) -> Vec<ConnId> {
        self.guards.bans = bans;
        if self.guards.bans.is_empty() {
            return Vec::new();
        }
        let places = self.connections.iter().enumerate();
        places
            .filter_map(|(index, place)| {
                let life = place.as_ref()?.life;
                let conn = ConnId { index: u32::try_from(index).ok()?, life };
                self.is_banned(conn, now).then_some(conn)
            })
            .collect()
    }

    /// Whether the client of a connection is banned now.
    pub(in crate::hub) fn is_banned(&self, conn: ConnId, now: Now) -> bool {
        if self.guards.bans.is_empty() {
            return false;
        }
        let connection = self.connection(conn);
        connection.is_some_and(|it| self.guards.bans.kind_of(&it.identity(), now.wall).is_some())
    }

    /// Ends the connection of somebody who is banned. DISCONNECT has no word for it but that somebody wants it
    /// `[MQTT5-3.14.2-1]`; CONNACK has.
    pub fn cut_banned(&mut self, conn: ConnId, cx: &mut Turn<'_>) {
        let Some(connection) = self.connection(conn) else { return };
        let how = match &connection.state {
            State::Attaching => Close::Refuse(ReasonCode::Banned),
            State::Attached(_) => Close::Reason(ReasonCode::AdministrativeAction),
            State::Leaving | State::Over => return,
        };
        let identity = connection.identity();
        let kind = self.guards.bans.kind_of(&identity, cx.now.wall);
        tracing::info!(
            target: "audit", client_id = connection.client.as_str(),
            user = identity.user.as_deref(),
            address = identity.address.map(tracing::field::display),
            kind, "connection cut: banned"
        );
        self.metrics.cut_banned.add(1);
        self.lose_connection(conn, how, cx);
    }
}
