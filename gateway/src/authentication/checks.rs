//! Password checks: costly by design, so a few at a time, off the thread that greets, and a queue with an end.
//!
//! ```text
//!  login ── a place in the queue, of which no address has all ── first of its address ── a turn ──► check
//! ```

use std::net::IpAddr;
use std::sync::Arc;

use access::PasswordCheck;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::NotIdentified;
use super::shares::Shares;

/// Where passwords are checked.
#[derive(Debug)]
pub(super) struct Checks {
    at_once: Arc<Semaphore>,
    waiting: Shares,
}

impl Checks {
    pub(super) fn new(at_once: usize, waiting_most: usize) -> Self {
        Self { at_once: Arc::new(Semaphore::new(at_once)), waiting: Shares::new(waiting_most) }
    }

    /// Whether a password that came from this address is right; waits for its turn.
    ///
    /// # Errors
    /// [`NotIdentified::Busy`], when too many wait.
    pub(super) async fn run(
        &self,
        check: PasswordCheck,
        password: &[u8],
        address: Option<IpAddr>,
    ) -> Result<bool, NotIdentified> {
        let permit = match Arc::clone(&self.at_once).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => self.wait(address).await?,
        };
        let password = password.to_vec();
        let checked = tokio::task::spawn_blocking(move || {
            // Held until the work is done, even if nobody waits for it any more.
            let _permit = permit;
            check.run(&password)
        });
        Ok(checked.await.unwrap_or(false))
    }

    /// The addresses that have logins here take turns.
    async fn wait(&self, address: Option<IpAddr>) -> Result<OwnedSemaphorePermit, NotIdentified> {
        let place = self.waiting.take(address).ok_or(NotIdentified::Busy)?;
        let _first = place.line().acquire().await.map_err(|_| NotIdentified::Busy)?;
        Arc::clone(&self.at_once).acquire_owned().await.map_err(|_| NotIdentified::Busy)
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future as _;
    use std::task::{Context, Poll, Waker};

    use access::PasswordFile;

    use super::*;

    fn check() -> PasswordCheck {
        PasswordFile::default().check("anna")
    }

    #[test]
    fn who_finds_no_place_to_wait_is_told_so() {
        let checks = Checks::new(1, 1);
        let held = Arc::clone(&checks.at_once).try_acquire_owned().unwrap();
        let mut cx = Context::from_waker(Waker::noop());
        let mut first = Box::pin(checks.run(check(), b"x", None));
        assert!(first.as_mut().poll(&mut cx).is_pending());
        let mut second = Box::pin(checks.run(check(), b"x", None));
        assert_eq!(second.as_mut().poll(&mut cx), Poll::Ready(Err(NotIdentified::Busy)));
        drop((first, held));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(runtime.block_on(checks.run(check(), b"x", None)), Ok(false));
    }

    #[test]
    fn a_flood_of_logins_from_one_address_delays_others_by_one_check() {
        let checks = Checks::new(1, 100);
        let [flooding, other] = ["192.0.2.1", "192.0.2.2"].map(|it| it.parse().ok());
        let held = Arc::clone(&checks.at_once).try_acquire_owned().unwrap();
        let mut cx = Context::from_waker(Waker::noop());
        let mut flood: Vec<_> = (0..30).map(|_| Box::pin(checks.wait(flooding))).collect();
        let waiting: usize =
            flood.iter_mut().map(|it| usize::from(it.as_mut().poll(&mut cx).is_pending())).sum();
        assert_eq!(waiting, 20);
        let mut login = Box::pin(checks.wait(other));
        assert!(login.as_mut().poll(&mut cx).is_pending());
        drop(held);
        // The one that was first is; then it is the other address's turn.
        let Poll::Ready(Ok(first)) = flood[0].as_mut().poll(&mut cx) else {
            panic!("the first login still waits");
        };
        assert!(flood[1].as_mut().poll(&mut cx).is_pending());
        drop(first);
        assert!(matches!(login.as_mut().poll(&mut cx), Poll::Ready(Ok(_))));
    }
}
