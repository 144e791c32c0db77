//! SUBSCRIBE and UNSUBSCRIBE, and the retained messages that follow.

use access::Identity;
use protocol::QoS;
use protocol::mqtt::{ReasonCode, RetainHandling, Version};
use store::{Fault, Unavailable};

use super::gateway::{Gateway, one_class};
use super::packets::*;
use crate::hub::ConnectRequest;

#[test]
fn every_filter_is_answered_for_itself() {
    let mut gateway = Gateway::new();
    let a = gateway.join(clean("a"));
    let three = [filter("a", Q0), filter("b/#", Q1), filter("c/#/d", Q2)];
    gateway.tell(a, &subscribe(Version::V5, 1, &three));
    assert_eq!(gateway.hear(a), ["SUBACK #1 [Success, GrantedQoS1, TopicFilterInvalid]"]);
    let long = "x".repeat(51);
    let three = [filter(&long, Q0), filter("a/b/c/d/e/f", Q0), filter("c", Q2)];
    gateway.tell(a, &subscribe(Version::V5, 2, &three));
    let answer = "SUBACK #2 [TopicFilterInvalid, TopicFilterInvalid, GrantedQoS2]";
    assert_eq!(gateway.hear(a), [answer]);
    let three = [filter("d", Q0), filter("e", Q0), filter("a", Q2)];
    gateway.tell(a, &subscribe(Version::V5, 3, &three));
    let answer = "SUBACK #3 [Success, QuotaExceeded, GrantedQoS2]";
    assert_eq!(gateway.hear(a), [answer], "the fifth is too many, but an old one may change");
    let four = [filter("a", Q0); 4];
    gateway.tell(a, &subscribe(Version::V5, 4, &four));
    assert_eq!(gateway.hear(a), ["DISCONNECT QuotaExceeded", "closed"]);
}

#[test]
fn filters_that_would_make_a_topic_too_much_work_are_refused() {
    let mut gateway = Gateway::with(|config| {
        config.match_steps = 8;
        config.match_steps_per_session = 5;
    });
    let ask = |gateway: &mut Gateway, conn, filters: &[&str]| {
        let filters: Vec<_> = filters.iter().map(|text| filter(text, Q0)).collect();
        filters.chunks(2).for_each(|two| gateway.tell(conn, &subscribe(Version::V5, 1, two)));
        gateway.hear(conn).concat().replace("SUBACK #1 ", "").replace("QuotaExceeded", "no")
    };
    let (a, b) = (gateway.join(clean("a")), gateway.join(durable("b")));
    // What one session may add; the same wildcards with other names are no more work, nor is a filter without any.
    let filters = ["a/+", "+/a", "b/+", "+/+/c", "x/y/z"];
    assert_eq!(ask(&mut gateway, a, &filters), "[Success, Success][Success, no][Success]");
    // What all may, with those that only their group sees.
    let filters = ["+/+/c", "$share/g/+/b/+", "c/+", "+/+/d"];
    assert_eq!(ask(&mut gateway, b, &filters), "[Success, Success][Success, Success]");
    let c = gateway.join(clean("c"));
    let filters = ["+", "+/b", "e/f/+/+", "a/+/+/+"];
    assert_eq!(ask(&mut gateway, c, &filters), "[Success, Success][no, no]");
    assert_eq!(gateway.counters().limited_steps.get(), 3);
    // What is gone makes room.
    gateway.tell(b, &unsubscribe(2, &["+/+/c", "+/+/d"]));
    gateway.tell(c, &unsubscribe(2, &["+/b", "+"]));
    assert_eq!(gateway.hear(b), gateway.hear(c));
    assert_eq!(ask(&mut gateway, c, &["a/+/+/+"]), "[Success]");
}

