//! `tidegate passwd`: lines of a password file.

use std::fs::{File, Metadata, Permissions};
use std::io::{BufRead as _, IsTerminal as _, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use access::{NewLineError, PasswordKind, line_name, password_line};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use super::arguments::PasswdArguments;
use super::exit::{Exit, Failure};

/// Why a line cannot be written.
#[derive(Debug, thiserror::Error)]
enum PasswdError {
    /// The operator's: a name or a password that cannot be.
    #[error(transparent)]
    Line(#[from] NewLineError),
    /// The operator's: who is to be deleted is not there.
    #[error("{} has no user {user:?}", path.display())]
    NoUser { path: PathBuf, user: String },
    /// The operator's: the two passwords differ.
    #[error("the passwords are not the same")]
    Differ,
    /// The file's.
    #[error("cannot use {}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    /// The terminal's, or what stands in its place.
    #[error("cannot read the password")]
    Input(#[source] std::io::Error),
    /// The system's.
    #[error("no random bytes are to be had")]
    Random,
}

impl From<PasswdError> for Failure {
    fn from(error: PasswdError) -> Self {
        let exit = match &error {
            PasswdError::Line(_) | PasswdError::Differ => Exit::Usage,
            PasswdError::NoUser { .. }
            | PasswdError::File { .. }
            | PasswdError::Input(_)
            | PasswdError::Random => Exit::Failed,
        };
        Self::new(exit, &error)
    }
}

/// Writes, changes or deletes the line of one user.
pub(super) fn passwd(arguments: &PasswdArguments) -> Result<Exit, Failure> {
    Ok(change(arguments)?)
}

fn change(arguments: &PasswdArguments) -> Result<Exit, PasswdError> {
    let PasswdArguments { file: path, user, .. } = arguments;
    let kind = if arguments.scram { PasswordKind::Scram } else { PasswordKind::Argon2id };
    let text = match std::fs::read_to_string(path) {
        Ok(_) if arguments.create => String::new(),
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(source) => return Err(PasswdError::File { path: path.clone(), source }),
    };
    // A line of SCRAM stands under the prepared name; which kind is to be deleted is not said.
    let name = line_name(user, if arguments.delete { PasswordKind::Scram } else { kind });
    let (others, had) = without(&text, &[user, &name]);
    if arguments.delete {
        if !had {
            return Err(PasswdError::NoUser { path: path.clone(), user: user.clone() });
        }
        write(path, &others)?;
        return Ok(Exit::Done);
    }
    let password = match &arguments.password {
        Some(password) => password.clone(),
        None => read_password()?,
    };
    let mut salt = [0; 16];
    aws_lc_rs::rand::fill(&mut salt).map_err(|_| PasswdError::Random)?;
    let line = password_line(user, password.as_bytes(), kind, &salt)?;
    write(path, &format!("{others}{line}\n"))?;
    Ok(Exit::Done)
}

/// The lines of all others, as they are, and whether the user had one under any of its names.
fn without(text: &str, names: &[&str]) -> (String, bool) {
    let is_theirs = |line: &&str| line.split_once(':').is_some_and(|(of, _)| names.contains(&of));
    let others = text.lines().filter(|line| !is_theirs(line));
    (others.flat_map(|line| [line, "\n"]).collect(), text.lines().any(|line| is_theirs(&line)))
}

/// Replaces the file whole, so that a gateway that reads it now sees the old or the new one. Owner and rights are those of
/// the file before, or only who runs this may read it.
fn write(path: &Path, text: &str) -> Result<(), PasswdError> {
    let error = |source| PasswdError::File { path: path.to_owned(), source };
    let before = match std::fs::metadata(path) {
        Ok(before) => Some(before),
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => None,
        Err(source) => return Err(error(source)),
    };
    // Nobody can have put something of theirs under a name that is not known before.
    let mut random = [0; 8];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| PasswdError::Random)?;
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(format!(".{:016x}.new", u64::from_be_bytes(random)));
    let file = File::options().write(true).create_new(true).mode(0o600).open(&fresh);
    let mut file = file.map_err(error)?;
    let replaced =
        fill(&mut file, text, before.as_ref()).and_then(|()| std::fs::rename(&fresh, path));
    replaced.map_err(|source| {
        // What went wrong first is told.
        let _ = std::fs::remove_file(&fresh);
        error(source)
    })
}

fn fill(file: &mut File, text: &str, before: Option<&Metadata>) -> std::io::Result<()> {
    if let Some(before) = before {
        let made = file.metadata()?;
        if (made.uid(), made.gid()) != (before.uid(), before.gid()) {
            fchown(&*file, Some(before.uid()), Some(before.gid()))?;
        }
        file.set_permissions(Permissions::from_mode(before.mode() & 0o777))?;
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// The first line of standard input; from a terminal twice, and unseen.
fn read_password() -> Result<String, PasswdError> {
    if !std::io::stdin().is_terminal() {
        return read_line();
    }
    let (first, second) = (unseen("Password: ")?, unseen("Again: ")?);
    if first == second { Ok(first) } else { Err(PasswdError::Differ) }
}

fn unseen(prompt: &str) -> Result<String, PasswdError> {
    let mut err = std::io::stderr();
    write!(err, "{prompt}").map_err(PasswdError::Input)?;
    let terminal = std::io::stdin();
    let seen = tcgetattr(&terminal).map_err(|error| PasswdError::Input(error.into()))?;
    let mut hidden = seen.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    let set = |modes| tcsetattr(&terminal, OptionalActions::Flush, modes);
    set(&hidden).map_err(|error| PasswdError::Input(error.into()))?;
    let line = read_line();
    // The terminal is as before whatever was typed.
    let _ = set(&seen);
    let _ = writeln!(err);
    line
}

fn read_line() -> Result<String, PasswdError> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(PasswdError::Input)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use access::PasswordFile;

    use super::*;

    fn arguments(file: &Path, user: &str) -> PasswdArguments {
        PasswdArguments {
            file: file.to_owned(),
            user: user.to_owned(),
            password: Some("secret".to_owned()),
            batch: true,
            scram: true,
            create: false,
            delete: false,
        }
    }

    #[test]
    fn a_line_is_added_changed_and_deleted_and_the_others_stay() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("passwords");
        let text = || std::fs::read_to_string(&path).unwrap();
        passwd(&arguments(&path, "anna")).unwrap();
        std::fs::write(&path, format!("# people\n{}", text())).unwrap();
        passwd(&PasswdArguments { scram: false, ..arguments(&path, "otto") }).unwrap();
        let before = text();
        assert!(before.starts_with("# people\nanna:SCRAM-SHA-256$") && before.ends_with('\n'));
        passwd(&arguments(&path, "otto")).unwrap();
        assert_ne!(text(), before);
        let file = PasswordFile::parse(&text()).unwrap();
        assert!(file.check("otto").run(b"secret") && file.check("anna").run(b"secret"));
        passwd(&PasswdArguments { delete: true, ..arguments(&path, "anna") }).unwrap();
        let file = PasswordFile::parse(&text()).unwrap();
        assert!(file.knows("otto") && !file.knows("anna"));
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        passwd(&PasswdArguments { create: true, ..arguments(&path, "eve") }).unwrap();
        assert_eq!(PasswordFile::parse(&text()).unwrap().len(), 1);
    }

    #[test]
    fn a_user_has_one_line_however_its_name_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("passwords");
        let users = || PasswordFile::parse(&std::fs::read_to_string(&path).unwrap()).unwrap();
        // A name that is prepared to `IX`.
        passwd(&arguments(&path, "\u{2168}")).unwrap();
        passwd(&arguments(&path, "\u{2168}")).unwrap();
        passwd(&arguments(&path, "IX")).unwrap();
        assert!(users().len() == 1 && users().knows("IX"));
        passwd(&PasswdArguments { delete: true, ..arguments(&path, "\u{2168}") }).unwrap();
        assert!(users().is_empty());
    }

    #[test]
    fn the_file_keeps_owner_and_rights_and_nothing_that_was_planted_is_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("passwords");
        let victim = dir.path().join("victim");
        std::fs::write(&victim, "untouched").unwrap();
        std::os::unix::fs::symlink(&victim, dir.path().join("passwords.new")).unwrap();
        std::fs::write(&path, "").unwrap();
        // More than any usual mask leaves of it.
        std::fs::set_permissions(&path, Permissions::from_mode(0o664)).unwrap();
        let owner = if rustix::process::geteuid().is_root() { Some(7) } else { None };
        std::os::unix::fs::chown(&path, owner, owner).unwrap();
        let before = std::fs::metadata(&path).unwrap();
        passwd(&arguments(&path, "anna")).unwrap();
        let after = std::fs::metadata(&path).unwrap();
        assert_eq!(after.mode(), before.mode());
        assert_eq!((after.uid(), after.gid()), (before.uid(), before.gid()));
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "untouched");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3, "nothing is left behind");
    }

    #[test]
    fn what_cannot_be_written_is_told_by_its_exit_code() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("passwords");
        let exit = |arguments: &PasswdArguments| passwd(arguments).unwrap_err().exit;
        assert_eq!(exit(&arguments(&path, "a:b")), Exit::Usage);
        let gone = PasswdArguments { delete: true, ..arguments(&path, "anna") };
        assert_eq!(exit(&gone), Exit::Failed);
        assert_eq!(exit(&arguments(dir.path(), "anna")), Exit::Failed);
        assert!(!path.exists());
    }
}
