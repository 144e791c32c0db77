//! Micro slots of this process: asked of the store's record when there is work, and given back when it is done. Only threads that
//! may wait ask, and clients never wait for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use maintenance::pauses::{
    InvalidPauses, Patience, PauseFor, PauseHolder, PauseRefused, Pauses, Urge,
};
use protocol::{GatewayId, Incarnation, Wall};
use store::{Expect, Outcome, Put, Reader, Space, StoreError, Write};

use crate::clock::wall;
use crate::commit::Answer;
use crate::committer::{CommitSender, Order};
use crate::config::MaintenanceLimits;
use crate::hub::Tables;
use crate::metrics::{Count, ProcessCounters};

/// Where the record of all pauses stands.
pub const KEY: &[u8] = b"pauses";
/// How often a write that another one was quicker with is made again.
const TRIES: u32 = 8;
/// How often it is asked again while a pause is waited for.
const AGAIN: Duration = Duration::from_millis(25);

/// How many may pause, and how long they wait for it; changed while the process runs.
#[derive(Debug, Default)]
pub struct PauseRules {
    at_once: AtomicU32,
    wait_s: AtomicU32,
}

impl PauseRules {
    /// As configured.
    pub fn new(limits: &MaintenanceLimits) -> Arc<Self> {
        let rules = Arc::new(Self::default());
        rules.set(limits);
        rules
    }

    /// From now on.
    pub fn set(&self, limits: &MaintenanceLimits) {
        self.at_once.store(limits.pauses, Ordering::Relaxed);
        self.wait_s.store(limits.pause_wait_s, Ordering::Relaxed);
    }

    fn at_once(&self) -> usize {
        usize::try_from(self.at_once.load(Ordering::Relaxed)).unwrap_or(usize::MAX)
    }

    fn wait(&self) -> Duration {
        Duration::from_secs(self.wait_s.load(Ordering::Relaxed).into())
    }
}

