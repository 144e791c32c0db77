//! Makes what is asked of shadows happen: in order, one write at a time for each.

use std::collections::VecDeque;

use protocol::{HashMap, Wall};

use super::{Ask, RequestNo};
use crate::document::{Record, Refusal, Rejection, ShadowLimits, delete, get, update};
use crate::topic::{Answer, Operation, OwnedKey, ReservedTopic};

/// The requests about shadows that one gateway makes happen, each shadow for itself:
///
/// ```text
///            request            read
///   (idle) ──────────► Reading ──────┬─ nothing changes ──► answers, (idle) or Reading
///                         ▲          └─ something does ───► Writing
///                         └── written: answers ────────────────┤ ▲
///                                                conflict: made again of what is stored; or read again, if one is created
/// ```
///
/// What follows from the newest version may be said again ([`Self::handle_repeat`]), with a write of the same record, so that it
/// comes before what follows from every later one.
///
/// Other gateways may change the same shadow at the same time. The fence in the record decides who was first, and who was
/// not makes its changes again of what is there now, so none is lost. What is there may be what the same client has said since, over
/// another connection: so changes are made again only for whom the store knows no later one ([`Written::Superseded`]).
///
/// Whoever remembers what is stored may offer that before it is read ([`Self::handle_remembered`]). Only changes are made of it, which
/// nobody hears of unless the write finds it to be so; what asks for the document, or would be refused by it, is done with what is read.
#[derive(Debug)]
pub struct Scribe {
    cases: HashMap<OwnedKey, Case>,
    /// Requests that are not answered yet, of all shadows.
    requests: usize,
    shadow_limits: ShadowLimits,
    limits: ScribeLimits,
}

/// How much a scribe takes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScribeLimits {
    /// Most requests without an answer. More: refused with 503.
    pub requests: usize,
    /// Most requests about one shadow that wait for their turn. More: refused with 429.
    pub requests_per_shadow: usize,
    /// Most requests of one shadow in one write; the others wait for the next.
    pub batch: usize,
    /// How often a write may lose to those of other gateways before its requests are refused with 503.
    pub attempts: u32,
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScribeOutput {
    /// Read the record of this shadow and give it to [`Scribe::handle_read`].
    Read(OwnedKey),
    /// Store a record, and say what became of it to [`Scribe::handle_written`].
    Write {
        /// Under the key of this shadow.
        key: OwnedKey,
        /// If what is stored begins with this; or if nothing is.
        expect: Option<[u8; 8]>,
        /// The new record.
        record: Vec<u8>,
        /// Whether some of it is made again: only as long as who asked for that has not connected again since.
        again: bool,
        /// What may be seen once it is durable, and never if it is not.
        then: Vec<Self>,
    },
    /// A request is answered: publish it, and tell who asked by HTTP.
    Answer {
        /// About which shadow.
        key: OwnedKey,
        /// Which request.
        no: RequestNo,
        /// What it asked.
        operation: Operation,
        /// For `accepted`, or for `rejected`.
        result: Result<String, Rejection>,
    },
    /// Publish what follows from an update.
    Tell {
        /// Of which shadow.
        key: OwnedKey,
        /// Which topic of `update`.
        answer: Answer,
        /// What.
        payload: String,
    },
    /// What is stored of a shadow now. Comes before what is told of it, so that a [`super::Watcher`] can be asked whether
    /// it still may be.
    Changed {
        /// Which.
        key: OwnedKey,
        /// What.
        record: Record,
    },
}

