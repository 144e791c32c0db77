//! Where the clients are, whatever anybody believes: how many each host has, and how often they were moved by then.

use std::collections::BTreeMap;

use protocol::GatewayId;

use crate::drain::Taker;

/// The clients of all hosts.
#[derive(Debug, Default)]
pub(super) struct Clients {
    /// Of each host, how many were moved never, once, twice and so on.
    of: BTreeMap<GatewayId, Vec<u64>>,
    /// The most that any of them was ever moved.
    pub(super) most_moves: usize,
}

/// What came of a move.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct MovedClients {
    /// How many were moved.
    pub(super) all: u64,
    /// Of those, who had been moved before.
    pub(super) again: u64,
    /// For how many nobody had room.
    pub(super) beyond: u64,
}

impl Clients {
    /// A host begins with so many, of whom nobody was moved.
    pub(super) fn begin(&mut self, host: &GatewayId, clients: u64) {
        self.of.insert(host.clone(), vec![clients]);
    }

    /// How many a host has.
    pub(super) fn carries(&self, host: &GatewayId) -> u64 {
        self.of.get(host).map_or(0, |of| of.iter().sum())
    }

    /// All clients of a host are moved: to those first who are not spared, as evenly as their room allows, then to the others. Who
    /// finds no room goes to the first of them all the same; nobody goes anywhere if nobody is there.
    pub(super) fn leave(
        &mut self,
        from: &GatewayId,
        takers: &[Taker],
        spared: &[GatewayId],
    ) -> MovedClients {
        let Some(last) = takers.first() else { return MovedClients::default() };
        let mut groups = self.of.insert(from.clone(), Vec::new()).unwrap_or_default();
        // Whoever goes was moved once more by then.
        groups.insert(0, 0);
        let all = groups.iter().sum();
        let again = groups.iter().skip(2).sum();
        let moves = groups.iter().rposition(|clients| *clients > 0).unwrap_or(0);
        self.most_moves = self.most_moves.max(moves);
        let is_spared = |taker: &&Taker| spared.contains(&taker.id);
        let (later, first): (Vec<_>, Vec<_>) = takers.iter().partition(is_spared);
        let mut left = self.spread(&mut groups, all, &first);
        left = self.spread(&mut groups, left, &later);
        self.take(&mut groups, &last.id, left);
        MovedClients { all, again, beyond: left }
    }

    /// As evenly as their room allows. Answers how many are left.
    fn spread(&mut self, groups: &mut [u64], clients: u64, takers: &[&Taker]) -> u64 {
        let mut left = clients;
        loop {
            let room = |of: &Self, it: &Taker| it.most.saturating_sub(of.carries(&it.id));
            let open: Vec<&&Taker> = takers.iter().filter(|it| room(self, it) > 0).collect();
            let many = u64::try_from(open.len()).unwrap_or(u64::MAX);
            if left == 0 || many == 0 {
                return left;
            }
            let share = left.div_ceil(many);
            for taker in open {
                let some = share.min(room(self, taker)).min(left);
                self.take(groups, &taker.id, some);
                left -= some;
            }
        }
    }

    /// So many of those who go come to a host.
    fn take(&mut self, groups: &mut [u64], to: &GatewayId, mut clients: u64) {
        let of = self.of.entry(to.clone()).or_default();
        of.resize(of.len().max(groups.len()), 0);
        for (there, here) in of.iter_mut().zip(groups) {
            let some = clients.min(*here);
            *there += some;
            *here -= some;
            clients -= some;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> GatewayId {
        GatewayId::new(name).unwrap()
    }

    fn taker(name: &str, most: u64) -> Taker {
        Taker { id: id(name), carries: 0, most, drained_later: false }
    }

    fn three() -> Clients {
        let mut clients = Clients::default();
        ["a", "b", "c"].iter().for_each(|name| clients.begin(&id(name), 100));
        clients
    }

    #[test]
    fn clients_are_where_they_were_moved_and_remember_how_often() {
        let mut clients = three();
        let moved = clients.leave(&id("a"), &[taker("b", 1000), taker("c", 1000)], &[id("b")]);
        assert_eq!(moved, MovedClients { all: 100, again: 0, beyond: 0 });
        let carries = |clients: &Clients| ["a", "b", "c"].map(|name| clients.carries(&id(name)));
        assert_eq!(carries(&clients), [0, 100, 200], "b is spared");
        let moved = clients.leave(&id("c"), &[taker("a", 1000), taker("b", 1000)], &[]);
        assert_eq!(moved, MovedClients { all: 200, again: 100, beyond: 0 });
        assert_eq!((carries(&clients), clients.most_moves), ([100, 200, 0], 2));
    }

    #[test]
    fn who_is_spared_takes_the_rest_and_who_finds_no_room_is_counted() {
        let mut clients = three();
        let takers = [taker("b", 120), taker("c", 150)];
        let moved = clients.leave(&id("a"), &takers, &[id("c")]);
        assert_eq!(moved, MovedClients { all: 100, again: 0, beyond: 30 });
        assert_eq!((clients.carries(&id("b")), clients.carries(&id("c"))), (150, 150));
        assert_eq!(three().leave(&id("a"), &[], &[]), MovedClients::default(), "nobody is there");
    }
}
