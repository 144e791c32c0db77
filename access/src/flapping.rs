//! Clients that come and go all the time are held off for a while.

use std::collections::VecDeque;
use std::time::Duration;

use protocol::session::Holder;
use protocol::{ClientId, HashMap, Wall};

/// When a client counts as flapping, and for how long it is banned then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlappingLimits {
    /// Connects of one client within [`Self::within`] after which it is banned; 0 is never.
    pub connects: u32,
    /// The time in which they are counted.
    pub within: Duration,
    /// How long it is banned.
    pub ban: Duration,
}

/// Clients that connected lately, and those that are banned for it. Each holder's client ids are its own: nobody is banned for
/// what somebody else does with its client id.
#[derive(Debug)]
pub struct Flapping {
    limits: FlappingLimits,
    clients: HashMap<Key, Seen>,
    /// Clients in the order in which they were first counted, from the oldest.
    order: VecDeque<(Key, Wall)>,
}

type Key = (Holder, ClientId);

/// The time since when a client is counted, and what of it.
#[derive(Debug, Clone, Copy)]
struct Seen {
    since: Wall,
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// So many connects since then.
    Connects(u32),
    /// Banned until then.
    Banned { until: Wall },
}

/// Clients that are remembered; beyond it the one that is longest known is forgotten.
const REMEMBERED: usize = 65_536;

impl Flapping {
    /// Nobody was seen yet.
    pub fn new(limits: FlappingLimits) -> Self {
        Self { limits, clients: HashMap::default(), order: VecDeque::new() }
    }

    /// From now on; who is banned stays so until its time is over.
    pub fn set_limits(&mut self, limits: FlappingLimits) {
        self.limits = limits;
    }

    /// A client wants to connect: until when it is banned, if it is.
    pub fn check(&mut self, holder: Holder, client: &ClientId, now: Wall) -> Option<Wall> {
        if self.limits.connects == 0 {
            return None;
        }
        let key = (holder, client.clone());
        let within = self.limits.within;
        let known = self.clients.get(&key).is_some_and(|seen| !seen.is_over(within, now));
        if !known {
            self.make_room();
            self.order.push_back((key.clone(), now));
            let fresh = Seen { since: now, state: State::Connects(0) };
            self.clients.insert(key.clone(), fresh);
        }
        let seen = self.clients.get_mut(&key)?;
        match &mut seen.state {
            State::Banned { until } => Some(*until),
            State::Connects(count) => {
                *count += 1;
                if *count <= self.limits.connects {
                    return None;
                }
                let until = now.after(self.limits.ban);
                seen.state = State::Banned { until };
                Some(until)
            }
        }
    }

    /// Forgets the oldest when there are too many.
    fn make_room(&mut self) {
        while self.order.len() >= REMEMBERED
            && let Some((key, since)) = self.order.pop_front()
        {
            // A client that was counted anew stands in the order again, further back.
            if self.clients.get(&key).is_some_and(|seen| seen.since == since) {
                self.clients.remove(&key);
            }
        }
    }
}

impl Seen {
    fn is_over(self, within: Duration, now: Wall) -> bool {
        match self.state {
            State::Connects(_) => now > self.since.after(within),
            State::Banned { until } => now >= until,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANNA: Holder = Holder([1; 16]);

    fn id(name: &str) -> ClientId {
        ClientId::new(name).unwrap()
    }

    fn limits(connects: u32) -> FlappingLimits {
        FlappingLimits { connects, within: Duration::from_secs(10), ban: Duration::from_secs(60) }
    }

    #[test]
    fn who_connects_too_often_is_banned_for_a_while_and_nobody_else_is() {
        let mut flapping = Flapping::new(limits(2));
        let mut check =
            |name: &str, at: u64| flapping.check(ANNA, &id(name), Wall(at)).map(|w| w.0);
        assert_eq!((check("a", 0), check("a", 1), check("a", 2)), (None, None, Some(60_002)));
        assert_eq!(
            (check("b", 3), check("a", 30_000), check("a", 60_001)),
            (None, Some(60_002), Some(60_002))
        );
        assert_eq!((check("a", 60_002), check("a", 60_003)), (None, None));
    }

    #[test]
    fn connects_that_are_far_apart_do_not_add_up() {
        let mut flapping = Flapping::new(limits(1));
        for round in 0..20 {
            assert_eq!(flapping.check(ANNA, &id("a"), Wall(round * 11_000)), None);
        }
    }

    #[test]
    fn zero_is_never_and_what_is_remembered_is_bounded() {
        let mut never = Flapping::new(limits(0));
        assert!((0..100).all(|at| never.check(ANNA, &id("a"), Wall(at)).is_none()));
        let mut full = Flapping::new(limits(1));
        assert_eq!(full.check(ANNA, &id("oldest"), Wall(0)), None);
        for number in 0..REMEMBERED + 10 {
            full.check(ANNA, &id(&number.to_string()), Wall(1));
        }
        assert_eq!((full.clients.len(), full.order.len()), (REMEMBERED, REMEMBERED));
        assert_eq!(full.check(ANNA, &id("oldest"), Wall(2)), None, "it was forgotten");
        let youngest = (REMEMBERED + 9).to_string();
        assert!(full.check(ANNA, &id(&youngest), Wall(2)).is_some(), "it was not");
    }

    #[test]
    fn nobody_is_banned_for_what_somebody_else_does_with_its_client_id() {
        let mut flapping = Flapping::new(limits(1));
        let otto = Holder([2; 16]);
        assert_eq!(flapping.check(otto, &id("a"), Wall(0)), None);
        assert!(flapping.check(otto, &id("a"), Wall(1)).is_some());
        assert_eq!(flapping.check(ANNA, &id("a"), Wall(2)), None);
    }
}
