//! Reads and writes what is kept about clients and things.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use protocol::session::SessionRecord;
use protocol::{ClientId, Publication, SessionEpoch, Wall};
use shadow::{Facts, Presence, Query, Record, ShadowKey, Thing, ThingName};
use store::{Doc, Expect, Outcome, Put, Reader, Space, StoreError, Write};

use super::control::{
    ClientControl, FoundThings, Given, PutThing, PutWhen, SendAwayRequest, SentAway,
    SubscriptionStatus, ThingDocument,
};
use super::documents::{RECORDS, client_of, record_key};
use super::errands::{Errand, NearErrand, Report, Task, delete_errand, errand_key};
use super::sending::{Papers, send_away};
use crate::commit::Answer;
use crate::committer::Order;
use crate::control::ControlError;
use crate::tail::worker_of;
use crate::text::hexadecimal;
use crate::worker::{Mail, PresenceMail, Shared};

/// Answers about clients and things from the store.
#[derive(Debug)]
pub struct Registrar {
    shared: Shared,
    reader: Mutex<Box<dyn Reader>>,
}

/// How long a write may take.
const WRITE_PATIENCE: Duration = Duration::from_secs(10);
/// How long a gateway may take to say what a client is subscribed to.
const SENDING_PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks whether it has.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Documents read at a time.
const PAGE: usize = 256;
/// Most things that one search looks at before it says where to go on.
const LOOKED_AT: usize = 10_000;
/// Most shadows of a thing that a search looks at.
const SHADOWS: usize = 64;

type Read<'a> = MutexGuard<'a, Box<dyn Reader>>;

/// What became of an errand for a worker of this process.
enum Near {
    /// This; none if nothing was said in time.
    Said(Option<Report>),
    /// Another gateway serves the client.
    Elsewhere,
}

fn ended() -> ControlError {
    ControlError::Missing("its connection ended, or moved, meanwhile".into())
}

impl Registrar {
    /// Reads by this reader.
    pub fn new(shared: Shared, reader: Box<dyn Reader>) -> Self {
        Self { shared, reader: Mutex::new(reader) }
    }

    fn reader(&self) -> Read<'_> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes all of these in as few commits as may be; one answer for each.
    fn write_all(&self, writes: Vec<Write>) -> Result<Vec<Outcome>, ControlError> {
        let not_taken = || ControlError::Unavailable("the store does not take it".into());
        let mut waiting = Vec::with_capacity(writes.len());
        for write in writes {
            let (sender, receiver) = channel();
            let order = Order::Other(Box::new(write), sender);
            self.shared.committer.send(order).map_err(|_| not_taken())?;
            waiting.push(receiver);
        }
        let mut outcomes = Vec::with_capacity(waiting.len());
        for receiver in waiting {
            match receiver.recv_timeout(WRITE_PATIENCE) {
                Ok(Answer::Committed(outcome, _)) => outcomes.push(outcome),
                Ok(Answer::Unavailable) => return Err(not_taken()),
                Err(_) => {
                    let why = "the store has not answered in time";
                    return Err(ControlError::Unfinished(why.into()));
                }
            }
        }
        Ok(outcomes)
    }

    /// Has the gateway that serves a client do something, as the log tells it; none if it says nothing in time.
    fn run(
        &self,
        client: &ClientId,
        (epoch, task): (SessionEpoch, Task),
        patience: Duration,
    ) -> Result<Option<Report>, ControlError> {
        let mut random = [0; 8];
        let no = aws_lc_rs::rand::fill(&mut random);
        no.map_err(|_| ControlError::Unavailable("there is no randomness".into()))?;
        let errand = Errand { no: u64::from_be_bytes(random), epoch, task };
        self.write(vec![errand.put(client, self.shared.now().wall)])?;
        let report = self.await_report(client, &errand, patience);
        if !matches!(report, Ok(Some(Report::Done))) {
            // Also if nobody did it: then nobody shall.
            self.write(vec![delete_errand(client, errand.no)])?;
        }
        report
    }

