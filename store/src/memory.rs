//! The reference model: a store in memory with faults on order, for tests and the simulation.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use protocol::{LogSeq, Position, Publication};

use crate::plan::{Head, Plan, check_limits, holds, scan_from};
use crate::{
    Commit, Doc, Entry, Reader, Space, Store, StoreError, Tidied, Unavailable, Write, Writer,
};

/// A store in memory. Clones are handles of the same process; [`Self::another_process`] shares the data but not the
/// faults.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    disk: Arc<Mutex<Disk>>,
    process: Arc<Mutex<Process>>,
    /// Told when commits go on.
    goes_on: Arc<Condvar>,
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
    /// The next commit answers [`StoreError::Unknown`].
    LoseAnswer {
        /// Whether it happened.
        happened: bool,
    },
    /// Commits wait until [`MemoryStore::go_on`].
    Delay,
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
    lose_answer: Option<bool>,
    /// What happened and was not answered.
    unanswered: Option<Commit>,
    delayed: bool,
    dead: bool,
}

/// What is to happen to one commit.
enum Fate {
    Normal,
    DurableThenDead,
    /// It happens, and the answer is lost.
    Unanswered,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// A handle to the same data for another process, or for the next life of a crashed one.
    pub fn another_process(&self) -> Self {
        Self { disk: Arc::clone(&self.disk), ..Self::default() }
    }

    /// Orders a fault for this process; a later order of the same kind replaces the earlier.
    pub fn inject(&self, fault: Fault) {
        let mut process = hold(&self.process);
        match fault {
            Fault::FailCommits { count, why } => process.failing = Some((count, why)),
            Fault::Crash { after_writes, durable } => {
                process.crash = Some((after_writes, durable));
            }
            Fault::LoseAnswer { happened } => process.lose_answer = Some(happened),
            Fault::Delay => process.delayed = true,
        }
    }

    /// Ends every fault that was ordered and has not struck; a crash that has is for good.
    pub fn mend(&self) {
        let mut process = hold(&self.process);
        (process.failing, process.crash, process.lose_answer) = (None, None, None);
        drop(process);
        self.go_on();
    }

    /// Lets commits go on that [`Fault::Delay`] holds up.
    pub fn go_on(&self) {
        hold(&self.process).delayed = false;
        self.goes_on.notify_all();
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
        let waits = |process: &mut Process| process.delayed;
        let held_up = self.goes_on.wait_while(hold(&self.process), waits);
        drop(held_up.unwrap_or_else(PoisonError::into_inner));
        let mut disk = self.alive()?;
        let fate = {
            let mut process = hold(&self.process);
            process.unanswered = None;
            process.fate_of(batch.len() as u64)?
        };
        let plan = Plan::new(batch, disk.head, |space, key, expect| {
            let stands = disk.get(space, key);
            let is = stands.as_ref().map(|doc| (doc.rev, &*doc.value));
            Ok(if holds(expect, is) { Ok(()) } else { Err(stands) })
        })?;
        disk.apply(&plan);
        match fate {
            Fate::Normal => Ok(plan.into_commit()),
            Fate::DurableThenDead => Err(unavailable(Unavailable::Other)),
            Fate::Unanswered => {
                hold(&self.process).unanswered = Some(plan.into_commit());
                Err(StoreError::Unknown { source: None })
            }
        }
    }

    fn commit_again(&mut self, batch: &[Write]) -> Result<Commit, StoreError> {
        drop(self.alive()?);
        let unanswered = hold(&self.process).unanswered.take();
        match unanswered {
            Some(commit) => Ok(commit),
            None => self.commit(batch),
        }
    }

    fn tidy(&mut self) -> Result<Tidied, StoreError> {
        self.alive().map(|_| Tidied::default())
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
                let value_now = now.filter(|_| !space.is_poked());
                *value = value_now.map(|doc| doc.value.clone());
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
        match self.lose_answer.take() {
            Some(true) => Ok(Fate::Unanswered),
            Some(false) => Err(StoreError::Unknown { source: None }),
            None => Ok(Fate::Normal),
        }
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
    use crate::contract_suite::words::{append, everything, refs, script};
    use crate::contract_suite::{Backend, Kept, Trouble};

    struct InMemory;

    /// The troubled process, if there is one, to be mended.
    struct Place(MemoryStore, Mutex<Option<MemoryStore>>);

    impl Backend for InMemory {
        fn empty(&self) -> Box<dyn Kept> {
            Box::new(Place(MemoryStore::new(), Mutex::default()))
        }
    }

    impl Kept for Place {
        fn handle(&self) -> Box<dyn Store> {
            Box::new(self.0.another_process())
        }

        fn open_with(&self, trouble: Trouble) -> Option<Box<dyn Store>> {
            let process = self.0.another_process();
            process.inject(match trouble {
                Trouble::Refused => Fault::FailCommits { count: u32::MAX, why: Unavailable::Full },
                Trouble::AnswerLost { happened } => Fault::LoseAnswer { happened },
            });
            *hold(&self.1) = Some(process.clone());
            Some(Box::new(process))
        }

        fn mend(&self) {
            hold(&self.1).iter().for_each(MemoryStore::mend);
        }
    }

    crate::contract_suite!(InMemory);

    /// The script is cut at every write, by a crash before its commit and by one after it whose answer nobody got.
    #[test]
    fn whatever_write_a_crash_meets_what_was_answered_is_there_and_nothing_in_part() {
        let script = script();
        let writes: u64 = script.iter().map(|batch| batch.len() as u64).sum();
        for (at, durable) in (0..writes).flat_map(|at| [(at, false), (at, true)]) {
            let store = MemoryStore::new();
            let (mut writer, mut whole) = (store.writer().unwrap(), 0);
            store.inject(Fault::Crash { after_writes: at, durable });
            let answered = script.iter().take_while(|batch| writer.commit(batch).is_ok()).count();
            assert!(store.is_dead());
            whole += answered + usize::from(durable);
            let untroubled = MemoryStore::new();
            let mut writer = untroubled.writer().unwrap();
            script[..whole].iter().for_each(|batch| drop(writer.commit(batch).unwrap()));
            let (found, expected) = (everything(&store.another_process()), everything(&untroubled));
            assert_eq!(found, expected, "after {at} writes, durable: {durable}");
            // The next life goes on where the last one ended.
            let mut writer = store.another_process().writer().unwrap();
            let commit = writer.commit(&[append(&["x"], &refs(&[1]))]).unwrap();
            assert_eq!((commit.prev, commit.seq.0), (found.head.0, found.head.0.0 + 1));
        }
    }

    #[test]
    fn a_commit_that_is_held_up_holds_no_reader_up() {
        let store = MemoryStore::new();
        let mut writer = store.writer().unwrap();
        store.inject(Fault::Delay);
        std::thread::scope(|scope| {
            let commit = scope.spawn(move || writer.commit(&[append(&["x"], &refs(&[1]))]));
            assert_eq!(store.reader().unwrap().head().unwrap().0, LogSeq(0));
            store
                .another_process()
                .writer()
                .unwrap()
                .commit(&[append(&["y"], &refs(&[1]))])
                .unwrap();
            assert_eq!(store.reader().unwrap().head().unwrap().0, LogSeq(1));
            store.go_on();
            assert_eq!(commit.join().unwrap().unwrap().seq, LogSeq(2));
        });
    }

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
