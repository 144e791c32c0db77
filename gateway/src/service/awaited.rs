//! Whether other gateways wait for this one before they confirm a subscription, as far as it can be sure of that itself.
//!
//! ```text
//!   Awaited ── no renewal in time: frozen, or the store takes none ──► Unsure ── renewed ──► Coming back
//!      ▲                                                                ▲                      │  │
//!      │                                                                └── again not in time ─┘  │
//!      └───── a whole lease later: by then all have seen the renewal, and have said what they want ─┘
//! ```
//!
//! They wait for whose lease is good, a whole lease of ours after the last change of it that they saw, and each of them confirms
//! only while its own look at the leases is younger than a lease of its own. So a lease later means the longest of all. Outside of *Awaited* a publication is acknowledged only after the
//! log was read since it came, and once more at the end of it. While we were away others confirmed subscriptions without us: of
//! those that are not stored we know from the peers alone. So once we are back, it waits too until each of them has said anew what
//! it wants, unless that takes longer than [`SYNC_PATIENCE`]. Until then the same, but as long as it takes where another gateway
//! renews its lease and we do not: it has given us up by now, or will, and says nothing. Where nobody can renew, nobody is given up.

use std::collections::BTreeMap;
use std::time::Duration;

use super::members::Member;

/// Keeps count of our renewals.
#[derive(Debug)]
pub struct Awaited {
    ttl: Duration,
    /// Until when others wait for us because of the last renewal; none before the first.
    until: Option<Duration>,
    /// When we came back, as long as some may not have seen it.
    back: Option<Duration>,
    /// The longest lease of anybody.
    longest: Duration,
    absences: u64,
    /// Since it is known that the last renewal was too long ago.
    late: Option<Late>,
    /// How often the peers were to say anew what they want.
    times: u64,
}

/// A lease that may have ended.
#[derive(Debug)]
struct Late {
    since: Duration,
    /// Until when the others' leases lasted then, once it was looked.
    others: Option<BTreeMap<String, u64>>,
    /// Whether one of them was renewed since.
    is_outlived: bool,
}

/// How long a gateway waits for what a peer wants that is alive but cannot be reached, at its start and when it comes back,
/// before it serves all the same.
pub const SYNC_PATIENCE: Duration = Duration::from_secs(10);

impl Awaited {
    /// Of a gateway whose lease lasts so long.
    pub const fn new(ttl: Duration) -> Self {
        Self { ttl, until: None, back: None, longest: ttl, absences: 0, late: None, times: 0 }
    }

    /// How long a look at the leases, or a renewal, may be relied upon from when it began: less than a lease, since no two
    /// clocks go alike.
    pub fn sure(ttl: Duration) -> Duration {
        ttl.saturating_sub(ttl / 16)
    }

    /// The leases were read: so long lasts the longest of those that are good, ours among them.
    pub fn handle_longest(&mut self, ttl: Duration) {
        self.longest = ttl.max(self.ttl);
    }

    /// Our lease was not renewed. Answers how often the peers were to say anew what they want, if this is one time more.
    pub fn handle_refused(&mut self, now: Duration) -> Option<u64> {
        let is_late = self.until.is_some_and(|until| now >= until);
        if !is_late || self.late.is_some() {
            return None;
        }
        self.late = Some(Late { since: now, others: None, is_outlived: false });
        self.times += 1;
        Some(self.times)
    }

    /// The leases were read. Answers until when publications wait for what peers want, if our lease may have ended.
    pub fn handle_members(&mut self, members: &[Member], me: &str) -> Option<Duration> {
        let late = self.late.as_mut()?;
        let others = members.iter().filter(|member| member.record.id != me);
        let others: BTreeMap<_, _> =
            others.map(|member| (member.record.id.clone(), member.until_ms)).collect();
        let known = late.others.get_or_insert_with(|| others.clone());
        late.is_outlived |= others.iter().any(|(id, until)| known.get(id) != Some(until));
        Some(if late.is_outlived { Duration::MAX } else { late.since + SYNC_PATIENCE })
    }

