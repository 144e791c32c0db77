//! How a host is drained where no policy says anything.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::record;

/// The drain settings of a host itself, as it tells them in its answer. The default is that of a host whose `[drain]` says
/// nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OwnDrain {
    /// Clients that leave it per second, before the receivers' credits.
    pub per_s: u32,
    /// From "not ready" to the first refused client.
    #[serde(rename = "announce_ms", with = "record::millis")]
    pub announce: Duration,
    /// How long its drain may take behind that.
    #[serde(rename = "timeout_ms", with = "record::millis")]
    pub timeout: Duration,
}

impl Default for OwnDrain {
    fn default() -> Self {
        Self { per_s: 200, announce: Duration::from_secs(1), timeout: Duration::from_secs(600) }
    }
}
