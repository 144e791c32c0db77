//! Tokens by which calendar programs read the feed of visits: whoever knows one may read what it is for, and nothing else.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use maintenance::policy::Selector;
use protocol::Wall;
use serde::{Deserialize, Serialize};

use super::change::{Acting, Step, check_name, put, value};
use super::control::Removal;
use crate::control::ControlError;
use crate::scheduler::acts::unavailable;
use crate::scheduler::documents::Documents;
use crate::text::hexadecimal;

/// A token, without what is secret of it: `feed-token/` and its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedToken {
    /// What it is called.
    pub name: String,
    /// Of which gateways visits are shown, by their labels.
    pub selector: Selector,
    /// Until when it is good, in milliseconds since 1970; until it is revoked when absent.
    pub until_ms: Option<u64>,
    /// Why it is there.
    pub reason: String,
    /// Who added it.
    pub by: String,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
    /// The number of its entry in the audit.
    pub revision: u64,
}

/// A token that somebody wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedTokenRequest {
    /// What it is to be called; 1 to 64 letters, digits, `-`, `_`, `.` or `:`.
    pub name: String,
    /// Of which gateways visits are shown; of all when absent.
    #[serde(default)]
    pub selector: Selector,
    /// Until when it is good, in milliseconds since 1970; until it is revoked when absent.
    #[serde(default)]
    pub until_ms: Option<u64>,
    /// Why, for people and the audit; 1 to 4,096 bytes.
    pub reason: String,
}

/// A token that was just added: the only time that it is shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewFeedToken {
    /// What stays of it.
    #[serde(flatten)]
    pub token: FeedToken,
    /// The path of its feed, with the secret in it, at any gateway with `http.calendar_feeds`.
    pub path: String,
}

/// A token as it is stored: of what is secret only the hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredFeedToken {
    /// What everybody may know.
    #[serde(flatten)]
    pub token: FeedToken,
    /// SHA-256 of the secret, in hexadecimal digits.
    hash: String,
}

const PREFIX: &str = "feed-token/";
/// So many in a fleet.
const MOST: usize = 64;
/// Random bytes of a secret.
const SECRET_BYTES: usize = 32;

/// Nobody but who asked is shown the secret.
impl std::fmt::Debug for NewFeedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewFeedToken").field("token", &self.token).finish_non_exhaustive()
    }
}

impl FeedToken {
    /// Whether its time is over.
    pub const fn is_over(&self, now: Wall) -> bool {
        matches!(self.until_ms, Some(until) if until <= now.0)
    }
}

impl StoredFeedToken {
    /// A token that this secret is of.
    pub fn new(token: FeedToken, secret: &str) -> Self {
        Self { token, hash: hash(secret) }
    }

    /// The one among `tokens` that a secret is of. All of them are looked at, each in the same time.
    pub fn of_secret<'t>(secret: &str, tokens: &'t [Self]) -> Option<&'t Self> {
        let hash = hash(secret);
        let is = |it: &&Self| verify_slices_are_equal(it.hash.as_bytes(), hash.as_bytes()).is_ok();
        tokens.iter().fold(None, |found, it| if is(&it) { Some(it) } else { found })
    }
}

/// The path of the feed of a token with this secret.
fn path_of(secret: &str) -> String {
    format!("/feeds/{secret}/maintenance.ics")
}

fn hash(secret: &str) -> String {
    hexadecimal(digest(&SHA256, secret.as_bytes()).as_ref())
}

/// A secret that nobody guesses.
pub(super) fn secret() -> Result<String, ControlError> {
    let mut random = [0; SECRET_BYTES];
    let filled = aws_lc_rs::rand::fill(&mut random);
    filled.map_err(|_| ControlError::Unavailable("there is no randomness".to_owned()))?;
    Ok(hexadecimal(&random))
}

impl Documents {
    /// Those that are good, by name.
    pub(in crate::scheduler) fn feed_tokens(
        &mut self,
        now: Wall,
    ) -> Result<Vec<StoredFeedToken>, ControlError> {
        // One that cannot be understood is not good, and the others are.
        let mut tokens: Vec<StoredFeedToken> = self.all(PREFIX).map_err(unavailable)?;
        tokens.retain(|it| !it.token.is_over(now));
        Ok(tokens)
    }

    /// Adds one with that secret, of which only the hash is kept.
    pub(in crate::scheduler) fn add_feed_token(
        &mut self,
        (request, secret): (&FeedTokenRequest, &str),
        acting: &Acting<'_>,
    ) -> Result<NewFeedToken, ControlError> {
        let FeedTokenRequest { name, selector, until_ms, reason } = request;
        check_name("token", name)?;
        if until_ms.is_some_and(|until| until <= acting.now.0) {
            return Err(ControlError::Invalid("it is over before it begins".to_owned()));
        }
        let key = format!("{PREFIX}{name}");
        self.change(acting, |documents, seq| {
            let stored: Vec<StoredFeedToken> = documents.kind(PREFIX)?;
            let (over, there): (Vec<_>, Vec<_>) =
                stored.iter().partition(|it| it.token.is_over(acting.now));
            if there.iter().any(|it| it.token.name == *name) {
                let why = format!("there is a token {name} already; revoke it first");
                return Err(ControlError::Refused(why));
            }
            if there.len() >= MOST {
                let why = format!("there are {MOST} tokens; revoke one");
                return Err(ControlError::Refused(why));
            }
            let token = FeedToken {
                name: name.clone(),
                selector: selector.clone(),
                until_ms: *until_ms,
                reason: reason.clone(),
                by: acting.by.to_owned(),
                since_ms: acting.now.0,
                revision: seq,
            };
            let gone = over.iter().filter(|it| it.token.name != *name);
            let gone = gone.map(|it| Self::delete_of(&format!("{PREFIX}{}", it.token.name)));
            let mut puts: Vec<_> = gone.collect();
            puts.push(put(&key, &StoredFeedToken::new(token.clone(), secret))?);
            Ok(Step {
                action: "feed_token.added",
                object: format!("feed token {name}"),
                before: None,
                after: value(&token),
                reason: reason.clone(),
                puts,
                made: NewFeedToken { token, path: path_of(secret) },
            })
        })
    }

