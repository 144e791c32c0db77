//! The thread that tidies the store, so that no commit waits for housekeeping: it trims the log, moves what was written to
//! its place, and gives back what is not needed, in steps that are short wherever they hold a commit up.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use maintenance::pauses::{Patience, PauseFor};
use protocol::{LogSeq, Position};
use store::{StoreError, Tidied, Writer};

use crate::clock::wall;
use crate::metrics::ProcessCounters;
use crate::pauses::Pauser;

/// What it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chore {
    /// No queue needs bodies before this position, nobody commits before that one.
    Trim(Position, LogSeq),
    /// The process ends.
    Stop,
}

/// Where to tell it.
pub type ChoreSender = Sender<Chore>;

/// How often it looks whether there is something to do: a few times in the time that a busy fleet takes to fill the log of
/// changes.
const LOOK: Duration = Duration::from_millis(250);

/// What it pauses for.
pub const PAUSES_FOR: &[PauseFor] = &[PauseFor::Checkpoint, PauseFor::Vacuum];
/// How long it may hold a micro slot; what is left to do then waits for the next one.
const HOLDS: Duration = Duration::from_secs(2);
/// How long it waits until the store has taken that it holds one, or no longer.
const STORED: Duration = Duration::from_secs(10);

/// A channel to the thread.
pub fn chores() -> (ChoreSender, Receiver<Chore>) {
    channel()
}

/// Starts the thread, with a writer of its own, which asks for micro slots by `pauser`.
///
/// # Errors
/// The system has no more threads.
pub fn spawn(
    (writer, pauser): (Box<dyn Writer>, Pauser),
    metrics: Arc<ProcessCounters>,
    chores: Receiver<Chore>,
) -> std::io::Result<JoinHandle<()>> {
    let (patience, began) = (Patience::default(), Instant::now());
    let mut caretaker = Caretaker { writer, pauser, patience, began, metrics, is_silent: false };
    crate::logging::thread("caretaker", move || caretaker.run(&chores))
}

/// Whether it was told to stop meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Nothing,
    Stop,
}

struct Caretaker {
    writer: Box<dyn Writer>,
    pauser: Pauser,
    /// Since when there is something to do and no micro slot for it.
    patience: Patience,
    began: Instant,
    metrics: Arc<ProcessCounters>,
    /// It has said that the store does not let it work; once is enough.
    is_silent: bool,
}

impl Caretaker {
    fn run(&mut self, chores: &Receiver<Chore>) {
        loop {
            match chores.recv_timeout(LOOK) {
                Ok(Chore::Trim(keep_from, keep_seq)) => self.trim(keep_from, keep_seq),
                Ok(Chore::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if self.look(chores) == Told::Stop {
                return;
            }
        }
    }

    /// Does what there is to do, in a micro slot.
    fn look(&mut self, chores: &Receiver<Chore>) -> Told {
        self.pauser.settle(STORED);
        let untidy = self.writer.untidy();
        let Some(untidy) = self.heard("the store is not looked at", untidy) else {
            return Told::Nothing;
        };
        self.metrics.store_file_bytes.set(untidy.file_bytes);
        self.metrics.store_free_bytes.set(untidy.free_bytes);
        let what = match (untidy.is_long, untidy.has_spare) {
            (true, _) => PauseFor::Checkpoint,
            (false, true) => PauseFor::Vacuum,
            (false, false) => {
                self.patience.over();
                return Told::Nothing;
            }
        };
        match self.pauser.begin(what, wall(), STORED) {
            Ok(number) => {
                self.patience.over();
                let told = self.tidy_up(chores);
                self.pauser.end(number, STORED);
                told
            }
            Err(why) => {
                let waits = (&mut self.patience, untidy.log_pages);
                let now = self.began.elapsed();
                if self.pauser.is_alone((what, &why), waits, untidy.is_too_long, now) {
                    self.tidy();
                }
                Told::Nothing
            }
        }
    }

    /// Does what there is to do, for as long as it may hold a micro slot.
    fn tidy_up(&mut self, chores: &Receiver<Chore>) -> Told {
        let began = Instant::now();
        // Whatever is left to do waits for what it is told.
        while self.tidy() && began.elapsed() < HOLDS {
            match chores.try_recv() {
                Ok(Chore::Trim(keep_from, keep_seq)) => self.trim(keep_from, keep_seq),
                Ok(Chore::Stop) | Err(TryRecvError::Disconnected) => return Told::Stop,
                Err(TryRecvError::Empty) => {}
            }
        }
        Told::Nothing
    }

    fn trim(&mut self, keep_from: Position, keep_seq: LogSeq) {
        let gone = self.writer.trim_log(keep_from, keep_seq);
        if let Some(gone) = self.heard("the log is not trimmed", gone) {
            self.metrics.store_trimmed_rows.add(gone);
        }
    }

    /// Does a step; answers whether there is more to do.
    fn tidy(&mut self) -> bool {
        let tidied = self.writer.tidy();
        let Some(tidied) = self.heard("the store is not tidied", tidied) else { return false };
        let Tidied { moved_pages, freed_pages, held, file_bytes, free_bytes, more } = tidied;
        let metrics = &self.metrics;
        if moved_pages > 0 {
            metrics.store_checkpoints.add(1);
            metrics.store_checkpoint_pages.add(moved_pages);
        }
        if !held.is_zero() {
            metrics.store_held_nanoseconds.add(u64::try_from(held.as_nanos()).unwrap_or(u64::MAX));
            metrics.store_held_times.add(1);
        }
        metrics.store_freed_pages.add(freed_pages);
        metrics.store_file_bytes.set(file_bytes);
        metrics.store_free_bytes.set(free_bytes);
        more
    }

    fn heard<T>(&mut self, what: &str, result: Result<T, StoreError>) -> Option<T> {
        match result {
            Ok(done) => {
                self.is_silent = false;
                Some(done)
            }
            Err(error) => {
                if !self.is_silent {
                    tracing::warn!("{what}, which can wait: {error}");
                }
                self.is_silent = true;
                None
            }
        }
    }
}
