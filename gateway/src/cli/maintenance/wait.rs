//! `--wait`: what is wanted is watched until it is over.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use maintenance::execution::{Execution, NoticeState, Stage};
use maintenance::operation::OperationId;

use super::fleet::{Fleet, path};
use super::operations::word;
use super::visits::{in_one_line, stage_word, step_word};
use crate::cli::exit::{Exit, Failure};
use crate::http::{ExecutionList, OperationList};
use crate::scheduler::{OperationDocument, OperationState, VisitDocument};

/// Time between two looks.
const PAUSE: Duration = Duration::from_secs(1);
/// Looks that may fail in a row before the wait is given up: gateways are started again meanwhile.
const MAX_FAILED_LOOKS: u32 = 60;

/// Waits until operations are over, and tells their visits on `progress`; the exit code says whether all were done.
pub(super) fn until_over(
    fleet: &Fleet,
    names: &[OperationId],
    progress: &mut dyn Write,
) -> Result<(Exit, OperationList), Failure> {
    let (mut failed, mut told) = (0, BTreeMap::new());
    loop {
        match look(fleet, names) {
            Ok((operations, visits)) => {
                failed = 0;
                tell(&visits, &mut told, progress);
                if let Some(exit) = verdict(&operations, &visits) {
                    return Ok((exit, operations.into()));
                }
            }
            Err(failure) if failure.exit == Exit::Failed && failed < MAX_FAILED_LOOKS => {
                failed += 1;
            }
            Err(failure) => return Err(failure),
        }
        std::thread::sleep(PAUSE);
    }
}

fn look(
    fleet: &Fleet,
    names: &[OperationId],
) -> Result<(Vec<OperationDocument>, Vec<VisitDocument>), Failure> {
    // The visits first: one that is over by then has ended its operations too, or will soon.
    let visits: ExecutionList = fleet.ask(async |api| api.get(&path(&["executions"])).await)?;
    let list: OperationList = fleet.ask(async |api| api.get(&path(&["operations"])).await)?;
    let operations =
        list.operations.into_iter().filter(|it| names.contains(&it.operation.id)).collect();
    let ours = |it: &VisitDocument| it.planned.operations.iter().any(|it| names.contains(&it.id));
    Ok((operations, visits.executions.into_iter().filter(ours).collect()))
}

/// How it ended; none while something may still become of it.
fn verdict(operations: &[OperationDocument], visits: &[VisitDocument]) -> Option<Exit> {
    let state = |wanted: OperationState| operations.iter().any(|it| it.state == wanted);
    if !state(OperationState::Pending) {
        let done = operations.iter().all(|it| it.state == OperationState::Done);
        return Some(if done && !operations.is_empty() { Exit::Done } else { Exit::Undrained });
    }
    // What is left of a campaign of which a visit failed has no place.
    let failed = state(OperationState::Failed) || state(OperationState::Aborted);
    (failed && visits.iter().all(|it| it.execution.is_over())).then_some(Exit::Undrained)
}

/// Each visit whenever it has come further; when nobody watches, nothing is lost.
fn tell(visits: &[VisitDocument], told: &mut BTreeMap<String, String>, progress: &mut dyn Write) {
    for visit in visits {
        let execution = &visit.execution;
        let mut now = stage_word(execution);
        if let Some(step) = step_word(execution) {
            now = format!("{now} {step}");
        }
        if execution.is_paused() {
            now.push_str(", paused");
        }
        if let Some(why) = execution.why().filter(|_| !execution.is_paused()) {
            now.push_str(if is_called_off(execution) { ", called off: " } else { ": " });
            now.push_str(&in_one_line(&why));
        }
        if matches!(execution.stage(), Stage::NeedsOperator { .. }) {
            let past = execution.is_past_return();
            now.push_str("; asks for somebody: `visit retry`");
            now.push_str(if past { " or `skip`" } else { ", `skip` or `abort`" });
        }
        let name = execution.visit().to_string();
        if told.get(&name) != Some(&now) {
            let _ = writeln!(progress, "{name}: {now}");
            told.insert(name, now);
        }
    }
}

/// Whether a visit that was begun is in the plan again, or is over undone.
fn is_called_off(execution: &Execution) -> bool {
    execution.notices().last().is_some_and(|last| last.state == NoticeState::CalledOff)
}

/// What became of operations, in one line.
pub(super) fn summary(operations: &[OperationDocument]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for operation in operations {
        *counts.entry(word(operation.state)).or_default() += 1;
    }
    let counts: Vec<_> = counts.iter().map(|(word, count)| format!("{count} {word}")).collect();
    counts.join(", ")
}
