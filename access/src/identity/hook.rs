//! The hook: somebody else's program decides, over HTTP. Here are what it is asked, what it answers, and what is remembered;
//! the gateway sends and waits.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use protocol::{HashMap, Now, Wall};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{CertificateNames, Claims};

/// What the hook is asked: one JSON object.
#[derive(Serialize)]
pub struct HookQuestion<'a> {
    /// The client id that was asked for; empty if the client leaves it to us.
    pub client_id: &'a str,
    /// The user, if something else than the hook established one.
    pub user: Option<&'a str>,
    /// The login in its user name: what it says it is.
    pub login: Option<&'a str>,
    /// The password, if it is UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<&'a str>,
    /// The password in base64, if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    password_base64: Option<String>,
    /// The names in the client's certificate.
    certificate: Option<Certificate<'a>>,
    /// Where the client comes from.
    pub address: Option<IpAddr>,
}

/// A question holds a password: it is not for logs.
impl std::fmt::Debug for HookQuestion<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HookQuestion").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Certificate<'a> {
    common_name: Option<&'a str>,
    dns_names: &'a [String],
    uris: &'a [String],
    emails: &'a [String],
    subject: &'a str,
    issuer: &'a str,
    serial: &'a str,
}

impl<'a> HookQuestion<'a> {
    /// A question about a client.
    pub fn new(
        (client_id, user, login): (&'a str, Option<&'a str>, Option<&'a str>),
        password: Option<&'a [u8]>,
        certificate: Option<&'a CertificateNames>,
        address: Option<IpAddr>,
    ) -> Self {
        use base64::Engine as _;
        let text = password.map(std::str::from_utf8);
        let encoded = password
            .filter(|_| matches!(text, Some(Err(_))))
            .map(|bytes| base64::engine::general_purpose::STANDARD.encode(bytes));
        Self {
            client_id,
            user,
            login,
            password: text.and_then(Result::ok),
            password_base64: encoded,
            certificate: certificate.map(|names| Certificate {
                common_name: names.common_name.as_deref(),
                dns_names: &names.dns_names,
                uris: &names.uris,
                emails: &names.emails,
                subject: &names.subject,
                issuer: &names.issuer,
                serial: &names.serial,
            }),
            address,
        }
    }

    /// The body to be sent.
    pub fn body(&self) -> Vec<u8> {
        // Text and numbers: nothing in it can fail to be written.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// What the hook decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookAnswer {
    /// The client may connect.
    Allow(HookAllows),
    /// It may not.
    Deny,
}

/// Who a client is, says the hook.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HookAllows {
    /// The user; none: who was established already, or the login whose password it was asked about.
    pub user: Option<Arc<str>>,
    /// The class of clients that it belongs to.
    pub class: Option<Arc<str>>,
    /// What it may say.
    pub claims: Option<Arc<Claims>>,
    /// When it must have authenticated again.
    pub expires: Option<Wall>,
}

/// Why an answer counts as none. The hook is at fault.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// Another status than 200.
    #[error("the status is {0}")]
    Status(u16),
    /// Not the object that is asked for.
    #[error("the body is not an answer: {0}")]
    Json(#[from] serde_json::Error),
    /// Claimed rights that are no lists of topic filters.
    #[error("the claims are no lists of topic filters")]
    Claims,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    allow: bool,
    user: Option<String>,
    class: Option<String>,
    claims: Option<Value>,
    expires_s: Option<u64>,
}

impl HookAnswer {
    /// Reads an answer: status 200 and an object with `allow`, and if it likes `user`, `class`, `claims` (`publish`,
    /// `subscribe`) and `expires_s` (seconds from now).
    ///
    /// # Errors
    /// [`HookError`]; the hook counts as down then.
    pub fn parse(status: u16, body: &[u8], now: Wall) -> Result<Self, HookError> {
        if status != 200 {
            return Err(HookError::Status(status));
        }
        let answer: Answer = serde_json::from_slice(body)?;
        if !answer.allow {
            return Ok(Self::Deny);
        }
        let claims = answer.claims.as_ref().map(super::token::rights).transpose();
        let text = |it: Option<String>| it.filter(|it| !it.is_empty()).map(Arc::from);
        Ok(Self::Allow(HookAllows {
            user: text(answer.user),
            class: text(answer.class),
            claims: claims.map_err(|_| HookError::Claims)?.flatten().map(Arc::new),
            expires: answer.expires_s.map(|seconds| now.after(Duration::from_secs(seconds))),
        }))
    }
}

/// What happens to a client while the hook does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhenDown {
    /// Nobody new comes in.
    Deny,
    /// Everybody comes in: as whom the hook said last about the same question, else as nobody more than is known without it.
    Allow,
    /// What the hook said last about the same question; nobody whom it was never asked about comes in.
    LastAnswer,
}

