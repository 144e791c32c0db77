//! Several drains, several receivers, letters that are late: nobody gets more than it declared.

use std::time::Duration;

use proptest::prelude::*;
use protocol::{GatewayId, Now};

use super::*;
use crate::verdict::Counts;

/// A letter on its way: when it arrives, and what it is.
#[derive(Debug)]
enum Letter {
    Ask { from: usize, ask: CreditAsk },
    Credit { to: usize, from: GatewayId, number: u32, grant: Grant },
}

#[derive(Debug, Clone)]
struct Script {
    clients: Vec<u64>,
    /// Accepts per second that each receiver declares, and connections it has room for.
    rooms: Vec<(u32, u64)>,
    /// How late each tick of each source is, and each letter, in milliseconds: taken in turn.
    late_ms: Vec<u64>,
    begin_ms: Vec<u64>,
}

fn script() -> impl Strategy<Value = Script> {
    let late = prop_oneof![8 => 0_u64..30, 1 => 100_u64..700, 1 => 2_000_u64..6_000];
    (
        prop::collection::vec(50_u64..400, 1..5),
        prop::collection::vec((10_u32..120, 20_u64..500), 1..4),
        prop::collection::vec(late, 16..64),
        prop::collection::vec(0_u64..4_000, 5),
    )
        .prop_map(|(clients, rooms, late_ms, begin_ms)| Script {
            clients,
            rooms,
            late_ms,
            begin_ms,
        })
}

struct Source {
    machine: DrainMachine,
    next_tick_ms: u64,
    counts: Counts,
}

impl Source {
    fn depart(
        &mut self,
        step: DrainStep,
        now_ms: u64,
        receivers: &[GatewayId],
        arrivals: &mut [Vec<u64>],
    ) {
        let DrainStep::Move { to } = step else { return };
        for (receiver, n) in to {
            let index = receivers.iter().position(|id| *id == receiver).unwrap();
            arrivals[index].extend((0..n).map(|_| now_ms));
            self.counts.moved += u64::from(n);
            self.counts.sessions_owned -= u64::from(n);
        }
    }
}

fn name(prefix: &str, at: usize) -> GatewayId {
    GatewayId::new(&format!("{prefix}-{at}")).unwrap()
}

fn at(millis: u64) -> Now {
    Now { mono: Duration::from_millis(millis), ..Now::default() }
}

/// When each client departed for each receiver, in milliseconds.
fn run(script: &Script) -> Vec<Vec<u64>> {
    let receivers: Vec<_> = (0..script.rooms.len()).map(|n| name("to", n)).collect();
    let mut intakes: Vec<_> = receivers.iter().map(|_| Intake::default()).collect();
    let mut arrivals: Vec<Vec<u64>> = vec![Vec::new(); receivers.len()];
    let mut sources: Vec<_> = script
        .clients
        .iter()
        .zip(&script.begin_ms)
        .enumerate()
        .map(|(n, (clients, begin_ms))| {
            let plan = DrainPlan {
                per_s: 200,
                announce: Duration::ZERO,
                timeout: Duration::from_secs(3_600),
                on_timeout: OnTimeout::Undrain,
                until: None,
                seed: n as u64,
            };
            let (machine, _) = DrainMachine::start(plan, at(*begin_ms));
            let counts = Counts { sessions_owned: *clients, ..Counts::default() };
            Source { machine, next_tick_ms: *begin_ms, counts }
        })
        .collect();
    let mut letters: Vec<(u64, Letter)> = Vec::new();
    let mut late = script.late_ms.iter().copied().cycle();
    for now_ms in (0..40_000).step_by(10) {
        for (from, source) in sources.iter_mut().enumerate() {
            if now_ms < source.next_tick_ms {
                continue;
            }
            source.next_tick_ms = now_ms + 50 + late.next().unwrap();
            let steps = source.machine.handle_tick(at(now_ms), source.counts);
            for step in steps {
                source.depart(step, now_ms, &receivers, &mut arrivals);
            }
            let mut asks = source.machine.poll_asks(at(now_ms), &receivers);
            asks.extend(source.machine.poll_releases());
            for ask in asks {
                letters.push((now_ms + late.next().unwrap(), Letter::Ask { from, ask }));
            }
        }
        let due: Vec<_> = letters.extract_if(.., |(when, _)| *when <= now_ms).collect();
        for (_, letter) in due {
            match letter {
                Letter::Ask { from, ask } => {
                    let index = receivers.iter().position(|id| *id == ask.to).unwrap();
                    let (accept_per_s, connections) = script.rooms[index];
                    let open = arrivals[index].len() as u64;
                    let room = Room { connections: connections.saturating_sub(open), accept_per_s };
                    let wanted = Wanted { clients: ask.clients, per_s: ask.per_s };
                    let source = name("from", from);
                    let now = at(now_ms).mono;
                    let grant = intakes[index].handle_ask(now, &source, wanted, room);
                    let number = ask.number;
                    let credit = Letter::Credit { to: from, from: ask.to, number, grant };
                    letters.push((now_ms + late.next().unwrap(), credit));
                }
                Letter::Credit { to, from, number, grant } => {
                    sources[to].machine.handle_credit(&from, number, grant.clients, grant.per_s);
                }
            }
        }
    }
    arrivals
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// P11.
    #[test]
    fn no_receiver_gets_more_than_it_declared_however_many_drain(script in script()) {
        for (times, (accept_per_s, connections)) in run(&script).iter().zip(&script.rooms) {
            prop_assert!(times.len() as u64 <= *connections);
            for (first, start) in times.iter().enumerate() {
                let within = times[first..].iter().take_while(|it| **it < start + 1_000).count();
                prop_assert!(within <= *accept_per_s as usize, "{within} from {start}");
            }
        }
    }

    #[test]
    fn every_drain_ends_where_there_is_room(
        clients in prop::collection::vec(50_u64..200, 1..5),
        accept_per_s in 40_u32..120,
    ) {
        let total: u64 = clients.iter().sum();
        let script = Script {
            clients,
            rooms: vec![(accept_per_s, 2_000); 2],
            late_ms: vec![7, 13, 5],
            begin_ms: vec![0, 200, 900, 1_500],
        };
        let moved: usize = run(&script).iter().map(Vec::len).sum();
        prop_assert_eq!(moved as u64, total);
    }
}
