//! Places among the connections that may be open: how many, how many at once on their way in, and how fast.
//!
//! ```text
//!  accept ──► Greeting (one of the handshakes) ──► where from? ──► Place ──► worker; the greeting is over
//! ```

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;
use protocol::HashMap;
use protocol::mqtt::ReasonCode;

use crate::config::Limits;
use crate::metrics::{Count, ProcessCounters};
use crate::transport::AddressKey;

/// What a new connection has no room in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// Too many connections of the gateway are on their way in.
    Handshakes,
    /// Too many of its address are.
    AddressHandshakes,
    /// Too many came to this listener in too short a time.
    Rate,
    /// Too many of its address did.
    AddressRate,
    /// The gateway has as many connections as it may.
    Connections,
    /// The listener has.
    DoorConnections,
    /// Its address has.
    AddressConnections,
}

impl Full {
    /// What a client is told, if it is worth the work to hear it out.
    pub(crate) const fn reason(self, secure: bool) -> Option<ReasonCode> {
        match self {
            Self::Handshakes | Self::AddressHandshakes => None,
            // A handshake of TLS is what the limit is to save.
            Self::Rate | Self::AddressRate if secure => None,
            Self::Rate | Self::AddressRate => Some(ReasonCode::ConnectionRateExceeded),
            Self::Connections | Self::DoorConnections | Self::AddressConnections => {
                Some(ReasonCode::QuotaExceeded)
            }
        }
    }

    const fn counter(self, counters: &ProcessCounters) -> &Count {
        match self {
            Self::Handshakes => &counters.turned_away_handshakes,
            Self::AddressHandshakes => &counters.turned_away_address_handshakes,
            Self::Rate => &counters.turned_away_rate,
            Self::AddressRate => &counters.turned_away_address_rate,
            Self::Connections => &counters.turned_away_connections,
            Self::DoorConnections => &counters.turned_away_listener_connections,
            Self::AddressConnections => &counters.turned_away_address_connections,
        }
    }
}

/// All places of a process.
#[derive(Debug)]
pub(crate) struct Places {
    limits: ArcSwap<Limits>,
    counters: Arc<ProcessCounters>,
    open: AtomicUsize,
    handshakes: AtomicUsize,
    doors: Vec<DoorPlaces>,
    addresses: Mutex<Addresses>,
}

#[derive(Debug)]
struct DoorPlaces {
    open: AtomicUsize,
    limit: AtomicUsize,
    bucket: Mutex<Bucket>,
}

impl DoorPlaces {
    /// One more connection came, and `open` are here with it.
    fn enter(&self, open: usize, limits: &Limits, now: Instant) -> Option<Full> {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        if !bucket.take(limits.connects_per_s, limits.connects_burst, now) {
            return Some(Full::Rate);
        }
        (open > self.limit.load(Ordering::Relaxed)).then_some(Full::DoorConnections)
    }
}

/// One of the connections that are on their way in; over when dropped.
#[derive(Debug)]
pub(crate) struct Greeting {
    places: Arc<Places>,
    address: Option<AddressKey>,
}

impl Drop for Greeting {
    fn drop(&mut self) {
        self.places.handshakes.fetch_sub(1, Ordering::Relaxed);
        if let Some(key) = self.address {
            let mut addresses = self.places.addresses();
            if let Some(address) = addresses.known.get_mut(&key) {
                address.handshakes = address.handshakes.saturating_sub(1);
            }
        }
    }
}

/// A place among the connections that may be open; given back when dropped.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    door: u16,
    address: Option<AddressKey>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.open.fetch_sub(1, Ordering::Relaxed);
        if let Some(door) = self.places.doors.get(usize::from(self.door)) {
            door.open.fetch_sub(1, Ordering::Relaxed);
        }
        if let Some(key) = self.address {
            let mut addresses = self.places.addresses();
            if let Some(address) = addresses.known.get_mut(&key) {
                address.open = address.open.saturating_sub(1);
            }
        }
    }
}

