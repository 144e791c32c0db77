//! The paths of what speaks against visits.

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{MethodRouter, delete, get};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};

use super::caller::Caller;
use super::problem::Problem;
use super::routes::{Shared, ask};
use super::wanted::{Reason, create, removal_of_host};
use crate::scheduler::{BlockerRequest, HostBlocker, MaintenanceControl};

/// Answer of `/api/v1/maintenance/blockers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockerList {
    /// Those that are in force, by gateway and code.
    pub blockers: Vec<HostBlocker>,
}

/// Every path of them.
pub(super) fn routes() -> Vec<(&'static str, MethodRouter<Shared>)> {
    vec![
        ("/api/v1/maintenance/blockers", get(list).post(add)),
        ("/api/v1/maintenance/blockers/{host}/{code}", delete(remove)),
    ]
}

async fn list(State(shared): State<Shared>) -> Result<Json<BlockerList>, Problem> {
    let blockers = ask(&shared, |control| control.maintenance().blockers()).await??;
    Ok(Json(BlockerList { blockers }))
}

async fn add(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<HostBlocker>), Problem> {
    let make =
        |it: &dyn MaintenanceControl, request: BlockerRequest, by| it.add_blocker(request, by);
    create(&shared, &caller, body, make).await
}

async fn remove(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    name: Result<Path<(String, String)>, PathRejection>,
    reason: Result<Query<Reason>, QueryRejection>,
) -> Result<Json<HostBlocker>, Problem> {
    let removal = removal_of_host(name, reason, &caller)?;
    let removed = ask(&shared, |control| control.maintenance().remove_blocker(removal)).await??;
    Ok(Json(removed))
}
