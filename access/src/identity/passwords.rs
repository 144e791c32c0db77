//! The password file: our own lines and mosquitto's, mixed.
//!
//! ```text
//! user:$argon2id$v=19$m=19456,t=2,p=1$SALT$HASH         ours; mosquitto 2.1 writes the same
//! user:$7$ITERATIONS$SALT$HASH                          mosquitto: PBKDF2-HMAC-SHA512
//! user:$6$SALT$HASH                                     mosquitto before 2.0: SHA-512
//! user:SCRAM-SHA-256$ITERATIONS$SALT$STORED$SERVER      ours: also for enhanced authentication
//! ```

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::ops::Bound;
use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, Params, PasswordHasher as _, PasswordVerifier as _};
use aws_lc_rs::{constant_time, digest, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::scram::{ClientFirst, MAX_ITERATIONS, SCRAM_SHA_256, ScramServer, ScramVerifier};

/// Users and what their passwords are checked against.
#[derive(Debug, Clone, Default)]
pub struct PasswordFile {
    users: BTreeMap<Box<str>, Arc<Verifier>>,
    /// Those of the users whose lines are SCRAM's.
    scram: BTreeMap<Box<str>, ScramVerifier>,
    /// What lines of SCRAM are made up with, for users who have none. It comes from the first line of SCRAM, so that all
    /// gateways with the same file say the same, in every life.
    made_up_with: [u8; 32],
}

/// What one password is checked against.
enum Verifier {
    Argon2(Box<PasswordHash>),
    Pbkdf2 { iterations: NonZeroU32, salt: Vec<u8>, hash: Vec<u8> },
    Sha512 { salt: Vec<u8>, hash: Vec<u8> },
    Scram(ScramVerifier),
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Argon2(_) => "Argon2",
            Self::Pbkdf2 { .. } => "Pbkdf2",
            Self::Sha512 { .. } => "Sha512",
            Self::Scram(_) => "Scram",
        })
    }
}

/// Lines of a password file that cannot be used, all of them; the operator's to mend. Says no hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(BadLine::to_string).collect::<Vec<_>>().join("; "))]
pub struct PasswordFileError(pub Vec<BadLine>);

/// One line that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLine {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: &'static str,
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

/// A password check that is still to be done. It takes as long for an unknown user as for a known one, and long at that:
/// not for a thread that must go on.
#[derive(Debug, Clone)]
pub struct PasswordCheck {
    verifier: Arc<Verifier>,
    known: bool,
}

impl PasswordCheck {
    /// Whether the user is known and this is its password. Costs up to some 100 ms and the memory that the line asks for.
    pub fn run(&self, password: &[u8]) -> bool {
        self.verifier.verify(password) && self.known
    }
}

/// The memory that a line may ask for, in KiB.
const MAX_MEMORY_KIB: u32 = 1_048_576;
/// The passes that a line may ask for.
const MAX_PASSES: u32 = 64;