impl Places {
    /// `doors` has the most connections of each listener.
    pub(crate) fn new(limits: Limits, doors: &[u32], counters: Arc<ProcessCounters>) -> Self {
        let now = Instant::now();
        let door = |limit: &u32| DoorPlaces {
            open: AtomicUsize::new(0),
            limit: AtomicUsize::new(*limit as usize),
            bucket: Mutex::new(Bucket::full(limits.connects_burst, now)),
        };
        let doors = doors.iter().map(door).collect();
        let (open, handshakes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let limits = ArcSwap::from_pointee(limits);
        Self { limits, counters, open, handshakes, doors, addresses: Mutex::default() }
    }

    /// As many as there may be from now on; who has a place keeps it.
    pub(crate) fn set_limits(&self, limits: Limits, doors: &[u32]) {
        self.limits.store(Arc::new(limits));
        for (door, limit) in self.doors.iter().zip(doors) {
            door.limit.store(*limit as usize, Ordering::Relaxed);
        }
    }

    /// Connections that are here or on their way in; not the sum of both, since some are counted twice.
    pub(crate) fn present(&self) -> u64 {
        // In this order: who has been greeted has its place.
        let greeted = self.handshakes.load(Ordering::Acquire);
        greeted.max(self.open.load(Ordering::Acquire)) as u64
    }

    /// How much there may be of anything.
    pub(crate) fn limits(&self) -> arc_swap::Guard<Arc<Limits>> {
        self.limits.load()
    }

    /// One more connection is on its way in, if there may be.
    pub(crate) fn greet(self: &Arc<Self>) -> Option<Greeting> {
        let before = self.handshakes.fetch_add(1, Ordering::Relaxed);
        let greeting = Greeting { places: Arc::clone(self), address: None };
        if before < self.limits().handshakes as usize {
            return Some(greeting);
        }
        self.count(Full::Handshakes);
        None
    }

    /// A place for a connection of which it is known now where it comes from; and what it has no room in, which it may be
    /// told. A place beyond a limit counts as any other until it is given back.
    pub(crate) fn take(
        self: &Arc<Self>,
        greeting: &mut Greeting,
        door: u16,
        address: Option<IpAddr>,
        now: Instant,
    ) -> (Place, Option<Full>) {
        let key = address.map(AddressKey::of);
        let limits = self.limits();
        let of_address = key.and_then(|key| {
            greeting.address = Some(key);
            self.addresses().enter(key, &limits, now)
        });
        let connections = self.open.fetch_add(1, Ordering::Relaxed) + 1;
        let door_open = self.doors.get(usize::from(door)).map(|door| {
            let open = door.open.fetch_add(1, Ordering::Relaxed) + 1;
            (door, open)
        });
        // What its address has no room for takes nothing of what others share.
        let full = of_address.or_else(|| {
            let (door, open) = door_open?;
            door.enter(open, &limits, now)
        });
        let many = connections > limits.connections as usize;
        let full = full.or_else(|| many.then_some(Full::Connections));
        if let Some(full) = full {
            self.count(full);
        }
        (Place { places: Arc::clone(self), door, address: key }, full)
    }

    /// A login from this address failed; it counts as many connects of it.
    pub(crate) fn note_failed_login(&self, address: IpAddr, now: Instant) {
        let mut addresses = self.addresses();
        if let Some(address) = addresses.known.get_mut(&AddressKey::of(address)) {
            let limits = self.limits();
            let (rate, burst) =
                (limits.connects_per_address_per_s, limits.connects_per_address_burst);
            address.bucket.fill(rate, burst, now);
            address.bucket.spend(limits.failed_login_connects);
        }
    }

    fn count(&self, full: Full) {
        full.counter(&self.counters).add_shared(1);
    }

    fn addresses(&self) -> std::sync::MutexGuard<'_, Addresses> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is known of the addresses that were seen. Bounded: see [`Addresses::make_room`].
#[derive(Debug, Default)]
struct Addresses {
    known: HashMap<AddressKey, Address>,
}

#[derive(Debug)]
struct Address {
    open: u32,
    handshakes: u32,
    bucket: Bucket,
}

/// Addresses without a connection that are remembered for their rate.
const REMEMBERED: usize = 65_536;

impl Addresses {
    fn enter(&mut self, key: AddressKey, limits: &Limits, now: Instant) -> Option<Full> {
        let (rate, burst) = (limits.connects_per_address_per_s, limits.connects_per_address_burst);
        self.make_room(key, limits, now);
        let address = self.known.entry(key).or_insert_with(|| Address {
            open: 0,
            handshakes: 0,
            bucket: Bucket::full(burst, now),
        });
        address.open += 1;
        address.handshakes += 1;
        if address.handshakes > limits.handshakes_per_address {
            Some(Full::AddressHandshakes)
        } else if !address.bucket.take(rate, burst, now) {
            Some(Full::AddressRate)
        } else if address.open > limits.connections_per_address {
            Some(Full::AddressConnections)
        } else {
            None
        }
    }

    /// Forgets who has no connection and has rested long enough, and if that is not enough, who has no connection. As many
    /// as have one are bounded by the connections, so each such search makes room for many.
    fn make_room(&mut self, key: AddressKey, limits: &Limits, now: Instant) {
        let bound = limits.connections as usize + limits.handshakes as usize + REMEMBERED;
        if self.known.len() < bound || self.known.contains_key(&key) {
            return;
        }
        let (rate, burst) = (limits.connects_per_address_per_s, limits.connects_per_address_burst);
        self.known.retain(|_, it| it.open > 0 || !it.bucket.is_full(rate, burst, now));
        if self.known.len() >= bound - REMEMBERED / 2 {
            self.known.retain(|_, it| it.open > 0);
        }
    }
}

/// A token bucket: so many at once, and so many per second.
#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    fn full(burst: u32, now: Instant) -> Self {
        Self { tokens: f64::from(burst), at: now }
    }

