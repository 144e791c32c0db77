//! One set of files that belong together, and whether they have changed.

use std::error::Error;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Why files cannot be put in force. The operator's to mend.
pub type ReloadFailed = Box<dyn Error + Send + Sync>;

/// Files that are read and put in force together, or not at all.
pub trait Reloadable: Send {
    /// What they are, for operators.
    fn name(&self) -> &'static str;

    /// Where they are.
    fn files(&self) -> Vec<PathBuf>;

    /// Reads them and puts them in force.
    ///
    /// # Errors
    /// [`ReloadFailed`] if one cannot be used: then everything is as it was, but for what is revoked.
    fn reload(&mut self) -> Result<(), ReloadFailed>;

    /// Whether not all gateways should read theirs at the same moment.
    fn pauses(&self) -> bool {
        false
    }

    /// What in them is not in force without a restart.
    fn needs_restart(&self) -> &[String] {
        &[]
    }
}

/// A set of files that is looked at.
pub(super) struct Watched {
    pub(super) part: Box<dyn Reloadable>,
    /// As they were when they were read last.
    known: Vec<Option<Stamp>>,
    /// As they were at the last look.
    seen: Vec<Option<Stamp>>,
}

/// A file's state without its contents; through symbolic links, so that one that points elsewhere is another file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    seconds: i64,
    nanoseconds: i64,
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let it = std::fs::metadata(path).ok()?;
        Some(Self {
            device: it.dev(),
            inode: it.ino(),
            bytes: it.len(),
            seconds: it.mtime(),
            nanoseconds: it.mtime_nsec(),
        })
    }
}

/// Files as they were before the process read them: what changes while it starts is found changed.
#[derive(Debug, Clone)]
pub struct Before(Vec<(PathBuf, Option<Stamp>)>);

impl Before {
    /// As they are now.
    pub fn of(files: impl IntoIterator<Item = PathBuf>) -> Self {
        let stamped = |path: PathBuf| {
            let stamp = Stamp::of(&path);
            (path, stamp)
        };
        Self(files.into_iter().map(stamped).collect())
    }

    fn stamp(&self, path: &Path) -> Option<Stamp> {
        self.0.iter().find(|(known, _)| known == path).and_then(|(_, stamp)| *stamp)
    }
}

impl Watched {
    /// The process read its files after they were as they were `before`.
    pub(super) fn new(part: Box<dyn Reloadable>, before: &Before) -> Self {
        let known: Vec<_> = part.files().iter().map(|path| before.stamp(path)).collect();
        Self { part, seen: known.clone(), known }
    }

    /// Whether its files have changed and are at rest: the same at two looks, so that most are not read half written.
    pub(super) fn has_changed(&mut self) -> bool {
        let now = self.stamps();
        let rests = now == self.seen;
        self.seen = now;
        rests && self.seen != self.known
    }

    /// Reads them again, whether they have changed or not.
    pub(super) fn reload(&mut self) -> Result<(), ReloadFailed> {
        // Before they are read: what changes meanwhile is found changed.
        self.known = self.stamps();
        self.seen.clone_from(&self.known);
        self.part.reload()
    }

    fn stamps(&self) -> Vec<Option<Stamp>> {
        self.part.files().iter().map(|path| Stamp::of(path)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct OneFile(PathBuf);

    impl Reloadable for OneFile {
        fn name(&self) -> &'static str {
            "one file"
        }

        fn files(&self) -> Vec<PathBuf> {
            vec![self.0.clone()]
        }

        fn reload(&mut self) -> Result<(), ReloadFailed> {
            std::fs::read(&self.0).map(drop).map_err(Into::into)
        }
    }

    #[test]
    fn what_changes_while_the_process_starts_is_found_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("one");
        std::fs::write(&path, "1").unwrap();
        let before = Before::of([path.clone()]);
        let mut same = Watched::new(Box::new(OneFile(path.clone())), &before);
        assert!(!same.has_changed() && !same.has_changed());
        std::fs::write(&path, "read, then changed").unwrap();
        let mut watched = Watched::new(Box::new(OneFile(path)), &before);
        assert!(!watched.has_changed());
        assert!(watched.has_changed());
    }

    #[test]
    fn a_change_is_seen_once_it_rests_also_behind_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let [one, two, link] = ["one", "two", "link"].map(|name| folder.path().join(name));
        std::fs::write(&one, "1").unwrap();
        std::fs::write(&two, "2").unwrap();
        std::os::unix::fs::symlink(&one, &link).unwrap();
        let mut watched =
            Watched::new(Box::new(OneFile(link.clone())), &Before::of([link.clone()]));
        assert!(!watched.has_changed() && !watched.has_changed());
        // As Kubernetes does it.
        let beside = folder.path().join("beside");
        std::os::unix::fs::symlink(&two, &beside).unwrap();
        std::fs::rename(&beside, &link).unwrap();
        assert!(!watched.has_changed());
        assert!(watched.has_changed());
        watched.reload().unwrap();
        assert!(!watched.has_changed());
        std::fs::remove_file(&two).unwrap();
        assert!(!watched.has_changed());
        assert!(watched.has_changed());
        watched.reload().unwrap_err();
        // Told once.
        assert!(!watched.has_changed() && !watched.has_changed());
    }
}
