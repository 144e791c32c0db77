//! The documents of maintenance in the store: JSON, read as they stand, written by compare-and-set.

use std::sync::mpsc::channel;
use std::time::Duration;

use bytes::Bytes;
use maintenance::audit::AuditRecord;
use maintenance::execution::Notice;
use maintenance::policy::{Facts, PolicySet};
use maintenance::{Host, HostState};
use protocol::{Publication, Wall};
use serde::Serialize;
use serde::de::DeserializeOwned;
use store::{Doc, Expect, Outcome, Pages, Put, Reader, Rev, Space, StoreError, Write};

use super::told::told;
use crate::commit::Answer;
use crate::committer::{CommitSender, Order};
use crate::control::ControlError;
use crate::service::{Member, read_all};

/// The bytes of documents that cannot be understood, by their keys.
pub(super) type Unread = Vec<(String, Bytes)>;

/// Why a document was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// The store cannot be read.
    #[error("the store cannot be read: {0}")]
    Store(#[from] StoreError),
    /// It is not what its key says: another version wrote it, or it is damaged.
    #[error("document {key} cannot be understood: {error}")]
    Unreadable {
        /// Which.
        key: String,
        /// What is wrong with it.
        error: serde_json::Error,
    },
    /// Somebody else wrote it meanwhile.
    #[error("document {key} was changed meanwhile")]
    Conflict {
        /// Which.
        key: String,
    },
    /// Nothing can be written now.
    #[error("the store cannot be written now")]
    Unavailable,
}

/// Reads and writes them.
#[derive(Debug)]
pub struct Documents {
    reader: Box<dyn Reader>,
    committer: CommitSender,
}

/// Which documents of visits this version carries out. It grows when one that is written by it cannot be carried out by a version
/// before: such a one is not begun on hosts that tell of less.
pub(super) const VERSION: u32 = 3;
/// The version of a visit with nothing in it that only a later one knows.
pub(super) const PLAIN: u32 = 1;
/// The version that knows of visits which begin despite what speaks against them.
pub(super) const DESPITE: u32 = 2;
/// The version that knows what hosts prefer, in plans and in visits, and of visits whose policies say how each client is moved, and
/// how often.
pub(super) const PREFERENCES: u32 = 3;

/// How long a write may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Documents that are read at once.
const PAGE: usize = 256;

impl Documents {
    /// Reads and writes by these.
    pub fn new(reader: Box<dyn Reader>, committer: CommitSender) -> Self {
        Self { reader, committer }
    }

    /// One document, with its revision.
    ///
    /// # Errors
    /// [`DocumentError::Store`] and [`DocumentError::Unreadable`].
    pub fn get<T: DeserializeOwned>(
        &mut self,
        key: &str,
    ) -> Result<Option<(T, Rev)>, DocumentError> {
        let Some(doc) = self.reader.get(Space::Maintenance, key.as_bytes())? else {
            return Ok(None);
        };
        Ok(Some((parse(key, &doc.value)?, doc.rev)))
    }

    /// All documents whose keys begin so, without those that cannot be understood; they are named in the log.
    ///
    /// # Errors
    /// [`DocumentError::Store`].
    pub fn all<T: DeserializeOwned>(&mut self, prefix: &str) -> Result<Vec<T>, DocumentError> {
        let (mut found, mut pages) = (Vec::new(), pages(prefix));
        while let Some(page) = pages.next(&mut *self.reader)? {
            for (key, doc) in &page {
                match parse(&String::from_utf8_lossy(key), &doc.value) {
                    Ok(document) => found.push(document),
                    Err(error) => tracing::warn!("maintenance: {error}"),
                }
            }
        }
        Ok(found)
    }

    /// All documents whose keys begin so, and the bytes of those that cannot be understood, by their keys.
    ///
    /// # Errors
    /// [`DocumentError::Store`].
    pub(super) fn with_unread<T: DeserializeOwned>(
        &mut self,
        prefix: &str,
    ) -> Result<(Vec<T>, Unread), DocumentError> {
        let (mut found, mut unread, mut pages) = (Vec::new(), Vec::new(), pages(prefix));
        while let Some(page) = pages.next(&mut *self.reader)? {
            for (key, doc) in page {
                let key = String::from_utf8_lossy(&key);
                match parse(&key, &doc.value) {
                    Ok(document) => found.push(document),
                    Err(_) => unread.push((key.into_owned(), doc.value)),
                }
            }
        }
        Ok((found, unread))
    }

