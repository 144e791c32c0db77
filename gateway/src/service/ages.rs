//! How old stored publications are, as far as that must be known: what was acknowledged too long ago is forgotten.

use std::collections::VecDeque;
use std::time::Duration;

use protocol::Position;

/// The newest positions of some moments.
#[derive(Debug, Default)]
pub(super) struct Ages(VecDeque<(Duration, Position)>);

impl Ages {
    /// The fleet has come so far now.
    pub(super) fn note(&mut self, now: Duration, newest: Position) {
        self.0.push_back((now, newest));
    }

    /// Everything up to here was stored at least so long ago.
    pub(super) fn older_than(&mut self, age: Duration, now: Duration) -> Position {
        let is_old = |(since, _): &(Duration, Position)| now.saturating_sub(*since) >= age;
        while self.0.get(1).is_some_and(is_old) {
            self.0.pop_front();
        }
        self.0.front().filter(|it| is_old(it)).map_or(Position(0), |(_, newest)| *newest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_old_enough_is_old() {
        let mut ages = Ages::default();
        let second = Duration::from_secs;
        assert_eq!(ages.older_than(second(60), second(100)), Position(0));
        for at in (100..200).step_by(10) {
            ages.note(second(at), Position(at * 5));
        }
        for (now, expected) in [(159, 0), (160, 500), (169, 500), (170, 550), (300, 950)] {
            assert_eq!(ages.older_than(second(60), second(now)), Position(expected), "{now}");
        }
    }
}
