//! Who may connect and what they may say, as written.

use std::path::PathBuf;

use access::{ClientIdRule, NameSource, WhenDown};
use protocol::mqtt::ReasonCode;
use serde::{Deserialize, Serialize};

use super::settings::section;

section! {
    /// Who may connect.
    pub struct Access in "access" {
        /// Whether clients that nothing identifies may connect: no certificate, no password, no token, no hook.
        anonymous: Option<bool> = None, "true or false", "absent: they may as long as no password file, tokens or hook are set" shown "false";
        /// Which client ids a user may have whose id neither its certificate nor its token names: any (`free`), only its own name (`user`), or its own name and what begins with it and `-` or `/` (`prefix`); else it is refused (0x85).
        client_id: UserClientIds = UserClientIds::Free, "\"free\", \"user\" or \"prefix\"", "many devices may share a user, with ids of their own; where rules name `%c`, it should not stay so";
        /// Allows everybody everything, without access files; for development.
        allow_all: bool = false, "true or false", "what nobody allowed is denied";
        /// Who may say what: `[[rule]]` tables, of which the first that fits decides.
        acl: Option<PathBuf> = None, "path", "absent, with `allow_all` false: nothing is allowed" shown "\"acl.toml\"";
        /// An access file as mosquitto has it; asked behind `acl`.
        acl_mosquitto: Option<PathBuf> = None, "path", "for who comes from there" shown "\"mosquitto.acl\"";
        /// What the topics in a token mean: nothing else is allowed (`narrow`), or they are allowed too unless a rule denies it (`grant`).
        claims: ClaimsMeaning = ClaimsMeaning::Narrow, "\"narrow\" or \"grant\"", "a token gives nobody more than the operator wrote down";
        /// What becomes of a 3.x client's publication that is denied: acknowledged and dropped, or the connection ends.
        denied_publish_3x: DeniedPublish = DeniedPublish::Acknowledge, "\"acknowledge\" or \"close\"", "as mosquitto does; a device that is closed for one topic is lost for all";
        /// Whether a client id may pass to another user or certificate. Then the old session ends and a fresh one begins; else who comes with it is refused (0x85).
        sessions_change_hands: bool = false, "true or false", "nobody disconnects somebody else, or gets what waits for it";
        and
        /// What a certificate says.
        certificate: CertificateAccess;
        and
        /// Passwords.
        password: PasswordAccess;
        and
        /// Tokens.
        token: TokenAccess;
        and
        /// Whom to ask.
        hook: HookAccess;
    }
}

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

/// Which client ids a user may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UserClientIds {
    /// Any.
    Free,
    /// Its own name.
    User,
    /// Its own name, and what begins with it and `-` or `/`.
    Prefix,
}

impl UserClientIds {
    /// Whether a user may have a client id.
    pub fn admit(self, user: &str, client_id: &str) -> bool {
        match self {
            Self::Free => true,
            Self::User => client_id == user,
            Self::Prefix => client_id
                .strip_prefix(user)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '/'])),
        }
    }
}

/// What the topics in a token mean beside the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClaimsMeaning {
    /// What the token does not name is not allowed.
    Narrow,
    /// What the token names is allowed unless a rule denies it.
    Grant,
}

/// What becomes of a 3.x client's publication that is denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeniedPublish {
    /// It is acknowledged and dropped.
    Acknowledge,
    /// The connection ends.
    Close,
}
