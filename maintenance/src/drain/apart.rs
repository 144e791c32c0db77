//! Who is not moved at the same time as others, whichever gateways are emptied: everybody goes in the turns that the calendar
//! gives them. So gateways that never speak of it keep it, as long as their clocks agree.

use std::time::Duration;

use protocol::Wall;

/// Kinds of clients that stand in for each other, at most.
const MOST_KINDS: usize = 8;
/// Time between members of one shared group that leave different gateways: moved clients are back by then, as a rule.
const BETWEEN_GATEWAYS: Duration = Duration::from_millis(250);

/// Clients that stand in for each other, known by their ids: whoever is of one kind is never moved at about the time at which
/// somebody of another kind is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StandIns {
    /// How ids of each kind begin and end.
    kinds: Vec<(String, String)>,
    gap: Duration,
}

/// Why patterns do not say who stands in for whom; the operator's to mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidStandIns {
    /// Of one kind nobody stands in for anybody.
    #[error("has {0} patterns; who stands in for each other is of 2 to {MOST_KINDS} kinds")]
    Count(usize),
    /// Ids are told apart by what stands around their star.
    #[error("{0:?} needs one '*' and something before or behind it")]
    Pattern(String),
    /// It would be two kinds.
    #[error("{0:?} is there twice")]
    Twice(String),
}

/// Which of several emptied gateways this is, by its place among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainTurn {
    /// From 0.
    pub place: u32,
    /// How many are emptied.
    pub of: u32,
}

impl StandIns {
    /// By patterns of client ids, in which one `*` stands for what stand-ins have in common; without any, nobody stands in for
    /// anybody. Between two that stand in for each other lies at least `gap`.
    ///
    /// # Errors
    /// [`InvalidStandIns`], the first that applies.
    pub fn new(patterns: &[String], gap: Duration) -> Result<Self, InvalidStandIns> {
        let mut kinds = Vec::new();
        for pattern in patterns {
            let invalid = || InvalidStandIns::Pattern(pattern.clone());
            let (before, behind) = pattern.split_once('*').ok_or_else(invalid)?;
            if behind.contains('*') || (before.is_empty() && behind.is_empty()) {
                return Err(invalid());
            }
            let kind = (before.to_owned(), behind.to_owned());
            if kinds.contains(&kind) {
                return Err(InvalidStandIns::Twice(pattern.clone()));
            }
            kinds.push(kind);
        }
        match kinds.len() {
            0 | 2..=MOST_KINDS => Ok(Self { kinds, gap }),
            count => Err(InvalidStandIns::Count(count)),
        }
    }

    /// Of which kind a client is: the first whose pattern its id has.
    pub fn kind(&self, client: &str) -> Option<u8> {
        let has = |(before, behind): &(String, String)| {
            client.strip_prefix(before.as_str()).is_some_and(|rest| rest.ends_with(behind))
        };
        self.kinds.iter().position(has).and_then(|kind| u8::try_from(kind).ok())
    }

    /// Whether clients of a kind may be moved at this moment.
    pub fn may_go(&self, kind: u8, at: Wall) -> bool {
        let kinds = u64::try_from(self.kinds.len()).unwrap_or(u64::MAX);
        is_turn(at, (kind.into(), kinds), self.gap)
    }
}

impl Default for DrainTurn {
    /// Of one that is emptied alone.
    fn default() -> Self {
        Self { place: 0, of: 1 }
    }
}

impl DrainTurn {
    /// Whether a group with few members here may lose one at this moment.
    pub fn may_go(self, at: Wall) -> bool {
        self.of <= 1 || is_turn(at, (self.place.into(), self.of.into()), BETWEEN_GATEWAYS)
    }
}

/// Each turn lasts for a gap, and a gap in which nobody goes follows it.
fn is_turn(at: Wall, (place, of): (u64, u64), gap: Duration) -> bool {
    let gap = u64::try_from(gap.as_millis()).unwrap_or(u64::MAX).clamp(1, u64::from(u32::MAX));
    let (turn, into) = (at.0 / (2 * gap), at.0 % (2 * gap));
    turn % of.max(1) == place && into < gap
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stand_ins(patterns: &[&str], gap: Duration) -> Result<StandIns, InvalidStandIns> {
        let patterns: Vec<_> = patterns.iter().map(|it| (*it).to_owned()).collect();
        StandIns::new(&patterns, gap)
    }

    #[test]
    fn kinds_are_known_by_what_stands_around_the_star() {
        let known = stand_ins(&["press-*-a", "press-*-b", "spare/*"], Duration::ZERO).unwrap();
        let kinds = ["press-7-a", "press-7-b", "press--b", "spare/", "press-7-c", "press-a", ""]
            .map(|id| known.kind(id));
        assert_eq!(kinds, [Some(0), Some(1), Some(1), Some(2), None, None, None]);
        assert_eq!(StandIns::default().kind("press-7-a"), None);
    }

    #[test]
    fn what_tells_nobody_apart_is_refused() {
        let refused = |patterns: &[&str]| stand_ins(patterns, Duration::ZERO).unwrap_err();
        assert_eq!(refused(&["*-a"]), InvalidStandIns::Count(1));
        assert_eq!(refused(&["a*"; 9]), InvalidStandIns::Twice("a*".to_owned()));
        for no in ["a", "*", "*a*", ""] {
            assert_eq!(refused(&["b*", no]), InvalidStandIns::Pattern(no.to_owned()));
        }
        assert_eq!(stand_ins(&[], Duration::ZERO), Ok(StandIns::default()));
    }

    proptest! {
        #[test]
        fn those_of_two_kinds_never_go_within_the_gap_and_each_has_its_turn(
            (of, one, other) in (2_u8..=8).prop_flat_map(|of| (Just(of), 0..of, 0..of)),
            gap in 1_u64..5_000,
            (at, later) in (0_u64..1 << 45, 0_u64..5_000),
        ) {
            let patterns: Vec<_> = (0..of).map(|kind| format!("{kind}-*")).collect();
            let known = StandIns::new(&patterns, Duration::from_millis(gap)).unwrap();
            let goes = known.may_go(one, Wall(at)) && known.may_go(other, Wall(at + later));
            if one != other {
                prop_assert!(!goes || later >= gap);
            }
            let round = u64::from(of) * 2 * gap;
            let begins = (0..round).find(|it| known.may_go(one, Wall(at + it)));
            prop_assert!(begins.is_some());
        }

        #[test]
        fn two_gateways_never_take_from_a_small_group_at_once(
            (of, one, other) in (2_u32..=9).prop_flat_map(|of| (Just(of), 0..of, 0..of)),
            (at, later) in (0_u64..1 << 45, 0_u64..250),
        ) {
            let goes = DrainTurn { place: one, of }.may_go(Wall(at))
                && DrainTurn { place: other, of }.may_go(Wall(at + later));
            prop_assert!(one == other || !goes);
            prop_assert!(DrainTurn::default().may_go(Wall(at)));
        }
    }
}
