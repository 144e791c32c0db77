//! The `tidegate` binary: arguments in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    tidegate::cli::execute(std::env::args_os(), tidegate::process::run)
}
