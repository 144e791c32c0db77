//! The parts of frames that are lists, and publications: read strictly, and believed only as far as their bytes go.

use smallvec::SmallVec;

use super::frame::{InterestChange, SharedTarget, SharedTargets};
use super::hash::HashChange;
use super::wire::{Fields, FrameError};
use crate::{Publication, TopicFilter, TopicName};

/// Fewest bytes of one interest change: members, flag, filter of one character.
const LEAST_CHANGE_BYTES: usize = 8;
/// Fewest bytes of one shared target: two texts of one character.
const LEAST_TARGET_BYTES: usize = 6;

pub(super) fn changes(fields: &mut Fields<'_>) -> Result<Vec<InterestChange>, FrameError> {
    let count = count(fields, LEAST_CHANGE_BYTES)?;
    let mut changes = Vec::with_capacity(count);
    for _ in 0..count {
        let members = fields.u32()?;
        let (share, filter) = if fields.flag("share flag")? {
            let target = target(fields)?;
            (Some(target.share), target.filter)
        } else {
            let filter = TopicFilter::new(fields.text("filter")?);
            (None, filter.map_err(|_| FrameError::Field("filter"))?)
        };
        changes.push(InterestChange { filter, share, members });
    }
    Ok(changes)
}

pub(super) fn hashes(fields: &mut Fields<'_>) -> Result<Vec<HashChange>, FrameError> {
    let count = count(fields, size_of::<u64>())?;
    let mut hashes = Vec::with_capacity(count);
    for _ in 0..count {
        let change = HashChange::from_bits(fields.u64()?);
        hashes.push(change.ok_or(FrameError::Field("hash"))?);
    }
    Ok(hashes)
}

pub(super) fn targets(fields: &mut Fields<'_>) -> Result<SharedTargets, FrameError> {
    let count = count(fields, LEAST_TARGET_BYTES)?;
    let mut targets = SmallVec::with_capacity(count);
    for _ in 0..count {
        targets.push(target(fields)?);
    }
    Ok(targets)
}

/// A number of things, believed only as far as the bytes that are there can hold them.
fn count(fields: &mut Fields<'_>, least_bytes: usize) -> Result<usize, FrameError> {
    let count = usize::try_from(fields.u32()?).unwrap_or(usize::MAX);
    if count > fields.left() / least_bytes {
        return Err(FrameError::Short);
    }
    Ok(count)
}

fn target(fields: &mut Fields<'_>) -> Result<SharedTarget, FrameError> {
    let (share, filter) = (fields.text("share name")?, fields.text("filter")?);
    // The same check as for what a client writes; it also refuses a '/' that was smuggled into the name.
    let parsed = TopicFilter::parse_subscription(&format!("$share/{share}/{filter}"));
    match parsed {
        Ok((Some(name), parsed)) if name.as_str() == share => {
            Ok(SharedTarget { share: name, filter: parsed })
        }
        Ok(_) | Err(_) => Err(FrameError::Field("shared group")),
    }
}

pub(super) fn publication(fields: &mut Fields<'_>) -> Result<Publication, FrameError> {
    let stored = fields.rest();
    // Bits without a meaning are refused, so that a later version may give them one.
    if stored.first().is_none_or(|b| b & !7 != 0) || stored.get(1) != Some(&0) {
        return Err(FrameError::Field("publication"));
    }
    let publication = Publication::decode(&stored).ok_or(FrameError::Field("publication"))?;
    TopicName::check(publication.topic()).map_err(|_| FrameError::Field("topic"))?;
    Ok(publication)
}
