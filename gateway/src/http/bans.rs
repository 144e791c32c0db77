//! The paths of bans.

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};

use super::caller::Caller;
use super::problem::Problem;
use super::routes::{BODY_LIMIT_BYTES, Shared, ask};
use crate::bans::{Ban, BanNamed, BanRequest};

/// Answer of `/api/v1/bans`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BanList {
    /// The bans of the fleet that hold.
    pub bans: Vec<Ban>,
}

pub(super) async fn list(State(shared): State<Shared>) -> Result<Json<BanList>, Problem> {
    let bans = ask(&shared, |control| control.bans()).await??;
    Ok(Json(BanList { bans }))
}

pub(super) async fn add(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<Ban>), Problem> {
    let body = body.map_err(|_| Problem::too_large(BODY_LIMIT_BYTES))?;
    let request: BanRequest =
        serde_json::from_slice(&body).map_err(|error| Problem::invalid(error.to_string()))?;
    let new =
        request.checked(caller.name()).map_err(|fault| Problem::invalid(fault.to_string()))?;
    let ban = ask(&shared, |control| control.add_ban(new)).await??;
    Ok((StatusCode::CREATED, Json(ban)))
}

pub(super) async fn remove(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    named: Result<Query<BanNamed>, QueryRejection>,
) -> Result<Json<Ban>, Problem> {
    let Query(named) = named.map_err(|error| Problem::invalid(error.body_text()))?;
    let on = named.on().map_err(|fault| Problem::invalid(fault.to_string()))?;
    let removed = ask(&shared, move |control| control.remove_ban(on, caller.name())).await??;
    removed.map(Json).ok_or_else(|| Problem::not_found("there is no such ban"))
}
