//! How far was looked for callers who may read few of very many topics. A page in which nothing was found says no more than that
//! there may be more: behind which topic to go on is the name of one that its caller may not read, so it is remembered here.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use access::{CertificateNames, Identity};
use protocol::{ClientId, HashMap};

/// The searches that go on.
#[derive(Debug, Default)]
pub(super) struct Searches(HashMap<ClientId, Vec<Search>>);

#[derive(Debug)]
struct Search {
    by: By,
    /// The topic behind which its caller goes on; empty at the beginning.
    after: Box<str>,
    /// The topic up to which nothing was found behind that.
    far: Arc<str>,
    at: Duration,
}

/// Whose rights it goes by, besides the client's.
#[derive(Debug, PartialEq, Eq)]
struct By {
    user: Option<Arc<str>>,
    certificate: Option<Arc<CertificateNames>>,
    address: Option<IpAddr>,
}

/// Callers whose searches are remembered; beyond that, whose last page is longest ago begins anew.
const CALLERS: usize = 1_024;
/// Searches of one caller; beyond that its oldest begins anew.
const EACH: usize = 4;
/// How long the next page may let wait for itself: rights may change meanwhile.
const REMEMBERED: Duration = Duration::from_secs(60);

impl Searches {
    /// Up to where nothing was found for this caller behind a topic, lately.
    pub(super) fn far(&self, who: &Identity, after: &str, now: Duration) -> Option<Arc<str>> {
        let known = self.0.get(&who.client)?.iter();
        let fits =
            |it: &&Search| *it.after == *after && now < it.at + REMEMBERED && it.by == By::of(who);
        known.rev().find(fits).map(|it| Arc::clone(&it.far))
    }

    /// Nothing was found up to there.
    pub(super) fn note(&mut self, who: &Identity, (after, far): (&str, Arc<str>), now: Duration) {
        self.forget(who, after);
        if self.0.len() >= CALLERS && !self.0.contains_key(&who.client) {
            self.make_room(now);
        }
        let known = self.0.entry(who.client.clone()).or_default();
        if known.len() >= EACH {
            known.remove(0);
        }
        known.push(Search { by: By::of(who), after: after.into(), far, at: now });
    }

    /// The search behind that topic is over.
    pub(super) fn forget(&mut self, who: &Identity, after: &str) {
        let Some(known) = self.0.get_mut(&who.client) else { return };
        known.retain(|it| *it.after != *after || it.by != By::of(who));
        if known.is_empty() {
            self.0.remove(&who.client);
        }
    }

    fn make_room(&mut self, now: Duration) {
        let last = |known: &[Search]| known.last().map_or(Duration::ZERO, |it| it.at);
        self.0.retain(|_, known| now < last(known) + REMEMBERED);
        let oldest = self.0.iter().min_by_key(|(_, known)| last(known));
        if let Some(client) = oldest.map(|(client, _)| client.clone())
            && self.0.len() >= CALLERS
        {
            self.0.remove(&client);
        }
    }
}

impl By {
    fn of(who: &Identity) -> Self {
        let (user, certificate) = (who.user.clone(), who.certificate.clone());
        Self { user, certificate, address: who.address }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(client: &str) -> Identity {
        Identity::anonymous(ClientId::new(client).unwrap())
    }

    fn at(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    #[test]
    fn a_search_is_known_to_its_caller_alone_and_for_a_while() {
        let mut searches = Searches::default();
        searches.note(&who("a"), ("", "x".into()), at(1));
        assert_eq!(searches.far(&who("a"), "", at(60)).as_deref(), Some("x"));
        assert_eq!(searches.far(&who("a"), "", at(61)), None, "it was long ago");
        assert_eq!(searches.far(&who("a"), "m", at(1)), None, "behind another topic");
        assert_eq!(searches.far(&who("b"), "", at(1)), None);
        let other = Identity { user: Some("other".into()), ..who("a") };
        assert_eq!(searches.far(&other, "", at(1)), None, "with other rights");
        searches.forget(&who("a"), "");
        assert_eq!(searches.far(&who("a"), "", at(1)), None);
        assert!(searches.0.is_empty());
    }

    #[test]
    fn of_too_many_the_oldest_begin_anew() {
        let mut searches = Searches::default();
        for number in 0..=EACH {
            searches.note(&who("a"), (&number.to_string(), "x".into()), at(1));
        }
        assert_eq!(searches.far(&who("a"), "0", at(1)), None);
        assert!(searches.far(&who("a"), "1", at(1)).is_some());
        for number in 1..=CALLERS {
            searches.note(&who(&format!("c{number}")), ("", "x".into()), at(2));
        }
        assert_eq!(searches.0.len(), CALLERS);
        assert_eq!(searches.far(&who("a"), "1", at(2)), None);
        assert!(searches.far(&who("c1"), "", at(2)).is_some());
    }
}
