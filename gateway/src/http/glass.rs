//! Which right a change needs, and the path by which every right is taken for a while.

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Query, State};
use axum::http::{Method, StatusCode};
use axum::routing::{MethodRouter, get, post};
use axum::{Extension, Json};
use certs::Role;
use serde::{Deserialize, Serialize};

use super::caller::Caller;
use super::feed::is_secret;
use super::problem::Problem;
use super::routes::{Shared, ask};
use super::wanted::{Reason, because, create};
use crate::config::Right;
use crate::control::ControlError;
use crate::scheduler::{
    Allowed, BeginDespite, DespiteRequest, Glass, GlassRequest, MaintenanceControl,
};

/// Answer of `/api/v1/maintenance/break-glass`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GlassList {
    /// Who has every right now, by name.
    pub glasses: Vec<Glass>,
    /// The visits that they have begun despite what speaks against them, by name.
    #[serde(default)]
    pub visits: Vec<BeginDespite>,
}

/// Every path of it.
pub(super) fn routes() -> Vec<(&'static str, MethodRouter<Shared>)> {
    vec![
        ("/api/v1/maintenance/break-glass", get(glasses).post(break_glass).delete(mend_glass)),
        ("/api/v1/maintenance/break-glass/visits", post(begin_despite)),
    ]
}

/// Whether the roles of operators allow a request; who is no operator was looked at before.
pub(super) async fn check_role(
    shared: &Shared,
    caller: &Caller,
    (method, path): (&Method, &str),
) -> Result<(), Problem> {
    let Some((Role::Operator, name)) = &caller.identity else { return Ok(()) };
    let Some(right) = right(method, path) else { return Ok(()) };
    let by = name.clone();
    let allowed = ask(shared, move |control| control.maintenance().allows(right, &by)).await?;
    match allowed {
        Ok(Allowed::ByRole) => Ok(()),
        Ok(Allowed::ByGlass(glass)) => {
            let reason = &glass.reason;
            tracing::warn!(%method, path, "{name} does this with every right: {reason}");
            Ok(())
        }
        Err(why) => {
            let problem = Problem::from(why);
            if problem.status == StatusCode::FORBIDDEN.as_u16() {
                shared.metrics.process().changes_forbidden.add_shared(1);
                tracing::warn!(%method, path, "{name} may not: {}", problem.detail);
            }
            Err(problem)
        }
    }
}

/// Which right a request needs; none if it changes nothing.
fn right(method: &Method, path: &str) -> Option<Right> {
    // Of a secret nobody is told, also if there is nothing to be changed there.
    if method == Method::GET || method == Method::HEAD || is_secret(path) {
        return None;
    }
    let of = path.strip_prefix("/api/v1/maintenance/").unwrap_or_default();
    let is_post = method == Method::POST;
    match of.split('/').collect::<Vec<_>>().as_slice() {
        ["plan", "preview"] | ["simulations"] => None,
        ["operations", _, "approvals"] => Some(Right::Approve),
        ["operations"] | ["operations", _] => Some(Right::Plan),
        ["freezes"] if is_post => Some(Right::Plan),
        // Who says that a backup runs says, too, that it is over.
        ["blockers" | "preferences"] | ["blockers" | "preferences", _, _] => Some(Right::Plan),
        ["feed-tokens"] | ["feed-tokens", _] => Some(Right::Plan),
        ["break-glass"] | ["break-glass", "visits"] => Some(Right::BreakGlass),
        _ => Some(Right::Operate),
    }
}

async fn glasses(State(shared): State<Shared>) -> Result<Json<GlassList>, Problem> {
    let list = ask(&shared, |control| {
        let maintenance = control.maintenance();
        Ok::<_, ControlError>(GlassList {
            glasses: maintenance.glasses()?,
            visits: maintenance.despites()?,
        })
    });
    Ok(Json(list.await??))
}

async fn begin_despite(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<BeginDespite>), Problem> {
    let make =
        |it: &dyn MaintenanceControl, request: DespiteRequest, by| it.begin_despite(request, by);
    create(&shared, &caller, body, make).await
}

async fn break_glass(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<Glass>), Problem> {
    let make = |it: &dyn MaintenanceControl, request: GlassRequest, by| it.break_glass(request, by);
    create(&shared, &caller, body, make).await
}

async fn mend_glass(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    reason: Result<Query<Reason>, QueryRejection>,
) -> Result<Json<Glass>, Problem> {
    let reason = because(reason)?;
    let mended =
        ask(&shared, move |control| control.maintenance().mend_glass(reason, caller.name()));
    Ok(Json(mended.await??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_needs_a_right_and_looking_needs_none() {
        for (method, path, expected) in [
            (Method::GET, "/api/v1/maintenance/operations", None),
            (Method::POST, "/api/v1/maintenance/plan/preview", None),
            (Method::POST, "/api/v1/maintenance/simulations", None),
            (Method::POST, "/api/v1/maintenance/blockers", Some(Right::Plan)),
            (Method::DELETE, "/api/v1/maintenance/blockers/gw-1/backup", Some(Right::Plan)),
            (Method::POST, "/api/v1/maintenance/preferences", Some(Right::Plan)),
            (Method::DELETE, "/api/v1/maintenance/preferences/gw-1/night", Some(Right::Plan)),
            (Method::POST, "/api/v1/maintenance/feed-tokens", Some(Right::Plan)),
            (Method::DELETE, "/api/v1/maintenance/feed-tokens/wall", Some(Right::Plan)),
            (Method::POST, "/feeds/secret/maintenance.ics", None),
            (Method::POST, "/api/v1/maintenance/operations", Some(Right::Plan)),
            (Method::DELETE, "/api/v1/maintenance/operations/op-1", Some(Right::Plan)),
            (Method::POST, "/api/v1/maintenance/operations/op-1/approvals", Some(Right::Approve)),
            (Method::POST, "/api/v1/maintenance/freezes", Some(Right::Plan)),
            (Method::DELETE, "/api/v1/maintenance/freezes/f", Some(Right::Operate)),
            (Method::PUT, "/api/v1/maintenance/policies/p", Some(Right::Operate)),
            (Method::POST, "/api/v1/maintenance/orders", Some(Right::Operate)),
            (Method::POST, "/api/v1/maintenance/write-offs", Some(Right::Operate)),
            (Method::DELETE, "/api/v1/maintenance/break-glass", Some(Right::BreakGlass)),
            (Method::POST, "/api/v1/maintenance/break-glass/visits", Some(Right::BreakGlass)),
            (Method::POST, "/api/v1/drains", Some(Right::Operate)),
            (Method::DELETE, "/api/v1/bans", Some(Right::Operate)),
        ] {
            assert_eq!(right(&method, path), expected, "{method} {path}");
        }
    }
}
