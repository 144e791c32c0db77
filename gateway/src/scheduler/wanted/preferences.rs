//! When visits of a gateway would suit it, as operators and programs on its host say it: the plan moves them there as long as no
//! deadline is missed by that.

use maintenance::fleet::Preferred;
use protocol::Wall;
use serde::{Deserialize, Serialize};

use super::change::Acting;
use super::control::Removal;
use super::of_host::{OfHost, Said, check_of_host, is_over_already};
use crate::control::ControlError;
use crate::scheduler::acts::unavailable;
use crate::scheduler::documents::{DocumentError, Documents, PREFERENCES};
use crate::scheduler::host::HostDocument;

/// A time that would suit a gateway: `preference/`, its name, a slash and the name of the time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostPreference {
    /// Which gateway.
    pub host: String,
    /// What the time is called.
    pub name: String,
    /// From when on, in milliseconds since 1970.
    pub from_ms: u64,
    /// Until when, in milliseconds since 1970.
    pub until_ms: u64,
    /// What a visit then costs, compared with the others of this gateway: the least is the best.
    pub cost: u32,
    /// Why.
    pub reason: String,
    /// Who says so.
    pub by: String,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
    /// The number of its entry in the audit.
    pub revision: u64,
}

/// A time that somebody adds, in the place of one of the same name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreferenceRequest {
    /// Which gateway.
    pub host: String,
    /// What the time is called.
    pub name: String,
    /// From when on, in milliseconds since 1970.
    pub from_ms: u64,
    /// Until when, in milliseconds since 1970.
    pub until_ms: u64,
    /// What a visit then costs, compared with the others of this gateway.
    #[serde(default)]
    pub cost: u32,
    /// Why, for people and the audit; 1 to 4,096 bytes.
    pub reason: String,
}

impl HostPreference {
    /// As the answer of its gateway says it.
    const fn said(&self) -> Preferred {
        Preferred { cost: self.cost, from: Wall(self.from_ms), until: Wall(self.until_ms) }
    }
}

impl OfHost for HostPreference {
    const KIND: &'static str = "preference";
    const ADDED: &'static str = "preference.added";
    const REMOVED: &'static str = "preference.removed";

    fn host(&self) -> &str {
        &self.host
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn is_over(&self, now: Wall) -> bool {
        self.until_ms <= now.0
    }
}

impl Documents {
    /// Those that are not over, by gateway and name.
    pub(in crate::scheduler) fn preferences(
        &mut self,
        now: Wall,
    ) -> Result<Vec<HostPreference>, ControlError> {
        self.in_force(now)
    }

    /// What is said of each gateway. What cannot be read forbids nothing, and is passed over.
    pub(in crate::scheduler) fn preferences_said(
        &mut self,
        now: Wall,
    ) -> Result<Said<Preferred>, DocumentError> {
        let (said, unread) = self.said(now, HostPreference::said)?;
        if let Some(key) = unread.first() {
            tracing::debug!("{key} cannot be understood, and is passed over");
        }
        Ok(said)
    }

    /// Adds one, or says it again with other words. Refused while gateways are registered of versions that could not read the plan
    /// that follows from it.
    pub(in crate::scheduler) fn add_preference(
        &mut self,
        request: &PreferenceRequest,
        acting: &Acting<'_>,
    ) -> Result<HostPreference, ControlError> {
        let PreferenceRequest { host, name, from_ms, until_ms, cost, reason } = request;
        check_of_host::<HostPreference>(host, name, acting)?;
        if until_ms <= from_ms || *until_ms <= acting.now.0 {
            return Err(is_over_already());
        }
        self.all_know_preferences(acting)?;
        self.say_of_host((host, name, reason), acting, |seq| HostPreference {
            host: host.clone(),
            name: name.clone(),
            from_ms: *from_ms,
            until_ms: *until_ms,
            cost: *cost,
            reason: reason.clone(),
            by: acting.by.to_owned(),
            since_ms: acting.now.0,
            revision: seq,
        })
    }

    fn all_know_preferences(&mut self, acting: &Acting<'_>) -> Result<(), ControlError> {
        let told = self.all::<HostDocument>(HostDocument::PREFIX).map_err(unavailable)?;
        let old = acting
            .hosts
            .iter()
            .find(|host| told.iter().any(|it| it.host.id == host.id && it.version < PREFERENCES));
        old.map_or(Ok(()), |old| {
            let why = format!("{} is of a version that does not know preferences", old.id);
            Err(ControlError::Refused(why))
        })
    }

    /// Takes one away; its name is that of the gateway, a slash and that of the time.
    pub(in crate::scheduler) fn remove_preference(
        &mut self,
        removal: &Removal,
        acting: &Acting<'_>,
    ) -> Result<HostPreference, ControlError> {
        self.take_of_host(removal, acting)
    }
}

#[cfg(test)]
mod tests {
    use super::super::of_host::MOST_OF_HOST;
    use maintenance::{Host, HostState};
    use protocol::{GatewayId, Incarnation};
    use store::Expect;

