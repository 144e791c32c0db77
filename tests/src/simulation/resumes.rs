//! S5: a client that shows a position gets exactly what follows, or is told that it does not.
//!
//! 1. On one connection positions only grow: nothing comes twice, nothing out of order, and nothing that does not lie behind
//!    the position that the client showed, unless it is told `refused`.
//! 2. After `exact`, and behind the first message after `truncated`, no message is left out that the store took for this
//!    session; what may expire is owed to nobody, nor, after `truncated`, what had no room in a short queue.
//! 3. A position of the session is never `refused`; one of a session that ended is, since a connect with Clean Start may be on its
//!    way for longer than later ones. It may be `truncated`, which is no gap that nobody is told of; the tests
//!    see to it that most are not.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use protocol::session::SessionRecord;
use store::{Outcome, Space, Write};

use super::agenda::Moment;
use super::journal::Journal;
use super::network::WireId;
use super::truth::{Truth, message_of};

/// Sessions that are shown positions, and what was stored for them.
#[derive(Debug)]
pub(super) struct Resumes {
    /// The number of each session, by client id.
    numbers: BTreeMap<String, u32>,
    /// What was stored for each: where, and whether it may expire.
    stored: BTreeMap<u32, BTreeMap<u64, bool>>,
    /// Connections on which positions are shown.
    shows: BTreeMap<WireId, Shows>,
    /// Of which session each position is.
    shown: BTreeMap<String, u32>,
    /// Clients that got exactly what followed.
    pub(super) exact: u64,
}

/// How far a connection is.
#[derive(Debug)]
struct Shows {
    session: u32,
    /// The last position.
    last: u64,
    /// Whether all that is behind it is owed, and whether all will be that is behind the next one.
    whole: bool,
    becomes_whole: bool,
}

impl Resumes {
    pub(super) const fn new() -> Self {
        Self {
            numbers: BTreeMap::new(),
            stored: BTreeMap::new(),
            shows: BTreeMap::new(),
            shown: BTreeMap::new(),
            exact: 0,
        }
    }

    /// The store took a write.
    pub(super) fn stored(
        &mut self,
        write: &Write,
        outcome: &Outcome,
        (now, journal): (Moment, &mut Journal),
    ) {
        let Outcome::Done { first, .. } = outcome else { return };
        for put in write.puts.iter().filter(|put| put.space == Space::Session) {
            let record = put.value.as_ref().and_then(SessionRecord::decode);
            if let Some(record) = record.filter(|record| record.shown.is_some()) {
                let name = String::from_utf8_lossy(&put.key).into_owned();
                self.numbers.insert(name, record.no.0);
                self.stored.entry(record.no.0).or_default();
            }
        }
        for (at, append) in (first.0..).zip(&write.appends) {
            for (session, _) in append.refs.iter() {
                if let Some(stored) = self.stored.get_mut(&session.0) {
                    stored.insert(at, append.body.expires_at.is_some());
                    let number = message_of(&append.body);
                    journal
                        .note(now, format_args!("m{number} stands at {at} for session {session}"));
                }
            }
        }
    }
}

impl Resumes {
    /// Whether a position was shown for a session that is not this one.
    fn is_of_another(&self, position: &str, session: u32) -> bool {
        self.shown.get(position).is_some_and(|of| *of != session)
    }
}

/// The number in a position; the rest of it seals it.
fn place_of(position: &str) -> Option<u64> {
    let bytes = URL_SAFE_NO_PAD.decode(position).ok()?;
    Some(u64::from_be_bytes(*bytes.first_chunk()?))
}

impl Truth {
    /// A device came back to its session, showed a position of it or none, and was answered.
    pub(super) fn resumed(&mut self, (name, wire): (&str, WireId), shown: &str, verdict: &str) {
        let Some(session) = self.resumes.numbers.get(name).copied() else { return };
        let at = place_of(shown);
        let last = at.filter(|_| verdict != "refused").unwrap_or_default();
        // What was sent at QoS 0 before counts as acknowledged, for whoever shows nothing.
        let (whole, becomes_whole) = match (verdict, at) {
            ("exact", Some(_)) => (true, true),
            ("truncated", Some(_)) => (false, self.full.is_none()),
            ("start", None) => (false, false),
            ("refused", Some(_)) if self.resumes.is_of_another(shown, session) => (false, false),
            _ => {
                let what = format!("{name} showed {shown:?} and was told {verdict:?}");
                return self.breach("S5", what);
            }
        };
        self.resumes.exact += u64::from(whole);
        self.resumes.shows.insert(wire, Shows { session, last, whole, becomes_whole });
    }

    /// A device was shown a position, with a message or without one.
    pub(super) fn shown(&mut self, (name, wire): (&str, WireId), position: &str) {
        let Some(at) = place_of(position) else {
            return self.breach("S5", format!("{name} was shown {position:?}"));
        };
        let Some(shows) = self.resumes.shows.get_mut(&wire) else { return };
        self.resumes.shown.insert(position.to_owned(), shows.session);
        let last = std::mem::replace(&mut shows.last, at);
        let whole = std::mem::replace(&mut shows.whole, shows.becomes_whole);
        if at <= last {
            return self.breach("S5", format!("{name} is shown {at} after {last}"));
        }
        let stored = self.resumes.stored.get(&shows.session);
        let mut between = stored.into_iter().flat_map(|stored| stored.range(last + 1..at));
        if let Some((missing, _)) = between.find(|(_, expires)| whole && !**expires) {
            let what = format!("{name} is shown {at} after {last}, and {missing} was left out");
            self.breach("S5", what);
        }
    }
}
