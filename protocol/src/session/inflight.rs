//! What was sent and not yet acknowledged `[MQTT5-4.4]`.

use std::collections::VecDeque;

use crate::{PacketId, Position};

use super::Delivery;

/// How far one outgoing exchange has come.
///
/// ```text
///  QoS 1:  Sent ── PUBACK ──► gone
///  QoS 2:  Sent ── PUBREC ──► Released ── PUBCOMP ──► gone
/// ```
#[derive(Debug, Clone)]
pub enum Stage {
    /// PUBLISH was sent; it is sent again, with DUP, when the session resumes.
    Sent(Delivery),
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
            Self::Released { position } => *position,
        }
    }
}

/// The outgoing exchanges of one session in the order they began, which is the order of their positions.
#[derive(Debug)]
pub struct Inflight {
    open: VecDeque<(PacketId, Stage)>,
    last_id: u16,
    /// No open id is above this one.
    highest_open: u16,
}

impl Inflight {
    pub(super) const fn nothing() -> Self {
        Self { open: VecDeque::new(), last_id: 0, highest_open: 0 }
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

    /// Opens an exchange under an unused id `[MQTT5-2.2.1-4]`; gives the delivery back if all 65,535 are in use.
    pub(super) fn open(&mut self, delivery: Delivery) -> Result<PacketId, Delivery> {
        let Some(id) = self.unused_id() else { return Err(delivery) };
        self.last_id = id.get();
        self.highest_open =
            if self.open.is_empty() { id.get() } else { self.highest_open.max(id.get()) };
        self.open.push_back((id, Stage::Sent(delivery)));
        Ok(id)
    }

    /// All of them, to be changed in place.
    pub(super) fn stages_mut(&mut self) -> impl Iterator<Item = &mut Stage> {
        self.open.iter_mut().map(|(_, stage)| stage)
    }

    /// Puts an exchange back as it was stored.
    pub(super) fn restore(&mut self, id: PacketId, stage: Stage) {
        self.last_id = self.last_id.max(id.get());
        self.highest_open = self.highest_open.max(id.get());
        self.open.push_back((id, stage));
    }

    /// The stage of an exchange.
    pub(super) fn get_mut(&mut self, id: PacketId) -> Option<&mut Stage> {
        let at = self.find(id)?;
        self.open.get_mut(at).map(|(_, stage)| stage)
    }

    /// Closes an exchange.
    pub(super) fn close(&mut self, id: PacketId) -> Option<Stage> {
        let at = self.find(id)?;
        self.open.remove(at).map(|(_, stage)| stage)
    }

    /// Ends all exchanges and gives back those whose PUBLISH is not acknowledged, oldest first.
    pub(super) fn take_sent(&mut self) -> Vec<Delivery> {
        let sent = |(_, stage)| match stage {
            Stage::Sent(delivery) => Some(delivery),
            Stage::Released { .. } => None,
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

    fn unused_id(&self) -> Option<PacketId> {
        if self.open.len() >= usize::from(u16::MAX) {
            return None;
        }
        let mut id = self.last_id;
        for _ in 0..=u16::MAX {
            id = id.checked_add(1).unwrap_or(1);
            let candidate = PacketId::new(id)?;
            // Ids are given in turn: above all that are open, nothing can be in use.
            let above_all = id > self.highest_open;
            if above_all || self.find(candidate).is_none() {
                return Some(candidate);
            }
        }
        None
    }
}
