//! How much work one topic may be: bounded where filters come in, so that a publication pays for nobody's filters.

use fanout::{Shape, Shapes, Slot};
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
        let Some(shape) = Shape::of(filter) else { return false };
        let steps = shape.steps();
        let of_fleet = {
            let routes = self.tables.routes();
            if routes.has_shape(&shape) {
                return false;
            }
            routes.steps() + steps
        };
        let own = own.get_or_insert_with(|| self.shapes_of(slot));
        if own.contains(&shape) {
            return false;
        }
        if of_fleet > self.config.match_steps
            || own.steps() + steps > self.config.match_steps_per_session
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
