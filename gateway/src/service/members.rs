//! The fleet as the store has it: one document per gateway, renewed while it lives.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use protocol::{GatewayId, Wall};
use store::{Expect, Put, Reader, Space, StoreError, Write};

use crate::control::GatewayRecord;

/// A gateway's document: who it is, where it is reached, until when it is alive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// What operators see.
    #[serde(flatten)]
    pub record: GatewayRecord,
    /// Devices over TCP are sent here.
    pub mqtt: String,
    /// Devices over TLS are sent here.
    pub mqtts: String,
    /// Its lease ends then, in milliseconds since 1970, unless it is renewed.
    pub until_ms: u64,
}

impl Member {
    /// Whether its lease is good.
    pub const fn is_live(&self, now: Wall) -> bool {
        self.until_ms > now.0
    }

    /// Its name.
    pub fn id(&self) -> Option<GatewayId> {
        GatewayId::new(&self.record.id).ok()
    }

    /// The write that renews its lease.
    pub fn renewal(&self) -> Option<Write> {
        let value = serde_json::to_vec(self).ok()?;
        let mut write = Write::default();
        write.puts.push(Put {
            space: Space::Gateway,
            key: Bytes::copy_from_slice(self.record.id.as_bytes()),
            value: Some(value.into()),
            expect: Expect::Any,
            announce: false,
        });
        Some(write)
    }
}

/// The moment that leases are judged by.
///
/// While the store cannot be written nobody can renew, and that is no sign of death. So the moment stands still from our own
/// last renewal on; and after the next one for the length of a lease, in which everybody else may renew too.
#[derive(Debug, Clone, Copy)]
pub(super) struct LeaseClock {
    at: Wall,
    renewed: Option<Wall>,
    held_until: Wall,
    ttl_ms: u64,
    /// Without a renewal for longer than this, somebody's lease may have ended for want of the store.
    gap_ms: u64,
}

impl LeaseClock {
    pub(super) fn new(ttl: Duration, renew: Duration) -> Self {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let gap_ms = ms(ttl.saturating_sub(renew));
        Self { at: Wall(0), renewed: None, held_until: Wall(0), ttl_ms: ms(ttl), gap_ms }
    }

    /// Our own lease was renewed.
    pub(super) fn handle_renewed(&mut self, now: Wall) {
        let since = self.renewed.map_or(0, |last| now.0.saturating_sub(last.0));
        self.renewed = Some(now);
        if since > self.gap_ms {
            self.held_until = Wall(now.0.saturating_add(self.ttl_ms));
        }
        if now >= self.held_until {
            self.at = now;
        }
    }

    /// What counts as now.
    pub(super) const fn now(&self) -> Wall {
        self.at
    }
}

/// Every gateway the store knows, alive or not.
///
/// # Errors
/// [`StoreError`], by what is wrong with the store.
pub(super) fn read_all(reader: &mut dyn Reader) -> Result<Vec<Member>, StoreError> {
    let docs = reader.scan(Space::Gateway, &[], None, 1024)?;
    Ok(docs.into_iter().filter_map(|(_, doc)| serde_json::from_slice(&doc.value).ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_dead_for_want_of_a_store_that_takes_renewals() {
        let (ttl, renew) = (Duration::from_secs(3), Duration::from_secs(1));
        let mut clock = LeaseClock::new(ttl, renew);
        clock.handle_renewed(Wall(10_000));
        clock.handle_renewed(Wall(11_000));
        assert_eq!(clock.now(), Wall(11_000));
        // Here the store stands still for a minute.
        clock.handle_renewed(Wall(71_000));
        assert_eq!(clock.now(), Wall(11_000));
        for second in [72, 73] {
            clock.handle_renewed(Wall(second * 1_000));
            assert_eq!(clock.now(), Wall(11_000), "the others may not have had their turn");
        }
        clock.handle_renewed(Wall(74_000));
        assert_eq!(clock.now(), Wall(74_000));
        clock.handle_renewed(Wall(75_900));
        assert_eq!(clock.now(), Wall(75_900), "late, and still within the others' leases");
    }
}
