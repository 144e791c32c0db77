//! What is done about the shadows of the things that belong to this worker.

use std::cell::RefCell;

use bytes::Bytes;
use protocol::{Now, Publication, QoS, Wall};
use shadow::{
    Answer, Operation, OwnedKey, Record as ShadowRecord, Refusal, Rejection, RequestNo,
    ReservedTopic, ScribeOutput, Stored, Written,
};
use store::{Check, Expect, Put, Rev, Space};

use super::{Asker, ShadowAsk, ShadowMail, ShadowRead};
use crate::hub::traffic::dispatch::Dispatch;
use crate::hub::traffic::route_cache::Route;
use crate::hub::{Ask, ConnId, Fx, Hub, Output, Record, Reply, Turn};
use crate::shadows::count_creation;

/// A reply to a client that waits until its request is answered.
#[derive(Debug)]
pub struct Awaited {
    /// Which request.
    pub no: u64,
    /// Whose.
    pub conn: ConnId,
    /// PUBACK or PUBREC.
    pub reply: Reply,
}

/// What is said of a shadow, once it is stored if it was changed.
#[derive(Debug)]
pub struct ShadowWord {
    key: OwnedKey,
    /// The record that was written; none if nothing changed.
    written: Option<ShadowRecord>,
    /// The same as it is stored.
    record: Bytes,
    /// The revision that it is stored at, once it is.
    stored: Option<Rev>,
    /// Whether the routes by which it is said were sure to be those of everybody.
    sure: bool,
    said: Vec<Said>,
}

#[derive(Debug)]
enum Said {
    /// An answer, to all who want it.
    Answer(Dispatch),
    /// What follows from an update. Who watches from another gateway reads it there.
    Told(Dispatch),
    /// Who asked is to know.
    Answered(RequestNo, Operation, Result<String, Rejection>),
}

impl ShadowWord {
    /// What was written is stored at this revision.
    pub(crate) const fn set_stored(&mut self, rev: Rev) {
        self.stored = Some(rev);
    }
}

impl Hub {
    /// A request about a thing that belongs to this worker.
    pub(super) fn handle_shadow_ask(&mut self, asked: ShadowAsk, cx: &mut Turn<'_>) {
        let ShadowAsk { key, ask, asker, latest } = asked;
        let no = self.shadows.next_no();
        self.shadows.askers.insert(no, (asker, latest));
        let outputs = self.shadows.scribe.handle_request(key, no, ask);
        self.do_for_scribe(outputs, cx);
    }

    /// What the store has of a shadow that was asked for.
    pub(super) fn handle_shadow_read(
        &mut self,
        key: &OwnedKey,
        read: &ShadowRead,
        cx: &mut Turn<'_>,
    ) {
        let stored = match read {
            ShadowRead::Found(found) | ShadowRead::Room(found, _) => {
                Stored::Found(found.as_deref())
            }
            ShadowRead::Full(found) => Stored::Full(found.as_deref()),
            ShadowRead::Unavailable => Stored::Unavailable,
        };
        if matches!(read, ShadowRead::Unavailable) {
            self.note_failed(key);
        }
        if let ShadowRead::Room(_, counted) = read {
            self.shadows.room = Some((key.clone(), *counted));
        }
        let now = cx.now.wall;
        let outputs =
            self.with_wanted(|scribe, wanted| scribe.handle_read(key, stored, now, wanted));
        self.do_for_scribe(outputs, cx);
        self.shadows.room = None;
    }

    /// A record is durable: what it held back is said.
    pub(crate) fn say_of_shadow(&mut self, word: ShadowWord, cx: &mut Turn<'_>) {
        let ShadowWord { key, written, record, stored, sure, said } = word;
        let may_tell = written.as_ref().is_none_or(|record| self.may_tell(&key, record));
        self.say(said, may_tell, cx);
        if written.is_some() {
            self.note_written(&key, sure, cx.now);
            if let Some(rev) = stored.filter(|_| ShadowRecord::is_live(&record)) {
                self.shadows.remembered.note(key.clone(), rev, record);
            }
            self.end_shadow_write(&key, Written::Done, cx);
        }
    }

