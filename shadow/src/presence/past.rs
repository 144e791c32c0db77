//! How the last connections of a client ended. Kept as it is stored, since most who change a record do not read it.
//!
//! What most of them share stands once: how the texts that name the connections begin, and the gateway.
//!
//! ```text
//!  count │ shared: beginning, gateway │ departures, the latest first:
//!        │    (none if count is 0)    │   mark │ beginning, gateway │ ending  │ since │ for how long
//!                                              │   if not shared    │ if any  │       │  (at - since)
//! ```
//!
//! The shared ones are those of the latest. A mark is the reason, shifted by two, whether there is an ending (2), and whether
//! beginning and gateway are others (1). An ending is the last sixteen hexadecimal digits of a name, as eight bytes.

use protocol::{GatewayId, Wall, put_varint, take_varint};

use super::{Departure, DisconnectReason, MAX_DEPARTURES};
use crate::packed::{put_len, put_text, skip_text, take_text};

/// At most [`MAX_DEPARTURES`] departures, the latest first, as they are stored; nothing if there are none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Past(Vec<u8>);

impl Past {
    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = Departure> + '_ {
        let mut rest = self.0.as_slice();
        // What was checked when it was taken is whole.
        let whole = Shared::take_counted(&mut rest);
        whole.into_iter().flat_map(move |(count, shared)| {
            let mut rest = rest;
            (0..count).map_while(move |_| Ended::take(&mut rest, shared)?.departure())
        })
    }

    /// One more has ended; the oldest beyond the limit is forgotten.
    pub(super) fn push(&mut self, last: &Departure) {
        let Departure { session, since, at, reason, gateway } = last;
        let last = Ended::new(session, (*since, *at), *reason, gateway.as_str());
        let mut packed = Vec::with_capacity(self.0.len() + ROOM);
        // Nothing of it is missing.
        if put_after(&mut packed, last, self.stored()).is_some() {
            self.0 = packed;
        }
    }

    /// Appends the stored form.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.stored());
    }

    fn stored(&self) -> &[u8] {
        if self.0.is_empty() { &[0] } else { &self.0 }
    }

    /// Bytes of the stored form, about.
    pub(super) const fn len_bytes(&self) -> usize {
        self.0.len() + 1
    }

    /// Takes a stored form that nobody can have damaged, with all that is left.
    pub(super) fn take_own(rest: &mut &[u8]) -> Option<Self> {
        Some(Self::of(std::mem::take(rest)))
    }

    /// Takes the stored form off the front; `None` if it is damaged.
    pub(super) fn take(rest: &mut &[u8]) -> Option<Self> {
        let all = *rest;
        if let Some((count, shared)) = Shared::take_counted(rest) {
            if count > MAX_DEPARTURES {
                return None;
            }
            for nth in 0..count {
                let ended = Ended::take(rest, shared)?;
                GatewayId::check(ended.shared.gateway).ok()?;
                // The shared ones are those of the latest.
                if nth == 0 && ended.shared != shared {
                    return None;
                }
            }
        } else if take_varint(rest)? != 0 {
            return None;
        }
        Some(Self::of(all.get(..all.len() - rest.len())?))
    }

    /// Takes the form off the front that was stored before this one: every departure with the whole text of its connection and
    /// its gateway; `None` if it is damaged.
    pub(super) fn take_long(rest: &mut &[u8]) -> Option<Self> {
        let count = usize::try_from(take_varint(rest)?).ok()?;
        if count > MAX_DEPARTURES {
            return None;
        }
        let mut all = Vec::with_capacity(count);
        for _ in 0..count {
            let session = take_text(rest)?;
            let (since, at) = (Wall(take_varint(rest)?), Wall(take_varint(rest)?));
            let reason = DisconnectReason::numbered(take_varint(rest)?)?;
            let gateway = take_text(rest)?;
            GatewayId::check(gateway).ok()?;
            all.push(Ended::new(session, (since, at), reason, gateway));
        }
        let mut packed = Vec::new();
        if let Some(latest) = all.first() {
            put_head(&mut packed, count, latest.shared);
            all.iter().for_each(|ended| ended.put(&mut packed, latest.shared));
        }
        Some(Self(packed))
    }

    fn of(stored: &[u8]) -> Self {
        Self(if stored == [0] { Vec::new() } else { stored.to_vec() })
    }
}

/// Bytes that one more departure takes at most where nothing is unusual.
pub(super) const ROOM: usize = 64;

/// Appends the stored form of a past to which one more departure is added; the oldest beyond the limit is left out. `None` if
/// what stands is cut.
pub(super) fn put_after(out: &mut Vec<u8>, last: Ended<'_>, mut stands: &[u8]) -> Option<()> {
    let Some((count, shared)) = Shared::take_counted(&mut stands) else {
        put_head(out, 1, last.shared);
        last.put(out, last.shared);
        return Some(());
    };
    let kept = count.min(MAX_DEPARTURES - 1);
    put_head(out, kept + 1, last.shared);
    last.put(out, last.shared);
    if shared == last.shared {
        let mut rest = stands;
        for _ in 0..kept {
            Ended::skip(&mut rest)?;
        }
        out.extend_from_slice(stands.get(..stands.len() - rest.len())?);
    } else {
        for _ in 0..kept {
            Ended::take(&mut stands, shared)?.put(out, last.shared);
        }
    }
    Some(())
}

