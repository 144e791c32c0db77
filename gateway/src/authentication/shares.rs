//! Places that addresses share, so that none of them takes all.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use protocol::HashMap;
use tokio::sync::Semaphore;

use crate::transport::AddressKey;

/// So many places. An address gets another one while it has less than a quarter of those that are free: alone a fifth of
/// all, and many that take what they can still leave room for one more.
#[derive(Debug)]
pub(super) struct Shares {
    most: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    /// Of those that have one; clients without an address, of this machine, are one.
    by: HashMap<Option<AddressKey>, Holder>,
}

#[derive(Debug)]
struct Holder {
    places: usize,
    /// Those of one address come one after the other.
    line: Arc<Semaphore>,
}

/// One place; free when this is dropped, however that comes about.
#[derive(Debug)]
pub(super) struct Share<'a> {
    shares: &'a Shares,
    key: Option<AddressKey>,
    line: Arc<Semaphore>,
}

impl Share<'_> {
    /// Has one permit for each address: who waits for anything else with it in hand, waits for as many as there are
    /// addresses and not for as many as there are places.
    pub(super) const fn line(&self) -> &Arc<Semaphore> {
        &self.line
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        let mut taken = self.shares.taken();
        taken.all = taken.all.saturating_sub(1);
        if let Some(holder) = taken.by.get_mut(&self.key) {
            holder.places -= 1;
            if holder.places == 0 {
                taken.by.remove(&self.key);
            }
        }
    }
}

impl Shares {
    pub(super) fn new(most: usize) -> Self {
        Self { most, taken: Mutex::default() }
    }

    /// A place for somebody of this address, if there is one for him.
    pub(super) fn take(&self, address: Option<IpAddr>) -> Option<Share<'_>> {
        let key = address.map(AddressKey::of);
        let mut taken = self.taken();
        let free = self.most - taken.all;
        let places = taken.by.get(&key).map_or(0, |holder| holder.places);
        if places * 4 >= free {
            return None;
        }
        taken.all += 1;
        let new = || Holder { places: 0, line: Arc::new(Semaphore::new(1)) };
        let holder = taken.by.entry(key).or_insert_with(new);
        holder.places += 1;
        Some(Share { shares: self, key, line: Arc::clone(&holder.line) })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u32) -> Option<IpAddr> {
        Some(std::net::Ipv4Addr::from_bits(n).into())
    }

    #[test]
    fn no_address_takes_all_places_and_what_is_given_back_is_free() {
        let shares = Shares::new(100);
        let take_all = |n| std::iter::from_fn(|| shares.take(address(n))).collect::<Vec<_>>();
        let first = take_all(1);
        assert_eq!(first.len(), 20);
        let others: Vec<_> = (2..10).map(take_all).collect();
        assert_eq!(others[0].len(), 16);
        // After nine that are greedy, there is room for one that is not.
        let modest = shares.take(address(10));
        assert!(modest.is_some());
        drop((first, others, modest));
        assert_eq!(take_all(1).len(), 20);
        let taken = shares.taken();
        assert_eq!((taken.all, taken.by.len()), (0, 0));
    }

    #[test]
    fn no_place_is_none_for_anybody() {
        let shares = Shares::new(1);
        let one = shares.take(None);
        assert!(one.is_some());
        assert!(shares.take(address(1)).is_none());
        assert!(Shares::new(0).take(None).is_none());
    }
}
