//! What may be concluded: M1 to M4. What expires, or has no payload to tell it by, is owed to nobody.
//!
//! Where queues are short and drop what has no room, a persistent session may miss as many messages as gateways say at the end
//! that it did; where they refuse it, M1 holds as ever. Of clean sessions nobody says it, and M2 is not judged there.
//!
//! **M1.** Every publication at QoS 1 or 2 for which PUBACK or a good PUBREC was written reaches every persistent session
//! whose SUBACK for a matching filter was written before the publication was first sent, if the subscription still
//! stands at the end, whatever failed in between.
//!
//! **M2.** The same for a clean session while its connection stands: it arrives within [`SOON_US`], or, if gateways could
//! not reach each other meanwhile, within that time after they can again. Excused is only what design says: a gateway
//! died, or was thought dead, or had opened without knowing a live peer's interest, at any time from [`BEFORE_US`] before
//! the publication was sent; and a device that reads slowly.
//!
//! **M3.** The first receipts of one publisher's messages on one topic, published and delivered at one level, are in the
//! order in which it sent them: within a session for what is stored, within a connection of the subscriber for what is
//! not (QoS 0, and all of a clean session's). What is not stored may be overtaken in one case: its publisher went to
//! another gateway while gateways could not reach each other, and what it had said at the first is still on its way. A
//! publication that its publisher gave up without an answer is in no order, and one that was first sent before the
//! subscription was confirmed, or that may have expired, may come when it is sent again.
//!
//! **M4.** At QoS 2 nothing is received twice in a session. At QoS 1 there are no more receipts without DUP than times
//! its publisher sent it, at QoS 0 no more on one connection. (A message may come at two levels while overlapping
//! subscriptions change.)

use std::collections::{BTreeMap, BTreeSet};

use protocol::mqtt::Publish;
use protocol::session::WhenFull;
use protocol::{QoS, matches};

use super::agenda::Moment;
use super::device::Device;
use super::device_packets::{TOPICS, plain};
use super::facts::{Delivered, Message, Span};
use super::truth::{Truth, number_of};
use super::wills::WILLS_FROM;

/// What a live delivery may take, in microseconds.
const SOON_US: u64 = 10_000_000;
/// How long before a publication a loss of memory still excuses, in microseconds: a lease and the look at it.
const BEFORE_US: u64 = 5_000_000;

/// How late a message that expires may be delivered, in microseconds: clocks differ, and it may have come late.
const EXPIRED_US: u64 = 2_000_000;

impl Truth {
    /// What has expired is not delivered (M7), unless its delivery had begun.
    pub(super) fn see_publish(&mut self, publish: &Publish<'_>, now: Moment) {
        let number = number_of(publish.payload).filter(|_| !publish.dup).unwrap_or(usize::MAX);
        let Some(message) = self.messages.get(number) else { return };
        let Some(expiry_s) = message.kind.expiry_s else { return };
        let taken = message.accepted.map_or(message.last_sent, |(at, _)| at.max(message.last_sent));
        let late = now.since(taken.plus_ms(u64::from(expiry_s) * 1000));
        // It may have waited in a socket of a gateway that did not run.
        let hindered = self.hindered.iter().any(|(_, until)| *until >= message.last_sent);
        // One that waits for what its peers want reads no publisher meanwhile.
        let hindered = hindered || self.was_trouble(message.last_sent, now);
        if late > EXPIRED_US && !self.clocks_moved && !hindered {
            self.breach("M7", format!("m{number} is delivered {late} us after it expired"));
        }
    }

    /// A device got a publication.
    pub(super) fn received(&mut self, device: &Device, delivered: Delivered, now: Moment) {
        let Delivered { message: number, qos, dup, fresh, wire, .. } = delivered;
        if number >= WILLS_FROM && number != usize::MAX {
            return self.received_will(device, delivered, now);
        }
        if delivered.retain {
            return self.received_retained(device, delivered);
        }
        let topic = self.messages.get(number).and_then(|message| TOPICS.get(message.topic));
        if let Some(group) = topic.and_then(|topic| device.group_of(topic)) {
            return self.received_shared(device, group, delivered, now);
        }
        let Some(message) = self.messages.get(number) else {
            let what = format!("{} got m{number}, which nobody sent", device.name);
            return self.breach("M4", what);
        };
        let session = (device.index, device.life);
        let seen = self.seen.entry((session.0, session.1, number, qos.bits())).or_default();
        let first = seen.all == 0;
        seen.all += 1;
        seen.plain += u32::from(!dup);
        if delivered.placed {
            // Those who watch over positions (S5) judge it by where it stands.
            return;
        }
        let (seen, sent) = (*seen, message.sent);
        let stored = device.persistent && qos != QoS::AtMostOnce;
        let reader = (!stored).then_some(wire);
        let stream =
            (message.publisher, message.topic, message.qos.bits(), qos.bits(), session, reader);
        let overtaken = !stored && self.was_trouble(message.first_sent, now);
        // What it was first sent for was not this subscription.
        let repeated = message.sent > 1 && !self.was_subscribed(session, message);
        // What was sent first may have expired, and what is sent again is as good as new.
        let renewed = message.sent > 1 && message.kind.expiry_s.is_some();
        // Of what was acknowledged a short queue may have dropped it, and what is sent again is as good as new.
        let acknowledged = message.accepted.is_some_and(|(at, _)| at < message.last_sent);
        let renewed = renewed || (message.sent > 1 && acknowledged && self.drops_messages());
        let anew = self.began_between(message);
        let (sequence, abandoned) = (message.sequence, message.abandoned);
        let (publisher, moved) = (message.wire, message.moved);
        let too_often = match qos {
            QoS::AtMostOnce => {
                let times = self.at_most_once.entry((wire, number)).or_default();
                *times += 1;
                *times > sent
            }
            QoS::AtLeastOnce => seen.plain > sent,
            QoS::ExactlyOnce => fresh && !first && !anew,
        };
        if too_often {
            let what = format!("{} got m{number} again at {qos:?}, sent {sent} times", device.name);
            return self.breach("M4", what);
        }
        if !first {
            return;
        }
        let (newest, its_publisher) = self.newest.entry(stream).or_insert((0, publisher));
        if sequence > *newest {
            (*newest, *its_publisher) = (sequence, publisher);
        } else if !abandoned
            && !repeated
            && !renewed
            && !(overtaken && (moved || *its_publisher != publisher))
        {
            let what = format!(
                "{} got m{number}, number {sequence}, after {newest}, at {qos:?}, stored {stored}",
                device.name
            );
            self.breach("M3", what);
        }
    }

