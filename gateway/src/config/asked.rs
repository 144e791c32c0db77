//! Whom maintenance asks outside of the fleet.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::endpoint::{Endpoint, WrittenEndpoint, endpoint};
use super::fault::Fault;
use super::settings::section;

section! {
    /// Whom maintenance asks whether the queries of gates hold.
    pub struct PrometheusSection in "maintenance.prometheus" {
        /// Where a query is asked, by the gateway that is the scheduler.
        url: Option<String> = None, "URL", "absent: a gate with a query stays closed" shown "\"https://prometheus.example/api/v1/query\"";
        /// Authority of its certificate, PEM; needed for `https`.
        ca: Option<PathBuf> = None, "path", "no authority is trusted by itself" shown "\"prometheus-ca.pem\"";
        /// Time for an answer.
        timeout_ms: u32 = 5_000, "milliseconds", "a query of a gate looks at the last minutes" in 100..=60_000;
        /// Time between two times that a query is asked; what was not answered for 90 seconds closes the gate.
        every_s: u32 = 15, "seconds", "as often as Prometheus itself looks" in 1..=30;
    }
}

/// Whom maintenance asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prometheus {
    /// Where it is.
    pub endpoint: Endpoint,
    /// Time for an answer.
    pub timeout: Duration,
    /// Time between two times that a query is asked.
    pub every: Duration,
}

impl PrometheusSection {
    /// As meant; notes what is wrong with it.
    pub(super) fn resolve(&self, base: &Path, faults: &mut Vec<Fault>) -> Option<Prometheus> {
        let url = self.url.as_deref()?;
        let (section, shown) = ("maintenance.prometheus", "what opens gates");
        let written = WrittenEndpoint { section, url, ca: self.ca.as_ref(), shown };
        Some(Prometheus {
            endpoint: endpoint(&written, base, faults)?,
            timeout: Duration::from_millis(self.timeout_ms.into()),
            every: Duration::from_secs(self.every_s.into()),
        })
    }
}