impl PasswordFile {
    /// Reads a file. Empty lines and lines that begin with `#` are left out, as mosquitto does.
    ///
    /// # Errors
    /// [`PasswordFileError`] with every line that cannot be used.
    pub fn parse(text: &str) -> Result<Self, PasswordFileError> {
        let mut file = Self::default();
        let mut bad = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim_end();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Err(what) = file.add(line) {
                bad.push(BadLine { line: index + 1, what });
            }
        }
        if bad.is_empty() { Ok(file) } else { Err(PasswordFileError(bad)) }
    }

    fn add(&mut self, line: &str) -> Result<(), &'static str> {
        let (user, rest) = line.split_once(':').ok_or("is not `user:hash`")?;
        check_user(user)?;
        // Mosquitto passes over what stands behind a second colon.
        let hash = rest.split(':').next().unwrap_or_default();
        let verifier = Verifier::parse(hash)?;
        if let Verifier::Scram(scram) = &verifier {
            if self.scram.is_empty() {
                self.made_up_with = scram.made_up_secret();
            }
            self.scram.insert(user.into(), scram.clone());
        }
        if self.users.insert(user.into(), Arc::new(verifier)).is_some() {
            return Err("names a user for the second time");
        }
        Ok(())
    }

    /// Whether it has a line for this user.
    pub fn knows(&self, user: &str) -> bool {
        self.users.contains_key(user)
    }

    /// How many users it has.
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Whether it has no user.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// Whether SCRAM-SHA-256 is offered: some user has a line for it.
    pub fn offers_scram(&self) -> bool {
        !self.scram.is_empty()
    }

    /// The check of a user's password, to be run where it may take its time.
    pub fn check(&self, user: &str) -> PasswordCheck {
        match self.users.get(user) {
            Some(verifier) => PasswordCheck { verifier: Arc::clone(verifier), known: true },
            None => PasswordCheck { verifier: self.stand_in(user), known: false },
        }
    }

    /// Begins an exchange of SCRAM-SHA-256; a user without a line for it is answered as one with a line. `nonce` is fresh,
    /// random and printable.
    pub fn begin_scram(&self, first: &ClientFirst<'_>, nonce: &str) -> (ScramServer, Vec<u8>) {
        let user = first.user.as_str();
        let verifier = match self.scram.get(user) {
            Some(verifier) => (verifier.clone(), true),
            None => {
                let like = neighbour(&self.scram, user);
                (ScramVerifier::made_up(user, &self.made_up_with, like), false)
            }
        };
        ScramServer::begin(first, verifier, nonce)
    }

    /// What an unknown user's password is checked against: the line of the user before it in the alphabet, so that the time
    /// it takes is that of some user who exists.
    fn stand_in(&self, user: &str) -> Arc<Verifier> {
        neighbour(&self.users, user).cloned().unwrap_or_else(|| {
            // The file is empty: nobody can learn whom it knows.
            Arc::new(Verifier::Sha512 { salt: Vec::new(), hash: Vec::new() })
        })
    }
}

/// What stands before a user in the alphabet, or first of all.
fn neighbour<'a, T>(users: &'a BTreeMap<Box<str>, T>, user: &str) -> Option<&'a T> {
    let before = users.range::<str, _>((Bound::Unbounded, Bound::Excluded(user)));
    before.map(|(_, it)| it).next_back().or_else(|| users.values().next())
}

impl Verifier {
    fn parse(hash: &str) -> Result<Self, &'static str> {
        if let Some(rest) = hash.strip_prefix("$7$") {
            let mut parts = rest.split('$');
            let iterations: NonZeroU32 =
                parts.next().and_then(|it| it.parse().ok()).ok_or("has no number of iterations")?;
            if iterations.get() > MAX_ITERATIONS {
                return Err("asks for more than 10,000,000 iterations");
            }
            let (salt, hash) = salt_and_hash(parts)?;
            Ok(Self::Pbkdf2 { iterations, salt, hash })
        } else if let Some(rest) = hash.strip_prefix("$6$") {
            let (salt, hash) = salt_and_hash(rest.split('$'))?;
            Ok(Self::Sha512 { salt, hash })
        } else if let Some(rest) = hash.strip_prefix(SCRAM_SHA_256) {
            let verifier = rest.strip_prefix('$').and_then(ScramVerifier::parse);
            verifier.map(Self::Scram).ok_or("is not SCRAM-SHA-256$iterations$salt$stored$server")
        } else if hash.starts_with("$argon2id$") {
            argon2id(hash)
        } else if hash.starts_with('$') {
            Err("has a hash of another kind than $argon2id$, $7$, $6$ and SCRAM-SHA-256$")
        } else {
            Err("has a password in plain text: run `tidegate passwd` or `mosquitto_passwd -U`")
        }
    }

    fn verify(&self, password: &[u8]) -> bool {
        match self {
            Self::Argon2(hash) => Argon2::default().verify_password(password, &**hash).is_ok(),
            Self::Pbkdf2 { iterations, salt, hash } => {
                let algorithm = pbkdf2::PBKDF2_HMAC_SHA512;
                pbkdf2::verify(algorithm, *iterations, salt, password, hash).is_ok()
            }
            Self::Sha512 { salt, hash } => {
                let found = digest::digest(&digest::SHA512, &[password, salt.as_slice()].concat());
                constant_time::verify_slices_are_equal(found.as_ref(), hash).is_ok()
            }
            Self::Scram(verifier) => verifier.verify(password),
        }
    }
}