    /// The end: everything that was owed has arrived.
    pub(super) fn conclude(&mut self, now: Moment) {
        let breach = if self.drops_messages() {
            self.untold(now).map(|what| ("M1", what))
        } else {
            let mut missing = self.spans.iter().flat_map(|span| self.missing(span, now));
            missing.next().map(|(number, span)| {
                let what = format!(
                    "m{number} never came to d{} (filter {}, confirmed {})",
                    span.device, span.filter, span.confirmed
                );
                (if span.persistent { "M1" } else { "M2" }, what)
            })
        };
        if let Some((promise, what)) = breach {
            self.breach(promise, what);
        }
    }

    /// What did not come by a subscription although it was owed.
    fn missing<'a>(
        &'a self,
        span: &'a Span,
        now: Moment,
    ) -> impl Iterator<Item = (usize, &'a Span)> {
        let topics: Vec<bool> = TOPICS.iter().map(|t| matches(&span.filter, t)).collect();
        let messages = self.messages.iter().enumerate();
        let missing = messages.filter(move |(number, message)| {
            topics.get(message.topic) == Some(&true)
                && self.is_owed(span, message, now)
                && !self.came(span, *number)
        });
        missing.map(move |(number, _)| (number, span))
    }

    /// More is missing than gateways say that a session did not get.
    fn untold(&self, now: Moment) -> Option<String> {
        if !self.losses.is_empty() {
            // What a gateway drops it tells the others within a second, if it lives.
            return None;
        }
        let mut dropped = BTreeMap::new();
        for (number, span) in self.spans.iter().flat_map(|span| self.missing(span, now)) {
            dropped.entry(span.device).or_insert_with(BTreeSet::new).insert(number);
        }
        dropped.iter().find_map(|(device, numbers)| {
            let said = self.dropped.range((*device, 0)..=(*device, usize::MAX));
            let said: Vec<u64> = said.map(|(_, count)| *count).collect();
            let most = said.iter().max().copied().unwrap_or_default();
            (numbers.len() as u64 > most).then(|| {
                format!("d{device} did not get {numbers:?}, and gateways say it missed {said:?}")
            })
        })
    }

    /// Whether queues are short and what has no room is dropped.
    fn drops_messages(&self) -> bool {
        self.full.is_some_and(|full| full != WhenFull::Reject)
    }

    /// Whether a session has a subscription for a message since before it was sent.
    pub(super) fn is_held(&self, (device, life): (usize, u32), message: usize) -> bool {
        let Some(message) = self.messages.get(message) else { return false };
        let topic = TOPICS.get(message.topic).copied().unwrap_or_default();
        self.spans.iter().filter(|s| s.device == device && s.life == life).any(|span| {
            let stands = span.confirmed <= message.first_sent && span.ended.is_none();
            stands && matches(plain(&span.filter), topic)
        })
    }

    fn was_subscribed(&self, (device, life): (usize, u32), message: &Message) -> bool {
        let topic = TOPICS.get(message.topic).copied().unwrap_or_default();
        let at = message.first_sent;
        self.spans.iter().filter(|s| s.device == device && s.life == life).any(|span| {
            let stands = span.confirmed <= at && span.ended.is_none_or(|ended| ended > at);
            stands && matches(&span.filter, topic)
        })
    }

    fn came(&self, span: &Span, message: usize) -> bool {
        let key = |level| (span.device, span.life, message, level);
        self.seen.range(key(0)..=key(2)).next().is_some()
    }

    fn is_owed(&self, span: &Span, message: &Message, now: Moment) -> bool {
        let Some((accepted, place)) = message.accepted else { return false };
        if message.kind.empty || message.kind.expiry_s.is_some() {
            return false;
        }
        if span.qos.min(message.qos) == QoS::AtMostOnce || message.first_sent <= span.confirmed {
            return false;
        }
        if span.persistent {
            return span.ended.is_none();
        }
        if self.full.is_some() {
            // It has a short queue in memory, of which only its own gateway knows.
            return false;
        }
        let Some(talk) = self.talks.get(&span.wire) else { return false };
        let end = [span.ended, talk.ended].into_iter().flatten().min().unwrap_or(now);
        let from = Moment(message.first_sent.0.saturating_sub(BEFORE_US));
        let lost = self.losses.iter().any(|at| *at >= from && *at <= end);
        let excused = lost || span.slow || self.unsynced.contains(&place);
        let from = self.trouble_until(end).max(accepted);
        from.plus_us(SOON_US) <= end && !excused
    }
}
