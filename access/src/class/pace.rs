//! How fast one client may be: a bucket of tokens for each rate, filled once per second.

use std::time::Duration;

use super::limits::ClassLimits;

/// Which rate a client exceeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excess {
    /// Packets of any kind.
    Packets,
    /// Publications.
    Publications,
    /// Bytes of publications.
    Bytes,
}

/// The rates of one client.
#[derive(Debug)]
pub struct Pace {
    packets: Option<Bucket>,
    publications: Option<Bucket>,
    bytes: Option<Bucket>,
}

/// Tokens in billionths, so that a nanosecond at one per second is one. May be in debt by one packet.
#[derive(Debug)]
struct Bucket {
    per_s: i64,
    /// What must be there before something is taken.
    least: i64,
    left: i64,
    at: Duration,
}

const TOKEN: i64 = 1_000_000_000;
/// A bucket holds what flows in this time.
const DEPTH: Duration = Duration::from_secs(1);
/// Nobody is delayed for longer; what would take longer to pay back is too much at once.
const LONGEST_DELAY_S: i64 = 60;

impl Pace {
    /// Full buckets; `None` if nothing is limited.
    pub fn new(limits: &ClassLimits, now: Duration) -> Option<Self> {
        Self::renewed(None, limits, now)
    }

    /// The rates that hold from now on; nobody has more left in a bucket by that. `None` if nothing is limited.
    pub fn renewed(before: Option<Self>, limits: &ClassLimits, now: Duration) -> Option<Self> {
        let (packets, publications, bytes) =
            before.map_or((None, None, None), |it| (it.packets, it.publications, it.bytes));
        let bucket = |before: Option<Bucket>, per_s: u32, least| {
            (per_s > 0).then(|| Bucket::full(per_s, least, now).at_most(before))
        };
        let it = Self {
            packets: bucket(packets, limits.packets_per_s, TOKEN),
            publications: bucket(publications, limits.publish_per_s, TOKEN),
            bytes: bucket(bytes, limits.publish_bytes_per_s, 1),
        };
        let any = it.packets.is_some() || it.publications.is_some() || it.bytes.is_some();
        any.then_some(it)
    }

    /// The rate that is exceeded now, if one is, and how long that will last.
    pub fn excess(&mut self, now: Duration) -> Option<(Excess, Duration)> {
        let rates = [
            (Excess::Packets, &mut self.packets),
            (Excess::Publications, &mut self.publications),
            (Excess::Bytes, &mut self.bytes),
        ];
        let waits = rates.into_iter().filter_map(|(excess, bucket)| {
            let wait = bucket.as_mut()?.wait(now);
            (!wait.is_zero()).then_some((excess, wait))
        });
        waits.max_by_key(|(_, wait)| *wait)
    }

    /// Whether one publication of so many bytes is more than a minute's worth: it may not be made at all.
    pub fn is_too_much(&self, bytes: usize) -> bool {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.bytes.as_ref().is_some_and(|bucket| bytes > bucket.per_s * LONGEST_DELAY_S)
    }

    /// One more packet.
    pub fn count_packet(&mut self) {
        if let Some(bucket) = &mut self.packets {
            bucket.take(1);
        }
    }

