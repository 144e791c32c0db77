//! What a grant depends on, compiled to numbers.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::{GatewayId, Incarnation, Wall};
use serde::{Deserialize, Serialize};

use super::slot::{Asked, SlotClass};
use crate::calendar::Interval;
use crate::fleet::{Availability, Domain, Host, Limits, Statistic, Term, VisitId};

/// What is asked of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant<'a> {
    /// Whose slot.
    pub host: &'a GatewayId,
    /// The life of the host that the offer was made to.
    pub offered: Incarnation,
    /// What for, if it is a visit of a plan.
    pub visit: Option<VisitId>,
    /// The reign of who asks.
    pub term: Term,
    /// What is to be allowed.
    pub class: SlotClass,
    /// When it may be used.
    pub opening: Interval,
    /// How long the visit probably takes (p95).
    pub remaining: Duration,
    /// Whether the opening sees a host only once, as for a window without operations.
    pub once: bool,
    /// Who asks and why, if it is not a visit of a plan.
    pub asked: Option<Asked>,
}

/// The fleet as whoever asks sees it.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// Calendar time.
    pub now: Wall,
    /// Every registered host, whether it answers or not.
    pub hosts: &'a [Host],
    /// What they answered; none if leases alone tell who is there.
    pub answers: Option<&'a BTreeMap<GatewayId, Availability>>,
}

/// What must hold for one host's slot: what its policies say, resolved to numbers for the fleet as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GrantRules {
    /// What must hold in each domain of the host.
    pub domains: Vec<DomainRule>,
    /// Labels of which no two hosts with the same value are disturbed at once.
    pub never_together: Vec<String>,
    /// What must stay free on those that take the clients, if that is limited.
    pub headroom: Option<Headroom>,
    /// Clients that leave the host per second, if policies say so; else as it answered itself.
    pub rate: Option<u32>,
    /// Clients that may leave all hosts together per second, if that is limited.
    pub fleet_rate: Option<u32>,
    /// Whether no more may leave per second than the others take, who hold them down in any case.
    pub heeds_intake: bool,
    /// Whether versions read the ledger that cannot read a slot with its pace: then it is not noted.
    pub hides_pace: bool,
    /// How many visits may fail; each of these budgets must have some left.
    pub failures: Vec<FailureBudget>,
    /// What is added to the time a visit probably takes.
    pub margin: Duration,
    /// Whether people have agreed.
    pub approval: Approval,
    /// Whether the gate is open.
    pub gate: Gate,
    /// When the work of a granted slot is allowed, as it is asked now.
    pub allowed: Allowed,
    /// Whether what cannot be taken back may begin although the rest of the visit probably does not fit any more.
    pub on_window_end: OnWindowEnd,
    /// Whether somebody begins it despite hard blockers of the host, having broken the glass; nothing else is overruled by that.
    pub glass_broken: bool,
}

/// What must hold in one domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainRule {
    /// Which.
    pub domain: Domain,
    /// How many of its registered hosts must go on serving.
    pub min_available: usize,
    /// How many slots its hosts may hold.
    pub max_concurrent: usize,
}

/// What must stay free of the capacity of the hosts that serve, in the region of the host or else in the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Headroom {
    /// Of connections, in percent.
    pub connections_percent: u8,
    /// Of messages per second, in percent.
    pub messages_percent: u8,
    /// Which load that hours like this one had counts beside what is carried now, if one of them shall.
    pub forecast: Option<Statistic>,
}

/// How many visits may fail before no other begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureBudget {
    /// Which visits count together: the name of a policy that is about their hosts.
    pub scope: String,
    /// With how many failures nothing begins any more. With none, too, the first failure spends it.
    pub max: usize,
    /// How long a failure counts.
    pub per: Duration,
}

/// Whether people have agreed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Approval {
    /// Nobody has to.
    #[default]
    NotNeeded,
    /// They have, and it is still valid.
    Given,
    /// They have not.
    Missing {
        /// How many approvals are valid.
        given: usize,
        /// How many must be.
        wanted: usize,
    },
}

/// Whether new work may begin at all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Gate {
    /// It may.
    #[default]
    Open,
    /// It may not.
    Closed {
        /// Which condition closed it.
        why: String,
    },
}

/// When the work of a granted slot is allowed: windows and exclusions may have changed since the grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Allowed {
    /// In all of the slot's opening.
    #[default]
    AsGranted,
    /// In what of the slot's opening lies in this span.
    Within(Interval),
    /// Not now.
    Never,
}