    fn await_report(
        &self,
        client: &ClientId,
        errand: &Errand,
        patience: Duration,
    ) -> Result<Option<Report>, ControlError> {
        let (key, until) = (errand_key(client, errand.no), Instant::now() + patience);
        loop {
            // Before the report is looked for: what was reported to the last is found.
            let session = self.session(client)?;
            let is_served = session
                .is_some_and(|(record, _)| record.epoch == errand.epoch && record.owner.is_some());
            let doc = self.get(Space::Presence, &key)?;
            if let Some(report) = Report::read(doc.as_ref().map(|doc| &doc.value)) {
                return Ok(Some(report));
            }
            if !is_served {
                return Err(ended());
            }
            if Instant::now() >= until {
                return Ok(None);
            }
            // This is a thread that may wait, and no notice tells when it is done.
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Has a worker of this process do something, if it serves the client.
    fn run_near(
        &self,
        client: &ClientId,
        (epoch, task): (SessionEpoch, Task),
        patience: Duration,
    ) -> Result<Near, ControlError> {
        let mailboxes = &self.shared.mailboxes;
        let worker = worker_of(client, mailboxes.len());
        let Some(mailbox) = mailboxes.get(usize::from(worker)) else { return Ok(Near::Elsewhere) };
        let (report, reports) = channel();
        let errand = Box::new(NearErrand { epoch, task, report });
        mailbox.send(Mail::Presence(PresenceMail::RunNear(client.clone(), errand)));
        match reports.recv_timeout(patience) {
            Ok(Some(report)) => Ok(Near::Said(Some(report))),
            Ok(None) => Ok(Near::Elsewhere),
            Err(RecvTimeoutError::Timeout) => Ok(Near::Said(None)),
            Err(RecvTimeoutError::Disconnected) => Err(ended()),
        }
    }

    /// What a clean session that is served here is subscribed to.
    fn filters_here(&self, client: &ClientId) -> Option<Vec<SubscriptionStatus>> {
        let answers = self.shared.ask_workers(|answer| Mail::Filters(client.clone(), answer));
        answers.into_iter().flatten().flatten().next()
    }

    fn stored_thing(&self, name: &str) -> Result<Option<(Thing, Doc)>, ControlError> {
        let Some(doc) = self.get(Space::Thing, name.as_bytes())? else { return Ok(None) };
        let thing = Thing::decode(&doc.value);
        Ok(thing.map(|thing| (thing, doc)))
    }

    /// Whether a search finds a thing; and its presence.
    fn judge(
        &self,
        thing: &Thing,
        query: Option<&Query>,
    ) -> Result<(bool, Option<Presence>), ControlError> {
        let mut reader = self.reader();
        let doc = reader.get(Space::Presence, &record_key(thing.name())).map_err(unread)?;
        let presence = doc.and_then(|doc| Presence::decode(&doc.value));
        let Some(query) = query else { return Ok((true, presence)) };
        let Ok(name) = ThingName::new(thing.name()) else { return Ok((false, presence)) };
        let prefix = ShadowKey::prefix(name);
        let docs = reader.scan(Space::Shadow, prefix.as_bytes(), None, SHADOWS).map_err(unread)?;
        drop(reader);
        let records: Vec<(&[u8], Record)> = docs
            .iter()
            .filter_map(|(key, doc)| Some((&**key, Record::decode(&doc.value)?)))
            .collect();
        let shadows: Vec<_> = records
            .iter()
            .filter_map(|(key, record)| {
                let key = ShadowKey::from_stored(key)?;
                Some((key.shadow.map(|name| name.as_str()), record.document()?))
            })
            .collect();
        let facts = Facts { thing, presence: presence.as_ref(), shadows: &shadows };
        let is_found = query.matches(&facts);
        Ok((is_found, presence))
    }
}

impl Papers for Registrar {
    fn session(&self, client: &ClientId) -> Result<Option<(SessionRecord, Doc)>, ControlError> {
        let doc = self.get(Space::Session, client.as_str().as_bytes())?;
        let Some(doc) = doc else { return Ok(None) };
        let damaged = || ControlError::Unavailable("its session cannot be read".into());
        let record = SessionRecord::decode(&doc.value).ok_or_else(damaged)?;
        Ok(Some((record, doc)))
    }

    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Doc>, ControlError> {
        self.reader().get(space, key).map_err(unread)
    }

    fn write(&self, puts: Vec<Put>) -> Result<bool, ControlError> {
        let write = Write { puts: puts.into(), ..Write::default() };
        let outcomes = self.write_all(vec![write])?;
        Ok(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Done { .. })))
    }

