//! Shared subscriptions: each group gets a publication once.

use fanout::{GroupKey, InterestDelta};
use protocol::mqtt::Version;
use protocol::{Publication, SharedName, TopicFilter};

use super::gateway::Gateway;
use super::packets::*;
use crate::hub::{Ask, ConnectRequest, Forward, SharedMember};
use crate::worker::Mail;

fn group() -> (Option<SharedName>, TopicFilter) {
    TopicFilter::parse_subscription("$share/g/t").unwrap()
}

#[test]
fn members_of_a_group_take_turns() {
    let mut gateway = Gateway::new();
    let members = ["1", "2"].map(|name| gateway.subscriber(clean(name), "$share/g/t", Q1));
    let other = gateway.subscriber(clean("other"), "$share/h/t", Q0);
    let a = gateway.join(clean("a"));
    for number in 1..=4 {
        gateway.publish(a, &publish("t", "x", Q1, number));
    }
    assert_eq!(members.map(|member| gateway.hear(member).len()), [2, 2]);
    assert_eq!(gateway.hear(other).len(), 4, "every group gets it");
}

#[test]
fn a_member_that_takes_no_more_is_passed_over() {
    let mut gateway = Gateway::new();
    let narrow = ConnectRequest { receive_maximum: 1, ..clean("narrow") };
    let narrow = gateway.subscriber(narrow, "$share/g/t", Q1);
    let wide = gateway.subscriber(clean("wide"), "$share/g/t", Q1);
    let a = gateway.join(clean("a"));
    for number in 1..=6 {
        gateway.publish(a, &publish("t", "x", Q1, number));
    }
    assert_eq!((gateway.hear(narrow).len(), gateway.hear(wide).len()), (1, 5));
}

#[test]
fn a_persistent_member_keeps_what_it_was_chosen_for() {
    let mut gateway = Gateway::new();
    let members = ["1", "2"].map(|name| gateway.subscriber(durable(name), "$share/g/t", Q1));
    let a = gateway.join(clean("a"));
    gateway.lose(members[0]);
    gateway.publish(a, &publish("t", "online first", Q1, 1));
    assert_eq!(gateway.hear(members[1]), ["PUBLISH t online first q1 #1"]);
    gateway.lose(members[1]);
    gateway.publish(a, &publish("t", "for one", Q1, 2));
    gateway.publish(a, &publish("t", "for another", Q1, 3));
    let mut heard = Vec::new();
    for name in ["1", "2"] {
        let member = gateway.connect(durable(name));
        gateway.settle();
        heard.push(gateway.hear(member));
    }
    assert_eq!(heard.concat().iter().filter(|h| h.contains("for")).count(), 2, "{heard:?}");
}

#[test]
fn a_member_elsewhere_gets_its_copy_with_the_group_named() {
    let mut gateway = Gateway::new();
    let a = gateway.join(clean("a"));
    let (share, filter) = group();
    let key = GroupKey { share: share.clone().unwrap(), filter: filter.clone() };
    let interest = InterestDelta { filter: filter.clone(), share, members: 1 };
    gateway.tables.change_routes(|routes| routes.set_peer(2, false, &[interest]));
    gateway.publish(a, &publish("t", "x", Q1, 1));
    let [Ask::Peers(0b100, forward)] = &gateway.asked[..] else { panic!("{:?}", gateway.asked) };
    assert!(!forward.plain);
    assert_eq!(forward.shared[..], [SharedMember(key)]);
}

#[test]
fn a_copy_for_a_group_goes_to_one_member_here() {
    let mut gateway = Gateway::new();
    let members = ["1", "2"].map(|name| gateway.subscriber(clean(name), "$share/g/t", Q1));
    let plain = gateway.subscriber(clean("plain"), "t", Q1);
    let (share, filter) = group();
    let key = GroupKey { share: share.unwrap(), filter };
    let publication = Publication::new("t", &[], b"x", Q1, false);
    let shared = [SharedMember(key)].into_iter().collect();
    gateway.mail(Mail::Forward(Forward { publication, plain: false, shared }));
    let heard: usize = members.iter().map(|member| gateway.hear(*member).len()).sum();
    assert_eq!((heard, gateway.hear(plain).len()), (1, 0));
}

#[test]
fn who_leaves_a_group_gets_nothing_more() {
    let mut gateway = Gateway::new();
    let members = ["1", "2"].map(|name| gateway.subscriber(clean(name), "$share/g/t", Q0));
    let a = gateway.join(clean("a"));
    gateway.tell(members[0], &unsubscribe(5, &["$share/g/t", "$share/g/t"]));
    let answer = "UNSUBACK #5 [Success, NoSubscriptionExisted]";
    assert_eq!(gateway.hear(members[0]), [answer]);
    gateway.publish(a, &publish("t", "x", Q0, 0));
    gateway.publish(a, &publish("t", "x", Q0, 0));
    assert_eq!(members.map(|member| gateway.hear(member).len()), [0, 2]);
}

#[test]
fn a_group_has_no_no_local_and_gets_nothing_retained() {
    let mut gateway = Gateway::new();
    let a = gateway.join(clean("a"));
    gateway.publish(a, &retained("t", "kept", Q0, 0));
    let mut wrong = filter("$share/g/t", Q0);
    gateway.tell(a, &subscribe(Version::V5, 1, &[wrong]));
    assert_eq!(gateway.hear(a), ["SUBACK #1 [Success]"]);
    wrong.options.no_local = true;
    gateway.tell(a, &subscribe(Version::V5, 2, &[wrong]));
    assert_eq!(gateway.hear(a), ["DISCONNECT ProtocolError", "closed"]);
}
