//! Errands: what somebody wants of a client that any gateway of the fleet may serve.
//!
//! An errand is an announced document. The gateway that serves the client hears of it through the log, does it, and puts its
//! report in the same place, which who asked reads and takes away; or takes the errand away, and then it is done. Nothing of it is
//! kept: who leaves in between is asked again.

use std::sync::mpsc::Sender;
use std::time::Duration;

use bytes::Bytes;
use protocol::{ClientId, Publication, SessionEpoch, Wall};
use store::{Doc, Expect, Put, Reader, Space, StoreError, Write};

use super::control::SubscriptionStatus;

/// What is wanted of the gateway that serves a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Errand {
    /// A number that no other one of its client has.
    pub no: u64,
    /// The ownership that is meant: not that of a later connection.
    pub epoch: SessionEpoch,
    /// What.
    pub task: Task,
}

/// What is wanted of a client by somebody in the process that serves it, who is told without the store.
#[derive(Debug)]
pub struct NearErrand {
    /// The ownership that is meant.
    pub epoch: SessionEpoch,
    /// What.
    pub task: Task,
    /// Gets what became of it, and `None` at once if this process does not serve that ownership. Dropped if it ends meanwhile.
    pub report: Sender<Option<Report>>,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// Give it this message ahead of all that waits for it, as soon as it takes one, within this time; one at QoS 1 is done once the
    /// client has acknowledged it.
    Give(Publication, Duration),
    /// Say what it is subscribed to.
    TellFilters,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// It is done.
    Done,
    /// The client has no right to read that topic.
    Denied,
    /// Too many such messages wait for the client already.
    Busy,
    /// The client takes no packet of that size.
    TooLarge,
    /// This is what it is subscribed to.
    Filters(Vec<SubscriptionStatus>),
}

/// What the keys of all errands begin with.
const ERRAND: u8 = b'e';
/// Errands that one look for old ones reads.
const PAGE: usize = 64;
/// After so long nobody waits for an errand any more, or for its report, however far apart two clocks are: an errand that is not
/// there any more counts as done.
const OVER: Duration = Duration::from_hours(1);

/// What stands in such a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    TellFilters = 2,
    Denied = 4,
    Busy,
    TooLarge,
    Filters,
    Give,
}

impl Kind {
    const ALL: [Self; 6] =
        [Self::TellFilters, Self::Denied, Self::Busy, Self::TooLarge, Self::Filters, Self::Give];

    /// Splits a document: what it is, since when, and the rest.
    fn read(value: &Bytes) -> Option<(Self, Wall, Bytes)> {
        let (kind, rest) = value.split_first()?;
        let kind = Self::ALL.into_iter().find(|it| *it as u8 == *kind)?;
        let since = Wall(u64::from_be_bytes(*rest.first_chunk::<8>()?));
        Some((kind, since, value.slice(9..)))
    }

    fn begin(self, now: Wall) -> Vec<u8> {
        let mut value = vec![self as u8];
        value.extend_from_slice(&now.0.to_be_bytes());
        value
    }
}

/// The key of an errand, and of its report.
pub(crate) fn errand_key(client: &ClientId, no: u64) -> Bytes {
    let mut key = vec![ERRAND];
    key.extend_from_slice(&no.to_be_bytes());
    key.extend_from_slice(client.as_str().as_bytes());
    key.into()
}

fn put(key: Bytes, value: Option<Vec<u8>>, announce: bool) -> Put {
    let value = value.map(Bytes::from);
    Put { space: Space::Presence, key, value, expect: Expect::Any, announce }
}

impl Errand {
    /// The errand, as every gateway hears of it through the log.
    pub(crate) fn put(&self, client: &ClientId, now: Wall) -> Put {
        let kind = match &self.task {
            Task::Give(..) => Kind::Give,
            Task::TellFilters => Kind::TellFilters,
        };
        let mut value = kind.begin(now);
        value.extend_from_slice(&self.epoch.0.to_be_bytes());
        match &self.task {
            Task::Give(message, within) => {
                let within_ms = u32::try_from(within.as_millis()).unwrap_or(u32::MAX);
                value.extend_from_slice(&within_ms.to_be_bytes());
                message.encode(&mut value);
            }
            Task::TellFilters => {}
        }
        put(errand_key(client, self.no), Some(value), true)
    }

