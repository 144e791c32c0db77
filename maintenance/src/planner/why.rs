//! Why a visit stands where it does, and what would have to change for it to be earlier.

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use protocol::{GatewayId, Wall};
use serde::{Deserialize, Serialize};

use super::board::{Bind, Board};
use super::explain::{binding, impossible};
use super::ground::{Ground, InvalidProblem, Span, open_without};
use super::plan::Plan;
use super::problem::{Job, Problem, Rule};
use super::reason::Reason;
use super::suits::Suits;
use crate::fleet::VisitId;
use crate::{Interval, record};

/// Why a visit is not earlier, or has no place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Why {
    /// Which visit.
    pub visit: VisitId,
    /// Of which host.
    #[serde(with = "record::gateway")]
    pub host: GatewayId,
    /// When it starts, if it is planned.
    #[serde(rename = "start_ms", with = "record::maybe_wall")]
    pub start: Option<Wall>,
    /// What forbids every earlier start, in order of time; without gaps.
    pub obstacles: Vec<Obstacle>,
    /// How it stands to the times that its host prefers, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suits: Option<Suits>,
    /// What its start would be if one thing were different; only what makes it earlier.
    pub relaxations: Vec<Relaxation>,
}

/// A stretch of time in which one reason alone forbids to start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Obstacle {
    /// From when on.
    #[serde(rename = "from_ms", with = "record::wall")]
    pub from: Wall,
    /// Until when.
    #[serde(rename = "until_ms", with = "record::wall")]
    pub until: Wall,
    /// Why.
    pub reason: Reason,
}

/// The price of a constraint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Relaxation {
    /// What would have to be different.
    pub change: Change,
    /// When the visit could start then, all others staying where they are.
    #[serde(rename = "start_ms", with = "record::wall")]
    pub start: Wall,
}

/// Something that could be different.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case", deny_unknown_fields)]
pub enum Change {
    /// The hosts of a domain that are down return.
    Return {
        /// Which domain.
        domain: String,
    },
    /// One host more of a domain may be visited at once.
    OneMore {
        /// Which domain.
        domain: String,
        /// How many that would be.
        limit: i64,
    },
    /// A reason does not hold.
    Without {
        /// Which.
        reason: Reason,
    },
    /// No reason with this code holds.
    WithoutAll {
        /// Which code.
        family: String,
    },
}

/// Explains one visit of a plan. `None` if the problem has no such visit.
///
/// # Errors
/// [`InvalidProblem`], if the problem cannot be understood.
pub fn why(problem: &Problem, plan: &Plan, visit: &VisitId) -> Result<Option<Why>, InvalidProblem> {
    let ground = Ground::new(problem)?;
    let Some(number) = problem.jobs.iter().position(|job| job.visit == *visit) else {
        return Ok(None);
    };
    let Some(job) = problem.jobs.get(number) else {
        return Ok(None);
    };
    let mut starts: Vec<(&VisitId, u64)> =
        plan.entries.iter().map(|entry| (&entry.visit, entry.start.0)).collect();
    starts.sort_unstable();
    let start_of = |visit: &VisitId| {
        let place = starts.binary_search_by_key(&visit, |(visit, _)| visit).ok()?;
        starts.get(place).map(|(_, start)| *start)
    };
    let mut board = Board::new(&ground);
    for (other, job) in problem.jobs.iter().enumerate().filter(|(other, _)| *other != number) {
        if let Some(start) = start_of(&job.visit) {
            board.place(other, start);
        }
    }
    let start = start_of(visit);
    let question = Question { ground: &ground, board, job, start };
    let mut obstacles = question.obstacles();
    let relaxations = question.relaxations(&obstacles);
    let proof = plan.infeasible.iter().find(|infeasible| infeasible.visits.contains(visit));
    if let (Some(proof), Some(last)) = (proof, obstacles.last()) {
        let reason = Reason::DeadlineInfeasible { cut: proof.cut.clone() };
        obstacles.push(Obstacle { reason, from: last.until, until: last.until });
    }
    Ok(Some(Why {
        visit: visit.clone(),
        host: job.host.clone(),
        start: start.map(Wall),
        obstacles,
        suits: plan.entry(visit).and_then(|entry| entry.suits),
        relaxations,
    }))
}

/// One job beside all others.
struct Question<'g> {
    ground: &'g Ground<'g>,
    board: Board<'g>,
    job: &'g Job,
    start: Option<u64>,
}

