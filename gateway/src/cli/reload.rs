//! `reload`: files that changed are read again, and what came of it.

use std::io::Write;

use serde_json::json;

use super::api::Api;
use super::each::each;
use super::exit::{Exit, Failure};
use super::reach::Reached;
use crate::control::ReloadReport;

/// Lets each gateway read its files again; refused if one cannot be used. Who does not answer keeps no other from it.
pub(super) async fn reload(
    gateways: Vec<Reached>,
    json: bool,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let mut applied = true;
    let mut values = Vec::new();
    let ask = async |api: Api| api.post::<ReloadReport>("/api/v1/reload", &json!({})).await;
    let answers = each(gateways, ask).await;
    for (id, answer) in &answers.0 {
        let Ok(report) = answer else { continue };
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
    if json && answers.is_answered() {
        writeln!(out, "{}", json!({"gateways": values, "unreachable": answers.silent()}))?;
    }
    answers.ended()?;
    Ok(if applied { Exit::Done } else { Exit::Refused })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::cli::each::tests::{answers, gone};

    #[tokio::test]
    async fn a_gateway_that_is_gone_keeps_no_other_from_reading_its_files() {
        let read = r#"{"parts": [{"name": "configuration", "error": null}], "needs_restart": []}"#;
        let (there, asked) = answers("gw-2", read);
        let mut out = Vec::new();
        let failure = reload(vec![gone("gw-1"), there], false, &mut out).await.unwrap_err();
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        assert_eq!(String::from_utf8(out).unwrap(), "gw-2: configuration in force\n");
        assert_eq!(failure.exit, Exit::Failed);
        assert!(failure.message.contains("gw-1"), "{}", failure.message);
    }
}