#[test]
fn who_wants_many_steps_leaves_a_quarter_of_them_to_those_who_want_few() {
    let mut gateway = Gateway::with(|config| {
        config.match_steps = 128;
        config.match_steps_per_session = 120;
        config.classes = one_class(|limits| {
            (limits.subscriptions_per_session, limits.topic_levels) = (200, 200);
            limits.topic_bytes = 1_000;
        });
    });
    // Each filter is a step more than the one before.
    let granted = |gateway: &mut Gateway, conn, begin: &str, count: usize| {
        for text in (0..count).map(|n| begin.to_owned() + &"/+".repeat(n)) {
            gateway.tell(conn, &subscribe(Version::V5, 1, &[filter(&text, Q0)]));
        }
        gateway.hear(conn).iter().filter(|answer| *answer == "SUBACK #1 [Success]").count()
    };
    let [greedy, next] = [clean("greedy"), durable("next")].map(|request| gateway.join(request));
    assert_eq!(granted(&mut gateway, greedy, "+", 110), 96, "three quarters of what all may have");
    assert_eq!(granted(&mut gateway, next, "+", 96), 96, "what is there already");
    assert_eq!(granted(&mut gateway, next, "a/+", 1), 0, "more than the small part");
    let little = [clean("few"), durable("less")].map(|request| gateway.join(request));
    assert_eq!(granted(&mut gateway, little[0], "a/+", 50), 15, "the small part: 16 steps");
    assert_eq!(granted(&mut gateway, little[1], "b/a/+", 50), 14, "the same");
    let last = gateway.join(clean("last"));
    assert_eq!(granted(&mut gateway, last, "c/b/a/+", 1), 0, "two steps, and one is left");
    assert_eq!(granted(&mut gateway, last, "b/#", 1), 1, "the last one");
    assert_eq!(granted(&mut gateway, last, "#", 1), 0, "nothing is left");
}

#[test]
fn the_sessions_of_a_user_share_what_the_user_may_add() {
    let mut gateway = Gateway::with(|config| {
        (config.match_steps, config.match_steps_per_session) = (128, 120);
        config.match_steps_per_user = 20;
        config.classes = one_class(|limits| {
            (limits.subscriptions_per_session, limits.topic_levels) = (200, 200);
            limits.topic_bytes = 1_000;
        });
    });
    let of = |user: Option<&str>, request: ConnectRequest| {
        let identity = Identity::anonymous(request.client.clone());
        let identity = Identity { user: user.map(Into::into), ..identity }.into();
        ConnectRequest { identity, ..request }
    };
    // Each filter is a step more than the one before.
    let granted = |gateway: &mut Gateway, conn, begin: &str, count: usize| {
        for text in (0..count).map(|n| begin.to_owned() + &"/+".repeat(n)) {
            gateway.tell(conn, &subscribe(Version::V5, 1, &[filter(&text, Q0)]));
        }
        gateway.hear(conn).iter().filter(|answer| *answer == "SUBACK #1 [Success]").count()
    };
    let [one, other] = [of(Some("u"), clean("one")), of(Some("u"), durable("other"))];
    let (one, other) = (gateway.join(one), gateway.join(other));
    assert_eq!(granted(&mut gateway, one, "+", 15), 15);
    assert_eq!(granted(&mut gateway, other, "+", 15), 15, "what is there already");
    assert_eq!(granted(&mut gateway, other, "+/a/+", 20), 4, "two steps for the first");
    // Also while the one that brought it is away, or gone and somebody else has it.
    gateway.lose(one);
    gateway.lose(other);
    let third = gateway.join(of(Some("u"), clean("third")));
    assert_eq!(granted(&mut gateway, third, "b/+", 1), 0);
    let stranger = gateway.join(of(Some("v"), clean("stranger")));
    assert_eq!(granted(&mut gateway, stranger, "b/+", 30), 19);
    let [nobody, anybody] = [of(None, clean("nobody")), of(None, clean("anybody"))];
    let (nobody, anybody) = (gateway.join(nobody), gateway.join(anybody));
    assert_eq!(granted(&mut gateway, nobody, "c/b/+", 22), 22, "of whom nothing is known");
    assert_eq!(granted(&mut gateway, anybody, "d/c/b/+", 12), 12);
    gateway.tell(stranger, &disconnect(ReasonCode::Success, None));
    assert_eq!(granted(&mut gateway, third, "b/+", 1), 0, "not what the user brought");
    let again = gateway.join_again(of(Some("u"), durable("other")));
    let all: Vec<String> = (0..15).map(|n| "+".to_owned() + &"/+".repeat(n)).collect();
    for text in &all {
        gateway.tell(again, &unsubscribe(2, &[text]));
    }
    gateway.hear(again);
    assert_eq!(granted(&mut gateway, third, "b/+", 1), 1, "what nobody wants makes room");
}

