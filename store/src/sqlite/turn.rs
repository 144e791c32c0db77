//! Whose turn it is to write.

use std::fs::{File, TryLockError};
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::fault;
use crate::{StoreError, Unavailable};

/// The lock file that writers of all processes queue at.
///
/// SQLite alone would let them poll, and one could starve; here the system wakes them in turn, and frees the lock of
/// a process that was killed. Who waits for longer than its patience goes on without a turn, since the one who has it
/// may stand still.
///
/// ```text
///  Free ── the lock is free ──────────────► Held ── dropped ──► Free
///    └── another process has it ──► Queued ──► Granted ──► Held
///                                     └── out of patience; what the usher gets then is given back ──► Free
/// ```
#[derive(Debug)]
pub(super) struct Turns {
    desk: Arc<Desk>,
    /// Shared by all who wait, so that who has just had a turn knows of them.
    waiting: File,
    patience: Duration,
    /// Turns in which a writer gives way once only, because it was in vain.
    vain: AtomicU32,
    /// Waits where this thread cannot, because the system's wait has no end. There from the first wait on.
    usher: OnceLock<Sender<()>>,
}

/// A turn; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a>(&'a Desk);

#[derive(Debug)]
struct Desk {
    file: File,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Free,
    Held,
    /// The usher waits; `wanted` says whether somebody waits for it.
    Queued {
        wanted: bool,
    },
    Granted,
    Failed(io::Error),
}

/// How often, and for how long each time, a writer gives way to others who wait.
const GIVEN_WAY: (u32, Duration) = (100, Duration::from_micros(200));
/// Turns for which it is remembered that giving way was in vain: whoever waits stands still, and would slow everybody.
const VAIN: u32 = 100;

impl Turns {
    /// Each writer needs its own open files: the locks belong to them. A turn is waited for no longer than `patience`.
    pub(super) fn new(file: File, waiting: File, patience: Duration) -> Self {
        let desk = Desk { file, state: Mutex::default(), changed: Condvar::new() };
        let (vain, usher) = (AtomicU32::new(0), OnceLock::new());
        Self { desk: Arc::new(desk), waiting, patience, vain, usher }
    }

    /// Lets others go first who wait. The system wakes them when a turn ends, and whoever ended it and takes the next would
    /// be quicker every time. One of them may stand still, so this has an end, and is not begun anew each time. Answers how
    /// often it gave way.
    fn let_others_go_first(&self) -> u32 {
        let vain = self.vain.load(Ordering::Relaxed);
        let most = if vain == 0 { GIVEN_WAY.0 } else { 1 };
        let mut given = 0;
        while given < most && matches!(self.waiting.try_lock(), Err(TryLockError::WouldBlock)) {
            std::thread::sleep(GIVEN_WAY.1);
            given += 1;
        }
        // Nothing is lost if it cannot be freed: it belongs to nobody else's turn.
        let _ = self.waiting.unlock();
        let vain = match (given == most, vain) {
            (false, _) => 0,
            (true, 0) => VAIN,
            (true, left) => left - 1,
        };
        self.vain.store(vain, Ordering::Relaxed);
        given
    }

    /// Waits for a turn.
    pub(super) fn take(&self) -> Result<Turn<'_>, StoreError> {
        self.let_others_go_first();
        let desk = &*self.desk;
        let mut state = desk.state();
        if matches!(*state, State::Free) {
            match desk.file.try_lock() {
                Ok(()) => {
                    *state = State::Held;
                    return Ok(Turn(desk));
                }
                Err(TryLockError::WouldBlock) => self.send_usher()?,
                Err(TryLockError::Error(error)) => return Err(fault::lock(error)),
            }
        }
        // The usher may still wait for somebody who gave up: its place in the queue is ours then.
        *state = State::Queued { wanted: true };
        // A mark for the others; without it we wait all the same.
        let _ = self.waiting.try_lock_shared();
        let waits = |state: &mut State| matches!(state, State::Queued { .. });
        let (mut state, _) = desk
            .changed
            .wait_timeout_while(state, self.patience, waits)
            .unwrap_or_else(PoisonError::into_inner);
        let _ = self.waiting.unlock();
        match std::mem::take(&mut *state) {
            State::Granted | State::Held => {
                *state = State::Held;
                Ok(Turn(desk))
            }
            State::Failed(error) => Err(fault::lock(error)),
            State::Queued { .. } | State::Free => {
                *state = State::Queued { wanted: false };
                Err(StoreError::Unavailable { why: Unavailable::Busy, source: None })
            }
        }
    }

    fn send_usher(&self) -> Result<(), StoreError> {
        if self.usher.get().is_none() {
            let (sender, errands) = channel::<()>();
            let desk = Arc::clone(&self.desk);
            std::thread::Builder::new()
                .name("usher".to_owned())
                .spawn(move || while errands.recv().is_ok() && desk.wait() {})
                .map_err(fault::lock)?;
            // Nobody else sets it: writers are one thread's.
            let _ = self.usher.set(sender);
        }
        let usher = self.usher.get().and_then(|usher| usher.send(()).ok());
        usher.ok_or_else(|| fault::lock(io::Error::other("nobody waits for the writer lock")))
    }
}