    fn fill(&mut self, rate: u32, burst: u32, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * f64::from(rate)).min(f64::from(burst));
        self.at = now;
    }

    fn take(&mut self, rate: u32, burst: u32, now: Instant) -> bool {
        self.fill(rate, burst, now);
        let enough = self.tokens >= 1.0;
        if enough {
            self.tokens -= 1.0;
        }
        enough
    }

    /// Takes as much of this as there is.
    fn spend(&mut self, tokens: u32) {
        self.tokens = (self.tokens - f64::from(tokens)).max(0.0);
    }

    fn is_full(&mut self, rate: u32, burst: u32, now: Instant) -> bool {
        self.fill(rate, burst, now);
        self.tokens >= f64::from(burst)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Written;

    fn places(change: impl FnOnce(&mut Limits)) -> Arc<Places> {
        let mut limits = Written::default().limits;
        change(&mut limits);
        Arc::new(Places::new(limits, &[limits.connections; 2], Arc::default()))
    }

    fn enter(places: &Arc<Places>, address: &str, now: Instant) -> (Greeting, Place, Option<Full>) {
        let mut greeting = places.greet().unwrap();
        let (place, full) = places.take(&mut greeting, 0, address.parse().ok(), now);
        (greeting, place, full)
    }

    #[test]
    fn places_come_back() {
        let places = places(|limits| limits.connections = 1);
        let now = Instant::now();
        let first = enter(&places, "192.0.2.1", now);
        assert_eq!(first.2, None);
        let second = enter(&places, "192.0.2.2", now);
        assert!(matches!(second.2, Some(Full::Connections | Full::DoorConnections)));
        drop((first, second));
        assert_eq!(enter(&places, "192.0.2.2", now).2, None);
        assert_eq!(places.open.load(Ordering::Relaxed), 0);
        assert_eq!(places.handshakes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn limits_may_change_and_who_is_there_stays() {
        let places = places(|limits| limits.connections = 1);
        let now = Instant::now();
        let first = enter(&places, "192.0.2.1", now);
        let mut more = **places.limits();
        more.connections = 3;
        places.set_limits(more, &[2, 3]);
        assert_eq!(enter(&places, "192.0.2.2", now).2, None);
        more.connections = 1;
        places.set_limits(more, &[2, 3]);
        assert_eq!(enter(&places, "192.0.2.2", now).2, Some(Full::Connections));
        drop(first);
        places.set_limits(more, &[0, 3]);
        assert_eq!(enter(&places, "192.0.2.2", now).2, Some(Full::DoorConnections));
    }

    #[test]
    fn an_address_has_its_own_limits_and_a_64_is_one_address() {
        let places = places(|limits| limits.connections_per_address = 1);
        let now = Instant::now();
        let held = enter(&places, "2001:db8::1", now);
        assert_eq!(held.2, None);
        assert_eq!(enter(&places, "2001:db8::ffff", now).2, Some(Full::AddressConnections));
        assert_eq!(enter(&places, "2001:db8:0:1::1", now).2, None);
        let held = enter(&places, "192.0.2.1", now);
        assert_eq!(held.2, None);
        assert_eq!(enter(&places, "::ffff:192.0.2.1", now).2, Some(Full::AddressConnections));
    }

    #[test]
    fn what_comes_too_fast_is_refused_until_time_has_passed() {
        let places = places(|limits| {
            limits.connects_per_address_per_s = 10;
            limits.connects_per_address_burst = 2;
        });
        let now = Instant::now();
        let full = |now| enter(&places, "192.0.2.1", now).2;
        assert_eq!([full(now), full(now), full(now)], [None, None, Some(Full::AddressRate)]);
        assert_eq!(full(now + Duration::from_millis(150)), None);
        assert_eq!(full(now + Duration::from_millis(150)), Some(Full::AddressRate));
        assert_eq!(enter(&places, "192.0.2.2", now).2, None);
    }

    #[test]
    fn an_address_that_comes_too_fast_takes_nothing_of_the_rate_of_others() {
        let places = places(|limits| {
            limits.connects_per_s = 1;
            limits.connects_burst = 3;
            limits.connects_per_address_per_s = 1;
            limits.connects_per_address_burst = 2;
        });
        let now = Instant::now();
        let flood: Vec<_> = (0..50).map(|_| enter(&places, "192.0.2.1", now).2).collect();
        assert_eq!(flood[..3], [None, None, Some(Full::AddressRate)]);
        assert_eq!(enter(&places, "192.0.2.2", now).2, None);
        assert_eq!(enter(&places, "192.0.2.3", now).2, Some(Full::Rate));
    }

    #[test]
    fn who_is_closed_without_a_handshake_is_so_also_where_there_is_no_room_at_all() {
        let places = places(|limits| {
            limits.connections = 1;
            limits.connects_per_address_burst = 2;
            limits.handshakes_per_address = 3;
        });
        let now = Instant::now();
        let full = || enter(&places, "192.0.2.1", now).2;
        let _held = enter(&places, "192.0.2.9", now);
        assert_eq!([full(), full()], [Some(Full::DoorConnections); 2]);
        assert_eq!(full(), Some(Full::AddressRate));
        let _more: Vec<_> = (0..3).map(|_| enter(&places, "192.0.2.1", now)).collect();
        assert_eq!(full(), Some(Full::AddressHandshakes));
        assert_eq!(Full::AddressRate.reason(true), None);
    }

    #[test]
    fn who_guesses_passwords_comes_too_fast_sooner() {
        let places = places(|limits| {
            limits.connects_per_address_per_s = 10;
            limits.connects_per_address_burst = 30;
            limits.failed_login_connects = 20;
        });
        let now = Instant::now();
        let address = "192.0.2.1".parse().unwrap();
        let full = |now| enter(&places, "192.0.2.1", now).2;
        assert_eq!(full(now), None);
        places.note_failed_login(address, now);
        let rest: Vec<_> = (0..10).map(|_| full(now)).collect();
        assert_eq!((rest[8], rest[9]), (None, Some(Full::AddressRate)));
        places.note_failed_login(address, now);
        assert_eq!(full(now + Duration::from_millis(150)), None);
        assert_eq!(enter(&places, "192.0.2.2", now).2, None);
    }

    #[test]
    fn silent_ones_of_one_address_leave_room_for_others() {
        let places = places(|limits| {
            limits.handshakes = 3;
            limits.handshakes_per_address = 2;
        });
        let now = Instant::now();
        let held = [enter(&places, "192.0.2.1", now), enter(&places, "192.0.2.1", now)];
        assert_eq!(enter(&places, "192.0.2.1", now).2, Some(Full::AddressHandshakes));
        assert_eq!(enter(&places, "192.0.2.2", now).2, None);
        // Those that got in count no more.
        let (_, [_first, _second]) = (
            places.greet(),
            held.map(|(greeting, place, _)| {
                drop(greeting);
                place
            }),
        );
        assert_eq!(enter(&places, "192.0.2.1", now).2, None);
    }

    #[test]
    fn the_table_of_addresses_has_a_bound() {
        let places = places(|limits| {
            limits.connections = 10;
            limits.handshakes = 10;
        });
        let now = Instant::now();
        for n in 0..200_000_u32 {
            let mut greeting = places.greet().unwrap();
            let address = IpAddr::from(std::net::Ipv4Addr::from_bits(n));
            let (_place, _) = places.take(&mut greeting, 0, Some(address), now);
        }
        assert!(places.addresses().known.len() <= REMEMBERED + 20);
    }
}
