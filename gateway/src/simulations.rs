//! What would happen if something were done to all gateways, on a clock that only counts.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use maintenance::Host;
use maintenance::fleet::Load;
use maintenance::operation::{Campaign, CampaignId, Class, OpKind, Operation, OperationId};
use maintenance::policy::{PolicySet, Selector};
use maintenance::simulate::{Faults, Habits, InvalidScenario, Scenario, Tale, simulate};
use protocol::{GatewayId, Wall};
use serde::{Deserialize, Serialize};

use crate::control::ControlError;
use crate::scheduler::assumed;

/// What is to be tried; what is absent is as usual.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SimulationRequest {
    /// Policies, as TOML, instead of all of the fleet's.
    pub policies: Option<String>,
    /// The calendars that they name, as iCalendar text.
    pub calendars: BTreeMap<String, String>,
    /// What is done to each gateway.
    pub kind: OpKind,
    /// To which gateways, by their labels; all when empty.
    pub selector: Selector,
    /// From when on, in milliseconds since 1970; from now on when absent.
    pub from_ms: Option<u64>,
    /// How many days are looked at, 1 to 366.
    pub days: u32,
    /// Which of all tales; the same seed tells the same of the same fleet.
    pub seed: u64,
    /// Works that fail, of a thousand.
    pub failing_permille: u32,
    /// Gateways that die on a day, of a thousand.
    pub dying_permille: u32,
    /// Clients of all gateways together, as many at each; those that each has when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clients: Option<u64>,
    /// Clients that go where they are sent, of a thousand; all when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect_ok_permille: Option<u32>,
    /// From a client to a gateway and back, in milliseconds; 50 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub round_trip_ms: Option<u64>,
}

/// How long it is worked at one tale at most, where somebody waits for it.
const WORKED: Duration = Duration::from_secs(10);
/// The longest way to a gateway and back that is tried.
const LONGEST_ROUND_TRIP: Duration = Duration::from_secs(60);
/// Clients of which a tale can be told.
const MOST_CLIENTS: u64 = 1_000_000_000;
/// Gateways of which a tale can be told.
const MOST_HOSTS: usize = 2_000;

impl Default for SimulationRequest {
    fn default() -> Self {
        Self {
            policies: None,
            calendars: BTreeMap::new(),
            kind: OpKind::Restart,
            selector: Selector::default(),
            from_ms: None,
            days: 28,
            seed: 1,
            failing_permille: 0,
            dying_permille: 0,
            clients: None,
            redirect_ok_permille: None,
            round_trip_ms: None,
        }
    }
}

impl SimulationRequest {
    /// Tells what would happen to a fleet by its policies, or by those that are asked about. `loads` is what each carries, as far
    /// as that is known.
    ///
    /// # Errors
    /// [`ControlError::Invalid`] for what cannot be meant, and [`ControlError::Refused`] if it is too much work.
    pub fn tell(
        &self,
        policies: PolicySet,
        (hosts, loads): (Vec<Host>, BTreeMap<GatewayId, Load>),
        now: Wall,
    ) -> Result<Tale, ControlError> {
        let scenario = self.scenario(policies, (hosts, loads), now)?;
        let until = Instant::now() + WORKED;
        simulate(&scenario, &mut || Instant::now() >= until).map_err(|why| match why {
            InvalidScenario::TooLong => ControlError::Refused(format!(
                "it takes more than {} s to work that out: ask for fewer days or gateways, or by files",
                WORKED.as_secs()
            )),
            InvalidScenario::Operations(_) => ControlError::Invalid(why.to_string()),
            InvalidScenario::Plan(_) => ControlError::Unavailable(why.to_string()),
        })
    }

