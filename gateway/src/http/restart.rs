//! The path of restarts in place.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;

use super::problem::Problem;
use super::routes::{BODY_LIMIT_BYTES, Shared, ask};
use crate::succession::{RestartRequest, RestartStatus};

pub(super) async fn begin(
    State(shared): State<Shared>,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<RestartStatus>), Problem> {
    let body = body.map_err(|_| Problem::too_large(BODY_LIMIT_BYTES))?;
    let request = if body.is_empty() {
        RestartRequest::default()
    } else {
        serde_json::from_slice(&body).map_err(|error| Problem::invalid(error.to_string()))?
    };
    let status = ask(&shared, |control| control.restart(request)).await??;
    Ok((StatusCode::ACCEPTED, Json(status)))
}

pub(super) async fn show(State(shared): State<Shared>) -> Result<Json<RestartStatus>, Problem> {
    ask(&shared, |control| control.restart_status()).await?.map(Json).ok_or_else(|| {
        Problem::not_found("nothing was restarted in place since the gateway started")
    })
}
