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

/// After so many refusals a client is let in.
const PATIENCE: u8 = 2;
/// Clients that are remembered; those above are refused.
const REMEMBERED: usize = 65_536;

impl Bounced {
    /// Whether a client that should go elsewhere is let in all the same, until the drain moves it again.
    pub(super) fn lets_in(&self, client: &ClientId) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let full = seen.len() >= REMEMBERED;
        let key = hash64(client.as_str().as_bytes());
        let times = match seen.get(&key) {
            Some(Times::LetIn) => return false,
            Some(Times::Refused(times)) => *times,
            None if full => return false,
            None => 0,
        };
        let lets_in = times >= PATIENCE;
        seen.insert(key, if lets_in { Times::LetIn } else { Times::Refused(times + 1) });
        lets_in
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
        let seen: Vec<_> = (0..5).map(|_| bounced.lets_in(&one)).collect();
        assert_eq!(seen, [false, false, true, false, false]);
        assert!(!bounced.lets_in(&other));
        bounced.forget();
        assert!(!bounced.lets_in(&one));
    }

    #[test]
    fn what_is_remembered_has_a_limit() {
        let bounced = Bounced::default();
        let client = |n| ClientId::new(&format!("device-{n}")).unwrap();
        (0..REMEMBERED).for_each(|n| assert!(!bounced.lets_in(&client(n))));
        (0..5).for_each(|_| assert!(!bounced.lets_in(&client(REMEMBERED))));
        assert_eq!(bounced.seen.lock().unwrap().len(), REMEMBERED);
    }
}
