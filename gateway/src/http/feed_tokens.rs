//! The paths of the tokens by which calendar programs read the feed of visits.

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, delete, get};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};

use super::caller::Caller;
use super::problem::Problem;
use super::routes::{BODY_LIMIT_BYTES, Shared, ask};
use super::wanted::{Reason, read};
use crate::scheduler::{FeedToken, FeedTokenRequest, Removal};

/// Answer of `/api/v1/maintenance/feed-tokens`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedTokenList {
    /// Those that are good, by name, without their secrets.
    pub tokens: Vec<FeedToken>,
}

/// Every path of them.
pub(super) fn routes() -> Vec<(&'static str, MethodRouter<Shared>)> {
    vec![
        ("/api/v1/maintenance/feed-tokens", get(list).post(add)),
        ("/api/v1/maintenance/feed-tokens/{name}", delete(revoke)),
    ]
}

async fn list(State(shared): State<Shared>) -> Result<Json<FeedTokenList>, Problem> {
    let tokens = ask(&shared, |control| control.maintenance().feed_tokens()).await??;
    Ok(Json(FeedTokenList { tokens: tokens.into_iter().map(|it| it.token).collect() }))
}

async fn add(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    body: Result<Bytes, BytesRejection>,
) -> Result<impl IntoResponse, Problem> {
    let request: FeedTokenRequest = read(body, BODY_LIMIT_BYTES)?;
    let added =
        ask(&shared, move |control| control.maintenance().add_feed_token(request, caller.name()));
    let added = added.await??;
    // Nobody on the way keeps the secret.
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(added)))
}

async fn revoke(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    name: Result<Path<String>, PathRejection>,
    reason: Result<Query<Reason>, QueryRejection>,
) -> Result<Json<FeedToken>, Problem> {
    let Path(name) = name.map_err(|error| Problem::invalid(error.body_text()))?;
    let Query(Reason { reason }) = reason.map_err(|error| Problem::invalid(error.body_text()))?;
    let removal = Removal { name, expected: None, reason, by: caller.name() };
    let revoked = ask(&shared, |control| control.maintenance().revoke_feed_token(removal));
    Ok(Json(revoked.await??))
}
