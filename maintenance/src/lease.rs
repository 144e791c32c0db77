//! Who plans for the fleet: one gateway holds the scheduler's lease, and each new holder reigns in a new term.
//!
//! The lease keeps two gateways from doing the same work; safety does not rest on it. Only the ledger grants, and what
//! an older term says changes nothing.

use std::time::Duration;

use protocol::{GatewayId, Incarnation, Now, Wall};
use serde::{Deserialize, Serialize};

use crate::fleet::Term;
use crate::record;

/// The lease as it is stored, written by compare-and-set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lease {
    /// Who holds it.
    #[serde(with = "record::gateway")]
    pub holder: GatewayId,
    /// In which life.
    #[serde(with = "record::incarnation")]
    pub incarnation: Incarnation,
    /// The reign: one more with each new holder.
    pub term: Term,
    /// How often it was renewed in this term.
    pub renewals: u64,
    /// How long it is good after it was seen to change.
    #[serde(rename = "lasts_ms", with = "record::millis")]
    pub lasts: Duration,
    /// When it ends by the clock of its holder unless it is renewed; for people, nobody else reckons with it.
    #[serde(rename = "until_ms", with = "record::wall")]
    pub until: Wall,
    /// Whether its holder gave it away, so that nobody has to wait.
    pub released: bool,
}

/// What one gateway has seen of the lease, by its own steady clock: two calendars may differ, and one may jump.
#[derive(Debug)]
pub struct LeaseWatch {
    me: GatewayId,
    life: Incarnation,
    seen: Option<(Lease, Duration)>,
    /// The term that we hold, and until when we are sure of it.
    held: Option<(Term, Duration)>,
}

impl LeaseWatch {
    /// Nothing was seen yet by this life of a gateway.
    pub const fn new(me: GatewayId, life: Incarnation) -> Self {
        Self { me, life, seen: None, held: None }
    }

    /// What to write instead of the lease that is stored, if anything: a renewal when a third of its time is over, a new
    /// term if nobody holds it any more, or that it is given away because `may_hold` is false.
    pub fn look(
        &mut self,
        stored: Option<&Lease>,
        now: Now,
        (may_hold, lasts): (bool, Duration),
    ) -> Option<Lease> {
        self.note(stored, now.mono);
        let mine = stored.filter(|lease| self.is_mine(lease) && !lease.released);
        if mine.is_none() {
            self.held = None;
        }
        match (mine, may_hold) {
            (Some(lease), false) => {
                Some(Lease { released: true, until: now.wall, ..lease.clone() })
            }
            (Some(lease), true) => self.is_due(lease, now.mono).then(|| Lease {
                renewals: lease.renewals + 1,
                lasts,
                until: now.wall.after(lasts),
                ..lease.clone()
            }),
            (None, true) if self.is_free(stored, now.mono) => Some(Lease {
                holder: self.me.clone(),
                incarnation: self.life,
                term: Term(stored.map_or(0, |lease| lease.term.0) + 1),
                renewals: 0,
                lasts,
                until: now.wall.after(lasts),
                released: false,
            }),
            (None, _) => None,
        }
    }

    /// What [`Self::look`] answered was stored; `began` is when writing it began, so that nobody else counts from
    /// earlier than we do.
    pub fn handle_written(&mut self, lease: Lease, began: Duration) {
        let holds = self.is_mine(&lease) && !lease.released;
        self.held = holds.then(|| (lease.term, began + lease.lasts));
        self.seen = Some((lease, began));
    }

    /// The term in which this gateway is sure to be the scheduler.
    pub fn held(&self, mono: Duration) -> Option<Term> {
        self.held.filter(|(_, until)| mono < *until).map(|(term, _)| term)
    }

    fn note(&mut self, stored: Option<&Lease>, mono: Duration) {
        let known = self.seen.as_ref().map(|(lease, _)| lease);
        if known != stored {
            self.seen = stored.map(|lease| (lease.clone(), mono));
        }
    }

    fn is_mine(&self, lease: &Lease) -> bool {
        lease.holder == self.me && lease.incarnation == self.life
    }

    fn is_due(&self, lease: &Lease, mono: Duration) -> bool {
        // What we wrote without hearing of it counts as not renewed.
        let until = self.held.map_or(Duration::ZERO, |(_, until)| until);
        until.saturating_sub(mono) <= lease.lasts * 2 / 3
    }