impl Desk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The usher's errand: waits for as long as it takes.
    fn wait(&self) -> bool {
        let locked = loop {
            match self.file.lock() {
                // A signal woke us; the wait is not over.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        let mut state = self.state();
        let wanted = matches!(*state, State::Queued { wanted: true });
        *state = match locked {
            Ok(()) if wanted => State::Granted,
            Ok(()) => {
                self.unlock();
                State::Free
            }
            Err(error) if wanted => State::Failed(error),
            Err(_) => State::Free,
        };
        self.changed.notify_all();
        true
    }

    fn unlock(&self) {
        if let Err(error) = self.file.unlock() {
            tracing::error!(%error, "cannot free the writer lock");
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        self.0.unlock();
        *state = State::Free;
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::path::Path;

    use super::*;

    const SHORT: Duration = Duration::from_millis(5);
    const LONG: Duration = Duration::from_secs(60);

    fn turns(path: &Path, patience: Duration) -> Turns {
        let file = |name: &Path| {
            let mut open = OpenOptions::new();
            open.read(true).write(true).create(true).truncate(false).open(name).unwrap()
        };
        Turns::new(file(path), file(&path.with_extension("waiting")), patience)
    }

    #[test]
    fn who_takes_turn_after_turn_does_not_keep_another_one_waiting() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("lock");
        let (greedy, modest) = (turns(&path, LONG), turns(&path, LONG));
        let over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let turn = greedy.take().unwrap();
                    std::thread::sleep(Duration::from_micros(300));
                    drop(turn);
                }
            });
            for _ in 0..50 {
                drop(modest.take().unwrap());
            }
            over.store(true, Ordering::Relaxed);
        });
    }

    #[test]
    fn who_waits_is_let_in_when_the_other_one_is_through() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("lock");
        let (one, two) = (turns(&path, LONG), turns(&path, LONG));
        for _ in 0..50 {
            let turn = one.take().unwrap();
            std::thread::scope(|scope| {
                let waits = scope.spawn(|| two.take().map(drop));
                drop(turn);
                waits.join().unwrap().unwrap();
            });
        }
    }

    #[test]
    fn who_stands_still_while_it_waits_slows_nobody_for_long() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("lock");
        let (frozen, goes_on) = (turns(&path, LONG), turns(&path, LONG));
        frozen.waiting.lock_shared().unwrap();
        for _ in 0..2 {
            assert_eq!(goes_on.let_others_go_first(), GIVEN_WAY.0);
            for _ in 0..VAIN {
                assert_eq!(goes_on.let_others_go_first(), 1);
            }
        }
        frozen.waiting.unlock().unwrap();
        assert_eq!(goes_on.let_others_go_first(), 0);
        frozen.waiting.lock_shared().unwrap();
        assert_eq!(goes_on.let_others_go_first(), GIVEN_WAY.0, "somebody else may wait now");
    }

    #[test]
    fn a_wait_has_an_end_and_leaves_nothing_locked() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("lock");
        let (stuck, waits) = (turns(&path, LONG), turns(&path, SHORT));
        let after = turns(&path, LONG);
        let turn = stuck.take().unwrap();
        for _ in 0..3 {
            let busy = waits.take().unwrap_err();
            assert!(
                matches!(busy, StoreError::Unavailable { why: Unavailable::Busy, .. }),
                "{busy}"
            );
        }
        drop(turn);
        // What the usher gets for nobody is free again.
        drop(after.take().unwrap());
        drop(stuck.take().unwrap());
        loop {
            // It may not have been its turn yet.
            match waits.take() {
                Ok(_) => break,
                Err(error) => assert!(error.may_pass(), "{error}"),
            }
        }
        drop(after.take().unwrap());
    }
}
