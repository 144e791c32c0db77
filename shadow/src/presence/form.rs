//! A presence record as it is stored. Its first eight bytes are its revision, the fence.

use protocol::{GatewayId, Incarnation, Wall, put_varint, take_varint};

use super::past::Past;
use super::record::{Moves, Whereabouts};
use super::{Arrival, DisconnectReason, Presence, Sent};
use crate::packed::{put_len, put_text, take_text};

/// The form's version, after the fence, of a client that no drain moved.
pub(super) const FORM: u8 = 3;
/// The same of one that drains moved, with what is known of that.
const FORM_MOVED: u8 = 4;
/// The versions before these two, which are only read: connections have their whole names wherever they stand.
const LONG_FORM: u8 = 1;
const LONG_FORM_MOVED: u8 = 2;
pub(super) const AWAY: u8 = 0;
pub(super) const ONLINE: u8 = 1;
const MOVING: u8 = 2;

impl Presence {
    /// The first bytes of its stored form, and of no other one that it had.
    pub const fn fence(&self) -> [u8; 8] {
        self.revision.to_be_bytes()
    }

    /// The stored form; [`Self::decode`] reads it back.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(192 + self.past.len_bytes());
        out.extend_from_slice(&self.fence());
        let moved = self.moves != Moves::default() || self.sent().is_some();
        out.push(if moved { FORM_MOVED } else { FORM });
        if moved {
            put_varint(&mut out, self.moves.since.0);
            put_varint(&mut out, u64::from(self.moves.count));
        }
        // 0 is none, so that there is one form of every number.
        put_varint(&mut out, self.version.map_or(0, |version| version.saturating_add(1)));
        put_text(&mut out, &self.told);
        match &self.now {
            Whereabouts::Away => out.push(AWAY),
            Whereabouts::Online(arrival) => {
                out.push(ONLINE);
                put_arrival(&mut out, arrival, &self.told);
            }
            Whereabouts::Moving { was, until, why, plan, sent } => {
                out.push(MOVING);
                put_arrival(&mut out, was, &self.told);
                put_varint(&mut out, until.0);
                put_varint(&mut out, why.number());
                put_text(&mut out, plan);
                if moved {
                    put_sent(&mut out, sent.as_ref());
                }
            }
        }
        self.past.put(&mut out);
        out
    }

    /// Reads a stored form; `None` if it is damaged.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        Self::read(bytes, Past::take)
    }

    /// Reads what [`Self::encode`] has made in this process: nobody can have damaged it, so its past is taken as it is.
    pub fn decode_own(bytes: &[u8]) -> Option<Self> {
        Self::read(bytes, Past::take_own)
    }

    fn read(bytes: &[u8], take_past: fn(&mut &[u8]) -> Option<Past>) -> Option<Self> {
        let (revision, rest) = bytes.split_first_chunk::<8>()?;
        let (form, mut rest) = rest.split_first()?;
        let (moved, is_long) = match *form {
            FORM => (false, false),
            FORM_MOVED => (true, false),
            LONG_FORM => (false, true),
            LONG_FORM_MOVED => (true, true),
            _ => return None,
        };
        let rest = &mut rest;
        let moves = if moved { take_moves(rest)? } else { Moves::default() };
        let version = take_varint(rest)?.checked_sub(1);
        let told = take_text(rest)?;
        let take_arrival = |rest: &mut &[u8]| {
            let session = if is_long { take_text(rest)?.into() } else { take_session(rest, told)? };
            take_arrival(rest, session)
        };
        let now = match take_byte(rest)? {
            AWAY => Whereabouts::Away,
            ONLINE => Whereabouts::Online(take_arrival(rest)?),
            MOVING => Whereabouts::Moving {
                was: take_arrival(rest)?,
                until: Wall(take_varint(rest)?),
                why: DisconnectReason::numbered(take_varint(rest)?)?,
                plan: take_text(rest)?.into(),
                sent: if moved { take_sent(rest)? } else { None },
            },
            _ => return None,
        };
        let past = if is_long { Past::take_long(rest)? } else { take_past(rest)? };
        let (revision, told) = (u64::from_be_bytes(*revision), told.into());
        let read = Self { revision, version, told, now, moves, past };
        // What nothing is known of has the other form.
        let tells = read.moves != Moves::default() || read.sent().is_some();
        (rest.is_empty() && tells == moved).then_some(read)
    }
}