impl Question<'_> {
    /// Goes from the begin to the start, always by what forbids the moment.
    fn obstacles(&self) -> Vec<Obstacle> {
        let mut obstacles = Vec::<Obstacle>::new();
        let goal = self.start.unwrap_or(self.ground.problem.until.0);
        let mut at = self.ground.problem.from.0;
        while at < goal {
            let (until, reason) = self.forbids(at, goal);
            let until = until.clamp(at + 1, goal);
            match obstacles.last_mut() {
                Some(last) if last.reason == reason => last.until = Wall(until),
                Some(_) | None => {
                    obstacles.push(Obstacle { from: Wall(at), until: Wall(until), reason });
                }
            }
            at = until;
        }
        obstacles
    }

    /// What forbids a start at a moment, and until when.
    fn forbids(&self, at: u64, goal: u64) -> (u64, Reason) {
        let (job, board) = (self.job, &self.board);
        let lasting = impossible(self.ground, job);
        if let Some(reason) = lasting.into_iter().next() {
            return (goal, reason);
        }
        match board.ready(job) {
            Some((ready, bind)) if ready > at => {
                let reason = binding(self.ground, job, ready, bind);
                return (ready, reason.unwrap_or(Reason::NotBefore));
            }
            Some(_) => {}
            None => return (goal, self.waits_for()),
        }
        for hold in &job.holds {
            if hold.span.from.0 < at + job.length() && at < hold.span.to.0 {
                return (hold.span.to.0, hold.reason.clone());
            }
        }
        let open = self.ground.open_for(job);
        let fits = |(_, close): &&Span| *close >= at + job.length();
        match open.iter().find(fits) {
            Some((open, _)) if *open > at => {
                let reason = binding(self.ground, job, *open, Bind::Window);
                return (*open, reason.unwrap_or(Reason::WindowClosed));
            }
            Some(_) => {}
            None => return (goal, Reason::Horizon),
        }
        for demand in &job.demands {
            let (part, length) = job.part(demand);
            let need = self.ground.need(demand);
            let from = at + part;
            let Some(timeline) = board.timeline(demand.resource) else {
                continue;
            };
            let fit = timeline.earliest(from, u64::MAX, length, &need);
            if fit > from {
                let bind = Bind::Resource { number: demand.resource, at: fit - 1 };
                if let Some(reason) = binding(self.ground, job, fit, bind) {
                    return (fit - part, reason);
                }
            }
        }
        if let Some(until) = self.suits_less(at) {
            return (until, Reason::HostPrefers);
        }
        (goal, if self.start.is_some() { Reason::Published } else { Reason::Horizon })
    }

    /// What it costs its host where it stands, if that is heeded.
    fn cost(&self) -> Option<u32> {
        self.start.filter(|_| self.job.heeds()).and_then(|start| self.job.cost_at(start))
    }

    /// Until when at least it would suit its host less than where it stands, if it would at a moment.
    fn suits_less(&self, at: u64) -> Option<u64> {
        let most = self.cost()?;
        if self.job.cost_at(at).is_some_and(|cost| cost <= most) {
            return None;
        }
        let others = self.job.preferred.iter().filter(|it| it.cost <= most);
        others.map(|it| it.from.0).filter(|from| *from > at).min()
    }

    /// What is not planned itself.
    fn waits_for(&self) -> Reason {
        let unplanned = |place: &usize| {
            let mut job = self.job.clone();
            job.after = job.after.get(*place).cloned().into_iter().collect();
            self.board.ready(&job).is_none()
        };
        let place = (0..self.job.after.len()).find(unplanned).unwrap_or(0);
        binding(self.ground, self.job, 0, Bind::After(place)).unwrap_or(Reason::Horizon)
    }

    fn relaxations(&self, obstacles: &[Obstacle]) -> Vec<Relaxation> {
        let mut reasons: Vec<&Reason> = Vec::new();
        for obstacle in obstacles {
            if !reasons.iter().any(|known| same(known, &obstacle.reason)) {
                reasons.push(&obstacle.reason);
            }
        }
        let mut relaxations = Vec::<Relaxation>::new();
        for reason in &reasons {
            for change in changes(reason) {
                relaxations.extend(self.priced(change));
            }
        }
        let mut families: Vec<&str> = reasons.iter().map(|reason| reason.code()).collect();
        families.sort_unstable();
        families.dedup();
        for family in families {
            let several = Change::WithoutAll { family: family.to_owned() };
            let single = relaxations.iter().filter(|one| match &one.change {
                Change::Without { reason } => reason.code() == family,
                Change::Return { .. } | Change::OneMore { .. } | Change::WithoutAll { .. } => false,
            });
            let best = single.map(|one| one.start).min();
            let more = self.priced(several);
            relaxations.extend(more.filter(|more| best.is_none_or(|best| more.start < best)));
        }
        relaxations
    }

    /// The start with one change, if that is earlier.
    fn priced(&self, change: Change) -> Option<Relaxation> {
        let start = self.start_with(&change)?;
        let earlier = self.start.is_none_or(|now| start < now);
        earlier.then_some(Relaxation { change, start: Wall(start) })
    }

    fn start_with(&self, change: &Change) -> Option<u64> {
        let problem = self.ground.problem;
        let dropped = |reason: &Reason| match change {
            Change::Without { reason: without } => same(without, reason),
            Change::WithoutAll { family } => reason.code() == family,
            Change::Return { .. } | Change::OneMore { .. } => false,
        };
        let mut job = self.job.clone();
        job.holds.retain(|hold| !dropped(&hold.reason));
        let most = self.cost().filter(|_| !dropped(&Reason::HostPrefers));
        if dropped(&Reason::NotBefore) {
            job.not_before = Wall(0);
        }
        let mut place = 0;
        job.after.retain(|_| {
            let reason = binding(self.ground, self.job, 0, Bind::After(place));
            place += 1;
            !reason.is_some_and(|reason| dropped(&reason))
        });
        let calendar = problem.calendars.get(job.calendar)?;
        let whole = Interval { from: problem.from, to: problem.until };
        let no_window = [Reason::WindowClosed, Reason::NoWindow].iter().any(dropped);
        let too_short = matches!(change, Change::Without { reason: Reason::WindowTooShort { .. } });
        let windows = if no_window || too_short { &[whole][..] } else { &calendar.windows };
        let frozen = if dropped(&Reason::Frozen) { &[][..] } else { &calendar.frozen };
        let open = open_without(problem, windows, frozen);
        let mut board = None;
        for demand in &job.demands {
            let limits = &problem.resources.get(demand.resource)?.limits;
            let mut changed = limits.clone();
            for limit in &mut changed {
                limit.steps = limit.steps.raised(raise(&limit.rule, change));
            }
            changed.retain(|limit| !dropped(&Reason::of_limit(&limit.rule, 0)));
            if changed != *limits {
                board.get_or_insert_with(|| self.board.clone()).limit(demand.resource, &changed);
            }
        }
        let board = board.as_ref().unwrap_or(&self.board);
        let ready = board.ready(&job)?;
        if let Some(most) = most {
            let found = board.first_preferred(&open, &job, (ready.0, problem.until.0, most));
            return found.map(|(start, _)| start);
        }
        board.earliest_in(&open, &job, ready, problem.until.0).ok().map(|(start, _)| start)
    }
}

