//! How clients come back that were moved: a small model of them, since no gateway knows its clients' ways.
//!
//! They leave at the pace of their drain, some with each of its ticks. Who follows the redirect connects at once where it was sent: a
//! round trip each for TCP, TLS and MQTT, besides half of one until it knows. Who does not waits, and tries any gateway that the endpoint
//! names, among them the one that is drained, which refuses; then it waits for twice as long. A gateway lets one in after the other.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use protocol::{GatewayId, Wall};
use serde::{Deserialize, Serialize};

use super::chance::Chance;
use crate::drain::TICK;
use crate::fleet::Host;
use crate::record;

/// What is assumed of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Habits {
    /// Those that go where they are sent, of a thousand.
    pub follow_permille: u32,
    /// From a client to a gateway and back, as a rule; of one client of twenty it is up to thrice that.
    pub round_trip: Duration,
}

impl Default for Habits {
    fn default() -> Self {
        Self { follow_permille: 1_000, round_trip: Duration::from_millis(50) }
    }
}

/// How clients came back that were moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Returns {
    /// How many moves were tried, of all that there were.
    pub tried: u64,
    /// From a client's move to its being served, half of them at most.
    #[serde(rename = "gap_p50_ms", with = "record::millis")]
    pub gap_p50: Duration,
    /// Ninety-nine of a hundred at most.
    #[serde(rename = "gap_p99_ms", with = "record::millis")]
    pub gap_p99: Duration,
    /// All.
    #[serde(rename = "gap_longest_ms", with = "record::millis")]
    pub gap_longest: Duration,
    /// Who came where it was sent, of a thousand: also who did not listen, and came there by chance.
    pub followed_permille: u64,
    /// The most connects in a second at all gateways, also those that were refused.
    pub peak_connects_per_s: u64,
}

/// The clients of one host leave it.
#[derive(Debug, Clone)]
pub(super) struct Departure {
    pub(super) at: Wall,
    pub(super) clients: u64,
    pub(super) per_s: u64,
    /// How many are sent to each.
    pub(super) to: Vec<(GatewayId, u64)>,
}

/// Moves that are tried of one tale; of each drain the first, so many of all as fit.
const MOST: u64 = 200_000;
/// A gateway declares as what it takes a fifth of what it can: so the default of `accept_per_s` was chosen.
const OF_ITS_BEST: u64 = 5;
/// What a gateway takes per second that does not say.
const USUAL_ACCEPT: u64 = 500;
/// How long a client waits before its first try that does not listen, as a rule, and at most before any.
const FIRST_WAIT_US: u64 = 1_000_000;
const LONGEST_WAIT_US: u64 = 120_000_000;

/// A client on its way, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Try {
    /// When it is at the gateway.
    at: u64,
    /// Its place among all: so that order does not depend on chance.
    number: u64,
    departure: usize,
    left: u64,
    round_trip: u64,
    named: usize,
    /// How long it waited, if it does not listen.
    waited: Option<u64>,
}

/// Tries them; nothing if nobody was moved, or `enough` says that nobody waits for it any longer.
pub(super) fn returns(
    departures: &[Departure],
    hosts: &[Host],
    habits: Habits,
    seed: u64,
    enough: &mut dyn FnMut() -> bool,
) -> Option<Returns> {
    let mut fleet = Fleet::new(hosts, habits, seed);
    let most = MOST / u64::try_from(departures.len().max(1)).unwrap_or(MOST);
    for (index, departure) in departures.iter().enumerate() {
        fleet.leave(index, departure, most);
    }
    let mut steps = 0_u64;
    while let Some(Reverse(next)) = fleet.tries.pop() {
        steps += 1;
        if steps.is_multiple_of(4_096) && enough() {
            return None;
        }
        fleet.arrive(next, departures);
    }
    fleet.told()
}

/// Gateways, and clients on their way between them.
struct Fleet {
    habits: Habits,
    chance: Chance,
    /// By place: how long one takes to let somebody in, and until when it is busy; both in microseconds.
    gates: Vec<(u64, u64)>,
    places: BTreeMap<GatewayId, usize>,
    tries: BinaryHeap<Reverse<Try>>,
    number: u64,
    gaps: Vec<u64>,
    followed: u64,
    by_second: BTreeMap<u64, u64>,
}

