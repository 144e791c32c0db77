//! Shadows for whoever asks by another way than MQTT: the API, the calls of devices over HTTPS, the command line.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use protocol::{Wall, hash64};
use shadow::{Ask, OwnedKey, Record, Refusal, Rejection, ShadowKey, ShadowLimits, ThingName};
use store::{Expect, Put, Reader, Rev, Space, StoreError, Write};
use tokio::sync::oneshot;

use crate::hub::{Asker, ShadowAsk, ShadowMail, worker_of_thing};
use crate::tail::{ShadowQuestion, TailAsk, TailSender};
use crate::worker::{Mail, Mailbox};

/// Where to ask about shadows; whoever may ask is the caller's to know.
#[derive(Debug, Clone)]
pub struct Shadows {
    mailboxes: Vec<Arc<Mailbox>>,
    tail: TailSender,
    limits: ShadowLimits,
}

/// Names of shadows, and behind which name to go on if there may be more.
pub type ShadowNames = (Vec<String>, Option<String>);

/// Records read together.
const PAGE: usize = 256;
/// Records looked at for one list of names, those that were deleted among them; it may end before it is full.
const LOOKED_AT: usize = 4_096;

impl Shadows {
    /// Asks these workers, and this follower of the log.
    pub const fn new(mailboxes: Vec<Arc<Mailbox>>, tail: TailSender, limits: ShadowLimits) -> Self {
        Self { mailboxes, tail, limits }
    }

    /// What a shadow may be, for [`Ask::parse`].
    pub const fn limits(&self) -> &ShadowLimits {
        &self.limits
    }

    /// Asks; the message of `accepted` comes once it is stored. What follows is published as after any request.
    ///
    /// # Errors
    /// [`Rejection`], as it is published too.
    pub async fn ask(&self, key: OwnedKey, ask: Ask) -> Result<String, Rejection> {
        self.send(key, ask).await.unwrap_or_else(|_| Err(gone()))
    }

    fn send(&self, key: OwnedKey, ask: Ask) -> oneshot::Receiver<Result<String, Rejection>> {
        let (asker, answer) = oneshot::channel();
        let worker = worker_of_thing(key.key().thing, self.mailboxes.len());
        if let Some(mailbox) = self.mailboxes.get(usize::from(worker)) {
            let asked = ShadowAsk { key, ask, asker: Asker::Caller(asker), latest: None };
            mailbox.send(Mail::Shadow(ShadowMail::Ask(Box::new(asked))));
        }
        answer
    }

    /// Up to `max` names of a thing's named shadows, in order, behind `after`; fewer, also none, if many were deleted before more come.
    ///
    /// # Errors
    /// The store or the process does not answer.
    pub async fn names(
        &self,
        thing: ThingName<'_>,
        after: Option<&str>,
        max: usize,
    ) -> Result<ShadowNames, Refusal> {
        self.ask_names(thing, after, max).await.ok().flatten().ok_or(Refusal::Unavailable)
    }

    fn ask_names(
        &self,
        thing: ThingName<'_>,
        after: Option<&str>,
        max: usize,
    ) -> oneshot::Receiver<Option<ShadowNames>> {
        let (asker, answer) = oneshot::channel();
        let thing = thing.as_str().into();
        let after = after.map(Into::into);
        // Without the thread the answer says so.
        let question = ShadowQuestion::Names { thing, after, max, answer: asker };
        let _ = self.tail.send(TailAsk::Shadow(question));
        answer
    }
}

/// Reads the names of a thing's named shadows.
///
/// # Errors
/// [`StoreError`], by what is wrong with the store.
pub(crate) fn read_names(
    (thing, after): (&str, Option<&str>),
    max: usize,
    reader: &mut dyn Reader,
) -> Result<ShadowNames, StoreError> {
    let Ok(thing) = ThingName::new(thing) else { return Ok(ShadowNames::default()) };
    let prefix = ShadowKey::prefix(thing);
    // The classic shadow has no name, and comes first.
    let mut last = format!("{prefix}{}", after.unwrap_or_default()).into_bytes();
    let (mut names, mut looked) = (Vec::new(), 0);
    // The name that was looked at last.
    let mut next = None;
    loop {
        let page = reader.scan(Space::Shadow, prefix.as_bytes(), Some(&last), PAGE.min(max + 1))?;
        let Some((key, _)) = page.last() else { return Ok((names, None)) };
        last = key.to_vec();
        for (key, doc) in page {
            let name = ShadowKey::from_stored(&key).and_then(|key| key.shadow);
            let Some(name) = name else { continue };
            let is_live = Record::is_live(&doc.value);
            if looked >= LOOKED_AT || (is_live && names.len() >= max) {
                return Ok((names, next));
            }
            looked += 1;
            next = Some(name.as_str().to_owned());
            if is_live {
                names.push(name.as_str().to_owned());
            }
        }
    }
}

/// For each named shadow that a thing may have, so many records may stand of it, those that were deleted among them: what has to be
/// looked through is bounded, however fast its shadows are created and deleted.
const RECORDS_PER_NAME: usize = 4;