    /// What is to be tried, with all that was left out.
    ///
    /// # Errors
    /// [`ControlError::Invalid`] for what cannot be meant, and [`ControlError::Refused`] for too many gateways.
    pub fn scenario(
        &self,
        policies: PolicySet,
        (hosts, loads): (Vec<Host>, BTreeMap<GatewayId, Load>),
        now: Wall,
    ) -> Result<Scenario, ControlError> {
        let invalid = |why: &dyn std::fmt::Display| ControlError::Invalid(why.to_string());
        if !(1..=366).contains(&self.days) {
            return Err(invalid(&"days must be 1 to 366"));
        }
        if self.failing_permille > 1000 || self.dying_permille > 1000 {
            return Err(invalid(&"of a thousand at most a thousand fail or die"));
        }
        let habits = self.habits()?;
        if hosts.len() > MOST_HOSTS {
            let why = format!("tales are told of {MOST_HOSTS} gateways at most");
            return Err(ControlError::Refused(why));
        }
        let policies = match &self.policies {
            Some(text) => PolicySet::read(text, &self.calendars).map_err(|why| invalid(&why))?,
            None => policies,
        };
        let chosen = hosts.iter().filter(|host| self.selector.matches(host));
        let chosen: Vec<_> = chosen.map(|host| host.id.clone()).collect();
        let first = chosen.first().cloned();
        let first = first.ok_or_else(|| invalid(&"no gateway is selected"))?;
        let id = OperationId::new("simulated").map_err(|why| invalid(&why))?;
        let kind = self.kind.clone();
        let class = if kind == OpKind::Restart { Class::Drain } else { kind.class() };
        let estimate = assumed(&kind);
        let template = Operation { class, estimate, ..Operation::new(id.clone(), kind, first) };
        let campaign = Campaign {
            id: CampaignId(id),
            template,
            canary: Campaign::CANARY.to_vec(),
            soak: Duration::ZERO,
            failure_budget: 0,
        };
        Ok(Scenario {
            policies,
            loads: self.clients.map_or(loads, |clients| shared_out(clients, &hosts)),
            hosts,
            habits,
            operations: campaign.operations(&chosen).map_err(|why| invalid(&why))?,
            from: self.from_ms.map_or(now, Wall),
            lasts: Duration::from_secs(u64::from(self.days) * 24 * 3600),
            faults: Faults {
                works_permille: self.failing_permille,
                deaths_permille: self.dying_permille,
            },
            seed: self.seed,
        })
    }

    /// What is assumed of clients.
    fn habits(&self) -> Result<Habits, ControlError> {
        let usual = Habits::default();
        let habits = Habits {
            follow_permille: self.redirect_ok_permille.unwrap_or(usual.follow_permille),
            round_trip: self.round_trip_ms.map_or(usual.round_trip, Duration::from_millis),
        };
        let wrong = |what: &str| Err(ControlError::Invalid(what.to_owned()));
        if habits.follow_permille > 1000 {
            return wrong("of a thousand clients at most a thousand go where they are sent");
        }
        if habits.round_trip > LONGEST_ROUND_TRIP {
            return wrong("round_trip_ms must be at most 60,000");
        }
        if self.clients.is_some_and(|clients| clients > MOST_CLIENTS) {
            return wrong("clients must be at most 1,000,000,000");
        }
        Ok(habits)
    }
}

/// So many clients, as many at each host.
fn shared_out(clients: u64, hosts: &[Host]) -> BTreeMap<GatewayId, Load> {
    let many = u64::try_from(hosts.len()).unwrap_or(u64::MAX).max(1);
    let share = |(host, nth): (&Host, u64)| {
        let connections = clients / many + u64::from(nth < clients % many);
        (host.id.clone(), Load { connections, messages_per_s: 0 })
    };
    hosts.iter().zip(0..).map(share).collect()
}

#[cfg(test)]
mod tests {
    use maintenance::HostState;
    use protocol::Incarnation;

    use super::*;

    const OPEN: &str =
        "[policy.all]\nwindows = [{ from = \"2026-01-01\", to = \"2026-03-01\", tz = \"UTC\" }]\n";
    /// 2026-01-05 10:00 UTC.
    const TEN: Wall = Wall(1_767_607_200_000);

