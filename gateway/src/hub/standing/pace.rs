//! How fast a connection may be, and what follows when it is faster.

use access::{Excess, OnExcess};
use protocol::mqtt::{Publish, ReasonCode, Version};
use protocol::{Now, Violation};

use crate::hub::connection::Moment;
use crate::hub::traffic::refused::Refused;
use crate::hub::{ConnId, Fx, Hub, Outlet, Output};

/// The packet type of PUBLISH.
const PUBLISH: u8 = 3;

/// How long what a client sent before it closed is read at its pace; then it is gone, and the rest with it; in seconds.
const LAST_WORDS_S: u32 = 60;

/// The answer to a client that is too fast where nothing else can say so.
const TOO_FAST: Violation = Violation::with(
    ReasonCode::MessageRateTooHigh,
    "MQTT5-4.13.1-1",
    "more per second than its class allows",
);

impl Hub {
    /// Whether another packet of a connection may be handled now. If not, it is resumed when it is slow enough.
    pub(crate) fn is_in_pace(&mut self, conn: ConnId, now: Now) -> bool {
        if self.guards.guarded == 0 {
            return true;
        }
        let Some(guard) = self.guard_mut(conn) else { return true };
        if guard.waits_until.is_some() {
            return false;
        }
        let Some(pace) = guard.pace.as_mut().filter(|_| guard.on_excess == OnExcess::Delay) else {
            return true;
        };
        let Some((excess, wait)) = pace.excess(now.mono) else { return true };
        guard.waits_until = Some(now.mono + wait);
        self.guards.paced.push(conn);
        self.metrics.limited(excess).add(1);
        false
    }

    /// The connections that wait until they are slow enough.
    pub(crate) fn held_back(&self) -> &[ConnId] {
        &self.guards.paced
    }

    /// The client of a connection that waits will send nothing more. What it sent before is still read, at its pace: or
    /// everybody could be as fast as he likes by closing. Answers whether there was a minute for that, which is over.
    pub(crate) fn has_had_its_time(&mut self, conn: ConnId, now: Now) -> bool {
        let Some(guard) = self.guard_mut(conn) else { return true };
        let now_s = u32::try_from(now.mono.as_secs()).unwrap_or(u32::MAX);
        if guard.ends_s == 0 {
            guard.ends_s = now_s.saturating_add(LAST_WORDS_S);
        }
        now_s >= guard.ends_s
    }

    /// Whether a connection waits until it is slow enough.
    pub(crate) fn is_paused(&self, conn: ConnId) -> bool {
        self.guards.guarded != 0
            && self
                .connection(conn)
                .and_then(|c| c.guard.as_deref())
                .is_some_and(|guard| guard.waits_until.is_some())
    }

    /// Counts a packet. Where what is too fast is refused, a publication is marked and any other packet ends the connection.
    /// A publication that would delay its client for too long is refused in any case.
    pub(in crate::hub) fn count_packet(
        &mut self,
        conn: ConnId,
        packet: &[u8],
        now: Now,
    ) -> Result<(), Violation> {
        if self.shares.has_begun(conn) {
            // It was counted when it began.
            return Ok(());
        }
        self.metrics.packets_received.add(1);
        if self.guards.guarded == 0 {
            return Ok(());
        }
        let Some(guard) = self.guard_mut(conn) else { return Ok(()) };
        let Some(pace) = guard.pace.as_mut() else { return Ok(()) };
        let publication = packet.first().is_some_and(|byte| byte >> 4 == PUBLISH);
        let too_much = publication && pace.is_too_much(packet.len());
        let excess = match guard.on_excess {
            _ if too_much => Some(Excess::Bytes),
            OnExcess::Delay => None,
            OnExcess::Refuse => pace.excess(now.mono).map(|(excess, _)| excess),
        };
        let counts = |excess| publication || excess == Excess::Packets;
        if let Some(excess) = excess.filter(|excess| counts(*excess)) {
            guard.too_fast = publication.then_some(excess);
            self.metrics.limited(excess).add(1);
            return if publication { Ok(()) } else { Err(TOO_FAST) };
        }
        guard.too_fast = None;
        pace.count_packet();
        if publication {
            pace.count_publication(packet.len());
        }
        Ok(())
    }

    /// Refuses a publication that came too fast: with 0x97 where it can be answered, else the connection ends with 0x96.
    /// Answers whether it was refused.
    pub(in crate::hub) fn refuse_too_fast(
        &mut self,
        conn: ConnId,
        publish: &Publish<'_>,
        fx: &mut Fx,
    ) -> Result<bool, Violation> {
        if self.guards.guarded == 0 {
            return Ok(false);
        }
        let Some(excess) = self.guard_mut(conn).and_then(|guard| guard.too_fast) else {
            return Ok(false);
        };
        let v5 = self.connection(conn).is_some_and(|c| c.version == Version::V5);
        let Some(id) = publish.packet_id.filter(|_| v5) else { return Err(TOO_FAST) };
        let reply = Refused::TooFast(excess).reply((publish.qos, id));
        fx.then(Output::Reply(conn, reply));
        Ok(true)
    }

    /// Lets the connections go on that are slow enough again. Those that wait are not silent: it is we who do not listen.
    pub(in crate::hub) fn resume_paced(&mut self, now: Now, out: &mut dyn Outlet) {
        let mut waiting = Vec::new();
        for conn in std::mem::take(&mut self.guards.paced) {
            let Some(connection) = self.connection_mut(conn) else { continue };
            connection.heard = Moment::of(now.mono);
            connection.begun = None;
            let Some(guard) = connection.guard.as_deref_mut() else {
                out.resume(conn);
                continue;
            };
            match guard.waits_until {
                Some(until) if now.mono < until => waiting.push(conn),
                Some(_) | None => {
                    guard.waits_until = None;
                    out.resume(conn);
                }
            }
        }
        self.guards.paced.append(&mut waiting);
    }
}
