//! The subscriptions of the sessions that one worker serves.

use std::sync::Arc;

use protocol::{HashMap, QoS, SharedName, TopicFilter};
use smallvec::SmallVec;

use crate::{Changes, FilterTable, GroupKey};

/// A session's place in its worker.
pub type Slot = u32;

/// What one session asked for with one filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscription {
    /// Highest level to deliver at.
    pub qos: QoS,
    /// Not what this client published itself `[MQTT5-3.8.3-3]`.
    pub no_local: bool,
    /// Whether the RETAIN flag is passed on `[MQTT5-3.3.1-13]`.
    pub retain_as_published: bool,
    /// The identifier, if the client gave one.
    pub id: Option<u32>,
    /// Whether the session is persistent: what it gets at QoS 1 and 2 then comes through its stored queue.
    pub durable: bool,
}

/// What one session gets of a publication: its matching subscriptions as one `[MQTT5-3.3.4-2]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalDelivery {
    /// Whose it is.
    pub slot: Slot,
    /// Highest level of the matching subscriptions.
    pub qos: QoS,
    /// Set if every matching subscription asked for it.
    pub no_local: bool,
    /// Set if any matching subscription asked for it.
    pub retain_as_published: bool,
    /// Whether the session is persistent.
    pub durable: bool,
    /// The identifiers of all matching subscriptions `[MQTT5-3.3.4-4]`.
    pub ids: SmallVec<[u32; 2]>,
}

/// What a worker delivers itself for one topic.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct LocalRoute {
    /// Plain subscribers, one entry per session.
    pub sessions: Vec<LocalDelivery>,
}

/// All subscriptions of the sessions of one worker.
#[derive(Debug, Default)]
pub struct SubscriptionTable {
    plain: FilterTable<Subscribers>,
    groups: HashMap<GroupKey, Members>,
    changes: Changes,
}

/// Whether a member of a shared group takes a publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// Now.
    Ready,
    /// It would have to wait.
    Busy,
    /// Never again.
    Leaving,
}

/// What a neighbour's subscribers of a filter want to be given directly.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wants {
    /// Nobody subscribes.
    #[default]
    Nothing,
    /// Only publications at QoS 0: what is stored, its persistent subscribers get through their queues.
    AtMostOnce,
    /// Everything.
    Everything,
}

/// The plain subscribers of one filter, by slot.
#[derive(Debug, Default)]
struct Subscribers {
    list: Vec<(Slot, Subscription)>,
    /// How many of them are given everything directly.
    live: usize,
}

impl Subscribers {
    const fn wants(&self) -> Wants {
        match (self.list.is_empty(), self.live) {
            (true, _) => Wants::Nothing,
            (false, 0) => Wants::AtMostOnce,
            (false, _) => Wants::Everything,
        }
    }

    fn has(&self, slot: Slot) -> bool {
        self.list.binary_search_by_key(&slot, |(other, _)| *other).is_ok()
    }

    fn put(&mut self, slot: Slot, with: Subscription) {
        self.take(slot);
        let at = self.list.partition_point(|(other, _)| *other < slot);
        self.live += usize::from(with.is_live());
        self.list.insert(at, (slot, with));
    }

    fn take(&mut self, slot: Slot) {
        if let Ok(at) = self.list.binary_search_by_key(&slot, |(other, _)| *other) {
            let (_, with) = self.list.remove(at);
            self.live -= usize::from(with.is_live());
        }
    }
}

impl Subscription {
    /// Whether it is given publications at QoS 1 and 2 directly.
    const fn is_live(&self) -> bool {
        !self.durable || matches!(self.qos, QoS::AtMostOnce)
    }
}

/// Where sessions stand in a route that is being made: few are looked through.
#[derive(Debug, Default)]
struct Places(HashMap<Slot, usize>);

impl Places {
    const FEW: usize = 16;

    /// Notes those that came since the last time.
    fn note(&mut self, sessions: &[LocalDelivery]) {
        if sessions.len() > Self::FEW {
            let new = sessions.iter().enumerate().skip(self.0.len());
            self.0.extend(new.map(|(at, delivery)| (delivery.slot, at)));
        }
    }

