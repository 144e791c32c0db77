use std::time::Duration;

use proptest::prelude::*;
use protocol::{ClientId, GatewayId, Incarnation, Wall};

use super::*;

const LIMITS: fn() -> PresenceLimits = PresenceLimits::default;

fn client() -> ClientId {
    ClientId::new("pump 7").unwrap()
}

fn arrival(session: &str, gateway: &str, since_s: u64) -> Arrival {
    Arrival {
        session: session.into(),
        since: Wall(since_s * 1_000),
        gateway: GatewayId::new(gateway).unwrap(),
        incarnation: Incarnation(77),
        principal: "abc".into(),
        address: "192.0.2.7".into(),
        thing: None,
        clean: false,
        keep_alive_s: 1_200,
        expiry_s: 3_600,
    }
}

fn sent(named: &[&str]) -> Sent {
    let named = named.iter().map(|id| GatewayId::new(id).unwrap()).collect();
    Sent { named, level: 5, at_most_once_per_1000_s: 1_500 }
}

fn send_at(presence: &mut Presence, session: &str, now_s: u64) -> Option<u32> {
    let times = (Wall(now_s * 1_000), Wall(70_000));
    presence.send_by("drain-3", session, sent(&["gw-2", "gw-3"]), times, Duration::from_secs(60))
}

fn send(presence: &mut Presence, session: &str) -> bool {
    send_at(presence, session, 10).is_some()
}

fn texts(events: impl IntoIterator<Item = LifecycleEvent>) -> Vec<String> {
    events.into_iter().map(|event| event.payload()).collect()
}

#[test]
fn each_coming_and_going_is_told_once_with_the_same_version_number() {
    let mut presence = Presence::never();
    let events = presence.arrive(&client(), arrival("s-1", "gw-1", 5), &LIMITS());
    assert_eq!(events[0].topic().unwrap(), "$aws/events/presence/connected/pump 7");
    assert_eq!(
        texts(events),
        [
            r#"{"clientId":"pump 7","timestamp":5000,"eventType":"connected","sessionIdentifier":"s-1","principalIdentifier":"abc","ipAddress":"192.0.2.7","versionNumber":0}"#
        ]
    );
    let event =
        presence.leave(&client(), "s-1", DisconnectReason::ClientInitiatedDisconnect, Wall(9_000));
    let event = event.unwrap();
    assert_eq!(event.topic().unwrap(), "$aws/events/presence/disconnected/pump 7");
    assert_eq!(
        event.payload(),
        r#"{"clientId":"pump 7","timestamp":9000,"eventType":"disconnected","sessionIdentifier":"s-1","principalIdentifier":"abc","clientInitiatedDisconnect":true,"disconnectReason":"CLIENT_INITIATED_DISCONNECT","versionNumber":0}"#
    );
    let again = presence.leave(&client(), "s-1", DisconnectReason::ConnectionLost, Wall(9_001));
    assert_eq!(again, None);
    presence.arrive(&client(), arrival("s-2", "gw-1", 10), &LIMITS());
    assert_eq!(presence.version(), Some(1));
}

#[test]
fn who_is_forgotten_was_there_until_then_or_until_it_was_late() {
    for (forgotten, gone) in [(60_000, 60_000), (90_000, 70_000)] {
        let mut presence = Presence::never();
        presence.arrive(&client(), arrival("s-1", "gw-1", 5), &LIMITS());
        assert!(send(&mut presence, "s-1"));
        let event = presence.give_way(&client(), Wall(forgotten)).unwrap();
        assert_eq!(event.at, Wall(gone));
        assert_eq!(presence.give_way(&client(), Wall(forgotten)), None, "it is gone already");
    }
}

