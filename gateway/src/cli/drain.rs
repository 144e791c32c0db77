//! `drain start|status|abort|undrain`.

use std::io::Write;
use std::time::Duration;

use serde_json::json;

use super::api::{Api, ApiError};
use super::exit::{Exit, Failure};
use crate::control::{DrainRequest, DrainStatus, GatewayStatus, Outcome};

/// Time between two looks at a drain.
const LOOK_PAUSE: Duration = Duration::from_secs(1);
/// Looks that may fail in a row before the wait is given up.
const MAX_FAILED_LOOKS: u32 = 10;

const CURRENT: &str = "/api/v1/drains/current";

/// Begins a drain; with `wait` the exit code is its verdict.
pub(super) async fn start(
    api: &Api,
    request: &DrainRequest,
    wait: bool,
    print: &mut Print<'_>,
) -> Result<Exit, Failure> {
    let begun: DrainStatus = api.post("/api/v1/drains", request).await?;
    if !wait {
        print.status(&begun)?;
        return Ok(Exit::Done);
    }
    let ended = follow(api, begun, print).await?;
    print.status(&ended)?;
    Ok(match ended.verdict.map(|verdict| verdict.outcome) {
        Some(Outcome::Drained) => Exit::Done,
        Some(Outcome::Aborted | Outcome::TimedOut) | None => Exit::Undrained,
    })
}

/// Prints the drain that runs, or the last one.
pub(super) async fn status(api: &Api, print: &mut Print<'_>) -> Result<Exit, Failure> {
    let status: DrainStatus = api.get(CURRENT).await?;
    print.status(&status)?;
    Ok(Exit::Done)
}

/// Stops the running drain.
pub(super) async fn abort(api: &Api, print: &mut Print<'_>) -> Result<Exit, Failure> {
    let status: DrainStatus = api.delete(CURRENT).await?;
    print.status(&status)?;
    Ok(Exit::Done)
}

/// Serves again.
pub(super) async fn undrain(api: &Api, print: &mut Print<'_>) -> Result<Exit, Failure> {
    let status: GatewayStatus = api.post("/api/v1/undrain", &json!({})).await?;
    if print.json {
        writeln!(print.out, "{}", json!(status))?;
    } else {
        writeln!(print.out, "{} is {}", status.id, status.state.as_str())?;
    }
    Ok(Exit::Done)
}

/// Looks each second until there is a verdict, or another drain has begun.
async fn follow(
    api: &Api,
    mut seen: DrainStatus,
    print: &mut Print<'_>,
) -> Result<DrainStatus, Failure> {
    let mut failed = 0;
    while seen.verdict.is_none() {
        print.progress(&seen);
        tokio::time::sleep(LOOK_PAUSE).await;
        match come_of(api.get(CURRENT).await, &seen, failed)? {
            Some(status) => (seen, failed) = (status, 0),
            None => failed += 1,
        }
    }
    Ok(seen)
}