    /// Ends one before its time.
    pub(in crate::scheduler) fn revoke_feed_token(
        &mut self,
        removal: &Removal,
        acting: &Acting<'_>,
    ) -> Result<FeedToken, ControlError> {
        let Removal { name, reason, .. } = removal;
        let key = format!("{PREFIX}{name}");
        self.change(acting, |documents, _| {
            let stored = documents.get::<StoredFeedToken>(&key).map_err(unavailable)?;
            let stored = stored.map(|(stored, _)| stored.token);
            let Some(old) = stored.filter(|old| !old.is_over(acting.now)) else {
                return Err(ControlError::Missing(format!("there is no token {name}")));
            };
            let object = format!("feed token {name}");
            Ok(Step::removal("feed_token.revoked", object, reason, (&key, old)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::documents::in_memory;

    fn request(name: &str, until_ms: Option<u64>) -> FeedTokenRequest {
        let selector = "region=eu".parse().unwrap();
        FeedTokenRequest { name: name.to_owned(), selector, until_ms, reason: "wall".to_owned() }
    }

    fn at(now: u64) -> Acting<'static> {
        Acting { by: "ada", now: Wall(now), hosts: &[], most: 9 }
    }

    fn revoke(name: &str) -> Removal {
        let (name, reason, by) = (name.to_owned(), "lost".to_owned(), "ada".to_owned());
        Removal { name, expected: None, reason, by }
    }

    #[test]
    fn a_token_is_known_by_its_secret_until_its_time_or_until_it_is_revoked() {
        let mut documents = in_memory();
        let secrets = [secret().unwrap(), secret().unwrap()];
        assert_eq!(secrets[0].len(), 2 * SECRET_BYTES);
        assert_ne!(secrets[0], secrets[1]);
        let [wall, desk] = [("wall", Some(50)), ("desk", None)].map(|(name, until)| {
            let secret = &secrets[usize::from(name == "desk")];
            documents.add_feed_token((&request(name, until), secret), &at(7)).unwrap()
        });
        assert_eq!(wall.path, format!("/feeds/{}/maintenance.ics", secrets[0]));
        let named = |secret: &str, tokens: &[StoredFeedToken]| {
            StoredFeedToken::of_secret(secret, tokens).map(|it| it.token.clone())
        };
        let tokens = documents.feed_tokens(Wall(49)).unwrap();
        assert_eq!(named(&secrets[0], &tokens), Some(wall.token));
        assert_eq!(named(&secrets[1], &tokens), Some(desk.token));
        for wrong in ["", "wall", &secrets[0][1..], &hash(&secrets[0])] {
            assert_eq!(named(wrong, &tokens), None, "{wrong}");
        }
        assert_eq!(named(&secrets[0], &documents.feed_tokens(Wall(50)).unwrap()), None);
        documents.revoke_feed_token(&revoke("desk"), &at(8)).unwrap();
        assert_eq!(named(&secrets[1], &documents.feed_tokens(Wall(8)).unwrap()), None);
        let again = documents.revoke_feed_token(&revoke("desk"), &at(9));
        assert!(matches!(again, Err(ControlError::Missing(_))), "{again:?}");
    }

    #[test]
    fn neither_the_secret_nor_its_hash_is_told_to_the_audit_or_shown_by_debug() {
        let (mut documents, secret) = (in_memory(), secret().unwrap());
        let added = documents.add_feed_token((&request("wall", None), &secret), &at(7)).unwrap();
        documents.revoke_feed_token(&revoke("wall"), &at(8)).unwrap();
        let entries = documents.audit(0, 9).unwrap().entries;
        let told: Vec<_> = entries.iter().map(|it| it.record.action.as_str()).collect();
        assert_eq!(told, ["feed_token.added", "feed_token.revoked"]);
        let told = format!("{} {added:?}", serde_json::to_string(&entries).unwrap());
        assert!(!told.contains(&secret) && !told.contains(&hash(&secret)), "{told}");
    }

    #[test]
    fn what_cannot_be_meant_is_refused_and_so_are_too_many_and_two_of_a_name() {
        let (mut documents, secret) = (in_memory(), secret().unwrap());
        for wrong in [request("a b", None), request("", None), request("a", Some(7))] {
            let answer = documents.add_feed_token((&wrong, &secret), &at(7));
            assert!(matches!(answer, Err(ControlError::Invalid(_))), "{wrong:?}: {answer:?}");
        }
        for n in 0..MOST {
            let request = request(&format!("t-{n}"), Some(50));
            documents.add_feed_token((&request, &secret), &at(7)).unwrap();
        }
        for name in ["more", "t-0"] {
            let full = documents.add_feed_token((&request(name, None), &secret), &at(49));
            assert!(matches!(full, Err(ControlError::Refused(_))), "{full:?}");
        }
        documents.add_feed_token((&request("t-0", None), &secret), &at(50)).unwrap();
        assert_eq!(documents.feed_tokens(Wall(50)).unwrap().len(), 1, "what is over makes room");
        assert_eq!(documents.kind::<StoredFeedToken>(PREFIX).unwrap().len(), 1);
    }
}
