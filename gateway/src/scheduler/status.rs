//! What operators see of the scheduler and of the hosts.

use maintenance::fleet::{Availability, Term};
use maintenance::{Host, Lease};
use serde::{Deserialize, Serialize};

/// One registered gateway as maintenance sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostStatus {
    /// What it is, and what it does by its lease.
    pub host: Host,
    /// Whether its answer is believed; without that it is not available for maintenance and counts as down.
    pub fresh: bool,
    /// What it answered last; none if it never did.
    pub answer: Option<Availability>,
}

/// Who plans for the fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SchedulerStatus {
    /// The lease as it is stored; none if nobody ever held it.
    pub lease: Option<Lease>,
    /// The term in which the gateway that answers is the scheduler; none if it is not.
    pub term_held_here: Option<Term>,
}
