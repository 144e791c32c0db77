//! How long is too long.

use std::time::{Duration, Instant};

/// After this long without an answer a test has failed. No test takes this long when all is well: what is waited for
/// is an event, and this only bounds the wait on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Rest between two looks at something that cannot be waited for.
pub(super) const PAUSE: Duration = Duration::from_millis(10);

/// Looks until there is something to see; `what` tells what never came.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(PAUSE);
    }
}