/// Whether a thing that may have `most` named shadows may have one more; `is_known` if something is stored of that one already.
///
/// # Errors
/// [`StoreError`], by what is wrong with the store.
pub(crate) fn has_room(
    thing: ThingName<'_>,
    (most, is_known): (usize, bool),
    reader: &mut dyn Reader,
) -> Result<bool, StoreError> {
    let prefix = ShadowKey::prefix(thing);
    let most_records = most.saturating_mul(RECORDS_PER_NAME);
    // The classic shadow has no name, and comes first.
    let mut last = prefix.clone().into_bytes();
    let (mut live, mut records) = (0, 0);
    loop {
        let size = PAGE.min((most_records - records).saturating_add(1));
        let page = reader.scan(Space::Shadow, prefix.as_bytes(), Some(&last), size)?;
        records += page.len();
        live += page.iter().filter(|(_, doc)| Record::is_live(&doc.value)).count();
        if live >= most || records > most_records {
            return Ok(false);
        }
        match page.last().filter(|_| page.len() == size) {
            Some((key, _)) => last = key.to_vec(),
            None => return Ok(is_known || records < most_records),
        }
    }
}

/// Documents that count creations of named shadows: as many, however many things there are. Two things with the same one hold each
/// other up only if they create a shadow at the same moment.
const COUNTED_APART: u64 = 1_024;

/// The key of what counts the creations of a thing's named shadows.
pub(crate) fn creations_of(thing: ThingName<'_>) -> Bytes {
    format!("created/{}", hash64(thing.as_str().as_bytes()) % COUNTED_APART).into()
}

/// The write with which a named shadow is created, if nobody has created one since it was looked how many there are.
pub(crate) fn count_creation(thing: ThingName<'_>, counted: Option<Rev>) -> Put {
    Put {
        space: Space::Counter,
        key: creations_of(thing),
        // It counts by its revision.
        value: Some(Bytes::from_static(b"n")),
        expect: counted.map_or(Expect::Absent, Expect::Rev),
        announce: false,
    }
}

/// How long a tombstone stays after its time: no two clocks go alike, and whoever still counts on it creates its shadow with the
/// version that follows.
const STAYS: Duration = Duration::from_mins(1);

/// The writes that take tombstones out of the store whose time is over, of one page of shadows; and the last key of that page,
/// none behind the last one.
///
/// # Errors
/// [`StoreError`], by what is wrong with the store.
pub(crate) fn outlived(
    reader: &mut dyn Reader,
    after: Option<&[u8]>,
    (now, limits): (Wall, &ShadowLimits),
) -> Result<(Vec<Write>, Option<Bytes>), StoreError> {
    let page = reader.scan(Space::Shadow, &[], after, PAGE)?;
    let last = page.last().filter(|_| page.len() == PAGE).map(|(key, _)| key.clone());
    let now = Wall(now.0.saturating_sub(u64::try_from(STAYS.as_millis()).unwrap_or(0)));
    let writes = page.into_iter().filter_map(|(key, doc)| {
        if Record::is_live(&doc.value) {
            return None;
        }
        let record = Record::decode(&doc.value).filter(|record| record.is_over(now, limits))?;
        // Who creates the shadow meanwhile changes the fence: then nothing of this happens. Nobody need hear of it: a shadow
        // that begins anew is known by when.
        let expect = Expect::Prefix(record.fence());
        let mut write = Write::default();
        write.puts.push(Put { space: Space::Shadow, key, value: None, expect, announce: false });
        Some(write)
    });
    Ok((writes.collect(), last))
}

/// Nobody can say whether it was done.
const fn gone() -> Rejection {
    Refusal::Internal.without_token()
}

#[cfg(test)]
mod tests {
    use shadow::{ShadowName, UpdateRequest, delete, update};
    use store::{MemoryStore, Outcome, Store as _, Writer};

    use super::*;
    use crate::hub::ShadowRead;
    use crate::tail::read_shadow;

    const NOW: Wall = Wall(1_000_000);

    struct Shelf {
        writer: Box<dyn Writer>,
        reader: Box<dyn Reader>,
        limits: ShadowLimits,
    }

    impl Shelf {
        fn new() -> Self {
            let store = MemoryStore::new();
            let limits = ShadowLimits { tombstone: Duration::from_hours(1), ..Default::default() };
            Self { writer: store.writer().unwrap(), reader: store.reader().unwrap(), limits }
        }

        fn stored(&mut self, key: &OwnedKey) -> Option<Record> {
            let doc = self.reader.get(Space::Shadow, key.key().to_stored().as_bytes()).unwrap();
            doc.map(|doc| Record::decode(&doc.value).unwrap())
        }

        fn put(&mut self, key: &OwnedKey, record: &Record) {
            let mut write = Write::default();
            let (space, expect, announce) = (Space::Shadow, Expect::Any, true);
            let (key, value) = (key.key().to_stored().into(), Some(record.encode().into()));
            write.puts.push(Put { space, key, value, expect, announce });
            self.commit(&[write]);
        }

        fn commit(&mut self, writes: &[Write]) -> Vec<bool> {
            let done = |outcome: &Outcome| matches!(outcome, Outcome::Done { .. });
            self.writer.commit(writes).unwrap().outcomes.iter().map(done).collect()
        }

