//! How those fare who want to come to this gateway: written down for the gates of policies, which look at the whole fleet.

use std::collections::VecDeque;
use std::time::Duration;

use maintenance::fleet::{Connects, Fares, Tried};
use protocol::{GatewayId, Incarnation, Wall};
use serde::{Deserialize, Serialize};
use store::Expect;

use super::documents::{DocumentError, Documents};
use super::thread::Scheduler;
use crate::control::GatewayState;
use crate::metrics::{Metrics, WhyRefused};

/// Time between two looks at the counters.
const EVERY: Duration = Duration::from_secs(5);
/// Of how long is told.
const SPAN: Duration = Duration::from_secs(60);
/// How long nothing is written although nothing changes.
const AGAIN: Duration = Duration::from_secs(30);
/// How long it is believed.
const BELIEVED: Duration = Duration::from_secs(90);

/// What a gateway's document says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConnectsDocument {
    host: String,
    incarnation: u64,
    at_ms: u64,
    connects: Connects,
}

/// Before the name of a gateway.
const PREFIX: &str = "connects/";

/// What was counted of one life of this gateway.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    /// All that were counted until then.
    counted: Looks<Connects>,
    /// How clients fared by then.
    fared: Looks<Fares>,
    /// What was written last, and when.
    said: Option<(Duration, Connects)>,
}

/// What counters were at each look, for as long as is told; the oldest first.
#[derive(Debug)]
struct Looks<T>(VecDeque<(Duration, T)>);

impl<T> Default for Looks<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> Looks<T> {
    /// What was counted before all that is told; nothing in a life that begins.
    fn before(&self) -> Option<&T> {
        self.0.front().map(|(_, counted)| counted)
    }

    fn is_due(&self, now: Duration) -> bool {
        self.0.back().is_none_or(|(at, _)| now.saturating_sub(*at) >= EVERY)
    }

    fn forget(&mut self, now: Duration) {
        while self.0.get(1).is_some_and(|(at, _)| now.saturating_sub(*at) >= SPAN) {
            self.0.pop_front();
        }
    }

    fn push(&mut self, counted: T, now: Duration) {
        self.forget(now);
        self.0.push_back((now, counted));
    }
}

impl Arrivals {
    /// Takes note of the counters. Answers what is to be written, if anything is.
    fn note(&mut self, all: Connects, now: Duration) -> Option<Connects> {
        self.counted.forget(now);
        let lately = match self.counted.before() {
            Some(before) => all.since(before),
            None => all.clone(),
        };
        self.counted.push(all, now);
        let is_known = self
            .said
            .as_ref()
            .is_some_and(|(at, said)| *said == lately && now.saturating_sub(*at) < AGAIN);
        if is_known {
            return None;
        }
        self.said = Some((now, lately.clone()));
        Some(lately)
    }

    /// How clients fared for the last minute, or since the life began.
    fn lately(&self, all: Fares) -> Fares {
        self.fared.before().map_or(all, |before| all.since(*before))
    }
}

impl Scheduler {
    /// Counts who came, and writes it down if that is new.
    pub(super) fn count_arrivals(&mut self, state: GatewayState) -> Result<(), DocumentError> {
        let now = self.shared.now();
        if !self.arrivals.counted.is_due(now.mono) || self.is_followed(state) {
            return Ok(());
        }
        self.arrivals.fared.push(fares(&self.metrics), now.mono);
        let Some(connects) = self.arrivals.note(count(&self.metrics), now.mono) else {
            return Ok(());
        };
        let document = ConnectsDocument {
            host: self.id.to_string(),
            incarnation: self.speaker.facts.incarnation.0,
            at_ms: now.wall.0,
            connects,
        };
        self.documents.put(&format!("{PREFIX}{}", self.id), &document, Expect::Any)
    }
}

impl Scheduler {
    /// How clients have fared at this host for the last minute.
    pub(super) fn fared_lately(&self) -> Fares {
        self.arrivals.lately(self.fared())
    }

    /// How clients have fared at this host since its process began.
    pub(super) fn fared(&self) -> Fares {
        fares(&self.metrics)
    }
}