/// What a visit does about the end of its window when it comes to what cannot be taken back, the stricter last. Before that point the
/// end of the window always makes the host serve again, and nothing that cannot be taken back begins behind it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum OnWindowEnd {
    /// It goes on as long as the window is open, and what has begun is finished, be it behind the end.
    FinishIfPastPonr,
    /// It goes on only if all that remains probably fits; else the host serves again.
    #[default]
    Undrain,
}

impl Allowed {
    /// What is left of the opening of a slot.
    pub fn cut(self, opening: Interval) -> Option<Interval> {
        match self {
            Self::AsGranted => Some(opening),
            Self::Within(span) => opening.common(span),
            Self::Never => None,
        }
    }
}

impl GrantRules {
    /// The rules of a fleet without domains and policies.
    pub fn plain(limits: Limits) -> Self {
        let Limits { min_available, max_concurrent } = limits;
        let fleet = DomainRule { domain: Domain::fleet(), min_available, max_concurrent };
        Self { domains: vec![fleet], ..Self::default() }
    }

    /// Clients that leave the host per second; nothing if nobody says.
    pub(super) fn pace(&self, answer: Option<&Availability>) -> Option<u32> {
        self.rate.or_else(|| answer.map(|answer| answer.drain.per_s))
    }

    /// What both demand of domains, labels, headroom and the pace of all: of each the stricter. All else is as it is here.
    #[must_use]
    pub fn with_caps(mut self, caps: Self) -> Self {
        for cap in caps.domains {
            match self.domains.iter_mut().find(|own| own.domain == cap.domain) {
                Some(own) => {
                    own.min_available = own.min_available.max(cap.min_available);
                    own.max_concurrent = own.max_concurrent.min(cap.max_concurrent);
                }
                None => self.domains.push(cap),
            }
        }
        self.never_together.extend(caps.never_together);
        self.never_together.sort_unstable();
        self.never_together.dedup();
        self.fleet_rate = self.fleet_rate.into_iter().chain(caps.fleet_rate).min();
        self.headroom = self.headroom.max(caps.headroom);
        if let (Some(own), Some(cap)) = (&mut self.headroom, caps.headroom) {
            own.connections_percent = own.connections_percent.max(cap.connections_percent);
            own.messages_percent = own.messages_percent.max(cap.messages_percent);
            own.forecast = own.forecast.max(cap.forecast);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use protocol::{GatewayId, Incarnation};

    use super::*;
    use crate::fleet::HostState;

    #[test]
    fn of_two_caps_the_stricter_holds_and_what_one_alone_says_holds_too() {
        let id = GatewayId::new("gw-1").unwrap();
        let labels = BTreeMap::from([("rack".to_owned(), "r1".to_owned())]);
        let host = Host { labels, ..Host::new(id, Incarnation(1), HostState::Serving) };
        let rack = Domain::of(&host, "rack").unwrap();
        let rule = |domain: &Domain, min_available, max_concurrent| DomainRule {
            domain: domain.clone(),
            min_available,
            max_concurrent,
        };
        let headroom = |connections_percent, messages_percent, forecast| {
            Some(Headroom { connections_percent, messages_percent, forecast })
        };
        let plain = GrantRules {
            never_together: vec!["power".to_owned()],
            headroom: headroom(20, 5, Some(Statistic::P50)),
            fleet_rate: Some(300),
            margin: Duration::from_secs(7),
            ..GrantRules::plain(Limits { min_available: 1, max_concurrent: 3 })
        };
        let caps = GrantRules {
            domains: vec![rule(&Domain::fleet(), 0, 2), rule(&rack, 1, 1)],
            never_together: vec!["twin".to_owned(), "power".to_owned()],
            headroom: headroom(10, 15, Some(Statistic::P95)),
            fleet_rate: Some(200),
            margin: Duration::from_secs(9),
            ..GrantRules::default()
        };
        let both = plain.clone().with_caps(caps);
        assert_eq!(both.domains, [rule(&Domain::fleet(), 1, 2), rule(&rack, 1, 1)]);
        assert_eq!(both.never_together, ["power", "twin"]);
        assert_eq!(both.headroom, headroom(20, 15, Some(Statistic::P95)));
        assert_eq!(both.fleet_rate, Some(200));
        assert_eq!(both.margin, Duration::from_secs(7));
        assert_eq!(plain.clone().with_caps(GrantRules::default()), plain);
    }
}
