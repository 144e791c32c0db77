//! What speaks against visits of a gateway, as operators and programs on its host say it: a backup, a broadcast, a twin that is
//! down.

use maintenance::fleet::Blocker;
use protocol::{GatewayId, Wall};
use serde::{Deserialize, Serialize};
use store::Reader;

use super::change::Acting;
use super::control::Removal;
use super::of_host::{OfHost, Said, check_of_host, is_over_already};
use crate::control::ControlError;
use crate::scheduler::acts::unavailable;
use crate::scheduler::documents::{DocumentError, Documents, every};

/// What speaks against visits of a gateway: `blocker/`, its name, a slash and the code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostBlocker {
    /// Which gateway.
    pub host: String,
    /// What it is, for programs.
    pub code: String,
    /// Whether nothing overrules it but a person, who takes it away or breaks the glass; a soft one yields to a deadline.
    pub hard: bool,
    /// When it is over, in milliseconds since 1970; until it is taken away when absent.
    pub until_ms: Option<u64>,
    /// Why.
    pub reason: String,
    /// Who says so.
    pub by: String,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
    /// The number of its entry in the audit.
    pub revision: u64,
}

/// A blocker that somebody adds, in the place of one of the same code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockerRequest {
    /// Which gateway.
    pub host: String,
    /// What it is, for programs.
    pub code: String,
    /// Whether it yields to a deadline.
    #[serde(default)]
    pub soft: bool,
    /// When it is over, in milliseconds since 1970; until it is taken away when absent.
    #[serde(default)]
    pub until_ms: Option<u64>,
    /// Why, for people and the audit; 1 to 4,096 bytes.
    pub reason: String,
}

/// What gateways say themselves.
const OWN: [&str; 3] = ["alone", "peers_unreachable", "unreadable"];

impl HostBlocker {
    /// As the answer of its gateway says it.
    pub(in crate::scheduler) fn said(&self) -> Blocker {
        Blocker {
            code: self.code.clone(),
            until: self.until_ms.map(Wall),
            hard: self.hard,
            detail: format!("{}: {}", self.by, self.reason),
        }
    }
}

impl OfHost for HostBlocker {
    const KIND: &'static str = "blocker";
    const ADDED: &'static str = "blocker.added";
    const REMOVED: &'static str = "blocker.removed";

    fn host(&self) -> &str {
        &self.host
    }

    fn name(&self) -> &str {
        &self.code
    }

    fn is_over(&self, now: Wall) -> bool {
        self.until_ms.is_some_and(|until| until <= now.0)
    }
}

/// The hard blocker of a host that is in force, for whoever has no more than a reader.
pub(in crate::scheduler) fn hard_blocker(
    host: &GatewayId,
    now: Wall,
    reader: &mut dyn Reader,
) -> Result<Option<HostBlocker>, ControlError> {
    let all: Vec<HostBlocker> =
        every(reader, &HostBlocker::key(host.as_str(), "")).map_err(unavailable)?;
    Ok(all.into_iter().find(|it| it.hard && !it.is_over(now)))
}

impl Documents {
    /// Those that are not over, by gateway and code.
    pub(in crate::scheduler) fn blockers(
        &mut self,
        now: Wall,
    ) -> Result<Vec<HostBlocker>, ControlError> {
        self.in_force(now)
    }

    /// What is said of each gateway. One that cannot be read speaks against everything there, as long as it cannot.
    pub(in crate::scheduler) fn blockers_said(
        &mut self,
        now: Wall,
    ) -> Result<Said<Blocker>, DocumentError> {
        let (mut said, unread) = self.said(now, HostBlocker::said)?;
        said.0.extend(unread.iter().filter_map(|key| {
            let (_, of) = key.split_once('/')?;
            let (host, code) = of.split_once('/')?;
            let detail = format!("blocker {code} cannot be understood");
            let blocker =
                Blocker { code: "unreadable".to_owned(), until: None, hard: true, detail };
            Some((host.to_owned(), blocker))
        }));
        Ok(said)
    }

    /// Adds one, or says it again with other words.
    pub(in crate::scheduler) fn add_blocker(
        &mut self,
        request: &BlockerRequest,
        acting: &Acting<'_>,
    ) -> Result<HostBlocker, ControlError> {
        let BlockerRequest { host, code, soft, until_ms, reason } = request;
        if OWN.contains(&code.as_str()) {
            let why = format!("{code} is what gateways say themselves");
            return Err(ControlError::Invalid(why));
        }
        check_of_host::<HostBlocker>(host, code, acting)?;
        if until_ms.is_some_and(|until| until <= acting.now.0) {
            return Err(is_over_already());
        }
        self.say_of_host((host, code, reason), acting, |seq| HostBlocker {
            host: host.clone(),
            code: code.clone(),
            hard: !soft,
            until_ms: *until_ms,
            reason: reason.clone(),
            by: acting.by.to_owned(),
            since_ms: acting.now.0,
            revision: seq,
        })
    }