/// Appends a connection; `told` is what events call it, which mostly is its session.
pub(super) fn put_arrival(out: &mut Vec<u8>, arrival: &Arrival, told: &str) {
    if *arrival.session == *told {
        out.push(0);
    } else {
        // 0 is that one, so that there is one form of every length.
        put_len(out, arrival.session.len().saturating_add(1));
        out.extend_from_slice(arrival.session.as_bytes());
    }
    put_varint(out, arrival.since.0);
    put_text(out, arrival.gateway.as_str());
    put_varint(out, arrival.incarnation.0);
    put_text(out, &arrival.principal);
    put_text(out, &arrival.address);
    // No thing has an empty name.
    put_text(out, arrival.thing.as_deref().unwrap_or(""));
    out.push(u8::from(arrival.clean));
    put_varint(out, u64::from(arrival.keep_alive_s));
    put_varint(out, u64::from(arrival.expiry_s));
}

/// Takes the session of a connection that events call `told`.
fn take_session(rest: &mut &[u8], told: &str) -> Option<Box<str>> {
    let Some(len) = usize::try_from(take_varint(rest)?).ok()?.checked_sub(1) else {
        return Some(told.into());
    };
    let (session, after) = rest.split_at_checked(len)?;
    *rest = after;
    // There is one form of every record.
    std::str::from_utf8(session).ok().filter(|session| *session != told).map(Into::into)
}

/// Passes a session that is not looked at.
pub(super) fn skip_session(rest: &mut &[u8]) -> Option<()> {
    let len = usize::try_from(take_varint(rest)?).ok()?.saturating_sub(1);
    *rest = rest.get(len..)?;
    Some(())
}

fn take_arrival(rest: &mut &[u8], session: Box<str>) -> Option<Arrival> {
    Some(Arrival {
        session,
        since: Wall(take_varint(rest)?),
        gateway: GatewayId::new(take_text(rest)?).ok()?,
        incarnation: Incarnation(take_varint(rest)?),
        principal: take_text(rest)?.into(),
        address: take_text(rest)?.into(),
        thing: Some(take_text(rest)?).filter(|thing| !thing.is_empty()).map(Into::into),
        clean: match take_byte(rest)? {
            0 => false,
            1 => true,
            _ => return None,
        },
        keep_alive_s: take_varint(rest)?.try_into().ok()?,
        expiry_s: take_varint(rest)?.try_into().ok()?,
    })
}

fn take_moves(rest: &mut &[u8]) -> Option<Moves> {
    Some(Moves { since: Wall(take_varint(rest)?), count: take_varint(rest)?.try_into().ok()? })
}

/// The level of the protocol first; no client has 0.
fn put_sent(out: &mut Vec<u8>, sent: Option<&Sent>) {
    let Some(Sent { named, level, at_most_once_per_1000_s }) = sent else { return out.push(0) };
    out.push(*level);
    put_varint(out, u64::from(*at_most_once_per_1000_s));
    put_len(out, named.len());
    named.iter().for_each(|gateway| put_text(out, gateway.as_str()));
}

/// The outer is none of what is damaged.
#[expect(clippy::option_option, reason = "damaged and not sent are different answers")]
fn take_sent(rest: &mut &[u8]) -> Option<Option<Sent>> {
    let level = take_byte(rest)?;
    if level == 0 {
        return Some(None);
    }
    let at_most_once_per_1000_s = take_varint(rest)?.try_into().ok()?;
    let mut named = Vec::new();
    for _ in 0..take_varint(rest)? {
        named.push(GatewayId::new(take_text(rest)?).ok()?);
    }
    Some(Some(Sent { named, level, at_most_once_per_1000_s }))
}

fn take_byte(rest: &mut &[u8]) -> Option<u8> {
    let (byte, after) = rest.split_first()?;
    *rest = after;
    Some(*byte)
}
