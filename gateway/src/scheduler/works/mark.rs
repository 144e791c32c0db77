//! What shows that a program still runs whose gateway died, and how it ended: nobody else knows then, and it must not be run
//! beside itself.
//!
//! A program has a file that is locked as its standard input: the lock stands from before it begins until it, and all that it
//! started, has closed that. Which process attends to it stands in a file beside it, with when that process began, since numbers
//! of processes come again; and how it ended in a third one, before that process has ended.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use protocol::GatewayId;
use rustix::process::{Pid, Signal, kill_process_group};

use super::attend::Left;

/// Says after each start of the machine something else.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";
/// How often it is looked whether it still runs.
const LOOK: Duration = Duration::from_millis(50);

/// Where it is seen whether a program of one entry of the host's list runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    lock: PathBuf,
    noted: PathBuf,
    end: PathBuf,
}

/// A program that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Running(Option<Pid>);

impl Mark {
    /// That of an entry of a gateway's list, in the folder of its data.
    pub(super) fn of(data: &Path, gateway: &GatewayId, name: &str) -> Self {
        let file = |kind: &str| data.join("programs").join(format!("{gateway}.{name}.{kind}"));
        Self { lock: file("lock"), noted: file("pid"), end: file("end") }
    }

    /// Where it is left behind how it ended.
    pub(super) fn end(&self) -> &Path {
        &self.end
    }

    /// Notes that it has ended, if its attendant was ended with it and could not say so.
    pub(super) fn close(&self) {
        // What stands there says it better.
        let closed = OpenOptions::new().create_new(true).append(true).open(&self.end);
        drop(closed);
    }

    /// How a program ended that was run for this, if it did and its attendant could say so.
    pub(super) fn left(&self, of: &str) -> Option<Left> {
        Left::read(&self.end, of)
    }