/// Why there is no pause now.
#[derive(Debug, thiserror::Error)]
pub enum NoPause {
    /// Others pause.
    #[error(transparent)]
    Refused(#[from] PauseRefused),
    /// The record cannot be read.
    #[error("the store cannot be read: {0}")]
    Store(#[from] StoreError),
    /// Another version wrote it, or it is damaged.
    #[error(transparent)]
    Invalid(#[from] InvalidPauses),
    /// The record cannot be written in the time that there is.
    #[error("the store does not take it")]
    Unavailable,
}

/// Asks for pauses of one thread.
#[derive(Debug)]
pub struct Pauser {
    by: PauseHolder,
    id: GatewayId,
    rules: Arc<PauseRules>,
    reader: Box<dyn Reader>,
    committer: CommitSender,
    tables: Arc<Tables>,
    metrics: Arc<ProcessCounters>,
    /// What its thread pauses for.
    kinds: &'static [PauseFor],
    /// By how much it waits longer than others, so that not all go alone at once.
    share: u8,
    /// Whether it may hold a pause that it does not know of, or could not give back.
    unsure: bool,
    /// The answer that came too late for that to be known.
    late: Option<Receiver<Answer>>,
}

/// What all threads that pause have in common.
#[derive(Debug, Clone)]
pub struct Pausing {
    /// Which gateway this is, and which life of it.
    pub me: (GatewayId, Incarnation),
    /// How many may pause, and how long they wait.
    pub rules: Arc<PauseRules>,
    /// The way to the store.
    pub committer: CommitSender,
    /// Who is alive.
    pub tables: Arc<Tables>,
    /// Where it is counted.
    pub metrics: Arc<ProcessCounters>,
}

impl Pausing {
    /// For one thread, which pauses for these.
    pub fn pauser(&self, kinds: &'static [PauseFor], reader: Box<dyn Reader>) -> Pauser {
        let Self { me: (id, life), rules, committer, tables, metrics } = self.clone();
        let [share, ..] = protocol::hash64(id.as_str().as_bytes()).to_le_bytes();
        let (by, unsure) = (PauseHolder::Gateway { id: id.clone(), life }, false);
        Pauser {
            by,
            id,
            rules,
            reader,
            committer,
            tables,
            metrics,
            kinds,
            share,
            unsure,
            late: None,
        }
    }
}

impl Pauser {
    /// Begins a pause; its answer is its number, for [`Self::end`].
    ///
    /// # Errors
    /// [`NoPause`]; that takes no longer than `patience`.
    pub fn begin(&mut self, what: PauseFor, now: Wall, patience: Duration) -> Result<u64, NoPause> {
        let (by, at_once) = (self.by.clone(), self.rules.at_once());
        let gateways = self.tables.gateways().clone();
        let knows = gateways.iter().any(|gateway| gateway.id == self.id);
        let lives = |holder: &PauseHolder| match holder {
            // Who does not know yet that it lives itself knows nothing of others.
            PauseHolder::Gateway { id, life } => {
                !knows || gateways.iter().any(|it| it.id == *id && it.incarnation == *life)
            }
            PauseHolder::Command { until, .. } => now < *until,
        };
        let begun = self
            .change(patience, |pauses| pauses.begin(&by, what, (at_once, now), lives).map(Some));
        match begun {
            Ok(Some(begun)) => {
                for left in &begun.left {
                    tracing::warn!("{} is gone and held a micro slot: it is free", left.by.name());
                    self.metrics.pauses_left.add_shared(1);
                }
                self.granted(what).add_shared(1);
                tracing::debug!(number = begun.number, "pauses for {}", what.as_str());
                Ok(begun.number)
            }
            Ok(None) => Err(NoPause::Unavailable),
            Err(why) => {
                self.metrics.pauses_refused.add_shared(1);
                Err(why)
            }
        }
    }

    /// Waits for a pause, and goes alone when `most` is over: then there is no number.
    pub fn wait(&mut self, what: PauseFor, most: Duration) -> Option<u64> {
        let began = Instant::now();
        loop {
            let left = most.saturating_sub(began.elapsed());
            match self.begin(what, wall(), left) {
                Ok(number) => return Some(number),
                Err(why) if began.elapsed() >= most => {
                    self.goes_alone(what, &why);
                    return None;
                }
                Err(_) => std::thread::sleep(AGAIN),
            }
        }
    }

    /// Whether work that is refused a pause is done without now: because it waits for too long, or because there is too much of it.
    pub fn is_alone(
        &self,
        (what, why): (PauseFor, &NoPause),
        (patience, much): (&mut Patience, u64),
        too_much: bool,
        now: Duration,
    ) -> bool {
        let urge = patience.urge(now, much, (self.rules.wait(), self.share));
        let alone = what.is_necessary() && (too_much || urge == Urge::Alone);
        if alone {
            self.goes_alone(what, why);
        }
        alone
    }

    /// Gives a pause back.
    pub fn end(&mut self, number: u64, patience: Duration) {
        tracing::debug!(number, "pauses no longer");
        let by = self.by.clone();
        let ended = self.change(patience, |pauses| Ok(pauses.end(&by, number).then_some(())));
        match ended {
            Ok(Some(())) => {}
            // Others thought this life gone.
            Ok(None) => tracing::debug!(number, "was no longer held"),
            Err(why) => {
                tracing::debug!(number, "is given back later: {why}");
                self.unsure = true;
            }
        }
    }

    /// Gives back what may be held without anybody knowing. Does nothing if there is nothing to doubt.
    pub fn settle(&mut self, patience: Duration) {
        // What is on its way to the store cannot be given back before it is there.
        let late = self.late.as_ref().map(Receiver::try_recv);
        let waits = matches!(late, Some(Err(TryRecvError::Empty)));
        if !self.unsure || waits {
            return;
        }
        self.late = None;
        let (by, kinds) = (self.by.clone(), self.kinds);
        let settled = self.change(patience, |pauses| {
            let own = pauses.held().iter().filter(|it| it.by == by && kinds.contains(&it.what));
            let own: Vec<u64> = own.map(|it| it.number).collect();
            for number in &own {
                pauses.end(&by, *number);
            }
            Ok((!own.is_empty()).then_some(()))
        });
        self.unsure = settled.is_err();
    }

    /// Changes the record by compare-and-set. A change that answers with nothing is not written.
    fn change<T>(
        &mut self,
        patience: Duration,
        mut change: impl FnMut(&mut Pauses) -> Result<Option<T>, PauseRefused>,
    ) -> Result<Option<T>, NoPause> {
        let began = Instant::now();
        for _ in 0..TRIES {
            let stands = self.reader.get(Space::Maintenance, KEY)?;
            let mut pauses = stands.as_ref().map(|doc| Pauses::decode(&doc.value)).transpose()?;
            let pauses = pauses.get_or_insert_default();
            let Some(changed) = change(pauses)? else { return Ok(None) };
            let expect = stands.map_or(Expect::Absent, |doc| Expect::Rev(doc.rev));
            let (sender, receiver) = channel();
            let write = Box::new(write(pauses, expect)?);
            let sent = self.committer.send(Order::Other(write, sender));
            let left = patience.saturating_sub(began.elapsed());
            let answer = sent.ok().and_then(|()| receiver.recv_timeout(left).ok());
            match answer {
                Some(Answer::Committed(Outcome::Done { .. }, _)) => return Ok(Some(changed)),
                Some(Answer::Committed(Outcome::Conflict { .. }, _)) => {}
                Some(Answer::Unavailable) => return Err(NoPause::Unavailable),
                None => {
                    // It may be stored yet.
                    (self.unsure, self.late) = (true, Some(receiver));
                    return Err(NoPause::Unavailable);
                }
            }
        }
        Err(NoPause::Unavailable)
    }

    fn goes_alone(&self, what: PauseFor, why: &NoPause) {
        tracing::warn!("no micro slot for {}, which is done without: {why}", what.as_str());
        match what {
            PauseFor::Checkpoint => self.metrics.alone_checkpoint.add_shared(1),
            PauseFor::Certificates => self.metrics.alone_certificates.add_shared(1),
            // The one waits, the other is a command's.
            PauseFor::Vacuum | PauseFor::Backup => {}
        }
    }

    fn granted(&self, what: PauseFor) -> &Count {
        match what {
            PauseFor::Checkpoint => &self.metrics.pauses_checkpoint,
            PauseFor::Vacuum => &self.metrics.pauses_vacuum,
            PauseFor::Certificates | PauseFor::Backup => &self.metrics.pauses_certificates,
        }
    }
}

/// The write of the record.
///
/// # Errors
/// [`InvalidPauses`]; our fault.
pub fn write(pauses: &Pauses, expect: Expect) -> Result<Write, InvalidPauses> {
    let mut write = Write::default();
    write.puts.push(Put {
        space: Space::Maintenance,
        key: Bytes::from_static(KEY),
        value: Some(pauses.encode()?.into()),
        expect,
        announce: false,
    });
    Ok(write)
}