    /// A record was not written: another gateway was first, and this is stored under that key.
    pub(crate) fn lose_shadow_write(
        &mut self,
        word: ShadowWord,
        (space, key, stands): (Space, &[u8], Option<&Bytes>),
        cx: &mut Turn<'_>,
    ) {
        self.metrics.shadow_conflicts.add(1);
        if space == Space::Shadow {
            self.note_lost(&word.key);
            let stands = stands.map(|bytes| &**bytes);
            self.end_shadow_write(&word.key, Written::Conflict(stands), cx);
        } else if space == Space::Session {
            let is_gone =
                |no: &RequestNo| self.latest_of(*no).is_some_and(|it| fails(it, key, stands));
            let gone: Vec<_> = requests_of(&word.said).filter(is_gone).collect();
            self.end_shadow_write(&word.key, Written::Superseded(&gone), cx);
        } else {
            self.end_shadow_write(&word.key, Written::Overtaken, cx);
        }
    }

    fn latest_of(&self, no: RequestNo) -> Option<&Check> {
        self.shadows.askers.get(&no)?.1.as_ref()
    }

    /// The store did not take it. An answer that changed nothing promises nothing, so it is given all the same.
    pub(crate) fn refuse_shadow_write(&mut self, word: ShadowWord, cx: &mut Turn<'_>) {
        if word.written.is_some() {
            self.note_failed(&word.key);
            self.end_shadow_write(&word.key, Written::Unavailable, cx);
        } else {
            self.say(word.said, false, cx);
        }
    }

    fn end_shadow_write(&mut self, key: &OwnedKey, written: Written<'_>, cx: &mut Turn<'_>) {
        let now = cx.now.wall;
        let outputs =
            self.with_wanted(|scribe, wanted| scribe.handle_written(key, written, now, wanted));
        self.do_for_scribe(outputs, cx);
    }

    fn say(&mut self, said: Vec<Said>, may_tell: bool, cx: &mut Turn<'_>) {
        for one in said {
            match one {
                Said::Answer(dispatch) => self.dispatch(&dispatch, cx),
                Said::Told(dispatch) if may_tell => self.dispatch_here(&dispatch, cx),
                Said::Told(_) => {}
                Said::Answered(no, operation, result) => {
                    self.count_answer(operation, result.as_ref().map(|_| ()));
                    self.tell_asker(no, result, cx);
                }
            }
        }
    }

    fn tell_asker(&mut self, no: RequestNo, result: Result<String, Rejection>, cx: &mut Turn<'_>) {
        match self.shadows.askers.remove(&no) {
            Some((Asker::Worker(worker, no), _)) if worker == self.config.worker => {
                self.handle_shadow_answered(no);
            }
            Some((Asker::Worker(worker, no), _)) => {
                cx.out.ask(Ask::Shadow(worker, ShadowMail::Answered(no)));
            }
            // Whoever asked may have gone.
            Some((Asker::Caller(answer), _)) => drop(answer.send(result)),
            None => {}
        }
    }

    pub(super) fn do_for_scribe(&mut self, outputs: Vec<ScribeOutput>, cx: &mut Turn<'_>) {
        let (mut said, mut fx) = (Vec::new(), Fx::new());
        let (mut of, mut read) = (None, None);
        for output in outputs {
            match output {
                // Always the last.
                ScribeOutput::Read(key) => read = Some(key),
                ScribeOutput::Write { key, expect, record, again, then } => {
                    self.write_shadow(key, (expect, record), (again, then), cx.now);
                }
                ScribeOutput::Changed { .. } => {}
                output @ (ScribeOutput::Answer { .. } | ScribeOutput::Tell { .. }) => {
                    of = self.prepare(output, cx.now.wall, &mut said, &mut fx).or(of);
                }
            }
        }
        if let Some(key) = of {
            let (record, sure) = (Bytes::new(), true);
            let word = ShadowWord { key, written: None, record, stored: None, sure, said };
            fx.then(Output::Shadow(Box::new(word)));
            self.side.push_back(fx);
        }
        if let Some(key) = read {
            self.read_shadow(key, cx);
        }
    }

