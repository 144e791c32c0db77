//! Which counter is meant: by reason, level and time.

use std::time::Duration;

use access::{Cause, Excess};
use protocol::QoS;
use protocol::session::DropReason;
use store::{StoreError, Unavailable};

use super::count::Count;
use super::counters::{ProcessCounters, WorkerCounters};
use crate::hub::Deed;

impl WorkerCounters {
    /// The counter of a rate that was exceeded.
    pub(crate) const fn limited(&self, excess: Excess) -> &Count {
        match excess {
            Excess::Packets => &self.limited_packets,
            Excess::Publications => &self.limited_publications,
            Excess::Bytes => &self.limited_bytes,
        }
    }

    /// The counter of deliveries that were given up for this reason.
    pub(crate) const fn dropped(&self, reason: DropReason) -> &Count {
        match reason {
            DropReason::QueueCount => &self.dropped_queue_count,
            DropReason::QueueBytes => &self.dropped_queue_bytes,
            DropReason::Expired => &self.dropped_expired,
            DropReason::OutboxFull => &self.dropped_outbox_full,
            DropReason::TooLarge => &self.dropped_too_large,
            DropReason::Denied => &self.dropped_denied,
        }
    }

    /// The counter of denials of that kind.
    pub(crate) const fn denied(&self, deed: Deed, cause: Cause) -> &Count {
        match (deed, cause) {
            (Deed::Publish, Cause::NoRule) => &self.denied_publish_no_rule,
            (Deed::Publish, Cause::Rule) => &self.denied_publish_rule,
            (Deed::Publish, Cause::Qos) => &self.denied_publish_qos,
            (Deed::Publish, Cause::Retain) => &self.denied_publish_retain,
            (Deed::Publish, Cause::Claims) => &self.denied_publish_claims,
            (Deed::Will, Cause::NoRule) => &self.denied_will_no_rule,
            (Deed::Will, Cause::Rule) => &self.denied_will_rule,
            (Deed::Will, Cause::Qos) => &self.denied_will_qos,
            (Deed::Will, Cause::Retain) => &self.denied_will_retain,
            (Deed::Will, Cause::Claims) => &self.denied_will_claims,
            (Deed::Subscribe, Cause::NoRule | Cause::Qos | Cause::Retain) => {
                // A filter is never denied for its level: it is granted a lower one.
                &self.denied_subscribe_no_rule
            }
            (Deed::Subscribe, Cause::Rule) => &self.denied_subscribe_rule,
            (Deed::Subscribe, Cause::Claims) => &self.denied_subscribe_claims,
        }
    }

    /// Counts one publication received with `QoS` `qos` (0, 1 or 2).
    #[inline]
    pub fn count_publication(&self, qos: u8) {
        match qos {
            0 => self.publications_qos0.add(1),
            1 => self.publications_qos1.add(1),
            _ => self.publications_qos2.add(1),
        }
    }

    /// Counts a client that was let in after so long.
    pub fn count_connect(&self, took: Duration) {
        for (bound, count) in self.connects_within() {
            if took <= bound {
                count.add(1);
            }
        }
        self.connects_all.add(1);
        self.connect_nanoseconds.add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        self.connects.add(1);
    }

    /// Counts a client that a drain had moved so long ago, and that is back.
    pub fn count_drain_gap(&self, gap: Duration) {
        let within = [
            (Duration::from_millis(50), &self.drain_gap_50ms),
            (Duration::from_millis(250), &self.drain_gap_250ms),
            (Duration::from_secs(1), &self.drain_gap_1s),
            (Duration::from_secs(5), &self.drain_gap_5s),
            (Duration::from_secs(15), &self.drain_gap_15s),
            (Duration::MAX, &self.drain_gap_all),
        ];
        within.iter().filter(|(bound, _)| gap <= *bound).for_each(|(_, count)| count.add(1));
        self.drain_gap_nanoseconds.add(u64::try_from(gap.as_nanos()).unwrap_or(u64::MAX));
        self.drain_gaps.add(1);
    }

