//! How much may wait for one session, and what becomes of the rest.

/// What becomes of a message that finds a session's queue full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum WhenFull {
    /// The publisher is refused, and nobody gets the message.
    Reject = 0,
    /// The oldest messages that have not been sent make room.
    DropOldest = 1,
    /// This session does not get the message.
    DropNew = 2,
}

impl WhenFull {
    /// The word in configuration and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reject => "reject",
            Self::DropOldest => "drop-oldest",
            Self::DropNew => "drop-new",
        }
    }

    /// The policy that is stored under a number.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Reject),
            1 => Some(Self::DropOldest),
            2 => Some(Self::DropNew),
            _ => None,
        }
    }
}

/// How much may wait for one session at `QoS` 1 and 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct QueueLimits {
    /// Messages; at least 1.
    pub messages: u32,
    /// Bytes of topics, properties and payloads.
    pub bytes: u64,
    /// What becomes of the rest.
    pub when_full: WhenFull,
}

impl QueueLimits {
    /// Nothing is too much.
    pub const NONE: Self =
        Self { messages: u32::MAX, bytes: u64::MAX, when_full: WhenFull::DropNew };

    /// Which limit so much reaches, if it does: no more is taken then.
    pub fn reached(&self, messages: usize, bytes: u64) -> Option<DropReason> {
        if messages as u64 >= u64::from(self.messages) {
            Some(DropReason::QueueCount)
        } else if bytes >= self.bytes {
            Some(DropReason::QueueBytes)
        } else {
            None
        }
    }

    /// Which limit so much exceeds, if it does.
    pub fn exceeded(&self, messages: usize, bytes: u64) -> Option<DropReason> {
        if messages as u64 > u64::from(self.messages) {
            Some(DropReason::QueueCount)
        } else if bytes > self.bytes {
            Some(DropReason::QueueBytes)
        } else {
            None
        }
    }

    /// Whether a queue that was full has room enough to be open again: an eighth of either limit.
    pub fn is_open_again(&self, messages: usize, bytes: u64) -> bool {
        let count = u64::from(self.messages);
        (messages as u64) < count - count / 8 && bytes < self.bytes - self.bytes / 8
    }
}

/// A queue that takes no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full {
    /// Which limit it reached.
    pub reason: DropReason,
    /// Whether publishers are refused for it.
    pub rejects: bool,
}

/// Why a session did not get a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum DropReason {
    /// As many messages waited as may.
    QueueCount = 0,
    /// As many bytes waited as may.
    QueueBytes = 1,
    /// It was not worth delivering any more `[MQTT5-3.3.2-5]`.
    Expired = 2,
    /// It was at `QoS` 0, and the client does not read what it is owed.
    OutboxFull = 3,
    /// It is larger than the client takes `[MQTT5-3.1.2-25]`.
    TooLarge = 4,
    /// The client may not read it any more.
    Denied = 5,
}

impl DropReason {
    /// Every reason, in the order of its number.
    pub const ALL: [Self; 6] = [
        Self::QueueCount,
        Self::QueueBytes,
        Self::Expired,
        Self::OutboxFull,
        Self::TooLarge,
        Self::Denied,
    ];

    /// The word in metrics and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::QueueCount => "queue_count",
            Self::QueueBytes => "queue_bytes",
            Self::Expired => "expired",
            Self::OutboxFull => "outbox_full",
            Self::TooLarge => "too_large",
            Self::Denied => "denied",
        }
    }

    /// The reason that is stored under a number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

/// How many messages a session did not get, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Drops([u64; DropReason::ALL.len()]);

impl Drops {
    /// Counts some more.
    pub fn add(&mut self, reason: DropReason, count: u64) {
        if let Some(sum) = self.0.get_mut(reason as usize) {
            *sum = sum.saturating_add(count);
        }
    }

    /// Each reason with its count.
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.into_iter().zip(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_full_at_its_limit_and_open_again_below_seven_eighths() {
        let limits = QueueLimits { messages: 16, bytes: 800, when_full: WhenFull::DropNew };
        assert_eq!(limits.reached(15, 799), None);
        assert_eq!(limits.reached(16, 0), Some(DropReason::QueueCount));
        assert_eq!(limits.reached(1, 800), Some(DropReason::QueueBytes));
        assert_eq!(limits.exceeded(16, 800), None);
        assert_eq!(limits.exceeded(17, 0), Some(DropReason::QueueCount));
        assert_eq!(limits.exceeded(1, 801), Some(DropReason::QueueBytes));
        assert!(limits.is_open_again(13, 699));
        assert!(!limits.is_open_again(14, 0) && !limits.is_open_again(0, 700));
    }

    #[test]
    fn numbers_read_back() {
        for reason in DropReason::ALL {
            assert_eq!(DropReason::from_number(reason as u8), Some(reason));
        }
        for when in [WhenFull::Reject, WhenFull::DropOldest, WhenFull::DropNew] {
            assert_eq!(WhenFull::from_number(when as u8), Some(when));
        }
        assert_eq!((DropReason::from_number(6), WhenFull::from_number(3)), (None, None));
        let mut drops = Drops::default();
        drops.add(DropReason::Denied, 2);
        assert_eq!(
            drops.iter().filter(|(_, n)| *n > 0).collect::<Vec<_>>(),
            [(DropReason::Denied, 2)]
        );
    }
}
