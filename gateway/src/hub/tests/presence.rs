//! Who is there: what is remembered and told of clients that come, go, move, and are sent away.

use std::time::Duration;

use protocol::Wall;
use protocol::mqtt::{ReasonCode, Version};
use shadow::Presence;
use store::{Fault, Space, Store as _, Unavailable, Write};

use super::gateway::Gateway;
use super::packets::*;
use crate::config::{KeepPresence, PresenceSettings};
use crate::hub::{Close, ConnId, ConnectRequest, HubConfig, MoveOrder, ReleaseAsked};
use crate::presence::{SendAway, due_late, forgotten, record_key};
use crate::service::keeper;
use crate::worker::{Mail, PresenceMail};

fn kept(config: &mut HubConfig) {
    config.presence = PresenceSettings::default();
}

/// A gateway with somebody who hears of every client, and has heard of itself.
fn watched() -> (Gateway, ConnId) {
    let mut gateway = Gateway::with(kept);
    let watcher = gateway.subscriber(clean("watcher"), "$aws/events/presence/+/+", Q0);
    gateway.hear(watcher);
    (gateway, watcher)
}

/// What a watcher heard: what happened to whom, why, and the version number.
fn events(gateway: &mut Gateway, watcher: ConnId) -> Vec<String> {
    let heard = gateway.hear(watcher).into_iter();
    let parts = heard.map(|heard| {
        let (from, to) = (heard.find('{').unwrap(), heard.rfind('}').unwrap());
        let event: serde_json::Value = serde_json::from_str(&heard[from..=to]).unwrap();
        let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
        let (client, kind, why) = (text("clientId"), text("eventType"), text("disconnectReason"));
        format!("{client} {kind} {why} {}", event["versionNumber"]).replace("  ", " ")
    });
    parts.collect()
}

fn presence(gateway: &mut Gateway, client: &str) -> Option<Presence> {
    let doc = gateway.reader().get(Space::Presence, &record_key(client)).unwrap()?;
    Some(Presence::decode(&doc.value).unwrap())
}

/// Says of everybody who is late so many seconds from now that they are gone.
fn late_in(gateway: &mut Gateway, seconds: u64) -> usize {
    let (me, at) = (gateway.id.clone(), Wall(gateway.now.wall.0 + seconds * 1000));
    let live = [me.clone()];
    let late = due_late(gateway.reader(), &me, &live, at).unwrap();
    let count = late.len();
    gateway.pass(seconds * 1000);
    for it in late {
        gateway.mail(Mail::Presence(PresenceMail::Late(it)));
    }
    gateway.settle();
    count
}

fn write(gateway: &mut Gateway, writes: &[Write]) {
    gateway.store.writer().unwrap().commit(writes).unwrap();
}

#[test]
fn coming_and_going_is_told_once_each_with_the_reason() {
    let (mut gateway, watcher) = watched();
    for request in [clean("a"), durable("a")] {
        let a = gateway.connect(request);
        gateway.settle();
        assert!(presence(&mut gateway, "a").unwrap().connection().is_some());
        gateway.tell(a, &disconnect(ReasonCode::Success, None));
        let told = events(&mut gateway, watcher);
        assert!(told[0].starts_with("a connected"), "{told:?}");
        assert!(told[1].starts_with("a disconnected CLIENT_INITIATED_DISCONNECT"), "{told:?}");
        assert_eq!(told.len(), 2);
    }
    let a = gateway.join_again(durable("a"));
    gateway.lose(a);
    let told = events(&mut gateway, watcher);
    assert_eq!(told, ["a connected 2", "a disconnected CONNECTION_LOST 2"]);
    let a = gateway.join_again(durable("a"));
    gateway.tell(a, &[0xff, 0xff]);
    let told = events(&mut gateway, watcher);
    assert_eq!(told, ["a connected 3", "a disconnected CLIENT_ERROR 3"]);
    let a = presence(&mut gateway, "a").unwrap();
    assert!(a.connection().is_none());
    assert_eq!(a.departures().count(), 4);
    assert_eq!(gateway.counters().events_published.get(), 8);
}

