//! What time it is for the threads of one process.

#[cfg(test)]
use std::sync::Arc;
#[cfg(test)]
use std::sync::atomic::{AtomicU64, Ordering};
#[cfg(test)]
use std::time::Duration;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use protocol::{Now, Wall};

/// Tells the time; copies tell the same.
#[derive(Debug, Clone)]
pub struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    /// The system's, since the process began.
    System(Instant),
    /// One that stands still until it is moved, in milliseconds since 1970.
    #[cfg(test)]
    Moved(Arc<AtomicU64>),
}

impl Clock {
    /// The system's clock, for a process that began then.
    pub const fn since(began: Instant) -> Self {
        Self(Source::System(began))
    }

    /// A clock that stands still until it is moved; its steady time and its calendar are one.
    #[cfg(test)]
    pub fn standing(at: Wall) -> Self {
        Self(Source::Moved(Arc::new(AtomicU64::new(at.0))))
    }

    /// Moves a clock that stands still, and its copies.
    #[cfg(test)]
    pub fn go_on(&self, by: Duration) {
        if let Source::Moved(at) = &self.0 {
            at.fetch_add(u64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
        }
    }

    /// What time it is.
    pub fn now(&self) -> Now {
        match &self.0 {
            Source::System(began) => Now { mono: began.elapsed(), wall: wall() },
            #[cfg(test)]
            Source::Moved(at) => {
                let at = at.load(Ordering::SeqCst);
                Now { mono: Duration::from_millis(at), wall: Wall(at) }
            }
        }
    }
}

/// Calendar time now, by the system's clock.
pub fn wall() -> Wall {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Wall(u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}
