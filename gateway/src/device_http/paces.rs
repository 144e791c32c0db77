//! How fast callers may be.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use access::{ClassLimits, Pace};
use protocol::{ClientId, HashMap};
use shadow::{RequestPace, RequestRates};

/// The paces of all callers, whatever connections they use. Full, it forgets all that are in pace; if that leaves more than half of
/// them, also who asked longest ago, until half are left: whoever is forgotten begins anew.
#[derive(Debug)]
pub(super) struct Paces {
    known: HashMap<ClientId, CallerPace>,
    per_s: u32,
}

#[derive(Debug)]
struct CallerPace {
    /// When it asked last.
    asked: Duration,
    /// When it would have asked last if it kept the pace.
    due: Duration,
    publications: Option<Pace>,
}

/// It is too fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TooFast {
    /// More requests than it may make.
    Requests,
    /// More publications, or bytes of them.
    Publications,
    /// One publication that is more than a minute's worth.
    TooLarge,
}

/// What may come at once, in time.
const BURST: Duration = Duration::from_secs(1);
/// Callers, and things that they ask about, that are remembered.
const REMEMBERED: usize = 65_536;

impl Paces {
    /// So many requests a second of each; 0 is no limit.
    pub(super) fn new(per_s: u32) -> Self {
        Self { known: HashMap::default(), per_s }
    }

    /// One more request.
    pub(super) fn request(&mut self, client: &ClientId, now: Duration) -> Result<(), TooFast> {
        let Some(between) = Duration::from_secs(1).checked_div(self.per_s) else { return Ok(()) };
        let caller = self.caller(client, now);
        let due = caller.due.max(now);
        if due + between > now + BURST {
            return Err(TooFast::Requests);
        }
        caller.due = due + between;
        Ok(())
    }

    /// One more publication of so many bytes.
    pub(super) fn publication(
        &mut self,
        client: &ClientId,
        (bytes, limits): (usize, &ClassLimits),
        now: Duration,
    ) -> Result<(), TooFast> {
        let limited = limits.publish_per_s > 0 || limits.publish_bytes_per_s > 0;
        if !limited && !self.known.contains_key(client) {
            return Ok(());
        }
        let caller = self.caller(client, now);
        caller.publications = Pace::renewed(caller.publications.take(), limits, now);
        let Some(pace) = &mut caller.publications else { return Ok(()) };
        if pace.is_too_much(bytes) {
            return Err(TooFast::TooLarge);
        }
        if pace.excess(now).is_some() {
            return Err(TooFast::Publications);
        }
        pace.count_publication(bytes);
        Ok(())
    }

    fn caller(&mut self, client: &ClientId, now: Duration) -> &mut CallerPace {
        if self.known.len() >= REMEMBERED && !self.known.contains_key(client) {
            self.make_room(now);
        }
        let fresh = || CallerPace { asked: now, due: now, publications: None };
        let caller = self.known.entry(client.clone()).or_insert_with(fresh);
        caller.asked = now;
        caller
    }

    fn make_room(&mut self, now: Duration) {
        self.known.retain(|_, it| it.is_behind(now));
        let mut asked: Vec<_> = self.known.values().map(|it| it.asked).collect();
        if let Some(too_many) = asked.len().checked_sub(REMEMBERED / 2 + 1) {
            let (_, last, _) = asked.select_nth_unstable(too_many);
            self.known.retain(|_, it| it.asked > *last);
        }
    }
}

impl CallerPace {
    /// Whether it must be remembered: it has used up what it may do at once.
    fn is_behind(&mut self, now: Duration) -> bool {
        self.due > now || self.publications.as_mut().is_some_and(|it| it.excess(now).is_some())
    }
}

/// The paces of all callers about single things, whatever connections they use. Full, it forgets those that rest; while none does,
/// who asks about another thing is refused.
#[derive(Debug, Default)]
pub(super) struct ShadowPaces(HashMap<About, RequestPace>);

/// Who asks about which thing.
type About = (ClientId, Box<str>);

/// A request about a thing that is not answered yet.
#[derive(Debug)]
pub(super) struct Pending<'a> {
    paces: &'a Mutex<ShadowPaces>,
    of: About,
}

