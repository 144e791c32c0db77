//! The lists of `protocol`, for the versions that everybody here speaks.

use crate::lists;
use crate::mqtt::Version;
use crate::mqtt::codec::Sender;

/// A packet of a list, in one version.
#[derive(Debug, Clone)]
pub struct Listed {
    /// What it is filed under.
    pub group: &'static str,
    /// What is special about it.
    pub name: &'static str,
    /// 3.1.1 or 5.0.
    pub version: Version,
    /// Who sends it.
    pub from: Sender,
    /// Its bytes.
    pub wire: Vec<u8>,
}

/// Malformed packets.
pub fn malformed() -> Vec<Listed> {
    spread(&lists::malformed())
}

/// Unusual packets that are valid.
pub fn unusual() -> Vec<Listed> {
    spread(&lists::unusual())
}

fn spread(cases: &[lists::Case]) -> Vec<Listed> {
    let spoken = |version: &&Version| **version != Version::V31;
    let each = cases.iter().flat_map(|case| {
        case.versions.iter().filter(spoken).map(|version| Listed {
            group: case.group,
            name: case.name,
            version: *version,
            from: case.from,
            wire: lists::bytes(case.wire),
        })
    });
    each.collect()
}
