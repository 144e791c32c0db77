//! The attendant of a program: its parent, which outlives the gateway that wanted it, and leaves behind how it ended.

use std::ffi::OsString;
use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

use clap::Args;
use protocol::Wall;
use serde::{Deserialize, Serialize};

use super::program::{OUTPUT, ProgramEnd, Tail, ended_as, last};
use crate::clock::wall;

/// What a gateway types to have a program attended to.
#[derive(Debug, Clone, Args)]
pub struct AttendArguments {
    /// Where it is left behind how the program ended.
    #[arg(long, value_name = "FILE")]
    pub end: PathBuf,
    /// What the program is run for.
    #[arg(long, value_name = "TEXT")]
    pub of: String,
    /// The program and its arguments.
    #[arg(last = true, required = true)]
    pub line: Vec<OsString>,
}

/// How a program ended, as it is left behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Left {
    /// What it was run for.
    of: String,
    /// When it had ended, in milliseconds since 1970.
    pub(super) at_ms: u64,
    /// Why it failed; none if it ended with 0.
    failed: Option<String>,
    /// The last of what it said.
    output: String,
}

impl Left {
    /// What was left behind of a program that was run for this; none if there is nothing, or nothing whole.
    pub(super) fn read(file: &Path, of: &str) -> Option<Self> {
        let text = std::fs::read(file).ok()?;
        serde_json::from_slice::<Self>(&text).ok().filter(|left| left.of == of)
    }

    /// In one piece, and not before it is on the disk.
    fn write(&self, file: &Path) -> std::io::Result<()> {
        let whole = file.with_extension("end-new");
        let mut new = File::create(&whole)?;
        new.write_all(&serde_json::to_vec(self)?)?;
        new.sync_all()?;
        std::fs::rename(&whole, file)?;
        file.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    }

    /// The same as who runs a program knows it.
    pub(super) fn end(self) -> ProgramEnd {
        ProgramEnd { failed: self.failed, output: self.output }
    }

    /// When it had ended.
    pub(super) const fn at(&self) -> Wall {
        Wall(self.at_ms)
    }
}

/// Runs the program to its end, passes on what it says as long as somebody listens, and leaves behind how it ended. Its exit
/// code is that of the program.
pub fn attend(it: &AttendArguments) -> ExitCode {
    let (code, end) = run(&it.line);
    let at_ms = wall().0;
    let ProgramEnd { failed, output } = end;
    let left = Left { of: it.of.clone(), at_ms, failed, output };
    // Nobody is left who could be told: then a probe, or a person, has to know.
    let _ = left.write(&it.end);
    ExitCode::from(code)
}

fn run(line: &[OsString]) -> (u8, ProgramEnd) {
    let cannot = |error: std::io::Error| {
        let failed = Some("cannot_start".to_owned());
        (1, ProgramEnd { failed, output: error.to_string() })
    };
    let Some((program, arguments)) = line.split_first() else {
        return cannot(ErrorKind::InvalidInput.into());
    };
    let piped = (Stdio::piped(), Stdio::piped());
    let spawned = Command::new(program).args(arguments).stdout(piped.0).stderr(piped.1).spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => return cannot(error),
    };
    let tails = listen(&mut child);
    let status = match child.wait() {
        Ok(status) => status,
        Err(error) => return cannot(error),
    };
    let output: String = tails.into_iter().map(|tail| tail.text(OUTPUT)).collect();
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    (code, ProgramEnd { failed: ended_as(status), output: last(&output).to_owned() })
}

/// What it says goes on to who listens to this process.
fn listen(child: &mut Child) -> [Tail; 2] {
    [
        Tail::of(child.stdout.take(), Some(Box::new(std::io::stdout()))),
        Tail::of(child.stderr.take(), Some(Box::new(std::io::stderr()))),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attended(line: &str) -> (PathBuf, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let end = dir.path().join("end");
        let line = ["/bin/sh", "-c", line].map(OsString::from).to_vec();
        let _ = attend(&AttendArguments { end: end.clone(), of: "gw-1/a 3".to_owned(), line });
        (end, dir)
    }

    #[test]
    fn how_a_program_ended_is_left_behind_for_what_it_was_run_for_and_nothing_else() {
        let (end, _dir) = attended("echo well; echo worse >&2; exit 7");
        let left = Left::read(&end, "gw-1/a 3").unwrap();
        assert!(left.at_ms > 1_600_000_000_000);
        let (failed, output) = (Some("exit_7".to_owned()), "well\nworse\n".to_owned());
        assert_eq!(left.end(), ProgramEnd { failed, output });
        assert_eq!(Left::read(&end, "gw-1/a 4"), None, "another attempt");
        let (end, _dir) = attended("true");
        assert_eq!(Left::read(&end, "gw-1/a 3").unwrap().end().failed, None);
        let (end, _dir) = attended("kill -9 $$");
        let left = Left::read(&end, "gw-1/a 3").unwrap();
        assert_eq!(left.end().failed.as_deref(), Some("killed"));
    }

    #[test]
    fn half_of_what_is_left_behind_is_nothing() {
        let (end, dir) = attended("true");
        let whole = std::fs::read(&end).unwrap();
        std::fs::write(&end, &whole[..whole.len() / 2]).unwrap();
        assert_eq!(Left::read(&end, "gw-1/a 3"), None);
        assert_eq!(Left::read(&dir.path().join("nothing"), "gw-1/a 3"), None);
    }

    #[test]
    fn a_program_that_is_not_there_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let (end, line) = (dir.path().join("end"), vec!["/nowhere/at/all".into()]);
        let _ = attend(&AttendArguments { end: end.clone(), of: "x".to_owned(), line });
        let left = Left::read(&end, "x").unwrap().end();
        assert_eq!(left.failed.as_deref(), Some("cannot_start"));
        assert!(!left.output.is_empty());
    }
}