impl<'a> Pending<'a> {
    /// One more, until it is dropped; none if it is one too many.
    pub(super) fn begin(
        paces: &'a Mutex<ShadowPaces>,
        of: About,
        rates: &RequestRates,
        now: Duration,
    ) -> Option<Self> {
        let mut known = paces.lock().unwrap_or_else(PoisonError::into_inner);
        let ShadowPaces(known) = &mut *known;
        if known.len() >= REMEMBERED && !known.contains_key(&of) {
            known.retain(|_, pace| !pace.is_idle(rates, now));
            if known.len() >= REMEMBERED {
                return None;
            }
        }
        let pace = known.entry(of.clone()).or_insert_with(|| RequestPace::new(rates, now));
        pace.begin(rates, now).then(|| Self { paces, of })
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        let mut known = self.paces.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pace) = known.0.get_mut(&self.of) {
            pace.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use access::Classes;

    use super::*;
    use crate::config;

    fn client(name: &str) -> ClientId {
        ClientId::new(name).unwrap()
    }

    #[test]
    fn a_seconds_worth_may_come_at_once_and_then_as_many_as_time_allows() {
        let mut paces = Paces::new(4);
        let at = Duration::from_millis;
        let ask = |paces: &mut Paces, now| paces.request(&client("a"), at(now)).is_ok();
        assert_eq!((0..6).filter(|_| ask(&mut paces, 10)).count(), 4);
        assert!(!ask(&mut paces, 200) && ask(&mut paces, 260) && !ask(&mut paces, 261));
        assert!(paces.request(&client("b"), at(261)).is_ok());
        let mut free = Paces::new(0);
        assert!((0..1000).all(|_| ask(&mut free, 0)) && free.known.is_empty());
    }

    #[test]
    fn publications_have_the_pace_of_their_class() {
        let toml =
            "[gateway]\nid = \"g\"\n[limits]\npublish_per_s = 2\npublish_bytes_per_s = 100\n";
        let written = config::parse(toml).unwrap();
        let resolved = config::resolve(&written, std::path::Path::new("/")).unwrap();
        let classes: &Classes = &resolved.classes;
        let (mut paces, who) = (Paces::new(0), client("a"));
        let mut publish =
            |bytes, now| paces.publication(&who, (bytes, classes.rest()), Duration::from_secs(now));
        assert_eq!(publish(10, 1), Ok(()));
        assert_eq!(publish(10, 1), Ok(()));
        assert_eq!(publish(10, 1), Err(TooFast::Publications));
        assert_eq!(publish(10, 3), Ok(()));
        assert_eq!(publish(7_000, 9), Err(TooFast::TooLarge));
    }

    #[test]
    fn one_client_asks_about_one_thing_at_its_pace() {
        let (paces, now) = (Mutex::default(), Duration::from_secs(1));
        let rates = RequestRates { per_s: 2, burst: 3, in_flight: 2 };
        let begin =
            |thing: &str, now| Pending::begin(&paces, (client("a"), thing.into()), &rates, now);
        let (first, second) = (begin("t", now), begin("t", now));
        assert!(first.is_some() && second.is_some());
        assert!(begin("t", now).is_none(), "two are not answered");
        assert!(begin("u", now).is_some());
        drop(first);
        assert!(begin("t", now).is_some());
        assert!(begin("t", now).is_none(), "three at once");
        assert!(begin("t", now + Duration::from_millis(500)).is_some());
        drop(second);
    }

    #[test]
    fn as_many_are_remembered_as_may_be() {
        let mut paces = Paces::new(1_000);
        for number in 0..=REMEMBERED {
            let _ = paces.request(&client(&number.to_string()), Duration::from_secs(number as u64));
        }
        assert!(paces.known.len() < 10);
    }

    #[test]
    fn where_all_are_too_fast_those_that_asked_longest_ago_are_forgotten() {
        let mut paces = Paces::new(1);
        let now = |number: usize| Duration::from_nanos(number as u64);
        for number in 0..REMEMBERED {
            paces.request(&client(&number.to_string()), now(number)).unwrap();
        }
        let again = |paces: &mut Paces, number: usize| {
            paces.request(&client(&number.to_string()), now(2 * REMEMBERED))
        };
        assert_eq!(again(&mut paces, REMEMBERED / 2 - 1), Err(TooFast::Requests));
        again(&mut paces, REMEMBERED).unwrap();
        assert_eq!(paces.known.len(), REMEMBERED / 2 + 1);
        // The one that was just refused has asked lately.
        assert_eq!(again(&mut paces, REMEMBERED / 2 - 1), Err(TooFast::Requests));
        assert_eq!(again(&mut paces, REMEMBERED / 2), Ok(()));
        assert_eq!(again(&mut paces, REMEMBERED / 2 + 1), Err(TooFast::Requests));
    }

    #[test]
    fn where_nothing_rests_no_other_thing_is_asked_about() {
        let (paces, now) = (Mutex::default(), Duration::from_secs(1));
        let rates = RequestRates { per_s: 1, burst: 1, in_flight: 1 };
        let begin =
            |thing: &str, now| Pending::begin(&paces, (client("a"), thing.into()), &rates, now);
        let things: Vec<_> = (0..REMEMBERED).map(|it| begin(&it.to_string(), now)).collect();
        assert!(things.iter().all(Option::is_some));
        assert!(begin("t", now).is_none());
        drop(things);
        assert!(begin("t", now).is_none(), "they are still behind");
        assert!(begin("t", now + Duration::from_secs(2)).is_some());
    }
}