impl Fleet {
    fn new(hosts: &[Host], habits: Habits, seed: u64) -> Self {
        let gate = |host: &Host| {
            let declared = match host.capacity.connects_per_s {
                0 => USUAL_ACCEPT,
                declared => declared,
            };
            (1_000_000 / declared.saturating_mul(OF_ITS_BEST).max(1), 0)
        };
        let place = |(place, host): (usize, &Host)| (host.id.clone(), place);
        Self {
            habits,
            chance: Chance::new(seed),
            gates: hosts.iter().map(gate).collect(),
            places: hosts.iter().enumerate().map(place).collect(),
            tries: BinaryHeap::new(),
            number: 0,
            gaps: Vec::new(),
            followed: 0,
            by_second: BTreeMap::new(),
        }
    }

    /// At most so many of one drain leave, with each tick as many as its pace lets.
    fn leave(&mut self, index: usize, departure: &Departure, most: u64) {
        let all: u64 = departure.to.iter().map(|(_, clients)| clients).sum();
        let tick = micros(TICK);
        for nth in 0..departure.clients.min(most).min(all) {
            let due = nth.saturating_mul(1_000_000) / departure.per_s.max(1);
            let left = departure.at.0.saturating_mul(1_000).saturating_add(due / tick * tick);
            let Some(named) = self.named(departure, all) else { continue };
            let round_trip = self.round_trip();
            let listens = self.chance.permille(self.habits.follow_permille);
            let told = left + round_trip / 2;
            let (at, waited) = match listens {
                true => (told + 2 * round_trip + round_trip / 2, None),
                false => self.wait(told, round_trip, FIRST_WAIT_US),
            };
            self.number += 1;
            let number = self.number;
            let next = Try { at, number, departure: index, left, round_trip, named, waited };
            self.tries.push(Reverse(next));
        }
    }

    /// The place of the gateway that somebody is sent to.
    fn named(&mut self, departure: &Departure, all: u64) -> Option<usize> {
        let mut nth = self.chance.below(all);
        for (id, clients) in &departure.to {
            if nth < *clients {
                return self.places.get(id).copied();
            }
            nth -= clients;
        }
        None
    }

    fn round_trip(&mut self) -> u64 {
        let usual = micros(self.habits.round_trip);
        match self.chance.permille(50) {
            true => usual + self.chance.below(usual * 2),
            false => usual / 2 + self.chance.below(usual),
        }
    }

    /// It waits for half to one and a half of its time; then it is at a gateway, with its CONNECT.
    fn wait(&mut self, from: u64, round_trip: u64, wait: u64) -> (u64, Option<u64>) {
        let waits = wait / 2 + self.chance.below(wait);
        (from + waits + 2 * round_trip + round_trip / 2, Some(wait))
    }

    fn arrive(&mut self, next: Try, departures: &[Departure]) {
        *self.by_second.entry(next.at / 1_000_000).or_default() += 1;
        let Some(departure) = departures.get(next.departure) else { return };
        let place = match next.waited {
            None => next.named,
            Some(waited) => match self.endpoint(departure) {
                Some(place) => place,
                None => {
                    let again = (waited * 2).min(LONGEST_WAIT_US);
                    let (told, round_trip) = (next.at + next.round_trip / 2, next.round_trip);
                    let (at, waited) = self.wait(told, round_trip, again);
                    return self.tries.push(Reverse(Try { at, waited, ..next }));
                }
            },
        };
        let Some((takes, busy)) = self.gates.get_mut(place) else { return };
        *busy = next.at.max(*busy) + *takes;
        self.gaps.push((*busy + next.round_trip / 2).saturating_sub(next.left));
        self.followed += u64::from(place == next.named);
    }

    /// One of those that the endpoint names: all that take clients, and the one that is drained, which is none.
    fn endpoint(&mut self, departure: &Departure) -> Option<usize> {
        let many = u64::try_from(departure.to.len()).unwrap_or(u64::MAX);
        let chosen = usize::try_from(self.chance.below(many + 1)).ok()?;
        let (id, _) = departure.to.get(chosen)?;
        self.places.get(id).copied()
    }

