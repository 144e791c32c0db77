//! Shadows that are changed again, and what is remembered of them.

use std::time::Duration;

use store::MemoryStore;

use super::gateway::Gateway;
use super::packets::*;
use super::shadows::{heard, rules};
use crate::hub::{ConnId, HubConfig};

const UPDATE: &str = "$aws/things/t/shadow/update";
const GET: &str = "$aws/things/t/shadow/get";
const DELETE: &str = "$aws/things/t/shadow/delete";

/// A gateway on a store, and somebody there who asks and hears the answers.
struct Place {
    gateway: Gateway,
    app: ConnId,
}

impl Place {
    fn new(name: &str, store: &MemoryStore) -> Self {
        let soon = |config: &mut HubConfig| {
            rules(config);
            config.shadow.limits.tombstone = Duration::from_secs(60);
        };
        let mut gateway = Gateway::named(name, store, soon);
        let app = gateway.subscriber(clean(name), "$aws/things/t/shadow/+/accepted", Q1);
        gateway.subscribe(app, "$aws/things/t/shadow/+/rejected", Q1);
        Self { gateway, app }
    }

    /// Asks, and says what was answered.
    fn ask(&mut self, topic: &str, payload: &str) -> Vec<String> {
        self.gateway.publish(self.app, &publish(topic, payload, Q0, 0));
        heard(&mut self.gateway, self.app)
    }

    fn report(&mut self, name: &str) -> Vec<String> {
        self.ask(UPDATE, &format!("{{\"state\":{{\"reported\":{{\"{name}\":1}}}}}}"))
    }

    fn document(&mut self) -> String {
        self.gateway.publish(self.app, &publish(GET, "", Q0, 0));
        self.gateway.hear(self.app).concat()
    }
}

fn two() -> (Place, Place) {
    let store = MemoryStore::new();
    (Place::new("gw-1", &store), Place::new("gw-2", &store))
}

#[test]
fn who_changes_a_shadow_again_does_not_look_it_up() {
    let mut here = Place::new("gw-1", &MemoryStore::new());
    for version in 1..=3 {
        assert_eq!(here.report("a"), [format!("t/update/accepted {version}")]);
    }
    assert_eq!(here.gateway.shadow_looks, 1);
    assert_eq!(here.ask(DELETE, ""), ["t/delete/accepted 3"]);
    assert_eq!(here.gateway.shadow_looks, 1);
    assert_eq!(here.report("a"), ["t/update/accepted 4"]);
    assert_eq!(here.gateway.shadow_looks, 2, "one that is created is looked up");
}

#[test]
fn a_change_of_what_is_remembered_and_was_changed_elsewhere_is_made_again() {
    let (mut here, mut there) = two();
    assert_eq!(here.report("a"), ["t/update/accepted 1"]);
    assert_eq!(there.report("b"), ["t/update/accepted 2"]);
    assert_eq!(here.report("c"), ["t/update/accepted 3"]);
    assert_eq!((here.gateway.shadow_looks, here.gateway.counters().shadow_conflicts.get()), (1, 1));
    let document = there.document();
    assert!(document.contains("{\"a\":1,\"b\":1,\"c\":1}"), "{document}");
}

#[test]
fn nothing_is_answered_or_refused_by_what_is_remembered_alone() {
    let (mut here, mut there) = two();
    assert_eq!(here.report("a"), ["t/update/accepted 1"]);
    assert_eq!(there.report("b"), ["t/update/accepted 2"]);
    assert_eq!(here.ask(GET, ""), ["t/get/accepted 2"]);
    assert_eq!(here.report("c"), ["t/update/accepted 3"]);
    assert_eq!(there.report("d"), ["t/update/accepted 4"]);
    let at = |version: u32| format!("{{\"state\":{{}},\"version\":{version}}}");
    assert_eq!(here.ask(UPDATE, &at(4)), ["t/update/accepted 5"]);
    assert_eq!(there.ask(UPDATE, &at(5)), ["t/update/accepted 6"]);
    assert_eq!(here.ask(UPDATE, &at(5)), ["t/update/rejected 409"]);
}

/// Its versions, and so its fences, begin anew: only the revision tells them apart.
#[test]
fn a_shadow_that_began_anew_elsewhere_is_not_taken_for_the_one_that_is_remembered() {
    let (mut here, mut there) = two();
    assert_eq!(here.report("a"), ["t/update/accepted 1"]);
    assert_eq!(there.ask(DELETE, ""), ["t/delete/accepted 1"]);
    there.gateway.pass(61_000);
    assert_eq!(there.report("b"), ["t/update/accepted 1"]);
    assert_eq!(here.report("c"), ["t/update/accepted 2"]);
    let document = there.document();
    assert!(document.contains("{\"b\":1,\"c\":1}"), "{document}");
}