impl Documents {
    /// Those who came lately, to all of these gateways together; none if one of them has not said.
    pub(super) fn connects<'a>(
        &mut self,
        serving: impl Iterator<Item = (&'a GatewayId, Incarnation)>,
        now: Wall,
    ) -> Result<Option<Connects>, DocumentError> {
        let documents = self.all::<ConnectsDocument>(PREFIX)?;
        let mut sum = Connects::default();
        for (id, Incarnation(life)) in serving {
            let own = documents.iter().find(|it| it.host == id.as_str() && it.incarnation == life);
            let fresh = own.filter(|it| now < Wall(it.at_ms).after(BELIEVED));
            let Some(document) = fresh else { return Ok(None) };
            sum = sum.plus(&document.connects);
        }
        Ok(Some(sum))
    }
}

/// Everybody who was let in or not since the process began. Who was sent to another gateway, or is banned, was meant to be.
fn count(metrics: &Metrics) -> Connects {
    let process = metrics.process();
    let turned_away = [
        &process.turned_away_handshakes,
        &process.turned_away_rate,
        &process.turned_away_connections,
        &process.turned_away_descriptors,
        &process.handshakes_expired,
        &process.handshakes_not_yet_valid,
        &process.handshakes_wrong_usage,
        &process.handshakes_unknown_authority,
        &process.handshakes_no_certificate,
        &process.handshakes_client_refused,
        &process.handshakes_incompatible,
        &process.handshakes_other,
    ];
    let refused = WhyRefused::ALL.into_iter().filter(|why| !is_meant(*why));
    let refused = refused.map(|why| metrics.refused(why));
    let mut within_ms: Vec<(u64, u64)> = Vec::new();
    for worker in metrics.workers() {
        for (place, (bound, count)) in worker.connects_within().into_iter().enumerate() {
            let bound_ms = u64::try_from(bound.as_millis()).unwrap_or(u64::MAX);
            match within_ms.get_mut(place) {
                Some((_, sum)) => *sum += count.get(),
                None => within_ms.push((bound_ms, count.get())),
            }
        }
    }
    Connects {
        let_in: metrics.sum(|worker| &worker.connects),
        refused: turned_away.iter().map(|count| count.get()).chain(refused).sum(),
        within_ms,
    }
}

/// How everybody has fared since the process began.
fn fares(metrics: &Metrics) -> Fares {
    let Connects { let_in, refused, .. } = count(metrics);
    let sum = |counts: u64, more: &u64| counts.wrapping_add(*more);
    let violations = metrics.violations().values().fold(0, sum);
    let denied = metrics.sum(|worker| &worker.denied_publish_no_rule)
        + metrics.sum(|worker| &worker.denied_publish_rule)
        + metrics.sum(|worker| &worker.denied_publish_qos)
        + metrics.sum(|worker| &worker.denied_publish_retain)
        + metrics.sum(|worker| &worker.denied_publish_claims);
    let refused_here = denied + metrics.sum(|worker| &worker.refused_queue);
    Fares {
        connects: Tried::new(let_in + refused, refused),
        protocol: Tried::new(let_in, violations),
        publications: Tried::new(
            metrics.publications(),
            refused_here + metrics.process().commit_failures.get(),
        ),
    }
}

