//! Clients of the gateway's own: what they say is for them alone, and they can say nothing else.

use std::sync::Arc;

use protocol::mqtt::{Connect, ConnectProperties, Version};

use super::gateway::Gateway;
use super::packets::*;
use crate::hub::ConnectRequest;
use crate::hub::trial::{Badge, Trials, USER_NAME};

/// A client of the trial, as the front lets it in.
fn of(trials: &Trials, badge: &Badge, name: &str) -> ConnectRequest {
    let id = badge.client(name);
    let connect = Connect {
        version: Version::V5,
        clean_start: true,
        keep_alive_s: 0,
        client_id: &id,
        will: None,
        user_name: Some(USER_NAME),
        password: Some(badge.secret()),
        properties: ConnectProperties::default(),
    };
    let identity = Arc::new(trials.recognize(&connect).unwrap());
    ConnectRequest { identity, ..clean(&id) }
}

#[test]
fn what_clients_of_a_trial_say_nobody_else_hears_or_may_ask_for() {
    let mut gateway = Gateway::new();
    let trials = Arc::new(Trials::default());
    let wearing = trials.begin().unwrap();
    let badge = wearing.badge();
    let everything = gateway.subscriber(clean("everything"), "#", Q2);
    let first_level = gateway.subscriber(clean("first"), "+/#", Q2);
    let (topic, all) = (badge.topic("live/x"), badge.topic("#"));
    let curious = gateway.join(clean("curious"));
    for asked in [topic.as_str(), all.as_str(), "$trial/#", "$trial/+/live/x", "$share/g/$trial/#"]
    {
        gateway.tell(curious, &subscribe(Version::V5, 7, &[filter(asked, Q1)]));
        assert_eq!(gateway.hear(curious), ["SUBACK #7 [NotAuthorized]"], "{asked}");
    }
    let own = gateway.subscriber(of(&trials, badge, "a"), &all, Q2);
    gateway.publish(own, &retained(&topic, "x", Q1, 1));
    let heard = gateway.hear(own);
    assert!(heard.len() == 2 && heard.iter().any(|it| it.starts_with("PUBACK")), "{heard:?}");
    for other in [everything, first_level, curious] {
        assert_eq!(gateway.hear(other), [""; 0]);
    }
    let late = gateway.subscriber(clean("late"), "#", Q2);
    assert_eq!(gateway.hear(late), [""; 0], "nor is it told later");
    gateway.publish(curious, &publish(&topic, "x", Q1, 2));
    assert_eq!(gateway.hear(curious), ["PUBACK #2 NotAuthorized"]);
    assert_eq!(gateway.hear(own), [""; 0]);
}

#[test]
fn a_client_of_a_trial_may_say_and_hear_nothing_but_its_own() {
    let mut gateway = Gateway::new();
    let trials = Arc::new(Trials::default());
    let wearing = trials.begin().unwrap();
    let badge = wearing.badge();
    let own = gateway.join(of(&trials, badge, "a"));
    let device = gateway.subscriber(clean("device"), "a/b", Q1);
    for topic in ["a/b", "$trial/other/x", "$aws/things/x/shadow/update", "$tidegate/echo/gw-1"] {
        gateway.publish(own, &publish(topic, "x", Q1, 1));
        assert_eq!(gateway.hear(own), ["PUBACK #1 NotAuthorized"], "{topic}");
    }
    for asked in ["#", "a/b", "$trial/#", "$trial/other/x"] {
        gateway.tell(own, &subscribe(Version::V5, 7, &[filter(asked, Q1)]));
        assert_eq!(gateway.hear(own), ["SUBACK #7 [NotAuthorized]"], "{asked}");
    }
    assert_eq!(gateway.hear(device), [""; 0]);
}
