//! What those are told who watch shadows that other gateways change, and in which order.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Duration;

use protocol::Wall;

use super::{ScribeOutput, Stored};
use crate::document::Record;
use crate::topic::{Answer, Operation, OwnedKey, ReservedTopic};

/// Tells those who watch shadows here what other gateways made of them.
///
/// It learns that a shadow changed, not what of it, and reads it. However often a shadow changes meanwhile, it is read once
/// more, so bursts coalesce; and what crosses between gateways does not grow with the documents. Whatever comes late,
/// nobody here is told of an older version after a newer one.
#[derive(Debug)]
pub struct Watcher {
    shadows: BTreeMap<OwnedKey, Watched>,
    /// Bytes of the records that are kept.
    bytes: usize,
    /// How often what was there before was not told for want of room, since that was last asked.
    left_out: u64,
    /// Up to which shadow the sweep that is under way has come.
    swept: Option<OwnedKey>,
    limits: WatcherLimits,
}

/// How much a watcher remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatcherLimits {
    /// Most shadows that are being read, or of which is known what was told last. More: a change is put off until there is
    /// room, which [`Watcher::handle_sweep`] looks for.
    pub shadows: usize,
    /// Most bytes of what was told last, where that is told again beside what follows. More: it is left out there.
    pub bytes: usize,
    /// As in [`crate::ShadowLimits`]: one created again after that begins with version 1.
    pub tombstone: Duration,
}

#[derive(Debug, Default)]
struct Watched {
    told: Option<Told>,
    reading: Reading,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Reading {
    #[default]
    No,
    /// Nothing changed since the reader was asked.
    Once,
    /// Something did.
    Twice,
    /// The reader could not read.
    Failed,
}

#[derive(Debug)]
struct Told {
    fence: [u8; 8],
    /// When that was written, by the clock of who wrote it.
    at_s: u64,
    /// The record that was told, for the `previous` of the next, as it is stored; none if nobody wants that, or there is no room.
    record: Option<Box<[u8]>>,
    /// Whether that was wanted, and there was no room.
    is_left_out: bool,
}

impl Watcher {
    /// That has told nothing yet.
    pub fn new(limits: WatcherLimits) -> Self {
        Self { shadows: BTreeMap::new(), bytes: 0, left_out: 0, swept: None, limits }
    }

    /// A shadow changed, and somebody here watches it. What is put off the caller says again after a sweep.
    #[must_use]
    pub fn handle_changed(&mut self, key: &OwnedKey) -> Change {
        let has_room = self.shadows.len() < self.limits.shadows;
        let Some(watched) = self.shadows.get_mut(key) else {
            if !has_room {
                return Change::PutOff;
            }
            let watched = Watched { told: None, reading: Reading::Once };
            self.shadows.insert(key.clone(), watched);
            return Change::Read;
        };
        match watched.reading {
            Reading::No | Reading::Failed => {
                watched.reading = Reading::Once;
                Change::Read
            }
            Reading::Once | Reading::Twice => {
                watched.reading = Reading::Twice;
                Change::Known
            }
        }
    }

