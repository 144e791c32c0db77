//! The fleet as maintenance sees it: hosts, the domains they fail in, and what they say of themselves.

mod availability;
mod connects;
mod domain;
mod fares;
mod forecast;
mod history;
mod host;
mod own_drain;
mod visit_id;

pub use availability::{Availability, Blocker, Estimate, Need, NeedKind, Preferred};
pub use connects::Connects;
pub use domain::{Domain, FOREST};
pub use fares::{Fares, Tried};
pub use forecast::{Forecast, HOURS_OF_WEEK, Statistic};
pub use history::LoadHistory;
pub use host::{Capacity, Host, HostState, Limits, Load};
pub use own_drain::OwnDrain;
pub use visit_id::{InvalidVisitId, Term, VisitId};