fn argon2id(hash: &str) -> Result<Verifier, &'static str> {
    let hash = PasswordHash::new(hash).map_err(|_| "is not an argon2id hash as PHC writes it")?;
    let params = Params::try_from(&hash).map_err(|_| "has parameters that argon2 does not take")?;
    if params.m_cost() > MAX_MEMORY_KIB || params.t_cost() > MAX_PASSES {
        return Err("asks for more than 1 GiB of memory or 64 passes");
    }
    if hash.salt.is_none() || hash.hash.is_none() {
        return Err("has no salt or no hash");
    }
    Ok(Verifier::Argon2(Box::new(hash)))
}

fn salt_and_hash<'a>(
    mut parts: impl Iterator<Item = &'a str>,
) -> Result<(Vec<u8>, Vec<u8>), &'static str> {
    let mut part = || parts.next().and_then(|it| STANDARD.decode(it).ok());
    let (salt, hash) = (part().ok_or("has no salt")?, part().ok_or("has no hash")?);
    if hash.len() != digest::SHA512_OUTPUT_LEN || parts.next().is_some() {
        return Err("does not end in a hash of 64 bytes");
    }
    Ok((salt, hash))
}

/// How a new line keeps its password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasswordKind {
    /// argon2id with 19 MiB, two passes: the best against a stolen file.
    Argon2id,
    /// SCRAM-SHA-256: the password itself need not travel.
    Scram,
}

/// Why a line cannot be made; the operator's to mend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NewLineError {
    /// Empty, too long, or with a character that the file cannot hold.
    #[error("the new line {0}")]
    User(&'static str),
    /// Nothing there.
    #[error("the password is empty")]
    Empty,
    /// argon2 refused; our fault.
    #[error("the password cannot be hashed")]
    Hash,
}

/// The name of a user's new line: for SCRAM as clients that prepare names as RFC 4013 says send it, which is what it is
/// looked up by.
pub fn line_name(user: &str, kind: PasswordKind) -> Cow<'_, str> {
    match kind {
        PasswordKind::Argon2id => Cow::Borrowed(user),
        PasswordKind::Scram => Cow::Owned(super::scram::prepared(user)),
    }
}

/// A line for a user and its password, under its [`line_name`]. `salt` is fresh and random.
///
/// # Errors
/// [`NewLineError`], by what is wrong.
pub fn password_line(
    user: &str,
    password: &[u8],
    kind: PasswordKind,
    salt: &[u8; 16],
) -> Result<String, NewLineError> {
    // What it is prepared to may hold what a line may not.
    let user = line_name(user, kind);
    check_user(&user).map_err(NewLineError::User)?;
    if password.is_empty() {
        return Err(NewLineError::Empty);
    }
    match kind {
        PasswordKind::Argon2id => {
            let hash = Argon2::default().hash_password_with_salt(password, salt);
            let hash = hash.map_err(|_| NewLineError::Hash)?;
            Ok(format!("{user}:{hash}"))
        }
        PasswordKind::Scram => {
            let verifier = ScramVerifier::new(password, salt, super::scram::DEFAULT_ITERATIONS);
            Ok(format!("{user}:{SCRAM_SHA_256}${}", verifier.text()))
        }
    }
}

/// Bytes of a user name in a file, as mosquitto has it.
const MAX_USER_BYTES: usize = 65_535;

