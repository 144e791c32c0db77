//! The paths that tell what will be and what would be: openings, and tales of what would happen.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::routing::{MethodRouter, get, post};
use maintenance::Host;
use maintenance::calendar::Zone;
use maintenance::policy::PolicySet;
use maintenance::simulate::Tale;
use protocol::Wall;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::problem::Problem;
use super::routes::{Shared, ask};
use super::wanted::{POLICY_LIMIT_BYTES, read};
use crate::clock::wall;
use crate::control::{Control, ControlError};
use crate::openings::{Openings, OpeningsAsked, openings};
use crate::scheduler::policies_together;
use crate::simulations::SimulationRequest;

/// Openings of each gateway when the caller does not say.
const USUAL_OPENINGS: usize = 10;
/// Openings of each gateway at most.
const MOST_OPENINGS: usize = 1_000;

/// Answer of `/api/v1/maintenance/openings`.
#[derive(Debug, Clone, Serialize)]
pub struct OpeningsList {
    /// Gateways with the same openings stand together.
    pub calendars: Vec<Openings>,
}

/// Every path of it.
pub(super) fn routes() -> Vec<(&'static str, MethodRouter<Shared>)> {
    let tell = post(tell).layer(DefaultBodyLimit::max(POLICY_LIMIT_BYTES));
    vec![("/api/v1/maintenance/openings", get(open)), ("/api/v1/maintenance/simulations", tell)]
}

/// One tale at a time: each is work of seconds.
pub(super) fn place() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(1))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OpeningsQuery {
    host: Option<String>,
    next: Option<usize>,
    tz: Option<String>,
    from_ms: Option<u64>,
    /// Between commas.
    work: Option<String>,
}

async fn open(
    State(shared): State<Shared>,
    asked: Result<Query<OpeningsQuery>, QueryRejection>,
) -> Result<Json<OpeningsList>, Problem> {
    let Query(asked) = asked.map_err(|error| Problem::invalid(error.body_text()))?;
    let next = asked.next.unwrap_or(USUAL_OPENINGS);
    if !(1..=MOST_OPENINGS).contains(&next) {
        return Err(Problem::invalid(format!("next must be 1 to {MOST_OPENINGS}")));
    }
    let viewer = Zone::named(asked.tz.as_deref().unwrap_or("UTC"));
    let viewer = viewer.map_err(|unknown| Problem::invalid(unknown.to_string()))?;
    let work = asked.work.as_deref().unwrap_or_default().split(',');
    let work = work.filter(|kind| !kind.is_empty()).map(str::to_owned).collect();
    let from = asked.from_ms.map_or_else(wall, Wall);
    let (host, asked) = (asked.host, OpeningsAsked { next, from, viewer, work });
    let calendars = ask(&shared, move |control| {
        let (policies, mut hosts) = fleet(control)?;
        if let Some(host) = host {
            hosts.retain(|known| known.id.as_str() == host);
            if hosts.is_empty() {
                return Err(ControlError::Missing(format!("there is no gateway {host}")));
            }
        }
        let freezes = control.maintenance().freezes()?;
        openings((&policies, &freezes), hosts, &asked)
            .map_err(|why| ControlError::Invalid(why.to_string()))
    });
    Ok(Json(OpeningsList { calendars: calendars.await?? }))
}

async fn tell(
    State(shared): State<Shared>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Tale>, Problem> {
    let request: SimulationRequest = read(body, POLICY_LIMIT_BYTES)?;
    let place = Arc::clone(&shared.tale).try_acquire_owned();
    let place = place.map_err(|_| Problem::busy("another tale is told here; ask again"))?;
    let tale = ask(&shared, move |control| {
        let told = told(control, &request);
        // Until now, also if nobody waits any more.
        drop(place);
        told
    });
    Ok(Json(tale.await??))
}

fn told(control: &dyn Control, request: &SimulationRequest) -> Result<Tale, ControlError> {
    let (policies, hosts) = fleet(control)?;
    let statuses = control.hosts()?.into_iter();
    let loads: BTreeMap<_, _> =
        statuses.filter_map(|status| Some((status.host.id, status.answer?.load))).collect();
    request.tell(policies, (hosts, loads), wall())
}

/// What policies say, and the gateways that count.
fn fleet(control: &dyn Control) -> Result<(PolicySet, Vec<Host>), ControlError> {
    let policies = policies_together(&control.maintenance().policies()?)?;
    let hosts = control.hosts()?.into_iter().map(|status| status.host).collect();
    Ok((policies, hosts))
}
