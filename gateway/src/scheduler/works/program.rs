//! A program of the operator's on this host: never through a shell, with nothing to read, and ended with all that it has
//! started when its time is over.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::attend::Left;
use super::mark::Mark;

/// Bytes of its output that are kept: the last of them say why it failed.
const KEPT_BYTES: usize = 4096;
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// Why it failed if it was ended: its time was over, or nobody wanted it any more.
const TIMED_OUT: &str = "timed_out";
const STOPPED: &str = "stopped";
/// This very program, whatever has become of its file since.
const OWN: &str = "/proc/self/exe";
/// How long its output is waited for once it has ended: what it started may hold it open.
pub(super) const OUTPUT: Duration = Duration::from_secs(1);

/// What is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) path: PathBuf,
    pub(super) arguments: Vec<String>,
    /// What it can learn of its visit.
    pub(super) environment: Vec<(&'static str, String)>,
    pub(super) limit: Duration,
    /// What shows that it runs and how it ended, if its gateway may not be there any more to know; and what it is run for.
    pub(super) mark: Option<(Mark, String)>,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ProgramEnd {
    /// For programs: why it failed; none if it ended with 0.
    pub(super) failed: Option<String>,
    /// The last of what it said.
    pub(super) output: String,
}

impl Program {
    /// Runs it, and returns when it has ended; it is ended early if that is wanted.
    pub(super) fn run(&self, stopped: &AtomicBool) -> ProgramEnd {
        let cannot = |error: std::io::Error| ProgramEnd {
            failed: Some("cannot_start".to_owned()),
            output: error.to_string(),
        };
        // Never beside itself, whichever life of the gateway began it.
        let mark = self.mark.as_ref().map(|(mark, _)| mark);
        if let Some(failed) = mark.and_then(|mark| mark.wait(self.limit, stopped)) {
            return ProgramEnd { failed: Some(failed), output: String::new() };
        }
        let nothing = match mark.map_or(Ok(None), |mark| mark.begin().map(Some)) {
            Ok(held) => held.map_or_else(Stdio::null, Stdio::from),
            Err(error) => return cannot(error),
        };
        let child = self
            .line()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            // It does not speak for this process.
            .env_remove("NOTIFY_SOCKET")
            .stdin(nothing)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // So that all of it can be ended.
            .process_group(0)
            .spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(error) => return cannot(error),
        };
        if let Some(mark) = mark {
            mark.note(child.id());
        }
        let tails = [Tail::of(child.stdout.take(), None), Tail::of(child.stderr.take(), None)];
        let failed = self.wait(&mut child, stopped);
        let output: String = tails.into_iter().map(|tail| tail.text(OUTPUT)).collect();
        let seen = ProgramEnd { failed, output: last(&output).to_owned() };
        // Its attendant knows it better, if it came so far.
        let left = self.mark.as_ref().and_then(|(mark, of)| mark.left(of));
        if let (Some(mark), None, Some(TIMED_OUT | STOPPED)) = (mark, &left, seen.failed.as_deref())
        {
            mark.close();
        }
        left.map_or(seen, Left::end)
    }

    /// What is begun: the program, or who attends to it.
    fn line(&self) -> Command {
        let Some((mark, of)) = &self.mark else {
            let mut line = Command::new(&self.path);
            line.args(&self.arguments);
            return line;
        };
        let mut line = Command::new(OWN);
        let mut end = OsString::from("--end=");
        end.push(mark.end());
        line.arg("attend").arg(format!("--of={of}")).arg(end);
        line.arg("--").arg(&self.path).args(&self.arguments);
        line
    }

    /// Waits until it has ended, or ends it.
    fn wait(&self, child: &mut Child, stopped: &AtomicBool) -> Option<String> {
        let began = Instant::now();
        loop {
            match child.try_wait() {
                Ok(Some(status)) => return ended_as(status),
                Ok(None) => {}
                Err(error) => return Some(format!("lost: {error}")),
            }
            let late = began.elapsed() >= self.limit;
            if late || stopped.load(Ordering::Relaxed) {
                kill(child);
                return Some(if late { TIMED_OUT } else { STOPPED }.to_owned());
            }
            std::thread::sleep(LOOK);
        }
    }
}

/// Why it failed, for programs; none if it ended with 0.
pub(super) fn ended_as(status: ExitStatus) -> Option<String> {
    let code = status.code().map_or_else(|| "killed".to_owned(), |it| format!("exit_{it}"));
    Some(code).filter(|_| !status.success())
}

