//! What may be concluded about shared groups (M7).
//!
//! 1. Every publication at QoS 1 or 2 that was acknowledged and matches a group with a persistent member, whose SUBACK was
//!    written before and whose subscription stands at the end, is received by some member.
//! 2. It is received by no more members than times its publisher sent it (once at QoS 0 and 2), and those that left soon
//!    after they received it, who may have left it unacknowledged. What a member received at QoS 2 is nobody else's.
//!
//! Who receives it when its gateway has let go of it already has left too, though others may have received it sooner.
//!
//! Excused (1) is what design says: what was given at QoS 2 to a session that ended `[MQTT5-4.8.2-5]`.
//!
//! **A known hole**, as README says under "What does not hold yet": what is given to a member without a queue may be lost to its
//! group with the gateway that serves it. So of a group that ever had such a member (1) leaves out what was published or given
//! back while a gateway died, was thought dead, or could not be reached. `--strict` takes that exception away.

use std::collections::BTreeMap;

use protocol::{QoS, matches};

use super::agenda::Moment;
use super::device::Device;
use super::device_packets::{TOPICS, plain};
use super::facts::{Delivered, Message, Span, Talk};
use super::truth::Truth;

/// Who was given what.
#[derive(Debug)]
pub(super) struct Groups {
    given: BTreeMap<(String, usize), Vec<Given>>,
    /// When sessions ended, by device and life: a member may be given something before its SUBACK, and leave without one.
    ended: BTreeMap<(usize, u32), Moment>,
}

#[derive(Debug, Clone, Copy)]
struct Given {
    session: (usize, u32),
    qos: QoS,
    at: Moment,
}

/// How soon after it received a message a member must leave for it to count as unacknowledged, in microseconds: an answer may
/// be lost with the connection, whose end is noticed by silence.
const UNACKNOWLEDGED_US: u64 = 10_000_000;
/// How long before a message was sent a member may have left and still have been given it, in microseconds.
const LATE_US: u64 = 6_000_000;

impl Groups {
    pub(super) const fn new() -> Self {
        Self { given: BTreeMap::new(), ended: BTreeMap::new() }
    }

    pub(super) fn session_ends(&mut self, session: (usize, u32), now: Moment) {
        self.ended.entry(session).or_insert(now);
    }
}

impl Device {
    /// The shared group that a topic reaches it by, if one does.
    pub(super) fn group_of(&self, topic: &str) -> Option<&str> {
        let groups = self.filters.iter().map(|(text, _)| text.as_str());
        groups.filter(|text| text.starts_with("$share/")).find(|text| matches(plain(text), topic))
    }
}

impl Truth {
    /// A device got a publication as the member of a group.
    pub(super) fn received_shared(
        &mut self,
        device: &Device,
        group: &str,
        delivered: Delivered,
        now: Moment,
    ) {
        let Delivered { message: number, qos, fresh, wire, .. } = delivered;
        let Some(message) = self.messages.get(number) else { return };
        let times = if message.qos == QoS::AtLeastOnce { message.sent } else { 1 };
        let session = (device.index, device.life);
        let key = (group.to_owned(), number);
        let given = self.groups.given.get(&key).map(Vec::as_slice).unwrap_or_default();
        if let Some(before) = given.iter().find(|given| given.session == session) {
            if qos == QoS::ExactlyOnce && fresh {
                let at = before.at;
                let what = format!("{} got m{number} at {at} and again at {qos:?}", device.name);
                self.breach("M4", what);
            }
            return;
        }
        let left = given.iter().filter(|given| self.left_it(group, given, now)).count();
        // It was still on its way when the gateway gave it to somebody else.
        let gone = |talk: &Talk| talk.dropped.is_some() || talk.given_up.is_some();
        let let_go = self.talks.get(&wire).is_some_and(gone);
        let left = left + usize::from(let_go && qos != QoS::ExactlyOnce);
        let most = usize::try_from(times).unwrap_or(usize::MAX).saturating_add(left);
        let before: Vec<_> = given.iter().map(|given| (given.session, given.at)).collect();
        self.groups.given.entry(key).or_default().push(Given { session, qos, at: now });
        if before.len() + 1 > most {
            let what = format!(
                "{} got m{number} of {group}, sent {times} times, after {before:?}, {left} of whom left",
                device.name
            );
            self.breach("M7", what);
        }
    }

