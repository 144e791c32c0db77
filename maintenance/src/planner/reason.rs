//! Why a visit is not earlier, or not at all.

use std::fmt;

use protocol::Wall;
use serde::{Deserialize, Serialize};

use super::problem::{Metric, Rule};
use crate::fleet::VisitId;
use crate::record;

/// What keeps a visit from an earlier start, or from any.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "SCREAMING_SNAKE_CASE", deny_unknown_fields)]
pub enum Reason {
    /// It was asked for from this moment on.
    NotBefore,
    /// No window opens in time.
    NoWindow,
    /// Windows open in time, and none is long enough.
    WindowTooShort {
        /// The longest, in milliseconds.
        longest_ms: u64,
        /// What the visit takes, in milliseconds.
        needed_ms: u64,
    },
    /// The window opens at the start.
    WindowClosed,
    /// An exclusion forbids what a window allows.
    Frozen,
    /// The host says that it must not be disturbed.
    HostBlocker {
        /// What the host says.
        blocker: String,
    },
    /// The host would rather have it at another time.
    HostPrefers,
    /// The host has not said for too long that it may be disturbed.
    StaleReport,
    /// As many hosts of a domain are visited as may be.
    DomainCap {
        /// Such as `zone eu-2b`.
        domain: String,
        /// How many may be.
        limit: i64,
    },
    /// As few hosts of a domain serve as must.
    MinAvailable {
        /// Such as `zone eu-2b`.
        domain: String,
        /// How many may be visited beside those that are down.
        limit: i64,
        /// How many are down unplanned.
        unplanned: u32,
    },
    /// The rest of the domain could not carry the load.
    Headroom {
        /// Such as `region eu`.
        domain: String,
        /// Which load.
        metric: Metric,
    },
    /// As many clients are moved per second as may be.
    RateBudget {
        /// Where.
        domain: String,
    },
    /// A host with the same label is being visited.
    Together {
        /// Such as `power=a`.
        label: String,
    },
    /// Another visit comes first.
    DependsOn {
        /// Which.
        visit: VisitId,
    },
    /// A batch comes first, and the time after it in which it is watched.
    Soak {
        /// Which.
        batch: String,
    },
    /// The hosts that are done cannot carry its clients yet.
    MoveBudget,
    /// Nobody has approved it.
    Approval,
    /// The gate is closed.
    GateClosed,
    /// Too many visits failed.
    FailureBudget,
    /// Not all deadlines can be kept, whatever the order.
    DeadlineInfeasible {
        /// The proof.
        cut: Cut,
    },
    /// It stays where it was published.
    Published,
    /// The horizon ends before there is room.
    Horizon,
}

/// A proof that some visits cannot all be over in time: together they need more than there is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cut {
    /// How many visits.
    pub visits: usize,
    /// What they take together, in milliseconds.
    pub work_ms: u64,
    /// What there is for them, in milliseconds.
    pub room_ms: u64,
    /// The last of their deadlines.
    #[serde(rename = "until_ms", with = "record::wall")]
    pub until: Wall,
    /// What is full until then; empty if the windows alone are too short.
    pub full: Vec<String>,
}

