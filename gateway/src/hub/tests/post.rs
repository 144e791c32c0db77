//! Publications that come by another way than a connection: answered once they are stored.

use std::sync::Arc;

use protocol::mqtt::ReasonCode;
use protocol::{Publication, QoS};
use store::{Fault, Unavailable};
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use super::gateway::Gateway;
use super::packets::*;
use crate::hub::{Post, Posted};
use crate::worker::Mail;

/// Posts and does not wait.
fn post(gateway: &mut Gateway, topic: &str, qos: QoS) -> oneshot::Receiver<Posted> {
    let (answer, posted) = oneshot::channel();
    let limits = Some(Arc::new(gateway.worker.hub().config().classes.rest().clone()));
    let publication = Publication::new(topic, &[], b"x", qos, false);
    let (expires_in, user_count, payload_is_utf8) = (None, 0, false);
    let post =
        Post { publication, expires_in, user_count, payload_is_utf8, limits, fence: None, answer };
    gateway.mail(Mail::Post(Box::new(post)));
    posted
}

#[test]
fn a_post_is_answered_once_it_is_stored_and_told_when_it_is_not() {
    let mut gateway = Gateway::new();
    gateway.subscriber(durable("queue"), "t", Q1);
    let near = gateway.subscriber(clean("near"), "t", Q0);
    let mut posted = post(&mut gateway, "t", Q1);
    assert_eq!(posted.try_recv(), Err(TryRecvError::Empty));
    assert!(gateway.hear(near).is_empty());
    gateway.settle();
    assert_eq!(posted.try_recv(), Ok(Posted::Taken));
    assert_eq!(gateway.hear(near), ["PUBLISH t x q0"]);
    gateway.store.inject(Fault::FailCommits { count: 1, why: Unavailable::Full });
    let mut posted = post(&mut gateway, "t", Q1);
    gateway.settle();
    assert_eq!(posted.try_recv(), Ok(Posted::NotStored));
    assert!(gateway.hear(near).is_empty());
    let mut posted = post(&mut gateway, "nobody", Q1);
    assert_eq!(posted.try_recv(), Ok(Posted::Taken), "there is nothing to wait for");
}

#[test]
fn a_post_is_refused_as_a_clients_publication_is() {
    let mut gateway = Gateway::new();
    let deep = "a/".repeat(2_000);
    for (topic, reason) in
        [("$SYS/x", ReasonCode::NotAuthorized), (&deep, ReasonCode::TopicNameInvalid)]
    {
        let mut posted = post(&mut gateway, topic, Q0);
        assert_eq!(posted.try_recv(), Ok(Posted::Refused(reason)));
    }
}

#[test]
fn only_the_fleet_itself_publishes_to_its_own_topics() {
    let mut gateway = Gateway::new();
    let watcher = gateway.subscriber(clean("watcher"), "$fleet/maintenance/+", Q1);
    let all = gateway.subscriber(clean("all"), "#", Q1);
    let topic = "$fleet/maintenance/gw-1";
    let mut posted = post(&mut gateway, topic, Q1);
    assert_eq!(posted.try_recv(), Ok(Posted::Refused(ReasonCode::NotAuthorized)));
    let (post, mut posted) = Post::of_fleet(Publication::new(topic, &[], b"x", Q1, true), None);
    gateway.mail(Mail::Post(Box::new(post)));
    gateway.settle();
    assert_eq!(posted.try_recv(), Ok(Posted::Taken));
    assert_eq!(gateway.hear(watcher), ["PUBLISH $fleet/maintenance/gw-1 x q1 #1"]);
    assert!(gateway.hear(all).is_empty());
}

#[test]
fn a_post_to_a_gateway_that_was_away_reaches_who_subscribed_meanwhile() {
    let [mut here, mut there] = Gateway::two(|_| {});
    here.tables.set_awaited((std::time::Duration::ZERO, 0));
    let b = there.subscriber(durable("b"), "t", Q1);
    let mut posted = post(&mut here, "t", Q1);
    let mut second = post(&mut here, "t", Q1);
    assert_eq!(posted.try_recv(), Err(TryRecvError::Empty));
    here.settle();
    assert_eq!((posted.try_recv(), second.try_recv()), (Ok(Posted::Taken), Ok(Posted::Taken)));
    there.settle();
    assert_eq!(there.hear(b), ["PUBLISH t x q1 #1", "PUBLISH t x q1 #2"]);
}
