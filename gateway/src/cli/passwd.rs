//! `tidegate passwd`: lines of a password file.

use std::fs::File;
use std::io::{BufRead as _, IsTerminal as _, Write};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use access::{NewLineError, PasswordKind, password_line};
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
    let text = match std::fs::read_to_string(path) {
        Ok(_) if arguments.create => String::new(),
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(source) => return Err(PasswdError::File { path: path.clone(), source }),
    };
    let (others, had) = without(&text, user);
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
    let kind = if arguments.scram { PasswordKind::Scram } else { PasswordKind::Argon2id };
    let mut salt = [0; 16];
    aws_lc_rs::rand::fill(&mut salt).map_err(|_| PasswdError::Random)?;
    let line = password_line(user, password.as_bytes(), kind, &salt)?;
    write(path, &format!("{others}{line}\n"))?;
    Ok(Exit::Done)
}

/// The lines of all others, as they are, and whether the user had one.
fn without(text: &str, user: &str) -> (String, bool) {
    let is_theirs = |line: &&str| line.split_once(':').is_some_and(|(of, _)| of == user);
    let others = text.lines().filter(|line| !is_theirs(line));
    (others.flat_map(|line| [line, "\n"]).collect(), text.lines().any(|line| is_theirs(&line)))
}

/// Replaces the file whole, so that a gateway that reads it now sees the old or the new one. Only its owner may read it,
/// unless it was there with other rights.
fn write(path: &Path, text: &str) -> Result<(), PasswdError> {
    let file = |source| PasswdError::File { path: path.to_owned(), source };
    let mode = std::fs::metadata(path).map_or(0o600, |it| it.permissions().mode() & 0o777);
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let written = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&fresh)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
    written.map_err(file)?;
    std::fs::rename(&fresh, path).map_err(file)
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
