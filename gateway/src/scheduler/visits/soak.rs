//! A host that serves again is watched: whether its clients fare as they did before its visit.

use maintenance::execution::{Report, Step, StepRecord};
use maintenance::fleet::Fares;

use super::document::VisitDocument;
use super::hands::failed;
use crate::scheduler::thread::Scheduler;
use crate::scheduler::works::Attempt;

/// Before what says in the journal how clients fared before the visit.
const FARES: &str = "fares=";

/// Since when a host is watched.
#[derive(Debug)]
pub(super) struct Watch {
    /// For which attempt.
    attempt: Attempt,
    /// What had been counted by then.
    from: Fares,
    /// Whether how it went is in the journal.
    is_told: bool,
}

impl Scheduler {
    /// Stores how clients have fared lately, so that whoever comes back knows it. False if that has to be tried again.
    pub(super) fn notes_fares(&mut self, document: &VisitDocument) -> bool {
        let fares = self.fared_lately();
        let Ok(text) = serde_json::to_string(&fares) else { return true };
        self.say(document, format!("{FARES}{text}")).is_ok()
    }

    /// Whether clients fare clearly worse than before; it is watched for as long as the step lasts.
    pub(super) fn watched(&mut self, document: &VisitDocument) -> Option<Report> {
        let (attempt, now) = (document.attempt()?, self.fared());
        let watch = self.body.watch.take().filter(|watch| watch.attempt == attempt);
        let watch = watch.unwrap_or(Watch { attempt, from: now, is_told: false });
        let (since, is_told) = (now.since(watch.from), watch.is_told);
        self.body.watch = Some(watch);
        let before = before(document.execution.journal());
        let worse = since.worse_than(before);
        let ends = document.execution.at().is_some_and(|at| at.deadline <= self.shared.now().wall);
        if (ends || worse.is_some()) && !is_told {
            let told = format!("watched: {since}; before the visit: {before}");
            tracing::info!("visit {}: {told}", document.execution.visit());
            self.say(document, told).ok()?;
            if let Some(watch) = &mut self.body.watch {
                watch.is_told = true;
            }
        }
        worse.map(failed)
    }
}

/// How clients fared before the visit, as its journal says; as if nobody had come where it does not.
fn before(journal: &[StepRecord]) -> Fares {
    let looks = journal.iter().rev().filter(|record| record.step == Step::PreCheck);
    let said = looks.filter_map(|record| record.output.as_deref()?.strip_prefix(FARES));
    said.filter_map(|text| serde_json::from_str(text).ok()).next().unwrap_or_default()
}
