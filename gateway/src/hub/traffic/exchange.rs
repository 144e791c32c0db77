//! The steps of an exchange at QoS 2 that the client takes.

use fanout::Slot;
use protocol::PacketId;
use protocol::mqtt::{Ack, ReasonCode};
use protocol::session::Acked;

use crate::hub::{ConnId, Fx, Hub, Output, Reply, Turn};

impl Hub {
    pub(in crate::hub) fn handle_pubrec(
        &mut self,
        conn: ConnId,
        slot: Slot,
        ack: Ack<'_>,
        cx: &mut Turn<'_>,
    ) {
        let Some(live) = self.sessions.get_mut(slot as usize) else { return };
        match live.session.handle_pubrec(ack.packet_id, ack.reason) {
            Acked::Release(reason) => {
                // That PUBLISH is never sent again must be known before PUBREL says so [MQTT5-4.3.3-6].
                self.store_session(slot, cx.fx);
                cx.fx.then(Output::Reply(conn, Reply::PubRel(ack.packet_id, reason)));
            }
            Acked::Done => self.pump(slot, cx),
            // What was refused is over: there is nothing to release [MQTT5-4.3.3-9].
            Acked::Unknown if ack.reason.is_error() => {}
            Acked::Unknown => {
                let reason = ReasonCode::PacketIdentifierNotFound;
                cx.fx.then(Output::Reply(conn, Reply::PubRel(ack.packet_id, reason)));
            }
        }
    }

    pub(in crate::hub) fn handle_pubrel(
        &mut self,
        conn: ConnId,
        slot: Slot,
        id: PacketId,
        fx: &mut Fx,
    ) {
        let Some(live) = self.sessions.get_mut(slot as usize) else { return };
        let reason = if live.session.handle_pubrel(id) {
            self.store_session(slot, fx);
            ReasonCode::Success
        } else {
            ReasonCode::PacketIdentifierNotFound
        };
        fx.then(Output::Reply(conn, Reply::PubComp(id, reason)));
    }
}