    /// Whether a member left the group and may have left a message unacknowledged that it received.
    fn left_it(&self, group: &str, given: &Given, now: Moment) -> bool {
        let (device, life) = given.session;
        let of = |span: &&Span| span.device == device && span.life == life && span.filter == group;
        let session_ended = self.groups.ended.get(&given.session).copied();
        let connections = self
            .talks
            .values()
            .filter(|talk| !talk.persistent && (talk.device, talk.life) == given.session);
        let soon = given.at.plus_us(UNACKNOWLEDGED_US);
        given.qos != QoS::ExactlyOnce
            && self
                .spans
                .iter()
                .filter(of)
                .filter_map(|span| self.left(span))
                // Its gateway may have given its session up before anybody was told.
                .chain(connections.flat_map(|talk| [talk.ended, talk.given_up]).flatten())
                .chain(session_ended)
                .any(|left| left <= now && (left <= soon || self.was_trouble(given.at, left)))
    }

    /// When a member left its group.
    fn left(&self, span: &Span) -> Option<Moment> {
        let gone = self.talks.get(&span.wire).filter(|_| !span.persistent);
        [span.ended, gone.and_then(|talk| talk.ended)].into_iter().flatten().min()
    }

    /// The end: what members were owed has come to one of them.
    pub(super) fn conclude_groups(&mut self) {
        if self.full.is_some() {
            // There may be no room at any member.
            return;
        }
        let mut missing = None;
        for (number, message) in self.messages.iter().enumerate() {
            let topic = TOPICS.get(message.topic).copied().unwrap_or_default();
            let owed = message.accepted.is_some()
                && message.qos != QoS::AtMostOnce
                && message.kind.expiry_s.is_none();
            if !owed || !topic.starts_with("s/") {
                continue;
            }
            let member = self.spans.iter().find(|span| {
                let shared = span.filter.starts_with("$share/");
                let stands =
                    span.persistent && span.ended.is_none() && span.confirmed < message.first_sent;
                shared
                    && stands
                    && matches(plain(&span.filter), topic)
                    && !self.groups.given.contains_key(&(span.filter.clone(), number))
            });
            let lost = |member: &&Span| {
                self.may_be_lost(&member.filter, message) || self.is_in_known_hole(member, message)
            };
            if let Some(member) = member.filter(|member| !lost(member)) {
                let to = &member.filter;
                missing = Some(format!("m{number} never came to a member of {to}"));
                break;
            }
        }
        if let Some(what) = missing {
            self.breach("M7", what);
        }
    }

    /// Whether it may have been given at QoS 2 to a member that left.
    fn may_be_lost(&self, group: &str, message: &Message) -> bool {
        let since = Moment(message.first_sent.0.saturating_sub(LATE_US));
        self.spans.iter().filter(|span| span.filter == group).any(|span| {
            let begun = span.qos.min(message.qos) == QoS::ExactlyOnce;
            begun && self.left(span).is_some_and(|left| left >= since)
        })
    }

    /// The known hole: a gateway, or the way to it, was lost when the message was given, or when a member left it.
    fn is_in_known_hole(&self, member: &Span, message: &Message) -> bool {
        if self.strict {
            return false;
        }
        let mut of_group = self.spans.iter().filter(|span| span.filter == member.filter);
        if of_group.all(|span| span.persistent) {
            // Everybody in it has a queue, and what sessions leave is in the store.
            return false;
        }
        let since = Moment(message.first_sent.0.saturating_sub(LATE_US));
        let loss = |from: Moment, until: Moment| {
            self.was_trouble(from, until)
                || self.losses.iter().any(|at| *at >= from && *at <= until)
        };
        let accepted = message.accepted.map_or(message.first_sent, |(at, _)| at);
        let of_group = self.spans.iter().filter(|span| span.filter == member.filter);
        let mut left = of_group.filter_map(|span| self.left(span)).filter(|left| *left >= since);
        let long = |at: Moment| at.plus_us(LATE_US);
        loss(since, long(accepted)) || left.any(|left| loss(left, long(left)))
    }
}