#[test]
fn words_that_gateways_exchange_are_nobodys_to_read() {
    let mut gateway = Gateway::new();
    let a = gateway.join(clean("a"));
    let two = [filter("$tidegate/echo/gw-2", Q0), filter("$SYS/#", Q0)];
    gateway.tell(a, &subscribe(Version::V5, 1, &two));
    assert_eq!(gateway.hear(a), ["SUBACK #1 [NotAuthorized, Success]"]);
}

#[test]
fn retained_messages_follow_the_answer() {
    let mut gateway = Gateway::new();
    let a = gateway.join(clean("a"));
    gateway.publish(a, &retained("t/1", "one", Q1, 1));
    gateway.publish(a, &retained("t/2", "two", Q0, 0));
    for request in [clean("b"), durable("b")] {
        let b = gateway.join(request);
        gateway.tell(b, &subscribe_as(Version::V5, 1, Some(6), &[filter("t/+", Q1)]));
        let mut heard = gateway.hear(b);
        assert_eq!(heard.remove(0), "SUBACK #1 [GrantedQoS1]");
        heard.sort();
        let expected = ["PUBLISH t/1 one q1 #1 retain by [6]", "PUBLISH t/2 two q0 retain by [6]"];
        assert_eq!(heard, expected);
        gateway.lose(b);
    }
}

#[test]
fn retained_messages_are_sent_as_the_subscriber_wants() {
    let mut gateway = Gateway::new();
    let a = gateway.join(clean("a"));
    gateway.publish(a, &retained("t", "kept", Q0, 0));
    let with = |retain_handling| {
        let mut filter = filter("t", Q0);
        filter.options.retain_handling = retain_handling;
        subscribe(Version::V5, 1, &[filter])
    };
    for (handling, sent) in [
        (RetainHandling::DoNotSend, 0),
        (RetainHandling::SendIfNew, 0),
        (RetainHandling::Send, 1),
        (RetainHandling::Send, 1),
    ] {
        gateway.tell(a, &with(handling));
        assert_eq!(gateway.hear(a).len(), 1 + sent, "{handling:?}");
    }
    gateway.tell(a, &unsubscribe(2, &["t"]));
    gateway.tell(a, &with(RetainHandling::SendIfNew));
    let expected = ["UNSUBACK #2 [Success]", "SUBACK #1 [Success]", "PUBLISH t kept q0 retain"];
    assert_eq!(gateway.hear(a), expected);
}

#[test]
fn a_filter_that_one_subscribe_names_twice_gets_its_retained_messages_twice() {
    for request in [clean("b"), durable("b")] {
        let mut gateway = Gateway::new();
        let a = gateway.join(clean("a"));
        gateway.publish(a, &retained("t", "kept", Q1, 1));
        let b = gateway.join(request);
        gateway.tell(b, &subscribe(Version::V5, 1, &[filter("t", Q1), filter("t", Q0)]));
        gateway.pass(100);
        let mut heard = gateway.hear(b);
        assert_eq!(heard.remove(0), "SUBACK #1 [GrantedQoS1, Success]");
        heard.sort();
        assert_eq!(heard, ["PUBLISH t kept q0 retain", "PUBLISH t kept q1 #1 retain"]);
    }
}

