//! Bans: kept in the store, and put in force in every gateway within a fraction of a second.
//!
//! One document per ban, and one that changes with each of them: its revision tells the gateways to look again, and is what
//! a change expects, so that no two gateways add the last ban that there is room for.

use std::sync::Arc;

use access::{BanOn, Bans};
use bytes::Bytes;
use store::{Expect, Outcome, Put, Reader, Rev, Space, StoreError, Write};

use super::Housekeeper;
use crate::bans::{Ban, NewBan};
use crate::control::ControlError;
use crate::worker::Mail;

/// The bans as last read.
#[derive(Debug, Default)]
pub(super) struct BanBook {
    /// The revision at which they were read; none if nobody ever set one.
    rev: Option<Rev>,
    bans: Vec<Ban>,
}

/// The key of the document that changes with every ban.
const CHANGES: &[u8] = b"";
/// Documents read at a time.
const PAGE: usize = 512;
/// Lost races after which an operator is told to try again.
const MAX_TRIES: usize = 16;

/// A change of the store that is made with every other one of bans.
fn changes(rev: Option<Rev>) -> Put {
    put(CHANGES, Some(Bytes::new()), rev.map_or(Expect::Absent, Expect::Rev))
}

fn put(key: &[u8], value: Option<Bytes>, expect: Expect) -> Put {
    let key = Bytes::copy_from_slice(key);
    // Not announced: who looks at `CHANGES` finds it.
    Put { space: Space::Ban, key, value, expect, announce: false }
}

fn key_of(on: &BanOn) -> String {
    format!("{}:{}", on.kind(), on.name())
}

impl BanBook {
    /// Reads what changed; answers whether anything did.
    pub(super) fn look(&mut self, reader: &mut dyn Reader) -> Result<bool, StoreError> {
        let rev = reader.get(Space::Ban, CHANGES)?.map(|doc| doc.rev);
        if rev == self.rev {
            return Ok(false);
        }
        let (mut bans, mut after) = (Vec::new(), Bytes::new());
        loop {
            let page = reader.scan(Space::Ban, &[], Some(&after), PAGE)?;
            let Some((last, _)) = page.last() else { break };
            after = last.clone();
            bans.extend(page.iter().filter_map(|(_, doc)| read(&doc.value)));
        }
        (self.rev, self.bans) = (rev, bans);
        Ok(true)
    }

    /// What is to be put in force.
    fn table(&self) -> Bans {
        Bans::of(self.bans.iter().filter_map(|ban| Some((ban.on()?, ban.ends()))))
    }

    /// The write that adds a ban or changes the one that is there; none if there is no room.
    fn adding(&self, new: &NewBan, ban: &Ban, most: usize, now: protocol::Wall) -> Option<Write> {
        let is_there = |it: &&Ban| it.on().as_ref() == Some(&new.on);
        let others = self.bans.iter().filter(|it| it.holds(now) && !is_there(it)).count();
        if others >= most {
            return None;
        }
        let value = serde_json::to_vec(ban).ok()?;
        let mut write = Write::default();
        write.puts.push(put(key_of(&new.on).as_bytes(), Some(value.into()), Expect::Any));
        write.puts.push(changes(self.rev));
        Some(write)
    }

    /// The write that deletes these.
    fn removing(&self, gone: impl Fn(&Ban) -> bool) -> Option<(Write, Vec<Ban>)> {
        let gone: Vec<Ban> = self.bans.iter().filter(|ban| gone(ban)).cloned().collect();
        let keys = gone.iter().filter_map(|ban| Some(key_of(&ban.on()?)));
        let mut write = Write::default();
        write.puts.extend(keys.map(|key| put(key.as_bytes(), None, Expect::Any)));
        if write.puts.is_empty() {
            return None;
        }
        write.puts.push(changes(self.rev));
        Some((write, gone))
    }
}

fn read(value: &[u8]) -> Option<Ban> {
    let ban: Result<Ban, _> = serde_json::from_slice(value);
    ban.inspect_err(|error| tracing::error!("a stored ban cannot be read: {error}")).ok()
}

fn unavailable(error: &StoreError) -> ControlError {
    ControlError::Unavailable(format!("the store does not answer: {error}"))
}

fn lost_races() -> ControlError {
    ControlError::Unavailable("others change bans at the same time; try again".into())
}

fn not_written() -> ControlError {
    ControlError::Unavailable("the store does not take it".into())
}

impl Housekeeper {
    /// Reads the bans if anybody changed them, and puts them in force.
    pub(super) fn look_at_bans(&mut self) -> Result<(), StoreError> {
        if !self.bans.look(&mut *self.reader)? {
            return Ok(());
        }
        let table = Arc::new(self.bans.table());
        self.metrics.process().bans.set(table.len() as u64);
        tracing::info!("{} bans are in force", table.len());
        self.front.set_bans(Arc::clone(&table));
        // After that: who got past the front with the old ones finds the new ones at its worker.
        for mailbox in &self.shared.mailboxes {
            mailbox.send(Mail::Bans(Arc::clone(&table)));
        }
        Ok(())
    }

