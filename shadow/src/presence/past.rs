//! How the last connections of a client ended. Kept as it is stored, since most who change a record do not read it.

use protocol::{GatewayId, Wall, put_varint, take_varint};

use super::form::{put_reason, take_reason};
use super::{Departure, DisconnectReason, MAX_DEPARTURES};
use crate::packed::{put_len, put_text, skip_text, take_text};

/// At most [`MAX_DEPARTURES`] departures, the latest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Past {
    count: usize,
    packed: Vec<u8>,
}

impl Past {
    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = Departure> + '_ {
        let mut rest = self.packed.as_slice();
        // What was checked when it was taken is whole.
        std::iter::from_fn(move || Raw::take(&mut rest)?.departure())
    }

    /// One more has ended; the oldest beyond the limit is forgotten.
    pub(super) fn push(&mut self, last: &Departure) {
        let kept = self.count.min(MAX_DEPARTURES - 1);
        let all = self.packed.as_slice();
        // None is missing.
        let cut = (self.count > kept).then(|| skip_departures(all, kept)).flatten();
        let before = cut.map_or(all, |(before, _)| before).len();
        let mut packed = Vec::with_capacity(before + 96);
        let Departure { session, since, at, reason, gateway } = last;
        put_departure(&mut packed, session, (*since, *at), *reason, gateway.as_str());
        packed.extend_from_slice(self.packed.get(..before).unwrap_or_default());
        (self.count, self.packed) = (kept + 1, packed);
    }

    /// Appends the stored form.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        put_len(out, self.count);
        out.extend_from_slice(&self.packed);
    }

    /// Bytes of the stored form, about.
    pub(super) const fn len_bytes(&self) -> usize {
        self.packed.len() + 1
    }

    /// Takes a stored form that nobody can have damaged, with all that is left.
    pub(super) fn take_own(rest: &mut &[u8]) -> Option<Self> {
        let count = usize::try_from(take_varint(rest)?).ok()?;
        Some(Self { count, packed: std::mem::take(rest).to_vec() })
    }

    /// Takes the stored form off the front; `None` if it is damaged.
    pub(super) fn take(rest: &mut &[u8]) -> Option<Self> {
        let count = usize::try_from(take_varint(rest)?).ok()?;
        if count > MAX_DEPARTURES {
            return None;
        }
        let all = *rest;
        for _ in 0..count {
            Raw::take(rest)?;
        }
        let packed = all.get(..all.len() - rest.len())?.to_vec();
        Some(Self { count, packed })
    }
}

/// Appends a departure as it is stored.
pub(super) fn put_departure(
    out: &mut Vec<u8>,
    session: &str,
    (since, at): (Wall, Wall),
    reason: DisconnectReason,
    gateway: &str,
) {
    put_text(out, session);
    put_varint(out, since.0);
    put_varint(out, at.0);
    put_reason(out, reason);
    put_text(out, gateway);
}

/// The first so many stored departures, which nobody can have damaged, and the others; `None` if there are fewer.
pub(super) fn skip_departures(packed: &[u8], count: usize) -> Option<(&[u8], &[u8])> {
    let mut rest = packed;
    for _ in 0..count {
        skip_text(&mut rest)?;
        take_varint(&mut rest)?;
        take_varint(&mut rest)?;
        take_varint(&mut rest)?;
        skip_text(&mut rest)?;
    }
    packed.split_at_checked(packed.len() - rest.len())
}

/// A departure as it is stored.
struct Raw<'a> {
    session: &'a str,
    since: Wall,
    at: Wall,
    reason: DisconnectReason,
    gateway: &'a str,
}

impl<'a> Raw<'a> {
    fn take(rest: &mut &'a [u8]) -> Option<Self> {
        let session = take_text(rest)?;
        let (since, at) = (Wall(take_varint(rest)?), Wall(take_varint(rest)?));
        let reason = take_reason(rest)?;
        let gateway = take_text(rest)?;
        GatewayId::check(gateway).ok()?;
        Some(Self { session, since, at, reason, gateway })
    }

    fn departure(&self) -> Option<Departure> {
        let Self { session, since, at, reason, gateway } = *self;
        Some(Departure {
            session: session.into(),
            since,
            at,
            reason,
            gateway: GatewayId::new(gateway).ok()?,
        })
    }
}
