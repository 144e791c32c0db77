//! An answer between threads that is wanted only as long as somebody waits for it: who was told that nobody answers must not find
//! it done all the same a moment later, and who gave up in the middle is told so.
//!
//! ```text
//!  Waiting ── somebody begins ──► Begun
//!     └────── the asker gives up ──► GivenUp: nobody begins
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use crate::control::ControlError;

/// Where an answer goes.
#[derive(Debug)]
pub struct Reply<T> {
    to: Sender<T>,
    stage: Arc<Stage>,
}

/// What somebody waits for; given up when it is dropped.
#[derive(Debug)]
pub struct Waiting<T> {
    from: Receiver<T>,
    stage: Arc<Stage>,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// It had not begun when it was given up, and is not done.
    NotBegun,
    /// It had begun when it was given up: it may be done, or will be.
    Begun,
}

/// How far it is: one of the three below.
#[derive(Debug, Default)]
struct Stage(AtomicU8);

const WAITING: u8 = 0;
const BEGUN: u8 = 1;
const GIVEN_UP: u8 = 2;

/// Both ends of an answer.
pub fn reply<T>() -> (Reply<T>, Waiting<T>) {
    let (to, from) = channel();
    let stage = Arc::<Stage>::default();
    (Reply { to, stage: Arc::clone(&stage) }, Waiting { from, stage })
}

impl Stage {
    /// Whether it became that: only one of both ends gets its way.
    fn becomes(&self, stage: u8) -> bool {
        self.0.compare_exchange(WAITING, stage, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

impl<T> Reply<T> {
    /// Answers with what `act` does; does nothing if nobody waits any more.
    pub fn with(self, act: impl FnOnce() -> T) {
        if self.stage.becomes(BEGUN) {
            // Who gave up meanwhile was told that it had begun.
            let _ = self.to.send(act());
        }
    }
}

impl<T> Waiting<T> {
    /// Waits for so long at most.
    ///
    /// # Errors
    /// [`Silence`] if there was no answer.
    pub fn within(self, patience: Duration) -> Result<T, Silence> {
        self.from.recv_timeout(patience).or_else(|_| {
            if self.stage.becomes(GIVEN_UP) {
                return Err(Silence::NotBegun);
            }
            self.from.try_recv().map_err(|_| Silence::Begun)
        })
    }
}

impl<T> Drop for Waiting<T> {
    fn drop(&mut self) {
        self.stage.becomes(GIVEN_UP);
    }
}

impl Silence {
    /// What an operator is told who asked that thread.
    pub fn of(self, thread: &str) -> ControlError {
        match self {
            Self::NotBegun => ControlError::Unavailable(format!("the {thread} does not answer")),
            Self::Begun => ControlError::Unfinished(format!(
                "the {thread} has begun, and was not done when nobody waited any longer"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_waits_for_any_more_is_not_done() {
        let (reply, waiting) = reply();
        assert_eq!(waiting.within(Duration::ZERO), Err(Silence::NotBegun));
        let mut done = false;
        reply.with(|| done = true);
        assert!(!done);
        let (reply, waiting) = super::reply();
        drop(waiting);
        reply.with(|| done = true);
        assert!(!done);
    }

    #[test]
    fn who_gives_up_in_the_middle_is_told_that_it_had_begun() {
        let (reply, waiting) = reply();
        let mut silence = None;
        reply.with(|| silence = Some(waiting.within(Duration::ZERO)));
        assert_eq!(silence, Some(Err(Silence::Begun)));
        assert!(matches!(Silence::Begun.of("housekeeper"), ControlError::Unfinished(_)));
        assert!(matches!(Silence::NotBegun.of("housekeeper"), ControlError::Unavailable(_)));
    }

    #[test]
    fn who_waits_is_answered() {
        let (reply, waiting) = reply();
        reply.with(|| 7);
        assert_eq!(waiting.within(Duration::ZERO), Ok(7));
    }
}
