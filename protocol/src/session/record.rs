//! A session as it is stored: one document per client id, whose first eight bytes are the epoch that fences it.

use bytes::Bytes;

use super::{Holder, QueueLimits, WhenFull};
use crate::{
    GatewayId, Incarnation, PacketId, Position, Publication, QoS, SessionEpoch, SessionNo, Wall,
};

/// Which life of which gateway serves a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The gateway.
    pub gateway: GatewayId,
    /// Its life.
    pub incarnation: Incarnation,
}

/// A will that waits with its session `[MQTT5-3.1.2-7]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredWill {
    /// What is published.
    pub publication: Publication,
    /// Seconds after the connection ends.
    pub delay_s: u32,
    /// Seconds the message is worth delivering once it is published, if limited.
    pub expiry_s: Option<u32>,
}

/// A subscription as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSubscription {
    /// As the client wrote it, with any share prefix.
    pub filter: Box<str>,
    /// Highest level granted.
    pub qos: QoS,
    /// Not what this client published itself.
    pub no_local: bool,
    /// Whether the RETAIN flag is passed on.
    pub retain_as_published: bool,
    /// The identifier, if any.
    pub id: Option<u32>,
}

/// A subscription that has not got all retained messages that match it yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredOwed {
    /// Which of the record's subscriptions.
    pub subscription: u32,
    /// The topic of the last message it got, in the order of topics; empty before the first.
    pub after: Box<str>,
}

/// Everything about a session that outlives a process. A clean session's record has only owner, epoch and will.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRecord {
    /// Who may write: every write is refused whose epoch is not the stored one.
    pub epoch: SessionEpoch,
    /// This life of the session; 0 for a clean session.
    pub no: SessionNo,
    /// Whom it belongs to, connected or not.
    pub holder: Holder,
    /// Who serves it; nobody while the client is away.
    pub owner: Option<Owner>,
    /// How much may wait for it, by its class when it was last attached; `None` if that was before sessions had limits.
    pub queue: Option<QueueLimits>,
    /// Seconds it lives after the connection ends; 0 is a clean session, `u32::MAX` for ever.
    pub expiry_s: u32,
    /// When the connection ended, if it did.
    pub detached_at: Option<Wall>,
    /// Its last gateway died with it: what was sent last is not written down here.
    pub orphaned: bool,
    /// Everything in its queue up to here is acknowledged.
    pub acknowledged: Position,
    /// The highest position that was sent: what is not in `inflight` up to here is acknowledged.
    pub sent: Position,
    /// The will of the connection that is open, or was when its gateway died.
    pub will: Option<StoredWill>,
    /// The will waits for a client that we moved ourselves.
    pub will_parked: bool,
    /// It was in a shared group above `QoS` 0, which it may have left since: what waits for it may be for others.
    pub grouped: bool,
    /// Its client takes nothing for now, says its owner: shared groups give to others. Without an owner it says nothing.
    pub hangs: bool,
    /// Its subscriptions.
    pub subscriptions: Vec<StoredSubscription>,
    /// Outgoing exchanges: id, position, and whether PUBREL was sent.
    pub inflight: Vec<(PacketId, Position, bool)>,
    /// Incoming QoS 2 ids, ascending.
    pub inbound: Vec<PacketId>,
    /// Retained messages that new subscriptions are still owed.
    pub owed: Vec<StoredOwed>,
    /// What makes a session one that may go back to a position; most are none.
    pub shown: Option<Shown>,
}

/// A session whose client is shown positions, and may go back to one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shown {
    /// When that began, as a number that stands for nothing else: positions of an earlier time are not of this one.
    pub since: SessionEpoch,
    /// Up to here it may have missed messages: there was no room for them.
    pub gap: Position,
    /// The ids among `inflight` that are at QoS 2, whether PUBREL was sent or not.
    pub twice: Vec<PacketId>,
}

/// Bytes that the record of a session takes that nothing is stored for.
const ROOM: usize = 128;
/// The form's version, after the epoch.
const FORM: u8 = 4;
/// The flag of a session whose client is shown positions: [`Shown`] stands at the end.
const SHOWN: u8 = 8;
/// The flag of a session that was in a shared group.
const GROUPED: u8 = 16;
/// The flag of a session whose client takes nothing for now.
const HANGS: u8 = 32;
/// The form before sessions had limits, with what is owed at its end.
const FORM_3: u8 = 3;
/// The same without.
const FORM_2: u8 = 2;
/// The form before sessions had holders.
const FORM_1: u8 = 1;

