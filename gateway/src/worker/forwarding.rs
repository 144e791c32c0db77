//! What leaves a worker for others, and for peer gateways.

use protocol::QoS;
use protocol::peer::{InterestChange, SharedTarget};

use crate::hub::{Bundle, Forward, Passing};
use crate::links::Command;

use super::Mail;
use super::io::Io;

impl Io {
    /// Behind whatever else is on its way there: publications of one publisher at one level stay in order. Between levels there is
    /// none, so where they alternate there are two bundles.
    pub(super) fn pass_to(&mut self, worker: usize, passing: &Passing<'_>) {
        let Some(letters) = self.to_workers.get_mut(worker) else { return };
        if let Some(bundle) = Bundle::of_large(passing) {
            return letters.push(Mail::Bundle(bundle));
        }
        let promised = passing.qos() != QoS::AtMostOnce;
        let bundles = letters.iter_mut().rev().take(2).map_while(|letter| {
            if let Mail::Bundle(bundle) = letter { Some(bundle) } else { None }
        });
        let last = bundles.into_iter().find(|bundle| bundle.is_promised() == promised);
        if last.is_some_and(|bundle| !bundle.is_full() && bundle.add(passing)) {
            return;
        }
        let mut bundle = Bundle::within(self.spare.take().unwrap_or_default(), promised);
        bundle.add(passing);
        letters.push(Mail::Bundle(bundle));
    }

    pub(super) fn forward_to_workers(&mut self, workers: u64, forward: Forward) {
        let mut left = workers;
        while left != 0 {
            let at = left.trailing_zeros() as usize;
            left &= left - 1;
            if let Some(letters) = self.to_workers.get_mut(at) {
                if left == 0 {
                    letters.push(Mail::Forward(forward));
                    return;
                }
                letters.push(Mail::Forward(forward.clone()));
            }
        }
    }

    pub(super) fn forward_to_peers(&mut self, peers: u128, forward: &Forward) {
        let mut left = peers;
        while left != 0 {
            let at = left.trailing_zeros() as usize;
            left &= left - 1;
            if at >= self.peers.len() {
                self.peers = self.tables.peers();
            }
            if let Some(to) = self.peers.get(at) {
                let shared = forward.shared.iter().map(|member| SharedTarget {
                    share: member.0.share.clone(),
                    filter: member.0.filter.clone(),
                });
                self.to_links.push(Command::Forward {
                    to: to.clone(),
                    plain: forward.plain,
                    shared: shared.collect(),
                    publication: forward.publication.clone(),
                });
            }
        }
    }
}

/// A change of interest as peers are told it.
pub(super) fn told(delta: fanout::InterestDelta) -> InterestChange {
    InterestChange { filter: delta.filter, share: delta.share, members: delta.members }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use protocol::mqtt::Version;

    use super::*;
    use crate::hub::Tables;

    #[test]
    fn levels_go_apart_and_each_keeps_its_order() {
        let mut io = Io::new(0, 2, Arc::new(Tables::default()));
        let packet = |qos: u8, n: u8| match qos {
            0 => vec![0x30, 4, 0, 1, b't', n],
            qos => vec![0x30 | qos << 1, 6, 0, 1, b't', 0, 1, n],
        };
        let pass = |io: &mut Io, qos, n| {
            io.pass_to(1, &Passing::sample(&packet(qos, n), Version::V311));
        };
        for n in 0..4 {
            pass(&mut io, n % 3, n);
        }
        io.to_workers[1].push(Mail::Gap);
        pass(&mut io, 1, 4);
        let found = io.to_workers[1].iter().filter_map(|letter| {
            let Mail::Bundle(bundle) = letter else { return None };
            let payload = |it: Passing<'_>| it.publication().unwrap().payload()[0];
            Some((bundle.is_promised(), bundle.iter().map(payload).collect::<Vec<_>>()))
        });
        let apart = [(false, vec![0, 3]), (true, vec![1, 2]), (true, vec![4])];
        assert_eq!(found.collect::<Vec<_>>(), apart);
        assert!(matches!(io.to_workers[1][2], Mail::Gap), "what comes behind stays behind");
    }
}
