//! Clients that are refused a publication and whose version has no word for that: they are cut off `[MQTT3-3.3.5-2]`, but not
//! before they had time to acknowledge what waits for them. Two that publish to each other, and whose queues are both full, would
//! be cut off again and again otherwise: each sends again first what was refused, and never comes to what it is sent.

use std::time::Duration;

use fanout::Slot;
use protocol::mqtt::{ReasonCode, Version};
use protocol::{Now, Violation};

use crate::hub::traffic::publish::REFUSED;
use crate::hub::traffic::refused::Refused;
use crate::hub::{Close, ConnId, Hub};

/// A client that will be cut off. Until then none of its publications is taken, as none behind the end of its connection would be:
/// it sends them again, in their order.
#[derive(Debug)]
pub(in crate::hub) struct Wordless {
    conn: ConnId,
    /// When it was refused.
    since: Duration,
    why: Violation,
}

/// How long what waits may take to be sent and acknowledged.
const MOST: Duration = Duration::from_secs(5);
/// How long what is stored may take to be read, so that it is known that nothing waits.
const LEAST: Duration = Duration::from_secs(1);

impl Hub {
    /// Whether a connection will be cut off, and nothing of what it publishes is taken.
    pub(super) fn is_wordless(&self, conn: ConnId) -> bool {
        !self.wordless.is_empty() && self.wordless.iter().any(|it| it.conn == conn)
    }

    /// Gives a client that is to be cut off for want of room the time to make some itself, if its session may be what others wait
    /// for. Answers whether it has it.
    pub(super) fn gets_time(
        &mut self,
        (conn, slot): (ConnId, Slot),
        refused: &Refused,
        now: Now,
    ) -> bool {
        let stored = self.sessions.get(slot as usize).is_some_and(|live| live.durable());
        let old = self.connection(conn).is_some_and(|it| it.version != Version::V5);
        if refused.reason() != ReasonCode::QuotaExceeded || !stored || !old {
            return false;
        }
        let why =
            self.count_violation(conn, Violation::with(refused.reason(), REFUSED.0, REFUSED.1));
        self.wordless.push(Wordless { conn, since: now.mono, why });
        true
    }

    /// Those whose time is over, or for whom nothing waits any more.
    pub(in crate::hub) fn end_wordless(&mut self, now: Now) -> Vec<(ConnId, Close)> {
        let mut over = Vec::new();
        for it in std::mem::take(&mut self.wordless) {
            let Some((_, slot)) = self.attached(it.conn) else { continue };
            let Some(live) = self.sessions.get(slot as usize) else { continue };
            let waits = live.session.queue_len() > 0 || !live.session.inflight().is_empty();
            if now.mono < it.since + if waits { MOST } else { LEAST } {
                self.wordless.push(it);
            } else {
                over.push((it.conn, Close::Broke(it.why)));
            }
        }
        over
    }
}
