//! What a gateway takes from others that are emptied.

use std::time::Duration;

use protocol::GatewayId;

use super::purse::CREDIT_LIFE;
use crate::pace::SLACK;

/// How long after its credit lapsed a client may take to arrive, and is waited for.
const ARRIVAL: Duration = Duration::from_secs(5);

/// What a draining gateway would like to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Clients.
    pub clients: u32,
    /// Clients per second.
    pub per_s: u32,
}

/// What a gateway grants: so many clients, evenly spaced, while the credit is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// Clients; 0 if there is no room.
    pub clients: u32,
    /// Clients per second; 0 if there is no room.
    pub per_s: u32,
}

/// How much room there is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Connections that may still be opened.
    pub connections: u64,
    /// Clients of other gateways that may come per second, whatever else comes.
    pub accept_per_s: u32,
}

/// The receiver's side of drains: what it has promised, so that all promises together are never more than it declared.
#[derive(Debug, Default)]
pub struct Intake {
    sources: Vec<Source>,
}

#[derive(Debug)]
struct Source {
    id: GatewayId,
    /// What it asked for last.
    wanted: Wanted,
    asked_at: Duration,
    promises: Vec<Promise>,
}

/// A grant, by when it was given.
#[derive(Debug, Clone, Copy)]
struct Promise {
    grant: Grant,
    at: Duration,
    /// Nobody departs by it any more.
    over: bool,
}

impl Intake {
    /// A draining gateway asks; the grant takes the place of its earlier ones. Who wants nobody to come is done: its
    /// credits are free for others, and those who are on their way are waited for.
    pub fn handle_ask(
        &mut self,
        now: Duration,
        from: &GatewayId,
        wanted: Wanted,
        room: Room,
    ) -> Grant {
        self.forget(now);
        if wanted.clients == 0 {
            if let Some(source) = self.sources.iter_mut().find(|source| source.id == *from) {
                source.wanted = wanted;
                source.promises.iter_mut().for_each(|promise| promise.over = true);
            }
            return Grant { clients: 0, per_s: 0 };
        }
        if !self.sources.iter().any(|source| source.id == *from) {
            let id = from.clone();
            self.sources.push(Source { id, wanted, asked_at: now, promises: Vec::new() });
        }
        let share = room.accept_per_s / self.asking(now);
        // Who would get less than one per second waits for its turn.
        let share = if paced(share) == 0 { 0 } else { share };
        let others = self.sources.iter().filter(|source| source.id != *from);
        let kept: u32 = others.map(|it| it.keeps(now, share)).fold(0, u32::saturating_add);
        let per_s = wanted.per_s.min(paced(room.accept_per_s.saturating_sub(kept)));
        let expected: u64 = self.sources.iter().map(|source| source.expected(now)).sum();
        let free = room.connections.saturating_sub(expected);
        let at_pace = u64::from(per_s).saturating_mul(CREDIT_LIFE.as_secs());
        let clients = u64::from(wanted.clients).min(free).min(at_pace);
        let clients = u32::try_from(clients).unwrap_or(u32::MAX);
        let grant = Grant { clients, per_s: if clients == 0 { 0 } else { per_s } };
        if let Some(source) = self.sources.iter_mut().find(|source| source.id == *from) {
            (source.wanted, source.asked_at) = (wanted, now);
            if clients > 0 {
                source.promises.push(Promise { grant, at: now, over: false });
            }
        }
        grant
    }

    /// Clients that were granted and may not have arrived.
    pub fn expected(&self, now: Duration) -> u64 {
        self.sources.iter().map(|source| source.expected(now)).sum()
    }

    /// Clients per second that may come by the grants that are good.
    pub fn promised_per_s(&self, now: Duration) -> u32 {
        self.sources.iter().map(|source| source.per_s(now)).fold(0, u32::saturating_add)
    }

    fn forget(&mut self, now: Duration) {
        for source in &mut self.sources {
            source.promises.retain(|promise| now < promise.at + CREDIT_LIFE + ARRIVAL);
        }
        self.sources.retain(|it| !it.promises.is_empty() || now < it.asked_at + CREDIT_LIFE);
    }

    /// How many ask these days.
    fn asking(&self, now: Duration) -> u32 {
        let asking = self
            .sources
            .iter()
            .filter(|it| it.wanted.clients > 0 && now < it.asked_at + CREDIT_LIFE);
        u32::try_from(asking.count().max(1)).unwrap_or(u32::MAX)
    }
}