    fn is_free(&self, stored: Option<&Lease>, mono: Duration) -> bool {
        let Some(lease) = stored else { return true };
        let since = self.seen.as_ref().map_or(mono, |(_, since)| *since);
        // An earlier life of ours is over.
        lease.released || lease.holder == self.me || mono.saturating_sub(since) >= lease.lasts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LASTS: Duration = Duration::from_secs(9);

    fn watch(name: &str, life: u64) -> LeaseWatch {
        LeaseWatch::new(GatewayId::new(name).unwrap(), Incarnation(life))
    }

    fn at(second: u64) -> Now {
        Now { mono: Duration::from_secs(second), wall: Wall(second * 1_000) }
    }

    /// Looks, and writes what is to be written.
    fn act(
        watch: &mut LeaseWatch,
        stored: &mut Option<Lease>,
        second: u64,
        may_hold: bool,
    ) -> bool {
        let now = at(second);
        let Some(lease) = watch.look(stored.as_ref(), now, (may_hold, LASTS)) else { return false };
        *stored = Some(lease.clone());
        watch.handle_written(lease, now.mono);
        true
    }

    #[test]
    fn the_first_takes_it_and_renews_it_at_a_third_of_its_time() {
        let (mut stored, mut one, mut two) = (None, watch("gw-1", 1), watch("gw-2", 1));
        assert!(act(&mut one, &mut stored, 0, true));
        assert_eq!(one.held(at(0).mono), Some(Term(1)));
        assert!(!act(&mut two, &mut stored, 0, true));
        assert!(!act(&mut one, &mut stored, 2, true));
        assert!(act(&mut one, &mut stored, 3, true));
        assert_eq!(stored.as_ref().map(|lease| (lease.term, lease.renewals)), Some((Term(1), 1)));
        assert_eq!(one.held(at(11).mono), Some(Term(1)));
        assert_eq!(one.held(at(12).mono), None, "it is not sure any more");
    }

    #[test]
    fn who_renews_it_keeps_it_however_long_another_one_wants_it() {
        let (mut stored, mut one, mut two) = (None, watch("gw-1", 1), watch("gw-2", 1));
        for second in 0..60 {
            act(&mut one, &mut stored, second, true);
            assert!(!act(&mut two, &mut stored, second, true));
            assert_eq!(one.held(at(second).mono), Some(Term(1)));
        }
    }

    #[test]
    fn another_takes_it_in_a_new_term_when_it_was_silent_for_as_long_as_it_lasts() {
        let (mut stored, mut one, mut two) = (None, watch("gw-1", 1), watch("gw-2", 1));
        act(&mut one, &mut stored, 0, true);
        // Whatever the calendar says, it was first seen here, and at second 100.
        assert!(!act(&mut two, &mut stored, 100, true));
        assert!(!act(&mut two, &mut stored, 108, true));
        assert!(act(&mut two, &mut stored, 109, true));
        assert_eq!(two.held(at(109).mono), Some(Term(2)));
        assert!(!act(&mut one, &mut stored, 110, true));
        assert_eq!(one.held(at(110).mono), None);
    }

    #[test]
    fn who_gives_it_away_is_followed_at_once_and_a_new_life_follows_itself() {
        let (mut stored, mut one, mut two) = (None, watch("gw-1", 1), watch("gw-2", 1));
        act(&mut one, &mut stored, 0, true);
        assert!(act(&mut one, &mut stored, 1, false));
        assert_eq!(one.held(at(1).mono), None);
        assert!(!act(&mut one, &mut stored, 1, false), "once is enough");
        assert!(!act(&mut two, &mut stored, 1, false), "nobody is made to hold it");
        assert!(act(&mut two, &mut stored, 1, true));
        assert_eq!(two.held(at(1).mono), Some(Term(2)));
        let mut again = watch("gw-2", 2);
        assert!(act(&mut again, &mut stored, 2, true));
        assert_eq!(again.held(at(2).mono), Some(Term(3)));
        assert_eq!(two.held(at(2).mono), Some(Term(2)), "it has not looked");
        assert!(!act(&mut two, &mut stored, 2, false));
        assert_eq!(two.held(at(2).mono), None);
    }

    #[test]
    fn a_write_that_nobody_heard_of_is_ours_all_the_same_and_renewed() {
        let (mut stored, mut one) = (None, watch("gw-1", 1));
        stored = one.look(stored.as_ref(), at(0), (true, LASTS));
        assert_eq!(one.held(at(0).mono), None);
        assert!(act(&mut one, &mut stored, 1, true));
        assert_eq!(one.held(at(1).mono), Some(Term(1)));
    }
}
