//! As many connections as there are descriptors for.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Limits;

/// Descriptors for the store, the peers, the API and the threads.
const RESERVED: u64 = 256;

/// Asks the system for as many descriptors as it gives, and lowers the limit of connections to what they allow: a client
/// that is refused with a reason is better off than one that is closed, and the store must never be short of them.
pub fn fit_descriptors(limits: &mut Limits) {
    let mut allowed = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: allowed.maximum, maximum: allowed.maximum };
    if allowed.current != allowed.maximum && setrlimit(Resource::Nofile, raised).is_ok() {
        allowed = raised;
    }
    let Some(descriptors) = allowed.current else { return };
    let quarter = u32::try_from(descriptors / 4).unwrap_or(u32::MAX);
    limits.handshakes = limits.handshakes.min(quarter);
    let handshakes = u64::from(limits.handshakes);
    let room = descriptors.saturating_sub(RESERVED.min(descriptors / 4) + handshakes);
    let room = u32::try_from(room).unwrap_or(u32::MAX);
    if limits.connections > room {
        tracing::warn!(
            "room for {room} connections, not {}: the system allows {descriptors} open files (ulimit -n)",
            limits.connections
        );
        limits.connections = room;
    }
}
