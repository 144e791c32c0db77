//! What holds for callers, and may change while the gateway runs.

use std::sync::Arc;

use access::{Classes, Policy};
use arc_swap::ArcSwap;
use shadow::RequestRates;

use crate::config::{Resolved, Settings};
use crate::front::Places;
use crate::metrics::ProcessCounters;

/// Who may do what, and how much of it: the same as for clients that speak MQTT.
#[derive(Debug)]
pub struct DeviceRules {
    policy: ArcSwap<Policy>,
    classes: ArcSwap<Classes>,
    /// Connections of this listener alone: a drain does not wait for them.
    pub(super) places: Arc<Places>,
    /// How fast one client may ask about one thing.
    pub(super) shadow_rates: RequestRates,
    connections: u32,
}

impl DeviceRules {
    /// As they are at the start, where there is such a listener.
    pub fn new(
        config: &Resolved,
        policy: &Arc<Policy>,
        counters: &Arc<ProcessCounters>,
    ) -> Option<Arc<Self>> {
        let connections = config.device_http.as_ref()?.connections;
        let places = Places::new(config.limits, &[connections], Arc::clone(counters));
        Some(Arc::new(Self {
            policy: ArcSwap::new(Arc::clone(policy)),
            classes: ArcSwap::new(Arc::clone(&config.classes)),
            places: Arc::new(places),
            shadow_rates: config.shadow.rules().rates,
            connections,
        }))
    }

    /// From now on.
    pub fn set_policy(&self, policy: &Arc<Policy>) {
        self.policy.store(Arc::clone(policy));
    }

    /// From now on.
    pub fn set(&self, settings: &Settings) {
        self.classes.store(Arc::clone(&settings.classes));
        self.places.set_limits(settings.limits, &[self.connections]);
    }

    /// Who may say what now.
    pub(super) fn policy(&self) -> Arc<Policy> {
        self.policy.load_full()
    }

    /// How much of it now.
    pub(super) fn classes(&self) -> Arc<Classes> {
        self.classes.load_full()
    }
}
