//! How much work one topic may be: bounded where filters come in, so that a publication pays for nobody's filters.

use fanout::{Shapes, Slot};
use protocol::session::Holder;
use protocol::{TopicFilter, matches, overlap};

use crate::hub::share::Work;
use crate::hub::traffic::subscribe::{SHARE, unshared};
use crate::hub::{ConnId, Hub};

/// Above three quarters of what the fleet may have, a session is granted more only up to this part of it, and so are all sessions
/// of a user together: so who wants much leaves room for very many who want little.
const SMALL_PART: usize = 128;
/// That part is never less, since one filter is of some levels.
const SMALL_STEPS: usize = 16;

impl Hub {
    /// Whether a session may not have another filter, since matching some topic would take too many steps. `own` are the shapes
    /// of the session's filters, looked for when the first filter asks: most have a shape that somebody has already.
    pub(super) fn takes_too_many_steps(
        &mut self,
        slot: Slot,
        filter: &TopicFilter,
        own: &mut Option<Shapes>,
    ) -> bool {
        let holder = self.sessions.get(slot as usize).map_or(Holder::NOBODY, |live| live.holder);
        let (of_fleet, of_holder) = {
            let routes = self.tables.routes();
            let shapes = routes.shapes();
            match shapes.would_add(filter) {
                0 => return false,
                more => (shapes.steps() + more, shapes.brought_by(holder) + more),
            }
        };
        let most = self.config.match_steps;
        // All that the session has is known, so this is new; and to look through what it has is much work.
        if of_fleet > most && !self.may_be_unknown(slot) {
            return true;
        }
        if own.is_none() {
            *own = Some(self.shapes_of(slot));
        }
        let Some(own) = own else { return true };
        let more = own.would_add(filter);
        // What is its own already is only not known to all yet.
        if more > 0 {
            let of_session = own.steps() + more;
            let scarce = of_fleet > most / 4 * 3;
            let small = (most / SMALL_PART).max(SMALL_STEPS);
            if of_fleet > most
                || of_session > self.config.match_steps_per_session
                || (holder != Holder::NOBODY && of_holder > self.config.match_steps_per_user)
                || (scarce && of_session > small)
                || (scarce && holder != Holder::NOBODY && of_holder > small)
            {
                return true;
            }
        }
        own.add(filter);
        false
    }

    /// Whether a session may have filters that this gateway learns of only when the log says so.
    fn may_be_unknown(&self, slot: Slot) -> bool {
        let live = self.sessions.get(slot as usize);
        live.is_some_and(|live| live.durable() || live.positions.is_some())
    }

    /// Whether a session is in as many shared groups of some topic of a filter as it may be: each costs every publication to that
    /// topic a choice. Of its filters with wildcards it counts as if one topic matched all that overlap this one.
    pub(super) fn is_in_enough_groups(
        &mut self,
        conn: ConnId,
        slot: Slot,
        filter: &TopicFilter,
    ) -> bool {
        let most = self.connection(conn).map_or(0, |c| c.limits.groups_per_topic);
        let Some(live) = self.sessions.get(slot as usize) else { return false };
        let own = live.subscriptions.len();
        if own < most {
            return false;
        }
        let shared = live.subscriptions.iter().filter(|it| it.filter.starts_with(SHARE));
        let shared = shared.map(|it| unshared(&it.filter));
        let same = shared.filter(|other| overlap(other, filter.as_str()));
        let (wide, mut names): (Vec<_>, Vec<_>) = same.partition(|it| it.contains(['+', '#']));
        names.sort_unstable();
        let of_name = |same: &[&str]| {
            let name = same.first().copied().unwrap_or_default();
            same.len() + wide.iter().filter(|filter| matches(filter, name)).count()
        };
        let enough = wide.len() >= most
            || (wide.len() + names.len() >= most
                && names.chunk_by(|a, b| a == b).any(|same| of_name(same) >= most));
        for _ in 0..own {
            self.shares.of_connection.spend(Work::Shape);
        }
        enough
    }

    fn shapes_of(&mut self, slot: Slot) -> Shapes {
        let mut shapes = Shapes::default();
        let live = self.sessions.get(slot as usize);
        for subscription in live.iter().flat_map(|live| &live.subscriptions) {
            self.shares.of_connection.spend(Work::Shape);
            if let Ok((_, filter)) = TopicFilter::parse_subscription(&subscription.filter) {
                shapes.add(&filter);
            }
        }
        shapes
    }
}
