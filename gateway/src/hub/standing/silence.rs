//! Whose time is over: who has said nothing whole for too long, or did not authenticate again.

use std::time::Duration;

use protocol::Now;
use protocol::mqtt::ReasonCode;

use crate::hub::connection::{Connection, Moment, State};
use crate::hub::{Close, ConnId, Hub};

/// What of a connection's bytes was handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Heard {
    /// At least one whole packet.
    pub(crate) packet: bool,
    /// The beginning of one is left.
    pub(crate) beginning: bool,
}

impl Hub {
    /// Something came from a connection. Only a whole packet shows that the client is alive `[MQTT5-3.1.2-22]`.
    pub(crate) fn heard(&mut self, conn: ConnId, heard: Heard, now: Now) {
        let Some(connection) = self.connection_mut(conn) else { return };
        if heard.packet {
            connection.heard = Moment::of(now.mono);
            connection.begun = None;
        }
        if heard.beginning {
            connection.begun.get_or_insert_with(|| Moment::of(now.mono));
        } else {
            connection.begun = None;
        }
    }

    /// Connections whose time is over, and what they are told: silent for longer than their keep alive allows, a packet not
    /// finished in time, not authenticated again, or refused without a word for it.
    pub(crate) fn overdue(&mut self, now: Now) -> Vec<(ConnId, Close)> {
        let places = self.connections.iter().enumerate();
        let found = places.filter_map(|(index, place)| {
            let connection = place.as_ref()?;
            let close = Close::Reason(self.late(connection, now)?);
            Some((ConnId { index: u32::try_from(index).ok()?, life: connection.life }, close))
        });
        let mut found: Vec<_> = found.collect();
        found.append(&mut self.end_wordless(now));
        found
    }

    fn late(&self, connection: &Connection, now: Now) -> Option<ReasonCode> {
        if !matches!(connection.state, State::Attached(_)) {
            return None;
        }
        let passed = |since: Moment, limit: Duration| now.mono >= since.mono() + limit;
        if connection.patience().is_some_and(|patience| passed(connection.heard, patience)) {
            self.metrics.timeouts_keep_alive.add(1);
            return Some(ReasonCode::KeepAliveTimeout);
        }
        if connection.begun.is_some_and(|begun| passed(begun, self.config.packet_timeout)) {
            self.metrics.timeouts_packet.add(1);
            return Some(ReasonCode::KeepAliveTimeout);
        }
        let credentials = connection.credentials.as_deref();
        credentials.filter(|it| it.is_over(now)).map(|it| it.expired)
    }
}
