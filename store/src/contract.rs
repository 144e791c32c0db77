//! What every backend keeps: a log of commits, bodies by position, and documents with revisions.
//!
//! A gateway has one [`Writer`] and any number of [`Reader`]s. Every commit takes the next [`LogSeq`] of the fleet, so
//! a gateway that tails the log sees what all of them did, in one order.

use std::time::Duration;

use bytes::Bytes;
use protocol::session::DropReason;
use protocol::{LogSeq, Position, Publication, Refs, SessionEpoch, SessionNo};
use smallvec::SmallVec;

use crate::{Outlines, StoreError};

/// What kind of document a key names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Space {
    /// Session records, by client id.
    Session = 1,
    /// Retained messages, by topic name.
    Retained = 2,
    /// Gateways of the fleet, by gateway id.
    Gateway = 3,
    /// Fences of gateways that were away, by gateway id: what one of them routed before and stores after is refused.
    Lease = 4,
    /// Campaigns, visits and the ledger.
    Maintenance = 5,
    /// Numbers given out once, such as session numbers.
    Counter = 6,
    /// Wills that wait for their delay, by client id.
    Will = 7,
    /// Shadows, by device and name.
    Shadow = 8,
    /// Bans, by what they are on.
    Ban = 9,
    /// What sessions that are over leave to their shared groups, by session number.
    Estate = 10,
    /// Who is there, by client id; who is expected, or is to be sent away; and errands about clients.
    Presence = 11,
    /// Things and what is written down about them, by name.
    Thing = 12,
}

impl Space {
    /// Every space, in the order of its number.
    pub const ALL: [Self; 12] = [
        Self::Session,
        Self::Retained,
        Self::Gateway,
        Self::Lease,
        Self::Maintenance,
        Self::Counter,
        Self::Will,
        Self::Shadow,
        Self::Ban,
        Self::Estate,
        Self::Presence,
        Self::Thing,
    ];

    /// The number it is stored under.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Whether who reads the log learns only that an announced document changed: most of these concern nobody else, and who
    /// wants one reads it.
    pub const fn is_poked(self) -> bool {
        matches!(self, Self::Shadow)
    }

    /// The space of a stored number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }
}

/// Which life of a document: grows with every write in the fleet, so a key never sees the same one twice, not even
/// after it was deleted. 0 is before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Rev(pub u64);

/// A document as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doc {
    /// Its revision, for [`Expect::Rev`].
    pub rev: Rev,
    /// Its bytes.
    pub value: Bytes,
}

/// What must be true of a key for a [`Put`] to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Expect {
    /// Nothing: last writer wins.
    #[default]
    Any,
    /// There is no document.
    Absent,
    /// The document has this revision.
    Rev(Rev),
    /// The document begins with these bytes: a fence, such as the epoch of a session.
    Prefix([u8; 8]),
    /// There is no document, or it begins with these bytes or, as a number with the highest byte first, less: nobody put a higher
    /// fence there.
    AtMost([u8; 8]),
}

/// What must be true of a document that is not changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// The kind of document.
    pub space: Space,
    /// Its key, at most [`MAX_KEY_BYTES`].
    pub key: Bytes,
    /// What must be true.
    pub expect: Expect,
}

/// A change of one document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// The kind of document.
    pub space: Space,
    /// Its key, at most [`MAX_KEY_BYTES`].
    pub key: Bytes,
    /// Its new bytes, at most [`MAX_BYTES`]; `None` deletes it.
    pub value: Option<Bytes>,
    /// What must be true before.
    pub expect: Expect,
    /// Whether every gateway shall hear of it through the log ([`Entry::Doc`]).
    pub announce: bool,
}

/// A publication for the queues of some sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append {
    /// What is stored once, encoded at most [`MAX_BYTES`].
    pub body: Publication,
    /// Whose queues it joins; clones of one [`Refs`] are written once per commit.
    pub refs: Refs,
}

/// One atomic unit: all of it happens or nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Write {
    /// What must be true for any of it to happen, besides what its documents expect; checked before those, against the same.
    pub checks: Vec<Check>,
    /// Publications, which take consecutive positions.
    pub appends: SmallVec<[Append; 1]>,
    /// Documents. Expectations are checked against what stood before this unit; of two puts of one key the later wins.
    pub puts: SmallVec<[Put; 2]>,
    /// Low-water marks: of this session everything up to and with this position is acknowledged. The log tells them before
    /// the documents.
    pub trims: Vec<Trim>,
    /// Messages that sessions do not get. The log tells them before the marks and the documents.
    pub drops: Vec<Dropped>,
    /// What it outlives once it is answered.
    pub outlives: Outlives,
}

/// What a [`Write`] outlives once it is answered, where the backend keeps files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Outlives {
    /// The end of every process, and a power failure.
    #[default]
    PowerFailure,
    /// The end of every process. A power failure may take it, and then also those behind it that outlive no more; never one
    /// before a write that outlives a power failure.
    Processes,
}

