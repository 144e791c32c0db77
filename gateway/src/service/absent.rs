//! Clients that are away: who is late, and who was away for so long that it is forgotten; and shadows that were deleted so long
//! ago that nobody needs their versions.

use std::sync::mpsc::channel;

use protocol::{GatewayId, Wall};
use store::{StoreError, Write};

use super::Housekeeper;
use crate::committer::Order;
use crate::presence::{due_late, forgotten, old_errands};
use crate::shadows::outlived;
use crate::tail::worker_of;
use crate::worker::{Mail, PresenceMail};

impl Housekeeper {
    /// Has it told of clients that were expected and did not come, as far as they are ours to tell of.
    pub(super) fn tell_late(&mut self, live: &[GatewayId], now: Wall) -> Result<(), StoreError> {
        for late in due_late(&mut *self.reader, &self.config.id, live, now)? {
            let worker = worker_of(&late.client, self.shared.mailboxes.len());
            if let Some(mailbox) = self.shared.mailboxes.get(usize::from(worker)) {
                mailbox.send(Mail::Presence(PresenceMail::Late(late)));
            }
        }
        Ok(())
    }

    /// Forgets some of the clients that were away for too long; the others with the next looks.
    pub(super) fn forget_clients(&mut self) -> Result<(), StoreError> {
        let (live, me) = (self.live_ids(), self.config.id.clone());
        let mine = move |client: &_| maintenance::rendezvous(client, &live) == Some(&me);
        let when = (self.shared.now().wall, self.config.presence.forget());
        let after = self.forgotten_up_to.take();
        let (mut writes, last) = forgotten(&mut *self.reader, after.as_deref(), &mine, when)?;
        self.forgotten_up_to = last;
        writes.extend(old_errands(&mut *self.reader, when.0)?);
        // Lost races are fine: then the client is there again.
        self.write_behind(writes);
        Ok(())
    }

    /// Takes some tombstones of shadows out of the store whose time is over; the others with the next looks.
    pub(super) fn clear_tombstones(&mut self) -> Result<(), StoreError> {
        let now = self.shared.now().wall;
        let after = self.buried_up_to.take();
        let when = (now, &self.config.shadow);
        let (writes, last) = outlived(&mut *self.reader, after.as_deref(), when)?;
        self.buried_up_to = last;
        self.metrics.process().shadow_tombstones.add(writes.len() as u64);
        // Here too: then the shadow is there again.
        self.write_behind(writes);
        Ok(())
    }

    /// Orders writes whose outcome nobody waits for.
    fn write_behind(&self, writes: Vec<Write>) {
        for write in writes {
            let (sender, _) = channel();
            let _ = self.shared.committer.send(Order::Other(Box::new(write), sender));
        }
    }
}
