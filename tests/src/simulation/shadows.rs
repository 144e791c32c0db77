//! What may be concluded about shadows (V2).
//!
//! Each update sets one of a few numbers of its device, so that the record tells whose updates it holds.
//!
//! 1. Each write of a record has a later version than the one before it, by at least as many as numbers changed; no number is one that
//!    nobody sent, and none goes back, unless its update was sent again: whoever is not the first to change a shadow makes its change
//!    again of what is there then.
//! 2. What `accepted` says of an update is stored when a gateway writes it to a socket, and no other update had the same version. What
//!    `get` shows is as new as what was stored when it was asked for.
//! 3. Who watches is never told of an older version after a newer one, nor twice of the same without DUP, within a session for what is
//!    stored and within a connection for what is not; a persistent session may be told again of a version that was written again, since
//!    others may not have waited for the gateway that wrote it. A persistent session misses none that was written after its SUBACK.
//! 4. In the end who watches has been told of the newest version, if that was written after its SUBACK, whatever failed.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use protocol::mqtt::Publish;
use protocol::{QoS, Wall, matches};
use serde_json::Value;
use shadow::{Record, ShadowKey, get};
use store::{Space, Write};

use super::agenda::Moment;
use super::device::Device;
use super::facts::Span;
use super::network::WireId;
use super::truth::{Standing, Truth};

/// What is known of shadows.
#[derive(Debug)]
pub(super) struct Shadows {
    kept: BTreeMap<String, Kept>,
    asked: BTreeMap<String, Asked>,
    /// Which update has a version of a shadow.
    answers: BTreeMap<(String, u64), String>,
    /// The newest version that was told: of which shadow, by which topic, to whom.
    told: BTreeMap<Stream, u64>,
    /// When a deletion was last sent.
    deleted: Option<Moment>,
}

/// Which topic, of which session, on which connection if it matters.
type Stream = (String, (usize, u32), Option<WireId>);

/// A record in the store.
#[derive(Debug, Default)]
struct Kept {
    stored: Bytes,
    version: u64,
    /// Numbers by their names; none of a shadow that was deleted.
    numbers: BTreeMap<String, u64>,
    is_live: bool,
    writes: Vec<Written>,
    /// Versions that were written again as they are, so that what follows from them is said again.
    repeated: BTreeSet<u64>,
}

/// One write of a record, which may hold several updates.
#[derive(Debug)]
struct Written {
    from: u64,
    to: u64,
    at: Moment,
}

/// A request.
#[derive(Debug)]
struct Asked {
    times: u32,
    /// The version that was stored when it was first sent.
    floor: u64,
}

/// How late a deletion may be done, in microseconds, that excuses numbers which are gone.
const DELETES_US: u64 = 15_000_000;

impl Shadows {
    pub(super) const fn new() -> Self {
        Self {
            kept: BTreeMap::new(),
            asked: BTreeMap::new(),
            answers: BTreeMap::new(),
            told: BTreeMap::new(),
            deleted: None,
        }
    }

    /// Updates that were answered.
    pub(super) fn answered(&self) -> usize {
        self.answers.len()
    }

    /// A device sends a request about a shadow, or sends it again.
    fn asks(&mut self, key: &str, token: &str, now: Moment) {
        let floor = self.kept.get(key).map_or(0, |kept| kept.version);
        let fresh = Asked { times: 0, floor };
        self.asked.entry(token.to_owned()).or_insert(fresh).times += 1;
        if token.contains("-x") {
            self.deleted = Some(now);
        }
    }

    /// What was told before is another subscription's.
    pub(super) fn forgets(&mut self, device: usize, filter: &str) {
        self.told.retain(|(topic, (known, _), _), _| *known != device || !matches(filter, topic));
    }

    /// The store took a write.
    pub(super) fn stored(&mut self, write: &Write, now: Moment) -> Result<(), String> {
        for put in write.puts.iter().filter(|put| put.space == Space::Shadow) {
            let Some(value) = &put.value else {
                return Err(format!("the shadow {:?} is gone", put.key));
            };
            self.keep(&put.key, value, now)?;
        }
        Ok(())
    }

    /// What stands in the store, perhaps after a commit of which nobody was told.
    fn stands(&mut self, stands: &[Standing], now: Moment) -> Result<(), String> {
        for (key, doc) in stands {
            let known = String::from_utf8_lossy(key);
            if self.kept.get(&*known).is_none_or(|kept| kept.stored != doc.value) {
                self.keep(key, &doc.value, now)?;
            }
        }
        Ok(())
    }

