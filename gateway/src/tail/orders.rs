//! Orders of operators that the log tells.

use super::{Follower, Letter, Letters};
use crate::presence::order_of;

impl Follower {
    /// An order to send a client away; whoever serves it carries it out.
    pub(super) fn apply_order(&self, key: &[u8], value: Option<&bytes::Bytes>, out: &mut Letters) {
        if let Some((client, order)) = value.and_then(|value| order_of(key, value)) {
            out.push((self.worker_of(&client), Letter::SendAway(client, order)));
        }
    }
}
