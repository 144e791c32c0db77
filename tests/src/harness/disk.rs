//! A disk that gets full.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

/// Lines for the shell that becomes a gateway, by which it sees a file system of so many MiB in this folder, and nobody else
/// does; none where that cannot be done.
pub fn small_disk(folder: &Path, mib: u32) -> Option<String> {
    let mount = format!("mount -t tmpfs -o size={mib}m tmpfs '{}'", folder.display());
    let tried = Command::new("unshare").args(["-rm", "sh", "-c", &mount]).output();
    let can = tried.is_ok_and(|tried| tried.status.success());
    let line = format!(
        "exec unshare -rm sh -c \"trap '' XFSZ; {mount}; exec \\\"\\$0\\\" \\\"\\$@\\\"\" \"$0\" \"$@\""
    );
    can.then_some(line)
}

/// Writes to a file until there is no room left.
pub fn fill_disk(path: &Path) {
    let mut file = File::create(path).expect("a file");
    for bytes in [1 << 16, 1 << 12, 1] {
        while file.write_all(&vec![0; bytes]).is_ok() {}
    }
}
