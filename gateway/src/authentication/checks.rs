//! Password checks: costly by design, so a few at a time, off the thread that greets, and a queue with an end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use access::PasswordCheck;
use tokio::sync::Semaphore;

use super::NotIdentified;

/// Where passwords are checked.
#[derive(Debug)]
pub(super) struct Checks {
    at_once: Arc<Semaphore>,
    waiting: AtomicUsize,
    waiting_most: usize,
}

/// One login that waits; its place is free when this is dropped, however that comes about.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Checks {
    pub(super) fn new(at_once: usize, waiting_most: usize) -> Self {
        let at_once = Arc::new(Semaphore::new(at_once));
        Self { at_once, waiting: AtomicUsize::new(0), waiting_most }
    }

    /// Whether a password is right; waits for its turn.
    ///
    /// # Errors
    /// [`NotIdentified::Busy`], when too many wait.
    pub(super) async fn run(
        &self,
        check: PasswordCheck,
        password: &[u8],
    ) -> Result<bool, NotIdentified> {
        let permit = match Arc::clone(&self.at_once).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => self.wait().await?,
        };
        let password = password.to_vec();
        let checked = tokio::task::spawn_blocking(move || {
            // Held until the work is done, even if nobody waits for it any more.
            let _permit = permit;
            check.run(&password)
        });
        Ok(checked.await.unwrap_or(false))
    }

    async fn wait(&self) -> Result<tokio::sync::OwnedSemaphorePermit, NotIdentified> {
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        if before >= self.waiting_most {
            return Err(NotIdentified::Busy);
        }
        Arc::clone(&self.at_once).acquire_owned().await.map_err(|_| NotIdentified::Busy)
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future as _;
    use std::task::{Context, Poll, Waker};

    use access::PasswordFile;

    use super::*;

    #[test]
    fn who_finds_no_place_to_wait_is_told_so() {
        let checks = Checks::new(1, 1);
        let held = Arc::clone(&checks.at_once).try_acquire_owned().unwrap();
        let check = || PasswordFile::default().check("anna");
        let mut cx = Context::from_waker(Waker::noop());
        let mut first = Box::pin(checks.run(check(), b"x"));
        assert!(first.as_mut().poll(&mut cx).is_pending());
        let mut second = Box::pin(checks.run(check(), b"x"));
        assert_eq!(second.as_mut().poll(&mut cx), Poll::Ready(Err(NotIdentified::Busy)));
        drop((first, held));
        assert_eq!(checks.waiting.load(Ordering::Relaxed), 0);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(runtime.block_on(checks.run(check(), b"x")), Ok(false));
    }
}
