//! Clients that come back although they were sent elsewhere: they know no other address, or do not listen.

use std::sync::{Mutex, PoisonError};

use protocol::{ClientId, HashMap, hash64};

/// Who was sent elsewhere, and how often, since this gateway last took everybody.
#[derive(Debug, Default)]
pub(super) struct Bounced {
    seen: Mutex<HashMap<u64, Times>>,
}

/// How often a client was sent elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Times {
    Refused(u8),
    /// And then it was let in, which is once.
    LetIn,
}

/// What becomes of a client that should go elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coming {
    /// It is refused, for the first time as far as is remembered.
    New,
    /// It was sent elsewhere, came back, and is refused again.
    Again,
    /// It was sent elsewhere, came back too often, and is let in.
    LetIn,
}

/// After so many refusals a client is let in.
const PATIENCE: u8 = 2;
/// Clients that are remembered; those above are refused.
const REMEMBERED: usize = 65_536;

impl Bounced {
    /// A client comes that should go elsewhere. `open` as long as those are let in who come often, until the drain moves them again.
    pub(super) fn handle_coming(&self, client: &ClientId, open: bool) -> Coming {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let full = seen.len() >= REMEMBERED;
        let key = hash64(client.as_str().as_bytes());
        let times = match seen.get(&key) {
            Some(Times::LetIn) => return Coming::Again,
            Some(Times::Refused(times)) => *times,
            None if full => return Coming::New,
            None => 0,
        };
        let (next, coming) = match times {
            0 => (Times::Refused(1), Coming::New),
            PATIENCE.. if open => (Times::LetIn, Coming::LetIn),
            1.. => (Times::Refused(times.saturating_add(1)), Coming::Again),
        };
        seen.insert(key, next);
        coming
    }

    /// Everybody is taken again.
    pub(super) fn forget(&self) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = HashMap::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_a_third_time_is_let_in_once() {
        let bounced = Bounced::default();
        let [one, other] = ["one", "other"].map(|id| ClientId::new(id).unwrap());
        let seen: Vec<_> = (0..5).map(|_| bounced.handle_coming(&one, true)).collect();
        assert_eq!(seen, [Coming::New, Coming::Again, Coming::LetIn, Coming::Again, Coming::Again]);
        assert_eq!(bounced.handle_coming(&other, true), Coming::New);
        // Where nobody is let in any more, coming back is still known.
        let closed: Vec<_> = (0..3).map(|_| bounced.handle_coming(&other, false)).collect();
        assert_eq!(closed, [Coming::Again; 3]);
        bounced.forget();
        assert_eq!(bounced.handle_coming(&one, true), Coming::New);
    }

    #[test]
    fn what_is_remembered_has_a_limit() {
        let bounced = Bounced::default();
        let client = |n| ClientId::new(&format!("device-{n}")).unwrap();
        let coming = |n| bounced.handle_coming(&client(n), true);
        (0..REMEMBERED).for_each(|n| assert_eq!(coming(n), Coming::New));
        (0..5).for_each(|_| assert_eq!(coming(REMEMBERED), Coming::New));
        assert_eq!(bounced.seen.lock().unwrap().len(), REMEMBERED);
    }
}
