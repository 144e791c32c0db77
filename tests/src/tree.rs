//! The files of the workspace, for the guards.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file that version control knows.
#[derive(Debug, Clone)]
pub struct SourceFile {
    /// Its path from the root of the workspace, with `/` on every system.
    pub path: String,
    /// What it holds now.
    pub text: String,
}

impl SourceFile {
    /// Whether it is Rust.
    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether all of it is test code.
    pub fn is_test(&self) -> bool {
        let mut folders = self.path.split('/').rev();
        let name = folders.next().unwrap_or_default();
        // The room `tests` has a `src` like any other; its own `tests` folder is test code.
        let in_tests = folders.rev().skip(1).any(|folder| folder == "tests");
        in_tests || name == "tests.rs" || name.ends_with("_tests.rs")
    }
}

/// The folder that holds all rooms.
pub fn workspace_root() -> PathBuf {
    let room = Path::new(env!("CARGO_MANIFEST_DIR"));
    room.parent().unwrap_or(room).to_owned()
}

/// Every tracked text file. Files that are deleted and not yet committed, and those that are not UTF-8, are left out.
///
/// # Errors
/// If git cannot be asked.
pub fn tracked_files() -> io::Result<Vec<SourceFile>> {
    let root = workspace_root();
    let output = Command::new("git").arg("-C").arg(&root).args(["ls-files", "-z"]).output()?;
    if !output.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    let paths = String::from_utf8_lossy(&output.stdout).into_owned();
    let files = paths.split('\0').filter(|path| !path.is_empty()).filter_map(|path| {
        let text = std::fs::read_to_string(root.join(path)).ok()?;
        Some(SourceFile { path: path.to_owned(), text })
    });
    Ok(files.collect())
}
