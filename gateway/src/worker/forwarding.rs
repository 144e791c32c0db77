//! What leaves a worker for others, and for peer gateways.

use protocol::peer::{InterestChange, SharedTarget};

use crate::hub::{Bundle, Forward, Passing};
use crate::links::Command;

use super::Mail;
use super::io::Io;

impl Io {
    /// Behind whatever else is on its way there: publications of one publisher at one level stay in order.
    pub(super) fn pass_to(&mut self, worker: usize, passing: &Passing<'_>) {
        let Some(letters) = self.to_workers.get_mut(worker) else { return };
        if let Some(Mail::Bundle(bundle)) = letters.last_mut()
            && !bundle.is_full()
        {
            return bundle.add(passing);
        }
        let mut bundle = Bundle::default();
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