    /// Our lease was renewed by a write that `began` then and is done `now`; all live peers have said what they want for the time
    /// that was `heard`. Answers how often they were to say it anew, if this is one time more, since we are back.
    pub fn handle_renewed(&mut self, began: Duration, now: Duration, heard: u64) -> Option<u64> {
        let before = self.until.replace(began + Self::sure(self.ttl));
        self.late = None;
        if before.is_some_and(|until| now >= until) {
            self.back = Some(now);
            self.times += 1;
            return Some(self.times);
        }
        let knows = |back| heard >= self.times || now >= back + SYNC_PATIENCE;
        if self.back.is_some_and(|back| now >= back + self.longest && knows(back)) {
            self.back = None;
            self.absences += 1;
        }
        None
    }

    /// How often the peers were to say anew what they want.
    pub const fn times(&self) -> u64 {
        self.times
    }

    /// Whether we are back, and some may not have seen it.
    pub const fn is_back(&self) -> bool {
        self.back.is_some()
    }

    /// Until when we are surely awaited, and how many absences are over.
    pub fn stands(&self) -> (Duration, u64) {
        let until = self.until.filter(|_| self.back.is_none() && self.late.is_none());
        (until.unwrap_or_default(), self.absences)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{GatewayRecord, GatewayState};

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn who_renews_in_time_is_awaited_all_along() {
        let mut awaited = Awaited::new(at(3_200));
        for second in 0..10 {
            awaited.handle_renewed(at(second * 1_000), at(second * 1_000 + 900), u64::MAX);
            assert_eq!(awaited.stands(), (at(second * 1_000 + 3_000), 0));
        }
    }

    #[test]
    fn who_was_away_is_awaited_again_a_lease_after_it_came_back() {
        let mut awaited = Awaited::new(at(3_200));
        awaited.handle_renewed(at(1_000), at(1_010), u64::MAX);
        // It may have been written at once, and the word of it come late.
        awaited.handle_renewed(at(2_000), at(4_000), u64::MAX);
        assert_eq!(awaited.stands(), (at(0), 0));
        awaited.handle_renewed(at(4_500), at(4_510), u64::MAX);
        awaited.handle_renewed(at(6_500), at(7_199), u64::MAX);
        assert_eq!(awaited.stands(), (at(0), 0), "somebody may not have seen it yet");
        awaited.handle_renewed(at(7_195), at(7_200), u64::MAX);
        assert_eq!(awaited.stands(), (at(7_195 + 3_000), 1));
        // Away again while others see that it is back.
        awaited.handle_renewed(at(20_000), at(20_000), u64::MAX);
        awaited.handle_renewed(at(23_000), at(23_100), u64::MAX);
        assert_eq!(awaited.stands(), (at(0), 1), "the first time was too late");
        awaited.handle_renewed(at(25_000), at(25_100), u64::MAX);
        assert_eq!(awaited.stands().1, 1);
        awaited.handle_renewed(at(26_200), at(26_300), u64::MAX);
        assert_eq!(awaited.stands(), (at(29_200), 2));
    }

    #[test]
    fn who_cannot_renew_in_time_asks_once_and_again_when_it_is_back() {
        let mut awaited = Awaited::new(at(3_200));
        assert_eq!(awaited.handle_refused(at(500)), None, "it has no lease yet");
        awaited.handle_renewed(at(1_000), at(1_010), u64::MAX);
        assert_eq!(awaited.handle_refused(at(3_999)), None);
        assert_eq!(awaited.stands(), (at(4_000), 0));
        assert_eq!(awaited.handle_refused(at(4_000)), Some(1));
        assert_eq!(awaited.handle_refused(at(5_000)), None, "it is known");
        assert_eq!(awaited.stands(), (at(0), 0));
        assert_eq!(awaited.handle_renewed(at(6_000), at(6_010), 1), Some(2));
        assert_eq!(awaited.handle_refused(at(7_000)), None);
        // Late again while others see that it is back.
        assert_eq!(awaited.handle_refused(at(9_000)), Some(3));
        assert_eq!(awaited.handle_renewed(at(9_100), at(9_110), 3), Some(4));
    }

    #[test]
    fn who_is_late_waits_without_end_only_where_others_are_not() {
        let member = |id: &str, until_ms| Member {
            record: GatewayRecord {
                id: id.to_owned(),
                incarnation: 1,
                state: GatewayState::Serving,
                peer: String::new(),
                http: String::new(),
                addresses: Vec::new(),
            },
            mqtt: String::new(),
            mqtts: String::new(),
            until_ms,
            ttl_ms: 3_200,
            echoes: true,
            calls: true,
        };
        let mut awaited = Awaited::new(at(3_200));
        awaited.handle_renewed(at(1_000), at(1_010), 0);
        let stand = [member("me", 7), member("a", 7), member("b", 8)];
        assert_eq!(awaited.handle_members(&stand, "me"), None, "it is awaited");
        awaited.handle_refused(at(4_000));
        for _ in 0..3 {
            let patience = Some(at(4_000) + SYNC_PATIENCE);
            assert_eq!(awaited.handle_members(&stand, "me"), patience);
            assert_eq!(awaited.handle_members(&stand[..2], "me"), patience, "one is gone");
        }
        let renewed = [member("me", 7), member("a", 7), member("b", 9)];
        for members in [renewed, stand.clone()] {
            assert_eq!(awaited.handle_members(&members, "me"), Some(Duration::MAX));
        }
        awaited.handle_renewed(at(20_000), at(20_010), 0);
        assert_eq!(awaited.handle_members(&stand, "me"), None);
    }

    #[test]
    fn who_comes_back_waits_for_the_longest_lease_of_all() {
        let mut awaited = Awaited::new(at(3_200));
        awaited.handle_renewed(at(1_000), at(1_010), u64::MAX);
        awaited.handle_renewed(at(9_000), at(9_000), u64::MAX);
        // Only now it hears of somebody whose look at the leases may be from before.
        awaited.handle_longest(at(10_000));
        for second in 10..19 {
            awaited.handle_renewed(at(second * 1_000), at(second * 1_000), u64::MAX);
            assert_eq!(awaited.stands(), (at(0), 0), "{second}");
        }
        awaited.handle_renewed(at(19_000), at(19_000), u64::MAX);
        assert_eq!(
            awaited.stands(),
            (at(22_000), 1),
            "others wait as long as we say that ours lasts"
        );
    }

    #[test]
    fn who_comes_back_is_awaited_once_all_peers_have_said_what_they_want() {
        let mut awaited = Awaited::new(at(3_200));
        assert_eq!(awaited.handle_renewed(at(1_000), at(1_000), 0), None);
        assert_eq!(awaited.handle_renewed(at(9_000), at(9_000), 0), Some(1));
        assert_eq!(awaited.handle_renewed(at(11_000), at(11_000), 0), None);
        assert_eq!(awaited.handle_renewed(at(13_000), at(13_000), 0), None);
        assert!(awaited.is_back() && awaited.stands() == (at(0), 0), "one has said nothing");
        assert_eq!(awaited.handle_renewed(at(14_000), at(14_000), 1), None);
        assert_eq!(awaited.stands(), (at(17_000), 1));
        // A peer that cannot be reached keeps nobody waiting for ever.
        assert_eq!(awaited.handle_renewed(at(20_000), at(20_000), 1), Some(2));
        for second in 21..31 {
            awaited.handle_renewed(at(second * 1_000), at(second * 1_000), 1);
            assert_eq!(awaited.is_back(), second < 30, "{second}");
        }
        assert_eq!(awaited.stands(), (at(33_000), 2));
    }
}