    /// Reads what the log tells of; `None` if this is no errand, or one that is done.
    pub(crate) fn read(key: &[u8], value: &Bytes) -> Option<(ClientId, Self)> {
        let (no, client) = key.strip_prefix(&[ERRAND])?.split_first_chunk::<8>()?;
        let client = ClientId::new(std::str::from_utf8(client).ok()?).ok()?;
        let (kind, _, rest) = Kind::read(value)?;
        let (epoch, task) = rest.split_first_chunk::<8>()?;
        let epoch = SessionEpoch(u64::from_be_bytes(*epoch));
        let task = match kind {
            Kind::Give => {
                let (within_ms, message) = task.split_first_chunk::<4>()?;
                let within = Duration::from_millis(u32::from_be_bytes(*within_ms).into());
                Task::Give(Publication::decode(&rest.slice_ref(message))?, within)
            }
            Kind::TellFilters => Task::TellFilters,
            Kind::Denied | Kind::Busy | Kind::TooLarge | Kind::Filters => return None,
        };
        Some((client, Self { no: u64::from_be_bytes(*no), epoch, task }))
    }
}

impl Report {
    /// The report, in the place of its errand; nothing there says that it is done.
    pub(crate) fn put(&self, client: &ClientId, no: u64, now: Wall) -> Put {
        let (kind, filters) = match self {
            Self::Done => return delete_errand(client, no),
            Self::Denied => (Kind::Denied, None),
            Self::Busy => (Kind::Busy, None),
            Self::TooLarge => (Kind::TooLarge, None),
            Self::Filters(filters) => (Kind::Filters, Some(filters)),
        };
        let mut value = kind.begin(now);
        for SubscriptionStatus { filter, qos } in filters.into_iter().flatten() {
            // No filter is longer than what a length of two bytes can say.
            let Ok(len) = u16::try_from(filter.len()) else { continue };
            value.push(*qos);
            value.extend_from_slice(&len.to_be_bytes());
            value.extend_from_slice(filter.as_bytes());
        }
        put(errand_key(client, no), Some(value), false)
    }

    /// Reads what stands in the place of an errand that was there; `None` while that is the errand.
    pub(crate) fn read(value: Option<&Bytes>) -> Option<Self> {
        let Some(value) = value else { return Some(Self::Done) };
        let (kind, _, rest) = Kind::read(value)?;
        match kind {
            Kind::Give | Kind::TellFilters => None,
            Kind::Denied => Some(Self::Denied),
            Kind::Busy => Some(Self::Busy),
            Kind::TooLarge => Some(Self::TooLarge),
            Kind::Filters => read_filters(&rest).map(Self::Filters),
        }
    }
}

fn read_filters(mut rest: &[u8]) -> Option<Vec<SubscriptionStatus>> {
    let mut filters = Vec::new();
    while let Some((qos, behind)) = rest.split_first() {
        let (len, behind) = behind.split_first_chunk::<2>()?;
        let (filter, behind) = behind.split_at_checked(u16::from_be_bytes(*len).into())?;
        let filter = std::str::from_utf8(filter).ok()?.to_owned();
        filters.push(SubscriptionStatus { filter, qos: *qos });
        rest = behind;
    }
    Some(filters)
}

/// It is over: nothing stays of it.
pub(crate) fn delete_errand(client: &ClientId, no: u64) -> Put {
    put(errand_key(client, no), None, false)
}