    /// All documents whose keys begin so, where each of them counts.
    ///
    /// # Errors
    /// [`DocumentError::Store`], and [`DocumentError::Unreadable`] for any of them.
    pub fn every<T: DeserializeOwned>(&mut self, prefix: &str) -> Result<Vec<T>, DocumentError> {
        every(&mut *self.reader, prefix)
    }

    /// What was measured lately that gates of these policies depend on; nothing is read that none does.
    ///
    /// # Errors
    /// [`DocumentError::Store`] and [`DocumentError::Unreadable`].
    pub fn facts(
        &mut self,
        policies: &PolicySet,
        hosts: &[Host],
        now: Wall,
    ) -> Result<Facts, DocumentError> {
        let (wanted, mut facts) = (policies.wanted(), Facts::default());
        if wanted.connects {
            let serving = hosts.iter().filter(|host| host.state == HostState::Serving);
            let lives = serving.map(|host| (&host.id, host.incarnation));
            facts.connects = self.connects(lives, now)?;
        }
        if !wanted.queries.is_empty() {
            facts.queries = self.answers(now)?;
        }
        Ok(facts)
    }

    /// What was told over MQTT last of each gateway: retained messages of topics that begin so.
    ///
    /// # Errors
    /// [`DocumentError::Store`].
    pub fn notices(&mut self, topic: &str) -> Result<Vec<Notice>, DocumentError> {
        let mut found = Vec::new();
        let mut pages = Pages::new(Space::Retained, topic.as_bytes(), PAGE);
        while let Some(page) = pages.next(&mut *self.reader)? {
            // What another version told, and this one cannot read, was not told.
            let told = page.iter().filter_map(|(_, doc)| Publication::decode_since(&doc.value));
            found.extend(told.filter_map(|(it, _)| serde_json::from_slice(it.payload()).ok()));
        }
        Ok(found)
    }

    /// What the audit is told, for [`Self::write`]; see [`told`].
    ///
    /// # Errors
    /// Those of [`told`].
    pub fn told(&mut self, records: Vec<AuditRecord>) -> Result<Vec<Put>, ControlError> {
        told(&mut *self.reader, records)
    }

