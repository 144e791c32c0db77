//! Where the clients of a drained gateway go, so that as few of them as possible are moved twice.

use protocol::GatewayId;

/// A gateway that could take clients of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taker {
    /// Which.
    pub id: GatewayId,
    /// Connections it carries.
    pub carries: u64,
    /// Connections it may carry.
    pub most: u64,
    /// Whether it will be drained itself, as far as the plan goes: who goes there moves again.
    pub drained_later: bool,
}

/// Those that are spared the clients of a drained gateway: who is drained later (P29), and of those that stay who carries so much
/// that the others come to the same level without it. Who carries twice what is usual has no room. Those that stay may have
/// room for some of the clients only: then they are filled first. If none of them has any, nobody is spared.
pub fn spared(takers: &[Taker], clients: u64) -> Vec<GatewayId> {
    let clients = clients.max(1);
    let count = u64::try_from(takers.len()).unwrap_or(u64::MAX).max(1);
    let all = takers.iter().fold(clients, |sum, taker| sum.saturating_add(taker.carries));
    let most = all.div_ceil(count).saturating_mul(2);
    let takes = |taker: &Taker, level: u64| {
        if taker.drained_later { 0 } else { level.min(taker.most).saturating_sub(taker.carries) }
    };
    let room = |level| takers.iter().fold(0_u64, |sum, it| sum.saturating_add(takes(it, level)));
    let clients = clients.min(room(most));
    if clients == 0 {
        return Vec::new();
    }
    // The lowest level at which they have room: like water, clients come to the lowest first.
    let (mut below, mut level) = (0, most);
    while level - below > 1 {
        let middle = below + (level - below) / 2;
        if room(middle) < clients {
            below = middle;
        } else {
            level = middle;
        }
    }
    takers.iter().filter(|it| takes(it, level) == 0).map(|it| it.id.clone()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn taker(number: usize, carries: u64, drained_later: bool) -> Taker {
        let id = GatewayId::new(&format!("gw-{number}")).unwrap();
        Taker { id, carries, most: 10_000, drained_later }
    }

    #[test]
    fn a_rolling_drain_moves_only_the_first_gateways_clients_twice() {
        // Property P29: second moves are no more than what the first batch carried.
        let (gateways, each) = (5, 400);
        let mut carries = vec![each; gateways];
        let mut second_moves = 0;
        // How many of those that a gateway carries were moved before.
        let mut moved = vec![0; gateways];
        for drained in 0..gateways {
            let others = (0..gateways).filter(|at| *at != drained);
            let takers: Vec<_> = others.map(|at| taker(at, carries[at], at > drained)).collect();
            let spared = spared(&takers, carries[drained]);
            let takes = |at: &usize| *at != drained && !spared.contains(&taker(*at, 0, false).id);
            let to: Vec<_> = (0..gateways).filter(takes).collect();
            second_moves += moved[drained];
            for (n, at) in to.iter().enumerate() {
                let share = carries[drained] / to.len() as u64
                    + u64::from((n as u64) < carries[drained] % to.len() as u64);
                carries[*at] += share;
                moved[*at] += share;
            }
            (carries[drained], moved[drained]) = (0, 0);
            assert!(carries.iter().all(|it| *it <= each * gateways as u64 / 4), "{carries:?}");
        }
        assert_eq!(second_moves, each);
    }

    #[test]
    fn one_gateway_that_is_done_does_not_take_the_clients_of_a_hundred() {
        let mut takers: Vec<_> = (1..100).map(|at| taker(at, 400, true)).collect();
        takers.push(taker(100, 0, false));
        assert_eq!(spared(&takers, 400).len(), 99);
        takers[99].carries = 900;
        assert_eq!(spared(&takers, 400), [], "it has twice its share");
        takers[99] = Taker { most: 0, ..taker(100, 0, false) };
        assert_eq!(spared(&takers, 400), [], "it has no room");
        takers[99] = Taker { most: 300, ..taker(100, 0, false) };
        assert_eq!(
            spared(&takers, 400).len(),
            99,
            "it has room for some, which are not moved again"
        );
        takers[99].drained_later = true;
        assert_eq!(spared(&takers, 0), [], "nobody stays");
        assert_eq!(spared(&[], 400), [], "nobody is there");
    }

    proptest! {
        #[test]
        fn who_is_left_stays_and_has_room_for_all_or_else_nobody_who_has_any_is_spared(
            given in prop::collection::vec((0_u64..1_000, 0_u64..2_000, any::<bool>()), 0..12),
            clients in 0_u64..3_000,
        ) {
            let takers: Vec<_> = given
                .iter()
                .enumerate()
                .map(|(at, (carries, most, later))| Taker { most: *most, ..taker(at, *carries, *later) })
                .collect();
            let spared = spared(&takers, clients);
            let left: Vec<_> = takers.iter().filter(|it| !spared.contains(&it.id)).collect();
            prop_assert_eq!(left.is_empty(), takers.is_empty());
            if !spared.is_empty() {
                let room = |of: &Taker| of.most.saturating_sub(of.carries);
                prop_assert!(left.iter().all(|it| !it.drained_later && room(it) > 0));
                let all: u64 = takers.iter().map(|it| it.carries).sum::<u64>() + clients.max(1);
                let usual = all.div_ceil(takers.len() as u64);
                let fits = |it: &&Taker| !it.drained_later && it.carries < it.most.min(2 * usual);
                let filled = left.len() == takers.iter().filter(fits).count();
                prop_assert!(filled || left.iter().map(|it| room(it)).sum::<u64>() >= clients);
            }
        }
    }
}