    /// Something is asked of a shadow: what is remembered of it is changed, or it is read.
    fn read_shadow(&mut self, key: OwnedKey, cx: &mut Turn<'_>) {
        if let Some((rev, record)) = self.shadows.remembered.take(&key) {
            let now = cx.now.wall;
            self.shadows.base = Some((key.clone(), rev));
            let write = self
                .with_wanted(|scribe, wanted| scribe.handle_remembered(&key, &record, now, wanted));
            let is_done = write.is_some();
            self.do_for_scribe(write.into_iter().collect(), cx);
            self.shadows.base = None;
            if is_done {
                return;
            }
        }
        let counts = self.shadows.scribe.counts_names(&key);
        let most = if counts { self.config.shadow.limits.named_shadows } else { 0 };
        cx.out.ask(Ask::ReadShadow(key, most));
    }

    /// The record and everything that stored queues get of it are one write. What is made again is written only as long as those who
    /// asked have not connected again.
    fn write_shadow(
        &mut self,
        key: OwnedKey,
        (expect, record): (Option<[u8; 8]>, Vec<u8>),
        (again, then): (bool, Vec<ScribeOutput>),
        now: Now,
    ) {
        let sure = self.is_sure(now);
        let (mut fx, mut said, mut written) = (Fx::new(), Vec::new(), None);
        let creates = ShadowRecord::is_live(&record)
            && expect.is_none_or(|fence| !ShadowRecord::is_live(&fence));
        if let Some((_, counted)) = self.shadows.room.take_if(|(of, _)| creates && *of == key) {
            fx.first(Record::Put(count_creation(key.key().thing, counted)));
        }
        let record = Bytes::from(record);
        let expect = match self.shadows.base.take_if(|(of, _)| *of == key) {
            Some((_, rev)) => Expect::Rev(rev),
            None => expect.map_or(Expect::Absent, Expect::Prefix),
        };
        fx.first(Record::Put(Put {
            space: Space::Shadow,
            key: key.key().to_stored().into(),
            value: Some(record.clone()),
            expect,
            announce: true,
        }));
        for output in then {
            match output {
                ScribeOutput::Changed { record, .. } => written = Some(record),
                ScribeOutput::Read(_) | ScribeOutput::Write { .. } => {}
                output @ (ScribeOutput::Answer { .. } | ScribeOutput::Tell { .. }) => {
                    let _same = self.prepare(output, now.wall, &mut said, &mut fx);
                }
            }
        }
        if again {
            let latest = requests_of(&said).filter_map(|no| self.latest_of(no));
            latest.for_each(|check| fx.first(Record::Check(check.clone())));
        }
        let word = ShadowWord { key, written, record, stored: None, sure, said };
        fx.then(Output::Shadow(Box::new(word)));
        self.side.push_back(fx);
    }

    /// Decides who gets a message, and adds what must be stored for it; answers of which shadow it is.
    fn prepare(
        &mut self,
        output: ScribeOutput,
        now: Wall,
        said: &mut Vec<Said>,
        fx: &mut Fx,
    ) -> Option<OwnedKey> {
        match output {
            ScribeOutput::Answer { key, no, operation, result } => {
                let topic = |answer| key.key().topic(operation, Some(answer));
                let dispatch = match &result {
                    Ok(message) => self.publication_of(topic(Answer::Accepted), message, fx),
                    Err(rejection) => {
                        let message = rejection.message(now);
                        self.publication_of(topic(Answer::Rejected), &message, fx)
                    }
                };
                said.extend(dispatch.map(Said::Answer));
                said.push(Said::Answered(no, operation, result));
                Some(key)
            }
            ScribeOutput::Tell { key, answer, payload } => {
                let topic = key.key().topic(Operation::Update, Some(answer));
                let dispatch = self.publication_of(topic, &payload, fx);
                said.extend(dispatch.map(Said::Told));
                Some(key)
            }
            ScribeOutput::Read(_) | ScribeOutput::Write { .. } | ScribeOutput::Changed { .. } => {
                None
            }
        }
    }

