//! Shared subscriptions `[MQTT5-4.8.2]`: one member of the group gets each publication.

use protocol::{GroupTag, QoS, SessionNo, SharedName, TopicFilter};

use crate::Neighbour;

/// What names a shared group in the fleet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupKey {
    /// Between `$share/` and the next `/`.
    pub share: SharedName,
    /// The rest.
    pub filter: TopicFilter,
}

impl std::fmt::Display for GroupKey {
    /// As it is written in SUBSCRIBE.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "$share/{}/{}", self.share, self.filter)
    }
}

impl From<&Self> for GroupKey {
    fn from(key: &Self) -> Self {
        key.clone()
    }
}

/// Who was chosen for one publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pick {
    /// One member that this neighbour serves; it chooses which.
    Neighbour(Neighbour),
    /// This persistent session, through its queue, at this level.
    Durable(SessionNo, QoS),
}

/// A shared group as the whole fleet knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SharedGroup {
    tag: GroupTag,
    /// Clean members by who serves them. Sorted.
    clean: Vec<(Neighbour, u32)>,
    /// Persistent members: level, and who serves them if they are online. Sorted.
    durable: Vec<(SessionNo, QoS, Option<Neighbour>)>,
}

impl SharedGroup {
    /// A group without members.
    pub fn new(key: &GroupKey) -> Self {
        Self { tag: GroupTag::of(&key.to_string()), ..Self::default() }
    }

    /// What stored messages that it gave say of it.
    pub const fn tag(&self) -> GroupTag {
        self.tag
    }

    /// Sets how many clean members a neighbour serves.
    pub fn set_clean(&mut self, neighbour: Neighbour, members: u32) {
        match self.clean.binary_search_by_key(&neighbour, |(n, _)| *n) {
            Ok(at) if members == 0 => drop(self.clean.remove(at)),
            Ok(at) => {
                if let Some((_, count)) = self.clean.get_mut(at) {
                    *count = members;
                }
            }
            Err(_) if members == 0 => {}
            Err(at) => self.clean.insert(at, (neighbour, members)),
        }
    }

