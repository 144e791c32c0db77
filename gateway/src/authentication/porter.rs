//! Who looks at what a client shows.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use access::{
    CertificateIdentity, CertificateNames, ClientFirst, HookQuestion, Identity, PasswordFile,
    PasswordFileError, SCRAM_SHA_256, ScramServer, TokenVerifier, looks_like_a_token,
};
use arc_swap::ArcSwap;
use base64::Engine as _;
use protocol::mqtt::ReasonCode;
use protocol::{ClientId, Now, Wall};

use super::audit::Audit;
use super::checks::Checks;
use super::hook::HookClient;
use super::{Identified, NotIdentified, Shown, Step};
use crate::clock::Clock;
use crate::config::{Authentication, HookAsks};
use crate::outbound::OutboundTlsError;

/// Who looks at what a client shows: the rules, the files as they were read last, and where the costly checks run.
#[derive(Debug)]
pub struct Porter {
    config: Authentication,
    files: ArcSwap<Files>,
    checks: Checks,
    hook: Option<HookClient>,
    clock: Clock,
    audit: Audit,
}

/// What was read from files.
#[derive(Debug, Default)]
struct Files {
    passwords: Option<PasswordFile>,
    tokens: Option<TokenVerifier>,
}

/// Why the files cannot be used. All are the operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum PorterError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The password file has lines that cannot be used.
    #[error("cannot use the passwords in {}", path.display())]
    Passwords {
        /// Which file.
        path: PathBuf,
        /// Which lines, and why.
        source: PasswordFileError,
    },
    /// The keys of tokens cannot be used.
    #[error("cannot use the keys in {}", path.display())]
    Keys {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: access::JwksError,
    },
    /// The authority of the hook cannot be used.
    #[error(transparent)]
    Hook(#[from] OutboundTlsError),
    /// The system has no randomness: nobody's fault.
    #[error("no random bytes are to be had")]
    Random,
}

/// The authentication method whose data is a token.
const JWT: &str = "JWT";

impl Porter {
    /// Reads the files that the configuration names.
    ///
    /// # Errors
    /// [`PorterError`], with the file that cannot be used.
    pub fn new(config: Authentication, started: Instant) -> Result<Self, PorterError> {
        let hook =
            config.hook.clone().map(|hook| Ok::<_, PorterError>(HookClient::new(hook, random()?)?));
        Ok(Self {
            files: ArcSwap::from_pointee(read(&config)?),
            checks: Checks::new(config.checks_at_once, config.checks_waiting),
            hook: hook.transpose()?,
            config,
            clock: Clock::since(started),
            audit: Audit::default(),
        })
    }

    /// Reads the files again; clients that are here stay. On an error everything stays as it is.
    ///
    /// # Errors
    /// [`PorterError`], with the file that cannot be used.
    pub fn reload(&self) -> Result<(), PorterError> {
        self.files.store(Arc::new(read(&self.config)?));
        Ok(())
    }

    /// The files that [`Self::reload`] reads.
    pub fn files(&self) -> Vec<PathBuf> {
        self.config.files().collect()
    }

    /// How a connection ends that did not authenticate again in time.
    pub const fn expired_reason(&self) -> ReasonCode {
        self.config.expired
    }

    /// Who a client is, by what it shows in CONNECT; notes it where that is not enough.
    ///
    /// # Errors
    /// [`NotIdentified`], by what is wrong.
    pub async fn identify(&self, shown: &Shown<'_>) -> Result<Identified, NotIdentified> {
        let identified = self.judge(shown).await;
        let identified = identified.and_then(|it| self.check_client_id(&it, shown).map(|()| it));
        identified.inspect_err(|why| self.note_refused(shown, why))
    }

    /// Who somebody is that shows a certificate, which was verified, and asks for no client id: the one that it names. And
    /// when that is over, if anything says so.
    ///
    /// # Errors
    /// [`NotIdentified`], by what is wrong.
    pub async fn identify_by_certificate(
        &self,
        names: Arc<CertificateNames>,
        address: IpAddr,
    ) -> Result<(Identity, Option<Wall>), NotIdentified> {
        let (login, password, certificate) = (None, None, Some(&*names));
        let shown = |client_id| {
            let address = Some(address);
            Shown { client_id, login, password, certificate, address }
        };
        let named = self.config.certificate.client_id_of(&names).map_err(NotIdentified::from);
        let id = named.inspect_err(|why| self.note_refused(&shown(""), why))?;
        let identified = self.identify(&shown(&id)).await?;
        let client = ClientId::new(identified.client.as_deref().unwrap_or(&id));
        let client = client.map_err(|_| NotIdentified::ClientId)?;
        let identity = identified.identity(client, Some(Arc::clone(&names)), Some(address));
        Ok((identity, identified.expires))
    }

