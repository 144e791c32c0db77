//! The micro slot of a backup: while the store is copied its log of changes cannot begin anew, so no gateway need try.

use std::time::{Duration, Instant};

use maintenance::pauses::{PauseFor, PauseHolder, Pauses};
use protocol::Wall;
use store::{Expect, Outcome, Reader, Space, SqliteStore, Store as _, Writer};

use super::store::Said;
use crate::clock::wall;
use crate::pauses::{KEY, write};

/// How long a word of this process is good: if it is killed, gateways wait for no longer.
const GOOD_FOR: Duration = Duration::from_secs(30);
/// How often it is said again.
const AGAIN: Duration = Duration::from_secs(10);
/// How long a gateway is waited for that pauses.
const PATIENCE: Duration = Duration::from_secs(20);
/// Time between two tries.
const LOOK: Duration = Duration::from_millis(100);

/// A micro slot, or none: a backup is made in any case.
pub(super) struct BackupPause {
    name: String,
    store: Option<(Box<dyn Reader>, Box<dyn Writer>)>,
    number: Option<u64>,
    said: Instant,
}

impl BackupPause {
    /// Waits for it, and for no longer than that is worth.
    pub(super) fn begin(store: &SqliteStore, said: &mut Said) -> Self {
        let began = Instant::now();
        let store = store.reader().ok().zip(store.writer().ok());
        let name = format!("backup {}", std::process::id());
        let mut pause = Self { name, store, number: None, said: began };
        loop {
            match pause.try_begin() {
                Some(Ok(number)) => {
                    pause.number = Some(number);
                    break;
                }
                Some(Err(_)) if began.elapsed() < PATIENCE => std::thread::sleep(LOOK),
                Some(Err(why)) => {
                    said.say(&format!("copied without a micro slot: {why}"));
                    break;
                }
                // Who cannot write the store can copy it all the same.
                None => break,
            }
        }
        pause
    }

    /// None if the record cannot be read or written.
    fn try_begin(&mut self) -> Option<Result<u64, String>> {
        let now = wall();
        let by = self.holder(now);
        self.change(|pauses| {
            // Which gateways live it does not know.
            let lives = |holder: &PauseHolder| match holder {
                PauseHolder::Gateway { .. } => true,
                PauseHolder::Command { until, .. } => now < *until,
            };
            let begun = pauses.begin(&by, PauseFor::Backup, (1, now), lives);
            begun.map(|begun| begun.number).map_err(|why| why.to_string())
        })
    }

    /// Says that it goes on, if that is due.
    pub(super) fn go_on(&mut self) {
        let Some(number) = self.number.filter(|_| self.said.elapsed() >= AGAIN) else { return };
        self.said = Instant::now();
        let by = self.holder(wall());
        let held = self.change(|pauses| pauses.go_on(&by, number).then_some(()).ok_or(()));
        // Others thought it gone: they go on meanwhile.
        self.number = self.number.filter(|_| held != Some(Err(())));
    }

    /// Gives it back.
    pub(super) fn end(mut self) {
        let Some(number) = self.number else { return };
        let by = self.holder(wall());
        // What is not given back ends by itself.
        let _ = self.change(|pauses| pauses.end(&by, number).then_some(()).ok_or(()));
    }

    fn holder(&self, now: Wall) -> PauseHolder {
        PauseHolder::Command { name: self.name.clone(), until: now.after(GOOD_FOR) }
    }

    fn change<T, E>(
        &mut self,
        change: impl Fn(&mut Pauses) -> Result<T, E>,
    ) -> Option<Result<T, E>> {
        let (reader, writer) = self.store.as_mut()?;
        loop {
            let stands = reader.get(Space::Maintenance, KEY).ok()?;
            let known = stands.as_ref().map(|doc| Pauses::decode(&doc.value)).transpose().ok()?;
            let mut pauses = known.unwrap_or_default();
            let changed = match change(&mut pauses) {
                Ok(changed) => changed,
                Err(why) => return Some(Err(why)),
            };
            let expect = stands.map_or(Expect::Absent, |doc| Expect::Rev(doc.rev));
            let commit = writer.commit(&[write(&pauses, expect).ok()?]).ok()?;
            if let Some(Outcome::Done { .. }) = commit.outcomes.first() {
                return Some(Ok(changed));
            }
        }
    }
}
