//! The fleet as the store has it: one document per gateway, renewed while it lives.

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

/// Every gateway the store knows, alive or not.
///
/// # Errors
/// [`StoreError`], by what is wrong with the store.
pub(super) fn read_all(reader: &mut dyn Reader) -> Result<Vec<Member>, StoreError> {
    let docs = reader.scan(Space::Gateway, &[], None, 1024)?;
    Ok(docs.into_iter().filter_map(|(_, doc)| serde_json::from_slice(&doc.value).ok()).collect())
}