/// A question as it is remembered: nobody can read a password from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HookKey([u8; 32]);

impl HookKey {
    /// The key of a question's body; `secret` is the process's own.
    pub fn of(body: &[u8], secret: &[u8]) -> Self {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), body);
        Self(tag.as_ref().try_into().unwrap_or([0; 32]))
    }
}

/// Answers that are remembered: the oldest goes when there are too many.
#[derive(Debug)]
pub struct HookCache {
    answers: HashMap<HookKey, (HookAnswer, Duration)>,
    /// Keys by age; a key that was answered again stands here twice.
    order: VecDeque<(HookKey, Duration)>,
    most: usize,
    fresh: Duration,
}

/// What is remembered of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CachedAnswer {
    /// An answer that still holds.
    Fresh(HookAnswer),
    /// An answer that is too old to hold while the hook can be asked.
    Stale(HookAnswer),
    /// Nothing.
    Nothing,
}

impl HookCache {
    /// Remembers at most `most` answers; each holds for `fresh`.
    pub fn new(most: usize, fresh: Duration) -> Self {
        Self { answers: HashMap::default(), order: VecDeque::new(), most, fresh }
    }

    /// What is remembered of a question.
    pub fn get(&self, key: HookKey, now: Now) -> CachedAnswer {
        let Some((answer, at)) = self.answers.get(&key) else { return CachedAnswer::Nothing };
        let over = match answer {
            HookAnswer::Allow(allows) => allows.expires.is_some_and(|it| it <= now.wall),
            HookAnswer::Deny => false,
        };
        if over {
            CachedAnswer::Nothing
        } else if now.mono < *at + self.fresh {
            CachedAnswer::Fresh(answer.clone())
        } else {
            CachedAnswer::Stale(answer.clone())
        }
    }

    /// Remembers an answer.
    pub fn put(&mut self, key: HookKey, answer: HookAnswer, now: Now) {
        if self.most == 0 {
            return;
        }
        self.answers.insert(key, (answer, now.mono));
        self.order.push_back((key, now.mono));
        while self.answers.len() > self.most || self.order.len() > self.most.saturating_mul(2) {
            let Some((oldest, at)) = self.order.pop_front() else { return };
            if self.answers.get(&oldest).is_some_and(|(_, last)| *last == at) {
                self.answers.remove(&oldest);
            }
        }
    }

    /// How many answers it remembers.
    pub fn len(&self) -> usize {
        self.answers.len()
    }

    /// Whether it remembers none.
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Now {
        Now { mono: Duration::from_secs(seconds), wall: Wall(seconds * 1000) }
    }

    fn key(text: &str) -> HookKey {
        HookKey::of(text.as_bytes(), b"secret")
    }