    use super::*;
    use crate::scheduler::documents::in_memory;

    fn host() -> Host {
        Host::new(GatewayId::new("gw-1").unwrap(), Incarnation(1), HostState::Serving)
    }

    fn request(name: &str, from_ms: u64, until_ms: u64) -> PreferenceRequest {
        let (host, name, reason) = ("gw-1".to_owned(), name.to_owned(), "quiet".to_owned());
        PreferenceRequest { host, name, from_ms, until_ms, cost: 3, reason }
    }

    #[test]
    fn a_preference_is_in_the_answer_of_its_gateway_until_its_time_or_until_it_is_taken_away() {
        let (mut documents, hosts) = (in_memory(), [host()]);
        let at = |now| Acting { by: "cron", now: Wall(now), hosts: &hosts, most: 3 };
        let added = documents.add_preference(&request("night", 20, 50), &at(7)).unwrap();
        assert_eq!(documents.preferences(Wall(49)).unwrap(), [added]);
        let said = |documents: &mut Documents, now| {
            documents.preferences_said(Wall(now)).unwrap().of(&hosts[0].id)
        };
        let night = Preferred { cost: 3, from: Wall(20), until: Wall(50) };
        assert_eq!(said(&mut documents, 49), [night]);
        assert_eq!(said(&mut documents, 50), []);
        documents.add_preference(&request("night", 20, 90), &at(60)).unwrap();
        let other = GatewayId::new("gw-10").unwrap();
        assert_eq!(documents.preferences_said(Wall(60)).unwrap().of(&other), []);
        let removal = Removal {
            name: "gw-1/night".to_owned(),
            expected: None,
            reason: "done".to_owned(),
            by: "cron".to_owned(),
        };
        documents.remove_preference(&removal, &at(70)).unwrap();
        assert_eq!(said(&mut documents, 70), []);
        let again = documents.remove_preference(&removal, &at(70));
        assert!(matches!(again, Err(ControlError::Missing(_))), "{again:?}");
        let entries = documents.audit(0, 9).unwrap().entries;
        let told: Vec<_> = entries.iter().map(|it| it.record.action.as_str()).collect();
        assert_eq!(told, ["preference.added", "preference.added", "preference.removed"]);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_and_so_are_too_many() {
        let (mut documents, hosts) = (in_memory(), [host()]);
        let acting = Acting { by: "cron", now: Wall(7), hosts: &hosts, most: 3 };
        let nowhere = PreferenceRequest { host: "gw-9".to_owned(), ..request("night", 8, 9) };
        for wrong in [
            request("a b", 8, 9),
            request("a", 8, 8),
            request("a", 9, 8),
            request("a", 5, 7),
            nowhere,
        ] {
            let answer = documents.add_preference(&wrong, &acting);
            assert!(matches!(answer, Err(ControlError::Invalid(_))), "{wrong:?}: {answer:?}");
        }
        for n in 0..MOST_OF_HOST {
            documents.add_preference(&request(&format!("p-{n}"), 8, 50), &acting).unwrap();
        }
        let full = documents.add_preference(&request("more", 8, 50), &acting);
        assert!(matches!(full, Err(ControlError::Refused(_))), "{full:?}");
        documents.add_preference(&request("p-0", 8, 90), &acting).unwrap();
        let later = Acting { now: Wall(60), ..acting };
        documents.add_preference(&request("more", 8, 90), &later).unwrap();
        assert_eq!(documents.preferences(Wall(60)).unwrap().len(), 2, "what is over makes room");
    }

    #[test]
    fn what_cannot_be_read_is_passed_over() {
        let mut documents = in_memory();
        let put = Documents::put_bytes("preference/gw-1/x", b"{}".to_vec(), Expect::Any);
        documents.write(vec![put]).unwrap();
        assert_eq!(documents.preferences_said(Wall(1)).unwrap().of(&host().id), []);
    }

    #[test]
    fn nobody_prefers_anything_while_a_version_before_could_not_read_the_plan() {
        let (mut documents, hosts) = (in_memory(), [host()]);
        let acting = Acting { by: "cron", now: Wall(7), hosts: &hosts, most: 3 };
        let tell = |documents: &mut Documents, version| {
            let document = HostDocument::for_tests(&hosts[0], version);
            let key = HostDocument::key(&hosts[0].id);
            let put = Documents::put_of(&key, &document, Expect::Any).unwrap();
            documents.write(vec![put]).unwrap();
        };
        tell(&mut documents, PREFERENCES - 1);
        let old = documents.add_preference(&request("night", 8, 50), &acting);
        assert!(matches!(&old, Err(ControlError::Refused(why)) if why.contains("gw-1")), "{old:?}");
        tell(&mut documents, PREFERENCES);
        documents.add_preference(&request("night", 8, 50), &acting).unwrap();
    }
}