/// What a look at a drain says, of which `seen` was seen last; none if it is worth another one.
///
/// # Errors
/// Why there is nothing more to wait for.
fn come_of(
    look: Result<DrainStatus, ApiError>,
    seen: &DrainStatus,
    failed: u32,
) -> Result<Option<DrainStatus>, Failure> {
    let undrained = |message| Err(Failure { exit: Exit::Undrained, message });
    match look {
        Ok(status) if status.id == seen.id => Ok(Some(status)),
        Ok(other) => undrained(format!("drain {} gave way to {}", seen.id, other.id)),
        // The process alone remembers its drain.
        Err(ApiError::Problem(problem)) if problem.status == 404 => undrained(format!(
            "{} was started again in the middle of the drain, which is over with that: it serves",
            seen.gateway
        )),
        Err(ApiError::Unreachable { .. }) if failed < MAX_FAILED_LOOKS => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Where a drain is told: results on one writer, progress on another.
pub(super) struct Print<'a> {
    pub(super) out: &'a mut dyn Write,
    pub(super) progress: &'a mut dyn Write,
    pub(super) json: bool,
}

impl Print<'_> {
    fn status(&mut self, status: &DrainStatus) -> Result<(), std::io::Error> {
        if self.json {
            return writeln!(self.out, "{}", json!(status));
        }
        match &status.verdict {
            None => writeln!(self.out, "{}", line(status)),
            Some(verdict) => {
                let evidence = &status.evidence;
                writeln!(
                    self.out,
                    "{} {}: {} moved, {} failed, {} left in {}.{:03} s; {}\n\
                     evidence: {} connections, {} sessions owned, {} unacknowledged forwards, {} unsaved cursors, {} parked wills",
                    status.gateway,
                    verdict.outcome.as_str(),
                    status.moved,
                    status.failed,
                    status.left,
                    verdict.elapsed_ms / 1000,
                    verdict.elapsed_ms % 1000,
                    verdict.detail,
                    evidence.connections,
                    evidence.sessions_owned,
                    evidence.unacknowledged_forwards,
                    evidence.unsaved_cursors,
                    evidence.parked_wills,
                )
            }
        }
    }

    /// A line for whoever watches; when nobody does, nothing is lost.
    fn progress(&mut self, status: &DrainStatus) {
        let _ = writeln!(self.progress, "{}", line(status));
    }
}

fn line(status: &DrainStatus) -> String {
    format!(
        "{} {}: {} moved, {} failed, {} left, {}/s{}",
        status.gateway,
        status.state.as_str(),
        status.moved,
        status.failed,
        status.left,
        status.per_s,
        if status.asking { "; takes too long: abort it, or start it again to go on" } else { "" }
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{ControlError, Evidence, GatewayState, Verdict};
    use crate::http::Problem;

    fn drain(id: &str) -> DrainStatus {
        DrainStatus {
            id: id.into(),
            gateway: "gw-1".into(),
            state: GatewayState::Moving,
            started: "2030-01-01T00:00:00Z".into(),
            moved: 7,
            failed: 0,
            left: 0,
            per_s: 200,
            asking: false,
            evidence: Evidence::default(),
            verdict: None,
        }
    }

    #[test]
    fn a_drain_that_its_gateway_has_forgotten_is_over_undone() {
        let none = ControlError::Missing("no drain has run since the gateway started".into());
        let look = Err(ApiError::Problem(Problem::from(none)));
        let failure = come_of(look, &drain("d1"), 0).unwrap_err();
        assert_eq!(failure.exit, Exit::Undrained);
        assert!(failure.message.starts_with("gw-1 was started again"), "{}", failure.message);
    }

    #[test]
    fn a_gateway_that_does_not_answer_is_asked_ten_times_more() {
        let silent = || Err(ApiError::Unreachable { url: "u".into(), what: "w".into() });
        assert_eq!(come_of(silent(), &drain("d1"), 9), Ok(None));
        assert_eq!(come_of(silent(), &drain("d1"), 10).unwrap_err().exit, Exit::Failed);
        let other = come_of(Ok(drain("d2")), &drain("d1"), 0).unwrap_err();
        assert_eq!(other.message, "drain d1 gave way to d2");
    }

    #[test]
    fn a_verdict_is_printed_with_its_evidence() {
        let verdict = Verdict {
            outcome: Outcome::Drained,
            detail: "owns nobody, owes nobody".into(),
            elapsed_ms: 1_034,
        };
        let status =
            DrainStatus { state: GatewayState::Quiesced, verdict: Some(verdict), ..drain("d1") };
        let mut out = Vec::new();
        let mut progress = Vec::new();
        let mut print = Print { out: &mut out, progress: &mut progress, json: false };
        print.status(&status).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("gw-1 drained: 7 moved, 0 failed, 0 left in 1.034 s;"), "{text}");
        assert!(text.contains("0 unsaved cursors"), "{text}");
    }
}
