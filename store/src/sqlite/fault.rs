//! What SQLite and the system said, in the words of the contract.

use std::io;
use std::path::Path;

use rusqlite::ErrorCode;

use crate::{StoreError, Unavailable};

/// The error of a failed statement.
pub(super) fn from(error: rusqlite::Error) -> StoreError {
    let code = error.sqlite_error_code();
    let is = |codes: &[ErrorCode]| code.is_some_and(|code| codes.contains(&code));
    if is(&[ErrorCode::ReadOnly, ErrorCode::PermissionDenied]) {
        return StoreError::ReadOnly;
    }
    if code.is_none() || is(&[ErrorCode::DatabaseCorrupt, ErrorCode::NotADatabase]) {
        let what = "a table does not hold what was written";
        return StoreError::Damaged { what, source: Some(Box::new(error)) };
    }
    let why = if is(&[ErrorCode::DiskFull]) {
        Unavailable::Full
    } else if is(&[ErrorCode::SystemIoFailure, ErrorCode::CannotOpen]) {
        Unavailable::Io
    } else if is(&[ErrorCode::DatabaseBusy, ErrorCode::DatabaseLocked]) {
        Unavailable::Busy
    } else {
        Unavailable::Other
    };
    StoreError::Unavailable { why, source: Some(Box::new(error)) }
}

/// The error of a file that cannot be made or opened.
pub(super) fn open(path: &Path, error: io::Error) -> StoreError {
    if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) {
        return StoreError::ReadOnly;
    }
    StoreError::Open { path: path.to_owned(), source: Box::new(error) }
}

/// The error of a lock that the system did not give.
pub(super) fn lock(error: io::Error) -> StoreError {
    StoreError::Unavailable { why: Unavailable::Io, source: Some(Box::new(error)) }
}

/// The error of a value that cannot have been written by us.
pub(super) const fn damaged(what: &'static str) -> StoreError {
    StoreError::Damaged { what, source: None }
}
