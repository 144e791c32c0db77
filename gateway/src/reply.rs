//! An answer between threads that is wanted only as long as somebody waits for it: who was told that nobody answers must not find
//! it done all the same a moment later.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Where an answer goes.
#[derive(Debug)]
pub struct Reply<T> {
    to: Sender<T>,
    asker: Weak<()>,
}

/// What somebody waits for.
#[derive(Debug)]
pub struct Waiting<T> {
    from: Receiver<T>,
    _asker: Arc<()>,
}

/// Both ends of an answer.
pub fn reply<T>() -> (Reply<T>, Waiting<T>) {
    let (to, from) = channel();
    let asker = Arc::new(());
    (Reply { to, asker: Arc::downgrade(&asker) }, Waiting { from, _asker: asker })
}

impl<T> Reply<T> {
    /// Answers with what `act` does; does nothing if nobody waits any more.
    pub fn with(self, act: impl FnOnce() -> T) {
        if self.asker.strong_count() > 0 {
            // Who gives up from now on will look what became of it.
            let _ = self.to.send(act());
        }
    }
}

impl<T> Waiting<T> {
    /// Waits for so long at most; none if there was no answer.
    pub fn within(self, patience: Duration) -> Option<T> {
        self.from.recv_timeout(patience).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_waits_for_any_more_is_not_done() {
        let (reply, waiting) = reply();
        assert_eq!(waiting.within(Duration::ZERO), None);
        let mut done = false;
        reply.with(|| done = true);
        assert!(!done);
    }

    #[test]
    fn who_waits_is_answered() {
        let (reply, waiting) = reply();
        reply.with(|| 7);
        assert_eq!(waiting.within(Duration::ZERO), Some(7));
    }
}