    pub(super) fn publication_of(
        &mut self,
        topic: ReservedTopic<'_>,
        message: &str,
        fx: &mut Fx,
    ) -> Option<Dispatch> {
        let topic = topic.to_string();
        let publication =
            Publication::new(&topic, &[], message.as_bytes(), QoS::AtLeastOnce, false);
        self.address(publication, fx)
    }

    /// Lets the scribe ask what of an update anybody wants to hear that is served here, or from a stored queue.
    fn with_wanted<T>(
        &mut self,
        ask: impl FnOnce(&mut shadow::Scribe, &dyn Fn(ReservedTopic<'_>) -> bool) -> T,
    ) -> T {
        let Self { shadows, cache, table, tables, .. } = self;
        let cache = RefCell::new(cache);
        let wanted = |topic: ReservedTopic<'_>| {
            let route = cache.borrow_mut().get(&topic.to_string(), table, tables);
            is_wanted(&route)
        };
        ask(&mut shadows.scribe, &wanted)
    }

    pub(super) fn count_answer(&self, operation: Operation, result: Result<(), &Rejection>) {
        let metrics = &self.metrics;
        match operation {
            Operation::Get => metrics.shadow_gets.add(1),
            Operation::Update => metrics.shadow_updates.add(1),
            Operation::Delete => metrics.shadow_deletes.add(1),
        }
        let Err(rejection) = result else { return };
        if matches!(rejection.refusal, Refusal::TooManyShadows { .. }) {
            return metrics.shadow_rejected_names.add(1);
        }
        match rejection.refusal.code() {
            404 => metrics.shadow_rejected_missing.add(1),
            409 => metrics.shadow_rejected_version.add(1),
            413 => metrics.shadow_rejected_size.add(1),
            429 => metrics.shadow_rejected_rate.add(1),
            500.. => metrics.shadow_rejected_failed.add(1),
            _ => metrics.shadow_rejected_invalid.add(1),
        }
    }
}

/// Whether that a client has not connected again is untrue by what stands under that key.
fn fails(latest: &Check, key: &[u8], stands: Option<&Bytes>) -> bool {
    let Expect::AtMost(fence) = latest.expect else { return false };
    let above = |stands: &Bytes| stands.first_chunk().is_none_or(|start| *start > fence);
    latest.key == key && stands.is_some_and(above)
}

/// The requests that are answered by this.
fn requests_of(said: &[Said]) -> impl Iterator<Item = RequestNo> {
    said.iter().filter_map(|one| match one {
        Said::Answered(no, ..) => Some(*no),
        Said::Answer(_) | Said::Told(_) => None,
    })
}

/// Whether anybody gets a message by the gateway that made it happen.
fn is_wanted(route: &Route) -> bool {
    let fleet = &route.fleet;
    fleet.workers.of(QoS::AtLeastOnce) != 0
        || !fleet.refs_of(QoS::AtLeastOnce).is_empty()
        || !fleet.groups.is_empty()
        || !fleet.missing.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_connected_again_is_who_owned_its_session_before_the_one_that_stands() {
        let owned = |epoch: u64| Some(Bytes::from([&epoch.to_be_bytes()[..], b"more"].concat()));
        let latest = |client: &'static str, epoch: u64| Check {
            space: Space::Session,
            key: Bytes::from_static(client.as_bytes()),
            expect: Expect::AtMost(epoch.to_be_bytes()),
        };
        let stands = owned(8);
        let is_gone = |check: Check| fails(&check, b"c", stands.as_ref());
        assert!(is_gone(latest("c", 7)));
        assert!(!is_gone(latest("c", 8)), "its last connection");
        assert!(!is_gone(latest("d", 7)), "another client");
        assert!(!fails(&latest("c", 7), b"c", None), "it has left");
        assert!(fails(&latest("c", 7), b"c", Some(&Bytes::from_static(b"short"))));
    }
}
