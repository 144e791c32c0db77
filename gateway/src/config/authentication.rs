//! How a client is identified: what `[access]` and the sections under it mean.

use std::path::{Path, PathBuf};
use std::time::Duration;

use access::{CertificateRule, TokenRule, WhenDown};
use protocol::mqtt::ReasonCode;

use super::endpoint::{Endpoint, WrittenEndpoint, endpoint};
use super::fault::Fault;
use super::threads::threads;
use super::who::{Access, HookAccess, HookAsks, UserClientIds};

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
    let (section, ca) = ("access.hook", written.ca.as_ref());
    let asked = WrittenEndpoint { section, url, ca, shown: "passwords" };
    let Endpoint { host, port, path, ca } = endpoint(&asked, base, faults)?;
    Some(Hook {
        host,
        port,
        path,
        ca,
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
