//! Shadows that were changed here lately, and what is stored of them since: who changes one again need not look it up first.
//! Nothing rests on it: such a change expects the very revision that is remembered, and is made again of what is there if that is
//! another one.

use bytes::Bytes;
use protocol::HashMap;
use shadow::OwnedKey;
use store::Rev;

/// What is stored of the shadows that were changed last. The older half goes when the younger is full.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    young: HashMap<OwnedKey, (Rev, Bytes)>,
    old: HashMap<OwnedKey, (Rev, Bytes)>,
    /// Memory of the younger half, as it is counted.
    young_bytes: usize,
}

/// Memory of one half, as it is counted: some thousand shadows of a few values each.
const HALF_BYTES: usize = 1 << 20;
/// Bytes of a record that is worth its memory: most have a hundredth of this.
const RECORD_BYTES: usize = 32_768;
/// What one costs besides its record, about.
const EACH_BYTES: usize = 128;

impl Remembered {
    /// This is stored of a shadow.
    pub(super) fn note(&mut self, key: OwnedKey, rev: Rev, record: Bytes) {
        if record.len() > RECORD_BYTES {
            return;
        }
        if self.young_bytes >= HALF_BYTES {
            (self.old, self.young_bytes) = (std::mem::take(&mut self.young), 0);
        }
        self.young_bytes += record.len() + EACH_BYTES;
        self.young.insert(key, (rev, record));
    }

    /// What was stored of a shadow, if it is remembered. It is forgotten with this.
    pub(super) fn take(&mut self, key: &OwnedKey) -> Option<(Rev, Bytes)> {
        match self.young.remove(key) {
            Some((rev, record)) => {
                self.young_bytes = self.young_bytes.saturating_sub(record.len() + EACH_BYTES);
                Some((rev, record))
            }
            None => self.old.remove(key),
        }
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
        let mut remembered = Remembered::default();
        let many = 8 * HALF_BYTES / 1_024;
        for n in 0..many {
            remembered.note(key(n), Rev(n as u64), Bytes::from(vec![0; 1_024]));
            let bytes = (remembered.young.len() + remembered.old.len()) * (1_024 + EACH_BYTES);
            assert!(bytes <= 2 * (HALF_BYTES + 1_024 + EACH_BYTES));
        }
        let newest = remembered.take(&key(many - 1)).map(|(rev, _)| rev);
        assert_eq!(newest, Some(Rev(many as u64 - 1)));
        assert_eq!(remembered.take(&key(many - 1)), None, "it is taken once");
        assert_eq!(remembered.take(&key(0)), None);
        remembered.note(key(0), Rev(1), Bytes::from(vec![0; RECORD_BYTES + 1]));
        assert_eq!(remembered.take(&key(0)), None, "it is too large");
    }

    #[test]
    fn who_changes_one_shadow_all_the_time_makes_no_others_go() {
        let mut remembered = Remembered::default();
        remembered.note(key(1), Rev(1), Bytes::from_static(b"one"));
        for n in 0..HALF_BYTES {
            remembered.note(key(2), Rev(n as u64), Bytes::from_static(b"two"));
            remembered.take(&key(2)).unwrap();
        }
        assert_eq!(remembered.take(&key(1)).unwrap().0, Rev(1));
    }
}