    /// What the reader found. Only what is wanted is told.
    #[must_use]
    pub fn handle_read(
        &mut self,
        key: &OwnedKey,
        stored: Stored<'_>,
        now: Wall,
        is_wanted: impl Fn(ReservedTopic<'_>) -> bool,
    ) -> Vec<ScribeOutput> {
        let Some(watched) = self.shadows.get_mut(key) else { return Vec::new() };
        let mut out = Vec::new();
        match (watched.reading, stored) {
            (Reading::No | Reading::Failed, _) => return out,
            (Reading::Once | Reading::Twice, Stored::Unavailable) => {
                watched.reading = Reading::Failed;
                return out;
            }
            (Reading::Once, Stored::Found(_) | Stored::Full(_)) => watched.reading = Reading::No,
            (Reading::Twice, Stored::Found(_) | Stored::Full(_)) => {
                watched.reading = Reading::Once;
                out.push(ScribeOutput::Read(key.clone()));
            }
        }
        // Of a record that is gone, or damaged, there is nothing to tell.
        let (Stored::Found(Some(bytes)) | Stored::Full(Some(bytes))) = stored else { return out };
        let Some(record) = Record::decode(bytes) else { return out };
        if !watched.is_news(&record, self.limits.tombstone) {
            return out;
        }
        let told = watched.told.take();
        let is_left_out = told.as_ref().is_some_and(|told| told.is_left_out);
        let previous = told.and_then(|told| told.record);
        self.bytes -= previous.as_ref().map_or(0, |it| it.len());
        let wants = |answer| is_wanted(key.key().topic(Operation::Update, Some(answer)));
        let wants_documents = wants(Answer::Documents);
        if let Some(document) = record.document() {
            let mut tell = |answer, payload| {
                out.push(ScribeOutput::Tell { key: key.clone(), answer, payload });
            };
            if let Some(delta) = document.delta_now(now).filter(|_| wants(Answer::Delta)) {
                tell(Answer::Delta, delta);
            }
            if wants_documents {
                self.left_out += u64::from(is_left_out);
                let previous = previous.and_then(|it| Record::decode(&it));
                let previous = previous.as_ref().and_then(Record::document);
                tell(Answer::Documents, document.documents_now(previous, now));
            }
        }
        let has_room = self.bytes.saturating_add(bytes.len()) <= self.limits.bytes;
        let kept: Option<Box<[u8]>> = (wants_documents && has_room).then(|| bytes.into());
        self.bytes += kept.as_ref().map_or(0, |it| it.len());
        watched.told = Some(Told::of(&record, kept, wants_documents));
        out
    }

    /// A change that was made here is stored, and its scribe would tell of it: whether it still may. It may not if
    /// something newer was read and told before. Somebody may want to hear what was there before the next change.
    #[must_use]
    pub fn handle_own(&mut self, key: &OwnedKey, record: &Record, wants_documents: bool) -> bool {
        let has_room = self.shadows.len() < self.limits.shadows;
        if !has_room && !self.shadows.contains_key(key) {
            return true;
        }
        let watched = self.shadows.entry(key.clone()).or_default();
        let is_news = watched.is_news(record, self.limits.tombstone);
        if is_news {
            let before = watched.told.take().and_then(|told| told.record);
            self.bytes -= before.map_or(0, |it| it.len());
            let kept = wants_documents.then(|| record.encode().into_boxed_slice());
            let kept = kept.filter(|it| self.bytes.saturating_add(it.len()) <= self.limits.bytes);
            self.bytes += kept.as_ref().map_or(0, |it| it.len());
            watched.told = Some(Told::of(record, kept, wants_documents));
        }
        is_news
    }

    /// Looks at so many shadows, behind those of the last look: forgets what nobody watches any more, and answers which are to be
    /// read because that failed before.
    #[must_use]
    pub fn handle_sweep(
        &mut self,
        most: usize,
        is_watched: impl Fn(&OwnedKey) -> bool,
    ) -> Vec<OwnedKey> {
        let from = self.swept.take().map_or(Bound::Unbounded, Bound::Excluded);
        let (mut again, mut unwatched) = (Vec::new(), Vec::new());
        let (mut looks, mut last) = (0, None);
        for (key, watched) in self.shadows.range_mut((from, Bound::Unbounded)).take(most) {
            (looks, last) = (looks + 1, Some(key));
            match watched.reading {
                Reading::Once | Reading::Twice => {}
                Reading::No | Reading::Failed if !is_watched(key) => unwatched.push(key.clone()),
                Reading::No => {}
                Reading::Failed => {
                    watched.reading = Reading::Once;
                    again.push(key.clone());
                }
            }
        }
        self.swept = last.filter(|_| looks == most).cloned();
        for key in unwatched {
            let told = self.shadows.remove(&key).and_then(|it| it.told);
            self.bytes -= told.and_then(|it| it.record).map_or(0, |it| it.len());
        }
        again
    }

    /// How often, since this was last asked, what was there before a change was wanted and not told for want of room.
    pub fn take_left_out(&mut self) -> u64 {
        std::mem::take(&mut self.left_out)
    }

    /// Whether a sweep has come to its end.
    pub const fn is_swept(&self) -> bool {
        self.swept.is_none()
    }
}

/// What follows from a change of a watched shadow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Read it, and give what is found to [`Watcher::handle_read`].
    Read,
    /// It is read anyway.
    Known,
    /// There is no room for one more shadow.
    PutOff,
}

impl Watched {
    /// Versions grow, except that a shadow begins anew when its tombstone's time is over. Whoever lets it begin judges that by
    /// the same two moments, so no clock of ours is asked; that it was deleted in between nobody here need have heard.
    fn is_news(&self, record: &Record, tombstone: Duration) -> bool {
        self.told.as_ref().is_none_or(|told| {
            let fence = record.fence();
            let begins_anew = told.at_s.saturating_add(tombstone.as_secs()) <= record.at_s();
            fence > told.fence || (begins_anew && fence != told.fence)
        })
    }
}

impl Told {
    fn of(record: &Record, kept: Option<Box<[u8]>>, is_wanted: bool) -> Self {
        let is_left_out = is_wanted && kept.is_none();
        Self { fence: record.fence(), at_s: record.at_s(), record: kept, is_left_out }
    }
}

impl Default for WatcherLimits {
    fn default() -> Self {
        Self { shadows: 100_000, bytes: 64 << 20, tombstone: Duration::from_hours(48) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::document::{Document, ShadowLimits, UpdateRequest, delete, update};
    use crate::topic::{ShadowKey, ThingName};

    const NOW: Wall = Wall(5_000);

    fn key() -> OwnedKey {
        ShadowKey { thing: ThingName::new("t").unwrap(), shadow: None }.into()
    }

    /// The record after one more update, or after a deletion.
    fn next(record: Option<&Record>, is_delete: bool) -> Record {
        let limits = ShadowLimits::default();
        if is_delete && let Ok(deleted) = delete(record, key().key(), None, NOW) {
            return deleted.record();
        }
        let number = record.map_or(1, |record| record.version() + 1);
        let request = format!("{{\"state\":{{\"desired\":{{\"n\":{number}}}}}}}");
        let request = UpdateRequest::parse(request.as_bytes(), &limits).unwrap();
        update(record, &request, NOW, &limits).unwrap().into_record()
    }

    fn versions(outputs: &[ScribeOutput], of: Answer) -> Vec<u64> {
        let told = outputs.iter().filter_map(|output| match output {
            ScribeOutput::Tell { answer, payload, .. } if *answer == of => {
                let message: serde_json::Value = serde_json::from_str(payload).unwrap();
                let version = &message["version"];
                version.as_u64().or_else(|| message["current"]["version"].as_u64())
            }
            ScribeOutput::Tell { .. }
            | ScribeOutput::Read(_)
            | ScribeOutput::Write { .. }
            | ScribeOutput::Answer { .. }
            | ScribeOutput::Changed { .. } => None,
        });
        told.collect()
    }

    #[test]
    fn a_burst_is_read_twice_at_most_and_told_as_one() {
        let mut watcher = Watcher::new(WatcherLimits::default());
        let one = next(None, false);
        let five = (0..4).fold(one.clone(), |record, _| next(Some(&record), false));
        assert_eq!(watcher.handle_changed(&key()), Change::Read);
        for _ in 0..4 {
            assert_eq!(watcher.handle_changed(&key()), Change::Known);
        }
        let (one, five) = (one.encode(), five.encode());
        let first = watcher.handle_read(&key(), Stored::Found(Some(&one)), NOW, |_| true);
        assert_eq!(first[0], ScribeOutput::Read(key()));
        assert_eq!(versions(&first, Answer::Delta), [1]);
        let second = watcher.handle_read(&key(), Stored::Found(Some(&five)), NOW, |_| true);
        assert_eq!(versions(&second, Answer::Delta), [5]);
        let ScribeOutput::Tell { payload, .. } = &second[1] else { panic!("{second:?}") };
        assert!(payload.contains(r#""previous":{"state":{"desired":{"n":1}}"#), "{payload}");
        let late = watcher.handle_read(&key(), Stored::Found(Some(&one)), NOW, |_| true);
        assert_eq!(late, []);
    }

    #[test]
    fn what_was_there_before_is_left_out_where_there_is_no_room_and_that_is_counted() {
        let one = next(None, false);
        let two = next(Some(&one), false);
        for (bytes, is_told, left_out) in [(0, false, 1), (1 << 20, true, 0)] {
            let limits = WatcherLimits { bytes, ..WatcherLimits::default() };
            let mut watcher = Watcher::new(limits);
            let mut told = String::new();
            for record in [&one, &two] {
                assert_eq!(watcher.handle_changed(&key()), Change::Read);
                let bytes = record.encode();
                let read = Stored::Found(Some(&bytes));
                let outputs = watcher.handle_read(&key(), read, NOW, |_| true);
                told = format!("{:?}", outputs.last());
            }
            assert_ne!(told.contains(r#"\"previous\":{}"#), is_told, "{told}");
            assert_eq!((watcher.take_left_out(), watcher.take_left_out()), (left_out, 0));
        }
    }

    #[test]
    fn only_what_is_wanted_is_told() {
        let mut watcher = Watcher::new(WatcherLimits::default());
        let record = next(None, false).encode();
        assert_eq!(watcher.handle_changed(&key()), Change::Read);
        let told = watcher.handle_read(&key(), Stored::Found(Some(&record)), NOW, |topic| {
            topic.answer == Some(Answer::Documents)
        });
        assert_eq!((told.len(), versions(&told, Answer::Documents)), (1, vec![1]));
    }

    #[test]
    fn what_could_not_be_read_is_read_with_the_next_sweep_and_what_nobody_watches_is_forgotten() {
        let limits = WatcherLimits { shadows: 1, ..WatcherLimits::default() };
        let mut watcher = Watcher::new(limits);
        assert_eq!(watcher.handle_changed(&key()), Change::Read);
        let other: OwnedKey =
            ShadowKey { thing: ThingName::new("u").unwrap(), shadow: None }.into();
        assert_eq!(watcher.handle_changed(&other), Change::PutOff);
        assert_eq!(watcher.handle_read(&key(), Stored::Unavailable, NOW, |_| true), []);
        assert_eq!(watcher.handle_sweep(9, |_| true), [key()]);
        assert_eq!(watcher.handle_sweep(9, |_| true), []);
        let record = next(None, false).encode();
        let told = watcher.handle_read(&key(), Stored::Found(Some(&record)), NOW, |_| true);
        assert_eq!(versions(&told, Answer::Delta), [1]);
        assert_eq!(watcher.handle_sweep(9, |_| false), []);
        assert_eq!(watcher.handle_changed(&other), Change::Read);
    }

    #[test]
    fn what_was_told_is_kept_for_who_wants_it_while_there_is_room_and_somebody_watches() {
        let one = next(None, false);
        let two = next(Some(&one), false);
        let limits = WatcherLimits { bytes: one.encode().len(), ..WatcherLimits::default() };
        let mut watcher = Watcher::new(limits);
        assert!(watcher.handle_own(&key(), &one, false));
        assert_eq!(watcher.bytes, 0);
        let other: OwnedKey =
            ShadowKey { thing: ThingName::new("u").unwrap(), shadow: None }.into();
        assert!(watcher.handle_own(&other, &one, true));
        assert_eq!(watcher.bytes, limits.bytes);
        assert!(watcher.handle_own(&key(), &two, true));
        assert_eq!(watcher.bytes, limits.bytes, "there is no room");
        assert_eq!(watcher.handle_sweep(1, |_| true), []);
        assert!(!watcher.is_swept());
        assert_eq!(watcher.handle_sweep(1, |_| false), []);
        assert_eq!((watcher.bytes, watcher.shadows.len()), (0, 1));
        assert_eq!(watcher.handle_sweep(1, |_| false), []);
        assert!(watcher.is_swept());
        assert_eq!(watcher.handle_sweep(1, |_| false), []);
        assert!(watcher.shadows.is_empty());
    }

    #[test]
    fn a_shadow_that_begins_anew_after_its_time_is_told_from_version_one() {
        let mut watcher = Watcher::new(WatcherLimits::default());
        let two = next(Some(&next(None, false)), false);
        assert!(watcher.handle_own(&key(), &two, true));
        let gone = next(Some(&two), true);
        assert!(watcher.handle_own(&key(), &gone, true));
        let limits = ShadowLimits::default();
        let over = NOW.after(Duration::from_hours(48));
        let created = |now| {
            let request = UpdateRequest::parse(br#"{"state":{}}"#, &limits).unwrap();
            update(Some(&gone), &request, now, &limits).unwrap().into_record()
        };
        assert_eq!(created(Wall(over.0 - 1_000)).version(), 3);
        let anew = created(over);
        assert_eq!(anew.version(), 1);
        assert!(
            !watcher.handle_own(&key(), &next(None, false), true),
            "a late word of the first one"
        );
        assert!(watcher.handle_own(&key(), &anew, true));
        assert!(!watcher.handle_own(&key(), &anew, true));
    }

    #[test]
    fn who_heard_of_no_deletion_is_told_too_when_a_shadow_begins_anew() {
        let mut watcher = Watcher::new(WatcherLimits::default());
        let two = next(Some(&next(None, false)), false);
        assert!(watcher.handle_own(&key(), &two, true));
        let limits = ShadowLimits::default();
        let request = UpdateRequest::parse(br#"{"state":{}}"#, &limits).unwrap();
        let later = NOW.after(Duration::from_hours(49));
        let anew = update(None, &request, later, &limits).unwrap().into_record();
        assert!(watcher.handle_own(&key(), &anew, true));
    }

    #[derive(Debug, Clone, Copy)]
    enum Step {
        /// Another gateway changes the shadow.
        Foreign {
            is_delete: bool,
        },
        /// This one does.
        Own {
            is_delete: bool,
        },
        /// The oldest word of a change arrives.
        Hear,
        /// The reader looks.
        Look {
            fails: bool,
        },
        /// What it saw arrives.
        Bring,
        /// The oldest own change is known to be stored.
        Done,
        Sweep,
    }

    fn any_step() -> impl Strategy<Value = Step> {
        let is_delete = || prop::bool::weighted(0.15);
        prop_oneof![
            is_delete().prop_map(|is_delete| Step::Foreign { is_delete }),
            is_delete().prop_map(|is_delete| Step::Own { is_delete }),
            Just(Step::Hear),
            prop::bool::weighted(0.1).prop_map(|fails| Step::Look { fails }),
            Just(Step::Bring),
            Just(Step::Done),
            Just(Step::Sweep),
        ]
    }

    #[derive(Debug, Default)]
    struct World {
        stored: Option<Record>,
        /// Changes by others that were not heard of yet.
        unheard: usize,
        own: Vec<Record>,
        asked: bool,
        /// What the reader saw, or that it could not.
        seen: Option<Option<Vec<u8>>>,
        told: Vec<u64>,
    }

    impl World {
        fn step(&mut self, watcher: &mut Watcher, step: Step) {
            match step {
                Step::Foreign { is_delete } => {
                    self.stored = Some(next(self.stored.as_ref(), is_delete));
                    self.unheard += 1;
                }
                Step::Own { is_delete } => {
                    let record = next(self.stored.as_ref(), is_delete);
                    self.stored = Some(record.clone());
                    self.own.push(record);
                }
                Step::Hear if self.unheard > 0 => {
                    self.unheard -= 1;
                    self.asked |= watcher.handle_changed(&key()) == Change::Read;
                }
                Step::Look { fails } if self.asked && self.seen.is_none() => {
                    self.asked = false;
                    self.seen = Some((!fails).then(|| self.stored.as_ref().unwrap().encode()));
                }
                Step::Bring if self.seen.is_some() => {
                    let seen = self.seen.take().unwrap();
                    let found =
                        seen.as_ref().map_or(Stored::Unavailable, |it| Stored::Found(Some(it)));
                    let outputs = watcher.handle_read(&key(), found, NOW, |_| true);
                    self.told.extend(versions(&outputs, Answer::Documents));
                    self.asked |= outputs.contains(&ScribeOutput::Read(key()));
                }
                Step::Done if !self.own.is_empty() => {
                    let record = self.own.remove(0);
                    let may = watcher.handle_own(&key(), &record, true);
                    self.told.extend(record.document().filter(|_| may).map(Document::version));
                }
                Step::Sweep => self.asked |= !watcher.handle_sweep(9, |_| true).is_empty(),
                Step::Hear | Step::Look { .. } | Step::Bring | Step::Done => {}
            }
        }
    }

    proptest! {
        #[test]
        fn nobody_is_led_back_and_all_end_at_the_newest_version(
            steps in prop::collection::vec(any_step(), 0..80),
        ) {
            let (mut world, mut watcher) = (World::default(), Watcher::new(WatcherLimits::default()));
            let settle = [Step::Done, Step::Hear, Step::Sweep, Step::Look { fails: false }, Step::Bring];
            let settling = settle.into_iter().cycle().take(5 * (2 * steps.len() + 4));
            let count = steps.len();
            for step in steps.into_iter().chain(settling) {
                world.step(&mut watcher, step);
            }
            prop_assert!(world.told.is_sorted_by(|one, next| one < next), "{:?}", world.told);
            if let Some(document) = world.stored.as_ref().and_then(Record::document) {
                prop_assert_eq!(world.told.last().copied(), Some(document.version()), "after {}", count);
            }
        }
    }
}