    /// One message of enhanced authentication; `exchange` is what the last step left.
    ///
    /// # Errors
    /// [`NotIdentified`], by what is wrong; the exchange is over.
    pub async fn step(
        &self,
        (method, exchange): (&str, Option<Box<ScramServer>>),
        data: Option<&[u8]>,
        shown: &Shown<'_>,
    ) -> Result<Step, NotIdentified> {
        let step = self.advance((method, exchange), data.unwrap_or_default(), shown).await;
        step.inspect_err(|why| self.note_refused(shown, why))
    }

    /// A client is not let in, for a reason that is found elsewhere.
    pub(super) fn note_refused(&self, shown: &Shown<'_>, why: &NotIdentified) {
        let second = self.now().wall.0 / 1000;
        let reason = why.reason();
        self.audit.refused(second, (shown.client_id, shown.login), shown.address, (reason, why));
    }

    /// A client is not let in because it is banned, by this kind of ban.
    pub fn note_banned(&self, who: &Identity, kind: &str) {
        let second = self.now().wall.0 / 1000;
        let why = format_args!("the {kind} is banned");
        let names = (who.client.as_str(), who.user.as_deref());
        self.audit.refused(second, names, who.address, (ReasonCode::Banned, &why));
    }

    async fn advance(
        &self,
        (method, exchange): (&str, Option<Box<ScramServer>>),
        data: &[u8],
        shown: &Shown<'_>,
    ) -> Result<Step, NotIdentified> {
        let files = self.files.load_full();
        if let Some(exchange) = exchange {
            let (user, last) = exchange.finish(data)?;
            let mut identified = self.by_certificate(shown)?;
            identified.set_user(user);
            self.ask_always(&mut identified, shown).await?;
            self.check_client_id(&identified, shown)?;
            return Ok(Step::Done(identified, Some(last)));
        }
        match (method, &files.passwords, &files.tokens) {
            (SCRAM_SHA_256, Some(passwords), _) if passwords.offers_scram() => {
                let first = ClientFirst::parse(data)?;
                let (server, answer) = passwords.begin_scram(&first, &nonce()?);
                Ok(Step::Continue(Box::new(server), answer))
            }
            (JWT, _, Some(tokens)) => {
                let mut identified = self.by_certificate(shown)?;
                self.by_token(tokens, data, &mut identified, shown)?;
                self.ask_always(&mut identified, shown).await?;
                self.check_client_id(&identified, shown)?;
                Ok(Step::Done(identified, None))
            }
            _ => Err(NotIdentified::Method),
        }
    }

    async fn judge(&self, shown: &Shown<'_>) -> Result<Identified, NotIdentified> {
        let files = self.files.load_full();
        let mut identified = self.by_certificate(shown)?;
        let known = self.by_credentials(&files, &mut identified, shown).await?;
        match known {
            Known::ByHook => return Ok(identified),
            Known::Yes => {}
            Known::No if shown.certificate.is_some() || self.config.anonymous => {}
            // The hook may let in whom nothing else knows.
            Known::No if self.asks_always() => {}
            Known::No => return Err(NotIdentified::Nothing),
        }
        self.ask_always(&mut identified, shown).await?;
        Ok(identified)
    }

    /// Whether a user may have the client id that it asks for, where nothing names that. One that is made up nobody else has.
    fn check_client_id(
        &self,
        identified: &Identified,
        shown: &Shown<'_>,
    ) -> Result<(), NotIdentified> {
        let ids = self.config.client_ids;
        let id = shown.client_id;
        let admits = |user: &str| id.is_empty() || ids.admit(user, id);
        let named = identified.client.is_some();
        if named || identified.user.as_deref().is_none_or(admits) {
            Ok(())
        } else {
            Err(NotIdentified::ClientId)
        }
    }

