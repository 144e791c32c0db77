//! The paths of policies, freezes and operations.

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post};
use axum::{Extension, Json};
use maintenance::policy::Freeze;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::caller::Caller;
use super::problem::Problem;
use super::routes::{BODY_LIMIT_BYTES, Shared, ask};
use crate::control::ControlError;
use crate::scheduler::{
    FreezeRequest, MaintenanceControl, OperationDocument, OperationRequest, Paused, PolicyDocument,
    PolicyRequest, Removal,
};

/// Largest body of policies, with their calendars.
pub(super) const POLICY_LIMIT_BYTES: usize = 1024 * 1024;

/// Answer of `/api/v1/maintenance/policies`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyList {
    /// By name.
    pub policies: Vec<PolicyDocument>,
}

/// Answer of `/api/v1/maintenance/freezes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FreezeList {
    /// By name.
    pub freezes: Vec<Freeze>,
}

/// Answer of `/api/v1/maintenance/operations`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationList {
    /// By name.
    pub operations: Vec<OperationDocument>,
    /// Who has paused all of them, in a list of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Paused>,
    /// What will probably not work of those that were added.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lints: Vec<String>,
}

impl From<Vec<OperationDocument>> for OperationList {
    fn from(operations: Vec<OperationDocument>) -> Self {
        Self { operations, paused: None, lints: Vec::new() }
    }
}

/// Why something is done, where there is nothing else to say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// For the audit; 1 to 4,096 bytes.
    pub reason: String,
}

/// Every path of them.
pub(super) fn routes() -> Vec<(&'static str, MethodRouter<Shared>)> {
    let policy = get(policy).put(put_policy).delete(remove_policy);
    vec![
        ("/api/v1/maintenance/policies", get(policies)),
        (
            "/api/v1/maintenance/policies/{name}",
            policy.layer(DefaultBodyLimit::max(POLICY_LIMIT_BYTES)),
        ),
        ("/api/v1/maintenance/freezes", get(freezes).post(add_freeze)),
        ("/api/v1/maintenance/freezes/{name}", delete(remove_freeze)),
        ("/api/v1/maintenance/operations", get(operations).post(add_operations)),
        ("/api/v1/maintenance/operations/{name}", delete(cancel_operations)),
        ("/api/v1/maintenance/operations/{name}/approvals", post(approve_operations)),
        ("/api/v1/maintenance/operations/{name}/go-on", post(pass_over_operations)),
    ]
}

pub(super) type Asked =
    (Result<Path<String>, PathRejection>, Result<Query<Reason>, QueryRejection>);

async fn policies(State(shared): State<Shared>) -> Result<Json<PolicyList>, Problem> {
    let policies = ask(&shared, |control| control.maintenance().policies()).await??;
    Ok(Json(PolicyList { policies }))
}

async fn policy(
    State(shared): State<Shared>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let name = named(name)?;
    let policies = ask(&shared, |control| control.maintenance().policies()).await??;
    let found = policies.into_iter().find(|policy| policy.name == name);
    let policy = found.ok_or_else(|| Problem::not_found(format!("there is no policy {name}")))?;
    Ok(([(header::ETAG, tag(policy.revision))], Json(policy)).into_response())
}

async fn put_policy(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    name: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let (name, expected) = (named(name)?, expected(&headers)?);
    let request: PolicyRequest = read(body, POLICY_LIMIT_BYTES)?;
    let answer = ask(&shared, move |control| {
        control.maintenance().put_policy(name, expected, request, caller.name())
    });
    let answer = answer.await??;
    let status = if expected.is_some() { StatusCode::OK } else { StatusCode::CREATED };
    let tag = [(header::ETAG, tag(answer.policy.revision))];
    Ok((status, tag, Json(answer)).into_response())
}

async fn remove_policy(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    (name, reason): Asked,
) -> Result<Json<PolicyDocument>, Problem> {
    let removal = removal((name, reason), expected(&headers)?, &caller)?;
    let removed = ask(&shared, |control| control.maintenance().remove_policy(removal)).await??;
    Ok(Json(removed))
}

async fn freezes(State(shared): State<Shared>) -> Result<Json<FreezeList>, Problem> {
    let freezes = ask(&shared, |control| control.maintenance().freezes()).await??;
    Ok(Json(FreezeList { freezes }))
}

async fn add_freeze(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<Freeze>), Problem> {
    let make = |it: &dyn MaintenanceControl, request: FreezeRequest, by| it.add_freeze(request, by);
    create(&shared, &caller, body, make).await
}

async fn remove_freeze(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    (name, reason): Asked,
) -> Result<Json<Freeze>, Problem> {
    let removal = removal((name, reason), None, &caller)?;
    let removed = ask(&shared, |control| control.maintenance().remove_freeze(removal)).await??;
    Ok(Json(removed))
}

