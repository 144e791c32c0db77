//! A descriptor that is kept for the moment when there is no other.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;

/// A descriptor that is kept for the moment when there is no other: with it, a client that cannot be served is closed
/// instead of left to wait, and the queue of the listener does not fill with dead ones.
///
/// All accept loops share it. One that finds it gone, because it accepted with the very descriptor that another loop had
/// freed, gives the connection up for it: otherwise nobody could be closed from then on.
#[derive(Debug)]
pub(super) struct Spare {
    file: Mutex<Option<File>>,
    /// It is not there, or in use.
    missing: AtomicBool,
    /// An episode of shortage is told once, and its end.
    short: AtomicBool,
}

/// How long somebody may take to come for the descriptor that was kept for him.
const PATIENCE: Duration = Duration::from_millis(1);

impl Spare {
    /// Takes one.
    pub(super) fn new() -> Self {
        let file = open();
        let missing = AtomicBool::new(file.is_none());
        Self { file: Mutex::new(file), missing, short: AtomicBool::new(false) }
    }

    /// A connection was accepted as usual. Closes it if it has the last descriptor.
    pub(super) async fn keep<C>(&self, connection: C) -> Option<C> {
        if self.missing.load(Ordering::Acquire) {
            let mut file = self.file.lock().await;
            if !self.fill(&mut file) {
                drop(connection);
                self.fill(&mut file);
                return None;
            }
        }
        if self.short.load(Ordering::Relaxed) && self.short.swap(false, Ordering::Relaxed) {
            tracing::info!("descriptors are free again: connections are accepted");
        }
        Some(connection)
    }

    /// There are none.
    pub(super) fn warn(&self, error: &io::Error) {
        if !self.short.swap(true, Ordering::Relaxed) {
            tracing::warn!("out of descriptors, new connections are closed: {error}");
        }
    }

    /// Takes one connection off a queue, and closes it. Says whether there was one.
    pub(super) async fn give<C>(&self, accept: impl Future<Output = io::Result<C>>) -> bool {
        let mut file = self.file.lock().await;
        self.missing.store(true, Ordering::Release);
        drop(file.take());
        let taken = tokio::time::timeout(PATIENCE, accept).await;
        let closed = taken.is_ok_and(|connection| connection.is_ok());
        self.fill(&mut file);
        closed
    }

    fn fill(&self, file: &mut Option<File>) -> bool {
        if file.is_none() {
            *file = open();
        }
        self.missing.store(file.is_none(), Ordering::Release);
        file.is_some()
    }
}

fn open() -> Option<File> {
    File::open("/dev/null").ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_there_again_after_it_was_given() {
        let spare = Spare::new();
        assert!(spare.give(async { Ok(()) }).await);
        assert!(
            !spare.give(async { Err::<(), _>(io::Error::other("somebody was quicker")) }).await
        );
        assert!(!spare.give(std::future::pending::<io::Result<()>>()).await);
        assert!(spare.keep(()).await.is_some());
        assert!(spare.file.lock().await.is_some());
    }

    #[tokio::test]
    async fn one_that_could_not_be_had_is_taken_with_the_next_connection() {
        let spare = Spare::new();
        drop(spare.file.lock().await.take());
        spare.missing.store(true, Ordering::Release);
        assert!(spare.keep(()).await.is_some());
        assert!(spare.file.lock().await.is_some());
        assert!(!spare.missing.load(Ordering::Acquire));
    }
}