    /// One more publication of so many bytes.
    pub fn count_publication(&mut self, bytes: usize) {
        if let Some(bucket) = &mut self.publications {
            bucket.take(1);
        }
        if let Some(bucket) = &mut self.bytes {
            bucket.take(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
    }
}

impl Bucket {
    fn full(per_s: u32, least: i64, now: Duration) -> Self {
        let per_s = i64::from(per_s);
        Self { per_s, least, left: per_s * TOKEN, at: now }
    }

    /// With no more in it than another has.
    fn at_most(self, before: Option<Self>) -> Self {
        match before {
            Some(before) => {
                // A debt of a faster class delays nobody for longer either.
                let most = self.per_s.saturating_mul(LONGEST_DELAY_S).saturating_mul(TOKEN);
                let left = self.left.min(before.left).max(-most);
                Self { left, at: before.at, ..self }
            }
            None => self,
        }
    }

    /// How long until something may be taken again; zero if something may be now.
    fn wait(&mut self, now: Duration) -> Duration {
        let passed = now.saturating_sub(self.at).min(DEPTH);
        self.at = now;
        let nanos = i64::try_from(passed.as_nanos()).unwrap_or(TOKEN);
        let filled = self.left.saturating_add(nanos * self.per_s);
        self.left = filled.min(self.per_s * TOKEN);
        if self.left >= self.least {
            return Duration::ZERO;
        }
        let nanos = self.least.saturating_sub(self.left) / self.per_s + 1;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(1))
    }

    fn take(&mut self, tokens: i64) {
        self.left = self.left.saturating_sub(tokens.saturating_mul(TOKEN));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::OnExcess;
    use super::*;

    fn limits(packets: u32, publications: u32, bytes: u32) -> ClassLimits {
        ClassLimits {
            packet_bytes: 1024,
            receive_maximum: 1,
            publish_per_s: publications,
            publish_bytes_per_s: bytes,
            packets_per_s: packets,
            on_excess: OnExcess::Delay,
            subscriptions_per_session: 1,
            groups_per_topic: 1,
            filters_per_subscribe: 1,
            topic_levels: 1,
            topic_bytes: 1,
            connections_per_user: 0,
            positions: false,
            queue: protocol::session::QueueLimits::NONE,
        }
    }

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn without_a_limit_there_is_no_pace() {
        assert!(Pace::new(&limits(0, 0, 0), ms(0)).is_none());
    }

    #[test]
    fn a_large_publication_is_paid_back_in_full() {
        let mut pace = Pace::new(&limits(0, 0, 1000), ms(0)).unwrap();
        assert_eq!(pace.excess(ms(0)), None);
        pace.count_publication(4000);
        let (excess, wait) = pace.excess(ms(0)).unwrap();
        assert_eq!(excess, Excess::Bytes);
        assert!(wait > ms(3000) && wait < ms(3001), "{wait:?}");
        for second in 1..=3 {
            assert!(pace.excess(ms(second * 1000)).is_some());
        }
        assert_eq!(pace.excess(ms(3001)), None);
    }

    #[test]
    fn no_publication_that_may_be_made_delays_for_more_than_a_minute() {
        let mut pace = Pace::new(&limits(0, 0, 1000), ms(0)).unwrap();
        assert!(!pace.is_too_much(60_000) && pace.is_too_much(60_001));
        pace.count_publication(500);
        assert_eq!(pace.excess(ms(0)), None);
        pace.count_publication(60_000);
        let (_, wait) = pace.excess(ms(0)).unwrap();
        assert!(wait > ms(59_000) && wait <= ms(60_000), "{wait:?}");
        assert!(!Pace::new(&limits(1, 1, 0), ms(0)).unwrap().is_too_much(usize::MAX));
    }

    #[test]
    fn after_a_rest_no_more_than_a_second_is_saved() {
        let mut pace = Pace::new(&limits(10, 0, 0), ms(0)).unwrap();
        let mut now = |at: u64| {
            let mut sent = 0;
            while pace.excess(ms(at)).is_none() {
                pace.count_packet();
                sent += 1;
            }
            sent
        };
        assert_eq!((now(0), now(0), now(100_000), now(100_500)), (10, 0, 10, 5));
    }

    #[test]
    fn who_is_looked_at_while_it_rests_saves_no_more_than_a_second_either() {
        let mut pace = Pace::new(&limits(10, 0, 0), ms(0)).unwrap();
        for second in 1..=100 {
            assert_eq!(pace.excess(ms(second * 1000)), None);
        }
        (0..10).for_each(|_| pace.count_packet());
        assert!(pace.excess(ms(100_000)).is_some());
    }

    #[test]
    fn who_is_given_other_limits_owes_what_it_has_sent() {
        let mut pace = Pace::new(&limits(10, 0, 0), ms(0)).unwrap();
        (0..10).for_each(|_| pace.count_packet());
        for per_s in [10, 20, 5] {
            pace = Pace::renewed(Some(pace), &limits(per_s, 0, 0), ms(0)).unwrap();
            assert!(pace.excess(ms(0)).is_some(), "{per_s}");
        }
    }

    proptest! {
        #[test]
        fn over_any_time_no_more_passes_than_the_rate_and_one_second_of_it(
            per_s in 1_u32..5000,
            steps in prop::collection::vec(0_u64..700, 1..60),
        ) {
            let mut pace = Pace::new(&limits(per_s, 0, 0), ms(0)).unwrap();
            let (mut at, mut sent) = (0, 0_u64);
            for step in steps {
                at += step;
                while pace.excess(ms(at)).is_none() {
                    pace.count_packet();
                    sent += 1;
                }
            }
            prop_assert!(sent <= u64::from(per_s) * (1000 + at) / 1000 + 1);
        }
    }
}
