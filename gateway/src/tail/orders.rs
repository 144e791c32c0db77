//! What is wanted of the gateway that serves a client, as the log tells.

use super::{Follower, Letter, Letters};
use crate::presence::{Errand, SendAway, order_of};

/// What is wanted of it.
#[derive(Debug)]
pub enum ClientOrder {
    /// An operator wants its connection to end.
    SendAway(SendAway),
    /// Somebody has an errand.
    Run(Box<Errand>),
}

impl Follower {
    /// An order about a client; whoever serves it carries it out.
    pub(super) fn apply_order(&self, key: &[u8], value: Option<&bytes::Bytes>, out: &mut Letters) {
        let Some(value) = value else { return };
        let away = || order_of(key, value).map(|(client, it)| (client, ClientOrder::SendAway(it)));
        let run = || Errand::read(key, value).map(|(to, it)| (to, ClientOrder::Run(Box::new(it))));
        if let Some((client, order)) = away().or_else(run) {
            out.push((self.worker_of(&client), Letter::Order(client, order)));
        }
    }
}