impl SessionRecord {
    /// A record for a session nobody has stored yet.
    pub const fn new(no: SessionNo, epoch: SessionEpoch, expiry_s: u32) -> Self {
        Self {
            epoch,
            no,
            holder: Holder::NOBODY,
            owner: None,
            queue: None,
            expiry_s,
            detached_at: None,
            orphaned: false,
            acknowledged: Position(0),
            sent: Position(0),
            will: None,
            will_parked: false,
            grouped: false,
            hangs: false,
            subscriptions: Vec::new(),
            inflight: Vec::new(),
            inbound: Vec::new(),
            owed: Vec::new(),
            shown: None,
        }
    }

    /// When nobody needs it any more: never while a connection is open.
    pub fn expires_at(&self) -> Option<Wall> {
        if self.expiry_s == u32::MAX {
            return None;
        }
        let span = std::time::Duration::from_secs(u64::from(self.expiry_s));
        self.detached_at.map(|at| at.after(span))
    }

    /// Whether it is kept for nobody any more: its client is away, and its time is over. Its document may stay for a while.
    pub fn is_over(&self, now: Wall) -> bool {
        self.owner.is_none() && self.expires_at().is_some_and(|at| at <= now)
    }

    /// The first bytes of every stored form of this epoch.
    pub const fn fence(epoch: SessionEpoch) -> [u8; 8] {
        epoch.0.to_be_bytes()
    }

    /// The stored form; [`Self::decode`] reads it back.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(ROOM + self.subscriptions.len() * 32);
        out.extend_from_slice(&Self::fence(self.epoch));
        out.push(FORM);
        let owed = u8::from(!self.owed.is_empty()) << 2;
        let shown = if self.shown.is_some() { SHOWN } else { 0 };
        let grouped = if self.grouped { GROUPED } else { 0 };
        let hangs = if self.hangs && self.owner.is_some() { HANGS } else { 0 };
        let (orphaned, parked) = (u8::from(self.orphaned), u8::from(self.will_parked) << 1);
        out.push(orphaned | parked | owed | shown | grouped | hangs);
        out.extend_from_slice(&self.holder.0);
        put_limits(&mut out, self.queue);
        out.extend_from_slice(&self.no.0.to_be_bytes());
        out.extend_from_slice(&self.expiry_s.to_be_bytes());
        out.extend_from_slice(&self.detached_at.map_or(0, |w| w.0).to_be_bytes());
        out.extend_from_slice(&self.acknowledged.0.to_be_bytes());
        out.extend_from_slice(&self.sent.0.to_be_bytes());
        match &self.owner {
            None => out.push(0),
            Some(owner) => {
                put_text(&mut out, owner.gateway.as_str());
                out.extend_from_slice(&owner.incarnation.0.to_be_bytes());
            }
        }
        match &self.will {
            None => out.push(0),
            Some(will) => {
                out.push(if will.expiry_s.is_some() { 2 } else { 1 });
                out.extend_from_slice(&will.delay_s.to_be_bytes());
                out.extend_from_slice(&will.expiry_s.unwrap_or(0).to_be_bytes());
                put_count(&mut out, will.publication.encoded_len());
                will.publication.encode(&mut out);
            }
        }
        put_count(&mut out, self.subscriptions.len());
        for s in &self.subscriptions {
            let flags =
                s.qos.bits() | u8::from(s.no_local) << 2 | u8::from(s.retain_as_published) << 3;
            out.push(flags);
            out.extend_from_slice(&s.id.unwrap_or(0).to_be_bytes());
            put_count(&mut out, s.filter.len());
            out.extend_from_slice(s.filter.as_bytes());
        }
        put_count(&mut out, self.inflight.len());
        for (id, position, released) in &self.inflight {
            out.extend_from_slice(&id.get().to_be_bytes());
            out.extend_from_slice(&position.0.to_be_bytes());
            out.push(u8::from(*released));
        }
        put_ids(&mut out, &self.inbound);
        if !self.owed.is_empty() {
            put_count(&mut out, self.owed.len());
            for owed in &self.owed {
                out.extend_from_slice(&owed.subscription.to_be_bytes());
                put_count(&mut out, owed.after.len());
                out.extend_from_slice(owed.after.as_bytes());
            }
        }
        if let Some(shown) = &self.shown {
            out.extend_from_slice(&shown.since.0.to_be_bytes());
            out.extend_from_slice(&shown.gap.0.to_be_bytes());
            put_ids(&mut out, &shown.twice);
        }
        out.into()
    }

    /// Whether a stored form is of a session whose client is shown positions.
    pub fn is_shown(stored: &[u8]) -> bool {
        stored.get(8) == Some(&FORM) && stored.get(9).is_some_and(|flags| flags & SHOWN != 0)
    }

    /// Reads the stored form; `None` if it is damaged or of a newer version.
    pub fn decode(stored: &Bytes) -> Option<Self> {
        let mut at = Reader { rest: stored };
        let epoch = SessionEpoch(at.u64()?);
        let form = at.u8()?;
        let flags = at.u8()?;
        let holder = match form {
            FORM | FORM_3 | FORM_2 => Holder(at.take()?),
            FORM_1 => Holder::NOBODY,
            _ => return None,
        };
        let queue = if form == FORM { at.limits()? } else { None };
        let mut record = Self::new(SessionNo(at.u32()?), epoch, at.u32()?);
        record.holder = holder;
        record.queue = queue;
        record.orphaned = flags & 1 != 0;
        record.will_parked = flags & 2 != 0;
        record.grouped = flags & GROUPED != 0;
        record.detached_at = Some(Wall(at.u64()?)).filter(|w| w.0 != 0);
        record.acknowledged = Position(at.u64()?);
        record.sent = Position(at.u64()?);
        let name_len = at.u8()?;
        if name_len > 0 {
            let gateway = GatewayId::new(at.text(usize::from(name_len))?).ok()?;
            record.owner = Some(Owner { gateway, incarnation: Incarnation(at.u64()?) });
        }
        record.hangs = flags & HANGS != 0 && record.owner.is_some();
        record.will = at.will(stored)?;
        for _ in 0..at.u32()? {
            record.subscriptions.push(at.subscription()?);
        }
        for _ in 0..at.u32()? {
            record.inflight.push((PacketId::new(at.u16()?)?, Position(at.u64()?), at.u8()? != 0));
        }
        record.inbound = at.ids()?;
        if form == FORM_3 || flags & 4 != 0 {
            for _ in 0..at.u32()? {
                let subscription = at.u32()?;
                let len = at.u32()? as usize;
                record.owed.push(StoredOwed { subscription, after: at.text(len)?.into() });
            }
        }
        if flags & SHOWN != 0 {
            let (since, gap) = (SessionEpoch(at.u64()?), Position(at.u64()?));
            record.shown = Some(Shown { since, gap, twice: at.ids()? });
        }
        at.rest.is_empty().then_some(record)
    }
}