#[test]
fn a_second_connection_of_a_client_ends_the_first_and_both_are_told() {
    let (mut gateway, watcher) = watched();
    gateway.join(durable("a"));
    gateway.join_again(durable("a"));
    let told = events(&mut gateway, watcher);
    let duplicate = "a disconnected DUPLICATE_CLIENTID 0";
    assert_eq!(told, ["a connected 0", duplicate, "a connected 1"]);
}

#[test]
fn a_move_is_not_told_and_who_does_not_arrive_is_gone_once() {
    let (mut gateway, watcher) = watched();
    for request in [clean("a"), durable("b"), durable("c")] {
        gateway.join(request);
    }
    assert_eq!(events(&mut gateway, watcher).len(), 3);
    gateway.mail(Mail::Move(MoveOrder::anywhere(4)));
    gateway.settle();
    let watcher = gateway.subscriber(clean("watcher"), "$aws/events/presence/+/+", Q0);
    gateway.join(clean("a"));
    gateway.join_again(durable("b"));
    assert!(gateway.hear(watcher).is_empty());
    assert_eq!(late_in(&mut gateway, 29), 0);
    assert_eq!(late_in(&mut gateway, 1), 1);
    let gone = "c disconnected SERVER_INITIATED_DISCONNECT 0";
    assert_eq!(events(&mut gateway, watcher), [gone]);
    assert_eq!(late_in(&mut gateway, 60), 0);
    gateway.join_again(durable("c"));
    assert_eq!(events(&mut gateway, watcher), ["c connected 1"]);
}

#[test]
fn who_goes_on_elsewhere_with_its_session_was_not_away() {
    let (mut gateway, watcher) = watched();
    for (request, gone) in [(durable("a"), None), (clean("b"), Some("b disconnected"))] {
        let name = request.client.clone();
        gateway.join(request);
        assert_eq!(events(&mut gateway, watcher).len(), 1);
        let epoch = gateway.record(name.as_str()).unwrap().epoch;
        let from = protocol::GatewayId::new("gw-2").unwrap();
        let asked = ReleaseAsked { from, request: 5, client: name, epoch };
        gateway.mail(Mail::ReleaseAsked(asked));
        gateway.settle();
        let told = events(&mut gateway, watcher);
        let expected = gone.map(|gone| format!("{gone} DUPLICATE_CLIENTID 0"));
        assert_eq!(told, expected.as_slice(), "a clean one begins anew over there");
    }
    assert_eq!(late_in(&mut gateway, 30), 1, "it did not arrive after all");
}

#[test]
fn the_death_of_a_gateway_is_told_of_those_who_do_not_come_back_in_time() {
    let (mut gateway, watcher) = watched();
    for request in [clean("a"), durable("b"), durable("c"), clean("d")] {
        gateway.join(request);
    }
    events(&mut gateway, watcher);
    // Somebody thinks it dead, and looks after its clients.
    let is_mine = |client: &protocol::ClientId| client.as_str() != "watcher";
    let when = (gateway.now.wall, Duration::from_secs(30));
    let writes = keeper::orphans(gateway.reader(), &is_mine, &|_| true, when).unwrap();
    assert_eq!(writes.len(), 4);
    write(&mut gateway, &writes);
    gateway.settle();
    gateway.join(clean("a"));
    gateway.join_again(durable("b"));
    assert_eq!(late_in(&mut gateway, 29), 0);
    assert_eq!(late_in(&mut gateway, 1), 2);
    let told = events(&mut gateway, watcher);
    assert_eq!(told, ["c disconnected SERVER_ERROR 0", "d disconnected SERVER_ERROR 0"]);
}

