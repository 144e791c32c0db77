//! When gateways could not do their work as usual: what excuses them, where a promise says so.

use store::Write;

use super::agenda::{Moment, Place};
use super::facts::{Message, Talk};
use super::truth::Truth;

/// What links need to be of use again after a fault, in microseconds.
const RECOVERY_US: u64 = 2_000_000;

impl Truth {
    /// A session begins anew by a CONNECT with Clean Start that its device gave up: it may be on its way for longer than those
    /// after it. What they subscribed to ends with it, which the device does not know.
    pub(super) fn begun_anew(&mut self, place: Place, write: &Write, now: Moment) {
        for name in self.owners.begun(write) {
            let late = |talk: &&Talk| {
                let theirs = talk.place == Some(place) && talk.name.as_bytes() == &name[..];
                theirs && talk.clean && talk.ended.is_some()
            };
            let Some(device) = self.talks.values().find(late).map(|talk| talk.device) else {
                continue;
            };
            self.anew.push((device, now));
            for span in self.spans.iter_mut().filter(|span| span.device == device) {
                self.groups.session_ends((device, span.life), now);
                span.ended.get_or_insert(now);
                span.gone.get_or_insert(now);
            }
        }
    }

    /// Whether the session of a publisher began so between the first time that it sent a message and the last: what was known
    /// of its exchange at `QoS` 2 ended with that.
    pub(super) fn began_between(&self, message: &Message) -> bool {
        let between = |at: Moment| at >= message.first_sent && at <= message.last_sent;
        self.anew.iter().any(|(device, at)| *device == message.publisher && between(*at))
    }

    /// Gateways may not reach or answer each other as usual until then, and a little longer.
    pub(super) fn trouble(&mut self, now: Moment, until: Moment) {
        self.troubles.push((now, until.plus_us(RECOVERY_US)));
    }

    /// Something hinders one gateway until then.
    pub(super) fn hinders(&mut self, site: usize, until: Moment) {
        self.hindered.push((site, until.plus_us(RECOVERY_US)));
    }

    pub(super) fn was_hindered(&self, site: usize, since: Moment) -> bool {
        self.hindered.iter().any(|(at, until)| *at == site && *until >= since)
    }

    /// A gateway does not run for a while.
    pub(super) fn frozen(&mut self, place: Place, now: Moment, until: Moment) {
        self.thaws.push((place, until));
        self.losses.extend([now, until]);
    }

    /// The wall clock is set: whoever judged by it may be wrong for a while.
    pub(super) fn clock_is_set(&mut self, now: Moment) {
        self.clocks_moved = true;
        self.losses.push(now);
        self.trouble(now, now.plus_us(5 * RECOVERY_US));
    }

    /// Whether there was trouble at any time since.
    pub(super) fn was_trouble(&self, since: Moment, now: Moment) -> bool {
        self.troubles.iter().any(|(from, until)| *from <= now && *until >= since)
    }

    /// When the trouble ended that had begun by then.
    pub(super) fn trouble_until(&self, now: Moment) -> Moment {
        let begun = self.troubles.iter().filter(|(from, _)| *from <= now);
        begun.map(|(_, until)| *until).max().unwrap_or_default()
    }
}
