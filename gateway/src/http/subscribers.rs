//! Who reads the calendar by a token, and how often.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::problem::Problem;
use super::routes::{Shared, ask};
use crate::pace::Pace;
use crate::scheduler::{FeedToken, StoredFeedToken};

/// How old what is known of tokens may be: so long one that is revoked is still good.
const KNOWN_FOR: Duration = Duration::from_secs(1);
/// How often a token may be used at once, at one gateway.
const AT_ONCE: u32 = 30;
/// After this time it may be used once more.
const ONE_MORE: Duration = Duration::from_secs(1);

/// The tokens of the fleet as this gateway knows them. Whoever guesses makes nobody read the store: that is done once within
/// [`KNOWN_FOR`], whoever asks.
#[derive(Debug)]
pub(super) struct Subscribers {
    known: Mutex<Known>,
    /// Its place is that of who reads the store for all who ask.
    reading: Semaphore,
}

#[derive(Debug, Default)]
struct Known {
    read: Option<Instant>,
    tokens: Arc<Vec<StoredFeedToken>>,
    /// By the names of tokens; no others stay.
    paces: BTreeMap<String, Pace>,
}

impl Subscribers {
    pub(super) fn new() -> Self {
        Self { known: Mutex::default(), reading: Semaphore::new(1) }
    }

    /// The token that a secret is of, unless it was used too often.
    pub(super) async fn admit(&self, shared: &Shared, secret: &str) -> Result<FeedToken, Problem> {
        let tokens = self.tokens(shared).await?;
        let Some(StoredFeedToken { token, .. }) = StoredFeedToken::of_secret(secret, &tokens)
        else {
            shared.metrics.process().feeds_unknown.add_shared(1);
            return Err(Problem::forbidden("there is no such calendar, or it was revoked"));
        };
        if !self.known().allow(&token.name, Instant::now()) {
            shared.metrics.process().feeds_too_often.add_shared(1);
            return Err(Problem::too_often());
        }
        shared.metrics.process().feeds_read.add_shared(1);
        Ok(token.clone())
    }

    async fn tokens(&self, shared: &Shared) -> Result<Arc<Vec<StoredFeedToken>>, Problem> {
        let Ok(_place) = self.reading.acquire().await else {
            return Err(Problem::internal("nobody can read the tokens"));
        };
        if let Some(tokens) = self.known().fresh(Instant::now()) {
            return Ok(tokens);
        }
        let read = Instant::now();
        let tokens = ask(shared, |control| control.maintenance().feed_tokens()).await??;
        Ok(self.known().learn(tokens, read))
    }

    /// Leaves nothing of what a token may be used, for an hour.
    #[cfg(test)]
    pub(super) fn exhaust(&self, name: &str) {
        let later = Instant::now() + Duration::from_secs(3600);
        let mut known = self.known();
        while known.allow(name, later) {}
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn fresh(&self, now: Instant) -> Option<Arc<Vec<StoredFeedToken>>> {
        let read = self.read?;
        (now.saturating_duration_since(read) < KNOWN_FOR).then(|| Arc::clone(&self.tokens))
    }

    fn learn(&mut self, tokens: Vec<StoredFeedToken>, read: Instant) -> Arc<Vec<StoredFeedToken>> {
        self.paces.retain(|name, _| tokens.iter().any(|it| it.token.name == *name));
        (self.read, self.tokens) = (Some(read), Arc::new(tokens));
        Arc::clone(&self.tokens)
    }

    /// Notes that a token is used, if it may be.
    fn allow(&mut self, name: &str, now: Instant) -> bool {
        let fresh = || Pace::new(AT_ONCE, ONE_MORE);
        self.paces.entry(name.to_owned()).or_insert_with(fresh).takes(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_may_be_used_so_often_at_once_and_once_more_each_second_and_others_beside_it() {
        let (mut known, start) = (Known::default(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        let used = |known: &mut Known, name: &str, millis| {
            (0..100).filter(|_| known.allow(name, at(millis))).count()
        };
        assert_eq!(used(&mut known, "wall", 0), 30);
        assert_eq!(used(&mut known, "wall", 999), 0);
        assert_eq!(used(&mut known, "desk", 999), 30);
        // What is left of a second is not lost.
        assert_eq!(used(&mut known, "wall", 1_999), 1);
        assert_eq!(used(&mut known, "wall", 4_000), 3);
        assert_eq!(used(&mut known, "wall", 1_000_000_000), 30, "it does not grow without end");
    }

    #[test]
    fn what_is_known_is_fresh_for_a_second_and_of_tokens_that_are_gone_nothing_stays() {
        let (mut known, start) = (Known::default(), Instant::now());
        assert!(known.fresh(start).is_none());
        assert!(known.allow("wall", start));
        known.learn(Vec::new(), start);
        assert!(known.fresh(start + Duration::from_millis(999)).is_some());
        assert!(known.fresh(start + KNOWN_FOR).is_none());
        assert!(known.paces.is_empty());
    }
}