#[test]
fn who_comes_back_while_it_is_said_to_be_late_is_not_gone() {
    let (mut gateway, watcher) = watched();
    gateway.join(durable("a"));
    gateway.mail(Mail::Move(MoveOrder::anywhere(2)));
    gateway.settle();
    let watcher_2 = gateway.subscriber(clean("watcher"), "$aws/events/presence/+/+", Q0);
    let (me, at) = (gateway.id.clone(), Wall(gateway.now.wall.0 + 30_000));
    let live = [me.clone()];
    let late = due_late(gateway.reader(), &me, &live, at).unwrap().remove(0);
    gateway.join_again(durable("a"));
    gateway.pass(30_000);
    gateway.mail(Mail::Presence(PresenceMail::Late(late)));
    gateway.settle();
    assert!(gateway.hear(watcher_2).is_empty());
    assert!(presence(&mut gateway, "a").unwrap().connection().is_some());
    let _ = watcher;
}

#[test]
fn a_word_that_somebody_is_late_changes_nothing_before_its_time() {
    let (mut gateway, _) = watched();
    gateway.join(durable("a"));
    gateway.mail(Mail::Move(MoveOrder::anywhere(2)));
    gateway.settle();
    let (me, at) = (gateway.id.clone(), Wall(gateway.now.wall.0 + 30_000));
    let live = [me.clone()];
    for late in due_late(gateway.reader(), &me, &live, at).unwrap() {
        gateway.mail(Mail::Presence(PresenceMail::Late(late)));
    }
    gateway.settle();
    assert_eq!((late_in(&mut gateway, 30), late_in(&mut gateway, 30)), (2, 0));
}

#[test]
fn a_record_is_made_again_when_the_store_did_not_take_it() {
    let (mut gateway, watcher) = watched();
    let a = gateway.join(clean("a"));
    events(&mut gateway, watcher);
    gateway.store.inject(Fault::FailCommits { count: 1, why: Unavailable::Busy });
    gateway.lose(a);
    assert!(gateway.hear(watcher).is_empty());
    gateway.pass(100);
    assert_eq!(events(&mut gateway, watcher), ["a disconnected CONNECTION_LOST 0"]);
}

#[test]
fn only_those_are_remembered_that_the_settings_say() {
    let keep = |keep| PresenceSettings { keep, ..PresenceSettings::default() };
    let mut gateway = Gateway::with(|config| config.presence = keep(KeepPresence::Persistent));
    let a = gateway.join(clean("a"));
    gateway.join(durable("b"));
    assert_eq!(presence(&mut gateway, "a"), None);
    assert!(presence(&mut gateway, "b").is_some());
    gateway.lose(a);
    // What was kept and is not true any more goes.
    let b = clean("b");
    gateway.connect(b);
    gateway.settle();
    assert_eq!(presence(&mut gateway, "b"), None);
    let mut gateway = Gateway::with(|config| config.presence = keep(KeepPresence::Off));
    gateway.join(durable("b"));
    assert_eq!(gateway.stored(Space::Presence), 0);
}

#[test]
fn who_comes_back_in_a_way_that_is_not_kept_is_told_as_gone_and_expected_no_more() {
    let settings =
        PresenceSettings { keep: KeepPresence::Persistent, ..PresenceSettings::default() };
    let mut gateway = Gateway::with(|config| config.presence = settings);
    let watcher = gateway.subscriber(durable("watcher"), "$aws/events/presence/+/a", Q0);
    gateway.join(durable("a"));
    assert_eq!(events(&mut gateway, watcher), ["a connected 0"]);
    gateway.mail(Mail::Move(MoveOrder::anywhere(2)));
    gateway.settle();
    let watcher = gateway.connect(durable("watcher"));
    gateway.settle();
    gateway.hear(watcher);
    gateway.connect(clean("a"));
    gateway.settle();
    let told = events(&mut gateway, watcher);
    assert_eq!(told, ["a disconnected SERVER_INITIATED_DISCONNECT 0"]);
    assert_eq!(presence(&mut gateway, "a"), None);
    assert_eq!(late_in(&mut gateway, 60), 0, "nobody waits for it");
}

