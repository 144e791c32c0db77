//! How a drain is to go, as it is asked for and as the machine of a drain understands it.

use std::time::Duration;

use maintenance::{DrainWishes, FLUSH_MOST, MoveWishes};

use crate::control::DrainRequest;

impl DrainRequest {
    /// What it says of how the drain is to go.
    pub fn wishes(&self) -> DrainWishes {
        DrainWishes {
            profile: self.profile.unwrap_or_default(),
            per_s: self.per_s,
            announce: self.announce_ms.map(Duration::from_millis),
            timeout: self.timeout_ms.map(Duration::from_millis),
            on_timeout: self.on_timeout,
            moves: MoveWishes {
                takeover_wait: self.takeover_wait_ms.map(Duration::from_millis),
                flush: self.flush_ms.map(|ms| Duration::from_millis(ms).min(FLUSH_MOST)),
                per_device: self.per_device,
            },
        }
    }
}

impl From<DrainWishes> for DrainRequest {
    fn from(wishes: DrainWishes) -> Self {
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        Self {
            per_s: wishes.per_s,
            announce_ms: wishes.announce.map(millis),
            timeout_ms: wishes.timeout.map(millis),
            profile: Some(wishes.profile),
            on_timeout: wishes.on_timeout,
            flush_ms: wishes.moves.flush.map(millis),
            per_device: wishes.moves.per_device,
            takeover_wait_ms: wishes.moves.takeover_wait.map(millis),
            ..Self::default()
        }
    }
}
