//! What can be said of a visit that another version wrote and this one cannot read.

use maintenance::execution::Step;
use serde_json::Value;

/// What is read of such a visit; whatever is not where it is looked for is none.
#[derive(Debug)]
pub(super) struct Outline(Option<Value>);

/// The stages of a visit that is not on its way, yet or any more.
const AT_REST: [&str; 5] = ["planned", "approved", "done", "cancelled", "written_off"];
/// Before the place where it stands.
const AT: [&str; 2] = ["/execution/stage/going", "/execution/stage/needs_operator/at"];

impl Outline {
    /// What these bytes say.
    pub(super) fn of(document: &[u8]) -> Self {
        Self(serde_json::from_slice(document).ok())
    }

    fn at(&self, path: &str) -> Option<&Value> {
        self.0.as_ref()?.pointer(path)
    }

    /// Whether it may be on its way: unless it says that it is not.
    pub(super) fn may_be_going(&self) -> bool {
        match self.at("/execution/stage") {
            Some(Value::String(stage)) => !AT_REST.contains(&stage.as_str()),
            Some(stage) => stage.get("failed").is_none(),
            None => true,
        }
    }

    /// Whether its host may have to stay out: unless it says that it moves nobody, has begun nothing that cannot be taken back, or has
    /// passed its checks.
    pub(super) fn may_stay_out(&self) -> bool {
        let drains = self.at("/execution/course/slot").is_none_or(|slot| slot == "drain");
        let crossed = self.at("/execution/crossed").is_none_or(|crossed| *crossed != false);
        self.may_be_going() && drains && crossed && !self.has_passed()
    }

    /// Whether it is behind its checks, on its way forward.
    fn has_passed(&self) -> bool {
        let Some(at) = AT.iter().find_map(|path| self.at(path)) else { return false };
        let place = at.get("place").and_then(Value::as_u64);
        let place = place.filter(|_| at.get("track").is_some_and(|track| track == "forward"));
        let Some(place) = place else { return false };
        let step = self.at(&format!("/execution/course/steps/{place}/step"));
        let behind = [Step::Warm, Step::Soak, Step::Release];
        step.is_some_and(|step| {
            behind.iter().any(|it| serde_json::to_value(it).is_ok_and(|known| known == *step))
        })
    }
}

#[cfg(test)]
mod tests {
    use maintenance::fleet::VisitId;
    use maintenance::operation::{OpKind, Operation, OperationId};
    use protocol::GatewayId;
    use store::{Expect, MemoryStore, Store as _, Write};

    use super::super::document::{VisitDocument, begun_for_tests, stays_out, written_for_tests};
    use super::*;
    use crate::scheduler::documents::Documents;

    /// As a version writes it that knows more.
    fn newer(document: &VisitDocument, change: impl Fn(&mut Value)) -> Vec<u8> {
        let mut value = serde_json::to_value(document).unwrap();
        value["planned"]["visit"]["mood"] = "good".into();
        change(&mut value);
        let bytes = serde_json::to_vec(&value).unwrap();
        assert!(serde_json::from_slice::<VisitDocument>(&bytes).is_err());
        bytes
    }

    #[test]
    fn a_visit_of_another_version_is_on_its_way_unless_it_says_that_it_is_not() {
        let (id, host) = (OperationId::new("r").unwrap(), GatewayId::new("gw-1").unwrap());
        let visit = begun_for_tests(Operation::new(id, OpKind::CertRotate, host));
        let of = |visit: &VisitDocument| Outline::of(&newer(visit, |_| ()));
        assert!(of(&visit).may_be_going());
        assert!(!of(&visit).may_stay_out(), "it moves nobody");
        let planned = VisitId::new("gw-1/restart").unwrap();
        assert!(!of(&written_for_tests(&planned, "gw-1")).may_be_going());
        let failed = newer(&visit, |it| {
            it["execution"]["stage"] = serde_json::json!({"failed": {"code": "x"}});
        });
        assert!(!Outline::of(&failed).may_be_going());
        assert!(Outline::of(b"{}").may_be_going() && Outline::of(b"?").may_stay_out());
    }

    #[test]
    fn a_gateway_whose_drained_visit_cannot_be_read_stays_as_it_is() {
        let (id, host) = (VisitId::new("gw-1/restart").unwrap(), GatewayId::new("gw-1").unwrap());
        let visit = written_for_tests(&id, "gw-1");
        let out = |crossed: bool, step: &str| {
            let value = newer(&visit, |it| {
                let at = serde_json::json!({"track": "forward", "place": 0});
                it["execution"]["stage"] = serde_json::json!({ "going": at });
                it["execution"]["crossed"] = crossed.into();
                it["execution"]["course"]["steps"][0]["step"] = step.into();
            });
            let store = MemoryStore::new();
            let put = Documents::put_bytes(&VisitDocument::key(&id), value, Expect::Any);
            let write = Write { puts: vec![put].into(), ..Write::default() };
            store.writer().unwrap().commit(&[write]).unwrap();
            stays_out(&host, &mut *store.reader().unwrap()).unwrap()
        };
        assert!(out(true, "operate"));
        assert!(!out(false, "drain"), "it has begun nothing yet");
        assert!(!out(true, "warm"), "it has passed its checks");
    }
}
