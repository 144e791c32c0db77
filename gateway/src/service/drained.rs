//! What is told of a drain: how far it is, and how it ended.

use maintenance::Counts;
use protocol::{GatewayId, Wall};
use tracing::Span;

use crate::control::{DrainStatus, Evidence, GatewayState, Outcome, Verdict};

/// A drain that runs or is over.
#[derive(Debug, Clone)]
pub(super) struct Running {
    pub(super) id: String,
    pub(super) number: u64,
    pub(super) started: Wall,
    pub(super) per_s: u32,
    pub(super) counts: Counts,
    pub(super) verdict: Option<maintenance::Verdict>,
    pub(super) span: Span,
}

impl Running {
    /// How it stands, at that gateway.
    pub(super) fn status(
        &self,
        gateway: &GatewayId,
        state: GatewayState,
        asking: bool,
    ) -> DrainStatus {
        let counts = self.counts;
        let millis = i64::try_from(self.started.0).unwrap_or(i64::MAX);
        DrainStatus {
            id: self.id.clone(),
            gateway: gateway.as_str().to_owned(),
            state,
            started: jiff::Timestamp::from_millisecond(millis)
                .map_or_else(|_| String::new(), |t| t.to_string()),
            moved: self.verdict.map_or(counts.moved, |v| v.moved),
            failed: counts.failed,
            left: counts.clients(),
            per_s: self.per_s,
            evidence: Evidence {
                connections: counts.connections,
                sessions_owned: counts.sessions_owned,
                unacknowledged_forwards: counts.unacknowledged_forwards,
                unsaved_cursors: counts.unsaved_cursors,
                parked_wills: counts.parked_unsaved_wills,
            },
            asking,
            verdict: self.verdict.map(told),
        }
    }
}

/// A verdict in a line of the log.
pub(super) fn in_words(verdict: &maintenance::Verdict) -> String {
    let maintenance::Verdict { clients, moved, departed, evidence, .. } = verdict;
    let Verdict { outcome, detail, elapsed_ms } = told(*verdict);
    let left = evidence.clients();
    format!(
        "{}: of {clients} clients {moved} moved, {departed} left by themselves, {left} are here; {elapsed_ms} ms; {detail}",
        outcome.as_str()
    )
}

/// A verdict as operators read it.
fn told(verdict: maintenance::Verdict) -> Verdict {
    let (outcome, detail) = match verdict.outcome {
        maintenance::Outcome::Quiesced => {
            (Outcome::Drained, "owns nobody, owes nobody: safe to stop")
        }
        maintenance::Outcome::Aborted => (Outcome::Aborted, "called off; serving again"),
        maintenance::Outcome::TimedOut => (Outcome::TimedOut, "took too long; serving again"),
    };
    Verdict {
        outcome,
        detail: detail.into(),
        elapsed_ms: u64::try_from(verdict.elapsed.as_millis()).unwrap_or(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_verdict_is_told_in_a_line() {
        let verdict = maintenance::Verdict {
            outcome: maintenance::Outcome::TimedOut,
            evidence: Counts { connections: 2, ..Counts::default() },
            clients: 10,
            moved: 7,
            departed: 1,
            elapsed: Duration::from_millis(1_500),
        };
        assert_eq!(
            in_words(&verdict),
            "timed_out: of 10 clients 7 moved, 1 left by themselves, 2 are here; 1500 ms; took too long; serving again"
        );
    }
}
