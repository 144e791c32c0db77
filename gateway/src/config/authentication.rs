//! Who may connect: the sections under `[access]` that say how a client is identified, as written and as meant.

use std::path::{Path, PathBuf};
use std::time::Duration;

use access::{CertificateRule, ClientIdRule, NameSource, TokenRule, WhenDown};
use protocol::mqtt::ReasonCode;
use serde::{Deserialize, Serialize};

use super::fault::Fault;
use super::resolved::threads;
use super::settings::section;
use super::written::{Access, UserClientIds};

section! {
    /// What a client's certificate says about who it is.
    pub struct CertificateAccess in "access.certificate" {
        /// What the name in the certificate means: `must-match`: the client must use it as its client id; `is`: it is the client id, whatever the client asks for; `free`: the client may use any id.
        client_id: ClientIdRule = ClientIdRule::MustMatch, "\"must-match\", \"is\" or \"free\"", "a stolen certificate speaks for one device, not for all";
        /// Which name: `common-name`, `dns`, `uri` or `email` (the first of that kind), `role` (the name behind `tidegate:device:`) or `subject`.
        client_id_from: NameSource = NameSource::CommonName, "name", "what most authorities put the device's name into";
        /// Taken off the front of that name; a name without it is refused.
        strip: String = String::new(), "text", "most names are the id";
        /// Put in front of what is left.
        prefix: String = String::new(), "text", "most names are the id";
        /// Which name is the user.
        user_from: Option<NameSource> = None, "name", "absent: a certificate names a client and no user" shown "\"common-name\"";
        /// Whether the certificate must carry the role of a device; those of gateways and operators are refused in any case.
        role_required: bool = true, "true or false", "certificates of `tidegate-certs` have one; an authority of your own may not know roles";
    }
}

section! {
    /// Passwords.
    pub struct PasswordAccess in "access.password" {
        /// Users and their passwords, one `user:hash` per line: argon2id and SCRAM-SHA-256 as `tidegate passwd` writes them, and the lines of mosquitto's file as they are.
        file: Option<PathBuf> = None, "path", "absent: no passwords" shown "\"passwords\"";
        /// Passwords that are checked at once, each with a thread and, for argon2id, 19 MiB; 0: a quarter of the cores, one at least.
        checks_at_once: u16 = 0, "checks", "some tens of logins per second and core, and cores left for traffic" in 0..=64;
        /// Logins that may wait for a check, a fifth of them from one address; more are refused (0x89).
        checks_waiting: u32 = 1_000, "logins", "beyond it they would not be answered within the time for CONNECT" in 0..=100_000;
    }
}

section! {
    /// Tokens (JWT), in place of a password or by the authentication method `JWT`.
    pub struct TokenAccess in "access.token" {
        /// The keys that sign tokens, as a JSON Web Key Set; `ES256`, `RS256` and `EdDSA`.
        jwks: Option<PathBuf> = None, "path", "absent: no tokens" shown "\"jwks.json\"";
        /// The only issuer (`iss`) that is trusted.
        issuer: Option<String> = None, "text", "absent: whoever signs with one of the keys" shown "\"https://issuer.example\"";
        /// Whom a token must be meant for (`aud`).
        audience: Option<String> = None, "text", "absent: whoever has one" shown "\"mqtt\"";
        /// How far clocks may differ.
        leeway_s: u32 = 30, "seconds", "clocks of devices are set over the network" in 0..=3_600;
        /// The claim that holds the user; empty: tokens name no user.
        user_claim: String = "sub".to_owned(), "claim", "what the standard calls the subject";
        /// The claim that holds the client id, which the client must use.
        client_id_claim: Option<String> = None, "claim", "absent: a token does not say which client" shown "\"client_id\"";
        /// How a connection ends whose token has expired: `not-authorized` (0x87) or `maximum-connect-time` (0xA0).
        when_expired: Expired = Expired::NotAuthorized, "\"not-authorized\" or \"maximum-connect-time\"", "clients ask for a new token when they read it";
    }
}

section! {
    /// A program of your own that is asked over HTTP; see the page who-may-connect.
    pub struct HookAccess in "access.hook" {
        /// Where it is asked, by POST.
        url: Option<String> = None, "URL", "absent: nobody is asked" shown "\"https://hook.example/mqtt\"";
        /// The authority that signs its certificate, for https.
        ca: Option<PathBuf> = None, "path", "no authority is trusted by itself" shown "\"hook-ca.pem\"";
        /// When it is asked: `credentials`: about clients with a user name or a password that nothing else knows; `always`: about every client that nothing else refused.
        ask: HookAsks = HookAsks::Credentials, "\"credentials\" or \"always\"", "certificates and tokens speak for themselves";
        /// Time for an answer; then it counts as down.
        timeout_ms: u32 = 3_000, "milliseconds", "a third of the time for CONNECT" in 10..=60_000;
        /// What happens while it is down: `deny`, `allow`, or `last-answer`: what it said last about the same question.
        when_down: WhenDown = WhenDown::Deny, "\"deny\", \"allow\" or \"last-answer\"", "nobody gets in by breaking it";
        /// How long an answer holds before the hook is asked again.
        cache_ttl_s: u32 = 60, "seconds", "clients that reconnect in a loop cost one question a minute" in 0..=86_400;
        /// Answers that are remembered; then the oldest goes.
        cache_answers: u32 = 10_000, "answers", "some 2 MiB" in 0..=1_000_000;
        /// Questions that may be open at once, a fifth of them about one address; more clients are refused (0x89).
        at_once: u16 = 64, "questions", "a small program answers that many" in 1..=4_096;
    }
}

