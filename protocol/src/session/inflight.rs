//! What was sent and not yet acknowledged `[MQTT5-4.4]`.

use std::collections::VecDeque;

use crate::{PacketId, Position, QoS};

use super::Delivery;

/// How far one outgoing exchange has come.
///
/// ```text
///  QoS 1:  Sent or Passed ── PUBACK ──► gone
///  QoS 2:  Sent or Passed ── PUBREC ──► Released ── PUBCOMP ──► gone
/// ```
#[derive(Debug, Clone)]
pub enum Stage {
    /// PUBLISH was sent; it is sent again, with DUP, when the session resumes.
    Sent(Box<Delivery>),
    /// PUBLISH was sent at this level, to a session that ends with its connection: it is never sent again, so its message is
    /// not kept.
    Passed(QoS),
    /// PUBREC came and PUBREL was sent; only PUBREL is sent again `[MQTT5-4.3.3-6]`.
    Released {
        /// Where the message stood in the queue, if it was stored.
        position: Option<Position>,
    },
}

impl Stage {
    /// Where the message stands in the queue, if it was stored.
    pub const fn position(&self) -> Option<Position> {
        match self {
            Self::Sent(delivery) => delivery.position,
            Self::Passed(_) => None,
            Self::Released { position } => *position,
        }
    }

    /// The level of a PUBLISH that was sent and not answered yet.
    pub(super) fn sent_at(&self) -> Option<QoS> {
        match self {
            Self::Sent(delivery) => Some(delivery.qos),
            Self::Passed(qos) => Some(*qos),
            Self::Released { .. } => None,
        }
    }
}

/// The outgoing exchanges of one session in the order they began, which is the order of their positions.
#[derive(Debug)]
pub struct Inflight {
    open: VecDeque<(PacketId, Stage)>,
    last_id: u16,
    /// No id is open that is above the last one and below this: ids are given in turn, so that hardly one is looked for.
    free_below: u32,
}

/// One more than the highest id.
const IDS: u32 = 1 << 16;

impl Inflight {
    pub(super) const fn nothing() -> Self {
        Self { open: VecDeque::new(), last_id: 0, free_below: 0 }
    }

    /// Whether another one may be opened where so many may be open at once, beside so many of those that are.
    pub(super) fn has_room(&self, receive_maximum: u16, besides: usize) -> bool {
        self.open.len().saturating_sub(besides) < usize::from(receive_maximum)
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// All of them, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (PacketId, &Stage)> {
        self.open.iter().map(|(id, stage)| (*id, stage))
    }

    /// Opens an exchange under an unused id `[MQTT5-2.2.1-4]`; gives it back if all 65,535 are in use.
    pub(super) fn open(&mut self, stage: Stage) -> Result<PacketId, Stage> {
        let Some(id) = self.unused_id() else { return Err(stage) };
        self.last_id = id.get();
        self.open.push_back((id, stage));
        Ok(id)
    }

    /// All of them, to be changed in place.
    pub(super) fn stages_mut(&mut self) -> impl Iterator<Item = &mut Stage> {
        self.open.iter_mut().map(|(_, stage)| stage)
    }

    /// Puts an exchange back as it was stored.
    pub(super) fn restore(&mut self, id: PacketId, stage: Stage) {
        self.last_id = self.last_id.max(id.get());
        self.free_below = 0;
        self.open.push_back((id, stage));
    }

    /// The stage of an exchange.
    pub(super) fn get_mut(&mut self, id: PacketId) -> Option<&mut Stage> {
        let at = self.find(id)?;
        self.open.get_mut(at).map(|(_, stage)| stage)
    }

    /// Closes an exchange.
    pub(super) fn close(&mut self, id: PacketId) {
        self.close_if(id, |_| true);
    }

    /// Closes an exchange that has come this far. Says whether there was one.
    pub(super) fn close_if(&mut self, id: PacketId, is_over: impl FnOnce(&Stage) -> bool) -> bool {
        let Some(at) = self.find(id) else { return false };
        let over = self.open.get(at).is_some_and(|(_, stage)| is_over(stage));
        if over {
            self.open.remove(at);
        }
        over
    }

    /// Ends all exchanges and gives back those whose PUBLISH is not acknowledged and whose message is kept, oldest first.
    pub(super) fn take_sent(&mut self) -> Vec<Delivery> {
        let sent = |(_, stage)| match stage {
            Stage::Sent(delivery) => Some(*delivery),
            Stage::Passed(_) | Stage::Released { .. } => None,
        };
        std::mem::take(&mut self.open).into_iter().filter_map(sent).collect()
    }

    /// The oldest position that is still open.
    pub(super) fn first_position(&self) -> Option<Position> {
        self.open.iter().find_map(|(_, stage)| stage.position())
    }

    /// Clients acknowledge in order `[MQTT5-4.6.0-2]`, so the first look is almost always right.
    fn find(&self, id: PacketId) -> Option<usize> {
        self.open.iter().position(|(open, _)| *open == id)
    }

    fn unused_id(&mut self) -> Option<PacketId> {
        let next = self.last_id.wrapping_add(1);
        if next != 0 && u32::from(next) < self.free_below {
            return PacketId::new(next);
        }
        if self.open.is_empty() {
            self.free_below = IDS;
            return PacketId::new(next.max(1));
        }
        self.look_for_ids(u32::from(next.max(1)))
    }

    /// The first id from `next` on, around the end, that is not open, and up to where those behind it are not open either.
    #[cold]
    fn look_for_ids(&mut self, next: u32) -> Option<PacketId> {
        let mut open = vec![false; IDS as usize];
        for (id, _) in &self.open {
            if let Some(place) = open.get_mut(usize::from(id.get())) {
                *place = true;
            }
        }
        let is_open = |id: u32| open.get(id as usize).copied().unwrap_or(true);
        let found = (next..IDS).chain(1..next).find(|id| !is_open(*id))?;
        self.free_below = (found..IDS).find(|id| is_open(*id)).unwrap_or(IDS);
        PacketId::new(u16::try_from(found).ok()?)
    }
}