    /// Where a session stands, of all that are noted.
    fn find(&self, noted: &[LocalDelivery], slot: Slot) -> Option<usize> {
        if noted.len() > Self::FEW {
            self.0.get(&slot).copied()
        } else {
            noted.iter().position(|delivery| delivery.slot == slot)
        }
    }
}

/// The members of one shared group here, and whose turn it is.
#[derive(Debug, Default)]
struct Members {
    list: Vec<(Slot, Subscription)>,
    turn: usize,
    /// As the clients write it in SUBSCRIBE.
    text: Arc<str>,
}

impl SubscriptionTable {
    /// The version, and in which one something last changed by topic: so long a remembered [`LocalRoute`] is good.
    pub const fn changes(&self) -> &Changes {
        &self.changes
    }

    /// Adds or replaces a plain subscription `[MQTT5-3.8.4-3]`. Says what is wanted of this filter here, if that changed.
    pub fn subscribe(
        &mut self,
        slot: Slot,
        filter: &TopicFilter,
        with: Subscription,
    ) -> Option<Wants> {
        self.changes.note(filter);
        let subscribers = self.plain.entry(filter)?;
        let before = subscribers.wants();
        subscribers.put(slot, with);
        Some(subscribers.wants()).filter(|after| *after != before)
    }

    /// Removes a plain subscription. Says what is wanted of this filter here, if that changed.
    pub fn unsubscribe(&mut self, slot: Slot, filter: &TopicFilter) -> Option<Wants> {
        let subscribers = self.plain.get_mut(filter)?;
        self.changes.note(filter);
        let before = subscribers.wants();
        subscribers.take(slot);
        let after = subscribers.wants();
        if after == Wants::Nothing {
            self.plain.remove(filter);
        }
        Some(after).filter(|after| *after != before)
    }

    /// Whether a session has a subscription, plain or shared.
    pub fn has(&self, slot: Slot, share: Option<&SharedName>, filter: &TopicFilter) -> bool {
        let Some(share) = share else {
            return self.plain.get(filter).is_some_and(|subscribers| subscribers.has(slot));
        };
        let members = self.groups.get(&GroupKey { share: share.clone(), filter: filter.clone() });
        members.is_some_and(|members| members.list.iter().any(|(other, _)| *other == slot))
    }

    /// Adds or replaces a member of a shared group. Returns how many clean members it has here.
    pub fn join(&mut self, slot: Slot, group: &GroupKey, with: Subscription) -> u32 {
        let members = self.groups.entry_ref(group).or_default();
        if members.list.is_empty() {
            members.text = group.to_string().into();
        }
        put(&mut members.list, slot, with);
        members.clean()
    }

    /// Removes a member of a shared group. Returns how many clean members it has here.
    pub fn leave(&mut self, slot: Slot, group: &GroupKey) -> u32 {
        let Some(members) = self.groups.get_mut(group) else { return 0 };
        take(&mut members.list, slot);
        let left = members.clean();
        if members.list.is_empty() {
            self.groups.remove(group);
        }
        left
    }

    /// Whether a plain subscriber may want topics with these first two levels, of which the first begins with `$`, and at least
    /// one more. A no is certain.
    pub fn may_want_under(&self, first: &str, second: &str) -> bool {
        self.plain.may_match_under(first, second)
    }

    /// The plain subscribers of a topic, each session once.
    pub fn route(&self, topic: &str) -> LocalRoute {
        let mut sessions: Vec<LocalDelivery> = Vec::new();
        let mut places = Places::default();
        self.plain.for_matches(topic, |subscribers| {
            // Within one filter each session stands once.
            let before = sessions.len();
            places.note(&sessions);
            for (slot, subscription) in &subscribers.list {
                let known = places.find(sessions.get(..before).unwrap_or_default(), *slot);
                match known.and_then(|at| sessions.get_mut(at)) {
                    Some(delivery) => delivery.merge(*subscription),
                    None => sessions.push(LocalDelivery::of(*slot, *subscription)),
                }
            }
        });
        LocalRoute { sessions }
    }