    fn by_certificate(&self, shown: &Shown<'_>) -> Result<Identified, NotIdentified> {
        let Some(names) = shown.certificate else { return Ok(Identified::default()) };
        let rule = &self.config.certificate;
        let CertificateIdentity { client, user } = rule.apply(names, shown.client_id)?;
        let user_by_certificate = user.is_some();
        Ok(Identified { client, user, user_by_certificate, ..Identified::default() })
    }

    /// A token, a password, or the hook: the first that is concerned decides.
    async fn by_credentials(
        &self,
        files: &Files,
        identified: &mut Identified,
        shown: &Shown<'_>,
    ) -> Result<Known, NotIdentified> {
        let Shown { login, password, .. } = *shown;
        if login.is_none() && password.is_none() {
            return Ok(Known::No);
        }
        if let (Some(tokens), Some(token)) = (&files.tokens, password)
            && looks_like_a_token(token)
        {
            self.by_token(tokens, token, identified, shown)?;
            return Ok(Known::Yes);
        }
        if let (Some(passwords), Some(login)) = (&files.passwords, login)
            && (passwords.knows(login) || self.hook.is_none())
        {
            let check = passwords.check(login);
            let checked = self.checks.run(check, password.unwrap_or_default(), shown.address);
            if !Box::pin(checked).await? {
                return Err(NotIdentified::Password);
            }
            identified.set_user(login.into());
            return Ok(Known::Yes);
        }
        if self.hook.is_some() {
            // It was asked whether the password is that login's.
            let proved = login.filter(|_| password.is_some());
            Box::pin(self.ask(identified, proved, shown)).await?;
            return Ok(Known::ByHook);
        }
        if files.passwords.is_some() || files.tokens.is_some() {
            return Err(NotIdentified::Password);
        }
        // Nothing here could check it: as if it had not been sent.
        Ok(Known::No)
    }

    fn by_token(
        &self,
        tokens: &TokenVerifier,
        token: &[u8],
        identified: &mut Identified,
        shown: &Shown<'_>,
    ) -> Result<(), NotIdentified> {
        let token = tokens.verify(token, self.now().wall)?;
        let id = identified.client.as_deref().unwrap_or(shown.client_id);
        if token.client.as_deref().is_some_and(|own| !id.is_empty() && own != id) {
            return Err(NotIdentified::ClientId);
        }
        identified.add_token(token);
        Ok(())
    }

    fn asks_always(&self) -> bool {
        self.hook.as_ref().is_some_and(|hook| hook.config().asks == HookAsks::Always)
    }

    async fn ask_always(
        &self,
        identified: &mut Identified,
        shown: &Shown<'_>,
    ) -> Result<(), NotIdentified> {
        if !self.asks_always() {
            return Ok(());
        }
        // What takes a question must not make everybody's task large.
        Box::pin(self.ask(identified, None, shown)).await
    }

    async fn ask(
        &self,
        identified: &mut Identified,
        proved: Option<&str>,
        shown: &Shown<'_>,
    ) -> Result<(), NotIdentified> {
        let Some(hook) = &self.hook else { return Ok(()) };
        let user = identified.user.clone();
        let id = identified.client.as_deref().unwrap_or(shown.client_id);
        let question = HookQuestion::new(
            (id, user.as_deref(), shown.login),
            shown.password,
            shown.certificate,
            shown.address,
        );
        if let Some(allows) = hook.ask(question.body(), shown.address, self.now()).await? {
            identified.add_hook(allows, proved);
        }
        Ok(())
    }

    pub(super) fn now(&self) -> Now {
        self.clock.now()
    }
}

/// Whether credentials say who a client is.
enum Known {
    /// It showed none, or nothing could check them.
    No,
    Yes,
    /// The hook was asked already.
    ByHook,
}

fn read(config: &Authentication) -> Result<Files, PorterError> {
    let text = |path: &PathBuf| {
        std::fs::read_to_string(path)
            .map_err(|source| PorterError::Read { path: path.clone(), source })
    };
    let mut files = Files::default();
    if let Some(path) = &config.passwords {
        let passwords = PasswordFile::parse(&text(path)?);
        let passwords =
            passwords.map_err(|source| PorterError::Passwords { path: path.clone(), source })?;
        files.passwords = Some(passwords);
    }
    if let Some((path, rule)) = &config.tokens {
        let tokens = TokenVerifier::new(rule.clone(), &text(path)?);
        files.tokens =
            Some(tokens.map_err(|source| PorterError::Keys { path: path.clone(), source })?);
    }
    Ok(files)
}

