//! When peers are poked: at once for whatever somebody there may wait for, and now and then for commits that tell of nothing but
//! shadows which nobody watches there. A poke costs both gateways several times what such a commit does.
//!
//! Nothing is lost by a poke that comes late: the log is the same, and whoever needs to know what it holds reads it without one.

use std::time::Duration;

use fanout::Remembered;
use protocol::LogSeq;
use shadow::ShadowKey;
use store::{Entry, Space};

use crate::hub::{Tables, is_watched_elsewhere};

/// How long a commit may wait that nobody waits for at a peer: no longer than a disk now and then makes one wait.
const PACE: Duration = Duration::from_millis(10);
/// Topics of shadows of which it is remembered whether anybody wants them elsewhere: two of each.
const REMEMBERED: usize = 32_768;

/// Decides when the peers are poked. Time is the caller's, and only grows.
#[derive(Debug)]
pub struct Pokes {
    /// The commit that peers have not been poked for, and when that is due.
    held: Option<(LogSeq, Duration)>,
    /// Until when one that nobody waits for is held.
    holds_until: Duration,
    /// Whether anybody elsewhere wants what is told of shadows, by topic.
    watched: Remembered<bool, u64>,
}

impl Default for Pokes {
    fn default() -> Self {
        let watched = Remembered::new(REMEMBERED);
        Self { held: None, holds_until: Duration::ZERO, watched }
    }
}

impl Pokes {
    /// There is another commit, which says this. Answers whether the peers are to be poked for it now.
    pub fn note(&mut self, seq: LogSeq, entries: &[Entry], tables: &Tables, now: Duration) -> bool {
        if now < self.holds_until && self.may_wait(entries, tables) {
            self.held = Some((seq, self.holds_until));
            return false;
        }
        self.held = None;
        self.holds_until = now.saturating_add(PACE);
        true
    }

    /// When a poke is due that is held back, if one is.
    pub fn due(&self) -> Option<Duration> {
        self.held.map(|(_, due)| due)
    }

    /// The commit that peers are to be poked for now, since it has waited for long enough.
    pub fn take_due(&mut self, now: Duration) -> Option<LogSeq> {
        let (seq, _) = self.held.take_if(|(_, due)| *due <= now)?;
        self.holds_until = now.saturating_add(PACE);
        Some(seq)
    }

    /// Whether a commit tells of nothing but shadows that nobody watches at a peer.
    fn may_wait(&mut self, entries: &[Entry], tables: &Tables) -> bool {
        entries.iter().all(|entry| match entry {
            Entry::Doc { space: Space::Shadow, key, .. } => ShadowKey::from_stored(key)
                .is_some_and(|shadow| !is_watched_elsewhere(tables, &mut self.watched, shadow)),
            Entry::Doc { .. } | Entry::Refs { .. } | Entry::Trim(_) | Entry::Dropped(_) => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use fanout::{InterestDelta, Wants};
    use protocol::{Position, Refs, TopicFilter};
    use store::Rev;

    use super::*;

    fn shadow(thing: &str) -> Entry {
        let key = Bytes::from(format!("{thing}/"));
        Entry::Doc { space: Space::Shadow, key, rev: Rev(1), value: None }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn one_after_the_other_of_what_nobody_watches_elsewhere_is_told_now_and_then() {
        let (mut pokes, tables) = (Pokes::default(), Tables::default());
        assert!(pokes.note(LogSeq(1), &[shadow("a")], &tables, ms(100)), "the first after a while");
        assert!(!pokes.note(LogSeq(2), &[shadow("a")], &tables, ms(101)));
        assert!(!pokes.note(LogSeq(3), &[shadow("b"), shadow("a")], &tables, ms(109)));
        assert_eq!((pokes.due(), pokes.take_due(ms(109))), (Some(ms(110)), None));
        assert_eq!(pokes.take_due(ms(110)), Some(LogSeq(3)));
        assert_eq!(pokes.due(), None);
        assert!(!pokes.note(LogSeq(4), &[shadow("a")], &tables, ms(119)));
        assert!(pokes.note(LogSeq(5), &[shadow("a")], &tables, ms(120)));
        assert_eq!(pokes.due(), None, "it was told with that");
    }

    #[test]
    fn whatever_somebody_may_wait_for_elsewhere_is_told_at_once() {
        let (mut pokes, tables) = (Pokes::default(), Tables::default());
        let session = Entry::Doc {
            space: Space::Session,
            key: Bytes::from_static(b"c"),
            rev: Rev(1),
            value: None,
        };
        let refs = Entry::Refs {
            first: Position(1),
            count: 1,
            refs: Refs::default(),
            outlines: Default::default(),
        };
        assert!(pokes.note(LogSeq(1), &[shadow("a")], &tables, ms(0)));
        for (seq, other) in (2..).zip([session, refs]) {
            assert!(!pokes.note(LogSeq(10 * seq), &[shadow("a")], &tables, ms(1)));
            let told = pokes.note(LogSeq(10 * seq + 1), &[shadow("a"), other], &tables, ms(1));
            assert_eq!((told, pokes.due()), (true, None));
        }
    }

    #[test]
    fn who_watches_elsewhere_is_told_at_once_from_when_that_is_known() {
        let (mut pokes, tables) = (Pokes::default(), Tables::default());
        pokes.note(LogSeq(1), &[shadow("a")], &tables, ms(100));
        assert!(!pokes.note(LogSeq(2), &[shadow("a")], &tables, ms(101)));
        for filter in ["$aws/things/a/shadow/update/delta", "$aws/things/+/shadow/update/documents"]
        {
            let filter = TopicFilter::new(filter).unwrap();
            let wants = |members| InterestDelta { filter: filter.clone(), share: None, members };
            tables.set_peer(3, false, (&[wants(1)], &[]));
            assert!(pokes.note(LogSeq(3), &[shadow("a")], &tables, ms(102)));
            tables.set_peer(3, false, (&[wants(0)], &[]));
            assert!(!pokes.note(LogSeq(4), &[shadow("a")], &tables, ms(103)), "not any more");
        }
        // What stays at this gateway is not told to others.
        let here = TopicFilter::new("$aws/things/a/shadow/update/delta").unwrap();
        tables.change_routes(|routes| routes.set_worker(0, &here, Wants::Everything));
        assert!(!pokes.note(LogSeq(5), &[shadow("a")], &tables, ms(104)));
    }
}
