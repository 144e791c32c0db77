//! What fails together, with the strictest of what holds there.

use std::collections::BTreeMap;

use protocol::HashMap;

use super::outlook::{Outlook, Presence};
use crate::fleet::{Domain, FOREST, Forecast, HOURS_OF_WEEK, Host, Load, Statistic};

/// The domains that anything is said about.
#[derive(Debug, Default)]
pub(super) struct Domains {
    pub(super) all: Vec<Ground>,
    place: BTreeMap<Domain, usize>,
    /// By the narrowest label; what lies in the fleet alone is not in it.
    by_label: HashMap<(String, String), Vec<usize>>,
    fleet: Option<usize>,
}

/// One domain.
#[derive(Debug)]
pub(super) struct Ground {
    pub(super) domain: Domain,
    /// The domain around it.
    pub(super) within: Option<usize>,
    /// Its narrowest label as in `power=a`.
    pub(super) label: String,
    /// Hosts that count.
    pub(super) registered: usize,
    /// Those of them that do not serve and hold no slot.
    pub(super) down: usize,
    /// How many may be visited at once.
    pub(super) max_concurrent: Option<usize>,
    /// How many must serve.
    pub(super) min_available: Option<usize>,
    /// Whether no two are visited together.
    pub(super) alone: bool,
    /// What must stay free of connections and of messages, in percent.
    pub(super) free: Option<(u8, u8)>,
    /// Which load of each hour that is measured against; the peak if nobody says.
    pub(super) statistic: Option<Statistic>,
    /// How fast clients may leave, per second.
    pub(super) rate: Option<u32>,
    /// Whether clients that leave its hosts go to others of it.
    pub(super) takes: bool,
    /// What those that serve, and those that hold slots, take per second; none if that is not known of all.
    pub(super) connects: Option<u64>,
    /// What those that serve, and those that hold slots, can carry; none if that is not known of all.
    pub(super) connections: Option<u64>,
    pub(super) messages: Option<u64>,
    /// What all of them carry now.
    pub(super) load: Load,
    /// What all of them probably carry, by hour of the week, where something must stay free.
    pub(super) forecast: Vec<Load>,
}

impl Domains {
    /// The place of the domain of a kind that a host lies in.
    pub(super) fn enter(&mut self, host: &Host, kind: &str) -> Option<usize> {
        let domain = Domain::of(host, kind)?;
        if let Some(place) = self.place.get(&domain) {
            return Some(*place);
        }
        let depth = FOREST.iter().position(|known| *known == kind).unwrap_or(0);
        let wider = FOREST.iter().take(depth).rev().find(|wider| host.labels.contains_key(**wider));
        let within = match (kind, wider) {
            ("fleet", _) => None,
            (_, Some(wider)) => self.enter(host, wider),
            (_, None) => self.enter(host, "fleet"),
        };
        let place = self.all.len();
        let value = host.labels.get(kind);
        match value {
            Some(value) if kind != "fleet" => {
                let label = (kind.to_owned(), value.clone());
                self.by_label.entry(label).or_default().push(place);
            }
            Some(_) | None => self.fleet = Some(place),
        }
        self.all.push(Ground {
            within,
            label: format!("{kind}={}", value.map_or("", String::as_str)),
            domain: domain.clone(),
            registered: 0,
            down: 0,
            max_concurrent: None,
            min_available: None,
            alone: false,
            free: None,
            statistic: None,
            rate: None,
            takes: false,
            connects: Some(0),
            connections: Some(0),
            messages: Some(0),
            load: Load::default(),
            forecast: vec![Load::default(); HOURS_OF_WEEK],
        });
        self.place.insert(domain, place);
        Some(place)
    }

    /// The places of the domains that a host with these labels lies in.
    pub(super) fn of(&self, labels: &BTreeMap<String, String>) -> Vec<usize> {
        let mut places: Vec<usize> = self.fleet.into_iter().collect();
        for (kind, value) in labels {
            let named = self.by_label.get(&(kind.clone(), value.clone())).into_iter().flatten();
            let holds = |place: &usize| {
                self.all.get(*place).is_some_and(|ground| ground.domain.holds(labels))
            };
            places.extend(named.copied().filter(holds));
        }
        places
    }

    /// Counts the hosts of every domain.
    pub(super) fn count(&mut self, outlook: &Outlook<'_>) {
        for host in outlook.hosts.iter().filter(|host| outlook.ledger.is_registered(host)) {
            let slotted = outlook.ledger.slot(&host.id).is_some();
            let serves = outlook.presence(host) == Presence::Serves;
            let known = outlook.answers.get(&host.id);
            let now = outlook.answer(host).map_or_else(Load::default, |answer| answer.load);
            let week = |statistic: Option<Statistic>| {
                let statistic = statistic.unwrap_or_default();
                let at = |hour| known.and_then(|answer| answer.forecast.hour(hour, statistic));
                (0..HOURS_OF_WEEK).map(|hour| at(hour).unwrap_or(now)).collect::<Vec<Load>>()
            };
            for place in self.of(&host.labels) {
                let Some(ground) = self.all.get_mut(place) else {
                    continue;
                };
                ground.registered += 1;
                ground.down += usize::from(!serves && !slotted);
                ground.load = ground.load.plus(now);
                if ground.free.is_some() {
                    ground.expect(&week(ground.statistic));
                }
                if serves || slotted {
                    ground.connections = add(ground.connections, host.capacity.connections);
                    ground.messages = add(ground.messages, host.capacity.messages_per_s);
                    ground.connects = add(ground.connects, host.capacity.connects_per_s);
                }
            }
        }
    }
}

/// What all carry together; not known if it is not known of one.
fn add(sum: Option<u64>, more: u64) -> Option<u64> {
    sum.filter(|_| more > 0).map(|sum| sum.saturating_add(more))
}

impl Ground {
    /// One more host carries that in a week.
    fn expect(&mut self, week: &[Load]) {
        let sums = self.forecast.iter_mut().zip(week);
        sums.for_each(|(sum, load)| *sum = sum.plus(*load));
    }

    /// What it probably carries from a moment on, in the hour that this lies in.
    pub(super) fn load_at(&self, at: protocol::Wall, now: protocol::Wall) -> Load {
        let later = self.forecast.get(Forecast::hour_of_week(at)).copied().unwrap_or(self.load);
        if at > now {
            return later;
        }
        later.higher(self.load)
    }
}