    fn told(mut self) -> Option<Returns> {
        self.gaps.sort_unstable();
        let many = self.gaps.len();
        let at = |permille: usize| {
            let nth = (many * permille).div_ceil(1_000).max(1) - 1;
            self.gaps.get(nth).map(|us| Duration::from_millis(us.div_ceil(1_000)))
        };
        let tried = u64::try_from(many).ok()?;
        Some(Returns {
            tried,
            gap_p50: at(500)?,
            gap_p99: at(990)?,
            gap_longest: at(1_000)?,
            followed_permille: (self.followed * 1_000).checked_div(tried)?,
            peak_connects_per_s: self.by_second.values().copied().max().unwrap_or_default(),
        })
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX / 8).min(u64::MAX / 8)
}

#[cfg(test)]
mod tests {
    use protocol::Incarnation;

    use super::*;
    use crate::fleet::{Capacity, HostState};

    fn hosts(n: usize, connects_per_s: u64) -> Vec<Host> {
        let host = |n: usize| {
            let id = GatewayId::new(&format!("gw-{n}")).unwrap();
            let capacity = Capacity { connects_per_s, ..Capacity::default() };
            Host { capacity, ..Host::new(id, Incarnation(1), HostState::Serving) }
        };
        (0..n).map(host).collect()
    }

    /// The first of them is drained.
    fn departure(hosts: &[Host], clients: u64, per_s: u64) -> Departure {
        let takers = u64::try_from(hosts.len() - 1).unwrap();
        let to = hosts.iter().skip(1).map(|host| (host.id.clone(), clients / takers)).collect();
        Departure { at: Wall(1_000_000), clients, per_s, to }
    }

    fn come(hosts: &[Host], per_s: u64, follow_permille: u32, round_trip_ms: u64) -> Returns {
        let habits = Habits { follow_permille, round_trip: Duration::from_millis(round_trip_ms) };
        let all = [departure(hosts, 4_000, per_s)];
        returns(&all, hosts, habits, 7, &mut || false).unwrap()
    }

    #[test]
    fn who_follows_is_away_for_its_round_trips_and_comes_where_it_is_sent_at_the_pace() {
        let near = come(&hosts(5, 500), 200, 1_000, 0);
        let expected = (4_000, 1_000);
        assert_eq!((near.tried, near.followed_permille), expected);
        // Ten with each tick: in the worst case one gateway takes all of them, at 0.4 ms each.
        assert!(near.gap_longest <= Duration::from_millis(4), "{near:?}");
        assert!(near.peak_connects_per_s <= 200, "{near:?}");
        let far = come(&hosts(5, 500), 200, 1_000, 100);
        let [p50, p99] = [far.gap_p50, far.gap_p99].map(|it| it.as_millis());
        assert!((300..=400).contains(&p50) && (700..=1_060).contains(&p99), "{far:?}");
    }

    #[test]
    fn who_does_not_listen_waits_first_and_longer_if_it_is_refused() {
        let none = come(&hosts(3, 500), 200, 0, 10);
        assert!((1_000..=2_000).contains(&none.gap_p50.as_millis()), "{none:?}");
        assert!(none.gap_p99 > Duration::from_secs(6), "one of three tries is refused: {none:?}");
        assert!((400..=600).contains(&none.followed_permille), "by chance: {none:?}");
        let some = come(&hosts(3, 500), 200, 700, 10);
        assert!((800..=900).contains(&some.followed_permille), "{some:?}");
        assert!(some.gap_p50 < Duration::from_millis(60), "{some:?}");
        assert_eq!(some, come(&hosts(3, 500), 200, 700, 10), "the same seed tells the same");
    }

    #[test]
    fn who_is_slow_makes_them_wait_and_drains_at_once_come_together() {
        let slow = come(&hosts(2, 10), 200, 1_000, 0);
        // Fifty let in per second of two hundred that come: the last waits for a minute.
        assert!((59..=61).contains(&slow.gap_longest.as_secs()), "{slow:?}");
        let hosts = hosts(4, 500);
        let one = departure(&hosts, 3_000, 100);
        let two = Departure { to: vec![(hosts[3].id.clone(), 3_000)], ..one.clone() };
        let both = returns(&[one, two], &hosts, Habits::default(), 7, &mut || false).unwrap();
        assert!((190..=260).contains(&both.peak_connects_per_s), "{both:?}");
        assert_eq!(returns(&[], &hosts, Habits::default(), 7, &mut || false), None);
    }
}
