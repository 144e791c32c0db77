//! The reference model: a store in memory with faults on order, for tests and the simulation.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use protocol::{LogSeq, Position, Publication};

use crate::plan::{Head, Plan, check_limits, scan_from};
use crate::{Commit, Doc, Entry, Reader, Space, Store, StoreError, Unavailable, Write, Writer};

/// A store in memory. Clones are handles of the same process; [`Self::another_process`] shares the data but not the
/// faults.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    disk: Arc<Mutex<Disk>>,
    process: Arc<Mutex<Process>>,
}

/// What is to go wrong for one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The next commits fail and change nothing.
    FailCommits {
        /// How many.
        count: u32,
        /// With which cause.
        why: Unavailable,
    },
    /// The process dies in the commit that holds the write after so many more: every call from then on fails.
    Crash {
        /// How many writes still happen, at least; the commit that would exceed them is the last.
        after_writes: u64,
        /// Whether that commit became durable although nobody was told.
        durable: bool,
    },
}

#[derive(Debug, Default)]
struct Disk {
    head: Head,
    bodies: BTreeMap<Position, Publication>,
    log: BTreeMap<LogSeq, Row>,
    docs: BTreeMap<(Space, Bytes), Doc>,
}

#[derive(Debug)]
struct Row {
    up_to: Position,
    entries: Vec<Entry>,
}

#[derive(Debug, Default)]
struct Process {
    failing: Option<(u32, Unavailable)>,
    crash: Option<(u64, bool)>,
    dead: bool,
}

/// What is to happen to one commit.
enum Fate {
    Normal,
    DurableThenDead,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// A handle to the same data for another process, or for the next life of a crashed one.
    pub fn another_process(&self) -> Self {
        Self { disk: Arc::clone(&self.disk), process: Arc::default() }
    }

    /// Orders a fault for this process; a later order of the same kind replaces the earlier.
    pub fn inject(&self, fault: Fault) {
        let mut process = hold(&self.process);
        match fault {
            Fault::FailCommits { count, why } => process.failing = Some((count, why)),
            Fault::Crash { after_writes, durable } => {
                process.crash = Some((after_writes, durable));
            }
        }
    }

    /// Whether a [`Fault::Crash`] has struck.
    pub fn is_dead(&self) -> bool {
        hold(&self.process).dead
    }

    fn alive(&self) -> Result<MutexGuard<'_, Disk>, StoreError> {
        if self.is_dead() {
            return Err(unavailable(Unavailable::Other));
        }
        Ok(hold(&self.disk))
    }
}

impl Store for MemoryStore {
    fn writer(&self) -> Result<Box<dyn Writer>, StoreError> {
        drop(self.alive()?);
        Ok(Box::new(self.clone()))
    }

    fn reader(&self) -> Result<Box<dyn Reader>, StoreError> {
        drop(self.alive()?);
        Ok(Box::new(self.clone()))
    }
}

impl Writer for MemoryStore {
    fn commit(&mut self, batch: &[Write]) -> Result<Commit, StoreError> {
        check_limits(batch)?;
        let mut disk = self.alive()?;
        let fate = hold(&self.process).fate_of(batch.len() as u64)?;
        let plan = Plan::new(batch, disk.head, |space, key| Ok(disk.get(space, key)))?;
        disk.apply(&plan);
        match fate {
            Fate::Normal => Ok(plan.into_commit()),
            Fate::DurableThenDead => Err(unavailable(Unavailable::Other)),
        }
    }

    fn checkpoint(&mut self) -> Result<(), StoreError> {
        self.alive().map(drop)
    }

    fn trim_log(&mut self, keep_from: Position, keep_seq: LogSeq) -> Result<u64, StoreError> {
        let mut disk = self.alive()?;
        let before = disk.bodies.len() + disk.log.len();
        disk.bodies = disk.bodies.split_off(&keep_from);
        disk.log.retain(|seq, row| *seq >= keep_seq || row.up_to >= keep_from);
        Ok((before - disk.bodies.len() - disk.log.len()) as u64)
    }
}

impl Reader for MemoryStore {
    fn head(&mut self) -> Result<(LogSeq, Position), StoreError> {
        let disk = self.alive()?;
        Ok((disk.head.seq, disk.head.position))
    }

    fn first_seq(&mut self) -> Result<LogSeq, StoreError> {
        Ok(self.alive()?.first_seq())
    }

    fn log_after(
        &mut self,
        after: LogSeq,
        max_rows: usize,
    ) -> Result<Vec<(LogSeq, Vec<Entry>)>, StoreError> {
        let disk = self.alive()?;
        let (first, last) = (disk.first_seq(), disk.head.seq);
        if after > last || after.0 + 1 < first.0 {
            return Err(StoreError::Gap { after, first, last });
        }
        let rows = disk.log.range(LogSeq(after.0 + 1)..).take(max_rows);
        Ok(rows.map(|(seq, row)| (*seq, disk.joined(&row.entries))).collect())
    }

    fn bodies(
        &mut self,
        positions: &[Position],
    ) -> Result<Vec<(Position, Publication)>, StoreError> {
        let disk = self.alive()?;
        Ok(positions.iter().filter_map(|at| Some((*at, disk.bodies.get(at)?.clone()))).collect())
    }

