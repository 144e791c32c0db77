//! What may be concluded about retained messages (M7).
//!
//! 1. A new subscription is given what was retained at some time since SUBSCRIBE was sent, never something that another
//!    message had replaced before.
//! 2. What was retained all the time from before SUBSCRIBE was sent until well after SUBACK was written is given to the new
//!    subscription: to a persistent session in the end, to any other if its connection stood and was read meanwhile.
//! 3. Of one publisher's messages a later one that was acknowledged is never replaced by an earlier one, unless the earlier
//!    one was sent again behind it: at `QoS` 1 it is published again then, while a later one at `QoS` 2 was published already
//!    and is not again, although it is sent again as well.
//! 4. In the end every gateway retains what the store does.
//!
//! Excused is what happens around a loss of memory or while gateways cannot reach each other (2).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use protocol::{Publication, QoS, matches};
use store::{Doc, Space, Write};

use super::agenda::Moment;
use super::device::Device;
use super::device_packets::{RETAINED, TOPICS};
use super::facts::{Delivered, Message};
use super::truth::{Truth, message_of};

/// What was retained, and what was given of it.
#[derive(Debug)]
pub(super) struct Keepsakes {
    /// By topic: what was retained from when on.
    reigns: BTreeMap<String, Vec<(Moment, Option<usize>)>>,
    given: BTreeSet<(usize, u32, usize)>,
}

/// What giving them may take, in microseconds.
const SOON_US: u64 = 6_000_000;

impl Keepsakes {
    pub(super) const fn new() -> Self {
        Self { reigns: BTreeMap::new(), given: BTreeSet::new() }
    }

    /// The store took a write.
    pub(super) fn stored(&mut self, write: &Write, now: Moment) {
        for put in write.puts.iter().filter(|put| put.space == Space::Retained) {
            self.set(&put.key, put.value.as_ref(), now);
        }
    }

    /// What stands in the store after a commit of which nobody was told.
    pub(super) fn stands(&mut self, stands: &[(Bytes, Doc)], now: Moment) {
        let gone: Vec<_> = self.reigns.keys().cloned().collect();
        for topic in gone {
            if !stands.iter().any(|(key, _)| key[..] == *topic.as_bytes()) {
                self.set(topic.as_bytes(), None, now);
            }
        }
        for (key, doc) in stands {
            self.set(key, Some(&doc.value), now);
        }
    }

    fn set(&mut self, topic: &[u8], value: Option<&Bytes>, now: Moment) {
        let topic = String::from_utf8_lossy(topic).into_owned();
        let message = value.and_then(Publication::decode_since).map(|(p, _)| message_of(&p));
        let reigns = self.reigns.entry(topic).or_default();
        if reigns.last().is_none_or(|(_, last)| *last != message) {
            reigns.push((now, message));
        }
    }

    /// Whether a message was retained at some time since.
    fn stood_since(&self, topic: &str, message: usize, since: Moment) -> bool {
        let Some(reigns) = self.reigns.get(topic) else { return false };
        reigns.iter().enumerate().any(|(at, (_, stood))| {
            let until = reigns.get(at + 1).map(|(until, _)| *until);
            *stood == Some(message) && until.is_none_or(|until| until >= since)
        })
    }

    /// What was retained all the time between two moments.
    fn stood_throughout(&self, topic: &str, from: Moment, until: Moment) -> Option<usize> {
        let reigns = self.reigns.get(topic)?;
        let at = reigns.iter().rposition(|(began, _)| *began < from)?;
        if reigns.get(at + 1).is_some_and(|(next, _)| *next <= until) {
            return None;
        }
        reigns.get(at)?.1
    }
}