/// A fresh nonce: 144 bits, printable, without commas.
fn nonce() -> Result<String, NotIdentified> {
    let mut bytes = [0; 18];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| NotIdentified::Busy)?;
    Ok(base64::engine::general_purpose::STANDARD.encode(bytes))
}

fn random() -> Result<[u8; 32], PorterError> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| PorterError::Random)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use access::{CertificateNames, CertificateRefusal, PasswordKind, ScramError, password_line};

    use super::*;
    use crate::config;

    const KEYS: &str = r#"{"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

    fn porter(dir: &Path, settings: &str) -> Porter {
        let line = |user: &str, kind| password_line(user, b"apple", kind, &[1; 16]).unwrap();
        let (anna, otto) =
            (line("anna", PasswordKind::Argon2id), line("otto", PasswordKind::Scram));
        std::fs::write(dir.join("passwords"), format!("{anna}\n{otto}\n")).unwrap();
        std::fs::write(dir.join("jwks"), KEYS).unwrap();
        let text = format!("[gateway]\nid = \"g\"\n{settings}");
        let resolved = config::resolve(&config::parse(&text).unwrap(), dir).unwrap();
        Porter::new(resolved.authentication, Instant::now()).unwrap()
    }

    fn identify(porter: &Porter, shown: &Shown<'_>) -> Result<Identified, NotIdentified> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(porter.identify(shown))
    }

    fn step(porter: &Porter, method: &str, data: &[u8]) -> Result<Step, NotIdentified> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(porter.step((method, None), Some(data), &shown("c")))
    }

    fn shown(client_id: &str) -> Shown<'_> {
        Shown { client_id, login: None, password: None, certificate: None, address: None }
    }

    fn names(name: &str) -> CertificateNames {
        CertificateNames {
            common_name: Some(name.to_owned()),
            uris: vec![format!("tidegate:device:{name}")],
            ..CertificateNames::default()
        }
    }

    const PASSWORDS: &str = "[access.password]\nfile = \"passwords\"\n";
    const ANNA: (Option<&str>, Option<&[u8]>) = (Some("anna"), Some(b"apple"));

    #[test]
    fn credentials_are_ignored_where_nothing_could_check_them() {
        let dir = tempfile::tempdir().unwrap();
        let (login, password) = ANNA;
        let shown = Shown { login, password, ..shown("c") };
        assert_eq!(identify(&porter(dir.path(), ""), &shown), Ok(Identified::default()));
    }

    #[test]
    fn a_password_adds_its_user_to_a_certificate_and_a_wrong_one_is_refused_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let rule = "[access.certificate]\nuser_from = \"common-name\"\n";
        let porter = porter(dir.path(), &format!("{PASSWORDS}{rule}"));
        let names = names("pump");
        let alone = Shown { certificate: Some(&names), ..shown("pump") };
        let found = identify(&porter, &alone).unwrap();
        assert_eq!((found.client.as_deref(), found.user.as_deref()), (Some("pump"), Some("pump")));
        let (login, password) = ANNA;
        let with = Shown { login, password, ..alone };
        assert_eq!(identify(&porter, &with).unwrap().user.as_deref(), Some("anna"));
        let wrong = Shown { password: Some(b"pear"), ..with };
        assert_eq!(identify(&porter, &wrong), Err(NotIdentified::Password));
        let other = Shown { client_id: "fan", ..with };
        let why = NotIdentified::Certificate(CertificateRefusal::OtherClientId);
        assert_eq!(identify(&porter, &other), Err(why));
    }

    #[test]
    fn a_user_has_the_client_ids_that_are_its_own_where_that_is_set() {
        let dir = tempfile::tempdir().unwrap();
        let (login, password) = ANNA;
        let refused = |ids: &str, client_id: &str| {
            let settings = format!("[access]\nclient_id = \"{ids}\"\n{PASSWORDS}");
            let shown = Shown { login, password, ..shown(client_id) };
            identify(&porter(dir.path(), &settings), &shown).err()
        };
        let other = Some(NotIdentified::ClientId);
        assert_eq!((refused("free", "x"), refused("user", "x")), (None, other));
        assert_eq!((refused("user", "anna"), refused("user", "anna-1")), (None, other));
        assert_eq!((refused("prefix", "anna"), refused("prefix", "anna-1")), (None, None));
        assert_eq!((refused("prefix", "annabel"), refused("prefix", "an")), (other, other));
        assert_eq!(refused("user", ""), None, "one is made up for it");
    }

    #[test]
    fn while_the_hook_is_down_nobody_is_who_it_only_says_it_is() {
        let dir = tempfile::tempdir().unwrap();
        // Nothing listens there.
        let hook = "[access.hook]\nurl = \"http://127.0.0.1:1/\"\nwhen_down = \"allow\"\n";
        let (login, password) = ANNA;
        let anna = Shown { login, password, ..shown("c") };
        let alone = porter(dir.path(), hook);
        assert_eq!(identify(&alone, &anna).unwrap().user, None);
        let always = porter(dir.path(), &format!("{PASSWORDS}{hook}ask = \"always\"\n"));
        assert_eq!(identify(&always, &anna).unwrap().user.as_deref(), Some("anna"));
        let eve = Shown { login: Some("eve"), ..anna };
        assert_eq!(identify(&always, &eve).unwrap().user, None);
    }

    #[test]
    fn who_shows_nothing_is_let_in_only_if_that_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let strict = porter(dir.path(), PASSWORDS);
        assert_eq!(identify(&strict, &shown("c")), Err(NotIdentified::Nothing));
        let open = porter(dir.path(), &format!("[access]\nanonymous = true\n{PASSWORDS}"));
        assert_eq!(identify(&open, &shown("c")), Ok(Identified::default()));
        // A wrong password is not nothing.
        let wrong = Shown { login: Some("anna"), ..shown("c") };
        assert_eq!(identify(&open, &wrong), Err(NotIdentified::Password));
    }

    #[test]
    fn what_looks_like_a_token_is_judged_as_one_even_of_a_known_user() {
        let dir = tempfile::tempdir().unwrap();
        let porter = porter(dir.path(), &format!("{PASSWORDS}[access.token]\njwks = \"jwks\"\n"));
        let token = Shown { login: Some("anna"), password: Some(b"eyJ.x.y"), ..shown("c") };
        assert!(matches!(identify(&porter, &token), Err(NotIdentified::Token(_))));
        let (login, password) = ANNA;
        let known = Shown { login, password, ..shown("c") };
        assert_eq!(identify(&porter, &known).unwrap().user.as_deref(), Some("anna"));
    }

    #[test]
    fn only_methods_that_can_be_checked_are_offered() {
        let dir = tempfile::tempdir().unwrap();
        let first = b"n,,n=otto,r=x";
        let porter_with = |settings: &str| porter(dir.path(), settings);
        let passwords = porter_with(PASSWORDS);
        assert!(matches!(step(&passwords, SCRAM_SHA_256, first), Ok(Step::Continue(..))));
        let nonsense = step(&passwords, SCRAM_SHA_256, b"x").unwrap_err();
        assert_eq!(nonsense, NotIdentified::Scram(ScramError::Malformed));
        assert_eq!(step(&passwords, JWT, b"eyJ.x.y").unwrap_err(), NotIdentified::Method);
        let none = porter_with("");
        assert_eq!(step(&none, SCRAM_SHA_256, first).unwrap_err(), NotIdentified::Method);
    }

    #[test]
    fn files_are_read_again_and_a_bad_one_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let porter = porter(dir.path(), PASSWORDS);
        let (login, password) = ANNA;
        let anna = Shown { login, password, ..shown("c") };
        assert_eq!(porter.files(), [dir.path().join("passwords")]);
        std::fs::write(dir.path().join("passwords"), "anna:plain").unwrap();
        assert!(matches!(porter.reload(), Err(PorterError::Passwords { .. })));
        assert!(identify(&porter, &anna).is_ok());
        std::fs::write(dir.path().join("passwords"), "# nobody\n").unwrap();
        porter.reload().unwrap();
        assert_eq!(identify(&porter, &anna), Err(NotIdentified::Password));
    }
}