/// What could be different about a reason.
fn changes(reason: &Reason) -> Vec<Change> {
    let mut changes = Vec::new();
    match reason {
        Reason::MinAvailable { domain, unplanned: 1.., .. } => {
            changes.push(Change::Return { domain: domain.clone() });
        }
        Reason::DomainCap { domain, limit } => {
            changes.push(Change::OneMore { domain: domain.clone(), limit: limit + 1 });
        }
        Reason::Published | Reason::Horizon | Reason::DeadlineInfeasible { .. } => return changes,
        Reason::MinAvailable { .. }
        | Reason::NotBefore
        | Reason::NoWindow
        | Reason::WindowTooShort { .. }
        | Reason::WindowClosed
        | Reason::Frozen
        | Reason::HostBlocker { .. }
        | Reason::HostPrefers
        | Reason::StaleReport
        | Reason::Headroom { .. }
        | Reason::RateBudget { .. }
        | Reason::Together { .. }
        | Reason::DependsOn { .. }
        | Reason::Soak { .. }
        | Reason::MoveBudget
        | Reason::Approval
        | Reason::GateClosed
        | Reason::FailureBudget => {}
    }
    changes.push(Change::Without { reason: reason.clone() });
    changes
}

/// By how much a change raises a limit.
fn raise(rule: &Rule, change: &Change) -> i64 {
    match (rule, change) {
        (Rule::Available { domain, down }, Change::Return { domain: of }) if domain == of => {
            i64::from(*down)
        }
        (Rule::Concurrent { domain }, Change::OneMore { domain: of, .. }) if domain == of => 1,
        _ => 0,
    }
}

