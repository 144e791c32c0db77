//! `restart --in-place`: a successor takes over on the same host.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::api::{Api, ApiError};
use super::exit::{Exit, Failure};
use crate::succession::{RestartRequest, RestartStage, RestartStatus};

const RESTART: &str = "/api/v1/restart";
/// Time between two looks at it.
const LOOK_PAUSE: Duration = Duration::from_millis(200);
/// Looks that may fail in a row: whoever is looked at changes meanwhile.
const MAX_FAILED_LOOKS: u32 = 50;

/// Begins one, and waits until it is over.
pub(super) async fn restart(
    (gateway, api): (&str, &Api),
    binary: Option<&Path>,
    json: bool,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let request = RestartRequest { binary: binary.map(Path::to_owned) };
    let begun: RestartStatus = api.post(RESTART, &request).await?;
    let ended = follow(gateway, api, begun).await?;
    if json {
        writeln!(out, "{}", json!(ended))?;
    } else if ended.stage == RestartStage::Done {
        let pid = ended.pid.unwrap_or_default();
        writeln!(out, "{gateway} is followed by process {pid}; the one before it has ended")?;
    }
    match ended.stage {
        RestartStage::Done => Ok(Exit::Done),
        RestartStage::Failed
        | RestartStage::Preparing
        | RestartStage::Joining
        | RestartStage::Moving => {
            let why = ended.detail.unwrap_or_default();
            let message = format!("{gateway} serves on as before: {why}");
            Err(Failure { exit: Exit::Undrained, message })
        }
    }
}

/// Looks until it is over, at whichever process answers.
async fn follow(
    gateway: &str,
    api: &Api,
    mut seen: RestartStatus,
) -> Result<RestartStatus, Failure> {
    let mut failed = 0;
    let mut told = None;
    while !seen.stage.is_over() {
        if told != Some((seen.stage, seen.left)) {
            told = Some((seen.stage, seen.left));
            // When nobody watches, nothing is lost.
            let line = format!("{gateway} {}: {} left", seen.stage.as_str(), seen.left);
            let _ = writeln!(std::io::stderr(), "{line}");
        }
        tokio::time::sleep(LOOK_PAUSE).await;
        match api.get::<RestartStatus>(RESTART).await {
            Ok(status) if status.id == seen.id => {
                failed = 0;
                seen = status;
            }
            Ok(other) => {
                let message = format!("restart {} gave way to {}", seen.id, other.id);
                return Err(Failure { exit: Exit::Undrained, message });
            }
            Err(ApiError::Unreachable { .. }) if failed < MAX_FAILED_LOOKS => failed += 1,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(seen)
}
