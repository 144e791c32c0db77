//! Who gets a publication: subscription table, shared groups, retained messages, neighbour interest.
//!
//! A worker asks its own [`SubscriptionTable`] for the sessions it serves and the process-wide [`Routes`] for
//! everyone else: other workers, peer gateways, and the persistent sessions of the whole fleet. Both answers
//! are made to be [`Remembered`] by topic; a table's version and its [`Changes`] say when to ask again.

mod changes;
mod filter_table;
mod fleet_route;
mod groups;
mod level_names;
mod paces;
mod peers;
mod remembered;
mod retained;
mod routes;
mod shapes;
mod subscriptions;

pub use changes::{Beginnings, Changes};
pub use filter_table::FilterTable;
pub use fleet_route::{FleetRoute, Missing};
pub use groups::{GroupKey, Pick, SharedGroup};
pub use peers::{HashedInterest, InterestSize};
pub use remembered::Remembered;
pub use retained::{Retained, RetainedFull};
pub use routes::{Bits, DurableSubscription, InterestDelta, Neighbour, Routes};
pub use shapes::Shapes;
pub use subscriptions::{
    LocalDelivery, LocalRoute, Readiness, Slot, Subscription, SubscriptionTable, Wants,
};
