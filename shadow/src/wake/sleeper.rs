//! When a device that is away is woken, and what is stored of that.

use std::time::Duration;

use protocol::{Wall, put_varint, take_varint};

/// How often a device that does not come is woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WakeLimits {
    /// Between the first notice and the second; between the next two it is twice as long, and so on.
    pub first_pause: Duration,
    /// But never longer than this.
    pub longest_pause: Duration,
    /// After so many notices without its coming it is left alone; 0 is no limit.
    pub notices: u32,
}

/// A device that is away while something waits for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sleeper {
    /// Grows with every change: the fence of its stored form.
    revision: u64,
    /// Notices since it was last here.
    notices: u32,
    last_at: Wall,
}

/// The form's version, after the fence.
const FORM: u8 = 1;

impl Default for WakeLimits {
    fn default() -> Self {
        Self {
            first_pause: Duration::from_secs(30),
            longest_pause: Duration::from_hours(1),
            notices: 20,
        }
    }
}

impl Sleeper {
    /// When it may be woken by the next message; `None` if it is left alone.
    pub fn due_at(&self, limits: &WakeLimits) -> Option<Wall> {
        if limits.notices > 0 && self.notices >= limits.notices {
            return None;
        }
        let Some(doublings) = self.notices.checked_sub(1) else { return Some(Wall(0)) };
        let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
        let pause = limits.first_pause.saturating_mul(factor).min(limits.longest_pause);
        Some(self.last_at.after(pause))
    }

    /// Something waits for it: whether a notice is to be sent. It is not before this is stored, so that of several
    /// gateways that see the same one alone sends it.
    #[must_use]
    pub fn handle_message(&mut self, limits: &WakeLimits, now: Wall) -> bool {
        if self.due_at(limits).is_none_or(|due_at| due_at > now) {
            return false;
        }
        self.notices = self.notices.saturating_add(1);
        self.last_at = now;
        self.revision = self.revision.saturating_add(1);
        true
    }

    /// It is there: the next time it is woken at once. False if nothing changes by that.
    pub const fn handle_arrival(&mut self) -> bool {
        if self.notices == 0 {
            return false;
        }
        self.notices = 0;
        self.revision = self.revision.saturating_add(1);
        true
    }

    /// The first bytes of its stored form, and of no other one that it had.
    pub const fn fence(&self) -> [u8; 8] {
        self.revision.to_be_bytes()
    }

    /// The stored form; [`Self::decode`] reads it back.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.fence().to_vec();
        out.push(FORM);
        put_varint(&mut out, u64::from(self.notices));
        put_varint(&mut out, self.last_at.0);
        out
    }

    /// Reads a stored form; `None` if it is damaged.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (revision, rest) = bytes.split_first_chunk::<8>()?;
        let (form, mut rest) = rest.split_first()?;
        if *form != FORM {
            return None;
        }
        let notices = take_varint(&mut rest)?.try_into().ok()?;
        let last_at = Wall(take_varint(&mut rest)?);
        let revision = u64::from_be_bytes(*revision);
        rest.is_empty().then_some(Self { revision, notices, last_at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_woken_at_once_then_ever_less_often_and_then_left_alone() {
        let limits = WakeLimits { notices: 10, ..WakeLimits::default() };
        let mut sleeper = Sleeper::default();
        let mut sent = Vec::new();
        for second in 5..100_000 {
            if sleeper.handle_message(&limits, Wall(second * 1_000)) {
                sent.push(second);
            }
        }
        let pauses: Vec<u64> = sent.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(
            (sent[0], &pauses[..]),
            (5, &[30, 60, 120, 240, 480, 960, 1_920, 3_600, 3_600][..])
        );
        assert_eq!(sleeper.due_at(&limits), None);
        assert!(sleeper.handle_arrival());
        assert!(!sleeper.handle_arrival());
        assert!(sleeper.handle_message(&limits, Wall(100_000_000)));
        let endless = WakeLimits { notices: 0, ..limits };
        sleeper.notices = 77;
        assert_eq!(sleeper.due_at(&endless), Some(Wall(103_600_000)));
    }

    #[test]
    fn its_form_is_read_back_and_every_change_changes_the_fence() {
        let (limits, mut sleeper) = (WakeLimits::default(), Sleeper::default());
        let mut fences = vec![sleeper.fence()];
        assert!(sleeper.handle_message(&limits, Wall(7)));
        fences.push(sleeper.fence());
        assert!(!sleeper.handle_message(&limits, Wall(8)));
        assert_eq!(fences.last(), Some(&sleeper.fence()));
        let bytes = sleeper.encode();
        assert_eq!(Sleeper::decode(&bytes), Some(sleeper));
        for len in 0..bytes.len() {
            assert_eq!(Sleeper::decode(&bytes[..len]), None);
        }
        assert!(sleeper.handle_arrival());
        fences.push(sleeper.fence());
        assert!(fences.is_sorted_by(|one, next| one < next));
    }
}
