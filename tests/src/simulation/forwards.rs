//! What may be concluded about peer links: M5.
//!
//! 1. One life of a gateway forwards a publication to a peer gateway no more often than it was sent to it; a will once. What
//!    goes back to a shared group may go again, for that group alone.
//! 2. It forwards nothing for the plain subscribers of a peer that has had none lately who is given it directly. A device that
//!    vanished is one until its gateway knows. Excused is what happens while gateways cannot reach each other.

use std::collections::BTreeMap;

use protocol::{QoS, matches};

use super::agenda::{Moment, Place};
use super::device_packets::TOPICS;
use super::truth::Truth;
use super::wills::WILLS_FROM;

/// What went over links: from, to, message.
pub(super) type Forwards = BTreeMap<(Place, usize, usize), u32>;

/// How long an interest may outlive its last subscriber, in microseconds.
const LINGER_US: u64 = 3_000_000;

impl Truth {
    /// A gateway gives a publication to a peer.
    pub(super) fn forwarded(
        &mut self,
        (from, to): (Place, usize),
        number: usize,
        plain: bool,
        now: Moment,
    ) {
        if !plain || number == usize::MAX {
            return;
        }
        let times = self.forwards.entry((from, to, number)).or_default();
        *times += 1;
        let times = *times;
        let message = self.messages.get(number);
        let sent = if number >= WILLS_FROM { 1 } else { message.map_or(0, |m| m.sent) };
        let (me, peer) = (from.site + 1, to + 1);
        if times > sent {
            let what = format!("gw-{me} gives m{number}, sent {sent} times, to gw-{peer} again");
            self.breach("M5", what);
        } else if number < WILLS_FROM && !self.is_wanted(number, to, now) {
            let what = format!("gw-{me} gives m{number} to gw-{peer}, where nobody wants it");
            self.breach("M5", what);
        }
    }

    fn is_wanted(&self, number: usize, at: usize, now: Moment) -> bool {
        let Some(message) = self.messages.get(number) else { return true };
        let topic = TOPICS.get(message.topic).copied().unwrap_or_default();
        let since = Moment(now.0.saturating_sub(LINGER_US));
        if self.was_trouble(since, now) {
            return true;
        }
        let lately = |ended: Option<Moment>| ended.is_none_or(|ended| ended >= since);
        self.talks.values().any(|talk| {
            let here = talk.place.is_some_and(|place| place.site == at) && lately(talk.dropped);
            let direct = |qos: QoS| !talk.persistent || qos.min(message.qos) == QoS::AtMostOnce;
            let wants = |filter: &str, qos| direct(qos) && matches(filter, topic);
            let held = || {
                let mine = self.spans.iter();
                let mut mine = mine.filter(|s| (s.device, s.life) == (talk.device, talk.life));
                mine.any(|span| lately(span.gone) && wants(&span.filter, span.qos))
            };
            here && (talk.asked.values().any(|(filter, qos, _)| wants(filter, *qos)) || held())
        })
    }
}
