//! One session as operators see it, wherever it is served: from its document, and from what waits for it.

use std::collections::BTreeMap;

use protocol::ClientId;
use protocol::session::{Drops, QueueLimits, SessionRecord};
use serde::{Deserialize, Serialize};
use store::{Doc, QueueStatus};

/// One session of the fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionStatus {
    /// Client id.
    pub client_id: String,
    /// Whether it ends with its connection.
    pub clean: bool,
    /// Grows when ownership moves.
    pub epoch: u64,
    /// The gateway that serves it; none while the client is away.
    pub owner: Option<String>,
    /// Seconds it outlives its connection; none if for ever.
    pub expiry_s: Option<u32>,
    /// When it ends if the client stays away, in milliseconds since 1970; none while connected, or if never.
    pub expires_at_ms: Option<u64>,
    /// Filters it is subscribed to.
    pub subscriptions: u64,
    /// What waits for it at QoS 1 and 2; none if it ends with its connection and another gateway serves it.
    pub queue: Option<QueueReport>,
    /// Messages that it did not get, by reason: `queue_count`, `queue_bytes`, `expired`, `outbox_full`, `too_large` and
    /// `denied`; of an ended life of the session none are left, and only as many as the log of the store still tells.
    pub dropped: BTreeMap<String, u64>,
}

/// What waits for a session, and how much may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueReport {
    /// Messages, sent and not acknowledged ones included.
    pub messages: u64,
    /// Their topics, properties and payloads; of large messages rounded up by less than a sixty-fourth.
    pub bytes: u64,
    /// Messages that may wait.
    pub messages_max: u64,
    /// Bytes that may wait.
    pub bytes_max: u64,
    /// `reject`, `drop-oldest` or `drop-new`.
    pub when_full: String,
    /// Whether it takes no more now.
    pub full: bool,
}

/// What waits in memory for a session that ends with its connection.
#[derive(Debug, Clone, Copy)]
pub struct LiveQueue {
    /// Messages.
    pub messages: usize,
    /// Bytes of their topics, properties and payloads.
    pub bytes: u64,
    /// How much may wait.
    pub limits: QueueLimits,
    /// What it did not get.
    pub drops: Drops,
}

impl SessionStatus {
    /// What is known of a client's session; none if it has none.
    pub fn of(
        client: &ClientId,
        doc: Option<&Doc>,
        stored: Option<QueueStatus>,
        live: Option<LiveQueue>,
    ) -> Option<Self> {
        let record = SessionRecord::decode(&doc?.value)?;
        let clean = record.no.0 == 0;
        let stored = stored.filter(|_| !clean);
        let (queue, drops) = match (stored, live.filter(|_| clean)) {
            (Some(it), _) => {
                let full = it.full.is_some();
                (Some(QueueReport::of(it.messages, it.bytes, &it.limits, full)), it.drops)
            }
            (None, Some(it)) => {
                let full = it.limits.reached(it.messages, it.bytes).is_some();
                (Some(QueueReport::of(it.messages, it.bytes, &it.limits, full)), it.drops)
            }
            (None, None) => (None, Drops::default()),
        };
        Some(Self {
            client_id: client.as_str().to_owned(),
            clean,
            epoch: record.epoch.0,
            owner: record.owner.as_ref().map(|owner| owner.gateway.gateway().as_str().to_owned()),
            expiry_s: Some(record.expiry_s).filter(|seconds| *seconds != u32::MAX),
            expires_at_ms: record.expires_at().filter(|_| record.owner.is_none()).map(|at| at.0),
            subscriptions: record.subscriptions.len() as u64,
            queue,
            dropped: drops.iter().map(|(why, count)| (why.as_str().to_owned(), count)).collect(),
        })
    }
}

impl QueueReport {
    fn of(messages: usize, bytes: u64, limits: &QueueLimits, full: bool) -> Self {
        Self {
            messages: messages as u64,
            bytes,
            messages_max: u64::from(limits.messages),
            bytes_max: limits.bytes,
            when_full: limits.when_full.as_str().to_owned(),
            full,
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::session::{DropReason, Full, WhenFull};
    use protocol::{SessionEpoch, SessionNo, Wall};
    use store::Rev;

    use super::*;

    #[test]
    fn a_session_that_is_away_shows_its_queue_its_end_and_what_it_did_not_get() {
        let client = ClientId::new("c").unwrap();
        let mut record = SessionRecord::new(SessionNo(3), SessionEpoch(7), 60);
        record.detached_at = Some(Wall(5_000));
        let doc = Doc { rev: Rev(1), value: record.encode() };
        let mut drops = Drops::default();
        drops.add(DropReason::Expired, 4);
        let limits = QueueLimits { messages: 2, bytes: 99, when_full: WhenFull::Reject };
        let full = Some(Full { reason: DropReason::QueueCount, rejects: true });
        let queue = QueueStatus { messages: 2, bytes: 30, limits, full, drops };
        let status = SessionStatus::of(&client, Some(&doc), Some(queue), None).unwrap();
        assert_eq!((status.expires_at_ms, status.owner), (Some(65_000), None));
        assert_eq!((status.dropped["expired"], status.dropped["queue_count"]), (4, 0));
        let queue = status.queue.unwrap();
        assert_eq!((queue.messages, queue.messages_max, queue.full), (2, 2, true));
        assert_eq!(queue.when_full, "reject");
        assert_eq!(SessionStatus::of(&client, None, None, None), None);
    }
}