async fn operations(State(shared): State<Shared>) -> Result<Json<OperationList>, Problem> {
    let list = ask(&shared, |control| {
        let maintenance = control.maintenance();
        let (operations, paused) = (maintenance.operations()?, maintenance.paused()?);
        Ok::<_, ControlError>(OperationList { paused, ..operations.into() })
    });
    Ok(Json(list.await??))
}

async fn add_operations(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<OperationList>), Problem> {
    let request: OperationRequest = read(body, BODY_LIMIT_BYTES)?;
    let added = ask(&shared, move |control| {
        let maintenance = control.maintenance();
        let operations = maintenance.add_operations(request, caller.name())?;
        // They are added, whether it can be said how they will fare or not.
        let lints = maintenance.lints_of(operations.clone()).unwrap_or_default();
        Ok::<_, ControlError>(OperationList { lints, ..operations.into() })
    });
    Ok((StatusCode::CREATED, Json(added.await??)))
}

async fn cancel_operations(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    (name, reason): Asked,
) -> Result<Json<OperationList>, Problem> {
    let removal = removal((name, reason), None, &caller)?;
    let cancelled =
        ask(&shared, |control| control.maintenance().cancel_operations(removal)).await??;
    Ok(Json(cancelled.into()))
}

async fn approve_operations(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    name: Result<Path<String>, PathRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<OperationList>, Problem> {
    let (name, Reason { reason }) = (named(name)?, read(body, BODY_LIMIT_BYTES)?);
    let approved = ask(&shared, move |control| {
        control.maintenance().approve_operations(name, reason, caller.name())
    });
    Ok(Json(approved.await??.into()))
}

async fn pass_over_operations(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    name: Result<Path<String>, PathRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<OperationList>, Problem> {
    let (name, Reason { reason }) = (named(name)?, read(body, BODY_LIMIT_BYTES)?);
    let passed_over = ask(&shared, move |control| {
        control.maintenance().pass_over_operations(name, reason, caller.name())
    });
    Ok(Json(passed_over.await??.into()))
}

fn named(name: Result<Path<String>, PathRejection>) -> Result<String, Problem> {
    let Path(name) = name.map_err(|error| Problem::invalid(error.body_text()))?;
    Ok(name)
}

pub(super) fn removal(
    (name, reason): Asked,
    expected: Option<u64>,
    caller: &Caller,
) -> Result<Removal, Problem> {
    Ok(Removal { name: named(name)?, expected, reason: because(reason)?, by: caller.name() })
}

/// The same of something of a gateway, which both name it.
pub(super) fn removal_of_host(
    name: Result<Path<(String, String)>, PathRejection>,
    reason: Result<Query<Reason>, QueryRejection>,
    caller: &Caller,
) -> Result<Removal, Problem> {
    let Path((host, name)) = name.map_err(|error| Problem::invalid(error.body_text()))?;
    let name = format!("{host}/{name}");
    Ok(Removal { name, expected: None, reason: because(reason)?, by: caller.name() })
}

/// Why something is done, as the query says.
pub(super) fn because(reason: Result<Query<Reason>, QueryRejection>) -> Result<String, Problem> {
    let Query(Reason { reason }) = reason.map_err(|error| Problem::invalid(error.body_text()))?;
    Ok(reason)
}

/// Makes what a body asks for, in the name of who asks.
pub(super) async fn create<R, T>(
    shared: &Shared,
    caller: &Caller,
    body: Result<Bytes, BytesRejection>,
    make: impl FnOnce(&dyn MaintenanceControl, R, String) -> Result<T, ControlError> + Send + 'static,
) -> Result<(StatusCode, Json<T>), Problem>
where
    R: DeserializeOwned + Send + 'static,
    T: Send + 'static,
{
    let (request, by): (R, _) = (read(body, BODY_LIMIT_BYTES)?, caller.name());
    let made = ask(shared, move |control| make(control.maintenance(), request, by));
    Ok((StatusCode::CREATED, Json(made.await??)))
}

pub(super) fn read<T: DeserializeOwned>(
    body: Result<Bytes, BytesRejection>,
    limit_bytes: usize,
) -> Result<T, Problem> {
    let body = body.map_err(|_| Problem::too_large(limit_bytes))?;
    serde_json::from_slice(&body).map_err(|error| Problem::invalid(error.to_string()))
}

fn tag(revision: u64) -> String {
    format!("\"{revision}\"")
}

/// The revision that the caller has seen.
fn expected(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(tag) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let number = tag.to_str().ok().and_then(|tag| tag.trim().trim_matches('"').parse().ok());
    let wrong = || Problem::invalid("if-match names one revision, as in the etag: \"12\"");
    number.map(Some).ok_or_else(wrong)
}
