//! The paths of the times that suit gateways.

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
use crate::scheduler::{HostPreference, MaintenanceControl, PreferenceRequest};

/// Answer of `/api/v1/maintenance/preferences`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreferenceList {
    /// Those that are in force, by gateway and name.
    pub preferences: Vec<HostPreference>,
}

/// Every path of them.
pub(super) fn routes() -> Vec<(&'static str, MethodRouter<Shared>)> {
    vec![
        ("/api/v1/maintenance/preferences", get(list).post(add)),
        ("/api/v1/maintenance/preferences/{host}/{name}", delete(remove)),
    ]
}

async fn list(State(shared): State<Shared>) -> Result<Json<PreferenceList>, Problem> {
    let preferences = ask(&shared, |control| control.maintenance().preferences()).await??;
    Ok(Json(PreferenceList { preferences }))
}

async fn add(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<HostPreference>), Problem> {
    let make = |it: &dyn MaintenanceControl, request: PreferenceRequest, by| {
        it.add_preference(request, by)
    };
    create(&shared, &caller, body, make).await
}

async fn remove(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    name: Result<Path<(String, String)>, PathRejection>,
    reason: Result<Query<Reason>, QueryRejection>,
) -> Result<Json<HostPreference>, Problem> {
    let removal = removal_of_host(name, reason, &caller)?;
    let removed =
        ask(&shared, |control| control.maintenance().remove_preference(removal)).await??;
    Ok(Json(removed))
}
