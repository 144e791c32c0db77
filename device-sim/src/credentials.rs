//! Who devices say they are, where a broker wants a user name.

use std::fmt;
use std::io;
use std::path::PathBuf;

use clap::Args;

/// User name and password as they are written on the command line.
#[derive(Debug, Clone, Default, Args)]
pub struct CredentialArgs {
    /// User name of all devices
    #[arg(short = 'u', long, value_name = "NAME")]
    pub username: Option<String>,
    /// File whose first line is their password
    #[arg(long, value_name = "FILE", requires = "username")]
    pub password_file: Option<PathBuf>,
}

/// What every CONNECT says.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    user_name: Option<String>,
    password: Option<String>,
}

/// The operator's fault.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}", path = path.display())]
pub struct CredentialsError {
    path: PathBuf,
    source: io::Error,
}

impl CredentialArgs {
    /// Reads the password.
    ///
    /// # Errors
    /// [`CredentialsError`] if its file cannot be read as UTF-8.
    pub fn read(&self) -> Result<Credentials, CredentialsError> {
        let read = |path: &PathBuf| match std::fs::read_to_string(path) {
            Ok(text) => Ok(text.lines().next().unwrap_or_default().to_owned()),
            Err(source) => Err(CredentialsError { path: path.clone(), source }),
        };
        let password = self.password_file.as_ref().map(read).transpose()?;
        Ok(Credentials { user_name: self.username.clone(), password })
    }
}

impl Credentials {
    pub(crate) fn user_name(&self) -> Option<&str> {
        self.user_name.as_deref()
    }

    pub(crate) fn password(&self) -> Option<&str> {
        self.password.as_deref()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user_name", &self.user_name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_the_first_line_of_its_file_and_is_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        std::fs::write(&path, "se cret\r\nmore\n").unwrap();
        let args = CredentialArgs { username: Some("ann".to_owned()), password_file: Some(path) };
        let read = args.read().unwrap();
        assert_eq!((read.user_name(), read.password()), (Some("ann"), Some("se cret")));
        assert!(!format!("{read:?}").contains("cret"));
        let nowhere = CredentialArgs { password_file: Some(dir.path().join("none")), ..args };
        let error = nowhere.read().unwrap_err().to_string();
        assert!(error.starts_with("cannot read ") && error.ends_with("none"), "{error}");
    }
}