/// How a connection ends whose token has expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expired {
    /// 0x87.
    NotAuthorized,
    /// 0xA0.
    MaximumConnectTime,
}

impl Expired {
    /// As 5.0 clients are told.
    pub const fn reason(self) -> ReasonCode {
        match self {
            Self::NotAuthorized => ReasonCode::NotAuthorized,
            Self::MaximumConnectTime => ReasonCode::MaximumConnectTime,
        }
    }
}

/// Whom the hook is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HookAsks {
    /// Clients with a user name or a password that nothing else knows.
    Credentials,
    /// Every client that nothing else refused.
    Always,
}

/// How clients are identified. Nothing in it needs another check; the files are read when they are used.
#[derive(Debug, Clone)]
pub struct Authentication {
    /// Whether clients that nothing identifies may connect.
    pub anonymous: bool,
    /// Which client ids a user may have.
    pub client_ids: UserClientIds,
    /// How a certificate becomes a client id and a user.
    pub certificate: CertificateRule,
    /// The password file.
    pub passwords: Option<PathBuf>,
    /// Passwords that are checked at once.
    pub checks_at_once: usize,
    /// Logins that may wait for a check.
    pub checks_waiting: usize,
    /// The keys that sign tokens, and what tokens must say.
    pub tokens: Option<(PathBuf, TokenRule)>,
    /// How a connection ends whose token has expired.
    pub expired: ReasonCode,
    /// Who is asked over HTTP.
    pub hook: Option<Hook>,
}

impl Authentication {
    /// Whether somebody whom nothing names gets in, or a user with any client id.
    pub fn leaves_client_ids_free(&self) -> bool {
        let tokens = self.tokens.as_ref().is_some_and(|(_, rule)| rule.client_id_claim.is_none());
        let users = self.passwords.is_some() || tokens || self.hook.is_some();
        self.anonymous || (users && self.client_ids == UserClientIds::Free)
    }

    /// The files that are read again when they change.
    pub fn files(&self) -> impl Iterator<Item = PathBuf> {
        let jwks = self.tokens.as_ref().map(|(path, _)| path);
        self.passwords.iter().chain(jwks).cloned()
    }
}

/// Who is asked over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Path and query.
    pub path: String,
    /// The authority of its certificate; none: plain HTTP.
    pub ca: Option<PathBuf>,
    /// Whom it is asked about.
    pub asks: HookAsks,
    /// Time for an answer.
    pub timeout: Duration,
    /// What happens while it is down.
    pub when_down: WhenDown,
    /// How long an answer holds.
    pub fresh: Duration,
    /// Answers that are remembered.
    pub answers: usize,
    /// Questions that may be open at once.
    pub at_once: usize,
}

impl Access {
    /// Whether a client without a certificate can be let in at all.
    pub(super) fn lets_in_without_certificate(&self) -> bool {
        self.anonymous() || self.has_credentials()
    }

    fn has_credentials(&self) -> bool {
        self.password.file.is_some() || self.token.jwks.is_some() || self.hook.url.is_some()
    }

    /// What is written, or that nobody has to say who it is as long as nobody could.
    pub(super) fn anonymous(&self) -> bool {
        self.anonymous.unwrap_or_else(|| !self.has_credentials())
    }

    /// Notes every number of its sections that is out of its range.
    pub(super) fn check_sections(&self, faults: &mut Vec<Fault>) {
        self.certificate.check_ranges(faults);
        self.password.check_ranges(faults);
        self.token.check_ranges(faults);
        self.hook.check_ranges(faults);
    }
}

