//! What a gateway does for clients that have no right to what they want.

use std::sync::Arc;

use access::{ClaimsMode, Identity, Policy, read_acl};
use protocol::mqtt::{ReasonCode, Version};

use super::gateway::Gateway;
use super::packets::*;
use crate::hub::ConnectRequest;
use crate::worker::Mail;

fn policy(text: &str) -> Arc<Policy> {
    Arc::new(Policy::of(read_acl("acl.toml", text).unwrap(), ClaimsMode::Narrow))
}

fn allow(topics: &str) -> String {
    format!("[[rule]]\neffect = 'allow'\ntopics = {topics}\n")
}

/// Everybody may do everything on `ok`.
fn guarded() -> Gateway {
    Gateway::with(|config| config.policy = policy(&allow("['ok', 'ok/#', 'of/%c']")))
}

#[test]
fn a_publication_that_is_denied_is_refused_in_5_0_with_the_reason() {
    let mut gateway = guarded();
    let a = gateway.join(clean("a"));
    gateway.publish(a, &publish("no", "x", Q1, 1));
    assert_eq!(gateway.hear(a), ["PUBACK #1 NotAuthorized"]);
    gateway.publish(a, &publish("no", "x", Q2, 2));
    assert_eq!(gateway.hear(a), ["PUBREC #2 NotAuthorized"]);
    gateway.publish(a, &publish("no", "x", Q0, 0));
    gateway.publish(a, &publish("of/b", "x", Q1, 3));
    gateway.publish(a, &publish("of/a", "x", Q1, 4));
    assert_eq!(gateway.hear(a), ["PUBACK #3 NotAuthorized", "PUBACK #4 NoMatchingSubscribers"]);
}

#[test]
fn a_publication_that_is_denied_reaches_nobody() {
    let mut gateway = guarded();
    let b = gateway.subscriber(clean("b"), "ok/#", Q2);
    let a = gateway.join(clean("a"));
    let o = gateway.join(old("o"));
    gateway.mail(Mail::Policy(policy(&allow("'ok/#'\naction = 'subscribe'"))));
    for (number, qos) in [(1, Q1), (2, Q2), (0, Q0)] {
        gateway.publish(a, &publish("ok/x", "x", qos, number));
        gateway.publish(o, &retained("ok/x", "x", qos, number));
    }
    assert_eq!(gateway.hear(b), [""; 0]);
    assert_eq!(gateway.stored(store::Space::Retained), 0);
}

#[test]
fn a_3_1_1_client_is_acknowledged_and_its_publication_dropped_or_its_connection_ends_as_configured()
{
    let mut gateway = guarded();
    let a = gateway.join(old("a"));
    gateway.publish(a, &publish("no", "x", Q1, 1));
    gateway.publish(a, &publish("no", "x", Q2, 2));
    assert_eq!(gateway.hear(a), ["PUBACK #1", "PUBREC #2"]);
    let mut strict = Gateway::with(|config| {
        config.policy = policy("");
        config.close_denied = true;
    });
    let a = strict.join(old("a"));
    strict.publish(a, &publish("no", "x", Q0, 0));
    assert_eq!(strict.hear(a), ["closed"]);
}

#[test]
fn each_filter_is_answered_by_itself() {
    let mut gateway = guarded();
    for (request, denied) in [(clean("a"), "NotAuthorized"), (old("o"), "UnspecifiedError")] {
        let version = request.version;
        let a = gateway.join(request);
        let filters = [filter("ok/+", Q1), filter("#", Q1), filter("$share/g/ok/x", Q0)];
        gateway.tell(a, &subscribe(version, 7, &filters));
        assert_eq!(gateway.hear(a), [format!("SUBACK #7 [GrantedQoS1, {denied}, Success]")]);
        gateway.tell(a, &subscribe(version, 8, &[filter("$share/g/no", Q0)]));
        assert_eq!(gateway.hear(a), [format!("SUBACK #8 [{denied}]")]);
    }
}

#[test]
fn a_subscription_is_granted_no_more_than_its_rule_allows() {
    let mut gateway = Gateway::with(|config| config.policy = policy(&allow("'ok'\nmax_qos = 1")));
    let a = gateway.join(clean("a"));
    gateway.tell(a, &subscribe(Version::V5, 7, &[filter("ok", Q2)]));
    assert_eq!(gateway.hear(a), ["SUBACK #7 [GrantedQoS1]"]);
    gateway.publish(a, &publish("ok", "x", Q2, 3));
    assert_eq!(gateway.hear(a), ["PUBREC #3 NotAuthorized"]);
}

#[test]
fn a_will_that_is_denied_refuses_the_connect() {
    let mut gateway = guarded();
    gateway.refused(ConnectRequest { will: Some(will("bye", 0)), ..clean("a") }, "NotAuthorized");
    assert_eq!(gateway.worker.hub().sessions_len(), 0);
}