    fn wall(&self) -> Wall {
        self.shared.now().wall
    }
}

impl ClientControl for Registrar {
    fn presence(&self, client: &ClientId) -> Result<Option<Presence>, ControlError> {
        let doc = self.get(Space::Presence, &record_key(client.as_str()))?;
        Ok(doc.and_then(|doc| Presence::decode(&doc.value)))
    }

    fn presences(
        &self,
        after: Option<&str>,
        max: usize,
    ) -> Result<Vec<(ClientId, Presence)>, ControlError> {
        let after = after.map(record_key);
        let after = after.as_deref();
        let page = self.reader().scan(Space::Presence, &RECORDS, after, max).map_err(unread)?;
        let read =
            |(key, doc): &(Bytes, Doc)| Some((client_of(key)?, Presence::decode(&doc.value)?));
        Ok(page.iter().filter_map(read).collect())
    }

    fn subscriptions(
        &self,
        client: &ClientId,
    ) -> Result<Option<Vec<SubscriptionStatus>>, ControlError> {
        let now = self.wall();
        let stands = self.session(client)?.filter(|(record, _)| !record.is_over(now));
        let Some((record, _)) = stands else { return Ok(None) };
        if record.no.0 == 0 {
            if let Some(filters) = self.filters_here(client) {
                return Ok(Some(filters));
            }
            if record.owner.is_none() {
                return Ok(None);
            }
            let task = (record.epoch, Task::TellFilters);
            return match self.run(client, task, SENDING_PATIENCE)? {
                Some(Report::Filters(filters)) => Ok(Some(filters)),
                Some(Report::Done | Report::Denied | Report::Busy | Report::TooLarge) | None => {
                    Err(ControlError::Unavailable("its gateway has not answered in time".into()))
                }
            };
        }
        let status = |it: &protocol::session::StoredSubscription| SubscriptionStatus {
            filter: it.filter.to_string(),
            qos: it.qos.bits(),
        };
        Ok(Some(record.subscriptions.iter().map(status).collect()))
    }

    fn send_away(
        &self,
        client: &ClientId,
        how: SendAwayRequest,
        by: &str,
    ) -> Result<SentAway, ControlError> {
        let sent = send_away(self, client, how)?;
        tracing::info!(
            target: "audit", by, client_id = client.as_str(), clean_session = how.clean_session,
            prevent_will = how.prevent_will, "a client is sent away"
        );
        Ok(sent)
    }

    fn give(
        &self,
        client: &ClientId,
        message: Publication,
        patience: Duration,
    ) -> Result<Given, ControlError> {
        let nobody = || ControlError::Missing("no such client is connected".into());
        let (record, _) = self.session(client)?.ok_or_else(nobody)?;
        if record.owner.is_none() {
            return Err(nobody());
        }
        let task = (record.epoch, Task::Give(message, patience));
        let report = match self.run_near(client, task.clone(), patience)? {
            Near::Said(report) => report,
            Near::Elsewhere => self.run(client, task, patience)?,
        };
        Ok(match report {
            Some(Report::Done | Report::Filters(_)) => Given::Taken,
            Some(Report::Denied) => Given::Denied,
            Some(Report::Busy) => Given::Busy,
            Some(Report::TooLarge) => Given::TooLarge,
            None => Given::Unanswered,
        })
    }