    fn get(&mut self, space: Space, key: &[u8]) -> Result<Option<Doc>, StoreError> {
        Ok(self.alive()?.get(space, key))
    }

    fn scan(
        &mut self,
        space: Space,
        prefix: &[u8],
        after: Option<&[u8]>,
        max: usize,
    ) -> Result<Vec<(Bytes, Doc)>, StoreError> {
        let disk = self.alive()?;
        let from = (space, Bytes::from(scan_from(prefix, after)));
        Ok(disk
            .docs
            .range(from..)
            .take_while(|((s, key), _)| *s == space && key.starts_with(prefix))
            .take(max)
            .map(|((_, key), doc)| (key.clone(), doc.clone()))
            .collect())
    }
}

impl Disk {
    fn first_seq(&self) -> LogSeq {
        self.log.keys().next().copied().unwrap_or(LogSeq(self.head.seq.0 + 1))
    }

    fn get(&self, space: Space, key: &[u8]) -> Option<Doc> {
        self.docs.get(&(space, Bytes::copy_from_slice(key))).cloned()
    }

    fn joined(&self, entries: &[Entry]) -> Vec<Entry> {
        let mut entries = entries.to_vec();
        for entry in &mut entries {
            if let Entry::Doc { space, key, rev, value } = entry {
                let now = self.docs.get(&(*space, key.clone()));
                *rev = now.map_or(*rev, |doc| doc.rev);
                *value = now.map(|doc| doc.value.clone());
            }
        }
        entries
    }

    fn apply(&mut self, plan: &Plan<'_>) {
        self.head = plan.head;
        for (position, body) in &plan.bodies {
            self.bodies.insert(*position, (*body).clone());
        }
        for (rev, put) in &plan.docs {
            let key = (put.space, put.key.clone());
            match &put.value {
                Some(value) => self.docs.insert(key, Doc { rev: *rev, value: value.clone() }),
                None => self.docs.remove(&key),
            };
        }
        if plan.tells() {
            let row = Row { up_to: plan.head.position, entries: plan.entries.clone() };
            self.log.insert(plan.head.seq, row);
        }
    }
}

impl Process {
    fn fate_of(&mut self, writes: u64) -> Result<Fate, StoreError> {
        if let Some((left, durable)) = &mut self.crash {
            if writes > *left {
                self.dead = true;
                let fate = if *durable { Some(Fate::DurableThenDead) } else { None };
                return fate.ok_or_else(|| unavailable(Unavailable::Other));
            }
            *left -= writes;
        }
        if let Some((left, why)) = &mut self.failing
            && *left > 0
        {
            *left -= 1;
            return Err(unavailable(*why));
        }
        Ok(Fate::Normal)
    }
}

const fn unavailable(why: Unavailable) -> StoreError {
    StoreError::Unavailable { why, source: None }
}

/// Takes the lock; a panic elsewhere does not make the data wrong, because every change is made after it was planned.
fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract_tests::{Open, append, refs};

    fn in_memory(statement: fn(Open<'_>)) {
        let store = MemoryStore::new();
        statement(&|| Box::new(store.another_process()));
    }

    crate::contract_suite!(in_memory);

    #[test]
    fn ordered_failures_change_nothing_and_pass() {
        let store = MemoryStore::new();
        let (mut writer, mut reader) = (store.writer().unwrap(), store.reader().unwrap());
        store.inject(Fault::FailCommits { count: 2, why: Unavailable::Full });
        let batch = [append(&["x"], &refs(&[1]))];
        for _ in 0..2 {
            let failed = writer.commit(&batch).unwrap_err();
            assert!(
                matches!(failed, StoreError::Unavailable { why: Unavailable::Full, .. }),
                "{failed}"
            );
            assert_eq!(reader.head().unwrap(), (LogSeq(0), Position(0)));
        }
        assert_eq!(writer.commit(&batch).unwrap().seq, LogSeq(1));
    }

    #[test]
    fn a_crash_takes_one_process_and_what_it_had_not_committed() {
        for durable in [false, true] {
            let store = MemoryStore::new();
            let mut other = store.another_process().writer().unwrap();
            let (mut writer, mut reader) = (store.writer().unwrap(), store.reader().unwrap());
            store.inject(Fault::Crash { after_writes: 3, durable });
            let write = append(&["x"], &refs(&[1]));
            writer.commit(&[write.clone(), write.clone()]).unwrap();
            writer.commit(&[write.clone(), write.clone()]).unwrap_err();
            assert!(store.is_dead() && reader.head().is_err() && store.writer().is_err());
            writer.commit(std::slice::from_ref(&write)).unwrap_err();
            let kept = if durable { 2 } else { 1 };
            assert_eq!(other.commit(&[write]).unwrap().seq, LogSeq(kept + 1));
            let next_life = store.another_process();
            let mut reader = next_life.reader().unwrap();
            assert_eq!(reader.head().unwrap(), (LogSeq(kept + 1), Position(kept * 2 + 1)));
        }
    }
}