fn check_user(user: &str) -> Result<(), &'static str> {
    if user.is_empty() {
        Err("names no user")
    } else if user.len() > MAX_USER_BYTES {
        Err("is longer than 65,535 bytes")
    } else if user.starts_with('#') || user.contains(['?', ':']) || user.contains(char::is_control)
    {
        Err("has a user name with `:`, `?`, a control character, or `#` in front")
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // Made by mosquitto_passwd 2.0.11.
    const MOSQUITTO: &str = "anna:$7$101$xJu41ojm0/BSBD/r$zv+twp/19LzSB/NQ8GRloh4jDYR9NKAxyvGQLBjgMSw+UqV9Nmgiao3Z6Yy6gSiWCXqFZaMxslRbqizvwY2yCg==";
    const MOSQUITTO_OLD: &str = "anna:$6$qd89dfTkcYAidnyh$8X4ztLLdIju0b/ho1SjS0PswOwLeKX2qGttTPeEeqzVBt3tqACuVTKlnZrKoAv49nS4Mlwj3+F9CCfl5qGEn6Q==";

    fn allows(file: &PasswordFile, user: &str, password: &str) -> bool {
        file.check(user).run(password.as_bytes())
    }

    #[test]
    fn lines_of_mosquitto_are_read_as_they_are() {
        for line in [MOSQUITTO, MOSQUITTO_OLD] {
            let file = PasswordFile::parse(line).unwrap();
            assert!(allows(&file, "anna", "correct horse"), "{line}");
            assert!(!allows(&file, "anna", "correct horsf"), "{line}");
            assert!(!allows(&file, "otto", "correct horse"), "{line}");
        }
    }

    #[test]
    fn our_own_lines_keep_what_was_put_in() {
        let argon = password_line("anna", b"one", PasswordKind::Argon2id, &[7; 16]).unwrap();
        let scram = password_line("otto", b"two", PasswordKind::Scram, &[8; 16]).unwrap();
        assert!(argon.starts_with("anna:$argon2id$v=19$m=19456,t=2,p=1$"), "{argon}");
        let file = PasswordFile::parse(&format!("# users\n\n{argon}\n{scram}\n{MOSQUITTO_OLD}x\n"));
        assert_eq!(file.unwrap_err().0[0].line, 5, "a hash with a byte more");
        let file = PasswordFile::parse(&format!("{argon}\n{scram}\n")).unwrap();
        assert!(allows(&file, "anna", "one") && allows(&file, "otto", "two"));
        assert!(!allows(&file, "anna", "two") && !allows(&file, "otto", "one"));
        assert!(file.offers_scram() && file.knows("anna") && file.len() == 2);
    }

    #[test]
    fn an_unknown_user_is_checked_against_a_neighbours_line() {
        let file = PasswordFile::parse(MOSQUITTO).unwrap();
        for user in ["a", "zoe", "anna2"] {
            assert!(matches!(*file.check(user).verifier, Verifier::Pbkdf2 { .. }), "{user}");
            assert!(!allows(&file, user, "correct horse"), "{user}");
        }
        assert!(!allows(&PasswordFile::default(), "anna", ""));
    }

    #[test]
    fn every_bad_line_is_told_and_no_hash_is() {
        let text = "plain:secret\nnothing\n:$6$YQ==$YQ==\nu:$5$a$b\nv:$7$0$YQ==$YQ==\nw:$argon2id$v=19$m=9999999,t=2,p=1$c29tZXNhbHQ$c29tZWhhc2hzb21laGFzaA";
        let error = PasswordFile::parse(text).unwrap_err();
        assert_eq!(error.0.iter().map(|bad| bad.line).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
        assert!(!error.to_string().contains("secret"), "{error}");
        let twice = PasswordFile::parse(&format!("{MOSQUITTO}\n{MOSQUITTO_OLD}"));
        assert_eq!(
            twice.unwrap_err().0,
            [BadLine { line: 2, what: "names a user for the second time" }]
        );
    }

    #[test]
    fn no_line_is_made_that_could_not_be_read() {
        let line = |user: &str, password: &str| {
            password_line(user, password.as_bytes(), PasswordKind::Scram, &[0; 16])
        };
        for user in ["", "a:b", "a?b", "#a", "a\nb"] {
            assert!(matches!(line(user, "x"), Err(NewLineError::User(_))), "{user}");
        }
        assert_eq!(line("a", ""), Err(NewLineError::Empty));
        // These become `a:b` and `#a` when they are prepared.
        for user in ["a\u{ff1a}b", "\u{ff03}a"] {
            assert!(matches!(line(user, "x"), Err(NewLineError::User(_))), "{user}");
        }
        assert!(line("\u{2168}", "x").unwrap().starts_with("IX:"));
    }

    fn scram_answer(file: &PasswordFile, user: &str) -> String {
        let first = format!("n,,n={user},r=abc");
        let first = ClientFirst::parse(first.as_bytes()).unwrap();
        String::from_utf8(file.begin_scram(&first, "xyz").1).unwrap()
    }

    #[test]
    fn scram_is_the_same_for_users_with_and_without_a_line() {
        let scram = password_line("otto", b"two", PasswordKind::Scram, &[8; 16]).unwrap();
        let argon = password_line("anna", b"one", PasswordKind::Argon2id, &[7; 16]).unwrap();
        let file = PasswordFile::parse(&format!("{argon}\n{scram}\n")).unwrap();
        let answer = |user: &str| scram_answer(&file, user);
        assert_eq!(answer("otto").len(), answer("eve").len());
        assert_eq!(answer("otto").len(), answer("anna").len());
        assert_eq!(answer("eve"), answer("eve"));
        assert_ne!(answer("eve"), answer("eva"));
        assert!(answer("otto").starts_with("r=abcxyz,s=CAgI"));
    }

    #[test]
    fn every_gateway_with_the_file_makes_up_the_same_line_and_one_with_another_does_not() {
        let line = |user: &str, password: &[u8]| {
            password_line(user, password, PasswordKind::Scram, &[8; 16]).unwrap()
        };
        let text = format!("{}\n{}\n", line("otto", b"two"), line("anna", b"one"));
        let (here, there) = (PasswordFile::parse(&text), PasswordFile::parse(&text));
        let (here, there) = (here.unwrap(), there.unwrap());
        assert_eq!(scram_answer(&here, "eve"), scram_answer(&there, "eve"));
        let other = PasswordFile::parse(&line("otto", b"three")).unwrap();
        assert_ne!(scram_answer(&here, "eve"), scram_answer(&other, "eve"));
    }

    #[test]
    fn a_made_up_line_of_scram_looks_like_its_neighbours() {
        let few = NonZeroU32::new(5000).unwrap();
        let [anna, otto] =
            [("anna", [1; 16].as_slice(), few), ("otto", &[2; 40], few.saturating_add(1))].map(
                |(user, salt, iterations)| {
                    let verifier = ScramVerifier::new(b"x", salt, iterations);
                    format!("{user}:{SCRAM_SHA_256}${}", verifier.text())
                },
            );
        let file = PasswordFile::parse(&format!("{otto}\n{anna}\n")).unwrap();
        let shape = |user: &str| {
            let answer = scram_answer(&file, user);
            (answer.len(), answer.rsplit_once("i=").unwrap().1.to_owned())
        };
        assert_ne!(shape("anna"), shape("otto"));
        for user in ["aaron", "eve"] {
            assert_eq!(shape(user), shape("anna"), "{user}");
        }
        assert_eq!(shape("zoe"), shape("otto"));
    }

    proptest! {
        #[test]
        fn no_text_does_harm(text in "(\\PC|[\n$:=])*") {
            let _ = PasswordFile::parse(&text);
        }

        #[test]
        fn no_hash_does_harm(kind in "\\$(6|7|argon2id)\\$", rest in "[a-zA-Z0-9+/=$,]{0,60}") {
            let _ = PasswordFile::parse(&format!("user:{kind}{rest}"));
        }
    }
}