    fn thing(&self, name: &str) -> Result<Option<Thing>, ControlError> {
        Ok(self.stored_thing(name)?.map(|(thing, _)| thing))
    }

    fn things(
        &self,
        query: Option<&str>,
        after: Option<&str>,
        max: usize,
    ) -> Result<FoundThings, ControlError> {
        let query = query.map(Query::parse).transpose();
        let query = query.map_err(|error| ControlError::Invalid(format!("query: {error}")))?;
        let mut found = FoundThings::default();
        let (mut at, mut looked) = (after.map(|it| Bytes::copy_from_slice(it.as_bytes())), 0);
        loop {
            let page =
                self.reader().scan(Space::Thing, &[], at.as_deref(), PAGE).map_err(unread)?;
            for (key, doc) in &page {
                if found.things.len() == max || looked == LOOKED_AT {
                    let before = at.as_deref().and_then(|key| std::str::from_utf8(key).ok());
                    found.next = before.map(str::to_owned);
                    return Ok(found);
                }
                looked += 1;
                at = Some(key.clone());
                let Some(thing) = Thing::decode(&doc.value) else { continue };
                let (is_found, presence) = self.judge(&thing, query.as_ref())?;
                if is_found {
                    found.things.push((thing, presence));
                }
            }
            if page.len() < PAGE {
                return Ok(found);
            }
        }
    }

    fn put_things(
        &self,
        things: Vec<ThingDocument>,
        when: PutWhen,
        by: &str,
    ) -> Result<Vec<PutThing>, ControlError> {
        let now = self.shared.now().wall;
        let read = |it: &ThingDocument| {
            let invalid = |why| ControlError::Invalid(format!("thing {:?}: {why}", it.name));
            it.to_thing(now).map_err(invalid)
        };
        let things = things.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let mut writes = Vec::with_capacity(things.len());
        let mut fates = Vec::with_capacity(things.len());
        for mut thing in things {
            let before = self.stored_thing(thing.name())?;
            let fate = match (&before, when) {
                (None, _) => PutThing::Created,
                (Some(_), PutWhen::Always) => PutThing::Replaced,
                (Some(_), PutWhen::New) => PutThing::Known,
            };
            fates.push(fate);
            if fate == PutThing::Known {
                continue;
            }
            if let Some((before, _)) = before {
                thing.created_at = before.created_at;
            }
            tracing::info!(target: "audit", by, thing = thing.name(), "a thing is written down");
            let mut write = Write::default();
            write.puts.push(put_thing(thing.name(), Some(&thing), Expect::Any));
            writes.push(write);
        }
        self.write_all(writes)?;
        Ok(fates)
    }

    fn remove_thing(&self, name: &str, by: &str) -> Result<Option<Thing>, ControlError> {
        let Some((thing, _)) = self.stored_thing(name)? else { return Ok(None) };
        self.write(vec![put_thing(name, None, Expect::Any)])?;
        tracing::info!(target: "audit", by, thing = name, "a thing is forgotten");
        Ok(Some(thing))
    }
}

/// A thing as it is stored, by its name; none forgets it.
pub(crate) fn put_thing(name: &str, thing: Option<&Thing>, expect: Expect) -> Put {
    let key = Bytes::copy_from_slice(name.as_bytes());
    let value = thing.map(|thing| Bytes::from(thing.encode()));
    Put { space: Space::Thing, key, value, expect, announce: false }
}

/// Of which nothing is known but its name, and a certificate by its SHA-256; none for a client id that is no name of a thing.
pub(crate) fn thing_of(client: &ClientId, fingerprint: &[u8; 32], now: Wall) -> Option<Thing> {
    let mut thing = Thing::new(ThingName::new(client.as_str()).ok()?, now);
    // It is one, and the first.
    let _ = thing.attach(&hexadecimal(fingerprint));
    Some(thing)
}

fn unread(error: StoreError) -> ControlError {
    ControlError::Unavailable(format!("the store does not answer: {error}"))
}
