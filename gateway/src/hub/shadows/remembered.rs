//! Shadows that were changed here lately, and what is stored of them since: who changes one again need not look it up first.
//! Nothing rests on it: such a change expects the very revision that is remembered, and is made again of what is there if that is
//! another one.

use bytes::Bytes;
use shadow::OwnedKey;
use store::Rev;

use crate::hub::recent::Recent;

/// What is stored of the shadows that were changed last, 2 MiB of them.
#[derive(Debug)]
pub(super) struct RecentShadows(Recent<OwnedKey, (Rev, Bytes)>);

/// Memory of one half, as it is counted: some thousand shadows of a few values each.
const HALF_BYTES: usize = 1 << 20;
/// Bytes of a record that is worth its memory: most have a hundredth of this.
const RECORD_BYTES: usize = 32_768;
/// What one costs besides its record, about.
const EACH_BYTES: usize = 128;

impl Default for RecentShadows {
    fn default() -> Self {
        Self(Recent::new(HALF_BYTES, |(_, record)| record.len() + EACH_BYTES))
    }
}

impl RecentShadows {
    /// This is stored of a shadow.
    pub(super) fn note(&mut self, key: OwnedKey, rev: Rev, record: Bytes) {
        if record.len() <= RECORD_BYTES {
            self.0.put(key, (rev, record));
        }
    }

    /// What was stored of a shadow, if it is remembered. It is forgotten with this.
    pub(super) fn take(&mut self, key: &OwnedKey) -> Option<(Rev, Bytes)> {
        self.0.take(key)
    }
}

#[cfg(test)]
mod tests {
    use shadow::{ShadowKey, ThingName};

    use super::*;

    fn key(n: usize) -> OwnedKey {
        let name = format!("t{n}");
        ShadowKey { thing: ThingName::new(&name).unwrap(), shadow: None }.into()
    }

    #[test]
    fn the_last_ones_are_remembered_and_no_more_than_there_is_room_for() {
        let mut remembered = RecentShadows::default();
        let many = 8 * HALF_BYTES / 1_024;
        for n in 0..many {
            remembered.note(key(n), Rev(n as u64), Bytes::from(vec![0; 1_024]));
        }
        let newest = remembered.take(&key(many - 1)).map(|(rev, _)| rev);
        assert_eq!(newest, Some(Rev(many as u64 - 1)));
        let left = (0..many).filter(|n| remembered.take(&key(*n)).is_some()).count();
        assert!(left * (1_024 + EACH_BYTES) <= 2 * (HALF_BYTES + 1_024 + EACH_BYTES));
        remembered.note(key(0), Rev(1), Bytes::from(vec![0; RECORD_BYTES + 1]));
        assert_eq!(remembered.take(&key(0)), None, "it is too large");
    }
}
