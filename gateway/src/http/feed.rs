//! The plan as a calendar that others subscribe to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ::maintenance::calendar::Interval;
use ::maintenance::calendar::ics::{Event, Feed, Status, write};
use ::maintenance::fleet::VisitId;
use ::maintenance::planner::{Entry, Published};
use ::maintenance::policy::Selector;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use protocol::{GatewayId, Wall, hash64};
use serde::Deserialize;

use super::problem::Problem;
use super::routes::{Shared, ask};

/// How often it is worth to be read again.
const REFRESH: Duration = Duration::from_secs(300);

/// Every path of it.
pub(super) fn routes() -> Vec<(&'static str, MethodRouter<Shared>)> {
    vec![("/api/v1/maintenance/calendar.ics", get(calendar))]
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CalendarAsked {
    /// Which gateways, by their labels; all when absent.
    #[serde(default)]
    selector: Selector,
}

async fn calendar(
    State(shared): State<Shared>,
    headers: HeaderMap,
    asked: Result<Query<CalendarAsked>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(asked) = asked.map_err(|error| Problem::invalid(error.body_text()))?;
    let (plan, hosts, begun) = ask(&shared, |control| {
        let plan = control.maintenance().plan()?;
        Ok::<_, crate::control::ControlError>((plan, control.hosts()?, control.executions()?))
    })
    .await??;
    let hosts: BTreeSet<GatewayId> = hosts
        .into_iter()
        .filter(|it| asked.selector.matches(&it.host))
        .map(|it| it.host.id)
        .collect();
    let begun: BTreeSet<VisitId> = begun
        .iter()
        .filter(|it| it.execution.epoch().is_some() && !it.execution.is_over())
        .map(|it| it.execution.visit().clone())
        .collect();
    let text = text(plan.as_ref(), &hosts, &begun);
    let tag = format!("\"{:016x}\"", hash64(text.as_bytes()));
    let seen = headers.get(header::IF_NONE_MATCH).and_then(|seen| seen.to_str().ok());
    let seen =
        seen.is_some_and(|seen| seen.split(',').any(|it| it.trim() == tag || it.trim() == "*"));
    let tagged = [(header::ETAG, tag), (header::CACHE_CONTROL, "no-cache".to_owned())];
    if seen {
        return Ok((StatusCode::NOT_MODIFIED, tagged).into_response());
    }
    let kind = [(header::CONTENT_TYPE, "text/calendar; charset=utf-8")];
    Ok((tagged, kind, text).into_response())
}

/// One event for each visit that has a place; what is on its way is confirmed.
fn text(
    plan: Option<&Published>,
    hosts: &BTreeSet<GatewayId>,
    begun: &BTreeSet<VisitId>,
) -> String {
    let made = plan.map_or(Wall(0), |plan| plan.made);
    let entries =
        plan.into_iter().flat_map(|plan| plan.plan.entries.iter().map(move |it| (plan, it)));
    let events: Vec<_> = entries
        .filter(|(_, entry)| hosts.contains(&entry.host))
        .map(|(plan, entry)| event(plan, entry, begun.contains(&entry.visit)))
        .collect();
    write(&Feed { name: "Tidegate maintenance", made, refresh: REFRESH, events: &events })
}

fn event(plan: &Published, entry: &Entry, begun: bool) -> Event {
    let operations = plan.visit(&entry.visit).map(|it| it.operations.as_slice());
    let operations = operations.unwrap_or_default();
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for operation in operations {
        *kinds.entry(operation.kind.name()).or_default() += 1;
    }
    let kinds: Vec<_> = kinds.into_keys().collect();
    let lines = operations.iter().map(|it| format!("{}: {} ({})", it.id, it.reason, it.requester));
    let late = entry.late.then(|| "over after its deadline".to_owned());
    Event {
        uid: format!("{}@tidegate", entry.visit),
        sequence: u32::try_from(plan.revision).unwrap_or(u32::MAX),
        interval: Interval { from: entry.start, to: entry.end },
        status: if begun { Status::Confirmed } else { Status::Tentative },
        summary: format!("{}: {}", entry.host, kinds.join(", ")),
        description: lines.chain(late).collect::<Vec<_>>().join("\n"),
    }
}