impl Reason {
    /// Its name in logs, metrics and the HTTP API.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotBefore => "NOT_BEFORE",
            Self::NoWindow => "NO_WINDOW",
            Self::WindowTooShort { .. } => "WINDOW_TOO_SHORT",
            Self::WindowClosed => "WINDOW_CLOSED",
            Self::Frozen => "FROZEN",
            Self::HostBlocker { .. } => "HOST_BLOCKER",
            Self::HostPrefers => "HOST_PREFERS",
            Self::StaleReport => "STALE_REPORT",
            Self::DomainCap { .. } => "DOMAIN_CAP",
            Self::MinAvailable { .. } => "MIN_AVAILABLE",
            Self::Headroom { .. } => "HEADROOM",
            Self::RateBudget { .. } => "RATE_BUDGET",
            Self::Together { .. } => "TOGETHER",
            Self::DependsOn { .. } => "DEPENDS_ON",
            Self::Soak { .. } => "SOAK",
            Self::MoveBudget => "MOVE_BUDGET",
            Self::Approval => "APPROVAL",
            Self::GateClosed => "GATE_CLOSED",
            Self::FailureBudget => "FAILURE_BUDGET",
            Self::DeadlineInfeasible { .. } => "DEADLINE_INFEASIBLE",
            Self::Published => "PUBLISHED",
            Self::Horizon => "HORIZON",
        }
    }

    /// What a limit says when it is reached.
    pub(super) fn of_limit(rule: &Rule, limit: i64) -> Self {
        match rule.clone() {
            Rule::Concurrent { domain } => Self::DomainCap { domain, limit },
            Rule::Available { domain, down } => {
                Self::MinAvailable { domain, limit, unplanned: down }
            }
            Rule::Headroom { domain, metric } => Self::Headroom { domain, metric },
            Rule::Rate { domain } => Self::RateBudget { domain },
            Rule::Together { label } => Self::Together { label },
            Rule::MoveOnce => Self::MoveBudget,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotBefore => f.write_str("not wanted earlier"),
            Self::NoWindow => f.write_str("no window opens in time"),
            Self::WindowTooShort { longest_ms, needed_ms } => write!(
                f,
                "the longest window has {} min, the visit takes {} min",
                longest_ms / 60_000,
                needed_ms.div_ceil(60_000)
            ),
            Self::WindowClosed => f.write_str("no window is open"),
            Self::Frozen => f.write_str("frozen"),
            Self::HostBlocker { blocker } => write!(f, "host: {blocker}"),
            Self::HostPrefers => f.write_str("host prefers another time"),
            Self::StaleReport => f.write_str("host has not reported in time"),
            Self::DomainCap { domain, limit } => {
                write!(f, "{domain} full ({limit}/{limit})")
            }
            Self::MinAvailable { domain, limit, unplanned: 0 } => {
                write!(f, "{domain} full ({}/{0})", limit.max(&0))
            }
            Self::MinAvailable { domain, limit, unplanned } => {
                let all = limit.saturating_add(i64::from(*unplanned));
                let s = if *unplanned == 1 { "" } else { "s" };
                write!(
                    f,
                    "{domain} full ({all}/{all}, of which {unplanned} host{s} down unplanned)"
                )
            }
            Self::Headroom { domain, metric } => {
                let metric = match metric {
                    Metric::Connections => "connections",
                    Metric::Messages => "messages",
                };
                write!(f, "{domain} has no headroom for more {metric}")
            }
            Self::RateBudget { domain } => write!(f, "{domain} moves as many clients as it may"),
            Self::Together { label } => write!(f, "another host of {label} is visited"),
            Self::DependsOn { visit } => write!(f, "waits for {visit}"),
            Self::Soak { batch } => write!(f, "waits for {batch} and its soak"),
            Self::MoveBudget => f.write_str("hosts that are done have no room for its clients"),
            Self::Approval => f.write_str("not approved"),
            Self::GateClosed => f.write_str("gate closed"),
            Self::FailureBudget => f.write_str("failure budget spent"),
            Self::DeadlineInfeasible { cut } => write!(f, "{cut}"),
            Self::Published => f.write_str("stays where it was published"),
            Self::Horizon => f.write_str("no room before the horizon ends"),
        }
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minutes = |ms: u64| (ms / 3_600_000, ms / 60_000 % 60);
        let ((wh, wm), (rh, rm)) = (minutes(self.work_ms), minutes(self.room_ms));
        let leave = if self.full.len() == 1 { "leaves" } else { "leave" };
        let by = if self.full.is_empty() { "windows".to_owned() } else { self.full.join(", ") };
        write!(f, "{} visits take {wh} h {wm:02} min, {by} {leave} {rh} h {rm:02} min", self.visits)
    }
}
