//! How a request changes a document: one pure function from what is stored to what is to be stored and said.

use protocol::Wall;

use super::section::{Node, Section};
use super::{ClientToken, Record, Refusal, Rejection, ShadowLimits, UpdateRequest};
use crate::json::{Json, Object};

/// A shadow that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    pub(super) desired: Section,
    pub(super) reported: Section,
    pub(super) version: u64,
    pub(super) changed_at_s: u64,
}

/// One of the two sections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Half {
    Desired,
    Reported,
}

/// An update that is allowed. It is done when [`Self::record`] is stored in place of the record that it was made of, and
/// only then may anybody be told. An update that lost that race is made again of what is stored then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Updated<'a> {
    pub(super) request: &'a UpdateRequest,
    pub(super) previous: Option<&'a Document>,
    pub(super) current: Document,
}

/// A deletion that is allowed. As with [`Updated`], it is done when the record is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deleted {
    pub(super) version: u64,
    pub(super) at_s: u64,
    pub(super) token: Option<ClientToken>,
}

/// Makes the document that a request asks for.
///
/// # Errors
/// [`Rejection`], by what the document as it is does not allow.
pub fn update<'a>(
    stored: Option<&'a Record>,
    request: &'a UpdateRequest,
    now: Wall,
    limits: &ShadowLimits,
) -> Result<Updated<'a>, Rejection> {
    let stored = stored.filter(|record| !record.is_over(now, limits));
    let previous = stored.and_then(Record::document);
    check_version(stored, request.version).map_err(|refusal| request.reject(refusal))?;
    let mut current = previous.cloned().unwrap_or_default();
    current.version = stored.map_or(0, Record::version).saturating_add(1);
    current.changed_at_s = seconds(now);
    current.change(&request.state, seconds(now));
    if current.state_bytes() > limits.document_bytes {
        return Err(request.reject(Refusal::TooLarge));
    }
    Ok(Updated { request, previous, current })
}

/// A version in a request must be that of the document. Where there never was one, 0 and 1 are taken for the beginning;
/// where one was deleted only 0 is, because every other number may be meant for the document that is gone.
const fn check_version(stored: Option<&Record>, asked: Option<u64>) -> Result<(), Refusal> {
    match (stored, asked) {
        (_, None) | (Some(Record::Deleted { .. }), Some(0)) | (None, Some(0 | 1)) => Ok(()),
        (None, Some(_)) => Err(Refusal::InvalidVersion),
        (Some(Record::Live(document)), Some(version)) if document.version == version => Ok(()),
        (Some(Record::Live(_) | Record::Deleted { .. }), Some(_)) => Err(Refusal::VersionConflict),
    }
}

impl Document {
    /// Grows by one with every update, from 1.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// When it was last updated, in whole seconds since 1970.
    pub const fn changed_at_s(&self) -> u64 {
        self.changed_at_s
    }

    /// The bytes of desired and reported as compact JSON, which [`ShadowLimits::document_bytes`] limits.
    pub fn state_bytes(&self) -> usize {
        self.desired.state_bytes().saturating_add(self.reported.state_bytes())
    }

    /// Whether anything is desired and not reported.
    pub fn has_delta(&self) -> bool {
        !self.delta().is_empty()
    }

    /// A leaf, by the names that lead to it with dots between them.
    pub(crate) fn leaf(&self, half: Half, path: &str) -> Option<&Json> {
        let mut section = match half {
            Half::Desired => &self.desired,
            Half::Reported => &self.reported,
        };
        let mut names = path.split('.').peekable();
        while let Some(name) = names.next() {
            match section.0.get(name)? {
                Node::Leaf { value, .. } => return Some(value).filter(|_| names.peek().is_none()),
                Node::Object(inner) => section = inner,
            }
        }
        None
    }

    fn change(&mut self, state: &Json, at_s: u64) {
        match state {
            Json::Null => {
                self.desired = Section::default();
                self.reported = Section::default();
            }
            Json::Object(sections) => {
                self.desired.change(sections, "desired", at_s);
                self.reported.change(sections, "reported", at_s);
            }
            // A request has no other state.
            Json::Bool(_) | Json::Number(_) | Json::Text(_) | Json::Array(_) => {}
        }
    }
}

impl Section {
    fn change(&mut self, sections: &Object, name: &str, at_s: u64) {
        match sections.get(name) {
            Some(Json::Null) => *self = Self::default(),
            Some(Json::Object(patch)) => self.merge(patch, at_s),
            // Not named, and never anything else in a request.
            Some(Json::Bool(_) | Json::Number(_) | Json::Text(_) | Json::Array(_)) | None => {}
        }
    }
}

impl Default for Document {
    /// What a shadow is before its first update.
    fn default() -> Self {
        Self {
            desired: Section::default(),
            reported: Section::default(),
            version: 0,
            changed_at_s: 0,
        }
    }
}

impl Updated<'_> {
    /// What is to be stored, if the record that it was made of is still there.
    pub fn record(&self) -> Record {
        Record::Live(self.current.clone())
    }

    /// The same, when all is said.
    pub fn into_record(self) -> Record {
        Record::Live(self.current)
    }

    /// The document as it will be.
    pub const fn document(&self) -> &Document {
        &self.current
    }
}

impl Deleted {
    /// What is to be stored, if the record that it was made of is still there.
    pub const fn record(&self) -> Record {
        Record::Deleted { version: self.version, at_s: self.at_s }
    }
}

/// The unit of time in everything that is said about shadows.
pub(super) const fn seconds(now: Wall) -> u64 {
    now.0 / 1_000
}
