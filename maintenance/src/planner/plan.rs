//! Plans: who is visited when, who is not, and how good that is.

use std::time::Duration;

use protocol::{GatewayId, HashMap, Wall, hash64};
use serde::{Deserialize, Serialize};

use super::bound::lower_bound;
use super::ground::{Ground, InvalidProblem};
use super::problem::Problem;
use super::reason::{Cut, Reason};
use super::search::Search;
use super::suits::Suits;
use crate::fleet::VisitId;
use crate::record;

/// Names a plan by what it says: the same entries, the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PlanId(pub u64);

/// When each visit is to be, for one horizon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Its name.
    pub id: PlanId,
    /// The begin of the horizon.
    #[serde(rename = "from_ms", with = "record::wall")]
    pub from: Wall,
    /// The end of the horizon.
    #[serde(rename = "until_ms", with = "record::wall")]
    pub until: Wall,
    /// Who is visited, by start, then by visit.
    pub entries: Vec<Entry>,
    /// Who is not, by visit.
    pub unplanned: Vec<Unplanned>,
    /// No plan for the same visits is over before this moment.
    #[serde(rename = "lower_bound_ms", with = "record::wall")]
    pub lower_bound: Wall,
    /// Proofs that hard deadlines are missed because they cannot all be kept.
    pub infeasible: Vec<Infeasible>,
    /// How many visits stand elsewhere than in the plan published before, or no more in it.
    pub churn: usize,
}

/// One visit in a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Which.
    pub visit: VisitId,
    /// Of which host.
    #[serde(with = "record::gateway")]
    pub host: GatewayId,
    /// When it starts.
    #[serde(rename = "start_ms", with = "record::wall")]
    pub start: Wall,
    /// When it is over.
    #[serde(rename = "end_ms", with = "record::wall")]
    pub end: Wall,
    /// Whether it is over after its deadline.
    pub late: bool,
    /// What kept it last from an earlier start, if anything did.
    pub binding: Option<Reason>,
    /// How it stands to the times that its host prefers, if there are any and it has not begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suits: Option<Suits>,
}

/// A visit that has no place in the horizon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unplanned {
    /// Which.
    pub visit: VisitId,
    /// Of which host.
    #[serde(with = "record::gateway")]
    pub host: GatewayId,
    /// Why; never empty.
    pub reasons: Vec<Reason>,
}

/// Visits that cannot all keep their hard deadlines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Infeasible {
    /// Which, by name.
    pub visits: Vec<VisitId>,
    /// The proof.
    pub cut: Cut,
}

/// How long to look for something better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effort {
    /// Which of the equal ways to go: the same seed, the same plan.
    pub seed: u64,
    /// How often a visit may be tried somewhere to mend missed deadlines.
    pub probes: u64,
    /// How long before its start a published visit is moved only if it cannot stay.
    pub frozen: Duration,
}

impl Default for Effort {
    /// At most some tenths of a second of one processor for 10,000 visits, and a day.
    fn default() -> Self {
        Self { seed: 0, probes: 10_000, frozen: Duration::from_secs(24 * 3600) }
    }
}

/// Plans. What was `published` stays where it is unless it cannot, or unless a deadline is kept by moving it. The
/// same arguments give the same plan, whatever the order of the lists in the problem, if `stop` never says to end
/// the search for something better.
///
/// # Errors
/// [`InvalidProblem`], if the problem cannot be understood.
pub fn plan(
    problem: &Problem,
    published: Option<&Plan>,
    effort: &Effort,
    stop: &mut dyn FnMut() -> bool,
) -> Result<Plan, InvalidProblem> {
    let ground = Ground::new(problem)?;
    let places = published.map(|published| places(problem, published)).unwrap_or_default();
    let mut search = Search::new(&ground, &places, effort);
    search.run(stop);
    Ok(search.into_plan(lower_bound(&ground)))
}

/// Where each job was published.
fn places(problem: &Problem, published: &Plan) -> Vec<Option<u64>> {
    let mut starts = HashMap::<&VisitId, u64>::default();
    starts.extend(published.entries.iter().map(|entry| (&entry.visit, entry.start.0)));
    problem.jobs.iter().map(|job| starts.get(&job.visit).copied()).collect()
}

impl Plan {
    /// When the last visit is over.
    pub fn end(&self) -> Option<Wall> {
        self.entries.iter().map(|entry| entry.end).max()
    }

    /// How much later than the lower bound the last visit is over, in thousandths of the bound's distance.
    pub fn gap_permille(&self) -> u64 {
        let Some(end) = self.end() else {
            return 0;
        };
        let (over, least) = (self.lower_bound.until(end), self.from.until(self.lower_bound));
        let permille = over.as_millis().saturating_mul(1000) / least.as_millis().max(1);
        u64::try_from(permille).unwrap_or(u64::MAX)
    }

    /// The entry of a visit.
    pub fn entry(&self, visit: &VisitId) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.visit == *visit)
    }

    /// The name of what it says.
    pub(super) fn named(mut self) -> Self {
        let mut text = Vec::new();
        for entry in &self.entries {
            text.extend_from_slice(entry.visit.as_str().as_bytes());
            text.push(0);
            text.extend_from_slice(&entry.start.0.to_be_bytes());
        }
        for unplanned in &self.unplanned {
            text.extend_from_slice(unplanned.visit.as_str().as_bytes());
            text.push(1);
        }
        self.id = PlanId(hash64(&text));
        self
    }
}
