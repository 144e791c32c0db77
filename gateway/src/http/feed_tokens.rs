//! The paths of the tokens by which calendar programs read the feed of visits.

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, delete, get};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};

use super::caller::Caller;
use super::problem::Problem;
use super::routes::{Shared, ask};
use super::wanted::{Asked, create, removal};
use crate::scheduler::{FeedToken, FeedTokenRequest, MaintenanceControl};

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
    let make =
        |it: &dyn MaintenanceControl, request: FeedTokenRequest, by| it.add_feed_token(request, by);
    let (status, added) = create(&shared, &caller, body, make).await?;
    // Nobody on the way keeps the secret.
    Ok((status, [(header::CACHE_CONTROL, "no-store")], added))
}

async fn revoke(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    asked: Asked,
) -> Result<Json<FeedToken>, Problem> {
    let removal = removal(asked, None, &caller)?;
    let revoked = ask(&shared, |control| control.maintenance().revoke_feed_token(removal));
    Ok(Json(revoked.await??))
}
