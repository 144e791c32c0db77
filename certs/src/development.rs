//! A whole fleet's identities in one folder, for development and tests.

use std::path::Path;

use crate::authority::{self, Authority, AuthorityError, IssueError, Request, identity_files};
use crate::files::{FileError, Overwrite};
use crate::role::Role;

/// Why a development set cannot be completed.
#[derive(Debug, thiserror::Error)]
pub enum DevelopmentError {
    /// The folder cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The authority cannot be made or loaded.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// A certificate cannot be issued.
    #[error("cannot issue to {name:?}")]
    Issue {
        /// To whom.
        name: String,
        /// Why.
        source: IssueError,
    },
}

/// Makes what is missing: the authority, `crl.pem`, one identity per gateway, `device-1` and `operator`, each
/// for a year. What is there stays as it is; of a half-written pair both halves are made anew. Safe to call
/// from several processes at once.
///
/// # Errors
/// [`DevelopmentError`], by what failed first.
pub fn development_set(dir: &Path, gateways: &[&str]) -> Result<Authority, DevelopmentError> {
    let _lock = authority::lock(dir)?;
    let authority = match Authority::load(dir) {
        Ok(authority) => authority,
        Err(AuthorityError::File(FileError::Missing { .. })) => Authority::create_locked(dir)?,
        Err(e) => return Err(e.into()),
    };
    authority.ensure_crl()?;
    let others = [(Role::Device, "device-1"), (Role::Operator, "operator")];
    let wanted = gateways.iter().map(|&name| (Role::Gateway, name)).chain(others);
    for (role, name) in wanted {
        let (cert, key) = identity_files(dir, name);
        if cert.exists() && key.exists() {
            continue;
        }
        let request = Request { role, name, sans: &[], days: DAYS };
        authority
            .issue_locked(request, Overwrite::Replace)
            .map_err(|source| DevelopmentError::Issue { name: name.to_owned(), source })?;
    }
    Ok(authority)
}

const DAYS: u32 = 365;