/// The writes that take away errands, and reports, whose asker is gone: some of them.
///
/// # Errors
/// [`StoreError`], by what is wrong with the store.
pub(crate) fn old_errands(reader: &mut dyn Reader, now: Wall) -> Result<Vec<Write>, StoreError> {
    let page = reader.scan(Space::Presence, &[ERRAND], None, PAGE)?;
    let is_over = |doc: &Doc| {
        let since = Kind::read(&doc.value).map(|(_, since, _)| since);
        since.is_none_or(|since| since.after(OVER) <= now)
    };
    let take = |(key, doc): (Bytes, Doc)| {
        let mut write = Write::default();
        let expect = Expect::Rev(doc.rev);
        write.puts.push(Put { expect, ..put(key, None, false) });
        write
    };
    Ok(page.into_iter().filter(|(_, doc)| is_over(doc)).map(take).collect())
}

#[cfg(test)]
mod tests {
    use protocol::QoS;
    use store::{MemoryStore, Store as _};

    use super::*;

    fn client() -> ClientId {
        ClientId::new("a/b").unwrap()
    }

    fn value(put: &Put) -> Bytes {
        put.value.clone().unwrap()
    }

    #[test]
    fn errands_and_reports_are_read_back() {
        let message = Publication::new("t", &[], b"x", QoS::AtLeastOnce, false);
        for task in [Task::Give(message, Duration::from_secs(5)), Task::TellFilters] {
            let errand = Errand { no: 7, epoch: SessionEpoch(9), task };
            let put = errand.put(&client(), Wall(1));
            assert!(put.announce);
            assert_eq!(Errand::read(&put.key, &value(&put)), Some((client(), errand)));
            assert_eq!(Report::read(Some(&value(&put))), None, "it is not done");
        }
        let filter = |filter: &str, qos| SubscriptionStatus { filter: filter.to_owned(), qos };
        for report in [
            Report::Denied,
            Report::Busy,
            Report::TooLarge,
            Report::Filters(Vec::new()),
            Report::Filters(vec![filter("a/#", 1), filter("$share/g/ä", 2)]),
        ] {
            let put = report.put(&client(), 7, Wall(1));
            assert!(!put.announce);
            assert_eq!(put.key, errand_key(&client(), 7));
            assert_eq!(Errand::read(&put.key, &value(&put)), None, "it is done");
            assert_eq!(Report::read(Some(&value(&put))), Some(report));
        }
        let done = Report::Done.put(&client(), 7, Wall(1));
        assert_eq!((done.key, done.value), (errand_key(&client(), 7), None));
        assert_eq!(Report::read(None), Some(Report::Done));
        for damaged in
            [&b""[..], &[0; 17], &[1; 8], &[1; 20], &[7; 10], b"\x07\0\0\0\0\0\0\0\0\0\0\x09x"]
        {
            let value = Bytes::copy_from_slice(damaged);
            assert_eq!(Errand::read(&errand_key(&client(), 1), &value), None);
            assert_eq!(Report::read(Some(&value)), None, "{damaged:?}");
        }
    }

    #[test]
    fn what_nobody_waits_for_any_more_is_taken_away() {
        let store = MemoryStore::new();
        let (old, young) = (Wall(1_000), Wall(1_000 + 60_000));
        let errand = Errand { no: 1, epoch: SessionEpoch(9), task: Task::TellFilters };
        let mut write = Write::default();
        write.puts.push(errand.put(&client(), old));
        write.puts.push(Report::Busy.put(&client(), 2, old));
        write.puts.push(Report::Busy.put(&client(), 3, young));
        store.writer().unwrap().commit(&[write]).unwrap();
        let now = old.after(OVER);
        let writes = old_errands(&mut *store.reader().unwrap(), now).unwrap();
        let keys: Vec<_> = writes.iter().map(|write| write.puts[0].key.clone()).collect();
        assert_eq!(keys, [errand_key(&client(), 1), errand_key(&client(), 2)]);
        store.writer().unwrap().commit(&writes).unwrap();
        assert!(old_errands(&mut *store.reader().unwrap(), now).unwrap().is_empty());
    }
}
