//! How a command ends: exit codes that scripts can act on.

use std::error::Error;

use super::api::ApiError;
use crate::config::ConfigError;
use crate::fleet::{FolderError, LaunchError, PlanError};
use crate::rights::RightsError;

/// An exit code; the same list stands in `--help`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Could not start, or could not reach the gateway.
    Failed = 1,
    /// What was waited for was not done: a drain, a restart, an operation.
    Undrained = 3,
    /// The gateway said no.
    Refused = 4,
    /// What was asked about is not allowed.
    Denied = 5,
    /// The store, or a backup of it, is damaged.
    Damaged = 6,
    /// A change was asked for, and may have been done: nobody said what came of it.
    PerhapsDone = 7,
    /// Wrong arguments or configuration.
    Usage = 64,
    /// A gateway ended to be started again, as a visit of the plan wants it.
    Again = 75,
}

impl Exit {
    /// The code of a question that was not answered as it should be.
    pub(super) const fn of(error: &ApiError) -> Self {
        match error {
            ApiError::Url(_) => Self::Usage,
            ApiError::Problem(problem) => match problem.status {
                400 => Self::Usage,
                403 | 409 | 412 => Self::Refused,
                _ => Self::Failed,
            },
            ApiError::Unanswered { .. } => Self::PerhapsDone,
            ApiError::Identity { .. } | ApiError::Unreachable { .. } => Self::Failed,
        }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command failed, in one text, and its exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Exit code.
    pub exit: Exit,
    /// For standard error.
    pub message: String,
}

impl Failure {
    /// A failure with the error and all that led to it.
    pub fn new(exit: Exit, error: &dyn Error) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(error) = source {
            message.push_str(": ");
            message.push_str(&error.to_string());
            source = error.source();
        }
        Self { exit, message }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(Exit::Failed, &error)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(Exit::Usage, &error)
    }
}

impl From<RightsError> for Failure {
    fn from(error: RightsError) -> Self {
        Self::new(Exit::Usage, &error)
    }
}

impl From<FolderError> for Failure {
    fn from(error: FolderError) -> Self {
        Self::new(Exit::Failed, &error)
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self::new(Exit::of(&error), &error)
    }
}

impl From<LaunchError> for Failure {
    fn from(error: LaunchError) -> Self {
        let usage = matches!(
            error,
            LaunchError::Plan(
                PlanError::Gateways | PlanError::Offset(..) | PlanError::Unspecified(_)
            )
        );
        Self::new(if usage { Exit::Usage } else { Exit::Failed }, &error)
    }
}

#[cfg(test)]
mod tests {
    use super::super::arguments::EXIT_CODES;
    use super::*;
    use crate::control::ControlError;
    use crate::http::Problem;

    #[test]
    fn a_refusal_has_a_code_of_its_own() {
        let refused = Problem::from(ControlError::Refused("no slot".into()));
        assert_eq!(Failure::from(ApiError::Problem(refused)).exit, Exit::Refused);
        let busy = Problem::from(ControlError::Unavailable("busy".into()));
        assert_eq!(Failure::from(ApiError::Problem(busy)).exit, Exit::Failed);
    }

    #[test]
    fn every_code_is_in_the_help_and_on_its_page_and_no_other() {
        let codes = |text: &str| -> Vec<u8> {
            let first = |line: &str| {
                let line = line.trim_start_matches(['|', ' ']);
                line.split_whitespace().next().and_then(|word| word.parse().ok())
            };
            text.lines().filter_map(first).collect()
        };
        let all = [
            Exit::Done,
            Exit::Failed,
            Exit::Undrained,
            Exit::Refused,
            Exit::Denied,
            Exit::Damaged,
            Exit::PerhapsDone,
            Exit::Usage,
            Exit::Again,
        ];
        let all = all.map(|exit| match exit {
            // A code that is new here belongs above, too.
            Exit::Done
            | Exit::Failed
            | Exit::Undrained
            | Exit::Refused
            | Exit::Denied
            | Exit::Damaged
            | Exit::PerhapsDone
            | Exit::Usage
            | Exit::Again => exit as u8,
        });
        assert_eq!(codes(EXIT_CODES), all);
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/exit-codes.md");
        let page = std::fs::read_to_string(page).unwrap();
        let ours = page.split("| example |").next().unwrap();
        assert_eq!(codes(ours), all);
    }

    #[test]
    fn a_failure_tells_the_whole_chain_once() {
        let source = std::io::Error::from(std::io::ErrorKind::NotFound);
        let error = ConfigError::Read { path: "gw.toml".into(), source };
        let failure = Failure::from(error);
        assert_eq!(failure.message, "cannot read gw.toml: entity not found");
        assert_eq!(failure.exit, Exit::Usage);
    }
}
