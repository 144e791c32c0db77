//! The `tidegate` program, as typed.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::PATIENCE;
use super::patience::PAUSE;

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

/// Runs a program to its end. One that does not end is killed, which gives no exit code.
pub fn run(command: &mut Command) -> Ran {
    run_within(PATIENCE * 2, command)
}

/// Runs a program that has a lot to do, such as all cases of a client library, to its end.
pub fn run_within(limit: Duration, command: &mut Command) -> Ran {
    let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let out = child.stdout.take().map(read_all);
    let err = child.stderr.take().map(read_all);
    let text = |reading: Option<JoinHandle<String>>| {
        reading.map(|it| it.join().expect("a reader does not panic")).unwrap_or_default()
    };
    let status = wait(&mut child, limit);
    Ran { code: status.code(), out: text(out), err: text(err) }
}

/// Reads beside the others, so that no pipe fills up.
fn read_all(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came before an error is told.
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn wait(child: &mut Child, limit: Duration) -> ExitStatus {
    let began = Instant::now();
    while began.elapsed() < limit {
        if let Some(status) = child.try_wait().expect("a child of ours") {
            return status;
        }
        std::thread::sleep(PAUSE);
    }
    // It may have ended just now.
    let _ = child.kill();
    child.wait().expect("a child of ours")
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