    /// Clean members that the workers of this process serve together: what peers are told.
    pub fn clean_of_workers(&self) -> u32 {
        let ours = self.clean.iter().filter(|(n, _)| matches!(n, Neighbour::Worker(_)));
        ours.fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// Adds or changes a persistent member.
    pub fn set_durable(&mut self, session: SessionNo, qos: QoS, online: Option<Neighbour>) {
        match self.durable.binary_search_by_key(&session, |(no, ..)| *no) {
            Ok(at) => {
                if let Some(member) = self.durable.get_mut(at) {
                    *member = (session, qos, online);
                }
            }
            Err(at) => self.durable.insert(at, (session, qos, online)),
        }
    }

    /// Removes a persistent member.
    pub fn remove_durable(&mut self, session: SessionNo) {
        self.durable.retain(|(no, ..)| *no != session);
    }

    /// Leaves out the persistent members that `keep` does not want.
    pub fn retain_durable(&mut self, mut keep: impl FnMut(SessionNo) -> bool) {
        self.durable.retain(|(no, ..)| keep(*no));
    }

    /// Leaves out the persistent members that are behind, as long as somebody else is online.
    pub fn pass_over(&mut self, behind: impl Fn(SessionNo) -> bool) {
        let quick = |(session, _, online): &(SessionNo, QoS, Option<Neighbour>)| {
            online.is_some() && !behind(*session)
        };
        if !self.clean.is_empty() || self.durable.iter().any(quick) {
            self.durable.retain(|(session, ..)| !behind(*session));
        }
    }

    /// Whether nobody is left.
    pub fn is_empty(&self) -> bool {
        self.clean.is_empty() && self.durable.is_empty()
    }

    /// Chooses a member, in turn: online ones first, a persistent one that is offline only if nobody is online.
    pub fn pick(&self, turn: u64, publication: QoS) -> Option<Pick> {
        let clean: u64 = self.clean.iter().map(|(_, count)| u64::from(*count)).sum();
        let online = || self.durable.iter().filter(|(.., online)| online.is_some());
        let total = clean + u64::try_from(online().count()).unwrap_or(0);
        if total == 0 {
            return self.pick_offline(turn, publication);
        }
        let mut at = turn % total;
        for (neighbour, count) in &self.clean {
            let count = u64::from(*count);
            if at < count {
                return Some(Pick::Neighbour(*neighbour));
            }
            at -= count;
        }
        let (session, qos, owner) = online().nth(usize::try_from(at).unwrap_or(0))?;
        match (publication, owner) {
            (QoS::AtMostOnce, Some(owner)) => Some(Pick::Neighbour(*owner)),
            _ => Some(Pick::Durable(*session, *qos)),
        }
    }

    /// Whether a member is online that gets messages above `QoS` 0 through a queue.
    pub fn is_queued(&self) -> bool {
        self.queued().next().is_some()
    }

    /// Chooses one of those, in turn.
    pub fn pick_queued(&self, turn: u64) -> Option<(SessionNo, QoS)> {
        let at = usize::try_from(turn).unwrap_or(0).checked_rem(self.queued().count())?;
        self.queued().nth(at)
    }

    fn queued(&self) -> impl Iterator<Item = (SessionNo, QoS)> {
        let members = self.durable.iter();
        let queued = members.filter(|(_, qos, on)| on.is_some() && *qos != QoS::AtMostOnce);
        queued.map(|(session, qos, _)| (*session, *qos))
    }

    /// A worker of this process that serves a member which can be given a publication directly.
    pub fn worker(&self, turn: u64, publication: QoS) -> Option<u8> {
        let clean = self.clean.iter().map(|(neighbour, _)| *neighbour);
        let durable = self.durable.iter().filter_map(|(.., online)| *online);
        let durable = durable.filter(|_| publication == QoS::AtMostOnce);
        let ours = clean.chain(durable).filter_map(|neighbour| match neighbour {
            Neighbour::Worker(worker) => Some(worker),
            Neighbour::Peer(_) => None,
        });
        let ours: Vec<u8> = ours.collect();
        let at = turn % u64::try_from(ours.len().max(1)).unwrap_or(1);
        ours.get(usize::try_from(at).unwrap_or(0)).copied()
    }

    fn pick_offline(&self, turn: u64, publication: QoS) -> Option<Pick> {
        if self.durable.is_empty() || publication == QoS::AtMostOnce {
            return None;
        }
        let at = usize::try_from(turn).unwrap_or(0) % self.durable.len();
        self.durable.get(at).map(|(session, qos, _)| Pick::Durable(*session, *qos))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_take_turns_and_offline_ones_come_last() {
        let mut group = SharedGroup::default();
        group.set_durable(SessionNo(7), QoS::AtLeastOnce, None);
        assert_eq!(group.pick(0, QoS::AtMostOnce), None, "nobody is online for QoS 0");
        assert_eq!(
            group.pick(3, QoS::AtLeastOnce),
            Some(Pick::Durable(SessionNo(7), QoS::AtLeastOnce))
        );
        group.set_clean(Neighbour::Peer(1), 2);
        group.set_clean(Neighbour::Worker(0), 1);
        let picks: Vec<_> = (0..3).filter_map(|t| group.pick(t, QoS::AtLeastOnce)).collect();
        assert_eq!(picks.iter().filter(|p| **p == Pick::Neighbour(Neighbour::Peer(1))).count(), 2);
        assert_eq!(
            picks.iter().filter(|p| **p == Pick::Neighbour(Neighbour::Worker(0))).count(),
            1
        );
        group.set_clean(Neighbour::Peer(1), 0);
        group.set_clean(Neighbour::Worker(0), 0);
        group.remove_durable(SessionNo(7));
        assert!(group.is_empty());
    }

    #[test]
    fn who_is_behind_is_passed_over_as_long_as_somebody_else_is_online() {
        let mut group = SharedGroup::default();
        group.set_durable(SessionNo(1), QoS::AtLeastOnce, Some(Neighbour::Worker(0)));
        group.set_durable(SessionNo(2), QoS::AtLeastOnce, None);
        group.pass_over(|no| no == SessionNo(1));
        assert_eq!(
            group.pick(0, QoS::AtLeastOnce),
            Some(Pick::Durable(SessionNo(1), QoS::AtLeastOnce))
        );
        group.set_durable(SessionNo(3), QoS::AtLeastOnce, Some(Neighbour::Peer(0)));
        group.pass_over(|no| no == SessionNo(1));
        for turn in 0..4 {
            let pick = group.pick(turn, QoS::AtLeastOnce);
            assert_eq!(pick, Some(Pick::Durable(SessionNo(3), QoS::AtLeastOnce)));
        }
    }
}