    #[test]
    fn a_question_is_one_json_object() {
        let names =
            CertificateNames { common_name: Some("a".to_owned()), ..CertificateNames::default() };
        let address = Some(IpAddr::from([127, 0, 0, 1]));
        let text = |password: &[u8]| {
            let question = HookQuestion::new(
                ("c", Some("u"), Some("l")),
                Some(password),
                Some(&names),
                address,
            );
            serde_json::from_slice::<Value>(&question.body()).unwrap()
        };
        let asked = text(b"secret");
        assert_eq!((&asked["client_id"], &asked["user"]), (&"c".into(), &"u".into()));
        assert_eq!(
            (&asked["password"], &asked["address"]),
            (&"secret".into(), &"127.0.0.1".into())
        );
        assert_eq!(asked["certificate"]["common_name"], "a");
        let asked = text(b"\xff");
        assert_eq!((&asked["password"], &asked["password_base64"]), (&Value::Null, &"/w==".into()));
    }

    #[test]
    fn answers_are_read_strictly() {
        let read = |body: &str| HookAnswer::parse(200, body.as_bytes(), Wall(5000));
        assert_eq!(read("{\"allow\":false}").unwrap(), HookAnswer::Deny);
        let full = "{\"allow\":true,\"user\":\"u\",\"class\":\"c\",\"claims\":{\"publish\":[\"a/#\"]},\"expires_s\":3}";
        let HookAnswer::Allow(allows) = read(full).unwrap() else { panic!("denied") };
        assert_eq!((allows.user.as_deref(), allows.class.as_deref()), (Some("u"), Some("c")));
        assert_eq!(allows.claims.unwrap().publish, ["a/#"]);
        assert_eq!(allows.expires, Some(Wall(8000)));
        for bad in [
            "",
            "{}",
            "{\"allow\":1}",
            "{\"allow\":true,\"usr\":\"u\"}",
            "{\"allow\":true,\"claims\":{\"publish\":[\"#a\"]}}",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(matches!(HookAnswer::parse(204, b"", Wall(0)), Err(HookError::Status(204))));
    }

    #[test]
    fn an_answer_holds_for_its_time_and_is_kept_for_when_the_hook_is_down() {
        let mut cache = HookCache::new(2, Duration::from_secs(10));
        assert_eq!(cache.get(key("a"), at(0)), CachedAnswer::Nothing);
        cache.put(key("a"), HookAnswer::Deny, at(0));
        assert_eq!(cache.get(key("a"), at(9)), CachedAnswer::Fresh(HookAnswer::Deny));
        assert_eq!(cache.get(key("a"), at(10)), CachedAnswer::Stale(HookAnswer::Deny));
        let allows = HookAllows { expires: Some(Wall(3000)), ..HookAllows::default() };
        cache.put(key("b"), HookAnswer::Allow(allows), at(0));
        assert!(matches!(cache.get(key("b"), at(2)), CachedAnswer::Fresh(_)));
        assert_eq!(cache.get(key("b"), at(3)), CachedAnswer::Nothing);
    }

    #[test]
    fn the_oldest_answer_goes_first() {
        let mut cache = HookCache::new(2, Duration::from_secs(10));
        for (name, time) in [("a", 0), ("b", 1), ("a", 2), ("c", 3)] {
            cache.put(key(name), HookAnswer::Deny, at(time));
        }
        assert_eq!(cache.get(key("b"), at(3)), CachedAnswer::Nothing);
        assert!(matches!(cache.get(key("a"), at(3)), CachedAnswer::Fresh(_)));
        assert!(matches!(cache.get(key("c"), at(3)), CachedAnswer::Fresh(_)));
    }

    proptest! {
        #[test]
        fn the_cache_stays_within_its_size(keys in proptest::collection::vec(0_u8..20, 0..100)) {
            let mut cache = HookCache::new(5, Duration::from_secs(10));
            for (time, name) in (0..).zip(keys) {
                cache.put(key(&name.to_string()), HookAnswer::Deny, at(time));
                prop_assert!(cache.len() <= 5 && cache.order.len() <= 10);
                prop_assert_eq!(cache.get(key(&name.to_string()), at(time)), CachedAnswer::Fresh(HookAnswer::Deny));
            }
        }

        #[test]
        fn no_body_does_harm(body in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = HookAnswer::parse(200, &body, Wall(0));
        }
    }
}
