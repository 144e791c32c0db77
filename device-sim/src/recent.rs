//! Latency of what has come since the last look, for the lines of progress.

use std::sync::Mutex;

use hdrhistogram::Histogram;

use crate::{Latency, report::latency};

/// What each worker has seen so far, as it tells from time to time.
#[derive(Debug)]
pub(crate) struct Recent {
    workers: Vec<Mutex<Option<Histogram<u64>>>>,
}

impl Recent {
    pub(crate) fn new(workers: usize) -> Self {
        Self { workers: (0..workers).map(|_| Mutex::new(None)).collect() }
    }

    /// A worker tells all that it has seen since the run began.
    pub(crate) fn tell(&self, worker: usize, so_far_ns: &Histogram<u64>) {
        let Some(place) = self.workers.get(worker) else { return };
        let mut place = place.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match place.as_mut() {
            // All have the same bounds.
            Some(known) => drop(known.set_to(so_far_ns)),
            None => *place = Some(so_far_ns.clone()),
        }
    }

    /// What all have seen together, as far as they have told.
    fn sum(&self) -> Option<Histogram<u64>> {
        let mut sum: Option<Histogram<u64>> = None;
        for place in &self.workers {
            let place = place.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let Some(told) = place.as_ref() else { continue };
            match sum.as_mut() {
                Some(sum) => *sum += told,
                None => sum = Some(told.clone()),
            }
        }
        sum
    }
}

/// Tells what is new.
#[derive(Debug, Default)]
pub(crate) struct News {
    before: Option<Histogram<u64>>,
}

impl News {
    /// Latency of what has come since the last call; nothing if nothing came.
    pub(crate) fn since_last(&mut self, recent: &Recent) -> Option<Latency> {
        let now = recent.sum()?;
        let mut fresh = now.clone();
        if let Some(before) = self.before.replace(now) {
            // What was seen before is a part of what is seen now.
            fresh.subtract(&before).ok()?;
        }
        (!fresh.is_empty()).then(|| latency(&fresh))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_look_tells_what_came_since_the_one_before() {
        let mut seen = Histogram::new_with_max(600_000_000_000, 3).unwrap();
        let (recent, mut news) = (Recent::new(2), News::default());
        assert!(news.since_last(&recent).is_none());
        seen.record_n(1_000_000, 100).unwrap();
        recent.tell(0, &seen);
        recent.tell(1, &seen);
        let first = news.since_last(&recent).unwrap();
        assert!((990.0..1_010.0).contains(&first.p50_us), "{first:?}");
        assert!(news.since_last(&recent).is_none(), "nothing came");
        seen.record_n(5_000_000, 2).unwrap();
        recent.tell(1, &seen);
        let second = news.since_last(&recent).unwrap();
        assert!((4_950.0..5_050.0).contains(&second.p50_us), "{second:?}");
        assert!((4_950.0..5_050.0).contains(&second.max_us), "{second:?}");
    }
}