impl Source {
    /// The highest pace of its grants that are good.
    fn per_s(&self, now: Duration) -> u32 {
        let good = |promise: &&Promise| !promise.over && now < promise.at + CREDIT_LIFE;
        let good = self.promises.iter().filter(good);
        good.map(|promise| promise.grant.per_s).max().unwrap_or(0)
    }

    /// What is kept for it: what it was promised, and its share as far as it wants that.
    fn keeps(&self, now: Duration, share: u32) -> u32 {
        let wants = if now < self.asked_at + CREDIT_LIFE { self.wanted.per_s } else { 0 };
        let promised = self.per_s(now);
        let whole = |per_s| if per_s == 0 { 0 } else { arriving(per_s) };
        whole(promised).max(share.min(whole(wants)))
    }

    /// Clients of its grants that may not have arrived: all of them, but no more than its pace allows for that time.
    fn expected(&self, now: Duration) -> u64 {
        let late = |promise: &&Promise| now < promise.at + CREDIT_LIFE + ARRIVAL;
        let promises = self.promises.iter().filter(late);
        let (all, per_s) = promises.fold((0_u64, 0_u32), |(all, per_s), promise| {
            (all + u64::from(promise.grant.clients), per_s.max(promise.grant.per_s))
        });
        let window = (CREDIT_LIFE + ARRIVAL + SLACK).as_secs() + 1;
        all.min(u64::from(per_s).saturating_mul(window) + 1)
    }
}

/// The most that departs in one second at a pace: what a late tick missed is caught up, and there is the fence post; twice,
/// since within a second a pace may pass from one source to another.
fn arriving(per_s: u32) -> u32 {
    per_s.saturating_add(per_s.div_ceil(5)).saturating_add(2)
}

/// The highest pace of which no more than `arriving` departs in a second.
fn paced(arriving: u32) -> u32 {
    let whole = u64::from(arriving.saturating_sub(2)) * 5 / 6;
    u32::try_from(whole).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: Room = Room { connections: 1_000, accept_per_s: 62 };

    fn ask(intake: &mut Intake, at_ms: u64, from: &str, (clients, per_s): (u32, u32)) -> u32 {
        let from = GatewayId::new(from).unwrap();
        let wanted = Wanted { clients, per_s };
        intake.handle_ask(Duration::from_millis(at_ms), &from, wanted, ROOM).per_s
    }

    #[test]
    fn a_second_drain_gets_its_share_when_what_the_first_was_granted_has_lapsed() {
        let mut intake = Intake::default();
        assert_eq!(ask(&mut intake, 0, "one", (500, 200)), 50);
        assert_eq!(ask(&mut intake, 100, "other", (500, 200)), 0);
        assert_eq!(ask(&mut intake, 500, "one", (500, 200)), 24, "the other waits for its share");
        assert_eq!(ask(&mut intake, 600, "other", (500, 200)), 0);
        assert_eq!(ask(&mut intake, 1_999, "other", (500, 200)), 0);
        assert_eq!(ask(&mut intake, 2_000, "other", (500, 200)), 24);
        assert_eq!(ask(&mut intake, 2_100, "one", (500, 200)), 24);
    }

    #[test]
    fn who_left_for_here_has_its_place_kept_until_it_cannot_come_any_more() {
        let mut intake = Intake::default();
        ask(&mut intake, 0, "one", (100, 200));
        let expected = |at_ms| intake.expected(Duration::from_millis(at_ms));
        let moments = [1_999, 2_000, 6_999, 7_000];
        assert_eq!(moments.map(expected), [100, 100, 100, 0], "longer than its credit is good");
    }

    /// P33.
    #[test]
    fn a_drain_that_is_over_gives_its_credits_back_at_once() {
        let mut intake = Intake::default();
        let now = Duration::from_millis(100);
        ask(&mut intake, 0, "one", (500, 200));
        assert_eq!((intake.promised_per_s(now), intake.expected(now)), (50, 100));
        assert_eq!(ask(&mut intake, 100, "one", (0, 0)), 0);
        assert_eq!((intake.promised_per_s(now), intake.expected(now)), (0, 100));
        assert_eq!(ask(&mut intake, 100, "other", (500, 200)), 50);
        let later = Duration::from_millis(8_000);
        assert_eq!(intake.expected(later), 0, "who has not come by then does not come");
    }
}