    fn keep(&mut self, key: &[u8], value: &Bytes, now: Moment) -> Result<(), String> {
        let name = String::from_utf8_lossy(key).into_owned();
        let Some(record) = Record::decode(value) else {
            return Err(format!("the record of {name} cannot be read"));
        };
        let kept = self.kept.entry(name.clone()).or_default();
        if kept.stored == *value {
            kept.repeated.insert(kept.version);
            return Ok(());
        }
        let (from, to) = (kept.version, record.version());
        let is_live = record.document().is_some();
        if to < from || (to == from && (is_live || !kept.is_live)) {
            return Err(format!("{name}: version {to} is written over version {from}"));
        }
        let numbers = numbers_of(&record);
        let mut changed = 0;
        for (number, value) in &numbers {
            let before = kept.numbers.get(number).copied();
            if before == Some(*value) {
                continue;
            }
            let device = number.split('.').next().unwrap_or_default();
            let Some(asked) = self.asked.get(&format!("{device}-{value}")) else {
                return Err(format!("{name}: {number} is {value}, which nobody sent"));
            };
            if before > Some(*value) && asked.times < 2 {
                return Err(format!("{name}: {number} goes back from {before:?} to {value}"));
            }
            changed += 1;
        }
        let lost = kept.numbers.keys().find(|number| !numbers.contains_key(*number));
        let deletes = self.deleted.is_some_and(|at| now.since(at) <= DELETES_US);
        if let Some(lost) = lost.filter(|_| is_live && !deletes) {
            return Err(format!("{name}: {lost} is gone, which nobody deleted"));
        }
        if changed > to - from {
            return Err(format!("{name}: {changed} numbers change from version {from} to {to}"));
        }
        kept.writes.push(Written { from, to, at: now });
        (kept.version, kept.numbers, kept.is_live) = (to, numbers, is_live);
        kept.stored = value.clone();
        Ok(())
    }