    /// The member whose turn it is. At QoS 1 and 2 only clean members count: persistent ones are served through their queues.
    /// If none is ready, the first one in turn that is busy gets it all the same; nobody who is leaving does. With it comes the
    /// shared subscription as the clients write it.
    pub fn pick(
        &mut self,
        share: &SharedName,
        filter: &TopicFilter,
        publication: QoS,
        readiness: impl Fn(Slot) -> Readiness,
    ) -> Option<(LocalDelivery, Arc<str>)> {
        let key = GroupKey { share: share.clone(), filter: filter.clone() };
        let members = self.groups.get_mut(&key)?;
        let fits = |s: &Subscription| {
            publication == QoS::AtMostOnce || !s.durable || s.qos == QoS::AtMostOnce
        };
        let count = members.list.len();
        let mut fallback = None;
        for step in 0..count {
            let at = (members.turn + step) % count;
            let Some((slot, with)) = members.list.get(at).filter(|(_, s)| fits(s)) else {
                continue;
            };
            match readiness(*slot) {
                Readiness::Ready => {
                    members.turn = at + 1;
                    return Some((LocalDelivery::of(*slot, *with), Arc::clone(&members.text)));
                }
                Readiness::Busy => {
                    fallback.get_or_insert((at, *slot, *with));
                }
                Readiness::Leaving => {}
            }
        }
        let (at, slot, with) = fallback?;
        members.turn = at + 1;
        Some((LocalDelivery::of(slot, with), Arc::clone(&members.text)))
    }
}

impl Members {
    fn clean(&self) -> u32 {
        let clean = self.list.iter().filter(|(_, s)| !s.durable).count();
        u32::try_from(clean).unwrap_or(u32::MAX)
    }
}

impl LocalDelivery {
    fn of(slot: Slot, with: Subscription) -> Self {
        Self {
            slot,
            qos: with.qos,
            no_local: with.no_local,
            retain_as_published: with.retain_as_published,
            durable: with.durable,
            ids: with.id.into_iter().collect(),
        }
    }

    fn merge(&mut self, with: Subscription) {
        self.qos = self.qos.max(with.qos);
        self.no_local &= with.no_local;
        self.retain_as_published |= with.retain_as_published;
        self.ids.extend(with.id);
    }
}

fn put(list: &mut Vec<(Slot, Subscription)>, slot: Slot, with: Subscription) {
    match list.iter_mut().find(|(s, _)| *s == slot) {
        Some((_, old)) => *old = with,
        None => list.push((slot, with)),
    }
}