impl Truth {
    /// A device got a message that was retained.
    pub(super) fn received_retained(&mut self, device: &Device, delivered: Delivered) {
        let Delivered { message: number, qos, placed, wire, .. } = delivered;
        let Some(message) = self.messages.get(number) else { return };
        let topic = TOPICS.get(message.topic).copied().unwrap_or_default();
        let stored = device.persistent && (placed || qos != QoS::AtMostOnce);
        let mine = self.spans.iter().filter(|span| {
            let session = span.device == device.index && span.life == device.life;
            session && (stored || span.wire == wire) && matches(&span.filter, topic)
        });
        let asked = mine.map(|span| span.asked);
        // What waits in a queue may have been asked for by any subscription of the session.
        let asked = if stored { asked.min() } else { asked.max() };
        self.keepsakes.given.insert((device.index, device.life, number));
        if !message.kind.retain {
            let what = format!("{} got m{number} as retained", device.name);
            self.breach("M7", what);
        } else if asked.is_some_and(|asked| !self.keepsakes.stood_since(topic, number, asked)) {
            let what = format!(
                "{} subscribed at {} and got m{number}, which was retained on {topic} only before",
                device.name,
                asked.unwrap_or_default()
            );
            self.breach("M7", what);
        }
    }

    /// The end: what was retained was given, and the newest is.
    pub(super) fn conclude_retained(&mut self, end: Moment) {
        let mut missing = None;
        for span in &self.spans {
            let soon = span.confirmed.plus_us(SOON_US);
            let talk_ended = self.talks.get(&span.wire).and_then(|talk| talk.ended);
            let stands = [span.ended, talk_ended].into_iter().flatten().all(|at| at > soon);
            let loss = self.losses.iter().any(|at| *at >= span.asked && *at <= soon);
            if soon > end || loss || self.full.is_some() || self.was_trouble(span.asked, soon) {
                continue;
            }
            for topic in TOPICS.get(RETAINED).unwrap_or_default() {
                let stood = self.keepsakes.stood_throughout(topic, span.asked, soon);
                let Some(number) = stood.filter(|_| matches(&span.filter, topic)) else { continue };
                let Some(message) = self.messages.get(number) else { continue };
                let stored = span.persistent && span.qos.min(message.qos) != QoS::AtMostOnce;
                let owed = if stored { span.ended.is_none() } else { stands && !span.slow };
                let given = self.keepsakes.given.contains(&(span.device, span.life, number));
                if owed && !given && message.kind.expiry_s.is_none() {
                    missing = Some(format!(
                        "d{} subscribed to {} at {} and never got m{number}, retained on {topic}",
                        span.device, span.filter, span.asked
                    ));
                }
            }
        }
        let newest = self.keepsakes.reigns.iter().filter_map(|(topic, reigns)| {
            let (_, number) = reigns.last()?;
            let kept = self.messages.get((*number)?)?;
            let later = self.messages.iter().enumerate().skip(number.unwrap_or_default() + 1);
            let same = |m: &Message| m.publisher == kept.publisher && m.topic == kept.topic;
            let known = |at: usize, m: &Message| {
                // It, or what was sent behind it, if one commit had both.
                let stood = |reign: &Option<usize>| match reign.and_then(|n| self.messages.get(n)) {
                    Some(other) => *reign == Some(at) || other.first_sent > m.first_sent,
                    None => m.kind.empty,
                };
                kept.qos == QoS::AtLeastOnce
                    && m.qos == QoS::ExactlyOnce
                    && kept.last_sent > m.first_sent
                    && reigns.iter().any(|(_, message)| stood(message))
            };
            let newer = later.filter(|(_, m)| same(m) && m.accepted.is_some() && !m.abandoned);
            let replaced = newer.filter(|(at, m)| !known(*at, m)).count();
            (replaced > 0).then(|| {
                format!(
                    "m{} is retained on {topic} after {replaced} newer ones",
                    number.unwrap_or(0)
                )
            })
        });
        let breach = missing.or_else(|| newest.into_iter().next());
        if let Some(what) = breach {
            self.breach("M7", what);
        }
    }

    /// The end: a gateway retains what the store does.
    pub(super) fn compare_retained(&mut self, site: usize, kept: &BTreeMap<String, usize>) {
        let stands = self.keepsakes.reigns.iter().filter_map(|(topic, reigns)| {
            let (_, message) = reigns.last()?;
            Some((topic.clone(), (*message)?))
        });
        let stands: BTreeMap<String, usize> = stands.collect();
        if *kept != stands {
            let what = format!("gw-{} retains {kept:?}, the store {stands:?}", site + 1);
            self.breach("M7", what);
        }
    }
}
