//! Connections of which it is not known yet who is at the other end: on the peer port, and on the API.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::transport::AddressKey;

/// Places for strangers. A newcomer always gets one: silence must not keep others out. If its address has as many as one
/// address may have, the oldest of that address gives way; if there is no other place left, the oldest of all.
#[derive(Debug)]
pub(crate) struct Strangers {
    places: usize,
    per_address: usize,
    table: Mutex<Table>,
}

/// Strangers by number: the oldest is the first.
#[derive(Debug, Default)]
struct Table {
    last: u64,
    seated: BTreeMap<u64, Seated>,
}

#[derive(Debug)]
struct Seated {
    address: AddressKey,
    /// Dropped, it tells the stranger to give way.
    _stays: oneshot::Sender<()>,
}

/// A place that is taken, until it is dropped.
#[derive(Debug)]
pub(crate) struct Stranger {
    number: u64,
    strangers: Arc<Strangers>,
    stays: oneshot::Receiver<()>,
}

/// The place was needed for somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it gave way to somebody who came later")]
pub(crate) struct GaveWay;

impl Strangers {
    /// So many places, and so many for one address; neither is 0.
    pub(crate) fn new(places: usize, per_address: usize) -> Arc<Self> {
        Arc::new(Self { places, per_address, table: Mutex::default() })
    }

    /// A place for a connection from this address.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr) -> Stranger {
        let address = AddressKey::of(address);
        let (sender, stays) = oneshot::channel();
        let mut table = self.table();
        let same = || table.seated.iter().filter(|(_, seated)| seated.address == address);
        let oldest = if same().count() >= self.per_address {
            same().next().map(|(number, _)| *number)
        } else if table.seated.len() >= self.places {
            table.seated.keys().next().copied()
        } else {
            None
        };
        if let Some(oldest) = oldest {
            table.seated.remove(&oldest);
        }
        table.last += 1;
        let number = table.last;
        table.seated.insert(number, Seated { address, _stays: sender });
        Stranger { number, strangers: Arc::clone(self), stays }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stranger {
    /// Does something, unless the place is needed for somebody else before it is done.
    pub(crate) async fn unless_displaced<T>(
        &mut self,
        work: impl Future<Output = T>,
    ) -> Result<T, GaveWay> {
        tokio::select! {
            biased;
            _ = &mut self.stays => Err(GaveWay),
            done = work => Ok(done),
        }
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.strangers.table().seated.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(strangers: &Arc<Strangers>, address: &str) -> Stranger {
        strangers.enter(address.parse().unwrap())
    }

    /// Which of them had to give way.
    fn displaced(strangers: &mut [Stranger]) -> Vec<usize> {
        let gone = |stranger: &mut Stranger| {
            matches!(stranger.stays.try_recv(), Err(oneshot::error::TryRecvError::Closed))
        };
        strangers.iter_mut().enumerate().filter_map(|(i, it)| gone(it).then_some(i)).collect()
    }

    #[test]
    fn an_address_beyond_its_share_gives_up_its_own_oldest() {
        let strangers = Strangers::new(4, 2);
        let from = ["10.0.0.2", "10.0.0.1", "::ffff:10.0.0.1", "10.0.0.1"];
        let mut all: Vec<_> = from.map(|address| enter(&strangers, address)).into();
        assert_eq!(displaced(&mut all), [1]);
        let six = ["2001:db8::1", "2001:db8::2", "2001:db8::3"];
        let mut six: Vec<_> = six.map(|address| enter(&strangers, address)).into();
        assert_eq!(displaced(&mut six), [0]);
    }

    #[test]
    fn where_all_places_are_taken_the_oldest_gives_way_and_a_place_comes_back() {
        let strangers = Strangers::new(2, 2);
        let mut all: Vec<_> =
            ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(|it| enter(&strangers, it)).into();
        assert_eq!(displaced(&mut all), [0]);
        // Who gave way leaves no place behind when it is dropped, the others do.
        all.truncate(2);
        all.remove(0);
        all.push(enter(&strangers, "10.0.0.4"));
        assert_eq!(displaced(&mut all), [] as [usize; 0]);
        assert_eq!(strangers.table().seated.len(), 2);
    }

    #[tokio::test]
    async fn who_gives_way_stops_at_once_and_the_others_finish() {
        let strangers = Strangers::new(1, 1);
        let mut first = enter(&strangers, "10.0.0.1");
        assert_eq!(first.unless_displaced(async { 7 }).await, Ok(7));
        let mut second = enter(&strangers, "10.0.0.2");
        assert_eq!(first.unless_displaced(std::future::pending::<()>()).await, Err(GaveWay));
        drop(first);
        assert_eq!(second.unless_displaced(async { 8 }).await, Ok(8));
    }
}
