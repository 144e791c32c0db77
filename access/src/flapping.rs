//! Clients that come and go all the time are held off for a while.

use std::time::Duration;

use protocol::{ClientId, HashMap, Wall};

/// When a client counts as flapping, and for how long it is banned then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlappingLimits {
    /// Connects of one client id within [`Self::within`] after which it is banned; 0 is never.
    pub connects: u32,
    /// The time in which they are counted.
    pub within: Duration,
    /// How long it is banned.
    pub ban: Duration,
}

/// Client ids that connected lately, and those that are banned for it.
#[derive(Debug)]
pub struct Flapping {
    limits: FlappingLimits,
    clients: HashMap<ClientId, Seen>,
}

#[derive(Debug, Clone, Copy)]
enum Seen {
    /// So many connects since then.
    Connects { since: Wall, count: u32 },
    /// Banned until then.
    Banned { until: Wall },
}

/// Client ids that are remembered; beyond it the ones that are over are forgotten, and no new ones are counted.
const REMEMBERED: usize = 65_536;

impl Flapping {
    /// Nobody was seen yet.
    pub fn new(limits: FlappingLimits) -> Self {
        Self { limits, clients: HashMap::default() }
    }

    /// A client wants to connect: until when it is banned, if it is.
    pub fn check(&mut self, client: &ClientId, now: Wall) -> Option<Wall> {
        if self.limits.connects == 0 {
            return None;
        }
        if !self.clients.contains_key(client) && self.clients.len() >= REMEMBERED {
            let within = self.limits.within;
            self.clients.retain(|_, seen| !seen.is_over(within, now));
            if self.clients.len() >= REMEMBERED {
                return None;
            }
        }
        let fresh = Seen::Connects { since: now, count: 0 };
        let seen = self.clients.entry(client.clone()).or_insert(fresh);
        if seen.is_over(self.limits.within, now) {
            *seen = fresh;
        }
        match seen {
            Seen::Banned { until } => Some(*until),
            Seen::Connects { count, .. } => {
                *count += 1;
                if *count <= self.limits.connects {
                    return None;
                }
                let until = now.after(self.limits.ban);
                *seen = Seen::Banned { until };
                Some(until)
            }
        }
    }
}

impl Seen {
    fn is_over(self, within: Duration, now: Wall) -> bool {
        match self {
            Self::Connects { since, .. } => now > since.after(within),
            Self::Banned { until } => now >= until,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> ClientId {
        ClientId::new(name).unwrap()
    }

    fn limits(connects: u32) -> FlappingLimits {
        FlappingLimits { connects, within: Duration::from_secs(10), ban: Duration::from_secs(60) }
    }

    #[test]
    fn who_connects_too_often_is_banned_for_a_while_and_nobody_else_is() {
        let mut flapping = Flapping::new(limits(2));
        let mut check = |name: &str, at: u64| flapping.check(&id(name), Wall(at)).map(|w| w.0);
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
            assert_eq!(flapping.check(&id("a"), Wall(round * 11_000)), None);
        }
    }

    #[test]
    fn zero_is_never_and_what_is_remembered_is_bounded() {
        let mut never = Flapping::new(limits(0));
        assert!((0..100).all(|at| never.check(&id("a"), Wall(at)).is_none()));
        let mut full = Flapping::new(limits(1));
        for number in 0..REMEMBERED + 10 {
            full.check(&id(&number.to_string()), Wall(0));
        }
        assert_eq!(full.clients.len(), REMEMBERED);
        full.check(&id("late"), Wall(20_000));
        assert_eq!(full.clients.len(), 1);
    }
}
