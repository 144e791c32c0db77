//! What the devices of one worker leave when a run is over.

use std::collections::BTreeSet;

use crate::{
    device::Role,
    ends::Ends,
    live::Outcome,
    receiving::{Receiving, Tally},
};

#[derive(Debug)]
pub(crate) struct Harvest {
    pub(crate) tally: Tally,
    /// By their numbers.
    pub(crate) publishers: Vec<(usize, Publisher)>,
    pub(crate) receivers: Vec<Receiving>,
    /// Of each device that lost service at all.
    pub(crate) reconnects: Vec<u64>,
    pub(crate) redirects: u64,
    /// Since when devices are down that were not served again.
    pub(crate) down_since_ns: Vec<u64>,
    pub(crate) ends: Ends,
}

/// What one publisher leaves.
#[derive(Debug, Default)]
pub(crate) struct Publisher {
    pub(crate) published: u64,
    pub(crate) acknowledged: u64,
    /// Sequence numbers without an acknowledgement, sorted.
    pub(crate) unacknowledged: Vec<u64>,
    /// Sequence numbers that it sent more than once, because no acknowledgement had come.
    pub(crate) resent: BTreeSet<u64>,
}

impl Harvest {
    pub(crate) fn new(tally: Tally) -> Self {
        Self {
            tally,
            publishers: Vec::new(),
            receivers: Vec::new(),
            reconnects: Vec::new(),
            redirects: 0,
            down_since_ns: Vec::new(),
            ends: Ends::default(),
        }
    }

    /// Adds one device.
    pub(crate) fn add(&mut self, outcome: Outcome) {
        let Outcome { device, redirects, ends } = outcome;
        self.reconnects.extend((device.reconnects > 0).then_some(device.reconnects));
        self.redirects += redirects;
        self.ends.add(ends);
        self.down_since_ns.extend(device.down_since_ns());
        match device.role {
            Role::Publisher(mut publishing) => {
                let left = Publisher {
                    published: publishing.published(),
                    acknowledged: publishing.acknowledged(),
                    resent: publishing.take_resent(),
                    unacknowledged: publishing.unacknowledged(),
                };
                self.publishers.push((device.place, left));
            }
            Role::Receiver(receiving) => self.receivers.push(*receiving),
            Role::Idle(_) | Role::Watcher(_) => {}
        }
    }
}
