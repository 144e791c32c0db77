//! The gateways of a fleet, any of which may be asked.

use std::io::Write;

use maintenance::fleet::Host;
use protocol::GatewayId;
use serde::Serialize;
use serde_json::json;

use crate::cli::api::{Api, ApiError};
use crate::cli::arguments::Arguments;
use crate::cli::execute::wait;
use crate::cli::exit::{Exit, Failure};
use crate::cli::reach;
use crate::cli::show::{percent_encoded, table};
use crate::http::HostList;

/// What all paths of maintenance begin with.
const ROOT: &str = "/api/v1/maintenance";

/// Any of them answers for all.
pub(super) struct Fleet {
    apis: Vec<Api>,
}

impl Fleet {
    /// Those of the data folder, or the one that was named.
    pub(super) fn of(arguments: &Arguments) -> Result<Self, Failure> {
        let apis = reach::some(arguments, None)?.into_iter().map(|(_, api)| api).collect();
        Ok(Self { apis })
    }

    /// The gateways that are registered.
    pub(super) fn hosts(&self) -> Result<Vec<Host>, Failure> {
        let list: HostList = self.ask(async |api| api.get(&path(&["hosts"])).await)?;
        Ok(list.hosts.into_iter().map(|status| status.host).collect())
    }

    /// Asks the first gateway that can be reached.
    pub(super) fn ask<T>(
        &self,
        question: impl AsyncFn(&Api) -> Result<T, ApiError>,
    ) -> Result<T, Failure> {
        wait(async {
            let mut unreachable = None;
            for api in &self.apis {
                match question(api).await {
                    Err(error @ ApiError::Unreachable { .. }) => unreachable = Some(error),
                    answer => return Ok(answer?),
                }
            }
            let nobody =
                || Failure { exit: Exit::Failed, message: "there is no gateway".to_owned() };
            Err(unreachable.map_or_else(nobody, Failure::from))
        })?
    }
}

/// The fleet has no such gateway.
pub(super) fn no_gateway(id: &GatewayId) -> Failure {
    Failure { exit: Exit::Usage, message: format!("there is no gateway {id}") }
}

/// A path of maintenance; what stands between slashes may be anything.
pub(super) fn path(parts: &[&str]) -> String {
    parts.iter().fold(ROOT.to_owned(), |path, part| format!("{path}/{}", percent_encoded(part)))
}

/// The same with a reason.
pub(super) fn path_because(parts: &[&str], reason: &str) -> String {
    format!("{}?reason={}", path(parts), percent_encoded(reason))
}

/// Prints an answer, as JSON or as a table.
pub(super) fn print(
    answer: &impl Serialize,
    rows: &[Vec<String>],
    json: bool,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let text = if json { format!("{}\n", json!(answer)) } else { table(rows) };
    out.write_all(text.as_bytes())?;
    Ok(Exit::Done)
}

/// A moment as people read it, in UTC.
pub(super) fn utc(ms: u64) -> String {
    let at = i64::try_from(ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    at.map_or_else(|| "-".to_owned(), |at| at.to_string())
}