/// Whether two reasons come from the same constraint, whatever its limit was at the moment.
fn same(one: &Reason, other: &Reason) -> bool {
    match (one, other) {
        (Reason::DomainCap { domain, .. }, Reason::DomainCap { domain: of, .. })
        | (Reason::MinAvailable { domain, .. }, Reason::MinAvailable { domain: of, .. }) => {
            domain == of
        }
        _ => one == other,
    }
}

impl Why {
    /// The answer in sentences, with times of a zone.
    pub fn text(&self, zone: &TimeZone) -> String {
        let host = self.host.as_str();
        let mut text = match self.start {
            Some(start) => format!("{host}: not before {}.", clock(start, zone)),
            None => format!("{host}: no place."),
        };
        let mut told: Vec<(&Reason, Vec<String>)> = Vec::new();
        for obstacle in &self.obstacles {
            if obstacle.reason == Reason::WindowClosed {
                continue;
            }
            let day = day(obstacle.from, zone);
            match told.iter_mut().find(|(reason, _)| *reason == &obstacle.reason) {
                Some((_, days)) if days.contains(&day) => {}
                Some((_, days)) => days.push(day),
                None => told.push((&obstacle.reason, vec![day])),
            }
        }
        for (reason, days) in told {
            // What lasts has no days.
            let _ = match reason {
                Reason::NoWindow
                | Reason::WindowTooShort { .. }
                | Reason::DeadlineInfeasible { .. }
                | Reason::Horizon => write!(text, " {}.", capital(&reason.to_string())),
                Reason::NotBefore
                | Reason::WindowClosed
                | Reason::Frozen
                | Reason::HostBlocker { .. }
                | Reason::HostPrefers
                | Reason::StaleReport
                | Reason::DomainCap { .. }
                | Reason::MinAvailable { .. }
                | Reason::Headroom { .. }
                | Reason::RateBudget { .. }
                | Reason::Together { .. }
                | Reason::DependsOn { .. }
                | Reason::Soak { .. }
                | Reason::MoveBudget
                | Reason::Approval
                | Reason::GateClosed
                | Reason::FailureBudget
                | Reason::Published => write!(text, " {}: {reason}.", days.join(", ")),
            };
        }
        if let Some(overruled) = self.suits.filter(|suits| suits.is_overruled()) {
            let _ = write!(text, " {}.", capital(&overruled.to_string()));
        }
        for relaxation in &self.relaxations {
            text.push_str(&relaxation.text(zone));
        }
        text
    }
}

impl Relaxation {
    /// What would help and by how much, as a sentence with a space before it.
    fn text(&self, zone: &TimeZone) -> String {
        let start = clock(self.start, zone);
        match &self.change {
            Change::Return { domain } => {
                format!(" If those of {domain} return: {start}.")
            }
            Change::OneMore { domain, limit } => {
                format!(" If {domain} cap were {limit}: {start}.")
            }
            Change::Without { reason: Reason::WindowClosed } => {
                format!(" If a window were open: {start}.")
            }
            Change::Without { reason: Reason::HostPrefers } => {
                format!(" If its host preferred nothing: {start}.")
            }
            Change::Without { reason: Reason::NotBefore } => {
                format!(" If it were wanted at once: {start}.")
            }
            Change::Without { reason: Reason::DependsOn { visit } } => {
                format!(" If it did not wait for {visit}: {start}.")
            }
            Change::Without { reason } => {
                format!(" Without {}: {start}.", reason.code())
            }
            Change::WithoutAll { family } => {
                format!(" Without any {family}: {start}.")
            }
        }
    }
}

fn clock(at: Wall, zone: &TimeZone) -> String {
    local(at, zone, "%a %H:%M")
}

fn day(at: Wall, zone: &TimeZone) -> String {
    local(at, zone, "%a %d %b")
}

fn local(at: Wall, zone: &TimeZone, format: &str) -> String {
    let moment = i64::try_from(at.0).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    moment.map_or_else(String::new, |at| at.to_zoned(zone.clone()).strftime(format).to_string())
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
