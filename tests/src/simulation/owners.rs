//! S1: a client id has one owner in the fleet.
//!
//! 1. In the store a session's epoch only grows, also when its document was deleted meanwhile, and within one epoch
//!    there is one owner.
//! 2. Once CONNACK was written for a newer connection of a client, no PUBLISH is written for an older one. Where the old
//!    owner could not be asked in time (there was trouble in the two seconds before), it must have
//!    stopped within [`GRACE_US`]: it learns of its loss from the store.

use std::collections::BTreeMap;

use protocol::session::SessionRecord;
use store::{Space, Write};

use super::agenda::{Moment, Place};
use super::journal::Journal;
use super::network::WireId;

/// Who owns what.
#[derive(Debug)]
pub(super) struct Owners {
    newest: BTreeMap<usize, Newest>,
    epochs: BTreeMap<Vec<u8>, Epoch>,
}

#[derive(Debug)]
struct Newest {
    wire: WireId,
    place: Place,
    since: Moment,
    /// The old owner may not know yet.
    contested: bool,
}

#[derive(Debug)]
struct Epoch {
    number: u64,
    owner: Option<(String, u64)>,
    gone: bool,
}

/// How long an owner that cannot be asked may be wrong, in microseconds: a lease and two seconds.
const GRACE_US: u64 = 5_000_000;

impl Owners {
    pub(super) const fn new() -> Self {
        Self { newest: BTreeMap::new(), epochs: BTreeMap::new() }
    }

    /// CONNACK was written.
    pub(super) fn attached(
        &mut self,
        device: usize,
        wire: WireId,
        (place, now): (Place, Moment),
        contested: bool,
    ) {
        self.newest.insert(device, Newest { wire, place, since: now, contested });
    }

    /// PUBLISH was written.
    pub(super) fn delivers(
        &self,
        device: usize,
        name: &str,
        wire: WireId,
        place: Place,
        now: Moment,
    ) -> Result<(), String> {
        let Some(newest) = self.newest.get(&device).filter(|newest| newest.wire != wire) else {
            return Ok(());
        };
        let grace = if newest.contested { GRACE_US } else { 0 };
        let late = now.since(newest.since);
        if late <= grace && newest.contested {
            return Ok(());
        }
        Err(format!(
            "gw-{} delivers to {name} on wire {} {late} us after gw-{} let it in on wire {}",
            place.site + 1,
            wire.0,
            newest.place.site + 1,
            newest.wire.0
        ))
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
            let known = self.epochs.get_mut(&put.key[..]);
            let name = String::from_utf8_lossy(&put.key).into_owned();
            let site = place.site + 1;
            let Some(value) = &put.value else {
                journal.note(now, format_args!("gw-{site} deletes the session of {name}"));
                if let Some(known) = known {
                    known.gone = true;
                }
                continue;
            };
            let Some(record) = SessionRecord::decode(value) else {
                return Err(format!("the record of {name} cannot be read"));
            };
            let number = record.epoch.0;
            let owner = record.owner.map(|o| (o.gateway.as_str().to_owned(), o.incarnation.0));
            if known.as_ref().is_none_or(|known| known.number != number || known.owner != owner) {
                journal.note(
                    now,
                    format_args!(
                        "gw-{site} stores {name} at epoch {number}, session {}, owner {owner:?}",
                        record.no
                    ),
                );
            }
            if let Some(known) = known {
                let back = number < known.number || (known.gone && number == known.number);
                if back {
                    let before = known.number;
                    return Err(format!(
                        "gw-{} puts {name} from epoch {before} to {number}",
                        place.site + 1
                    ));
                }
                let same = number == known.number;
                if same && owner.is_some() && known.owner.is_some() && owner != known.owner {
                    return Err(format!("epoch {number} of {name} has two owners"));
                }
                let owner = if same { owner.or_else(|| known.owner.take()) } else { owner };
                *known = Epoch { number, owner, gone: false };
            } else {
                self.epochs.insert(put.key.to_vec(), Epoch { number, owner, gone: false });
            }
        }
        Ok(())
    }
}
