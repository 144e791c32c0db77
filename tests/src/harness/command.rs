//! The `tidegate` program, as typed.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// What a program that has ended left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// The `tidegate` program with these arguments, ready to be started.
///
/// It stands beside the tests' own folder: `target/<profile>/deps/<test>` and `target/<profile>/tidegate`.
pub fn tidegate<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(program());
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs a program to its end.
pub fn run(command: &mut Command) -> Ran {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    Ran {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn program() -> PathBuf {
    let test = std::env::current_exe().expect("the test knows where it is");
    let program =
        test.ancestors().nth(2).expect("a test lies in target/<profile>/deps").join("tidegate");
    assert!(
        program.exists(),
        "{} is not built: run `cargo build -p tidegate` first, or everything with `tests/run`",
        program.display()
    );
    program
}
