//! Hosts that are gone in the middle of a visit, as the holder of the scheduler's lease notices.

use std::collections::BTreeMap;
use std::time::Duration;

use maintenance::HostState;
use maintenance::execution::{Event, Stage, Step};
use maintenance::fleet::VisitId;

use super::document::VisitDocument;
use super::turn::Said;
use crate::control::ControlError;
use crate::scheduler::acts::unavailable;
use crate::scheduler::thread::Scheduler;

/// How long a host must have been gone before its visit is told.
const LOST_AFTER: Duration = Duration::from_secs(30);

impl Scheduler {
    /// A host whose lease ran out cannot say so itself.
    pub(super) fn look_for_the_lost(
        &mut self,
        documents: &BTreeMap<VisitId, VisitDocument>,
    ) -> Result<(), ControlError> {
        let going = |it: &&VisitDocument| matches!(it.execution.stage(), Stage::Going(_));
        let going: Vec<_> = documents.values().filter(going).collect();
        if going.is_empty() {
            self.silent.clear();
            return Ok(());
        }
        let mono = self.shared.now().mono;
        let hosts = self.hosts().map_err(unavailable)?;
        let live = self.shared.tables.gateways().clone();
        for document in going {
            let execution = &document.execution;
            let host = hosts.iter().find(|status| status.host.id == *execution.host());
            // At whichever of its berths.
            let lives = live.iter().any(|gateway| gateway.id.gateway() == *execution.host());
            let state = host.map(|status| status.host.state);
            let silent = is_silent(state, lives, execution.step());
            // One that has just come back is not known to live at once.
            let since = match silent {
                true => *self.silent.entry(execution.host().clone()).or_insert(mono),
                false => {
                    self.silent.remove(execution.host());
                    mono
                }
            };
            let lost = mono.saturating_sub(since) >= LOST_AFTER;
            let Some(event) = said_for(execution.step(), lost) else { continue };
            let attempt = execution.at().map(|at| at.attempt);
            let said = Said { by: "scheduler", why: "the host does not answer", attempt };
            if execution.handle(&event, self.shared.now().wall).is_ok() {
                let turned = self.turn(execution.visit(), &event, said).map(|turned| {
                    let host = execution.host();
                    tracing::warn!("{host} is gone in the middle of a visit: {turned:?}");
                });
                self.note(execution.visit(), turned);
            }
        }
        Ok(())
    }
}

/// What the scheduler says in the place of a host: how long it may be away, and how long its work may take if it dies in it.
const fn said_for(step: Option<Step>, lost: bool) -> Option<Event> {
    match (step, lost) {
        (Some(Step::Away), _) | (Some(Step::Operate), true) => Some(Event::Tick),
        (_, true) => Some(Event::HostLost),
        (_, false) => None,
    }
}

/// Whether a host in the middle of a visit is gone: its lease ran out, or it said goodbye where nothing that the visit does lets it.
fn is_silent(state: Option<HostState>, lives: bool, step: Option<Step>) -> bool {
    match state {
        None | Some(HostState::Lost) => true,
        Some(_) => !lives && step != Some(Step::Away),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_says_goodbye_in_the_middle_of_a_visit_is_gone_unless_the_visit_sends_it_away() {
        let held = Some(HostState::InMaintenance);
        for step in [Step::PreCheck, Step::Drain, Step::Hold, Step::Verify, Step::Release] {
            assert!(is_silent(held, false, Some(step)), "{step:?}");
            assert!(!is_silent(Some(HostState::Quiesced), true, Some(step)), "{step:?}");
            assert!(is_silent(Some(HostState::Lost), false, Some(step)), "{step:?}");
            assert!(is_silent(None, false, Some(step)), "{step:?}");
        }
        assert!(!is_silent(held, false, Some(Step::Away)));
    }

    #[test]
    fn who_dies_at_its_work_and_never_comes_back_is_given_to_a_person_when_the_time_of_that_is_over()
     {
        // Whatever it said last: a program may end the gateway before the work has ended.
        for state in [Some(HostState::Lost), Some(HostState::InMaintenance), None] {
            assert!(is_silent(state, false, Some(Step::Operate)), "{state:?}");
        }
        assert_eq!(said_for(Some(Step::Operate), true), Some(Event::Tick));
        assert_eq!(said_for(Some(Step::Operate), false), None);
        assert_eq!(said_for(Some(Step::Away), false), Some(Event::Tick));
        assert_eq!(said_for(Some(Step::Drain), true), Some(Event::HostLost));
        assert_eq!(said_for(Some(Step::Drain), false), None);
    }
}
