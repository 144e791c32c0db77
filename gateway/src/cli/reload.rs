//! `reload`: files that changed are read again, and what came of it.

use std::io::Write;

use serde_json::json;

use super::exit::{Exit, Failure};
use super::reach::Reached;
use crate::control::ReloadReport;

/// Lets each gateway read its files again; refused if one cannot be used.
pub(super) async fn reload(
    gateways: Vec<Reached>,
    json: bool,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let mut applied = true;
    let mut values = Vec::new();
    for (id, api) in gateways {
        let report: ReloadReport = api.post("/api/v1/reload", &json!({})).await?;
        applied &= report.is_applied();
        if json {
            values.push(json!({"gateway": id, "report": report}));
            continue;
        }
        for part in &report.parts {
            match &part.error {
                None => writeln!(out, "{id}: {} in force", part.name)?,
                Some(error) => writeln!(out, "{id}: {} as before: {error}", part.name)?,
            }
        }
        if !report.needs_restart.is_empty() {
            writeln!(out, "{id}: needs a restart: {}", report.needs_restart.join(", "))?;
        }
    }
    if json {
        writeln!(out, "{}", json!({"gateways": values}))?;
    }
    Ok(if applied { Exit::Done } else { Exit::Refused })
}