#[test]
fn a_moment_at_which_a_client_counts_as_gone_goes_if_nothing_is_known_of_it() {
    let (mut gateway, watcher) = watched();
    gateway.put(Space::Presence, "la", bytes::Bytes::copy_from_slice(&[0; 8]));
    assert_eq!(late_in(&mut gateway, 1), 1);
    assert_eq!(late_in(&mut gateway, 1), 0);
    assert!(gateway.hear(watcher).is_empty());
}

#[test]
fn who_was_away_for_too_long_is_forgotten() {
    let (mut gateway, _) = watched();
    let a = gateway.join(clean("a"));
    gateway.join(clean("b"));
    gateway.lose(a);
    let now = gateway.now.wall;
    let mut look = |seconds: u64| {
        let when = (now.after(Duration::from_secs(seconds)), Duration::from_secs(60));
        forgotten(gateway.reader(), None, &|_| true, when).unwrap()
    };
    assert_eq!(look(59).0, []);
    let (writes, last) = look(60);
    assert_eq!((writes.len(), last), (1, None));
    write(&mut gateway, &writes);
    assert_eq!(presence(&mut gateway, "a"), None);
    assert!(presence(&mut gateway, "b").is_some());
}

#[test]
fn an_operator_ends_a_connection_with_or_without_its_session_and_its_will() {
    for (end_session, prevent_will) in [(false, false), (true, false), (false, true), (true, true)]
    {
        let (mut gateway, watcher) = watched();
        gateway.subscribe(watcher, "will", Q0);
        let request = ConnectRequest { will: Some(will("gone", 0)), ..durable("a") };
        let a = gateway.join(request);
        events(&mut gateway, watcher);
        let epoch = gateway.record("a").unwrap().epoch;
        let order = |epoch| SendAway { epoch, end_session, prevent_will };
        let older = protocol::SessionEpoch(epoch.0 - 1);
        gateway.mail(Mail::Presence(PresenceMail::SendAway(client("a"), order(older))));
        gateway.settle();
        assert!(gateway.hear(a).is_empty(), "another connection was meant");
        gateway.mail(Mail::Presence(PresenceMail::SendAway(client("a"), order(epoch))));
        gateway.settle();
        assert_eq!(gateway.hear(a), ["DISCONNECT AdministrativeAction", "closed"]);
        let heard = gateway.hear(watcher);
        let wills = heard.iter().filter(|it| it.starts_with("PUBLISH will")).count();
        let told = heard.iter().filter(|it| it.contains("API_INITIATED_DISCONNECT")).count();
        assert_eq!((wills, told), (usize::from(!prevent_will), 1), "{heard:?}");
        assert_eq!(gateway.record("a").is_none(), end_session);
    }
}

#[test]
fn an_order_to_send_a_client_away_goes_with_the_write_that_carries_it_out_and_not_before() {
    let (mut gateway, _) = watched();
    gateway.join(durable("a"));
    let epoch = gateway.record("a").unwrap().epoch;
    gateway.put(Space::Presence, "ka", bytes::Bytes::from_static(b"order"));
    let order = SendAway { epoch, end_session: true, prevent_will: false };
    gateway.store.inject(Fault::FailCommits { count: 1, why: Unavailable::Busy });
    gateway.mail(Mail::Presence(PresenceMail::SendAway(client("a"), order)));
    gateway.settle();
    let stands = |gateway: &mut Gateway| {
        let order = gateway.reader().get(Space::Presence, b"ka").unwrap();
        (order.is_some(), gateway.record("a").is_some())
    };
    assert_eq!(stands(&mut gateway), (true, true));
    gateway.pass(100);
    assert_eq!(stands(&mut gateway), (false, false));
}