fn take(list: &mut Vec<(Slot, Subscription)>, slot: Slot) {
    if let Some(at) = list.iter().position(|(s, _)| *s == slot) {
        list.swap_remove(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Beginnings;

    fn with(qos: QoS, id: Option<u32>) -> Subscription {
        Subscription { qos, no_local: false, retain_as_published: false, id, durable: false }
    }

    #[test]
    fn however_many_subscribe_each_session_stands_once() {
        for many in [1, 8, 16, 17, 40] {
            let mut table = SubscriptionTable::default();
            for (text, slots, qos) in [
                ("a/b", 0..many, QoS::AtMostOnce),
                ("a/+", many / 2..many + 3, QoS::AtLeastOnce),
                ("#", 0..many + 5, QoS::AtMostOnce),
            ] {
                let filter = TopicFilter::new(text).unwrap();
                for slot in slots {
                    table.subscribe(slot, &filter, with(qos, None));
                }
            }
            let mut found: Vec<_> =
                table.route("a/b").sessions.iter().map(|to| (to.slot, to.qos)).collect();
            found.sort_unstable();
            let level = |slot| {
                let higher = (many / 2..many + 3).contains(&slot);
                if higher { QoS::AtLeastOnce } else { QoS::AtMostOnce }
            };
            assert_eq!(found, (0..many + 5).map(|slot| (slot, level(slot))).collect::<Vec<_>>());
        }
    }

    #[test]
    fn overlapping_subscriptions_become_one_delivery_with_the_highest_level_and_all_identifiers() {
        let mut table = SubscriptionTable::default();
        table.subscribe(1, &TopicFilter::new("a/+").unwrap(), with(QoS::AtMostOnce, Some(1)));
        table.subscribe(1, &TopicFilter::new("a/b").unwrap(), with(QoS::ExactlyOnce, Some(2)));
        table.subscribe(2, &TopicFilter::new("#").unwrap(), with(QoS::AtLeastOnce, None));
        let mut route = table.route("a/b").sessions;
        route.sort_by_key(|d| d.slot);
        assert_eq!(route.len(), 2);
        assert_eq!(route[0].qos, QoS::ExactlyOnce);
        let mut ids = route[0].ids.to_vec();
        ids.sort_unstable();
        assert_eq!(ids, [1, 2]);
    }

    #[test]
    fn of_overlapping_subscriptions_all_must_refuse_what_is_ones_own_and_one_may_ask_for_retain() {
        let plain = with(QoS::AtMostOnce, None);
        let picky = Subscription { no_local: true, retain_as_published: true, ..plain };
        for (wide, exact, no_local) in
            [(plain, picky, false), (picky, plain, false), (picky, picky, true)]
        {
            let mut table = SubscriptionTable::default();
            table.subscribe(1, &TopicFilter::new("a/+").unwrap(), wide);
            table.subscribe(1, &TopicFilter::new("a/b").unwrap(), exact);
            let [found] = &table.route("a/b").sessions[..] else { panic!("there is one") };
            assert_eq!((found.no_local, found.retain_as_published), (no_local, true));
        }
    }

    #[test]
    fn what_is_remembered_of_a_topic_is_void_when_somebody_comes_and_when_somebody_goes() {
        let mut table = SubscriptionTable::default();
        let filter = TopicFilter::new("a/#").unwrap();
        let mut before = table.changes().version();
        let mut is_void = |table: &SubscriptionTable| {
            let is_good = table.changes().is_good(&Beginnings::of("a/b"), before);
            before = table.changes().version();
            !is_good
        };
        table.subscribe(1, &filter, with(QoS::AtMostOnce, None));
        assert!(is_void(&table));
        table.subscribe(2, &filter, with(QoS::AtMostOnce, None));
        assert!(is_void(&table), "although no more is wanted than before");
        table.unsubscribe(1, &filter);
        assert!(is_void(&table), "although somebody else still wants it");
        assert!(!is_void(&table));
    }

    #[test]
    fn a_change_of_what_is_wanted_of_a_filter_is_told() {
        let mut table = SubscriptionTable::default();
        let filter = TopicFilter::new("a/#").unwrap();
        let stored = Subscription { durable: true, ..with(QoS::AtLeastOnce, None) };
        assert_eq!(table.subscribe(3, &filter, stored), Some(Wants::AtMostOnce));
        assert_eq!(
            table.subscribe(1, &filter, with(QoS::AtMostOnce, None)),
            Some(Wants::Everything)
        );
        assert_eq!(
            table.subscribe(1, &filter, with(QoS::AtLeastOnce, None)),
            None,
            "a replacement"
        );
        assert_eq!(table.subscribe(2, &filter, with(QoS::AtMostOnce, None)), None);
        assert_eq!(table.unsubscribe(1, &filter), None);
        assert_eq!(table.unsubscribe(2, &filter), Some(Wants::AtMostOnce));
        assert_eq!(table.unsubscribe(3, &filter), Some(Wants::Nothing));
        assert_eq!(table.unsubscribe(3, &filter), None);
        assert!(table.route("a/x").sessions.is_empty());
    }

    #[test]
    fn a_group_serves_its_members_in_turn() {
        let mut table = SubscriptionTable::default();
        let (share, filter) = TopicFilter::parse_subscription("$share/g/t").unwrap();
        let key = GroupKey { share: share.unwrap(), filter };
        for slot in 0..3 {
            table.join(slot, &key, with(QoS::AtMostOnce, None));
        }
        let mut seen = [0; 3];
        let mut pick = |of: [Readiness; 3]| {
            table.pick(&key.share, &key.filter, QoS::AtMostOnce, |slot| of[slot as usize])
        };
        let (ready, busy, leaving) = (Readiness::Ready, Readiness::Busy, Readiness::Leaving);
        for _ in 0..30 {
            let (to, text) = pick([ready, busy, ready]).unwrap();
            assert_eq!(&*text, "$share/g/t");
            seen[to.slot as usize] += 1;
        }
        assert_eq!(seen[1], 0, "a member that cannot take it is passed over");
        assert!(seen[0] >= 10 && seen[2] >= 10, "{seen:?}");
        for _ in 0..3 {
            assert_eq!(
                pick([leaving, busy, leaving]).unwrap().0.slot,
                1,
                "it must wait, but stays"
            );
            assert!(pick([leaving; 3]).is_none());
        }
    }
}