/// What a reader found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored<'a> {
    /// This record, or nothing.
    Found(Option<&'a [u8]>),
    /// The same, and the thing has as many named shadows as it may have, this one not among them.
    Full(Option<&'a [u8]>),
    /// The store does not answer.
    Unavailable,
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written<'a> {
    /// It is durable.
    Done,
    /// Nothing happened: this is stored instead.
    Conflict(Option<&'a [u8]>),
    /// Nothing happened: somebody created another shadow of its thing since it was looked how many there are.
    Overtaken,
    /// Nothing happened: who asked these has connected again since, and may have said something newer.
    Superseded(&'a [RequestNo]),
    /// Nothing happened: the store does not work.
    Unavailable,
}

#[derive(Debug)]
struct Case {
    waiting: VecDeque<(RequestNo, Ask)>,
    stage: Stage,
    /// Writes that were lost in a row.
    attempts: u32,
    /// What follows from the newest version is to be said again.
    repeats: bool,
    /// Whether the reader is to say if there is room for one more, because somebody may create it.
    counts: bool,
}

#[derive(Debug)]
enum Stage {
    Reading,
    Writing {
        /// What the write makes happen.
        requests: Vec<(RequestNo, Ask)>,
    },
}

impl Default for ScribeLimits {
    fn default() -> Self {
        Self { requests: 100_000, requests_per_shadow: 64, batch: 64, attempts: 100 }
    }
}

impl Scribe {
    /// Without work.
    pub fn new(shadow_limits: ShadowLimits, limits: ScribeLimits) -> Self {
        Self { cases: HashMap::default(), requests: 0, shadow_limits, limits }
    }

    /// Requests that are not answered yet.
    pub const fn unanswered(&self) -> usize {
        self.requests
    }

    /// A request, after those about the same shadow that came before.
    #[must_use]
    pub fn handle_request(&mut self, key: OwnedKey, no: RequestNo, ask: Ask) -> Vec<ScribeOutput> {
        let waiting = self.cases.get(&key).map(|case| case.waiting.len());
        let refusal = if self.requests >= self.limits.requests {
            Some(Refusal::Unavailable)
        } else if waiting.is_some_and(|waiting| waiting >= self.limits.requests_per_shadow) {
            Some(Refusal::TooManyRequests)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            return vec![rejected(&key, no, &ask, refusal)];
        }
        self.requests = self.requests.saturating_add(1);
        if let Some(case) = self.cases.get_mut(&key) {
            case.waiting.push_back((no, ask));
            return Vec::new();
        }
        self.cases.insert(key.clone(), Case::new(VecDeque::from([(no, ask)]), false));
        vec![ScribeOutput::Read(key)]
    }

    /// What follows from the newest version may not have reached everybody: it is to be said again, if it is still the newest.
    #[must_use]
    pub fn handle_repeat(&mut self, key: &OwnedKey) -> Option<ScribeOutput> {
        if let Some(case) = self.cases.get_mut(key) {
            case.repeats = true;
            return None;
        }
        self.cases.insert(key.clone(), Case::new(VecDeque::new(), true));
        Some(ScribeOutput::Read(key.clone()))
    }

    /// Whether somebody may create a shadow that is being read, so that it matters how many its thing has. Otherwise nobody need
    /// look.
    pub fn counts_names(&self, key: &OwnedKey) -> bool {
        self.cases.get(key).is_some_and(|case| case.counts)
    }

    /// Whether anything of a shadow is being read or written.
    pub fn is_busy_with(&self, key: &OwnedKey) -> bool {
        self.cases.contains_key(key)
    }

    /// What [`ScribeOutput::Read`] gave. Of what follows from an update only that is told which is wanted.
    #[must_use]
    pub fn handle_read(
        &mut self,
        key: &OwnedKey,
        stored: Stored<'_>,
        now: Wall,
        is_wanted: impl Fn(ReservedTopic<'_>) -> bool,
    ) -> Vec<ScribeOutput> {
        match self.cases.get(key).map(|case| &case.stage) {
            Some(Stage::Reading) => {}
            Some(Stage::Writing { .. }) | None => return Vec::new(),
        }
        match stored {
            Stored::Found(bytes) => self.go_on(key, (bytes, false), now, is_wanted),
            Stored::Full(bytes) => self.go_on(key, (bytes, true), now, is_wanted),
            Stored::Unavailable => self.refuse_waiting(key, &Refusal::Unavailable),
        }
    }

    /// A shadow that is to be read is remembered like this. `None` if it must be read all the same. Otherwise the write is not to be
    /// done unless the very record stands that is remembered: that it has the same fence is not enough, since a shadow that was
    /// deleted and is forgotten begins anew with the same ones.
    #[must_use]
    pub fn handle_remembered(
        &mut self,
        key: &OwnedKey,
        stored: &[u8],
        now: Wall,
        is_wanted: impl Fn(ReservedTopic<'_>) -> bool,
    ) -> Option<ScribeOutput> {
        let case = self.cases.get_mut(key)?;
        if !matches!(case.stage, Stage::Reading) || case.repeats {
            return None;
        }
        let record = Record::decode(stored).filter(|record| record.document().is_some())?;
        let changes = case.waiting.iter().take(self.limits.batch).take_while(|it| changes(it));
        let count = changes.count();
        let mut turn = Turn::new(key, (Some(record), false), &self.shadow_limits, now);
        for (no, ask) in case.waiting.iter().take(count) {
            turn.take(*no, ask, &is_wanted);
        }
        if !turn.changed || turn.refuses() {
            return None;
        }
        let requests = case.waiting.drain(..count).collect();
        case.write(turn, requests).ok()
    }

    /// What became of [`ScribeOutput::Write`]; what it held back is the caller's to let go or to forget.
    #[must_use]
    pub fn handle_written(
        &mut self,
        key: &OwnedKey,
        written: Written<'_>,
        now: Wall,
        is_wanted: impl Fn(ReservedTopic<'_>) -> bool,
    ) -> Vec<ScribeOutput> {
        let Some(case) = self.cases.get_mut(key) else { return Vec::new() };
        let requests = match std::mem::replace(&mut case.stage, Stage::Reading) {
            Stage::Writing { requests } => requests,
            Stage::Reading => return Vec::new(),
        };
        let mut out = Vec::new();
        match written {
            Written::Done => {
                case.attempts = 0;
                self.answered(requests.len());
            }
            Written::Conflict(stored) if case.attempts < self.limits.attempts => {
                case.attempts = case.attempts.saturating_add(1);
                requests.into_iter().rev().for_each(|request| case.waiting.push_front(request));
                if key.key().shadow.is_some() && !stored.is_some_and(Record::is_live) {
                    // It was deleted meanwhile: whether there is room is to be looked at anew.
                    return self.next_turn(key).into_iter().collect();
                }
                return self.go_on(key, (stored, false), now, is_wanted);
            }
            Written::Overtaken if case.attempts < self.limits.attempts => {
                case.attempts = case.attempts.saturating_add(1);
                requests.into_iter().rev().for_each(|request| case.waiting.push_front(request));
                return self.next_turn(key).into_iter().collect();
            }
            Written::Superseded(by_then) => {
                let is_superseded = |(no, _): &(RequestNo, Ask)| by_then.contains(no);
                let (gone, others): (Vec<_>, Vec<_>) =
                    requests.into_iter().partition(is_superseded);
                others.into_iter().rev().for_each(|request| case.waiting.push_front(request));
                self.answered(gone.len());
                let refuse = |(no, ask): &(_, _)| rejected(key, *no, ask, Refusal::Superseded);
                out = gone.iter().map(refuse).collect();
            }
            Written::Conflict(_) | Written::Overtaken | Written::Unavailable => {
                case.attempts = 0;
                self.answered(requests.len());
                let refuse = |(no, ask): &(_, _)| rejected(key, *no, ask, Refusal::Unavailable);
                out = requests.iter().map(refuse).collect();
            }
        }
        out.extend(self.next_turn(key));
        out
    }

    /// Does what waits, as far as one write goes.
    fn go_on(
        &mut self,
        key: &OwnedKey,
        (stored, is_full): (Option<&[u8]>, bool),
        now: Wall,
        is_wanted: impl Fn(ReservedTopic<'_>) -> bool,
    ) -> Vec<ScribeOutput> {
        let record = match stored.map(Record::decode) {
            None => None,
            Some(Some(record)) => Some(record),
            // Damage: nothing may be made of it, and nothing be put in its place.
            Some(None) => return self.refuse_waiting(key, &Refusal::Internal),
        };
        let Some(case) = self.cases.get_mut(key) else { return Vec::new() };
        let count = case.waiting.len().min(self.limits.batch);
        let is_named = key.key().shadow.is_some() && self.shadow_limits.named_shadows > 0;
        let is_there = record.as_ref().and_then(Record::document).is_some();
        let count = if case.counts || !is_named || is_there {
            count
        } else {
            // Who came meanwhile may create it, and nobody has looked whether there is room.
            case.waiting.iter().take(count).position(is_update).unwrap_or(count)
        };
        let requests: Vec<(RequestNo, Ask)> = case.waiting.drain(..count).collect();
        let mut turn = Turn::new(key, (record, is_full), &self.shadow_limits, now);
        for (no, ask) in &requests {
            turn.take(*no, ask, &is_wanted);
        }
        if std::mem::take(&mut case.repeats) && !turn.changed {
            turn.repeat(&is_wanted);
        }
        let count = requests.len();
        match case.write(turn, requests) {
            Ok(write) => vec![write],
            Err(mut out) => {
                self.answered(count);
                out.extend(self.next_turn(key));
                out
            }
        }
    }

    /// The record is read anew for who waits: another gateway may have changed it meanwhile.
    fn next_turn(&mut self, key: &OwnedKey) -> Option<ScribeOutput> {
        let batch = self.limits.batch;
        if let Some(case) = self.cases.get_mut(key) {
            if case.waiting.is_empty() && !case.repeats {
                self.cases.remove(key);
                return None;
            }
            case.counts = case.waiting.iter().take(batch).any(is_update);
        }
        Some(ScribeOutput::Read(key.clone()))
    }

    fn refuse_waiting(&mut self, key: &OwnedKey, refusal: &Refusal) -> Vec<ScribeOutput> {
        let Some(case) = self.cases.remove(key) else { return Vec::new() };
        self.answered(case.waiting.len());
        let refuse = |(no, ask): &(_, _)| rejected(key, *no, ask, refusal.clone());
        case.waiting.iter().map(refuse).collect()
    }

    const fn answered(&mut self, count: usize) {
        self.requests = self.requests.saturating_sub(count);
    }
}

impl Case {
    fn new(waiting: VecDeque<(RequestNo, Ask)>, repeats: bool) -> Self {
        let counts = waiting.iter().any(is_update);
        Self { waiting, stage: Stage::Reading, attempts: 0, repeats, counts }
    }

    /// Writes what a turn has made of a record; or, if it has changed nothing, says what it has to say.
    fn write(
        &mut self,
        turn: Turn<'_>,
        requests: Vec<(RequestNo, Ask)>,
    ) -> Result<ScribeOutput, Vec<ScribeOutput>> {
        let Turn { key, expect, record, mut out, changed, .. } = turn;
        let Some(record) = record.filter(|_| changed) else { return Err(out) };
        let bytes = record.encode();
        out.insert(0, ScribeOutput::Changed { key: key.clone(), record });
        self.stage = Stage::Writing { requests };
        let again = self.attempts > 0;
        Ok(ScribeOutput::Write { key: key.clone(), expect, record: bytes, again, then: out })
    }
}

const fn is_update((_, ask): &(RequestNo, Ask)) -> bool {
    matches!(ask, Ask::Update(_))
}

const fn changes((_, ask): &(RequestNo, Ask)) -> bool {
    matches!(ask, Ask::Update(_) | Ask::Delete(_))
}

fn rejected(key: &OwnedKey, no: RequestNo, ask: &Ask, refusal: Refusal) -> ScribeOutput {
    let result = Err(ask.reject(refusal));
    ScribeOutput::Answer { key: key.clone(), no, operation: ask.operation(), result }
}

/// The requests of one write, one after the other.
struct Turn<'a> {
    key: &'a OwnedKey,
    /// How what is stored begins.
    expect: Option<[u8; 8]>,
    /// As the requests before have made it.
    record: Option<Record>,
    /// The thing may have no further named shadow.
    is_full: bool,
    limits: &'a ShadowLimits,
    now: Wall,
    out: Vec<ScribeOutput>,
    changed: bool,
}

impl<'a> Turn<'a> {
    fn new(
        key: &'a OwnedKey,
        (record, is_full): (Option<Record>, bool),
        limits: &'a ShadowLimits,
        now: Wall,
    ) -> Self {
        let expect = record.as_ref().map(Record::fence);
        Self { key, expect, record, is_full, limits, now, out: Vec::new(), changed: false }
    }

    /// Whether one of its requests is refused.
    fn refuses(&self) -> bool {
        let is_refused = |it: &_| matches!(it, ScribeOutput::Answer { result: Err(_), .. });
        self.out.iter().any(is_refused)
    }

    fn take(&mut self, no: RequestNo, ask: &Ask, is_wanted: impl Fn(ReservedTopic<'_>) -> bool) {
        let (key, stored) = (self.key.key(), self.record.as_ref());
        let mut told = Vec::new();
        let mut next = None;
        let result = match ask {
            Ask::Get(token) => get(stored, key, token.as_ref(), self.now),
            Ask::Delete(token) => delete(stored, key, token.clone(), self.now).map(|deleted| {
                next = Some(deleted.record());
                deleted.accepted()
            }),
            Ask::Update(_) if self.is_full && stored.and_then(Record::document).is_none() => {
                let maximum = self.limits.named_shadows;
                Err(ask.reject(Refusal::TooManyShadows { maximum }))
            }
            Ask::Update(request) => update(stored, request, self.now, self.limits).map(|updated| {
                let wants = |answer| is_wanted(key.topic(Operation::Update, Some(answer)));
                let delta = wants(Answer::Delta).then(|| updated.delta()).flatten();
                told.extend(delta.map(|payload| (Answer::Delta, payload)));
                if wants(Answer::Documents) {
                    told.push((Answer::Documents, updated.documents()));
                }
                let accepted = updated.accepted();
                next = Some(updated.into_record());
                accepted
            }),
        };
        let operation = ask.operation();
        self.out.push(ScribeOutput::Answer { key: self.key.clone(), no, operation, result });
        for (answer, payload) in told {
            self.out.push(ScribeOutput::Tell { key: self.key.clone(), answer, payload });
        }
        if next.is_some() {
            (self.record, self.changed) = (next, true);
        }
    }

    /// Says again what follows from the record as it is, with a write that every other one overtakes or waits for.
    fn repeat(&mut self, is_wanted: impl Fn(ReservedTopic<'_>) -> bool) {
        let Some(document) = self.record.as_ref().and_then(Record::document) else { return };
        let wants = |answer| is_wanted(self.key.key().topic(Operation::Update, Some(answer)));
        let delta = wants(Answer::Delta).then(|| document.delta_now(self.now)).flatten();
        let documents = wants(Answer::Documents).then(|| document.documents_now(None, self.now));
        let told = [(Answer::Delta, delta), (Answer::Documents, documents)];
        for (answer, payload) in told {
            let tell = |payload| ScribeOutput::Tell { key: self.key.clone(), answer, payload };
            self.changed |= payload.is_some();
            self.out.extend(payload.map(tell));
        }
    }
}