impl Write {
    /// Bytes of its publications and documents, and about those of what it says of queues.
    pub fn len_bytes(&self) -> usize {
        let bodies: usize = self.appends.iter().map(|append| append.body.len_bytes()).sum();
        let docs = self.puts.iter().filter_map(|put| put.value.as_ref());
        bodies + docs.map(Bytes::len).sum::<usize>() + self.said_bytes()
    }

    /// Most bytes that its marks and drops take in the log.
    pub(crate) const fn said_bytes(&self) -> usize {
        (self.trims.len() + self.drops.len()) * SAID_BYTES
    }
}

/// A low-water mark of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trim {
    /// Whose queue.
    pub session: SessionNo,
    /// The ownership that says so; whoever follows the log ignores what an older one says.
    pub epoch: SessionEpoch,
    /// Everything up to and with this position is acknowledged.
    pub up_to: Position,
}

/// Messages that a session does not get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dropped {
    /// Whose.
    pub session: SessionNo,
    /// Why.
    pub reason: DropReason,
    /// Which.
    pub which: Lost,
}

/// Which messages a session does not get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// So many that are not in its queue: they never joined it, or the mark passes them.
    Missed(u32),
    /// Those in its queue behind `after`, up to and with `up_to`.
    Queued {
        /// The ownership in which this was found; whoever follows the log ignores what was found in an older one.
        epoch: SessionEpoch,
        /// The last one that stays.
        after: Position,
        /// The last one that goes.
        up_to: Position,
    },
}

/// What became of one [`Write`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is durable, as it asked.
    Done {
        /// The position of its first append; the others follow without gap. 0 if it had none.
        first: Position,
        /// The revision of all its documents. 0 if it had none.
        rev: Rev,
    },
    /// Nothing of it happened: an expectation did not hold.
    Conflict {
        /// The space of the first check or put that did not hold.
        space: Space,
        /// The key of the first check or put that did not hold.
        key: Bytes,
        /// What stands there instead.
        current: Option<Doc>,
    },
}

/// What a gateway that tails the log learns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// Publications joined queues.
    Refs {
        /// The position of the first.
        first: Position,
        /// How many consecutive positions have these references; at least 1.
        count: u32,
        /// Whose queues.
        refs: Refs,
        /// Size and end of each.
        outlines: Outlines,
    },
    /// An announced document changed.
    Doc {
        /// Its kind.
        space: Space,
        /// Its key.
        key: Bytes,
        /// The revision of `value`; if it is deleted, the one of the announced change.
        rev: Rev,
        /// What stands there now, which may be newer than the announced change; `None` if it is deleted, and of a space that
        /// is only [poked](Space::is_poked).
        value: Option<Bytes>,
    },
    /// A session's queue was trimmed.
    Trim(Trim),
    /// A session does not get some messages.
    Dropped(Dropped),
}

/// What a group commit did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Its place in the log; equal to `prev` if there was nothing to tell.
    pub seq: LogSeq,
    /// The place of the commit before, of whichever gateway: `seq - 1`, or `seq` if there was nothing to tell.
    pub prev: LogSeq,
    /// What the other gateways will read at `seq`.
    pub entries: Vec<Entry>,
    /// One per [`Write`], in the same order.
    pub outcomes: Vec<Outcome>,
}

/// Longest key of a document, in bytes: a topic name or a client id, and what a space puts around it.
pub const MAX_KEY_BYTES: usize = 65_535 + 256;

/// Longest stored form of a mark or of a drop, in bytes.
const SAID_BYTES: usize = 40;

/// Longest document and longest encoded publication, in bytes: the largest MQTT packet and its stored head.
pub const MAX_BYTES: usize = 268_435_455 + 256;

/// What there is to tidy, as [`Writer::untidy`] has seen it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Untidy {
    /// Pages of the log of changes that are not in their place.
    pub log_pages: u64,
    /// Whether they are worth being moved.
    pub is_long: bool,
    /// Whether they are so many that moving them cannot wait any more.
    pub is_too_long: bool,
    /// Whether there is much that holds nothing and can be given back.
    pub has_spare: bool,
    /// Bytes of the store's files now; 0 where that means nothing.
    pub file_bytes: u64,
    /// Bytes of them that hold nothing.
    pub free_bytes: u64,
}

/// What [`Writer::tidy`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tidied {
    /// Pages that were moved from the log of changes to their place; 0 if it was not yet worth it.
    pub moved_pages: u64,
    /// Pages that were given back to the disk, or soon will be.
    pub freed_pages: u64,
    /// For how long other writers were held up.
    pub held: Duration,
    /// Bytes of the store's files now; 0 where that means nothing.
    pub file_bytes: u64,
    /// Bytes of them that hold nothing.
    pub free_bytes: u64,
    /// Whether there is more to do at once.
    pub more: bool,
}