    /// The standard input of a program that begins now: nothing to read, and locked as long as it has it.
    pub(super) fn begin(&self) -> std::io::Result<File> {
        if let Some(folder) = self.lock.parent() {
            std::fs::create_dir_all(folder)?;
        }
        // What they say is about an earlier one, and what that left behind keeps its own.
        for file in [&self.lock, &self.noted, &self.end] {
            match std::fs::remove_file(file) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        OpenOptions::new().create_new(true).append(true).open(&self.lock)?;
        let held = File::open(&self.lock)?;
        // Nobody else has it for longer than a look.
        held.lock()?;
        Ok(held)
    }

    /// Notes which process it is. Without that the lock alone tells that it runs.
    pub(super) fn note(&self, pid: u32) {
        let Some(began) = began(pid) else { return };
        // In one piece, so that nobody reads a half of it.
        let whole = self.noted.with_extension("new");
        let written = std::fs::write(&whole, format!("{pid} {began} {}\n", boot()));
        let noted = written.and_then(|()| std::fs::rename(&whole, &self.noted));
        noted.unwrap_or_else(|error| {
            tracing::warn!("{}: {error}", self.noted.display());
        });
    }

    /// The program, if it runs.
    pub(super) fn running(&self) -> std::io::Result<Option<Running>> {
        let noted = match std::fs::read_to_string(&self.noted) {
            Ok(text) => alive(&text),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        if noted.is_some() {
            return Ok(Some(Running(noted)));
        }
        // It may not be noted yet, and whoever attended to it may have been killed alone.
        let ended = self.end.exists();
        Ok((!ended && self.is_locked()?).then_some(Running(None)))
    }

    /// Waits until no program runs; one that takes longer is ended, with all that it started. Answers why it may still run, for
    /// programs.
    pub(super) fn wait(&self, limit: Duration, stopped: &AtomicBool) -> Option<String> {
        let began = Instant::now();
        let mut is_ended = false;
        loop {
            let running = match self.running() {
                Ok(None) if stopped.load(Ordering::Relaxed) => return Some("stopped".to_owned()),
                Ok(None) => return None,
                // It was ended, and what it left behind has its input.
                Ok(Some(Running(None))) if is_ended => {
                    self.close();
                    return None;
                }
                Ok(Some(Running(running))) => running,
                Err(error) => return Some(format!("lost: {error}")),
            };
            let over = began.elapsed() >= limit || stopped.load(Ordering::Relaxed);
            if over && !std::mem::replace(&mut is_ended, true) {
                // Nobody knows which process it is: a person has to look.
                let Some(pid) = running else { return Some("still_runs".to_owned()) };
                // An error means that all of it has ended.
                let _ = kill_process_group(pid, Signal::KILL);
            }
            std::thread::sleep(LOOK);
        }
    }

    fn is_locked(&self) -> std::io::Result<bool> {
        let file = match File::open(&self.lock) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        match file.try_lock() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// The process that was noted, if it lives.
fn alive(noted: &str) -> Option<Pid> {
    let mut words = noted.split_whitespace();
    let (pid, since) = (words.next()?.parse::<u32>().ok()?, words.next()?.parse::<u64>().ok()?);
    let same = words.next().unwrap_or_default() == boot() && began(pid) == Some(since);
    Pid::from_raw(i32::try_from(pid).ok()?).filter(|_| same)
}

/// When a process began that has not ended, in ticks since the machine did.
fn began(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may hold anything.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split_whitespace();
    // Who has ended and was not waited for yet does not run.
    fields.next().filter(|state| !matches!(*state, "Z" | "X"))?;
    fields.nth(18)?.parse().ok()
}

fn boot() -> String {
    std::fs::read_to_string(BOOT).unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn mark(dir: &tempfile::TempDir) -> Mark {
        Mark::of(dir.path(), &GatewayId::new("gw-1").unwrap(), "note")
    }

    /// A program that ends when its standard output is read from no more.
    fn program(mark: &Mark) -> Child {
        let held = mark.begin().unwrap();
        let mut line = Command::new("/bin/sh");
        line.args(["-c", "cat; while echo; do sleep 0.01; done"]);
        line.stdin(held).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
    }

    #[test]
    fn a_program_runs_until_it_has_ended_whether_it_was_noted_or_not() {
        let dir = tempfile::tempdir().unwrap();
        let mark = mark(&dir);
        assert_eq!(mark.running().unwrap(), None);
        for noted in [false, true] {
            let mut child = program(&mark);
            if noted {
                mark.note(child.id());
            }
            let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
            let expected = Running(pid.filter(|_| noted));
            assert_eq!(mark.running().unwrap(), Some(expected));
            drop(child.stdout.take());
            assert_eq!(mark.wait(HOUR, &AtomicBool::new(false)), None);
            child.wait().unwrap();
        }
    }

    #[test]
    fn what_a_program_left_behind_is_not_the_program() {
        let dir = tempfile::tempdir().unwrap();
        let mark = mark(&dir);
        let held = mark.begin().unwrap();
        std::fs::write(&mark.noted, format!("{} 1 {}\n", std::process::id(), boot())).unwrap();
        let who = "another process has its number, and it holds its input";
        assert_eq!(mark.running().unwrap(), Some(Running(None)), "{who}");
        std::fs::write(&mark.end, "").unwrap();
        assert_eq!(mark.running().unwrap(), None, "it has ended");
        let next = mark.begin().unwrap();
        assert_eq!(mark.running().unwrap(), Some(Running(None)));
        drop(next);
        // A process that another thread starts at this moment may have it for a moment more.
        assert_eq!(mark.wait(HOUR, &AtomicBool::new(false)), None);
        drop(held);
    }

    #[test]
    fn who_takes_too_long_is_ended_if_it_is_known_who_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let mark = mark(&dir);
        let held = mark.begin().unwrap();
        let still = mark.wait(Duration::ZERO, &AtomicBool::new(false));
        assert_eq!(still.as_deref(), Some("still_runs"));
        drop(held);
        let held = mark.begin().unwrap();
        let left_behind = held.try_clone().unwrap();
        let mut sleep = Command::new("/bin/sleep");
        let sleep = std::os::unix::process::CommandExt::process_group(&mut sleep, 0);
        let mut child = sleep.arg("3600").stdin(held).spawn().unwrap();
        mark.note(child.id());
        assert_eq!(mark.wait(Duration::ZERO, &AtomicBool::new(false)), None);
        child.wait().unwrap();
        assert_eq!(mark.running().unwrap(), None, "what it left behind is not the program");
        drop(left_behind);
    }
}