/// As meant; relative paths start at `base`.
pub(super) fn resolve(written: &Access, base: &Path, faults: &mut Vec<Fault>) -> Authentication {
    let certificate = &written.certificate;
    let (password, token) = (&written.password, &written.token);
    let text = |it: &str| (!it.is_empty()).then(|| it.to_owned());
    let rule = TokenRule {
        issuer: token.issuer.clone(),
        audience: token.audience.clone(),
        leeway_s: token.leeway_s,
        user_claim: text(&token.user_claim),
        client_id_claim: token.client_id_claim.clone(),
    };
    Authentication {
        anonymous: written.anonymous(),
        client_ids: written.client_id,
        certificate: CertificateRule {
            client_id: certificate.client_id,
            client_id_from: certificate.client_id_from,
            strip: certificate.strip.clone(),
            prefix: certificate.prefix.clone(),
            user_from: certificate.user_from,
            role_required: certificate.role_required,
        },
        passwords: password.file.as_ref().map(|file| base.join(file)),
        checks_at_once: threads(password.checks_at_once, 4).get(),
        checks_waiting: password.checks_waiting as usize,
        tokens: token.jwks.as_ref().map(|jwks| (base.join(jwks), rule)),
        expired: token.when_expired.reason(),
        hook: hook(&written.hook, base, faults),
    }
}

fn hook(written: &HookAccess, base: &Path, faults: &mut Vec<Fault>) -> Option<Hook> {
    let url = written.url.as_deref()?;
    let mut fault =
        |what: &str| faults.push(Fault::new("access.hook.url", format!("{url:?} {what}")));
    let Ok(uri) = url.parse::<hyper::Uri>() else {
        fault("is no URL");
        return None;
    };
    let secure = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        Some(_) | None => {
            fault("does not begin with http:// or https://");
            return None;
        }
    };
    let host = uri.host()?.trim_start_matches('[').trim_end_matches(']').to_owned();
    let loopback = host == "localhost"
        || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback());
    if secure && written.ca.is_none() {
        fault("needs access.hook.ca: no authority is trusted by itself");
    }
    if !secure && !loopback {
        fault("would send passwords over the network without TLS: use https://");
    }
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    Some(Hook {
        host,
        port,
        path: uri.path_and_query().map_or("/", |it| it.as_str()).to_owned(),
        ca: written.ca.as_ref().filter(|_| secure).map(|ca| base.join(ca)),
        asks: written.ask,
        timeout: Duration::from_millis(written.timeout_ms.into()),
        when_down: written.when_down,
        fresh: Duration::from_secs(written.cache_ttl_s.into()),
        answers: written.cache_answers as usize,
        at_once: usize::from(written.at_once),
    })
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    fn resolved(text: &str) -> (Authentication, Vec<String>) {
        let mut faults = Vec::new();
        let written = parse(text).unwrap();
        written.access.check_sections(&mut faults);
        let meant = resolve(&written.access, Path::new("/base"), &mut faults);
        (meant, faults.iter().map(Fault::to_string).collect())
    }

    #[test]
    fn nobody_is_anonymous_once_somebody_could_be_known() {
        assert!(resolved("").0.anonymous);
        let (meant, _) = resolved("[access.password]\nfile = \"pw\"\n");
        assert!(!meant.anonymous);
        assert_eq!(meant.passwords.unwrap(), Path::new("/base/pw"));
        let (meant, _) = resolved("[access]\nanonymous = true\n[access.token]\njwks = \"/j\"\n");
        assert!(meant.anonymous);
        assert!(
            !parse("[access]\nanonymous = false").unwrap().access.lets_in_without_certificate()
        );
    }

    #[test]
    fn client_ids_are_free_where_somebody_may_have_any() {
        let free = |text: &str| resolved(text).0.leaves_client_ids_free();
        let passwords = "[access.password]\nfile = \"pw\"\n";
        assert!(free("") && free(passwords) && !free("[access]\nanonymous = false\n"));
        let tokens = "[access.token]\njwks = \"j\"\n";
        assert!(free(tokens) && !free(&format!("{tokens}client_id_claim = \"cid\"\n")));
        for ids in ["user", "prefix"] {
            assert!(!free(&format!("[access]\nclient_id = \"{ids}\"\n{passwords}")));
        }
    }

    #[test]
    fn the_hook_is_a_url_and_sends_no_password_in_the_clear() {
        let hook = |url: &str| resolved(&format!("[access.hook]\nurl = \"{url}\"\n"));
        let (meant, faults) = hook("http://127.0.0.1:8080/auth?x=1");
        assert_eq!(faults, Vec::<String>::new());
        let meant = meant.hook.unwrap();
        assert_eq!((meant.host.as_str(), meant.port), ("127.0.0.1", 8080));
        assert_eq!(meant.path, "/auth?x=1");
        assert_eq!(hook("http://[::1]/").0.hook.unwrap().host, "::1");
        assert!(hook("http://hook.example/").1[0].contains("without TLS"));
        assert!(hook("https://hook.example/").1[0].contains("access.hook.ca"));
        assert!(hook("ftp://x/").1[0].contains("http://"));
        assert!(hook("http://").1[0].contains("is no URL"));
    }

    #[test]
    fn numbers_out_of_range_are_told() {
        let (_, faults) = resolved("[access.password]\nchecks_at_once = 65\n");
        assert!(faults[0].starts_with("access.password.checks_at_once: 65 is not in 0 to 64"));
    }
}
