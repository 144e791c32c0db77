//! What this gateway takes from others that are drained.

use std::time::Duration;

use maintenance::{Grant, Intake, Room, Throttle, Wanted};
use protocol::GatewayId;

use super::thread::Housekeeper;
use super::visited::share;
use crate::control::GatewayState;
use crate::links::Command;
use crate::metrics::WhyRefused;

/// What was promised to gateways that are drained, and what comes by itself.
#[derive(Debug, Default)]
pub(super) struct Receiving {
    intake: Intake,
    throttle: Throttle,
    /// Clients that come by themselves, per second.
    organic: u64,
    /// When arrivals were counted last, and how many there had been.
    counted: (Duration, Arrivals),
}

/// Who has come since the process began.
#[derive(Debug, Clone, Copy, Default)]
struct Arrivals {
    connections: u64,
    let_in: u64,
    /// Within the time that they should be.
    in_time: u64,
    /// Refused because we have no time or room for them.
    turned_away: u64,
}

/// How often arrivals are counted.
const EVERY: Duration = Duration::from_secs(1);
/// Fewer late ones than this say nothing.
const SOME: u64 = 3;

impl Receiving {
    /// How many clients of a gateway that is drained are taken where so many connections may be open, and are; nobody's by one
    /// that does not serve.
    fn grant(
        &mut self,
        now: Duration,
        (from, wanted): (&GatewayId, Wanted),
        state: GatewayState,
        (most, open, accept_per_s): (u32, u64, u32),
    ) -> Grant {
        if state != GatewayState::Serving {
            return Grant { clients: 0, per_s: 0 };
        }
        let connections = u64::from(most).saturating_sub(open);
        self.intake.handle_ask(now, from, wanted, Room { connections, accept_per_s })
    }

    /// So many have come.
    fn count(&mut self, now: Duration, arrivals: Arrivals) {
        let (at, before) = self.counted;
        let passed = now.saturating_sub(at);
        if passed < EVERY {
            return;
        }
        self.counted = (now, arrivals);
        let came = arrivals.connections.saturating_sub(before.connections).saturating_mul(1_000);
        let came_per_s = came / u64::try_from(passed.as_millis()).unwrap_or(u64::MAX).max(1);
        // Those that were sent here are no others.
        let promised = self.intake.promised_per_s(now);
        self.organic = u64::midpoint(self.organic, came_per_s.saturating_sub(promised.into()));
        let let_in = arrivals.let_in.saturating_sub(before.let_in);
        let late = let_in.saturating_sub(arrivals.in_time.saturating_sub(before.in_time));
        let slow = late >= SOME && late.saturating_mul(100) > let_in;
        let stalled = passed > EVERY.saturating_mul(2);
        let refused = promised > 0 && arrivals.turned_away > before.turned_away;
        self.throttle.handle_second(!slow && !stalled && !refused);
    }
}

impl Housekeeper {
    /// Counts who comes.
    pub(super) fn look_at_arrivals(&mut self) {
        let limit = self.config.drain.connect_p99;
        let workers = self.metrics.workers().iter();
        let in_time = workers.map(|worker| {
            // The longest of the known times that is not longer than the limit.
            let within = worker.connects_within();
            let known = within.iter().rev().find(|(bound, _)| *bound <= limit);
            known.map_or(0, |(_, count)| count.get())
        });
        let process = self.metrics.process();
        let refused = [WhyRefused::Busy, WhyRefused::Quota].map(|why| process.refused.get(why));
        let turned_away = [
            &process.turned_away_handshakes,
            &process.turned_away_rate,
            &process.turned_away_connections,
            &process.turned_away_descriptors,
        ];
        let arrivals = Arrivals {
            connections: self.metrics.sum(|worker| &worker.connections_opened),
            let_in: self.metrics.sum(|worker| &worker.connects),
            in_time: in_time.sum(),
            turned_away: turned_away.iter().map(|count| count.get()).chain(refused).sum(),
        };
        self.receiving.count(self.shared.now().mono, arrivals);
        process.drain_accept_per_s.set(self.accept_per_s().into());
    }

    /// Clients per second that other gateways' drains may bring.
    fn accept_per_s(&self) -> u32 {
        let organic = u32::try_from(self.receiving.organic).unwrap_or(u32::MAX);
        let declared = self.config.drain.accept_per_s;
        let warm = self.drains.warming.map_or(declared, |percent| share(declared, percent));
        self.receiving.throttle.of(warm.saturating_sub(organic))
    }

    /// A gateway that is drained asks how many clients we take.
    pub(super) fn grant_credit(&mut self, from: GatewayId, drain: u64, wanted: Wanted) {
        let open = self.metrics.sum(|worker| &worker.connections);
        let room = (self.config.limits.connections, open, self.accept_per_s());
        let (now, state) = (self.shared.now().mono, self.state.get());
        let granted = self.receiving.grant(now, (&from, wanted), state, room);
        self.metrics.process().drain_promised.add(granted.clients.into());
        let Some(links) = &self.shared.links else { return };
        let Grant { clients, per_s } = granted;
        links.send(&mut vec![Command::Credit { to: from, drain, clients, per_s }]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_serves_grants_what_is_free_and_whoever_does_not_grants_nothing() {
        let from = GatewayId::new("gw-2").unwrap();
        let wanted = Wanted { clients: 1_000, per_s: 500 };
        let granted = |state, room| {
            let mut receiving = Receiving::default();
            receiving.grant(Duration::from_secs(1), (&from, wanted), state, room).clients
        };
        assert_eq!(granted(GatewayState::Serving, (1_000, 980, 500)), 20);
        assert_eq!(granted(GatewayState::Serving, (1_000, 1_001, 500)), 0);
        for state in [
            GatewayState::Starting,
            GatewayState::Announced,
            GatewayState::Refusing,
            GatewayState::Moving,
            GatewayState::Quiesced,
            GatewayState::Stopping,
        ] {
            assert_eq!(granted(state, (1_000, 0, 500)), 0, "{state:?}");
        }
    }

    #[test]
    fn fewer_are_taken_while_clients_are_let_in_late() {
        let mut receiving = Receiving::default();
        let arrivals = |connections, late| Arrivals {
            connections,
            let_in: connections,
            in_time: connections - late,
            turned_away: 0,
        };
        receiving.count(Duration::from_secs(1), arrivals(100, 0));
        assert_eq!((receiving.organic, receiving.throttle.of(500)), (50, 500));
        receiving.count(Duration::from_millis(1_500), arrivals(150, 50));
        assert_eq!(receiving.throttle.of(500), 500, "looked at once a second");
        receiving.count(Duration::from_secs(2), arrivals(1_100, 10));
        assert_eq!(receiving.throttle.of(500), 500, "one of a hundred");
        receiving.count(Duration::from_secs(3), arrivals(1_200, 13));
        assert_eq!(receiving.throttle.of(500), 250);
        (4..14).for_each(|second| {
            receiving.count(Duration::from_secs(second), arrivals(1_200, 13));
        });
        assert_eq!((receiving.organic, receiving.throttle.of(500)), (0, 500));
    }
}