#[test]
fn who_loses_the_right_to_a_subscription_loses_it_and_its_connection() {
    let mut gateway = guarded();
    let a = gateway.subscriber(durable("a"), "ok/1", Q1);
    gateway.subscribe(a, "of/a", Q1);
    let b = gateway.subscriber(clean("b"), "of/b", Q0);
    gateway.mail(Mail::Policy(policy(&allow("'of/%c'"))));
    gateway.settle();
    assert_eq!(gateway.hear(a), ["DISCONNECT NotAuthorized", "closed"]);
    let kept = gateway.record("a").unwrap().subscriptions;
    assert_eq!(kept.iter().map(|s| &*s.filter).collect::<Vec<_>>(), ["of/a"]);
    gateway.publish(b, &publish("of/b", "still here", Q0, 0));
    assert_eq!(gateway.hear(b).len(), 1);
}

#[test]
fn a_will_that_its_client_has_no_right_to_any_more_is_not_stored_any_more() {
    for request in [clean("a"), durable("a")] {
        let mut gateway = Gateway::new();
        let a = gateway.join(ConnectRequest { will: Some(will("bye", 0)), ..request });
        assert!(gateway.record("a").unwrap().will.is_some());
        gateway.mail(Mail::Policy(policy(&allow("'ok'"))));
        gateway.settle();
        assert_eq!(gateway.hear(a), [""; 0]);
        let record = gateway.record("a").unwrap();
        assert!(record.will.is_none() && record.owner.is_some(), "nobody publishes it later");
    }
}

#[test]
fn a_session_comes_back_without_what_its_client_has_no_right_to_any_more() {
    let mut gateway = guarded();
    let a = gateway.subscriber(durable("a"), "ok/1", Q2);
    gateway.subscribe(a, "of/a", Q1);
    gateway.lose(a);
    gateway.mail(Mail::Policy(policy(&allow("'ok/#'\nmax_qos = 1"))));
    gateway.join_again(durable("a"));
    let kept = gateway.record("a").unwrap().subscriptions;
    assert_eq!(kept.iter().map(|s| (&*s.filter, s.qos)).collect::<Vec<_>>(), [("ok/1", Q1)]);
}

#[test]
fn what_waited_for_a_client_that_may_not_read_it_any_more_is_not_delivered() {
    let mut gateway = guarded();
    let a = gateway.subscriber(durable("a"), "ok/#", Q2);
    let b = gateway.join(clean("b"));
    gateway.publish(b, &publish("ok/lost", "sent before", Q1, 1));
    gateway.publish(b, &publish("ok/kept", "sent before", Q1, 2));
    assert_eq!(gateway.hear(a).len(), 2);
    gateway.lose(a);
    gateway.publish(b, &publish("ok/lost", "waits", Q1, 3));
    gateway.publish(b, &publish("ok/kept", "waits", Q1, 4));
    gateway.mail(Mail::Policy(policy(&allow("'ok/kept'"))));
    let a = gateway.connect(durable("a"));
    gateway.settle();
    let heard = gateway.hear(a);
    assert_eq!((heard[0].as_str(), heard.len()), ("CONNACK Success present", 3), "{heard:?}");
    assert!(heard[1..].iter().all(|it| it.starts_with("PUBLISH ok/kept ")), "{heard:?}");
    assert_eq!(gateway.counters().dropped_denied.get(), 2);
    gateway.lose(a);
    gateway.mail(Mail::Policy(policy(&allow("'ok/#'"))));
    let a = gateway.connect(durable("a"));
    gateway.settle();
    let heard = gateway.hear(a);
    assert!(!heard.iter().any(|it| it.starts_with("PUBLISH ok/lost ")), "{heard:?}");
}

#[test]
fn rights_go_by_who_the_connection_speaks_for() {
    let mut gateway = Gateway::with(|config| config.policy = policy(&allow("'by/%u'")));
    let bob = Identity { user: Some("bob".into()), ..Identity::anonymous(client("a")) };
    let a = gateway.join(ConnectRequest { identity: Arc::new(bob), ..clean("a") });
    gateway.publish(a, &publish("by/bob", "x", Q1, 1));
    gateway.publish(a, &publish("by/eve", "x", Q1, 2));
    assert_eq!(gateway.hear(a), ["PUBACK #1 NoMatchingSubscribers", "PUBACK #2 NotAuthorized"]);
    assert_eq!(ReasonCode::NotAuthorized.code(), 0x87);
}

#[test]
fn another_policy_reaches_many_a_slice_at_a_time_and_who_speaks_first_is_judged_first() {
    let mut gateway = guarded();
    let many: Vec<_> = (0..600).map(|n| gateway.join(clean(&format!("c{n}")))).collect();
    let reader = gateway.subscriber(clean("reader"), "ok", Q1);
    gateway.mail(Mail::Policy(policy(&allow("['of/%c']"))));
    assert!(gateway.worker.has_more(), "not all of them in one turn");
    for conn in [many[0], many[599]] {
        gateway.publish(conn, &publish("ok", "x", Q1, 1));
        assert_eq!(gateway.hear(conn), ["PUBACK #1 NotAuthorized"]);
    }
    let mut turns = 0;
    while gateway.worker.has_more() {
        gateway.pass(1);
        turns += 1;
    }
    gateway.settle();
    assert!(turns > 1, "{turns}");
    assert_eq!(gateway.hear(reader), ["DISCONNECT NotAuthorized", "closed"]);
    gateway.publish(many[400], &publish("ok", "x", Q1, 1));
    assert_eq!(gateway.hear(many[400]), ["PUBACK #1 NotAuthorized"]);
}
