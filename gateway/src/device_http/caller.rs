//! Who asks.

use std::net::IpAddr;
use std::sync::Arc;

use access::{CertificateNames, Denial, Identity, Rights};
use protocol::{ClientId, QoS, Wall};

use super::rules::DeviceRules;
use crate::authentication::{NotIdentified, Porter};

/// Whom a connection speaks for, as long as it is open.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) identity: Arc<Identity>,
    /// When it must have come anew, if anything says so.
    expires: Option<Wall>,
}

impl Caller {
    /// By its certificate, which was verified.
    pub(super) async fn of(
        names: Arc<CertificateNames>,
        address: IpAddr,
        porter: &Porter,
    ) -> Result<Self, NotIdentified> {
        let (identity, expires) = porter.identify_by_certificate(names, address).await?;
        Ok(Self { identity: Arc::new(identity), expires })
    }

    /// By the name that it has.
    pub(super) fn client(&self) -> &ClientId {
        &self.identity.client
    }

    /// Whether its time is over.
    pub(super) fn is_expired(&self, now: Wall) -> bool {
        self.expires.is_some_and(|at| at <= now)
    }

    /// Whether it may publish there.
    pub(super) fn may_publish(
        &self,
        (topic, qos, retain): (&str, QoS, bool),
        rules: &DeviceRules,
    ) -> Result<(), Denial> {
        self.rights(rules).map_or(Ok(()), |mut rights| rights.publish(topic, qos, retain))
    }

    /// Whether it may read all that a filter matches.
    pub(super) fn may_read(&self, filter: &str, rules: &DeviceRules) -> Result<(), Denial> {
        self.rights(rules).map_or(Ok(()), |rights| rights.subscribe(filter).map(|_| ()))
    }

    /// What it may do; `None` if nothing is to be checked.
    pub(super) fn rights(&self, rules: &DeviceRules) -> Option<Rights> {
        rules.policy().rights_of(&self.identity)
    }
}
