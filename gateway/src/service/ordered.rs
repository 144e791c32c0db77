//! What operators order: a drain begins, is called off, and is over, each in their name.

use maintenance::Profile;
use maintenance::ledger::Asked;
use protocol::Wall;

use super::thread::Housekeeper;
use crate::control::{ControlError, DrainRequest, DrainStatus};

impl Housekeeper {
    /// Begins a drain that an operator asked for, if no freeze speaks against it and the ledger has a slot for it.
    pub(super) fn start_drain(
        &mut self,
        request: &DrainRequest,
        by: String,
    ) -> Result<DrainStatus, ControlError> {
        if self.decide_drain(request) {
            // Not another drain: the answer to one that asked.
            tracing::info!("the drain goes on");
            let status = self.drain_status();
            return status.ok_or_else(|| ControlError::WrongState("no drain runs".into()));
        }
        self.check_drain()?;
        self.refuse_beside_visit()?;
        // Who stays on a host that is dying is lost with it.
        if !request.despite_freeze && request.profile != Some(Profile::HostDying) {
            self.refuse_in_freeze()?;
        }
        let reason = request.reason.clone().unwrap_or_else(|| "nobody said why".to_owned());
        let epoch = self.take_slot(&Asked { by, reason }, request.despite_policies)?;
        // No window ends it: it lasts until somebody says so.
        self.drains.slot = Some((epoch, Wall(u64::MAX)));
        self.begin_drain(request, &[])
    }

    /// A freeze is in force: whoever means it says so.
    fn refuse_in_freeze(&mut self) -> Result<(), ControlError> {
        let now = self.shared.now().wall;
        let Some(freezes) = self.freezes() else {
            let why = "the freezes cannot be read; --despite-freeze drains all the same";
            return Err(ControlError::Unavailable(why.into()));
        };
        match freezes.iter().find(|freeze| freeze.interval.contains(now)) {
            Some(freeze) => {
                let (id, by, why) = (&freeze.id, &freeze.by, &freeze.reason);
                let until = i64::try_from(freeze.interval.to.0).unwrap_or(i64::MAX);
                let until = jiff::Timestamp::from_millisecond(until)
                    .map_or_else(|_| "its end".to_owned(), |until| until.to_string());
                Err(ControlError::Refused(format!(
                    "freeze {id} of {by} holds until {until} ({why}); --despite-freeze drains all the same"
                )))
            }
            None => Ok(()),
        }
    }

    /// Calls the drain off for an operator. What a visit of the plan began is not an operator's drain.
    pub(super) fn call_off_drain(&mut self, by: String) -> Result<DrainStatus, ControlError> {
        self.refuse_beside_visit()?;
        let status = self.abort_drain()?;
        self.drains.ended = Some(Asked { by, reason: "called off".to_owned() });
        Ok(status)
    }

    /// Serves again after a drain, for an operator.
    pub(super) fn bring_back(&mut self, by: String) -> Result<(), ControlError> {
        self.undrain()?;
        self.drains.ended = Some(Asked { by, reason: "is to serve again".to_owned() });
        Ok(())
    }
}
