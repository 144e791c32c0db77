//! What other gateways made of the shadows that somebody watches here.

use std::time::Duration;

use bytes::Bytes;
use fanout::{Remembered, Routes};
use protocol::{Now, Publication, QoS};
use shadow::{
    Answer, Change, Operation, OwnedKey, Record, ReservedTopic, ScribeOutput, ShadowKey, Stored,
};

use crate::hub::{Hub, Tables, Turn};

/// Watched shadows that are looked at with one tick, whether anybody still watches them.
const PORTION: usize = 128;
/// Between two looks at all of them.
const BETWEEN_SWEEPS: Duration = Duration::from_secs(5);

impl Hub {
    /// Another gateway changed a shadow that somebody watches here; this is stored now.
    pub(super) fn handle_shadow_changed(
        &mut self,
        key: &OwnedKey,
        stored: Option<&Bytes>,
        cx: &mut Turn<'_>,
    ) {
        let tables = &self.tables;
        let watcher = &mut self.shadows.watcher;
        if watcher.handle_changed(key) == Change::PutOff {
            self.metrics.shadow_put_off.add(1);
            return;
        }
        let found = Stored::Found(stored.map(|bytes| &**bytes));
        let wanted = |topic: ReservedTopic<'_>| is_wanted_here(tables, topic);
        let outputs = watcher.handle_read(key, found, cx.now.wall, wanted);
        self.metrics.shadow_left_out.add(watcher.take_left_out());
        for output in outputs {
            match output {
                ScribeOutput::Tell { key, answer, payload } => {
                    self.metrics.shadow_told_elsewhere.add(1);
                    let topic = key.key().topic(Operation::Update, Some(answer));
                    self.tell_watchers(topic, &payload, cx);
                }
                ScribeOutput::Read(_)
                | ScribeOutput::Write { .. }
                | ScribeOutput::Answer { .. }
                | ScribeOutput::Changed { .. } => {}
            }
        }
    }

    /// Time has passed: some of what is not watched any more makes room.
    pub(in crate::hub) fn forget_unwatched(&mut self, now: Now) {
        let (tables, shadows) = (&self.tables, &mut self.shadows);
        if now.mono < shadows.sweeps_at {
            return;
        }
        let is_watched = |key: &OwnedKey| is_watched(tables, key.key());
        let _none_failed = shadows.watcher.handle_sweep(PORTION, is_watched);
        if shadows.watcher.is_swept() {
            shadows.sweeps_at = now.mono + BETWEEN_SWEEPS;
        }
    }

    /// Stored queues and shared groups were served by the gateway that made it happen.
    fn tell_watchers(&mut self, topic: ReservedTopic<'_>, message: &str, cx: &mut Turn<'_>) {
        let topic = topic.to_string();
        let publication =
            Publication::new(&topic, &[], message.as_bytes(), QoS::AtLeastOnce, false);
        self.dispatch_plain_here(publication, cx);
    }

    /// Whether a change that was made here may be told: nobody was told of a newer one. It is remembered if anybody watches.
    pub(super) fn may_tell(&mut self, key: &OwnedKey, record: &Record) -> bool {
        let mut is_wanted = |answer| {
            let topic = key.key().topic(Operation::Update, Some(answer)).to_string();
            let route = self.cache.get(&topic, &self.table, &self.tables);
            route.fleet.workers.of(QoS::AtLeastOnce) != 0
        };
        let wants_documents = is_wanted(Answer::Documents);
        let is_watched = wants_documents || is_wanted(Answer::Delta);
        !is_watched || self.shadows.watcher.handle_own(key, record, wants_documents)
    }
}

/// What is told of a shadow to whoever watches it.
const TOLD: [Answer; 2] = [Answer::Delta, Answer::Documents];

/// Whether a client without a stored queue that is served by this process is told what becomes of a shadow.
pub(crate) fn is_watched(tables: &Tables, key: ShadowKey<'_>) -> bool {
    TOLD.iter().any(|answer| is_wanted_here(tables, key.topic(Operation::Update, Some(*answer))))
}

/// The same of a client that a peer serves, as far as the peers have said and as it is remembered.
pub(crate) fn is_watched_elsewhere(
    tables: &Tables,
    remembered: &mut Remembered<bool, u64>,
    key: ShadowKey<'_>,
) -> bool {
    TOLD.iter().any(|answer| {
        let topic = key.topic(Operation::Update, Some(*answer)).to_string();
        let is_wanted = |routes: &Routes| routes.route(&topic).peers.of(QoS::AtLeastOnce) != 0;
        tables.remember(remembered, &topic, is_wanted)
    })
}

fn is_wanted_here(tables: &Tables, topic: ReservedTopic<'_>) -> bool {
    tables.routes().route(&topic.to_string()).workers.of(QoS::AtLeastOnce) != 0
}