    /// Counts a publication that is sent again at a `QoS`; at 0 none is.
    pub const fn resent(&self, qos: QoS) -> &Count {
        match qos {
            QoS::AtMostOnce | QoS::AtLeastOnce => &self.resent_qos1,
            QoS::ExactlyOnce => &self.resent_qos2,
        }
    }

    /// How many clients were let in within each of these times, the shortest first.
    pub const fn connects_within(&self) -> [(Duration, &Count); 9] {
        [
            (Duration::from_millis(10), &self.connects_10ms),
            (Duration::from_millis(50), &self.connects_50ms),
            (Duration::from_millis(100), &self.connects_100ms),
            (Duration::from_millis(250), &self.connects_250ms),
            (Duration::from_millis(500), &self.connects_500ms),
            (Duration::from_millis(1000), &self.connects_1s),
            (Duration::from_millis(2000), &self.connects_2s),
            (Duration::from_millis(5000), &self.connects_5s),
            (Duration::from_millis(10000), &self.connects_10s),
        ]
    }

    /// Counts `n` deliveries with `QoS` `qos` (0, 1 or 2).
    #[inline]
    pub fn count_deliveries(&self, qos: u8, n: u64) {
        match qos {
            0 => self.deliveries_qos0.add(n),
            1 => self.deliveries_qos1.add(n),
            _ => self.deliveries_qos2.add(n),
        }
    }
}

impl ProcessCounters {
    /// Counts a visit that took so long, where so much was reckoned with; one with which nothing was reckoned says nothing.
    pub fn count_visit(&self, took: Duration, estimated: Duration) {
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let (took, estimated) = (millis(took), millis(estimated));
        let Some(ratio) = took.saturating_mul(1_000).checked_div(estimated) else { return };
        let within = [
            (500, &self.visit_overruns_50),
            (750, &self.visit_overruns_75),
            (1_000, &self.visit_overruns_100),
            (1_250, &self.visit_overruns_125),
            (1_500, &self.visit_overruns_150),
            (2_000, &self.visit_overruns_200),
            (4_000, &self.visit_overruns_400),
            (u64::MAX, &self.visit_overruns_all),
        ];
        within.iter().filter(|(bound, _)| ratio <= *bound).for_each(|(_, count)| count.add(1));
        self.visit_overruns_sum.add(ratio);
        self.visit_overruns.add(1);
        self.visit_took_ms.add(took);
        self.visit_estimated_ms.add(estimated);
    }

    /// Counts one committed transaction of `messages` messages that took `nanoseconds`; the committer's call alone.
    #[inline]
    pub fn count_commit(&self, messages: u64, nanoseconds: u64) {
        self.commits.add(1);
        self.commit_messages.add(messages);
        self.commit_nanoseconds.add(nanoseconds);
        self.commit_timings.add(1);
        self.store_writable.set(1);
    }

    /// Counts a transaction that the store did not take; the committer's call alone.
    pub fn count_refused_commit(&self, error: &StoreError) {
        self.commit_failures.add(1);
        self.store_writable.set(0);
        let count = match error {
            StoreError::Unavailable { why: Unavailable::Full, .. } => &self.store_refused_full,
            StoreError::Unavailable { why: Unavailable::Io, .. } => &self.store_refused_io,
            StoreError::Unavailable { why: Unavailable::Busy, .. } => &self.store_refused_busy,
            StoreError::Unavailable { why: Unavailable::Other, .. }
            | StoreError::Unknown { .. }
            | StoreError::TooLarge { .. }
            | StoreError::Newer { .. }
            | StoreError::Older { .. }
            | StoreError::OtherFleet { .. }
            | StoreError::ReadOnly
            | StoreError::Damaged { .. }
            | StoreError::Gap { .. }
            | StoreError::Open { .. } => &self.store_refused_other,
        };
        count.add(1);
    }
}
