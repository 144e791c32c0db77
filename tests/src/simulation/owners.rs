//! S1: a client id has one owner in the fleet.
//!
//! 1. No two owners of a client id ever have the same epoch, nor has nobody one that an owner had before; and while its
//!    document stands, a session's epoch only grows. (Once the document is deleted it may begin lower.)
//! 2. Once CONNACK was written for a newer connection of a client, no PUBLISH and no acknowledgement (S4) is written for an
//!    older one. Where the old
//!    owner could not be asked in time (there was trouble in the two seconds before), it must have
//!    stopped within [`GRACE_US`]: it learns of its loss from the store. Who comes after the first that could not ask it asks
//!    that one. What it had taken when it gave the session up itself it may still acknowledge until it hears of its own commit.

use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::SessionNo;
use protocol::session::SessionRecord;
use store::{Doc, Expect, Put, Space, Write};

use super::agenda::{Moment, Place};
use super::journal::Journal;
use super::network::WireId;

/// Who owns what.
#[derive(Debug)]
pub(super) struct Owners {
    newest: BTreeMap<usize, Newest>,
    /// When others got the session of a connection, and whether its gateway may not have known.
    superseded: BTreeMap<WireId, (Moment, bool)>,
    epochs: BTreeMap<Vec<u8>, Epoch>,
    /// The number of the session of each client that has one.
    numbers: BTreeMap<Bytes, SessionNo>,
}

#[derive(Debug)]
struct Newest {
    wire: WireId,
    place: Place,
}

/// A session's ownership as it was stored last.
#[derive(Debug, Default)]
struct Epoch {
    number: u64,
    owner: Option<(String, u64)>,
    gone: bool,
    /// Every epoch in which it was owned, and by whom: some may still think that they own it.
    owners: BTreeMap<u64, (String, u64)>,
}

impl Epoch {
    /// What is stored next.
    fn moves(&mut self, number: u64, owner: Option<&(String, u64)>) -> Result<(), String> {
        let before = self.number;
        if !self.gone && number < before {
            return Err(format!("epoch {before} goes back to {number}"));
        }
        let known = self.owners.get(&number);
        match owner {
            Some(owner) if known.is_some_and(|known| known != owner) => {
                return Err(format!("epoch {number} has a second owner"));
            }
            Some(owner) => drop(self.owners.insert(number, owner.clone())),
            None if known.is_some() && (self.gone || number != before) => {
                return Err(format!("epoch {number} again, which an owner may hold"));
            }
            None => {}
        }
        (self.number, self.owner, self.gone) = (number, owner.cloned(), false);
        Ok(())
    }
}

/// How long a gateway may not have heard of its own commit, in microseconds: the longest that a store takes.
pub(super) const ANSWER_US: u64 = 1_000_000;

/// How long an owner that cannot be asked may be wrong, in microseconds: a lease and two seconds.
const GRACE_US: u64 = 5_000_000;

impl Owners {
    pub(super) const fn new() -> Self {
        Self {
            newest: BTreeMap::new(),
            superseded: BTreeMap::new(),
            epochs: BTreeMap::new(),
            numbers: BTreeMap::new(),
        }
    }

    /// The clients whose sessions a write replaces by new ones.
    pub(super) fn begun(&mut self, write: &Write) -> Vec<Bytes> {
        let sessions = write.puts.iter().filter(|put| put.space == Space::Session);
        let begun = sessions.filter_map(|put| {
            let number = SessionRecord::decode(put.value.as_ref()?)?.no;
            let before = self.numbers.insert(put.key.clone(), number)?;
            (before != number).then(|| put.key.clone())
        });
        begun.collect()
    }

    /// CONNACK was written.
    pub(super) fn attached(
        &mut self,
        device: usize,
        wire: WireId,
        (place, now): (Place, Moment),
        contested: bool,
    ) {
        let gateway = format!("gw-{}", place.site + 1);
        let stored = self.epochs.get(format!("d{device}").as_bytes());
        let owner = stored.and_then(|epoch| epoch.owner.as_ref());
        if owner.is_some_and(|(owner, _)| *owner != gateway) {
            // It lost the session before it could say that it has it.
            return;
        }
        let before = self.newest.insert(device, Newest { wire, place });
        if let Some(before) = before.filter(|before| before.wire != wire) {
            self.superseded.entry(before.wire).or_insert((now, contested));
        }
    }

