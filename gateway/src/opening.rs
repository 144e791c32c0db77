//! Opens the store of a gateway that starts.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use store::{Durability, SqliteOptions, SqliteStore, StoreError, Unavailable};

use crate::config::{Resolved, Synchronous};

/// How long a store that is busy is waited for: another gateway may bring it up to date, or a backup may be put back.
const PATIENCE: Duration = Duration::from_mins(10);
/// The same for a process that is to follow another one, which keeps the store open: what needs it alone cannot be done.
const FOLLOWER_PATIENCE: Duration = Duration::from_secs(10);
/// Time between two tries.
const AGAIN: Duration = Duration::from_millis(250);

/// Opens the store, or makes it, for the fleet of the configuration.
///
/// # Errors
/// What is wrong with the store, for the operator.
pub(crate) fn open_store(config: &Resolved, follows: bool) -> anyhow::Result<SqliteStore> {
    let durability = match config.store.synchronous {
        Synchronous::Full => Durability::Full,
        Synchronous::Normal => Durability::Normal,
    };
    let busy = Duration::from_millis(u64::from(config.store.busy_ms));
    let options =
        SqliteOptions { durability, busy, checkpoint_pages: config.store.checkpoint_pages };
    let open = || {
        SqliteStore::open(&config.data, options.clone())
            .and_then(|store| store.claim(&config.fleet).map(|is_new| (store, is_new)))
    };
    let at = config.data.display();
    let (store, is_new) = while_busy(if follows { FOLLOWER_PATIENCE } else { PATIENCE }, open)
        .with_context(|| format!("cannot use the store in {at}"))?;
    if is_new {
        // After an accident, such as a disk that is not mounted, the only word of it.
        tracing::warn!("the fleet {} begins a new store: there was none in {at}", config.fleet);
    }
    Ok(store)
}

/// Tries until the store is not busy, for as long as that may take.
fn while_busy<T>(
    patience: Duration,
    mut open: impl FnMut() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let began = Instant::now();
    let mut told = false;
    loop {
        match open() {
            Err(StoreError::Unavailable { why: Unavailable::Busy, .. })
                if began.elapsed() < patience =>
            {
                if !told {
                    tracing::warn!("the store is busy; waiting for it");
                }
                told = true;
                std::thread::sleep(AGAIN);
            }
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn failed(why: Unavailable) -> StoreError {
        StoreError::Unavailable { why, source: None }
    }

    #[test]
    fn a_store_that_is_busy_is_waited_for_and_nothing_else_is() {
        let mut tries = 0;
        let opened = while_busy(PATIENCE, || {
            tries += 1;
            if tries < 3 { Err(failed(Unavailable::Busy)) } else { Ok(tries) }
        });
        assert_eq!(opened.unwrap(), 3);
        let refused = while_busy(PATIENCE, || Err::<(), _>(failed(Unavailable::Full)));
        assert!(refused.is_err());
        let late = while_busy(Duration::ZERO, || Err::<(), _>(failed(Unavailable::Busy)));
        assert!(late.is_err());
    }
}