    pub(super) fn list_bans(&mut self) -> Result<Vec<Ban>, ControlError> {
        self.look_at_bans().map_err(|error| unavailable(&error))?;
        let now = self.shared.now().wall;
        Ok(self.bans.bans.iter().filter(|ban| ban.holds(now)).cloned().collect())
    }

    /// Sets a ban, or changes the one that is there.
    pub(super) fn add_ban(&mut self, new: &NewBan) -> Result<Ban, ControlError> {
        for _ in 0..MAX_TRIES {
            self.look_at_bans().map_err(|error| unavailable(&error))?;
            let now = self.shared.now().wall;
            let (ban, most) = (new.begin(now), self.config.limits.bans as usize);
            let Some(write) = self.bans.adding(new, &ban, most, now) else {
                let why = format!("limits.bans allows {most}, and as many are in force");
                return Err(ControlError::Refused(why));
            };
            match self.write(write).ok_or_else(not_written)?.0 {
                Outcome::Conflict { .. } => {}
                Outcome::Done { .. } => {
                    let on = &new.on;
                    tracing::info!(
                        target: "audit", by = new.by, kind = on.kind(), name = on.name(),
                        until = ban.until.map(tracing::field::display), reason = new.reason,
                        "a ban is set"
                    );
                    self.look_at_bans().map_err(|error| unavailable(&error))?;
                    return Ok(ban);
                }
            }
        }
        Err(lost_races())
    }

    /// Lifts a ban; none if there is none.
    pub(super) fn remove_ban(&mut self, on: &BanOn, by: &str) -> Result<Option<Ban>, ControlError> {
        for _ in 0..MAX_TRIES {
            self.look_at_bans().map_err(|error| unavailable(&error))?;
            let removing = self.bans.removing(|ban| ban.on().as_ref() == Some(on));
            let Some((write, mut gone)) = removing else { return Ok(None) };
            match self.write(write).ok_or_else(not_written)?.0 {
                Outcome::Conflict { .. } => {}
                Outcome::Done { .. } => {
                    tracing::info!(
                        target: "audit", by, kind = on.kind(), name = on.name(), "a ban is lifted"
                    );
                    self.look_at_bans().map_err(|error| unavailable(&error))?;
                    return Ok(gone.pop());
                }
            }
        }
        Err(lost_races())
    }

    /// Deletes the bans that have ended.
    pub(super) fn sweep_bans(&mut self) {
        let now = self.shared.now().wall;
        if let Some((write, gone)) = self.bans.removing(|ban| !ban.holds(now)) {
            // If somebody was quicker, the next sweep finds what is left.
            let _ = self.write(write);
            tracing::debug!("{} bans have ended", gone.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::Wall;
    use store::{MemoryStore, Store as _};

    use super::*;
    use crate::bans::BanRequest;

    fn ban(client: &str, for_s: Option<u64>) -> NewBan {
        let request =
            BanRequest { client: Some(client.to_owned()), for_s, ..BanRequest::default() };
        request.checked("op".to_owned()).unwrap()
    }

    #[test]
    fn two_gateways_see_each_others_bans_and_never_add_one_too_many() {
        let store = MemoryStore::new();
        let (mut writer, mut reader) = (store.writer().unwrap(), store.reader().unwrap());
        let mut commit = |write: Write| writer.commit(&[write]).unwrap().outcomes.remove(0);
        let [mut here, mut there] = [BanBook::default(), BanBook::default()];
        assert!(!here.look(&mut *reader).unwrap());
        let add = |book: &BanBook, new: &NewBan| book.adding(new, &new.begin(Wall(0)), 2, Wall(0));
        let first = add(&here, &ban("a", None)).unwrap();
        let second = add(&there, &ban("b", Some(9))).unwrap();
        assert!(matches!(commit(first), Outcome::Done { .. }));
        assert!(matches!(commit(second), Outcome::Conflict { .. }));
        assert!(there.look(&mut *reader).unwrap() && !there.look(&mut *reader).unwrap());
        assert!(matches!(commit(add(&there, &ban("b", Some(9))).unwrap()), Outcome::Done { .. }));
        assert!(here.look(&mut *reader).unwrap());
        // Full: but what is there may be changed, and what has ended does not count.
        assert_eq!(add(&here, &ban("c", None)), None);
        assert!(add(&here, &ban("a", Some(1))).is_some());
        let new = ban("c", None);
        assert!(here.adding(&new, &new.begin(Wall(9_000)), 2, Wall(9_000)).is_some());
        let (sweep, gone) = here.removing(|ban| !ban.holds(Wall(9_000))).unwrap();
        assert_eq!(gone.len(), 1);
        assert!(matches!(commit(sweep), Outcome::Done { .. }));
        assert!(there.look(&mut *reader).unwrap());
        assert_eq!((there.bans.len(), there.table().len()), (1, 1));
        assert!(there.removing(|_| false).is_none());
    }
}
