//! What can be wrong with a configuration file, said so that it can be mended.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use protocol::Misread;

/// Why a configuration cannot be used. All are the operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is not TOML, or has a key or a type that is not ours.
    #[error("{}: {misread}", path.display())]
    Misread {
        /// Which file.
        path: PathBuf,
        /// What is wrong, and where.
        misread: Misread,
    },
    /// Values that are out of range or do not fit together, all of them.
    #[error("{}", lines(.0))]
    Faults(Vec<Fault>),
}

/// One value that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Which setting, such as `limits.packet_bytes` or `listen[1].bind`.
    pub setting: String,
    /// What is wrong with it.
    pub what: String,
}

impl Fault {
    pub(super) fn new(setting: impl Into<String>, what: impl Into<String>) -> Self {
        Self { setting: setting.into(), what: what.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.setting, self.what)
    }
}

/// Notes a number that is out of its range.
pub(super) fn check_range(
    faults: &mut Vec<Fault>,
    setting: &str,
    value: impl Into<u64>,
    range: RangeInclusive<u64>,
    unit: &str,
) {
    let value = value.into();
    if !range.contains(&value) {
        let (least, greatest) = range.into_inner();
        faults.push(Fault::new(setting, format!("{value} is not in {least} to {greatest} {unit}")));
    }
}

fn lines(faults: &[Fault]) -> String {
    faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("\n")
}
