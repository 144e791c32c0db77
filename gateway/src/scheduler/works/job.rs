//! Work that takes time, on a thread of its own: the scheduler looks how it goes, and waits for nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::Duration;

use maintenance::execution::Step;
use maintenance::fleet::VisitId;

use super::doors::Doors;
use super::mark::Mark;
use super::program::{Program, ProgramEnd};
use super::trial::Trial;
use crate::reload::ReloadSender;
use crate::succession::{Board, RestartRequest, RestartStage, SuccessionSender};

/// How often it is looked how far a restart in place is.
const LOOK: Duration = Duration::from_millis(20);

/// One thing that is done.
#[derive(Debug)]
pub(super) enum Act {
    /// A program is run.
    Run(Program),
    /// A program that an earlier life of the gateway began is waited for; after so long it is ended.
    Await(Mark, Duration),
    /// Files are read again.
    Reload(ReloadSender),
    /// The host looks at itself from outside.
    Look(Doors),
    /// A client of the host's own does what devices do.
    Try(Trial),
    /// A successor takes over. This ends only if it does not: otherwise this process does.
    Follow(SuccessionSender, Arc<Board>),
}

/// What a job is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::scheduler) enum Purpose {
    /// It is the step.
    Step,
    /// It tells what became of a step that another life began.
    Probe,
    /// It waits for a program that another life began; then it is looked what became of that.
    Wait {
        /// Of which step.
        step: Step,
        /// Which work.
        work: usize,
    },
}

/// How a job ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::scheduler) struct JobEnd {
    /// For programs: why it failed; none if all of it was done.
    pub(in crate::scheduler) failed: Option<String>,
    /// The last of what programs said.
    pub(in crate::scheduler) output: String,
    /// What of the configuration is not in force without a restart, if it was read again.
    pub(in crate::scheduler) needs_restart: Vec<String>,
}

/// An attempt of a step: its number counts those of its visit only.
pub(in crate::scheduler) type Attempt = (VisitId, u32);

/// A job that goes on. Dropped, it is ended.
#[derive(Debug)]
pub(in crate::scheduler) struct Job {
    pub(in crate::scheduler) attempt: Attempt,
    pub(in crate::scheduler) purpose: Purpose,
    end: Receiver<JobEnd>,
    stop: Arc<AtomicBool>,
}

impl Job {
    /// Begins these things, one after the other, for an attempt of a step.
    pub(super) fn start(
        acts: Vec<Act>,
        (attempt, purpose): (Attempt, Purpose),
    ) -> std::io::Result<Self> {
        let (sender, end) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        crate::logging::thread("work", move || {
            // Whoever waited for it may be gone.
            let _ = sender.send(all(acts, &stopped));
        })?;
        Ok(Self { attempt, purpose, end, stop })
    }

    /// How it ended, if it has.
    pub(in crate::scheduler) fn ended(&self) -> Option<JobEnd> {
        match self.end.try_recv() {
            Ok(end) => Some(end),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => {
                Some(JobEnd { failed: Some("lost".to_owned()), ..JobEnd::default() })
            }
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Up to the first that fails.
fn all(acts: Vec<Act>, stopped: &AtomicBool) -> JobEnd {
    let mut end = JobEnd::default();
    for act in acts {
        end.failed = match act {
            Act::Run(program) => {
                let ProgramEnd { failed, output } = program.run(stopped);
                end.output.push_str(&output);
                failed
            }
            Act::Await(mark, limit) => mark.wait(limit, stopped),
            Act::Reload(reload) => read_again(&reload, &mut end),
            Act::Look(doors) => doors.fault(),
            Act::Try(trial) => {
                let ProgramEnd { failed, output } = trial.run(stopped);
                end.output.push_str(&output);
                failed
            }
            Act::Follow(succession, board) => follow(&succession, &board, &mut end),
        };
        if end.failed.is_some() {
            break;
        }
    }
    end
}

fn read_again(reload: &ReloadSender, end: &mut JobEnd) -> Option<String> {
    let Some(report) = reload.reload() else { return Some("files_are_not_read".to_owned()) };
    end.needs_restart = report.needs_restart;
    let failed = report.parts.iter().find_map(|part| Some((&part.name, part.error.as_ref()?)))?;
    end.output.push_str(failed.1);
    Some(format!("cannot_use_{}", failed.0))
}

/// Why nobody follows. If somebody does, this process ends meanwhile.
fn follow(succession: &SuccessionSender, board: &Board, end: &mut JobEnd) -> Option<String> {
    let begun = match succession.restart(RestartRequest::default()) {
        Ok(begun) => begun,
        Err(why) => {
            end.output.push_str(&why.to_string());
            return Some("no_successor".to_owned());
        }
    };
    loop {
        let status = board.get().filter(|status| status.id == begun.id);
        match status.map(|status| (status.stage, status.detail)) {
            Some((RestartStage::Failed, why)) => {
                end.output.push_str(&why.unwrap_or_default());
                return Some("no_successor".to_owned());
            }
            Some((RestartStage::Done, _)) => return None,
            Some((RestartStage::Preparing | RestartStage::Joining | RestartStage::Moving, _))
            | None => std::thread::sleep(LOOK),
        }
    }
}
