//! How a drain is to go.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How a drain is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainPlan {
    /// At most this many clients are moved per second, whatever the receivers grant. 0 moves nobody.
    pub per_s: u32,
    /// How long to go on accepting after saying that the gateway is going, so that load balancers follow.
    pub announce: Duration,
    /// How long refusing and moving may take.
    pub timeout: Duration,
    /// What happens then.
    pub on_timeout: OnTimeout,
    /// When it must be over however often it is extended, on the monotonic clock; the end of the window, if there is one.
    pub until: Option<Duration>,
    /// Differs from drain to drain: spreads the first departures, so that drains that begin together do not beat together.
    pub seed: u64,
}

/// What happens when a drain takes too long. A session is never discarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnTimeout {
    /// Serve again and keep what was not moved.
    #[default]
    Undrain,
    /// Go on for the timeout again, and again, until [`DrainPlan::until`]; then undrain.
    Extend,
    /// Move the rest at the plan's rate without waiting for credits, for at most the timeout again; then undrain.
    ForceRest,
    /// Move nobody until somebody decides.
    Ask,
}

/// Why a gateway is emptied, and so how much of a hurry there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// Nobody waits for it.
    #[default]
    Planned,
    /// Today: as fast as the receivers grant, and for as long as it takes.
    Urgent,
    /// The host is about to be gone: nothing is waited for, and at the end the rest goes without credits.
    HostDying,
}

impl Profile {
    /// A plan with this much of a hurry.
    pub const fn apply(self, plan: DrainPlan) -> DrainPlan {
        match self {
            Self::Planned => plan,
            Self::Urgent => DrainPlan { per_s: FASTEST, on_timeout: OnTimeout::Extend, ..plan },
            Self::HostDying => DrainPlan {
                per_s: FASTEST,
                announce: Duration::ZERO,
                on_timeout: OnTimeout::ForceRest,
                ..plan
            },
        }
    }
}

/// Clients per second that no receiver grants.
const FASTEST: u32 = 100_000;

/// How often a [`DrainMachine`](super::DrainMachine) wants to be ticked; when ticks come later than twice that, it moves
/// fewer clients rather than many at once.
pub const TICK: Duration = Duration::from_millis(50);
