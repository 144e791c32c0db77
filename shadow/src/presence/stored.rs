//! Comings and goings that are made in the stored form: of most clients nothing is to be told, and then nothing of their record has
//! to be unpacked. What is made is what unpacking, changing and packing would make, byte by byte.

use protocol::{Wall, put_varint, take_varint};

use super::form::{AWAY, FORM, ONLINE, put_arrival, skip_session};
use super::past::{self, Ended};
use super::{Arrival, DisconnectReason, Presence, PresenceLimits};
use crate::packed::{put_text, skip_text, take_text};

/// What stands of a client that has gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gone {
    /// Its record, as it is stored.
    pub record: Vec<u8>,
    /// Whether it is a thing that is known.
    pub is_thing: bool,
}

/// How a stored form begins, of a client that no drain moved.
struct Front<'a> {
    revision: u64,
    version: Option<u64>,
    told: &'a str,
}

impl<'a> Front<'a> {
    fn take(rest: &mut &'a [u8]) -> Option<Self> {
        let (revision, after) = rest.split_first_chunk::<8>()?;
        let (form, after) = after.split_first()?;
        *rest = after;
        let version = (*form == FORM).then(|| take_varint(rest))??.checked_sub(1);
        let told = take_text(rest)?;
        Some(Self { revision: u64::from_be_bytes(*revision), version, told })
    }

    /// Appends what it is after a change.
    fn put_changed(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.revision.saturating_add(1).to_be_bytes());
        out.push(FORM);
        put_varint(out, self.version.map_or(0, |version| version.saturating_add(1)));
        put_text(out, self.told);
    }
}

impl Presence {
    /// What [`Self::arrive`] makes of a record that was encoded in this process, as [`Self::encode`] has it. None if that takes more
    /// than this: its client is not away, or was moved by drains.
    pub fn arrive_stored(
        stands: &[u8],
        arrival: &Arrival,
        limits: &PresenceLimits,
    ) -> Option<Vec<u8>> {
        let mut rest = stands;
        let front = Front::take(&mut rest)?;
        let (AWAY, past) = rest.split_first().map(|(byte, past)| (*byte, past))? else {
            return None;
        };
        let away_since = past::latest(past)?;
        let version = limits.next_version(front.version, away_since, arrival.since);
        let front = Front { version: Some(version), told: &arrival.session, ..front };
        let mut out = Vec::with_capacity(192 + past.len());
        front.put_changed(&mut out);
        out.push(ONLINE);
        put_arrival(&mut out, arrival, front.told);
        out.extend_from_slice(past);
        Some(out)
    }

    /// What [`Self::leave`] makes of such a record, for the connection that is in it. None if its client is not there, or was moved
    /// by drains.
    pub fn leave_stored(stands: &[u8], reason: DisconnectReason, now: Wall) -> Option<Gone> {
        let mut rest = stands;
        let front = Front::take(&mut rest)?;
        let (ONLINE, after) = rest.split_first().map(|(byte, after)| (*byte, after))? else {
            return None;
        };
        rest = after;
        skip_session(&mut rest)?;
        let since = Wall(take_varint(&mut rest)?);
        let gateway = take_text(&mut rest)?;
        take_varint(&mut rest)?;
        skip_text(&mut rest)?;
        skip_text(&mut rest)?;
        let is_thing = !take_text(&mut rest)?.is_empty();
        // Whether it began clean; then the two times.
        rest = rest.get(1..)?;
        take_varint(&mut rest)?;
        take_varint(&mut rest)?;
        let mut out = Vec::with_capacity(32 + past::ROOM + front.told.len() + rest.len());
        front.put_changed(&mut out);
        out.push(AWAY);
        let last = Ended::new(front.told, (since, now), reason, gateway);
        past::put_after(&mut out, last, rest)?;
        Some(Gone { record: out, is_thing })
    }
}