    fn fleet(n: usize) -> (Vec<Host>, BTreeMap<GatewayId, Load>) {
        let id = |n: usize| GatewayId::new(&format!("gw-{n}")).unwrap();
        let host = |n| Host::new(id(n), Incarnation(1), HostState::Serving);
        let load = Load { connections: 4000, messages_per_s: 0 };
        ((1..=n).map(host).collect(), (1..=n).map(|n| (id(n), load)).collect())
    }

    #[test]
    fn a_tale_is_told_of_the_clients_that_gateways_have() {
        let policies = PolicySet::read(OPEN, &BTreeMap::new()).unwrap();
        let tale = SimulationRequest::default().tell(policies, fleet(3), TEN).unwrap();
        // The clients of the first go to those that are drained later; of the others all to those that are done.
        assert_eq!((tale.totals.done, tale.totals.moved), (3, 16_000));
        assert_eq!((tale.totals.moved_again, tale.totals.most_moves), (4_000, 2));
        assert_eq!(tale.totals.peak_connects_per_s, 200, "one at a time, as usual");
        let slow = format!(
            "{OPEN}max_concurrent = {{ fleet = 2 }}\nmin_available = {{ fleet = 1 }}\ndrain = {{ host_rate = 20 }}\n"
        );
        let other = SimulationRequest { policies: Some(slow), ..SimulationRequest::default() };
        let tale = other.tell(PolicySet::default(), fleet(3), TEN).unwrap();
        assert_eq!(tale.totals.moved, 16_000);
        assert!((20..=40).contains(&tale.totals.peak_connects_per_s), "{:?}", tale.totals);
    }

    #[test]
    fn it_is_told_how_clients_come_back_by_what_is_assumed_of_them() {
        let policies = PolicySet::read(OPEN, &BTreeMap::new()).unwrap();
        let tell = |request: SimulationRequest| {
            let tale = request.tell(policies.clone(), fleet(3), TEN).unwrap();
            (tale.totals.moved, tale.returns.unwrap())
        };
        let usual = SimulationRequest::default();
        let near =
            SimulationRequest { round_trip_ms: Some(0), clients: Some(301), ..usual.clone() };
        let (moved, returns) = tell(near.clone());
        // A hundred each and one more: the first's go to the others, and all to the first and the second.
        assert_eq!(moved, returns.tried);
        assert!((400..=410).contains(&moved), "{moved}");
        assert_eq!(returns.followed_permille, 1_000);
        assert!(returns.gap_longest <= Duration::from_millis(4), "{returns:?}");
        let (_, deaf) = tell(SimulationRequest { redirect_ok_permille: Some(300), ..near });
        assert!(deaf.gap_p50 > Duration::from_millis(500) && deaf.followed_permille < 800);
        assert!(tell(usual).1.gap_p50 > Duration::from_millis(100), "three round trips of 50 ms");
    }

    #[test]
    fn what_cannot_be_meant_or_is_too_much_is_refused() {
        let tell =
            |request: SimulationRequest, n| request.tell(PolicySet::default(), fleet(n), TEN);
        let usual = SimulationRequest::default;
        let none = Selector::default();
        for request in [
            SimulationRequest { days: 0, ..usual() },
            SimulationRequest { failing_permille: 1001, ..usual() },
            SimulationRequest { redirect_ok_permille: Some(1001), ..usual() },
            SimulationRequest { round_trip_ms: Some(60_001), ..usual() },
            SimulationRequest { clients: Some(MOST_CLIENTS + 1), ..usual() },
            SimulationRequest { policies: Some("what".to_owned()), ..usual() },
            SimulationRequest { selector: "zone=a".parse().unwrap_or(none), ..usual() },
        ] {
            let told = tell(request.clone(), 2);
            assert!(matches!(told, Err(ControlError::Invalid(_))), "{request:?}: {told:?}");
        }
        assert!(matches!(tell(usual(), MOST_HOSTS + 1), Err(ControlError::Refused(_))));
    }
}
