//! Who has said nothing whole for too long.

use std::time::Duration;

use protocol::Now;

use super::connection::{Connection, State};
use super::{ConnId, Hub};

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
            connection.heard = now.mono;
            connection.begun = None;
        }
        if heard.beginning {
            connection.begun.get_or_insert(now.mono);
        } else {
            connection.begun = None;
        }
    }

    /// Connections that were silent for longer than their keep alive allows, or did not finish a packet in time.
    pub(crate) fn silent(&self, now: Now) -> Vec<ConnId> {
        let passed = |since: Duration, limit: Duration| now.mono >= since + limit;
        let late = |c: &Connection| {
            if !matches!(c.state, State::Attached(_)) {
                return false;
            }
            let silent = c.patience.is_some_and(|patience| passed(c.heard, patience));
            let slow = c.begun.is_some_and(|begun| passed(begun, self.config.packet_timeout));
            if silent {
                self.metrics.timeouts_keep_alive.add(1);
            } else if slow {
                self.metrics.timeouts_packet.add(1);
            }
            silent || slow
        };
        let places = self.connections.iter().enumerate();
        places
            .filter_map(|(index, c)| Some((index, c.as_ref().filter(|c| late(c))?)))
            .filter_map(|(index, c)| {
                Some(ConnId { index: u32::try_from(index).ok()?, life: c.life })
            })
            .collect()
    }
}
