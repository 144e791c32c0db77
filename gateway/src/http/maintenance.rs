//! The paths of maintenance.

use ::maintenance::audit::AuditEntry;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};

use super::caller::Caller;
use super::problem::Problem;
use super::routes::{BODY_LIMIT_BYTES, Shared, ask};
use super::wanted::read;
use crate::scheduler::{
    AuditPage, HostStatus, OrderRequest, SchedulerStatus, VisitDocument, WideRequest,
    WriteOffRequest,
};

/// Answer of `/api/v1/maintenance/hosts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostList {
    /// Every registered gateway.
    pub hosts: Vec<HostStatus>,
}

pub(super) async fn hosts(State(shared): State<Shared>) -> Result<Json<HostList>, Problem> {
    let hosts = ask(&shared, |control| control.hosts()).await??;
    Ok(Json(HostList { hosts }))
}

pub(super) async fn scheduler(
    State(shared): State<Shared>,
) -> Result<Json<SchedulerStatus>, Problem> {
    ask(&shared, |control| control.scheduler()).await?.map(Json).map_err(Problem::from)
}

pub(super) async fn write_off(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<AuditEntry>), Problem> {
    let body = body.map_err(|_| Problem::too_large(BODY_LIMIT_BYTES))?;
    let request: WriteOffRequest =
        serde_json::from_slice(&body).map_err(|error| Problem::invalid(error.to_string()))?;
    let entry = ask(&shared, move |control| control.write_off(request, caller.name())).await??;
    Ok((StatusCode::CREATED, Json(entry)))
}

/// Answer of `/api/v1/maintenance/executions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutionList {
    /// Visits of the plan that are on their way or were, by name.
    pub executions: Vec<VisitDocument>,
}

pub(super) async fn executions(
    State(shared): State<Shared>,
) -> Result<Json<ExecutionList>, Problem> {
    let executions = ask(&shared, |control| control.executions()).await??;
    Ok(Json(ExecutionList { executions }))
}

/// An order for one visit, or for all of a campaign or of the fleet.
pub(super) async fn order(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let body: serde_json::Value = read(body, BODY_LIMIT_BYTES)?;
    let is_wide = body.get("campaign").is_some() || body.get("fleet").is_some();
    let invalid = |error: serde_json::Error| Problem::invalid(error.to_string());
    if is_wide {
        let request: WideRequest = serde_json::from_value(body).map_err(invalid)?;
        let answer =
            ask(&shared, move |control| control.maintenance().order_all(request, caller.name()));
        return Ok(Json(answer.await??).into_response());
    }
    let request: OrderRequest = serde_json::from_value(body).map_err(invalid)?;
    let answer = ask(&shared, move |control| control.order(request, caller.name()));
    Ok(Json(answer.await??).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditAsked {
    after: Option<u64>,
    max: Option<usize>,
}

pub(super) async fn audit(
    State(shared): State<Shared>,
    asked: Result<Query<AuditAsked>, QueryRejection>,
) -> Result<Json<AuditPage>, Problem> {
    let Query(asked) = asked.map_err(|error| Problem::invalid(error.body_text()))?;
    let (after, max) = (asked.after.unwrap_or(0), asked.max.unwrap_or(100));
    if !(1..=1000).contains(&max) {
        return Err(Problem::invalid("max must be 1 to 1000"));
    }
    ask(&shared, move |control| control.audit(after, max)).await?.map(Json).map_err(Problem::from)
}