#[test]
fn subscribing_is_told_to_those_who_want_to_know() {
    let mut gateway = Gateway::with(kept);
    let watcher = gateway.join(clean("watcher"));
    let all = [filter("$aws/events/subscriptions/#", Q0)];
    gateway.tell(watcher, &subscribe(Version::V5, 5, &all));
    assert_eq!(gateway.hear(watcher).len(), 2);
    let a = gateway.join(clean("a"));
    let two = [filter("x/#", Q0), filter("bad/#/x", Q0), filter("y", Q0)];
    gateway.tell(a, &subscribe(Version::V5, 5, &two));
    let heard = gateway.hear(watcher);
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert!(heard[0].contains(r#""eventType":"subscribed""#), "{heard:?}");
    assert!(heard[0].contains(r#""topics":["x/#","y"]"#), "{heard:?}");
    gateway.tell(a, &unsubscribe(6, &["y", "z"]));
    let heard = gateway.hear(watcher);
    assert!(heard[0].contains(r#""topics":["y"]"#), "{heard:?}");
    assert_eq!(heard.len(), 1);
}

#[test]
fn a_client_with_a_certificate_becomes_a_thing_if_the_settings_say_so() {
    use crate::config::CreateThings;
    for (create, is_thing) in [(CreateThings::Certificate, true), (CreateThings::Never, false)] {
        let settings = PresenceSettings { create_things: create, ..PresenceSettings::default() };
        let mut gateway = Gateway::with(|config| config.presence = settings);
        gateway.join(clean("plain"));
        let mut request = clean("pump-7");
        let identity = std::sync::Arc::make_mut(&mut request.identity);
        identity.certificate = Some(std::sync::Arc::default());
        let pump = gateway.join(request.clone());
        let thing = presence(&mut gateway, "pump-7").unwrap().connection().unwrap().thing.clone();
        assert_eq!(thing.as_deref(), is_thing.then_some("pump-7"));
        assert_eq!(gateway.stored(Space::Thing), usize::from(is_thing));
        let doc = gateway.reader().get(Space::Thing, b"pump-7").unwrap();
        let known =
            doc.map(|doc| shadow::Thing::decode(&doc.value).unwrap().certificates().count());
        assert_eq!(known, is_thing.then_some(1), "the certificate that it showed");
        gateway.lose(pump);
        gateway.join(request);
        assert_eq!(gateway.stored(Space::Thing), usize::from(is_thing));
    }
}

#[test]
fn who_is_not_let_in_is_told_of() {
    let (mut gateway, watcher) = watched();
    gateway.mail(Mail::Presence(PresenceMail::Refused(client("intruder"))));
    gateway.settle();
    let heard = gateway.hear(watcher);
    assert!(heard[0].contains("connect_failed/intruder"), "{heard:?}");
    assert!(heard[0].contains(r#""connectFailureReason":"AUTHORIZATION_FAILED""#), "{heard:?}");
    assert_eq!((heard.len(), gateway.stored(Space::Presence)), (1, 1));
}

#[test]
fn how_a_connection_ends_says_why_its_client_is_gone() {
    use crate::hub::Parting;
    use shadow::DisconnectReason as Why;
    for (reason, why) in [
        (ReasonCode::KeepAliveTimeout, Why::MqttKeepAliveTimeout),
        (ReasonCode::NotAuthorized, Why::AuthError),
        (ReasonCode::AdministrativeAction, Why::ForbiddenAccess),
        (ReasonCode::MessageRateTooHigh, Why::Throttled),
        (ReasonCode::ConnectionRateExceeded, Why::Throttled),
        (ReasonCode::BadUserNameOrPassword, Why::AuthError),
        (ReasonCode::Banned, Why::ForbiddenAccess),
        (ReasonCode::MaximumConnectTime, Why::CustomauthTtlExpiration),
        (ReasonCode::SessionTakenOver, Why::DuplicateClientId),
        (ReasonCode::MalformedPacket, Why::ClientError),
        (ReasonCode::ServerBusy, Why::ServerError),
    ] {
        assert_eq!(Parting::of(Close::Reason(reason)), Parting::Over(why));
    }
}