#[test]
fn retain_is_shown_only_to_who_asked_for_it() {
    let published = |request, qos: QoS, as_published| {
        let mut gateway = Gateway::new();
        let b = gateway.join(request);
        let mut filter = filter("t", qos);
        filter.options.retain_as_published = as_published;
        gateway.tell(b, &subscribe(Version::V5, 1, &[filter]));
        gateway.hear(b);
        let a = gateway.join(clean("a"));
        gateway.publish(a, &retained("t", "x", qos, u16::from(qos != Q0)));
        gateway.hear(b)
    };
    assert_eq!(published(clean("b"), Q0, true), ["PUBLISH t x q0 retain"]);
    assert_eq!(published(clean("b"), Q0, false), ["PUBLISH t x q0"]);
    assert_eq!(published(durable("b"), Q1, true), ["PUBLISH t x q1 #1 retain"]);
    assert_eq!(published(durable("b"), Q1, false), ["PUBLISH t x q1 #1"]);
}

#[test]
fn the_lower_level_counts_and_overlapping_filters_deliver_once() {
    for request in [clean("b"), durable("b")] {
        let mut gateway = Gateway::new();
        let b = gateway.join(request);
        let both = [filter("t/#", Q0), filter("t/a", Q1)];
        gateway.tell(b, &subscribe(Version::V5, 1, &both));
        gateway.hear(b);
        let a = gateway.join(clean("a"));
        gateway.publish(a, &publish("t/a", "x", Q2, 1));
        gateway.publish(a, &publish("t/b", "x", Q2, 2));
        assert_eq!(gateway.hear(b), ["PUBLISH t/a x q1 #1", "PUBLISH t/b x q0"]);
    }
}

#[test]
fn an_unsubscription_is_stored_before_it_is_answered() {
    let mut gateway = Gateway::new();
    let a = gateway.subscriber(durable("a"), "t", Q1);
    gateway.send(a, &unsubscribe(1, &["t"]));
    assert!(gateway.hear(a).is_empty());
    gateway.settle();
    assert_eq!(gateway.hear(a), ["UNSUBACK #1 [Success]"]);
    assert!(gateway.record("a").unwrap().subscriptions.is_empty());
    assert!(gateway.tables.routes().is_empty());
}

#[test]
fn a_subscription_that_was_not_stored_is_not_left_behind() {
    let mut gateway = Gateway::new();
    let a = gateway.join(durable("a"));
    gateway.store.inject(Fault::FailCommits { count: 1, why: Unavailable::Full });
    gateway.tell(a, &subscribe(Version::V5, 1, &[filter("t", Q1)]));
    assert_eq!(gateway.hear(a), ["DISCONNECT ServerBusy", "closed"]);
    let b = gateway.join(clean("b"));
    gateway.publish(b, &publish("t", "x", Q0, 0));
    assert!(gateway.hear(a).is_empty());
    gateway.pass(100);
    assert_eq!(gateway.record("a").unwrap().owner, None);
}

#[test]
fn a_session_is_in_few_shared_groups_of_one_topic() {
    let mut gateway = Gateway::with(|config| {
        config.classes = one_class(|limits| {
            (limits.subscriptions_per_session, limits.groups_per_topic) = (20, 2);
        });
    });
    let a = gateway.join(durable("a"));
    let mut ask = |text: &str| {
        gateway.tell(a, &subscribe(Version::V5, 1, &[filter(text, Q0)]));
        let heard = gateway.hear(a).remove(0);
        heard == "SUBACK #1 [Success]"
    };
    assert!(ask("$share/a/t") && ask("$share/b/t") && !ask("$share/c/t"));
    assert!(ask("$share/b/t"), "it is in that one");
    assert!(ask("t") && ask("#"), "these are no groups");
    assert!(ask("$share/c/u") && ask("$share/c/v") && ask("$share/c/w"), "other topics");
    assert!(!ask("$share/c/#") && !ask("$share/c/+"), "a third one of t");
    assert!(ask("$share/c/+/x") && ask("$share/d/t/+") && !ask("$share/e/t/#"), "as one topic may");
    assert!(ask("$share/c/x/y"), "another topic");
    assert!(!ask("$share/d/t/x"), "matched by two");
    assert_eq!(gateway.counters().limited_groups.get(), 5);
}