/// One byte that says what comes: 0 is none, else the policy and 1.
fn put_limits(out: &mut Vec<u8>, limits: Option<QueueLimits>) {
    let Some(QueueLimits { messages, bytes, when_full }) = limits else { return out.push(0) };
    out.push(1 + when_full as u8);
    out.extend_from_slice(&messages.to_be_bytes());
    out.extend_from_slice(&bytes.to_be_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    // Gateway ids have 1 to 64 bytes.
    out.push(u8::try_from(text.len()).unwrap_or(0));
    out.extend_from_slice(text.as_bytes());
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes());
}

fn put_ids(out: &mut Vec<u8>, ids: &[PacketId]) {
    put_count(out, ids.len());
    ids.iter().for_each(|id| out.extend_from_slice(&id.get().to_be_bytes()));
}

/// Reads from the front; `None` at the end.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*head)
    }

    fn slice(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(head)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    fn ids(&mut self) -> Option<Vec<PacketId>> {
        let count = self.u32()?;
        (0..count).map(|_| PacketId::new(self.u16()?)).collect()
    }

    fn text(&mut self, len: usize) -> Option<&'a str> {
        std::str::from_utf8(self.slice(len)?).ok()
    }

    /// The outer option is about damage, the inner about there being limits.
    #[expect(clippy::option_option, reason = "damage and absence are different answers")]
    fn limits(&mut self) -> Option<Option<QueueLimits>> {
        let Some(when_full) = self.u8()?.checked_sub(1) else { return Some(None) };
        let when_full = WhenFull::from_number(when_full)?;
        Some(Some(QueueLimits { messages: self.u32()?, bytes: self.u64()?, when_full }))
    }

    /// The outer option is about damage, the inner about there being a will.
    #[expect(clippy::option_option, reason = "damage and absence are different answers")]
    fn will(&mut self, stored: &Bytes) -> Option<Option<StoredWill>> {
        let kind = self.u8()?;
        if kind == 0 {
            return Some(None);
        }
        let (delay_s, expiry_s) = (self.u32()?, self.u32()?);
        let len = self.u32()? as usize;
        let publication = Publication::decode(&stored.slice_ref(self.slice(len)?))?;
        let expiry_s = (kind == 2).then_some(expiry_s);
        Some(Some(StoredWill { publication, delay_s, expiry_s }))
    }

    fn subscription(&mut self) -> Option<StoredSubscription> {
        let flags = self.u8()?;
        let id = Some(self.u32()?).filter(|id| *id != 0);
        let len = self.u32()? as usize;
        Some(StoredSubscription {
            filter: self.text(len)?.into(),
            qos: QoS::from_bits(flags & 3)?,
            no_local: flags & 4 != 0,
            retain_as_published: flags & 8 != 0,
            id,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_and_a_cut_one_does_not() {
        let mut record = SessionRecord::new(SessionNo(9), SessionEpoch(4), 3600);
        record.holder = Holder([7; 16]);
        let when_full = WhenFull::DropOldest;
        record.queue = Some(QueueLimits { messages: 5, bytes: 1 << 40, when_full });
        record.owner =
            Some(Owner { gateway: GatewayId::new("gw-1").unwrap(), incarnation: Incarnation(5) });
        record.detached_at = Some(Wall(123));
        record.orphaned = true;
        record.will_parked = true;
        record.grouped = true;
        record.hangs = true;
        record.acknowledged = Position(77);
        record.sent = Position(81);
        record.will = Some(StoredWill {
            publication: Publication::new("w", &[], b"gone", QoS::AtLeastOnce, true),
            delay_s: 3,
            expiry_s: None,
        });
        record.subscriptions.push(StoredSubscription {
            filter: "$share/g/a/+".into(),
            qos: QoS::ExactlyOnce,
            no_local: false,
            retain_as_published: true,
            id: Some(268_435_455),
        });
        record.inflight.push((PacketId::new(3).unwrap(), Position(80), true));
        record.inbound.push(PacketId::new(9).unwrap());
        let owed = StoredOwed { subscription: 0, after: "a/b".into() };
        let twice = vec![PacketId::new(3).unwrap()];
        let shown = Shown { since: SessionEpoch(3), gap: Position(7), twice };
        for (owed, shown) in
            [(None, None), (Some(&owed), None), (None, Some(&shown)), (Some(&owed), Some(&shown))]
        {
            record.owed = owed.cloned().into_iter().collect();
            record.shown = shown.cloned();
            let stored = record.encode();
            assert_eq!(SessionRecord::decode(&stored).as_ref(), Some(&record));
            assert_eq!(SessionRecord::is_shown(&stored), record.shown.is_some());
            assert_eq!(stored[..8], SessionRecord::fence(SessionEpoch(4)));
            for cut in 0..stored.len() {
                assert_eq!(SessionRecord::decode(&stored.slice(..cut)), None, "cut at {cut}");
            }
        }
    }

    #[test]
    fn a_session_that_nobody_serves_does_not_hang() {
        let mut record = SessionRecord::new(SessionNo(9), SessionEpoch(4), 3600);
        record.hangs = true;
        assert!(!SessionRecord::decode(&record.encode()).unwrap().hangs);
    }

    #[test]
    fn a_record_from_before_sessions_had_holders_is_nobodys() {
        let record = SessionRecord::new(SessionNo(9), SessionEpoch(4), 3600);
        let stored = record.encode();
        let (head, rest) = (&stored[..8], &stored[27..]);
        let former: Bytes = [head, &[FORM_1, 0], rest].concat().into();
        assert_eq!(SessionRecord::decode(&former), Some(record));
    }

    #[test]
    fn a_record_from_before_sessions_had_limits_has_none() {
        let mut record = SessionRecord::new(SessionNo(9), SessionEpoch(4), 3600);
        record.holder = Holder([7; 16]);
        let stored = record.encode();
        let (head, rest) = (&stored[..26], &stored[27..]);
        let mut former = [head, rest].concat();
        former[8] = FORM_2;
        assert_eq!(SessionRecord::decode(&former.into()), Some(record));
    }
}
