//! Maximum flow by Dinic's method.

use std::collections::VecDeque;

/// A network with room on its edges.
#[derive(Debug, Default)]
pub(super) struct Network {
    edges: Vec<Edge>,
    /// The edges that leave each node; each has its opposite beside it.
    leaving: Vec<Vec<usize>>,
    level: Vec<Option<u32>>,
    next: Vec<usize>,
}

#[derive(Debug, Clone, Copy)]
struct Edge {
    to: usize,
    room: u64,
}

impl Network {
    pub(super) fn node(&mut self) -> usize {
        self.leaving.push(Vec::new());
        self.leaving.len() - 1
    }

    /// Adds an edge; returns its number.
    pub(super) fn edge(&mut self, from: usize, to: usize, room: u64) -> usize {
        let number = self.edges.len();
        self.edges.push(Edge { to, room });
        self.edges.push(Edge { to: from, room: 0 });
        for (node, edge) in [(from, number), (to, number + 1)] {
            if let Some(leaving) = self.leaving.get_mut(node) {
                leaving.push(edge);
            }
        }
        number
    }

    pub(super) fn edges(&self) -> usize {
        self.edges.len() / 2
    }

    /// How much an edge carries.
    pub(super) fn carried(&self, edge: usize) -> u64 {
        self.edges.get(edge + 1).map_or(0, |back| back.room)
    }

    /// Sends as much as possible; returns how much that is.
    pub(super) fn fill(&mut self, from: usize, to: usize) -> u64 {
        let mut sent = 0;
        while self.levels(from, to) {
            self.next = vec![0; self.leaving.len()];
            loop {
                let more = self.send(from, to);
                if more == 0 {
                    break;
                }
                sent += more;
            }
        }
        sent
    }

    /// Whether a node can still be reached after [`Self::fill`]: on which side of the cut it is.
    pub(super) fn is_reached(&self, node: usize) -> bool {
        self.level.get(node).copied().flatten().is_some()
    }

    fn levels(&mut self, from: usize, to: usize) -> bool {
        self.level = vec![None; self.leaving.len()];
        if let Some(level) = self.level.get_mut(from) {
            *level = Some(0);
        }
        let mut queue = VecDeque::from([(from, 0)]);
        while let Some((node, depth)) = queue.pop_front() {
            for edge in self.leaving.get(node).into_iter().flatten() {
                let Some(edge) = self.edges.get(*edge).filter(|edge| edge.room > 0) else {
                    continue;
                };
                if let Some(level @ None) = self.level.get_mut(edge.to) {
                    *level = Some(depth + 1);
                    queue.push_back((edge.to, depth + 1));
                }
            }
        }
        self.is_reached(to)
    }

    /// Sends along one path of ascending levels; zero if there is none left.
    fn send(&mut self, from: usize, to: usize) -> u64 {
        let mut path: Vec<usize> = Vec::new();
        let mut at = from;
        while at != to {
            if let Some(edge) = self.onward(at) {
                path.push(edge);
                at = self.edges.get(edge).map_or(to, |edge| edge.to);
                continue;
            }
            // A dead end: never enter it again.
            let Some(edge) = path.pop() else {
                return 0;
            };
            at = self.edges.get(edge ^ 1).map_or(from, |back| back.to);
            if let Some(next) = self.next.get_mut(at) {
                *next += 1;
            }
        }
        let rooms = path.iter().filter_map(|edge| self.edges.get(*edge)).map(|edge| edge.room);
        let amount = rooms.min().unwrap_or(0);
        for edge in path {
            if let Some(edge) = self.edges.get_mut(edge) {
                edge.room -= amount;
            }
            if let Some(back) = self.edges.get_mut(edge ^ 1) {
                back.room += amount;
            }
        }
        amount
    }

    /// The next edge of a node that leads one level up and has room.
    fn onward(&mut self, node: usize) -> Option<usize> {
        let depth = self.level.get(node).copied().flatten()?;
        let place = self.next.get_mut(node)?;
        loop {
            let number = *self.leaving.get(node)?.get(*place)?;
            let edge = self.edges.get(number)?;
            if edge.room > 0 && self.level.get(edge.to).copied().flatten() == Some(depth + 1) {
                return Some(number);
            }
            *place += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

        /// A flow that keeps to its edges and is as large as some cut is a largest flow, and the cut a smallest one.
        #[test]
        fn what_is_sent_is_a_flow_and_as_much_as_the_cut_lets_through(
            nodes in 2_usize..9,
            edges in vec((0_usize..9, 0_usize..9, 0_u64..6), 0..40),
        ) {
            let mut network = Network::default();
            for _ in 0..nodes {
                network.node();
            }
            let wanted = edges.iter().filter(|(from, to, _)| *from < nodes && *to < nodes && from != to);
            let edges: Vec<_> = wanted
                .map(|&(from, to, room)| (network.edge(from, to, room), from, to, room))
                .collect();
            let sent = network.fill(0, 1);
            let mut left = vec![0_i128; nodes];
            for &(edge, from, to, room) in &edges {
                let carried = network.carried(edge);
                prop_assert!(carried <= room);
                left[from] += i128::from(carried);
                left[to] -= i128::from(carried);
            }
            for (node, left) in left.into_iter().enumerate() {
                let expected = match node { 0 => i128::from(sent), 1 => -i128::from(sent), _ => 0 };
                prop_assert_eq!(left, expected, "at node {}", node);
            }
            prop_assert!(network.is_reached(0) && !network.is_reached(1));
            let cut = edges.iter().filter(|(_, from, to, _)| network.is_reached(*from) && !network.is_reached(*to));
            prop_assert_eq!(sent, cut.map(|(.., room)| room).sum::<u64>());
        }
    }
}