/// Whether who is refused for it was to be.
const fn is_meant(why: WhyRefused) -> bool {
    match why {
        WhyRefused::Banned | WhyRefused::Elsewhere => true,
        WhyRefused::Credentials
        | WhyRefused::NotAuthorized
        | WhyRefused::Method
        | WhyRefused::ClientId
        | WhyRefused::Busy
        | WhyRefused::Quota
        | WhyRefused::Protocol
        | WhyRefused::Unanswered => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::documents::in_memory;

    fn all(let_in: u64, refused: u64) -> Connects {
        Connects { let_in, refused, within_ms: vec![(10, let_in)] }
    }

    #[test]
    fn what_is_told_is_of_the_last_minute_and_only_if_it_is_new() {
        let mut arrivals = Arrivals::default();
        let at = Duration::from_secs;
        assert_eq!(arrivals.note(all(10, 0), at(0)), Some(all(10, 0)));
        assert!(!arrivals.counted.is_due(at(4)) && arrivals.counted.is_due(at(5)));
        assert_eq!(arrivals.note(all(10, 0), at(5)), Some(all(0, 0)));
        assert_eq!(arrivals.note(all(10, 0), at(10)), None);
        assert_eq!(arrivals.note(all(11, 3), at(15)), Some(all(1, 3)));
        assert_eq!(arrivals.note(all(11, 3), at(45)), Some(all(1, 3)), "so that it is believed");
        assert_eq!(arrivals.note(all(11, 3), at(75)), Some(all(0, 0)), "it is over");
    }

    #[test]
    fn how_clients_fared_lately_is_what_was_counted_for_a_minute() {
        let mut arrivals = Arrivals::default();
        let (at, fares) = (Duration::from_secs, |all| Fares {
            publications: Tried::new(all, all / 10),
            ..Fares::default()
        });
        assert_eq!(arrivals.lately(fares(10)), fares(10), "since the life began");
        for second in 0..20 {
            arrivals.fared.push(fares(second * 100), at(second * 5));
        }
        assert_eq!(arrivals.lately(fares(1900)), fares(1200), "of twelve times five seconds");
        assert!(arrivals.fared.0.len() <= 14, "no more is remembered");
    }

    #[test]
    fn what_fails_is_counted_of_what_was_tried() {
        let metrics = Metrics::new(2);
        let [one, two] = metrics.workers() else { panic!("two workers") };
        one.connects.add(7);
        two.refused.count(WhyRefused::Busy);
        two.violations.count("MQTT5-3.1.0-2");
        for count in [&one.publications_qos0, &two.publications_qos1, &one.publications_qos2] {
            count.add(5);
        }
        two.denied_publish_rule.add(1);
        one.refused_queue.add(2);
        metrics.process().commit_failures.add(1);
        let expected = Fares {
            connects: Tried::new(8, 1),
            protocol: Tried::new(7, 1),
            publications: Tried::new(15, 4),
        };
        assert_eq!(fares(&metrics), expected);
    }

    #[test]
    fn who_is_refused_by_a_worker_or_never_answered_is_counted_and_who_is_banned_is_not() {
        let metrics = Metrics::new(2);
        let refused = [
            (&metrics.process().refused, WhyRefused::Credentials),
            (&metrics.workers()[0].refused, WhyRefused::Busy),
            (&metrics.workers()[1].refused, WhyRefused::Unanswered),
            (&metrics.workers()[1].refused, WhyRefused::Banned),
            (&metrics.process().refused, WhyRefused::Elsewhere),
        ];
        for (by, why) in refused {
            by.count(why);
        }
        assert_eq!(count(&metrics).refused, 3);
        let text = metrics.render();
        assert!(text.contains("tidegate_connect_refused_total{reason=\"busy\"} 1\n"), "{text}");
    }

    #[test]
    fn a_gateway_that_has_not_said_leaves_all_unknown() {
        let mut documents = in_memory();
        for (host, life, at_ms) in [("gw-1", 3, 0), ("gw-2", 4, 1_000)] {
            let host = host.to_owned();
            let document = ConnectsDocument { host, incarnation: life, at_ms, connects: all(5, 1) };
            let key = format!("{PREFIX}{}", document.host);
            documents.put(&key, &document, Expect::Any).unwrap();
        }
        let (one, two) = (GatewayId::new("gw-1").unwrap(), GatewayId::new("gw-2").unwrap());
        let both = [(&one, Incarnation(3)), (&two, Incarnation(4))];
        let mut known = |serving: &[(&GatewayId, Incarnation)], now| {
            documents.connects(serving.iter().copied(), Wall(now)).unwrap()
        };
        assert_eq!(known(&both, 2_000), Some(all(10, 2)));
        assert_eq!(known(&both, 90_000), None, "gw-1 said it too long ago");
        assert_eq!(known(&both[1..], 90_000), Some(all(5, 1)));
        assert_eq!(known(&[(&two, Incarnation(5))], 2_000), None, "another life said it");
    }
}
