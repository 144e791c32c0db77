//! Freezes that are added while this host is visited: what they exclude is called off, as long as it can be taken back.

use std::time::Duration;

use maintenance::execution::Event;
use maintenance::{Host, HostState};

use super::document::VisitDocument;
use crate::scheduler::thread::Scheduler;

/// How often freezes are looked for.
const EVERY: Duration = Duration::from_secs(1);
/// Characters of what is said of a freeze that the journal and the audit keep.
const REASON: usize = 1000;

impl Scheduler {
    /// That a freeze excludes what a visit does on this host, if one does and the visit can still be taken back. One that cannot
    /// be read is found by the next step that asks the ledger. What goes on with the glass broken is not called off.
    pub(super) fn frozen(&mut self, document: &VisitDocument) -> Option<Event> {
        if !document.execution.can_turn_back() {
            return None;
        }
        let now = self.shared.now();
        if document.is_despite(now.wall) {
            return None;
        }
        let looked = self.body.looked_for_freezes;
        if looked.is_some_and(|looked| now.mono.saturating_sub(looked) < EVERY) {
            return None;
        }
        self.body.looked_for_freezes = Some(now.mono);
        let freezes = self.documents.freezes();
        let freezes = freezes.inspect_err(|why| tracing::warn!("freezes cannot be read: {why}"));
        let freezes = freezes.ok()?;
        let freeze = document.planned.frozen_by(&self.own_host(), &freezes, now.wall)?;
        let why = format!("frozen by {} of {}: {}", freeze.id, freeze.by, freeze.reason);
        tracing::warn!("visit {} is called off: {why}", document.execution.visit());
        Some(Event::Frozen { why: why.chars().take(REASON).collect() })
    }

    /// This gateway, as policies and freezes choose it.
    pub(super) fn own_host(&self) -> Host {
        let facts = &self.speaker.facts;
        let own = Host::new(self.id.clone(), facts.incarnation, HostState::Serving);
        Host { labels: facts.labels.clone(), ..own }
    }
}