    /// Takes one away; its name is that of the gateway, a slash and the code.
    pub(in crate::scheduler) fn remove_blocker(
        &mut self,
        removal: &Removal,
        acting: &Acting<'_>,
    ) -> Result<HostBlocker, ControlError> {
        self.take_of_host(removal, acting)
    }
}

#[cfg(test)]
mod tests {
    use super::super::of_host::MOST_OF_HOST;
    use maintenance::{Host, HostState};
    use protocol::Incarnation;
    use store::Expect;

    use super::*;
    use crate::scheduler::documents::in_memory;

    fn host() -> Host {
        Host::new(GatewayId::new("gw-1").unwrap(), Incarnation(1), HostState::Serving)
    }

    fn request(code: &str, until_ms: Option<u64>) -> BlockerRequest {
        let (host, code) = ("gw-1".to_owned(), code.to_owned());
        BlockerRequest { host, code, soft: false, until_ms, reason: "nightly".to_owned() }
    }

    #[test]
    fn a_blocker_holds_until_its_time_or_until_it_is_taken_away_and_the_audit_tells() {
        let (mut documents, hosts) = (in_memory(), [host()]);
        let at = |now| Acting { by: "cron", now: Wall(now), hosts: &hosts, most: 3 };
        let added = documents.add_blocker(&request("backup", Some(50)), &at(7)).unwrap();
        assert_eq!(documents.blockers(Wall(49)).unwrap(), [added]);
        let said = documents.blockers_said(Wall(49)).unwrap().0;
        assert_eq!((said[0].0.as_str(), said[0].1.hard), ("gw-1", true));
        assert_eq!(said[0].1.detail, "cron: nightly");
        assert!(documents.blockers_said(Wall(50)).unwrap().0.is_empty());
        documents.add_blocker(&request("backup", None), &at(60)).unwrap();
        let removal = Removal {
            name: "gw-1/backup".to_owned(),
            expected: None,
            reason: "done".to_owned(),
            by: "cron".to_owned(),
        };
        documents.remove_blocker(&removal, &at(70)).unwrap();
        let again = documents.remove_blocker(&removal, &at(70));
        assert!(matches!(again, Err(ControlError::Missing(_))), "{again:?}");
        let entries = documents.audit(0, 9).unwrap().entries;
        let told: Vec<_> = entries.iter().map(|it| it.record.action.as_str()).collect();
        assert_eq!(told, ["blocker.added", "blocker.added", "blocker.removed"]);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_and_so_are_too_many() {
        let (mut documents, hosts) = (in_memory(), [host()]);
        let acting = Acting { by: "cron", now: Wall(7), hosts: &hosts, most: 3 };
        let nowhere = BlockerRequest { host: "gw-9".to_owned(), ..request("backup", None) };
        for wrong in [request("alone", None), request("a b", None), request("a", Some(7)), nowhere]
        {
            let answer = documents.add_blocker(&wrong, &acting);
            assert!(matches!(answer, Err(ControlError::Invalid(_))), "{wrong:?}: {answer:?}");
        }
        for n in 0..MOST_OF_HOST {
            documents.add_blocker(&request(&format!("b-{n}"), Some(50)), &acting).unwrap();
        }
        let full = documents.add_blocker(&request("more", None), &acting);
        assert!(matches!(full, Err(ControlError::Refused(_))), "{full:?}");
        documents.add_blocker(&request("b-0", Some(90)), &acting).unwrap();
        let later = Acting { now: Wall(60), ..acting };
        documents.add_blocker(&request("more", None), &later).unwrap();
        assert_eq!(documents.blockers(Wall(60)).unwrap().len(), 2, "what is over makes room");
    }

    #[test]
    fn what_cannot_be_read_speaks_against_visits_of_its_gateway_alone() {
        let mut documents = in_memory();
        let put = Documents::put_bytes("blocker/gw-1/x", b"{}".to_vec(), Expect::Any);
        documents.write(vec![put]).unwrap();
        let said = documents.blockers_said(Wall(1)).unwrap().0;
        assert_eq!((said[0].0.as_str(), said[0].1.code.as_str()), ("gw-1", "unreadable"));
        assert!(said[0].1.hard);
    }
}