/// A store that was opened: gives out connections to it.
pub trait Store: Send + Sync + std::fmt::Debug {
    /// A new writer, for one thread.
    ///
    /// # Errors
    /// [`StoreError`], by what is wrong with the store.
    fn writer(&self) -> Result<Box<dyn Writer>, StoreError>;

    /// A new reader, for one thread.
    ///
    /// # Errors
    /// [`StoreError`], by what is wrong with the store.
    fn reader(&self) -> Result<Box<dyn Reader>, StoreError>;
}

/// The side that changes the store. Several processes may each have one; their commits take turns.
pub trait Writer: Send + std::fmt::Debug {
    /// Makes a batch durable in one transaction, as far as its writes ask ([`Write::outlives`]). Each [`Write`] that meets its expectations happens whole, the others
    /// not at all; later ones see what earlier ones of the batch did.
    ///
    /// # Errors
    /// [`StoreError`]: then nothing of the batch happened, for anybody who reads; except after
    /// [`StoreError::Unknown`], which leaves it open. A process that ends before the answer leaves it open too.
    fn commit(&mut self, batch: &[Write]) -> Result<Commit, StoreError>;

    /// After [`StoreError::Unknown`], with the batch of that call: makes it happen if it has not, and answers what the lost
    /// answer said. A backend that always knows has nothing to do here.
    ///
    /// # Errors
    /// As [`Self::commit`]; [`StoreError::Unknown`] once more means to ask once more.
    fn commit_again(&mut self, batch: &[Write]) -> Result<Commit, StoreError> {
        self.commit(batch)
    }

    /// Looks whether there is something for [`Self::tidy`] to do; holds nobody up. A backend that looks after itself has nothing to
    /// do.
    ///
    /// # Errors
    /// [`StoreError`], by what is wrong with the store.
    fn untidy(&mut self) -> Result<Untidy, StoreError> {
        Ok(Untidy::default())
    }

    /// Does some of the housekeeping that would otherwise stall a commit now and then, in steps that are short wherever they
    /// hold other writers up. To be called often; does nothing where there is little to do.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is lost and it can be tried again.
    fn tidy(&mut self) -> Result<Tidied, StoreError>;

    /// Deletes, in bounded steps, bodies before `keep_from`, and commits before `keep_seq` whose publications all lie
    /// before `keep_from`. Answers how many bodies and commits went.
    ///
    /// # Errors
    /// [`StoreError`]; what was deleted until then stays deleted.
    fn trim_log(&mut self, keep_from: Position, keep_seq: LogSeq) -> Result<u64, StoreError>;
}

/// The side that reads. Everything it returns is durable and as new as the call.
pub trait Reader: Send + std::fmt::Debug {
    /// The newest commit and the newest position.
    ///
    /// # Errors
    /// [`StoreError`], by what is wrong with the store.
    fn head(&mut self) -> Result<(LogSeq, Position), StoreError>;

    /// The oldest commit that is still in the log; the one after [`Self::head`] if there is none.
    ///
    /// # Errors
    /// [`StoreError`], by what is wrong with the store.
    fn first_seq(&mut self) -> Result<LogSeq, StoreError>;

    /// The commits that follow `after`, in order and without gap: `max_rows` of them, or fewer if the log ends there.
    ///
    /// # Errors
    /// [`StoreError::Gap`] if the commit after `after` was trimmed, or if `after` was never written.
    fn log_after(
        &mut self,
        after: LogSeq,
        max_rows: usize,
    ) -> Result<Vec<(LogSeq, Vec<Entry>)>, StoreError>;

    /// The publications at these positions, in the same order; those that are gone are left out.
    ///
    /// # Errors
    /// [`StoreError`], by what is wrong with the store.
    fn bodies(
        &mut self,
        positions: &[Position],
    ) -> Result<Vec<(Position, Publication)>, StoreError>;

    /// One document.
    ///
    /// # Errors
    /// [`StoreError`], by what is wrong with the store.
    fn get(&mut self, space: Space, key: &[u8]) -> Result<Option<Doc>, StoreError>;

    /// Several documents, in the order of `keys`, each as it stands. Cheaper than one after the other where that can be.
    ///
    /// # Errors
    /// [`StoreError`], by what is wrong with the store.
    fn get_all(&mut self, keys: &[(Space, Bytes)]) -> Result<Vec<Option<Doc>>, StoreError> {
        keys.iter().map(|(space, key)| self.get(*space, key)).collect()
    }

    /// At most `max` documents whose keys begin with `prefix` and lie behind `after`, in the order of their bytes; fewer
    /// only where there are no more.
    ///
    /// # Errors
    /// [`StoreError`], by what is wrong with the store.
    fn scan(
        &mut self,
        space: Space,
        prefix: &[u8],
        after: Option<&[u8]>,
        max: usize,
    ) -> Result<Vec<(Bytes, Doc)>, StoreError>;
}