#[test]
fn a_move_is_not_told() {
    let mut presence = Presence::never();
    presence.arrive(&client(), arrival("s-1", "gw-1", 5), &LIMITS());
    assert!(!send(&mut presence, "another"));
    assert!(send(&mut presence, "s-1"));
    assert!(!send(&mut presence, "s-1"));
    // The old connection ends while the new one is on its way.
    let left = presence.leave(&client(), "s-1", DisconnectReason::ConnectionLost, Wall(50_000));
    assert_eq!(left, None);
    assert_eq!(presence.be_late(&client(), Wall(69_999)), None);
    assert_eq!(presence.arrive(&client(), arrival("s-2", "gw-2", 60), &LIMITS()), []);
    let connection = presence.connection().unwrap();
    assert_eq!((connection.gateway.as_str(), connection.since), ("gw-2", Wall(5_000)));
    let late = presence.leave(&client(), "s-1", DisconnectReason::ConnectionLost, Wall(61_000));
    assert_eq!(late, None);
    let event = presence.leave(&client(), "s-2", DisconnectReason::ConnectionLost, Wall(62_000));
    let payload = event.unwrap().payload();
    assert!(payload.contains(r#""sessionIdentifier":"s-1""#), "{payload}");
    assert!(payload.contains(r#""versionNumber":0"#), "{payload}");
}

#[test]
fn who_is_sent_and_does_not_arrive_is_gone_when_the_time_is_up() {
    let mut presence = Presence::never();
    presence.arrive(&client(), arrival("s-1", "gw-1", 5), &LIMITS());
    send(&mut presence, "s-1");
    let mut other = presence.clone();
    assert!(presence.clone().be_late(&client(), Wall(70_000)).is_some());
    let gone = presence.be_late(&client(), Wall(80_000)).unwrap();
    let gone = gone.payload();
    assert!(gone.contains(r#""timestamp":70000"#), "{gone}");
    assert!(gone.ends_with(
        r#""disconnectReason":"SERVER_INITIATED_DISCONNECT","versionNumber":0,"drain":{"plan":"drain-3"}}"#
    ));
    // Nobody looked before it came back.
    let events = texts(other.arrive(&client(), arrival("s-2", "gw-2", 80), &LIMITS()));
    assert_eq!(events.len(), 2);
    assert_eq!(events[0], gone);
    assert!(events[1].ends_with(r#""versionNumber":1}"#));
}

#[test]
fn moves_within_some_time_from_the_first_on_are_counted_together() {
    let mut presence = Presence::never();
    presence.arrive(&client(), arrival("s-0", "gw-1", 5), &LIMITS());
    assert_eq!(presence.sent(), None);
    for (n, (at_s, which)) in [(10, 1), (40, 2), (70, 3), (71, 1), (131, 2)].into_iter().enumerate()
    {
        assert_eq!(send_at(&mut presence, &format!("s-{n}"), at_s), Some(which));
        let read = Presence::decode(&presence.encode()).unwrap();
        assert_eq!(read.sent(), Some((&sent(&["gw-2", "gw-3"]), which)));
        presence = read;
        // It is there before it is late.
        presence.arrive(&client(), arrival(&format!("s-{}", n + 1), "gw-2", 60), &LIMITS());
        assert_eq!(presence.sent(), None);
        assert_eq!(Presence::decode(&presence.encode()).unwrap(), presence);
    }
    assert_eq!(send_at(&mut presence, "another", 132), None);
    assert_eq!(presence.moves(), (Wall(71_000), 2));
}

#[test]
fn a_second_connection_of_the_same_id_ends_the_first() {
    let mut presence = Presence::never();
    presence.arrive(&client(), arrival("s-1", "gw-1", 5), &LIMITS());
    let events = texts(presence.arrive(&client(), arrival("s-2", "gw-1", 6), &LIMITS()));
    assert!(events[0].contains(r#""disconnectReason":"DUPLICATE_CLIENTID","versionNumber":0"#));
    assert!(events[1].contains(r#""sessionIdentifier":"s-2""#));
    assert!(events[1].contains(r#""versionNumber":1"#));
}

#[test]
fn who_goes_on_at_another_gateway_was_never_away() {
    let mut presence = Presence::never();
    presence.arrive(&client(), arrival("s-1", "gw-1", 5), &LIMITS());
    // Its gateway died, and nobody has noticed yet.
    assert_eq!(presence.arrive(&client(), arrival("s-2", "gw-2", 6), &LIMITS()), []);
    assert_eq!((presence.version(), presence.connection().unwrap().since), (Some(0), Wall(5_000)));
    let again = Arrival { incarnation: Incarnation(78), ..arrival("s-3", "gw-2", 7) };
    assert_eq!(presence.arrive(&client(), again, &LIMITS()), []);
    // Taken over by itself, it goes on with its session; without it, it is another one.
    for (clean, events) in [(false, 0), (true, 2)] {
        let mut presence = presence.clone();
        assert!(presence.send("s-3", DisconnectReason::DuplicateClientId, Wall(40_000)));
        assert_eq!(presence.expected_until(), Some(Wall(40_000)));
        let arrival = Arrival { clean, ..arrival("s-4", "gw-1", 8) };
        assert_eq!(presence.arrive(&client(), arrival, &LIMITS()).len(), events);
        assert_eq!(presence.expected_until(), None);
    }
}

#[test]
fn version_numbers_begin_again_after_an_hour_away() {
    for (away_s, version) in [(3_600, 1), (3_601, 0)] {
        let mut presence = Presence::never();
        presence.arrive(&client(), arrival("s-1", "gw-1", 5), &LIMITS());
        presence.leave(&client(), "s-1", DisconnectReason::Throttled, Wall(10_000));
        presence.arrive(&client(), arrival("s-2", "gw-1", 10 + away_s), &LIMITS());
        assert_eq!(presence.version(), Some(version));
    }
}

#[test]
fn the_last_ten_departures_are_remembered() {
    let mut presence = Presence::never();
    for n in 0..12 {
        presence.arrive(&client(), arrival(&format!("s-{n}"), "gw-1", n), &LIMITS());
        let reason = DisconnectReason::ALL[usize::try_from(n).unwrap()];
        presence.leave(&client(), &format!("s-{n}"), reason, Wall(n * 1_000 + 1));
    }
    assert_eq!(presence.departures().count(), MAX_DEPARTURES);
    assert_eq!(&*presence.departures().next().unwrap().session, "s-11");
    assert_eq!(&*presence.departures().last().unwrap().session, "s-2");
    let last = presence.departures().next().unwrap();
    assert_eq!((last.at, last.reason), (Wall(11_001), DisconnectReason::ALL[11]));
}

#[test]
fn events_about_subscriptions_and_refusals_have_their_own_topics() {
    let event = |client: &str, kind| LifecycleEvent {
        client: ClientId::new(client).unwrap(),
        at: Wall(7),
        session: "s".into(),
        principal: "p".into(),
        thing: Some("t".into()),
        kind,
    };
    let subscribed = event("c", EventKind::Subscribed(vec!["a/#".into(), "\"b\"".into()]));
    assert_eq!(subscribed.topic().unwrap(), "$aws/events/subscriptions/subscribed/c");
    assert_eq!(
        subscribed.payload(),
        r#"{"clientId":"c","thingName":"t","timestamp":7,"eventType":"subscribed","sessionIdentifier":"s","principalIdentifier":"p","topics":["a/#","\"b\""]}"#
    );
    let unsubscribed = event("c", EventKind::Unsubscribed(vec!["a".into()]));
    assert_eq!(unsubscribed.topic().unwrap(), "$aws/events/subscriptions/unsubscribed/c");
    let failed = EventKind::ConnectFailed(ConnectFailure::AuthorizationFailed);
    let failed = event("c", failed);
    assert_eq!(failed.topic().unwrap(), "$aws/events/presence/connect_failed/c");
    assert!(failed.payload().ends_with(r#""connectFailureReason":"AUTHORIZATION_FAILED"}"#));
    for id in ["a+", "#", "a/#"] {
        assert_eq!(event(id, EventKind::Subscribed(Vec::new())).topic(), None, "{id}");
    }
}

/// A record as versions before this one stored it: every connection with its whole name and its gateway.
fn long_form(presence: &Presence) -> Vec<u8> {
    use crate::packed::{put_len, put_text};
    use record::{Moves, Whereabouts};
    let mut out = presence.fence().to_vec();
    let moved = presence.moves != Moves::default() || presence.sent().is_some();
    out.push(if moved { 2 } else { 1 });
    if moved {
        protocol::put_varint(&mut out, presence.moves.since.0);
        put_len(&mut out, usize::try_from(presence.moves.count).unwrap());
    }
    protocol::put_varint(&mut out, presence.version.map_or(0, |version| version + 1));
    put_text(&mut out, &presence.told);
    let arrival = |out: &mut Vec<u8>, it: &Arrival| {
        put_text(out, &it.session);
        protocol::put_varint(out, it.since.0);
        put_text(out, it.gateway.as_str());
        protocol::put_varint(out, it.incarnation.0);
        [&it.principal, &it.address].into_iter().for_each(|text| put_text(out, text));
        put_text(out, it.thing.as_deref().unwrap_or(""));
        out.push(u8::from(it.clean));
        protocol::put_varint(out, it.keep_alive_s.into());
        protocol::put_varint(out, it.expiry_s.into());
    };
    let reason = |out: &mut Vec<u8>, it: DisconnectReason| {
        put_len(out, DisconnectReason::ALL.iter().position(|of| *of == it).unwrap());
    };
    match &presence.now {
        Whereabouts::Away => out.push(0),
        Whereabouts::Online(it) => {
            out.push(1);
            arrival(&mut out, it);
        }
        Whereabouts::Moving { was, until, why, plan, sent } => {
            out.push(2);
            arrival(&mut out, was);
            protocol::put_varint(&mut out, until.0);
            reason(&mut out, *why);
            put_text(&mut out, plan);
            match sent {
                Some(Sent { named, level, at_most_once_per_1000_s }) => {
                    out.push(*level);
                    protocol::put_varint(&mut out, u64::from(*at_most_once_per_1000_s));
                    put_len(&mut out, named.len());
                    named.iter().for_each(|gateway| put_text(&mut out, gateway.as_str()));
                }
                None if moved => out.push(0),
                None => {}
            }
        }
    }
    put_len(&mut out, presence.departures().count());
    for it in presence.departures() {
        put_text(&mut out, &it.session);
        protocol::put_varint(&mut out, it.since.0);
        protocol::put_varint(&mut out, it.at.0);
        reason(&mut out, it.reason);
        put_text(&mut out, it.gateway.as_str());
    }
    out
}

/// The name of the connection of this number: as gateways name them, or any other; and its gateway.
fn connection_of(n: u64) -> (String, &'static str) {
    let name = match n % 5 {
        0 => format!("s-{n}"),
        1 => format!("00000000000000AA{n:016x}"),
        _ => format!("{:016x}{:016x}", n / 7, n << 21),
    };
    (name, if n.is_multiple_of(4) { "gw-2" } else { "gw-1" })
}

#[test]
fn a_client_that_comes_and_goes_takes_little_room_and_its_past_is_told_in_full() {
    let (mut presence, mut told) = (Presence::never(), Vec::new());
    for n in 1..=12_u64 {
        let session = format!("9c2f7a01d3e4b586{:016x}", (1_790_000_000 + n) << 21 | 1);
        let at = 1_790_000_000 + n;
        presence.arrive(&client(), arrival(&session, "gw-1", at), &LIMITS());
        presence.leave(&client(), &session, DisconnectReason::ConnectionLost, Wall(at * 1_000 + n));
        told.insert(0, (session, Wall(at * 1_000), Wall(at * 1_000 + n), "gw-1"));
        assert_eq!(Presence::decode(&presence.encode()).as_ref(), Some(&presence));
    }
    told.truncate(MAX_DEPARTURES);
    for (departure, (session, since, at, gateway)) in presence.departures().zip(&told) {
        assert_eq!(*departure.session, **session);
        assert_eq!((departure.since, departure.at), (*since, *at));
        assert_eq!(departure.gateway.as_str(), *gateway);
        assert_eq!(departure.reason, DisconnectReason::ConnectionLost);
    }
    assert_eq!(presence.departures().count(), told.len());
    let (short, long) = (presence.encode().len(), long_form(&presence).len());
    assert!(short <= 250 && long > 500, "{short} instead of {long} bytes");
}

#[test]
fn a_clock_that_is_behind_the_one_before_changes_nothing_that_is_told() {
    let mut presence = Presence::never();
    presence.arrive(&client(), arrival("s-1", "gw-1", 9), &LIMITS());
    presence.leave(&client(), "s-1", DisconnectReason::ConnectionLost, Wall(8_999));
    let read = Presence::decode(&presence.encode()).unwrap();
    let departure = read.departures().next().unwrap();
    assert_eq!((departure.since, departure.at), (Wall(9_000), Wall(8_999)));
}

#[derive(Debug, Clone)]
enum Step {
    Arrive,
    Leave { latest: bool },
    Send,
    Drain { named: usize },
    Wait { seconds: u64 },
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        Just(Step::Arrive),
        any::<bool>().prop_map(|latest| Step::Leave { latest }),
        Just(Step::Send),
        (0_usize..3).prop_map(|named| Step::Drain { named }),
        (1_u64..90).prop_map(|seconds| Step::Wait { seconds }),
    ]
}

/// What comes and goes in the stored form is what is packed after it came or went; and most can.
fn check_stored(presence: &Presence, now_s: u64) -> Result<(), TestCaseError> {
    let (stands, client) = (presence.encode(), client());
    let was_moved = presence.sent().is_some() || presence.moves.count > 0;
    let next = Arrival { thing: Some("pump".into()), ..arrival("s-next", "gw-9", now_s) };
    for away_s in [0, 7_200] {
        let next = Arrival { since: Wall((now_s + away_s) * 1_000), ..next.clone() };
        let mut there = presence.clone();
        let events = there.arrive(&client, next.clone(), &LIMITS());
        let is_away = presence.connection().is_none();
        let stored = Presence::arrive_stored(&stands, &next, &LIMITS());
        prop_assert_eq!(stored, (is_away && !was_moved).then(|| there.encode()));
        prop_assert!(!is_away || events.len() == 1);
    }
    let reason = DisconnectReason::ClientInitiatedDisconnect;
    let mut gone = presence.clone();
    let session = presence.connection().map(|it| it.session.clone()).unwrap_or_default();
    let event = gone.leave(&client, &session, reason, Wall(now_s * 1_000));
    let is_thing = presence.connection().is_some_and(|it| it.thing.is_some());
    let stored = Presence::leave_stored(&stands, reason, Wall(now_s * 1_000));
    let is_there = event.is_some();
    let expected = (is_there && !was_moved).then(|| Gone { record: gone.encode(), is_thing });
    prop_assert_eq!(stored, expected);
    for cut in (0..stands.len()).step_by(13) {
        // Nobody gives it such, and nobody must be hurt.
        drop(Presence::leave_stored(&stands[..cut], reason, Wall(0)));
        drop(Presence::arrive_stored(&stands[..cut], &next, &LIMITS()));
    }
    Ok(())
}

proptest! {
    /// Told one after the other, comings and goings alternate, and each going has the version number and the session of its
    /// coming, whatever happens in between.
    #[test]
    fn comings_and_goings_alternate(steps in prop::collection::vec(any_step(), 0..40)) {
        let (client, mut presence, mut sessions, mut now_s) = (client(), Presence::never(), 0, 1_u64);
        let mut there: Option<(u64, Box<str>)> = None;
        for step in steps {
            let before = presence.clone();
            let events = match step {
                Step::Arrive => {
                    sessions += 1;
                    let (session, gateway) = connection_of(sessions);
                    presence.arrive(&client, arrival(&session, gateway, now_s), &LIMITS())
                }
                Step::Leave { latest } => {
                    let session = if latest { sessions } else { sessions.saturating_sub(1) };
                    let reason = DisconnectReason::ConnectionLost;
                    presence.leave(&client, &connection_of(session).0, reason, Wall(now_s * 1_000)).into_iter().collect()
                }
                Step::Send => {
                    let until = Wall((now_s + 60) * 1_000);
                    presence.send(&connection_of(sessions).0, DisconnectReason::ServerError, until);
                    Vec::new()
                }
                Step::Drain { named } => {
                    let times = (Wall(now_s * 1_000), Wall((now_s + 60) * 1_000));
                    let sent = sent(&["gw-2", "gw-3"][..named]);
                    presence.send_by("d", &connection_of(sessions).0, sent, times, Duration::from_secs(90));
                    Vec::new()
                }
                Step::Wait { seconds } => {
                    now_s += seconds;
                    presence.be_late(&client, Wall(now_s * 1_000)).into_iter().collect()
                }
            };
            for event in events {
                match event.kind {
                    EventKind::Connected { version, .. } => {
                        prop_assert_eq!(there.take(), None);
                        there = Some((version, event.session));
                    }
                    EventKind::Disconnected { version, .. } => {
                        prop_assert_eq!(there.take(), Some((version, event.session)));
                    }
                    EventKind::ConnectFailed(_) | EventKind::Subscribed(_) | EventKind::Unsubscribed(_) => {
                        prop_assert!(false, "nobody did that");
                    }
                }
            }
            prop_assert_eq!(there.is_some(), presence.connection().is_some());
            check_stored(&presence, now_s)?;
            let bytes = presence.encode();
            prop_assert_eq!(Presence::decode(&bytes), Some(presence.clone()));
            prop_assert_eq!(before != presence, before.fence() != presence.fence());
            let cut = usize::try_from(now_s).unwrap() % bytes.len();
            prop_assert_eq!(Presence::decode(&bytes[..cut]), None);
            let long = long_form(&presence);
            let cut = cut % long.len();
            prop_assert_eq!(Presence::decode(&long), Some(presence.clone()));
            prop_assert_eq!(Presence::decode(&long[..cut]), None);
        }
    }
}

#[test]
fn reasons_have_names_of_their_own() {
    let names: std::collections::BTreeSet<&str> =
        DisconnectReason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(names.len(), DisconnectReason::ALL.len());
    assert_eq!(LIMITS().version_restarts_after, Duration::from_secs(3_600));
}