    /// A gateway writes an answer to a socket.
    fn answers(&mut self, (name, what): (&str, &str), message: &Value) -> Result<(), String> {
        let Some(token) = token_of(message) else { return Ok(()) };
        let Some(version) = version_of(message) else { return Ok(()) };
        let stored = self.kept.get(name).map_or(0, |kept| kept.version);
        match what {
            "update/accepted" if version > stored => Err(format!(
                "{token} is answered with version {version} of {name}, stored is {stored}"
            )),
            "update/accepted" => {
                let answers = self.answers.entry((name.to_owned(), version));
                let first = answers.or_insert_with(|| token.to_owned());
                if first != token {
                    return Err(format!("{first} and {token} have version {version} of {name}"));
                }
                Ok(())
            }
            "get/accepted" => {
                let floor = self.asked.get(token).map_or(0, |asked| asked.floor);
                if version < floor {
                    return Err(format!("{token} gets version {version} of {name}, not {floor}"));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The first version between these that a subscription which was confirmed then was owed.
    fn missed(&self, name: &str, (after, until): (u64, u64), confirmed: Moment) -> Option<u64> {
        let writes = self.kept.get(name)?.writes.iter();
        let owed = writes.filter(|it| it.at > confirmed);
        let mut missed = owed.map(|it| (it.from.max(after) + 1, it.to.min(until - 1)));
        missed.find(|(first, last)| first <= last).map(|(first, _)| first)
    }
}

impl Truth {
    /// A device sends a request about a shadow, or sends it again, under a packet id that may have been a publication's.
    pub(super) fn asks_of_shadow(
        &mut self,
        (wire, id): (WireId, u16),
        (key, token): (&str, &str),
        now: Moment,
    ) {
        if let Some(talk) = self.talks.get_mut(&wire) {
            talk.ids.remove(&id);
        }
        self.shadows.asks(key, token, now);
    }

    /// What stands in the store, as it is read there.
    pub(super) fn shadows_stand(&mut self, stands: &[Standing], now: Moment) {
        if let Err(what) = self.shadows.stands(stands, now) {
            self.breach("V2", what);
        }
    }

    /// A gateway writes what it says of a shadow to a socket.
    pub(super) fn see_shadow(&mut self, publish: &Publish<'_>) {
        let Some(aim) = aim_of(publish.topic) else { return };
        let message = serde_json::from_slice(publish.payload).unwrap_or_default();
        if let Err(what) = self.shadows.answers((&aim.0, aim.1), &message) {
            self.breach("V2", what);
        }
    }

    /// A device is told of a shadow. Answers what, in few words.
    pub(super) fn told(
        &mut self,
        device: &Device,
        publish: &Publish<'_>,
        wire: WireId,
    ) -> Option<String> {
        let (name, what) = aim_of(publish.topic)?;
        let message: Value = serde_json::from_slice(publish.payload).unwrap_or_default();
        let version = version_of(&message);
        let Some(version) = version else {
            return Some(format!("{what} of {name}: {message}"));
        };
        let said = format!("{what} of {name}, version {version}");
        if what != "update/documents" && what != "update/delta" {
            let token = token_of(&message).unwrap_or_default();
            return Some(format!("{said}, to {token}"));
        }
        let is_stored = device.persistent && publish.qos != QoS::AtMostOnce;
        let session = (device.index, device.life);
        let stream = (publish.topic.to_owned(), session, (!is_stored).then_some(wire));
        let newest = self.shadows.told.get(&stream).copied();
        let kept = self.shadows.kept.get(&name);
        let repeated = is_stored && kept.is_some_and(|kept| kept.repeated.contains(&version));
        let old = newest.is_some_and(|it| version < it || (version == it && !repeated));
        if old && !publish.dup {
            let what = format!("{} is told {said}, after version {newest:?}", device.name);
            self.breach("V2", what);
        }
        let stored = self.shadows.kept.get(&name).map_or(0, |kept| kept.version);
        if version > stored {
            self.breach("V2", format!("{} is told {said}, stored is {stored}", device.name));
        }
        if let Some(newest) = newest
            && is_stored
            && what == "update/documents"
            && self.full.is_none()
            && let Some(since) = self.watches(session, publish.topic).map(|span| span.confirmed)
            && let Some(missed) = self.shadows.missed(&name, (newest, version), since)
        {
            let what = format!("{} is told {said}, not of version {missed}", device.name);
            self.breach("V2", what);
        }
        let newest = newest.unwrap_or_default().max(version);
        self.shadows.told.insert(stream, newest);
        Some(said)
    }

    /// The subscription by which a session is told something.
    fn watches(&self, session: (usize, u32), topic: &str) -> Option<&Span> {
        self.spans.iter().find(|span| {
            let theirs = (span.device, span.life) == session && span.ended.is_none();
            theirs && matches(&span.filter, topic)
        })
    }

    /// All is quiet: who watches knows the newest version.
    pub(super) fn conclude_shadows(&mut self) {
        let live = self.shadows.kept.iter().filter(|(_, kept)| kept.is_live);
        let mut topics = live.flat_map(|(name, kept)| {
            ["documents", "delta"].map(|what| (topic_of(name, what), kept))
        });
        let late = topics.find_map(|(topic, kept)| self.late(&topic, kept));
        drop(topics);
        if let Some(what) = late {
            self.breach("V2", what);
        }
    }

    /// Whoever should have been told of the newest version of a shadow by this topic, and was not.
    fn late(&self, topic: &str, kept: &Kept) -> Option<String> {
        let written = kept.writes.last()?.at;
        let owed = self.spans.iter().filter(|span| {
            let stands = span.ended.is_none() && !span.slow && span.confirmed < written;
            stands && span.qos != QoS::AtMostOnce && matches(&span.filter, topic)
        });
        let mut told = owed.filter_map(|span| {
            let wire = (!span.persistent).then_some(span.wire);
            let gone = self.talks.get(&span.wire).is_none_or(|talk| talk.ended.is_some());
            // Short queues may have dropped it.
            let excused = self.full.is_some() || (!span.persistent && gone);
            if excused {
                return None;
            }
            let stream = (topic.to_owned(), (span.device, span.life), wire);
            Some((span.device, self.shadows.told.get(&stream).copied()))
        });
        let (device, told) = told.find(|(_, told)| *told != Some(kept.version))?;
        let version = kept.version;
        Some(format!("d{device} watches {topic} and was told version {told:?}, not {version}"))
    }
}

/// Which version a message is about.
fn version_of(message: &Value) -> Option<u64> {
    let named = message.get("version").or_else(|| message.pointer("/current/version"));
    named.and_then(Value::as_u64)
}

fn token_of(message: &Value) -> Option<&str> {
    message.get("clientToken").and_then(Value::as_str)
}

/// The numbers in a record, each by its device and its own name.
fn numbers_of(record: &Record) -> BTreeMap<String, u64> {
    let Some(key) = ShadowKey::from_stored(b"any/") else { return BTreeMap::new() };
    let shown = get(Some(record), key, None, Wall(0)).unwrap_or_default();
    let shown: Value = serde_json::from_str(&shown).unwrap_or_default();
    let desired = shown.pointer("/state/desired").and_then(Value::as_object);
    let numbers = desired.into_iter().flatten().flat_map(|(device, numbers)| {
        let numbers = numbers.as_object().into_iter().flatten();
        numbers.filter_map(move |(number, value)| {
            Some((format!("{device}.{number}"), value.as_u64()?))
        })
    });
    numbers.collect()
}

/// Which shadow, by its stored key, and what of it, by the rest of the topic.
fn aim_of(topic: &str) -> Option<(String, &str)> {
    let (thing, rest) = topic.strip_prefix("$aws/things/")?.split_once("/shadow/")?;
    match rest.strip_prefix("name/").and_then(|rest| rest.split_once('/')) {
        Some((name, rest)) => Some((format!("{thing}/{name}"), rest)),
        None => Some((format!("{thing}/"), rest)),
    }
}

/// The topic of what follows from an update.
fn topic_of(key: &str, what: &str) -> String {
    match key.split_once('/') {
        Some((thing, "")) => format!("$aws/things/{thing}/shadow/update/{what}"),
        Some((thing, name)) => format!("$aws/things/{thing}/shadow/name/{name}/update/{what}"),
        None => String::new(),
    }
}
