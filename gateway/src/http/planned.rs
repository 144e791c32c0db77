//! The paths of the plan.

use axum::Extension;
use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::routing::{MethodRouter, get, post};
use maintenance::operation::Learned;
use serde::{Deserialize, Serialize};

use super::caller::Caller;
use super::problem::Problem;
use super::routes::{Shared, ask};
use super::wanted::{POLICY_LIMIT_BYTES, read};
use crate::scheduler::{HostWhy, PlanAnswer, PlanPreview, WhatIf};

/// Answer of `/api/v1/maintenance/estimates`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EstimateList {
    /// By kind of work.
    pub estimates: Vec<Learned>,
}

/// Every path of it.
pub(super) fn routes() -> Vec<(&'static str, MethodRouter<Shared>)> {
    vec![
        ("/api/v1/maintenance/plan", get(plan)),
        (
            "/api/v1/maintenance/plan/preview",
            post(preview).layer(DefaultBodyLimit::max(POLICY_LIMIT_BYTES)),
        ),
        ("/api/v1/maintenance/why", get(why)),
        ("/api/v1/maintenance/estimates", get(estimates)),
    ]
}

async fn plan(State(shared): State<Shared>) -> Result<Json<PlanAnswer>, Problem> {
    let plan = ask(&shared, |control| control.maintenance().plan()).await??;
    plan.map(Json).ok_or_else(|| Problem::not_found("nothing was ever planned"))
}

async fn preview(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<PlanPreview>, Problem> {
    let what_if: WhatIf = read(body, POLICY_LIMIT_BYTES)?;
    let preview =
        ask(&shared, move |control| control.maintenance().preview(what_if, caller.name()));
    Ok(Json(preview.await??))
}

async fn estimates(State(shared): State<Shared>) -> Result<Json<EstimateList>, Problem> {
    let estimates = ask(&shared, |control| control.maintenance().estimates()).await??;
    Ok(Json(EstimateList { estimates }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WhyAsked {
    host: String,
}

async fn why(
    State(shared): State<Shared>,
    asked: Result<Query<WhyAsked>, QueryRejection>,
) -> Result<Json<HostWhy>, Problem> {
    let Query(asked) = asked.map_err(|error| Problem::invalid(error.body_text()))?;
    let why = ask(&shared, |control| control.maintenance().why(asked.host));
    Ok(Json(why.await??))
}
