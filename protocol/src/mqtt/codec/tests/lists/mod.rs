//! Packets as data: what no receiver may accept, and what every receiver has to.
//!
//! The packages outside the workspace that try other codecs include this folder as it is. So it uses nothing but the
//! public face of `protocol`.

mod malformed;
mod notation;
mod unusual;

use crate::mqtt::{ReasonCode, Version, codec::Sender};

pub(crate) use malformed::malformed;
pub(crate) use notation::bytes;
pub(crate) use unusual::unusual;

/// A packet, and in which connections it may turn up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    /// What the list files it under.
    pub(crate) group: &'static str,
    /// What is special about it; names it together with the group.
    pub(crate) name: &'static str,
    /// The versions in which it is so.
    pub(crate) versions: &'static [Version],
    /// Who sends it.
    pub(crate) from: Sender,
    /// One whole packet in our notation, see [`bytes`].
    pub(crate) wire: &'static str,
    /// How it has to be answered and which statement it breaks; `None` if nothing is wrong with it.
    pub(crate) wrong: Option<(ReasonCode, &'static str)>,
}

pub(crate) const ALL: &[Version] = &[Version::V31, Version::V311, Version::V5];
pub(crate) const OLD: &[Version] = &[Version::V31, Version::V311];
pub(crate) const V31: &[Version] = &[Version::V31];
pub(crate) const V311: &[Version] = &[Version::V311];
pub(crate) const V5: &[Version] = &[Version::V5];
