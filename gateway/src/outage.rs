//! What the log says of a store that takes nothing: that it began, every while how it goes on, and that it is over. Who waits for
//! a disk to be freed should not fill it with lines.

use std::time::{Duration, Instant};

/// Time between two lines about one outage.
const AGAIN: Duration = Duration::from_secs(10);
/// Without a refusal for so long an outage is over: a full disk still takes a small commit now and then.
const CALM: Duration = Duration::from_secs(1);

/// Commits that the store refuses, one after the other or nearly so.
#[derive(Debug, Default)]
pub struct Outage {
    goes_on: Option<Refused>,
}

/// What is known of an outage.
#[derive(Debug)]
struct Refused {
    since: Instant,
    last: Instant,
    /// When a line was written last, and how many commits were refused until then.
    told: (Instant, u64),
    commits: u64,
}

impl Outage {
    /// A commit was refused; what the log should say of it, if anything.
    pub fn handle_refused(&mut self, now: Instant) -> Option<String> {
        let what = "the store cannot commit; nothing of it is acknowledged";
        let Some(it) = &mut self.goes_on else {
            self.goes_on = Some(Refused { since: now, last: now, told: (now, 1), commits: 1 });
            return Some(what.to_owned());
        };
        (it.last, it.commits) = (now, it.commits + 1);
        if now.duration_since(it.told.0) < AGAIN {
            return None;
        }
        let more = it.commits - it.told.1;
        it.told = (now, it.commits);
        Some(format!("{what}, {more} times more"))
    }

    /// A commit was taken; what the log should say if an outage is over with that.
    pub fn handle_taken(&mut self, now: Instant) -> Option<String> {
        let over = self.goes_on.take_if(|it| now.duration_since(it.last) >= CALM)?;
        let seconds = over.last.duration_since(over.since).as_secs();
        Some(format!("the store commits again: it refused {} in {seconds} s", over.commits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_told_at_its_begin_every_while_and_at_its_end() {
        let (mut outage, began) = (Outage::default(), Instant::now());
        let at = |ms: u64| began + Duration::from_millis(ms);
        assert_eq!(outage.handle_taken(at(0)), None);
        let lines: Vec<_> = (0..1_500).filter_map(|n| outage.handle_refused(at(n * 10))).collect();
        assert_eq!(
            lines,
            [
                "the store cannot commit; nothing of it is acknowledged",
                "the store cannot commit; nothing of it is acknowledged, 1000 times more",
            ]
        );
        assert_eq!(outage.handle_taken(at(15_000)), None, "it may refuse the next one");
        let over = outage.handle_taken(at(16_000));
        assert_eq!(over.as_deref(), Some("the store commits again: it refused 1500 in 14 s"));
        assert_eq!(outage.handle_taken(at(16_001)), None);
        assert!(outage.handle_refused(at(16_002)).is_some(), "the next one begins");
    }
}
