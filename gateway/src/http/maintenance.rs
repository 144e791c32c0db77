//! The paths of maintenance.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::problem::Problem;
use super::routes::{Shared, ask};
use crate::scheduler::{HostStatus, SchedulerStatus};

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