/// It and all that it has started.
fn kill(child: &mut Child) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // An error means that all of it has ended.
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.wait();
}

/// The end of a text, so much as is kept.
pub(super) fn last(text: &str) -> &str {
    let from = text.len().saturating_sub(KEPT_BYTES);
    let from = (from..text.len()).find(|at| text.is_char_boundary(*at));
    from.and_then(|from| text.get(from..)).unwrap_or_default()
}

/// The last bytes of a stream, once it is closed.
pub(super) struct Tail(Receiver<Vec<u8>>);

impl Tail {
    /// Reads it to its end, and passes it on to somebody who may not listen any more.
    pub(super) fn of(
        stream: Option<impl Read + Send + 'static>,
        mut on: Option<Box<dyn Write + Send>>,
    ) -> Self {
        let (sender, receiver) = channel();
        let read = move || {
            let (mut kept, mut buffer) = (Vec::new(), [0; 1024]);
            if let Some(mut stream) = stream {
                while let Ok(read @ 1..) = stream.read(&mut buffer) {
                    let bytes = buffer.get(..read).unwrap_or_default();
                    kept.extend_from_slice(bytes);
                    kept.drain(..kept.len().saturating_sub(KEPT_BYTES));
                    on.take_if(|on| on.write_all(bytes).and_then(|()| on.flush()).is_err());
                }
            }
            // Nobody waits for what comes late.
            let _ = sender.send(kept);
        };
        // Without a thread its words are not heard, and it fails when its pipe is full.
        let _ = crate::logging::thread("hook-output", read);
        Self(receiver)
    }

    /// What there is of it, if it is closed in time.
    pub(super) fn text(self, patience: Duration) -> String {
        let bytes = self.0.recv_timeout(patience).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn end_of(line: &str, limit: Duration) -> ProgramEnd {
        let arguments = vec!["-c".to_owned(), line.to_owned()];
        let environment = vec![("TIDEGATE_GATEWAY", "gw-1".to_owned())];
        let path = "/bin/sh".into();
        Program { path, arguments, environment, limit, mark: None }.run(&AtomicBool::new(false))
    }

    #[test]
    fn it_says_how_it_ended_and_what_it_said_last() {
        let end = end_of("read line; echo $TIDEGATE_GATEWAY; echo well >&2", HOUR);
        assert_eq!((end.failed, end.output.as_str()), (None, "gw-1\nwell\n"));
        let end = end_of("echo no; exit 7", HOUR);
        assert_eq!((end.failed.as_deref(), end.output.as_str()), (Some("exit_7"), "no\n"));
        let end = end_of("i=0; while [ $i -lt 2000 ]; do echo 12345; i=$((i+1)); done", HOUR);
        assert_eq!(end.output.len(), KEPT_BYTES);
        let (arguments, environment) = (Vec::new(), Vec::new());
        let path = "/nowhere/at/all".into();
        let none = Program { path, arguments, environment, limit: HOUR, mark: None };
        let end = none.run(&AtomicBool::new(false));
        assert_eq!(end.failed.as_deref(), Some("cannot_start"));
    }

    #[test]
    fn it_is_ended_with_all_that_it_started_when_its_time_is_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        let line = format!("sleep 3600 & echo $! > {}; wait", path.display());
        let end = end_of(&line, Duration::from_millis(500));
        assert_eq!(end.failed.as_deref(), Some("timed_out"));
        // It may be ended before it has said anything.
        let Ok(text) = std::fs::read_to_string(path) else { return };
        let Ok(pid) = text.trim().parse::<u32>() else { return };
        let gone = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            // Who has ended and was not waited for yet is not there either.
            stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'))
        };
        while !gone() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn it_is_ended_when_nobody_wants_it_any_more() {
        let arguments = vec!["3600".to_owned()];
        let path = "/bin/sleep".into();
        let environment = Vec::new();
        let sleep = Program { path, arguments, environment, limit: HOUR, mark: None };
        let end = sleep.run(&AtomicBool::new(true));
        assert_eq!(end.failed.as_deref(), Some("stopped"));
    }

    #[test]
    fn what_is_kept_ends_at_a_character() {
        assert_eq!(last("short"), "short");
        let long = "ä".repeat(KEPT_BYTES) + "!";
        assert_eq!(last(&long).len(), KEPT_BYTES - 1);
    }
}
