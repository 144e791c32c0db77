//! The same patterns with an independent client.

use crate::{Plan, Report, RunError};

pub(crate) fn run(_plan: &Plan) -> Result<Report, RunError> {
    Err(RunError::Device("not there yet".to_owned()))
}