    /// Every gateway that the store knows, alive or not.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn members(&mut self) -> Result<Vec<Member>, StoreError> {
        read_all(&mut *self.reader)
    }

    /// The bytes of one document, with its revision.
    ///
    /// # Errors
    /// [`DocumentError::Store`].
    pub fn bytes(&mut self, key: &str) -> Result<Option<(Bytes, Rev)>, DocumentError> {
        let doc = self.reader.get(Space::Maintenance, key.as_bytes())?;
        Ok(doc.map(|doc| (doc.value, doc.rev)))
    }

    /// Up to `max` documents whose keys begin so and lie behind that one.
    ///
    /// # Errors
    /// [`DocumentError::Store`] and [`DocumentError::Unreadable`].
    pub fn page<T: DeserializeOwned>(
        &mut self,
        prefix: &str,
        behind: &str,
        max: usize,
    ) -> Result<Vec<T>, DocumentError> {
        let behind = Some(behind.as_bytes());
        let page = self.reader.scan(Space::Maintenance, prefix.as_bytes(), behind, max)?;
        let parsed = |(key, doc): &(Bytes, Doc)| parse(&String::from_utf8_lossy(key), &doc.value);
        page.iter().map(parsed).collect()
    }

    /// The first key that begins so, whether its document can be understood or not.
    ///
    /// # Errors
    /// [`DocumentError::Store`].
    pub(super) fn first_key(&mut self, prefix: &str) -> Result<Option<String>, DocumentError> {
        let page = self.reader.scan(Space::Maintenance, prefix.as_bytes(), None, 1)?;
        Ok(page.first().map(|(key, _)| String::from_utf8_lossy(key).into_owned()))
    }

    /// A change of one document, for [`Self::write`].
    ///
    /// # Errors
    /// [`DocumentError::Unreadable`].
    pub fn put_of<T: Serialize>(
        key: &str,
        document: &T,
        expect: Expect,
    ) -> Result<Put, DocumentError> {
        let unreadable = |error| DocumentError::Unreadable { key: key.to_owned(), error };
        Ok(Self::put_bytes(key, serde_json::to_vec(document).map_err(unreadable)?, expect))
    }

    /// The same for a document in bytes.
    pub fn put_bytes(key: &str, value: Vec<u8>, expect: Expect) -> Put {
        Put {
            space: Space::Maintenance,
            key: Bytes::copy_from_slice(key.as_bytes()),
            value: Some(value.into()),
            expect,
            announce: false,
        }
    }

    /// The end of one document, for [`Self::write`].
    pub fn delete_of(key: &str) -> Put {
        Put { value: None, ..Self::put_bytes(key, Vec::new(), Expect::Any) }
    }

    /// Writes one document and waits until it is stored.
    ///
    /// # Errors
    /// All but [`DocumentError::Store`].
    pub fn put<T: Serialize>(
        &self,
        key: &str,
        document: &T,
        expect: Expect,
    ) -> Result<(), DocumentError> {
        self.write(vec![Self::put_of(key, document, expect)?])
    }

    /// Writes several documents in one transaction, or none, and waits until they are stored.
    ///
    /// # Errors
    /// [`DocumentError::Conflict`] and [`DocumentError::Unavailable`].
    pub fn write(&self, puts: Vec<Put>) -> Result<(), DocumentError> {
        let write = Write { puts: puts.into(), ..Write::default() };
        let (sender, receiver) = channel();
        let sent = self.committer.send(Order::Other(Box::new(write), sender));
        let answer = sent.ok().and_then(|()| receiver.recv_timeout(PATIENCE).ok());
        match answer {
            Some(Answer::Committed(Outcome::Done { .. }, _)) => Ok(()),
            Some(Answer::Committed(Outcome::Conflict { key, .. }, _)) => {
                Err(DocumentError::Conflict { key: String::from_utf8_lossy(&key).into_owned() })
            }
            Some(Answer::Unavailable) | None => Err(DocumentError::Unavailable),
        }
    }
}

/// All documents whose keys begin so, where each of them counts.
///
/// # Errors
/// [`DocumentError::Store`], and [`DocumentError::Unreadable`] for any of them.
pub(super) fn every<T: DeserializeOwned>(
    reader: &mut dyn Reader,
    prefix: &str,
) -> Result<Vec<T>, DocumentError> {
    let (mut found, mut pages) = (Vec::new(), pages(prefix));
    while let Some(page) = pages.next(reader)? {
        for (key, doc) in &page {
            found.push(parse(&String::from_utf8_lossy(key), &doc.value)?);
        }
    }
    Ok(found)
}

/// All documents whose keys begin so, a page after the other.
const fn pages(prefix: &str) -> Pages<'_> {
    Pages::new(Space::Maintenance, prefix.as_bytes(), PAGE)
}

/// What a stored document says.
pub(super) fn parse<T: DeserializeOwned>(key: &str, value: &[u8]) -> Result<T, DocumentError> {
    let unreadable = |error| DocumentError::Unreadable { key: key.to_owned(), error };
    serde_json::from_slice(value).map_err(unreadable)
}

/// Documents over a store in memory, with a thread that writes.
#[cfg(test)]
pub(super) fn in_memory() -> Documents {
    use store::{MemoryStore, Store as _};
    let store = MemoryStore::new();
    let (committer, orders) = crate::committer::orders();
    let mut writer = store.writer().unwrap();
    std::thread::spawn(move || {
        while let Ok(Order::Other(write, answer)) = orders.recv() {
            let commit = writer.commit(&[*write]).unwrap();
            let _ = answer.send(Answer::Committed(commit.outcomes[0].clone(), commit.seq));
        }
    });
    Documents::new(store.reader().unwrap(), committer)
}
