//! The limits of queues, as the follower of the log keeps them: who is full, what leaves, and who writes that down.

use protocol::session::DropReason;
use protocol::{ClientId, SessionEpoch, SessionNo, Wall};
use store::{Dropped, LeavingMessages, Lost, QueueStatus, Reader, Served, StoreError};

use super::follower::{Follower, Letter, Letters};

/// Runs of messages that leave queues in one write, so that no write is long.
const WRITE: usize = 1024;

impl Follower {
    /// Finds what has ended in the queues that this gateway looks after: those that it serves and, if it is the one that
    /// deletes what nobody needs, those that nobody serves.
    ///
    /// # Errors
    /// [`StoreError`], by what is wrong with the store.
    pub fn sweep(
        &mut self,
        now: Wall,
        reader: &mut dyn Reader,
        out: &mut Letters,
    ) -> Result<(), StoreError> {
        self.look_at_estates();
        let unowned = self.tables.is_trimmer(&self.gateway);
        let leaving = self.index.sweep(now, unowned, &mut self.wanted);
        self.write_down(leaving, out);
        self.fetch(reader, out)
    }

    /// What waits for a client with a stored queue.
    pub fn queue_of(&self, client: &ClientId) -> Option<QueueStatus> {
        self.index.status(*self.numbers.get(client)?)
    }

    /// An owner that was only cut off may still say something (promise S4).
    pub(super) fn is_current(&self, session: SessionNo, epoch: SessionEpoch) -> bool {
        self.epochs.get(&session).is_none_or(|newest| epoch >= *newest)
    }

    pub(super) fn apply_dropped(&mut self, dropped: &Dropped) {
        if let Lost::Queued { epoch, .. } = dropped.which
            && !self.is_current(dropped.session, epoch)
        {
            return;
        }
        let mut found = Vec::new();
        self.index.apply_dropped(dropped, &mut found);
        self.wanted.extend(found.into_iter().map(|(at, flags)| (dropped.session, at, flags)));
    }

    /// Passes on what the queues came to.
    pub(super) fn settle(&mut self, out: &mut Letters) {
        for (session, full) in self.index.take_fullness() {
            self.tables.change_routes(|routes| routes.set_full(session, full));
            if full.is_none() && self.index.whole(session).is_some() {
                // There was no room for what came meanwhile, and its client does not know.
                self.interrupt(session, out);
            }
        }
        for (session, behind) in self.index.take_pace() {
            self.tables.change_routes(|routes| routes.set_behind(session, behind));
        }
        let drops = self.index.take_drops();
        for (session, reason, count, _) in &drops {
            let missed = *count > 0 && *reason != DropReason::Expired;
            if missed && self.index.whole(*session).is_some() {
                self.interrupt(*session, out);
            }
        }
        if !drops.is_empty() && !self.replaying {
            // Every gateway sees it; one counts it.
            let trimmer = self.tables.is_trimmer(&self.gateway);
            let ours = |served: Served| match served {
                Served::Here => true,
                Served::Elsewhere => false,
                Served::Nowhere => trimmer,
            };
            let counted =
                drops.into_iter().filter(|(_, _, count, served)| *count > 0 && ours(*served));
            out.extend(counted.map(|(_, reason, count, _)| (0, Letter::Left(reason, count))));
        }
        // What must leave is not said before all that left is known.
        if self.index.is_over() && !self.replaying {
            let unowned = self.tables.is_trimmer(&self.gateway);
            let leaving = self.index.take_overflow(unowned);
            self.write_down(leaving, out);
        }
    }

    /// Has it written down what must leave queues, in the newest ownership that is known of each.
    fn write_down(&self, leaving: Vec<LeavingMessages>, out: &mut Letters) {
        let drops: Vec<Dropped> = leaving
            .into_iter()
            .filter_map(|(session, reason, after, up_to)| {
                let which = Lost::Queued { epoch: *self.epochs.get(&session)?, after, up_to };
                Some(Dropped { session, reason, which })
            })
            .collect();
        let writes = drops.chunks(WRITE).map(|drops| (0, Letter::Drops(drops.to_vec())));
        out.extend(writes);
    }
}
