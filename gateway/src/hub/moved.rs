//! What became of the clients that drains move, as workers count it.

/// What became of the clients that a drain moves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moved {
    /// Told where to go.
    pub moved: u64,
    /// Not moved: not there any more.
    pub failed: u64,
    /// Not moved yet: other members of their shared group had just gone.
    pub held_back: u64,
    /// Left by themselves, or were taken by another gateway: whoever had a session here and was not moved.
    pub departed: u64,
    /// Of those who were moved, who had been moved before, lately.
    pub again: u64,
    /// Of those who were moved, whose session somebody else had by then.
    pub taken: u64,
    /// Times that the store did not take the last write of a session that was moved; it is tried again.
    pub not_stored: u64,
}

impl Moved {
    /// What has come since `seen`, which is what is seen now from then on. What a worker that does not answer has counted comes
    /// with its next answer.
    pub fn more_than(self, seen: &mut Self) -> Self {
        let both = [
            (self.moved, &mut seen.moved),
            (self.failed, &mut seen.failed),
            (self.held_back, &mut seen.held_back),
            (self.departed, &mut seen.departed),
            (self.again, &mut seen.again),
            (self.taken, &mut seen.taken),
            (self.not_stored, &mut seen.not_stored),
        ];
        let [moved, failed, held_back, departed, again, taken, not_stored] =
            both.map(|(now, seen)| {
                let more = now.saturating_sub(*seen);
                *seen = now.max(*seen);
                more
            });
        Self { moved, failed, held_back, departed, again, taken, not_stored }
    }
}

impl std::ops::AddAssign for Moved {
    fn add_assign(&mut self, other: Self) {
        let Self { moved, failed, held_back, departed, again, taken, not_stored } = other;
        self.moved += moved;
        self.failed += failed;
        self.held_back += held_back;
        self.departed += departed;
        self.again += again;
        self.taken += taken;
        self.not_stored += not_stored;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_silent_worker_has_counted_comes_with_its_next_answer_and_once() {
        let at = |moved, again| Moved { moved, again, ..Moved::default() };
        let mut seen = Moved::default();
        assert_eq!(at(5, 1).more_than(&mut seen), at(5, 1));
        // One of the workers did not answer.
        assert_eq!(at(2, 1).more_than(&mut seen), at(0, 0));
        assert_eq!(at(7, 2).more_than(&mut seen), at(2, 1));
        assert_eq!(seen, at(7, 2));
        seen += at(1, 0);
        assert_eq!(seen, at(8, 2));
    }
}
