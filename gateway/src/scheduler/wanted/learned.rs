//! How long work takes, learned from visits that are over.

use std::time::Duration;

use maintenance::fleet::Estimate;
use maintenance::operation::{Estimates, OpKind};
use store::Put;

use super::change::put;
use crate::control::ControlError;
use crate::scheduler::acts::unavailable;
use crate::scheduler::documents::Documents;
use crate::scheduler::host::HostDocument;
use crate::scheduler::visits::VisitDocument;

/// Where it stands what was learned.
const KEY: &str = "estimates";
/// The label of hosts by which they are alike.
const CLASS: &str = "class";

impl Documents {
    /// What was learned so far.
    pub(in crate::scheduler) fn estimates(&mut self) -> Result<Estimates, ControlError> {
        let stored = self.get::<Estimates>(KEY).map_err(unavailable)?;
        Ok(stored.map(|(estimates, _)| estimates).unwrap_or_default())
    }

    /// The write of what a visit teaches that did what it should; none if that is nothing.
    pub(super) fn learn(&mut self, visit: &VisitDocument) -> Result<Option<Put>, ControlError> {
        let execution = &visit.execution;
        let key = HostDocument::key(execution.host());
        let host = self.get::<HostDocument>(&key).map_err(unavailable)?;
        let class = host.and_then(|(document, _)| document.host.labels.get(CLASS).cloned());
        let mut estimates = self.estimates()?;
        let mut is_new = false;
        for work in 0..execution.course().works.len() {
            let took = execution.worked(work);
            let operation = visit.operation(work);
            let Some((took, operation)) = took.zip(operation) else { continue };
            // How long a host is held drained is said, not learned.
            if !matches!(operation.kind, OpKind::DrainOnly { .. }) {
                estimates.learn(&operation.kind, class.as_deref(), took);
                is_new = true;
            }
        }
        is_new.then(|| put(KEY, &estimates)).transpose()
    }
}

/// The class of a host, by which it is learned how long work takes on it.
pub(in crate::scheduler) fn class_of(host: &maintenance::Host) -> Option<&str> {
    host.labels.get(CLASS).map(String::as_str)
}

/// How long a kind of work probably takes, as long as nobody has said or seen it.
pub fn assumed(kind: &OpKind) -> Estimate {
    let seconds = |p50: u64, p95: u64| Estimate {
        p50: Duration::from_secs(p50),
        p95: Duration::from_secs(p95),
    };
    match kind {
        OpKind::DrainOnly { hold } => Estimate { p50: *hold, p95: *hold },
        OpKind::Restart => seconds(5, 30),
        OpKind::CertRotate | OpKind::ConfigChange { .. } => seconds(2, 15),
        OpKind::Upgrade { .. } => seconds(30, 120),
        OpKind::Reboot => seconds(120, 600),
        OpKind::Hook { timeout, .. } => Estimate { p50: *timeout / 2, p95: *timeout },
    }
}
