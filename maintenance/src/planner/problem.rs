//! What is to be planned, compiled: indices and numbers, no policy text.

use std::time::Duration;

use protocol::{GatewayId, Wall};

use super::reason::Reason;
use crate::Interval;
use crate::fleet::{Preferred, VisitId};

/// All that a plan depends on. The order of its lists never changes the plan.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Problem {
    /// When planning starts: nothing new starts before it.
    pub from: Wall,
    /// The end of the horizon: nothing is planned to end after it.
    pub until: Wall,
    /// When hosts may be visited; many jobs share one.
    pub calendars: Vec<Calendar>,
    /// How loads change over the week; many demands share one.
    pub shapes: Vec<Shape>,
    /// What is limited.
    pub resources: Vec<Resource>,
    /// Jobs that others wait for together, such as a batch of a campaign.
    pub groups: Vec<Group>,
    /// The visits.
    pub jobs: Vec<Job>,
}

/// When a host may be visited: inside one window, outside what is frozen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Calendar {
    /// When it is allowed; the planner sorts and joins.
    pub windows: Vec<Interval>,
    /// When it is forbidden after all.
    pub frozen: Vec<Interval>,
}

/// A factor for each hour of the week in UTC, from Monday 00:00.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// 168 factors, in thousandths of the amount.
    pub permille: Vec<u32>,
}

/// Something that the jobs active at the same moment share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// The resource that holds this one, if what is demanded of this is demanded of that too (a rack's zone).
    pub within: Option<usize>,
    /// How much may be demanded at once: the least of all these.
    pub limits: Vec<Limit>,
}

/// One rule's limit of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// Which rule, for explanations.
    pub rule: Rule,
    /// How much, over time; below zero means that others take more than there is.
    pub steps: Steps,
}

/// The rule that a limit comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// So many hosts of a domain may be visited at once.
    Concurrent {
        /// Such as `zone eu-2b`.
        domain: String,
    },
    /// So many hosts of a domain must go on serving.
    Available {
        /// Such as `zone eu-2b`.
        domain: String,
        /// How many of its hosts are down unplanned.
        down: u32,
    },
    /// What must remain free.
    Headroom {
        /// Such as `region eu`.
        domain: String,
        /// Of what.
        metric: Metric,
    },
    /// How fast clients may be moved in all.
    Rate {
        /// Where.
        domain: String,
    },
    /// Hosts that share a label are never visited together.
    Together {
        /// Such as `power=a`.
        label: String,
    },
    /// Clients go only to hosts that are done.
    MoveOnce,
}

/// What is measured of a load.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Connections.
    Connections,
    /// Messages per second.
    Messages,
}

/// A number that changes at certain moments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Steps(Vec<(Wall, i64)>);

/// Jobs that others wait for together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Group {
    /// Such as `C-12 batch 1`.
    pub name: String,
    /// Its jobs.
    pub jobs: Vec<usize>,
}

/// One visit of one host.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Which visit.
    pub visit: VisitId,
    /// Of which host.
    pub host: GatewayId,
    /// How long it takes; whole milliseconds, at least one.
    pub duration: Duration,
    /// The calendar it must lie in.
    pub calendar: usize,
    /// Spans that it must not touch, and why.
    pub holds: Vec<Hold>,
    /// When its host would rather have it; its order says nothing.
    pub preferred: Vec<Preferred>,
    /// Whether it is too important to wait for that.
    pub insists: bool,
    /// It does not start earlier.
    pub not_before: Wall,
    /// When it should be over.
    pub deadline: Option<Deadline>,
    /// The higher the more important.
    pub priority: u8,
    /// Its place in the ladder of its campaign: lower ones first.
    pub rank: u32,
    /// What it takes while it is active.
    pub demands: Vec<Demand>,
    /// What it gives once it is over.
    pub supplies: Vec<Supply>,
    /// What must be over before it starts.
    pub after: Vec<Link>,
    /// When it started or is bound to start: the planner does not move it and asks nothing of it.
    pub fixed: Option<Wall>,
}

/// A span in which a host is not to be visited.
#[derive(Debug, Clone, PartialEq)]
pub struct Hold {
    /// When.
    pub span: Interval,
    /// Why.
    pub reason: Reason,
}

/// When a visit should be over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    /// The moment.
    pub at: Wall,
    /// Whether missing it is worse than anything that is not hard.
    pub hard: bool,
}

/// What a job takes of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demand {
    /// Of which resource.
    pub resource: usize,
    /// How much, at least one.
    pub amount: u32,
    /// How that changes over the week.
    pub shape: Option<usize>,
    /// In which part of the job, from its start; `None` means all of it.
    pub part: Option<Part>,
}

/// A part of a job, counted from its start; not empty and within its duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// When it begins.
    pub from: Duration,
    /// When it is over.
    pub to: Duration,
}

/// What a job gives to a resource, from its end on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Supply {
    /// To which resource.
    pub resource: usize,
    /// How much.
    pub amount: u32,
}

/// What a job waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// What must be over.
    pub on: Predecessor,
    /// How long before.
    pub lag: Duration,
}

/// What somebody waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Predecessor {
    /// One job.
    Job(usize),
    /// All jobs of a group; the lag is its soak.
    Group(usize),
}

impl Shape {
    /// Factors for 168 hours.
    pub const HOURS: usize = 168;

    /// The factor in the hour of the week that a moment lies in, in thousandths.
    pub(super) fn at(&self, at_ms: u64) -> i64 {
        self.permille.get(hour_of_week(at_ms)).copied().map_or(1000, i64::from)
    }
}

impl Steps {
    /// Always the same.
    pub fn constant(value: i64) -> Self {
        Self(vec![(Wall(0), value)])
    }

    /// A value from each of these moments on; before the first, its value. `None` if there is no moment.
    pub fn new(mut steps: Vec<(Wall, i64)>) -> Option<Self> {
        steps.sort_by_key(|(from, _)| *from);
        let first = steps.first_mut()?;
        first.0 = Wall(0);
        Some(Self(steps))
    }

    /// The value at a moment.
    pub fn at(&self, at: Wall) -> i64 {
        let until = self.0.partition_point(|(from, _)| *from <= at);
        self.0.get(until.saturating_sub(1)).map_or(i64::MAX, |(_, value)| *value)
    }

    /// From when on which value, from the beginning of time.
    pub fn iter(&self) -> impl Iterator<Item = (Wall, i64)> {
        self.0.iter().copied()
    }

    /// The same, but for `more` at every moment.
    #[must_use]
    pub fn raised(&self, more: i64) -> Self {
        Self(self.0.iter().map(|(from, value)| (*from, value.saturating_add(more))).collect())
    }
}

impl Job {
    /// How long it takes, in milliseconds.
    pub(super) fn length(&self) -> u64 {
        millis(self.duration)
    }

    /// The part of it that a demand lasts: from and for how long, in milliseconds.
    pub(super) fn part(&self, demand: &Demand) -> (u64, u64) {
        match demand.part {
            None => (0, self.length()),
            Some(part) => (millis(part.from), millis(part.to).saturating_sub(millis(part.from))),
        }
    }
}

/// Whole milliseconds.
pub(super) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// The hour of the week that a moment lies in, from Monday 00:00 UTC.
pub(super) fn hour_of_week(at_ms: u64) -> usize {
    // 1970 began on a Thursday.
    usize::try_from((at_ms / HOUR_MS + 72) % 168).unwrap_or(0)
}

/// One hour in milliseconds.
pub(super) const HOUR_MS: u64 = 3_600_000;
