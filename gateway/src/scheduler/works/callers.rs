//! Other gateways, which publish to a trial when it asks them to: whoever is connected there must be heard here.

use std::sync::Arc;

use protocol::{GatewayId, QoS};

use super::device::Said;
use crate::hub::LiveGateway;
use crate::hub::echo::{Echo, Word};
use crate::hub::trial::{Badge, PEERS};
use crate::worker::{Mail, Mailbox, Shared};

/// Gateways that are asked at most: what is shown by so many is shown.
const MOST: usize = 8;

/// The gateways that a trial asks.
#[derive(Debug, Clone, Default)]
pub(in crate::scheduler) struct Callers {
    names: Vec<GatewayId>,
    /// Of the worker that asks them.
    mailbox: Option<Arc<Mailbox>>,
}

impl Callers {
    /// Those beside this one that live and know what is asked.
    pub(in crate::scheduler) fn of(shared: &Shared, me: &GatewayId) -> Self {
        let asked = |it: &&LiveGateway| it.calls && it.id.gateway() != *me;
        let gateways = shared.tables.gateways();
        let names = gateways.iter().filter(asked).map(|it| it.id.clone()).take(MOST).collect();
        Self { names, mailbox: shared.mailboxes.first().cloned() }
    }

    /// Those of these names, who are not really asked.
    #[cfg(test)]
    pub(super) fn named(names: &[&str]) -> Self {
        let names = names.iter().filter_map(|name| GatewayId::new(name).ok()).collect();
        Self { names, mailbox: None }
    }

    /// Asks each of them, once.
    pub(super) fn call(&self, badge: &Badge) {
        let Some(mailbox) = &self.mailbox else { return };
        for to in &self.names {
            let (to, word) = (to.clone(), Word::Call(badge.call()));
            mailbox.send(Mail::Echo(Box::new(Echo { to, word })));
        }
    }

    /// What they publish then, in any order.
    pub(super) fn said(&self, badge: &Badge) -> Vec<Said> {
        let said = |by: &GatewayId| Said {
            topic: badge.topic(PEERS),
            payload: by.as_str().into(),
            qos: QoS::AtLeastOnce,
            retain: false,
        };
        self.names.iter().map(said).collect()
    }

    /// Their names, for people.
    pub(super) fn names(&self) -> String {
        let names: Vec<_> = self.names.iter().map(GatewayId::as_str).collect();
        if names.is_empty() { "nobody to ask".to_owned() } else { names.join(", ") }
    }
}
