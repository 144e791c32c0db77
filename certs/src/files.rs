//! Files that are whole or absent, and keys that only their owner may read.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Why a file of the authority cannot be read or written; the operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file is there and must not be overwritten.
    #[error("{} already exists", path.display())]
    Exists {
        /// Which file.
        path: PathBuf,
    },
    /// The file is not there.
    #[error("{} is missing", path.display())]
    Missing {
        /// Which file.
        path: PathBuf,
    },
    /// The system refused.
    #[error("{}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Secrecy {
    Public,
    OwnerOnly,
}

/// Whether a file that is already there may be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overwrite {
    Never,
    Replace,
}

/// Makes the folder, readable by its owner alone, and holds its lock until the result is dropped: several
/// processes (parallel tests, say) may prepare one folder at once.
pub(crate) fn lock(dir: &Path) -> Result<File, FileError> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(at(dir))?;
    let path = dir.join(".lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(at(&path))?;
    file.lock().map_err(at(&path))?;
    Ok(file)
}

/// Reads a whole text file.
pub(crate) fn read(path: &Path) -> Result<String, FileError> {
    fs::read_to_string(path).map_err(at(path))
}

/// Writes a whole file, so that a reader sees the old one or the new one, even after a crash. Callers hold
/// the folder's lock, which also keeps the temporary name theirs.
pub(crate) fn write(
    path: &Path,
    text: &str,
    secrecy: Secrecy,
    overwrite: Overwrite,
) -> Result<(), FileError> {
    if overwrite == Overwrite::Never && path.exists() {
        return Err(FileError::Exists { path: path.to_owned() });
    }
    let temporary = path.with_file_name(".writing");
    write_new(&temporary, text, secrecy).map_err(at(&temporary))?;
    fs::rename(&temporary, path).map_err(at(path))?;
    if let Some(dir) = path.parent() {
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(at(dir))?;
    }
    Ok(())
}

fn write_new(path: &Path, text: &str, secrecy: Secrecy) -> io::Result<()> {
    // A left-over of a crash may have the wrong mode; start anew.
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        Ok(()) | Err(_) => {}
    }
    let mode = match secrecy {
        Secrecy::Public => 0o644,
        Secrecy::OwnerOnly => 0o600,
    };
    let mut file = OpenOptions::new().create_new(true).write(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |source| {
        if source.kind() == io::ErrorKind::NotFound {
            FileError::Missing { path }
        } else {
            FileError::Io { path, source }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_file_is_replaced_only_when_asked_and_keeps_its_secrecy() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.key");
        write(&path, "one", Secrecy::OwnerOnly, Overwrite::Never).unwrap();
        let again = write(&path, "two", Secrecy::OwnerOnly, Overwrite::Never);
        assert!(matches!(again, Err(FileError::Exists { .. })));
        assert_eq!(read(&path).unwrap(), "one");
        fs::write(dir.path().join(".writing"), "left by a crash").unwrap();
        write(&path, "two", Secrecy::OwnerOnly, Overwrite::Replace).unwrap();
        assert_eq!(read(&path).unwrap(), "two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