    /// PUBLISH, or the answer to one, was written.
    pub(super) fn serves(
        &self,
        (device, name): (usize, &str),
        wire: WireId,
        (place, does): (Place, &str),
        (now, awake): (Moment, Moment),
    ) -> Result<(), String> {
        let Some(newest) = self.newest.get(&device).filter(|newest| newest.wire != wire) else {
            return Ok(());
        };
        let Some((since, contested)) = self.superseded.get(&wire).copied() else { return Ok(()) };
        // Who was frozen learns of it once it runs again.
        let late = now.since(since.max(awake));
        if late <= GRACE_US && contested {
            return Ok(());
        }
        Err(format!(
            "gw-{} {does} to {name} on wire {}, {late} us after it lost it, and gw-{} let it in on wire {}",
            place.site + 1,
            wire.0,
            newest.place.site + 1,
            newest.wire.0
        ))
    }

    /// What a gateway's last commit did before the gateway could tell anybody, found by what stands in the store.
    pub(super) fn unseen(&self, stands: &[(Bytes, Doc)]) -> Write {
        let mut write = Write::default();
        let put = |key: &[u8], value| Put {
            space: Space::Session,
            key: Bytes::copy_from_slice(key),
            value,
            expect: Expect::Any,
            announce: false,
        };
        for (key, _) in self.epochs.iter().filter(|(_, known)| !known.gone) {
            if !stands.iter().any(|(k, _)| k[..] == key[..]) {
                write.puts.push(put(key, None));
            }
        }
        for (key, doc) in stands {
            let known = self.epochs.get(&key[..]);
            let same =
                |known: &Epoch| ownership(&doc.value) == Some((known.number, known.owner.clone()));
            if !known.is_some_and(same) {
                write.puts.push(put(key, Some(doc.value.clone())));
            }
        }
        write
    }

    /// The store took a write.
    pub(super) fn stored(
        &mut self,
        place: Place,
        write: &Write,
        now: Moment,
        journal: &mut Journal,
    ) -> Result<(), String> {
        for put in write.puts.iter().filter(|put| put.space == Space::Session) {
            let name = String::from_utf8_lossy(&put.key).into_owned();
            let site = place.site + 1;
            let known = self.epochs.entry(put.key.to_vec()).or_default();
            let Some(value) = &put.value else {
                journal.note(now, format_args!("gw-{site} deletes the session of {name}"));
                (known.owner, known.gone) = (None, true);
                continue;
            };
            let Some((number, owner)) = ownership(value) else {
                return Err(format!("the record of {name} cannot be read"));
            };
            if known.number != number || known.owner != owner {
                journal.note(
                    now,
                    format_args!("gw-{site} stores {name} at epoch {number}, owner {owner:?}"),
                );
            }
            known.moves(number, owner.as_ref()).map_err(|what| format!("{name}: {what}"))?;
        }
        Ok(())
    }
}

/// The clients whose sessions a write gives to nobody.
pub(super) fn given_up(write: &Write) -> impl Iterator<Item = &Bytes> {
    let owned = |put: &Put| put.value.as_ref().and_then(ownership).is_some_and(|it| it.1.is_some());
    let puts = write.puts.iter().filter(|put| put.space == Space::Session);
    puts.filter(move |put| !owned(put)).map(|put| &put.key)
}

/// The epoch of a stored session, and its owner: the gateway and its life.
fn ownership(stored: &Bytes) -> Option<(u64, Option<(String, u64)>)> {
    let record = SessionRecord::decode(stored)?;
    let owner = record.owner.map(|o| (o.gateway.as_str().to_owned(), o.incarnation.0));
    Some((record.epoch.0, owner))
}
