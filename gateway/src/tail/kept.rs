//! What is still there of the queues whose clients may go back.

use protocol::session::SessionRecord;
use protocol::{ClientId, Position, SessionNo};
use store::{Doc, Reader, Space, StoreError, Whole};

use super::{Follower, Letter, Letters};

impl Follower {
    /// Reads a client's session document; and if its client may go back, how much of its queue is there, as the log tells now.
    ///
    /// # Errors
    /// [`StoreError`], by what is wrong with the store.
    pub fn look_up(
        &mut self,
        client: &ClientId,
        reader: &mut dyn Reader,
        out: &mut Letters,
    ) -> Result<(Option<Doc>, Option<Whole>), StoreError> {
        let doc = reader.get(Space::Session, client.as_str().as_bytes())?;
        if !doc.as_ref().is_some_and(|doc| SessionRecord::is_shown(&doc.value)) {
            return Ok((doc, None));
        }
        self.catch_up(reader, out)?;
        let Some(session) = self.numbers.get(client).copied() else { return Ok((doc, None)) };
        // Bodies are deleted from the oldest on, by whichever gateway does that: how many of those kept are gone?
        let kept: Vec<Position> = self.index.kept(session).collect();
        let (mut gone, mut there) = (0, kept.len());
        let mut next = 0;
        while let Some(at) = kept.get(next).filter(|_| gone < there) {
            if reader.bodies(&[*at])?.is_empty() {
                gone = next + 1;
            } else {
                there = next;
            }
            next = gone + (there - gone) / 2;
        }
        if let Some(last) = gone.checked_sub(1).and_then(|last| kept.get(last)) {
            self.index.note_gone(session, *last);
        }
        self.gaps_told.insert(session, self.index.gap(session));
        Ok((doc, self.index.whole(session)))
    }

    /// Forgets what sessions have acknowledged up to here.
    pub fn forget_kept(&mut self, up_to: Position) {
        self.index.forget_kept(up_to);
    }

    /// The newest position of the fleet that this process has heard of.
    pub fn newest(&self) -> Position {
        self.tables.newest()
    }

    /// Says up to where everything of a queue was handed over, unless something waits.
    pub fn advance(&self, session: SessionNo, out: &mut Letters) {
        if let Some((worker, _)) = self.attached.get(&session)
            && self.index.is_read(session)
            && self.wanted.is_empty()
        {
            out.push((*worker, Letter::Passed(session, self.newest())));
        }
    }

    /// Stops serving a queue of which something is gone.
    pub(super) fn interrupt(&mut self, session: SessionNo, out: &mut Letters) {
        self.index.detach(session);
        let up_to = self.index.whole(session).map_or(Position(0), |whole| whole.without_gap);
        if let Some((worker, _)) = self.attached.remove(&session) {
            out.push((worker, Letter::Interrupted(session, up_to)));
        }
    }
}