        fn create(&mut self, key: &OwnedKey, now: Wall) -> u64 {
            let request = UpdateRequest::parse(br#"{"state":{}}"#, &self.limits).unwrap();
            let stored = self.stored(key);
            let record =
                update(stored.as_ref(), &request, now, &self.limits).unwrap().into_record();
            self.put(key, &record);
            record.version()
        }

        fn delete(&mut self, key: &OwnedKey, now: Wall) {
            let stored = self.stored(key);
            let record = delete(stored.as_ref(), key.key(), None, now).unwrap().record();
            self.put(key, &record);
        }

        fn outlived(&mut self, after: Option<&[u8]>, now: Wall) -> (Vec<Write>, Option<Bytes>) {
            outlived(&mut *self.reader, after, (now, &self.limits)).unwrap()
        }
    }

    fn key(thing: &str, name: Option<&str>) -> OwnedKey {
        let shadow = name.map(|name| ShadowName::new(name).unwrap());
        ShadowKey { thing: ThingName::new(thing).unwrap(), shadow }.into()
    }

    #[test]
    fn a_tombstone_goes_when_its_time_is_over_and_not_before() {
        let mut shelf = Shelf::new();
        let (lamp, door) = (key("lamp", None), key("door", Some("lock")));
        shelf.create(&lamp, NOW);
        shelf.create(&door, NOW);
        shelf.delete(&lamp, NOW);
        let over = NOW.after(shelf.limits.tombstone);
        assert_eq!(shelf.outlived(None, over), (vec![], None), "whoever's clock is late");
        let (writes, last) = shelf.outlived(None, over.after(STAYS));
        assert_eq!((writes.len(), last), (1, None));
        assert_eq!(shelf.commit(&writes), [true]);
        assert!(shelf.stored(&lamp).is_none() && shelf.stored(&door).is_some());
        assert_eq!(shelf.create(&lamp, over.after(STAYS)), 1);
    }

    #[test]
    fn a_shadow_that_is_created_meanwhile_stays() {
        let mut shelf = Shelf::new();
        let lamp = key("lamp", None);
        shelf.create(&lamp, NOW);
        shelf.delete(&lamp, NOW);
        let (writes, _) = shelf.outlived(None, NOW.after(Duration::from_hours(2)));
        // By a clock that is late: it counts on.
        assert_eq!(shelf.create(&lamp, NOW), 2);
        assert_eq!(shelf.commit(&writes), [false]);
        assert!(shelf.stored(&lamp).is_some());
    }

    #[test]
    fn one_look_reads_one_page() {
        let mut shelf = Shelf::new();
        for number in 0..PAGE + 10 {
            let thing = key(&format!("t{number}"), None);
            shelf.create(&thing, NOW);
            shelf.delete(&thing, NOW);
        }
        let later = NOW.after(Duration::from_hours(2));
        let (first, last) = shelf.outlived(None, later);
        assert_eq!(first.len(), PAGE);
        let (rest, end) = shelf.outlived(last.as_deref(), later);
        assert_eq!((rest.len(), end), (10, None));
    }

    #[test]
    fn what_is_deleted_counts_for_what_has_to_be_looked_through() {
        let mut shelf = Shelf::new();
        let most = PAGE;
        for number in 0..RECORDS_PER_NAME * most - 1 {
            let name = key("t", Some(&format!("n{number}")));
            shelf.create(&name, NOW);
            shelf.delete(&name, NOW);
        }
        let is_full = |shelf: &mut Shelf, name| {
            let read = read_shadow(&key("t", Some(name)), most, &mut *shelf.reader);
            matches!(read, ShadowRead::Full(_))
        };
        assert!(!is_full(&mut shelf, "last"));
        shelf.create(&key("t", Some("last")), NOW);
        assert!(is_full(&mut shelf, "one-too-many"));
        assert!(!is_full(&mut shelf, "n0"), "it takes the place that it has");
        let (writes, _) = shelf.outlived(None, NOW.after(Duration::from_hours(2)));
        shelf.commit(&writes);
        assert!(!is_full(&mut shelf, "one-too-many"));
    }

    #[test]
    fn a_thing_has_no_more_named_shadows_than_it_may_have() {
        let mut shelf = Shelf::new();
        for name in [None, Some("a"), Some("b")] {
            shelf.create(&key("t", name), NOW);
        }
        shelf.delete(&key("t", Some("b")), NOW);
        shelf.create(&key("u", Some("c")), NOW);
        let mut is_full = |thing, name, most| {
            let read = read_shadow(&key(thing, name), most, &mut *shelf.reader);
            matches!(read, ShadowRead::Full(_))
        };
        assert!(!is_full("t", Some("c"), 2), "what is deleted does not count");
        assert!(is_full("t", Some("c"), 1));
        assert!(is_full("t", Some("b"), 1), "it would be there again");
        assert!(!is_full("t", Some("a"), 1), "it is there");
        assert!(!is_full("t", None, 1), "the classic one is not named");
        assert!(!is_full("t", Some("c"), 0), "no limit");
    }
}
