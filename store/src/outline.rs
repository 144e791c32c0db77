//! What the log says of a stored publication beside who gets it.

use protocol::{Publication, Wall};
use smallvec::SmallVec;

/// What the limits of queues and the end of messages need of a publication, so that no body is read for them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outline {
    /// Bytes of topic, properties and payload.
    pub bytes: u32,
    /// When it is no longer worth delivering.
    pub expires_at: Option<Wall>,
}

impl Outline {
    /// That of a publication.
    pub fn of(publication: &Publication) -> Self {
        Self {
            bytes: u32::try_from(publication.len_bytes()).unwrap_or(u32::MAX),
            expires_at: publication.expires_at,
        }
    }
}

/// Outlines of consecutive publications; those that are alike stand there once.
///
/// Empty if the log was written by a version that did not have them: then nothing is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outlines(SmallVec<[(u32, Outline); 1]>);

impl Outlines {
    /// Those of some publications.
    pub fn of<'a>(publications: impl IntoIterator<Item = &'a Publication>) -> Self {
        let mut outlines = Self::default();
        for publication in publications {
            outlines.push(1, Outline::of(publication));
        }
        outlines
    }

    /// Adds that of the next `count` publications.
    pub fn push(&mut self, count: u32, outline: Outline) {
        match self.0.last_mut() {
            Some((before, last)) if *last == outline => *before = before.saturating_add(count),
            Some(_) | None => self.0.push((count, outline)),
        }
    }

    /// One for each of `count` publications.
    pub fn iter(&self, count: u32) -> impl Iterator<Item = Outline> + '_ {
        let known = self.0.iter().flat_map(|(n, outline)| {
            std::iter::repeat_n(*outline, usize::try_from(*n).unwrap_or(usize::MAX))
        });
        let unknown = std::iter::repeat(Outline::default());
        known.chain(unknown).take(usize::try_from(count).unwrap_or(usize::MAX))
    }

    /// How many of each, in order.
    pub(crate) fn runs(&self) -> &[(u32, Outline)] {
        &self.0
    }
}