/// When the latest departure was, if there is any; the outer is none of what is damaged.
#[expect(clippy::option_option, reason = "damaged and never gone are different answers")]
pub(super) fn latest(mut past: &[u8]) -> Option<Option<Wall>> {
    match Shared::take_counted(&mut past) {
        Some((_, shared)) => Ended::take(&mut past, shared).map(|ended| Some(ended.at)),
        None => (take_varint(&mut past)? == 0).then_some(None),
    }
}

fn put_head(out: &mut Vec<u8>, count: usize, shared: Shared<'_>) {
    put_len(out, count);
    put_text(out, shared.beginning);
    put_text(out, shared.gateway);
}

/// What the departures of a client mostly have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shared<'a> {
    /// How the texts of its connections begin: with what names the client.
    beginning: &'a str,
    /// Where they were held.
    gateway: &'a str,
}

impl<'a> Shared<'a> {
    /// Takes how many departures there are, and what they share; `None`, with nothing taken, if there are none, or they are
    /// cut.
    fn take_counted(rest: &mut &'a [u8]) -> Option<(usize, Self)> {
        let mut after = *rest;
        let count = usize::try_from(take_varint(&mut after)?).ok().filter(|count| *count > 0)?;
        let shared = Self { beginning: take_text(&mut after)?, gateway: take_text(&mut after)? };
        *rest = after;
        Some((count, shared))
    }
}

/// A connection that ended, as it is stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended<'a> {
    shared: Shared<'a>,
    ending: Option<u64>,
    since: Wall,
    at: Wall,
    reason: DisconnectReason,
}

/// Bits of a mark.
const ELSEWHERE: u64 = 1;
const ENDING: u64 = 2;
const REASON_SHIFT: u32 = 2;

impl<'a> Ended<'a> {
    /// A departure of the connection that this text names.
    pub(super) fn new(
        session: &'a str,
        (since, at): (Wall, Wall),
        reason: DisconnectReason,
        gateway: &'a str,
    ) -> Self {
        let (beginning, ending) = split(session);
        Self { shared: Shared { beginning, gateway }, ending, since, at, reason }
    }

    fn put(&self, out: &mut Vec<u8>, shared: Shared<'_>) {
        let elsewhere = if self.shared == shared { 0 } else { ELSEWHERE };
        let ending = if self.ending.is_some() { ENDING } else { 0 };
        put_varint(out, self.reason.number() << REASON_SHIFT | ending | elsewhere);
        if elsewhere != 0 {
            put_text(out, self.shared.beginning);
            put_text(out, self.shared.gateway);
        }
        if let Some(ending) = self.ending {
            out.extend_from_slice(&ending.to_be_bytes());
        }
        put_varint(out, self.since.0);
        // Of two clocks the second may be behind.
        put_varint(out, self.at.0.wrapping_sub(self.since.0));
    }

    fn take(rest: &mut &'a [u8], shared: Shared<'a>) -> Option<Self> {
        let mark = take_varint(rest)?;
        let reason = DisconnectReason::numbered(mark >> REASON_SHIFT)?;
        // There is one form of every departure: what is shared stands once, and digits at the end are an ending.
        let shared = if mark & ELSEWHERE == 0 {
            shared
        } else {
            let others = Shared { beginning: take_text(rest)?, gateway: take_text(rest)? };
            (others != shared).then_some(others)?
        };
        let ending = if mark & ENDING == 0 {
            split(shared.beginning).1.is_none().then_some(None)?
        } else {
            let (digits, after) = rest.split_first_chunk::<8>()?;
            *rest = after;
            Some(u64::from_be_bytes(*digits))
        };
        let since = Wall(take_varint(rest)?);
        let at = Wall(since.0.wrapping_add(take_varint(rest)?));
        Some(Self { shared, ending, since, at, reason })
    }

    /// Passes one that is not looked at.
    fn skip(rest: &mut &[u8]) -> Option<()> {
        let mark = take_varint(rest)?;
        if mark & ELSEWHERE != 0 {
            skip_text(rest)?;
            skip_text(rest)?;
        }
        if mark & ENDING != 0 {
            *rest = rest.get(8..)?;
        }
        take_varint(rest)?;
        take_varint(rest)?;
        Some(())
    }

    fn departure(&self) -> Option<Departure> {
        let Self { shared: Shared { beginning, gateway }, ending, since, at, reason } = *self;
        let session = match ending {
            Some(ending) => format!("{beginning}{ending:016x}").into(),
            None => beginning.into(),
        };
        Some(Departure { session, since, at, reason, gateway: GatewayId::new(gateway).ok()? })
    }
}

/// A text, as what stands before its last sixteen hexadecimal digits, and the number that those are; none if they are others.
fn split(text: &str) -> (&str, Option<u64>) {
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let whole = (text, None);
    let Some((beginning, digits)) =
        text.len().checked_sub(16).and_then(|at| text.split_at_checked(at))
    else {
        return whole;
    };
    if !digits.as_bytes().iter().all(is_digit) {
        return whole;
    }
    u64::from_str_radix(digits, 16).map_or(whole, |ending| (beginning, Some(ending)))
}
