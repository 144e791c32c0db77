//! What must hold for drains that no plan asks for: by command, and by windows of the configuration.

use std::collections::BTreeMap;

use maintenance::fleet::{Availability, Limits};
use maintenance::ledger::{GrantRules, Seen};
use maintenance::{Host, Ledger};
use protocol::{GatewayId, Wall};
use store::Reader;

use super::acts::unavailable;
use super::documents::every;
use super::host::HostDocument;
use super::wanted::{HostBlocker, hard_blocker, policies_in};
use crate::control::ControlError;

/// What the ledger must heed for such a drain, and the fleet as it is.
#[derive(Debug)]
pub struct Beside {
    /// What must hold.
    pub rules: GrantRules,
    /// Every registered host with its labels, in its state by its lease.
    pub hosts: Vec<Host>,
    /// What they answered, if policies limit anything: then silence counts as down.
    pub answers: Option<BTreeMap<GatewayId, Availability>>,
}

/// Whether gateways may read the ledger that cannot read a slot with its pace: those of the versions before that, which do not say
/// either how many clients they take.
pub(super) fn hides_pace(hosts: &[Host], ledger: &Ledger) -> bool {
    let before = |host: &Host| ledger.is_registered(host) && host.capacity.connects_per_s == 0;
    hosts.iter().any(before)
}

impl Beside {
    /// What the configuration alone says.
    pub fn plain(limits: Limits, hosts: Vec<Host>) -> Self {
        // By leases alone nobody knows who else reads the ledger.
        let rules = GrantRules { hides_pace: true, ..GrantRules::plain(limits) };
        Self { rules, hosts, answers: None }
    }

    /// What the configuration and all policies about a host say, the stricter of each; of policies what limits how many may be
    /// away at once, no windows, gates, approvals and budgets. Hosts are described as they describe themselves.
    ///
    /// # Errors
    /// [`ControlError::Unavailable`] and [`ControlError::Invalid`]: what policies say is not known. [`ControlError::Refused`]:
    /// somebody says that the host must not be disturbed.
    pub fn read(
        (own, limits): (&Host, Limits),
        hosts: Vec<Host>,
        (ledger, now): (&Ledger, Wall),
        reader: &mut dyn Reader,
    ) -> Result<Self, ControlError> {
        if let Some(HostBlocker { code, by, reason, .. }) = hard_blocker(&own.id, now, reader)? {
            let why = format!("host is blocked: {code}, by {by}: {reason}");
            return Err(ControlError::Refused(why));
        }
        let told: Vec<HostDocument> = every(reader, HostDocument::PREFIX).map_err(unavailable)?;
        let policies = policies_in(reader)?;
        let mut told: BTreeMap<_, _> =
            told.into_iter().map(|document| (document.host.id.clone(), document)).collect();
        let mut answers = BTreeMap::new();
        let described = hosts.into_iter().map(|host| {
            let (labels, capacity) = match told.remove(&host.id) {
                Some(document) => {
                    answers.insert(host.id.clone(), document.answer);
                    (document.host.labels, document.host.capacity)
                }
                None => (host.labels.clone(), host.capacity),
            };
            // Its own labels may have changed a moment ago.
            let labels = if host.id == own.id { own.labels.clone() } else { labels };
            Host { labels, capacity, ..host }
        });
        let hosts: Vec<Host> = described.collect();
        let registered = hosts.iter().filter(|host| ledger.is_registered(host));
        let caps = policies.effective(own, &[]).caps(own, registered);
        let answers = Some(answers).filter(|_| caps != GrantRules::default());
        let hides_pace = hides_pace(&hosts, ledger);
        let plain = GrantRules { hides_pace, ..GrantRules::plain(limits) };
        Ok(Self { rules: plain.with_caps(caps), hosts, answers })
    }

    /// The fleet as the ledger is to see it.
    pub const fn seen(&self, now: Wall) -> Seen<'_> {
        Seen { now, hosts: self.hosts.as_slice(), answers: self.answers.as_ref() }
    }
}

#[cfg(test)]
mod tests {
    use maintenance::HostState;
    use protocol::Incarnation;
    use store::{Expect, MemoryStore, Store as _, Write};

    use super::*;
    use crate::scheduler::documents::Documents;

    const LIMITS: Limits = Limits { min_available: 1, max_concurrent: 2 };

    fn host(n: usize) -> Host {
        let id = GatewayId::new(&format!("gw-{n}")).unwrap();
        Host::new(id, Incarnation(1), HostState::Serving)
    }

    fn read(store: &MemoryStore) -> Result<Beside, ControlError> {
        let labels = BTreeMap::from([("rack".to_owned(), "r1".to_owned())]);
        let own = Host { labels, ..host(1) };
        let hosts = (1..=3).map(host).collect();
        let ledger = (&Ledger::default(), Wall(7));
        Beside::read((&own, LIMITS), hosts, ledger, &mut *store.reader().unwrap())
    }

    fn policy(store: &MemoryStore, text: &str) {
        let document = serde_json::json!({
            "name": "a", "text": text, "calendars": {}, "revision": 1, "by": "ada", "at_ms": 1
        });
        write(store, "policy/a", &document);
    }

    fn write(store: &MemoryStore, key: &str, document: &serde_json::Value) {
        let value = document.to_string().into_bytes();
        let puts = vec![Documents::put_bytes(key, value, Expect::Any)];
        let write = Write { puts: puts.into(), ..Write::default() };
        store.writer().unwrap().commit(&[write]).unwrap();
    }

    #[test]
    fn the_configuration_alone_holds_until_a_policy_limits_something() {
        let store = MemoryStore::new();
        let plain = GrantRules { hides_pace: true, ..GrantRules::plain(LIMITS) };
        let found = read(&store).unwrap();
        assert_eq!((found.rules, found.answers), (plain.clone(), None));
        policy(&store, "[policy.all]\nfailure = { max = 1, per = \"24h\" }\n");
        let found = read(&store).unwrap();
        assert_eq!((found.rules, found.answers), (plain, None), "visits fail, drains do not");
        policy(&store, "[policy.all]\nmax_concurrent = { rack = 1, fleet = 5 }\n");
        let found = read(&store).unwrap();
        let most: Vec<_> = found.rules.domains.iter().map(|rule| rule.max_concurrent).collect();
        assert_eq!(most, [2, 1]);
        assert!(found.answers.is_some(), "who is silent is down");
        assert_eq!(found.hosts[0].labels["rack"], "r1");
        policy(&store, "what is this");
        assert!(read(&store).is_err());
    }
    #[test]
    fn a_hard_blocker_that_is_in_force_refuses() {
        let store = MemoryStore::new();
        let blocker = |hard, until_ms: u64| {
            serde_json::json!({
                "host": "gw-1", "code": "backup", "hard": hard, "until_ms": until_ms,
                "reason": "nightly", "by": "cron", "since_ms": 1, "revision": 1
            })
        };
        for (hard, until_ms, refused) in [(true, 8, true), (false, 8, false), (true, 7, false)] {
            write(&store, "blocker/gw-1/backup", &blocker(hard, until_ms));
            assert_eq!(read(&store).is_err(), refused, "{hard} {until_ms}");
        }
        let other = serde_json::json!({});
        write(&store, "blocker/gw-10/backup", &other);
        assert!(read(&store).is_ok(), "that is another gateway's");
    }
}
