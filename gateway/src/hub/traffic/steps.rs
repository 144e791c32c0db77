//! How much work one topic may be: bounded where filters come in, so that a publication pays for nobody's filters.

use fanout::{Shapes, Slot};
use protocol::TopicFilter;

use crate::hub::Hub;

impl Hub {
    /// Whether a session may not have another filter, since matching some topic would take too many steps. `own` are the shapes
    /// of the session's filters, looked for when the first filter asks: most have a shape that somebody has already.
    pub(super) fn takes_too_many_steps(
        &self,
        slot: Slot,
        filter: &TopicFilter,
        own: &mut Option<Shapes>,
    ) -> bool {
        let of_fleet = {
            let routes = self.tables.routes();
            match routes.shapes().would_add(filter) {
                0 => return false,
                more => routes.shapes().steps() + more,
            }
        };
        let own = own.get_or_insert_with(|| self.shapes_of(slot));
        let more = own.would_add(filter);
        let of_session = own.steps() + more;
        // What is its own already is only not known to all yet.
        if more > 0
            && (of_fleet > self.config.match_steps
                || of_session > self.config.match_steps_per_session)
        {
            return true;
        }
        own.add(filter);
        false
    }

    fn shapes_of(&self, slot: Slot) -> Shapes {
        let mut shapes = Shapes::default();
        let live = self.sessions.get(slot as usize);
        for subscription in live.iter().flat_map(|live| &live.subscriptions) {
            if let Ok((_, filter)) = TopicFilter::parse_subscription(&subscription.filter) {
                shapes.add(&filter);
            }
        }
        shapes
    }
}
