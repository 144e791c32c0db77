//! Reading who may say what: the access files that the configuration names, made one policy.

use std::path::{Path, PathBuf};

use access::{AclFault, ClaimsMode, Policy, Rule, read_acl, read_mosquitto};

use crate::config::{ClaimsMeaning, Rights};

/// Why the access files cannot be used. All are the operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum RightsError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file has lines that cannot be used, all of them.
    #[error("{}", lines(path, faults))]
    Faults {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        faults: Vec<AclFault>,
    },
}

/// How an access file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// `[[rule]]` tables.
    Ours,
    /// `user`, `topic` and `pattern` lines.
    Mosquitto,
}

/// Reads the access files and makes them the policy of this gateway: our own rules first, then mosquitto's.
///
/// # Errors
/// [`RightsError`] for the first file that cannot be used, with everything that is wrong in it.
pub fn load(rights: &Rights) -> Result<Policy, RightsError> {
    let claims = match rights.claims {
        ClaimsMeaning::Narrow => ClaimsMode::Narrow,
        ClaimsMeaning::Grant => ClaimsMode::Grant,
    };
    if rights.allow_all {
        return Ok(Policy::allow_all(claims));
    }
    let mut rules = Vec::new();
    if let Some(path) = &rights.acl {
        rules.extend(read(path, Dialect::Ours)?);
    }
    if let Some(path) = &rights.acl_mosquitto {
        rules.extend(read(path, Dialect::Mosquitto)?);
    }
    Ok(Policy::of(rules, claims))
}

/// Reads one access file.
///
/// # Errors
/// [`RightsError`], with everything that is wrong in it.
pub fn read(path: &Path, dialect: Dialect) -> Result<Vec<Rule>, RightsError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| RightsError::Read { path: path.to_owned(), source })?;
    // Clients see it in reason strings: the name of the file, not where it lies.
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let rules = match dialect {
        Dialect::Ours => read_acl(&name, &text),
        Dialect::Mosquitto => read_mosquitto(&name, &text),
    };
    rules.map_err(|faults| RightsError::Faults { path: path.to_owned(), faults })
}

fn lines(path: &Path, faults: &[AclFault]) -> String {
    let lines: Vec<_> = faults.iter().map(|it| format!("{}: {it}", path.display())).collect();
    lines.join("\n")
}
