//! A gateway of the last version, as it spoke before there was a newer one, byte by byte.
//!
//! `peer_version_1.txt` was recorded with both machines of version 1, in turns: `>` is what the dialling side wrote, `<` what
//! the accepting side answered, `!` its answer to a hello of version 2. It is not to be changed. When a version 3 comes, a
//! session of version 2 is recorded beside it, and this one goes.

use std::time::Duration;

use crate::peer::*;
use crate::*;

const RECORDED: &str = include_str!("peer_version_1.txt");
/// What was recorded.
const LAST: u16 = 1;
const TURNS: usize = 10;

#[test]
fn a_dialling_gateway_of_the_last_version_is_served_as_by_its_like() {
    let mut acceptor = Acceptor::new(me("gw-2", 8), id("gw-1"), PeerLimits::default());
    let mut seen = Vec::new();
    for turn in 0..TURNS {
        if turn == 0 || turn == 8 {
            acceptor.handle_connected(at(0));
        }
        for frame in frames(&recorded(&turn.to_string(), '>')) {
            acceptor.handle_frame(at(0), frame).unwrap();
        }
        while let Some(event) = acceptor.poll_event() {
            react(&event, &mut acceptor);
            seen.push(event);
        }
        let mut out = Vec::new();
        while acceptor.poll_write(&mut out) {}
        assert_eq!(hex(&out), hex(&recorded(&turn.to_string(), '<')), "turn {turn}");
    }
    assert_eq!(acceptor.version(), Some(LAST));
    let payloads = seen.iter().filter_map(|event| {
        let AcceptorEvent::Forward { plain, shared, publication } = event else { return None };
        Some((*plain, shared.len(), publication.payload()))
    });
    let payloads: Vec<_> = payloads.collect();
    let (first, second): (&[u8], &[u8]) = (b"first", b"second");
    assert_eq!(payloads[..2], [(true, 0, first), (true, 0, second)]);
    assert_eq!(payloads[2..], [(false, 1, &b"third"[..]), (true, 0, &b"fourth"[..])]);
    let interest = seen.iter().filter_map(|event| {
        let AcceptorEvent::Interest { replace, changes, hashes, .. } = event else { return None };
        assert_eq!(*hashes, []);
        Some((*replace, changes.clone()))
    });
    let delta = vec![change("only/that", 1), change("deep/#", 0)];
    assert_eq!(
        interest.collect::<Vec<_>>(),
        [(true, changes(&FIRST)), (false, delta), (true, changes(&THEN))]
    );
}

#[test]
fn an_accepting_gateway_of_the_last_version_is_spoken_to_as_by_its_like() {
    let mut own = OwnInterest::default();
    let mut dialler = Dialler::new(me("gw-1", 3), id("gw-2"), PeerLimits::default());
    // It knows no newer version, and says so; the next connection speaks its own.
    dialler.handle_connected(at(0));
    let mut out = Vec::new();
    dialler.poll_write(&mut out, &own);
    assert!(matches!(frames(&out)[..], [Frame::Hello { version: VERSION, .. }]));
    let refusal = frames(&recorded("!", '<')).remove(0);
    let refused = dialler.handle_frame(at(0), refusal).unwrap_err().to_string();
    assert_eq!(refused, "the peer refused us with code 5: the peer speaks version 2");
    dialler.handle_lost();
    let mut told = Vec::new();
    for turn in 0..TURNS {
        act(turn, &mut dialler, &mut own);
        let mut out = Vec::new();
        while dialler.poll_write(&mut out, &own) {}
        let expected = recorded(&turn.to_string(), '>');
        if turn == 8 {
            // We do not know yet that it is still the same: the newest version first, as above.
            assert!(matches!(frames(&out)[..], [Frame::Hello { version: VERSION, .. }]));
            dialler.handle_frame(at(0), frames(&recorded("!", '<')).remove(0)).unwrap_err();
            dialler.handle_lost();
            dialler.handle_connected(at(900));
            out.clear();
            dialler.poll_write(&mut out, &own);
        }
        assert_eq!(hex(&out), hex(&expected), "turn {turn}");
        for frame in frames(&recorded(&turn.to_string(), '<')) {
            dialler.handle_frame(at(0), frame).unwrap();
        }
        told.extend(std::iter::from_fn(|| dialler.poll_event()));
    }
    assert_eq!((dialler.version(), dialler.credit()), (Some(LAST), None));
    assert_eq!((dialler.unacknowledged(), dialler.acked_interest()), (0, 6));
    assert_eq!(dialler.poked(), LogSeq(11));
    let done = Some(ReleaseOutcome::Done);
    assert!(told.contains(&DiallerEvent::Released { request: 7, outcome: done }));
    assert!(told.contains(&DiallerEvent::Credit { drain: 1, clients: 40, per_s: 10 }));
}

#[test]
fn older_and_newer_versions_are_refused_and_told_why() {
    for version in [0, LAST - 1, VERSION + 1, u16::MAX] {
        let mut acceptor = Acceptor::new(me("gw-2", 8), id("gw-1"), PeerLimits::default());
        acceptor.handle_connected(at(0));
        let Identity { fleet, gateway, incarnation } = me("gw-1", 3);
        let hello = Frame::Hello { version, fleet, gateway, incarnation };
        let refused = acceptor.handle_frame(at(0), hello).unwrap_err();
        assert_eq!(refused, PeerViolation::Version { found: version });
        let mut out = Vec::new();
        while acceptor.poll_write(&mut out) {}
        let text = format!("the peer speaks version {version} of the link, and we speak 1 and 2");
        assert_eq!(frames(&out), [Frame::Refused { reason: 5, text: text.clone() }]);
        assert_eq!(refused.to_string(), text);
    }
    // A peer that speaks only what we do not is greeted with each of ours, and refuses each.
    let mut dialler = Dialler::new(me("gw-1", 3), id("gw-2"), PeerLimits::default());
    for version in [VERSION, LAST, VERSION] {
        dialler.handle_connected(at(0));
        let mut out = Vec::new();
        dialler.poll_write(&mut out, &OwnInterest::default());
        assert!(matches!(frames(&out)[..], [Frame::Hello { version: v, .. }] if v == version));
        let text = format!("the peer speaks version {version} of the link, and we speak 7 and 8");
        let refused = dialler.handle_frame(at(0), Frame::Refused { reason: 5, text });
        assert!(refused.unwrap_err().to_string().ends_with("we speak 7 and 8"));
        assert_eq!(dialler.version(), None);
        dialler.handle_lost();
    }
}

const FIRST: [(&str, u32); 4] =
    [("deep/#", 1), ("$share/crew/jobs/#", 3), ("only/this", 1), ("rooms/+/light", 2)];
const THEN: [(&str, u32); 4] =
    [("$share/crew/jobs/#", 3), ("only/that", 1), ("only/this", 1), ("rooms/+/light", 2)];

/// What the gateway that was recorded did in a turn, on the dialling side.
fn act(turn: usize, dialler: &mut Dialler, own: &mut OwnInterest) {
    match turn {
        0 => {
            own.change(4, changes(&FIRST));
            dialler.handle_connected(at(0));
        }
        2 => {
            let news = own.change(6, vec![change("only/that", 1), change("deep/#", 0)]);
            dialler.interest_changed(&news).unwrap();
        }
        3 => {
            let none = SharedTargets::new;
            let forwards = [
                (true, none(), publication("only/this", "first", QoS::AtMostOnce)),
                (true, none(), publication("rooms/1/light", "second", QoS::AtLeastOnce)),
                (false, crew(), publication("jobs/1", "third", QoS::ExactlyOnce)),
            ];
            for (plain, shared, publication) in forwards {
                dialler.forward(plain, shared, publication).unwrap();
            }
        }
        4 => dialler.release(7, ClientId::new("device").unwrap(), SessionEpoch(5)),
        5 => dialler.poke(LogSeq(9)),
        6 => dialler.ask_credit(1, 100, 20),
        7 => dialler.handle_timeout(at(800)).unwrap(),
        8 => {
            dialler.handle_lost();
            let last = publication("only/this", "fourth", QoS::AtLeastOnce);
            dialler.forward(true, SharedTargets::new(), last).unwrap();
            dialler.handle_connected(at(900));
        }
        _ => {}
    }
}

/// The same on the accepting side.
fn react(event: &AcceptorEvent, acceptor: &mut Acceptor) {
    match event {
        AcceptorEvent::Interest { ticket, .. } => acceptor.interest_applied(*ticket),
        AcceptorEvent::Release { ticket, .. } => acceptor.released(*ticket, ReleaseOutcome::Done),
        AcceptorEvent::Poke { .. } => acceptor.applied(LogSeq(11)),
        AcceptorEvent::DrainAsk { drain, .. } => acceptor.credit(*drain, 40, 10),
        AcceptorEvent::Connected { .. } | AcceptorEvent::Forward { .. } => {}
    }
}

fn recorded(turn: &str, direction: char) -> Vec<u8> {
    let head = format!("{turn} {direction} ");
    let line = RECORDED.lines().find_map(|line| line.strip_prefix(&head)).unwrap();
    let digits = line.as_bytes().chunks(2).map(|two| std::str::from_utf8(two).unwrap());
    digits.map(|two| u8::from_str_radix(two, 16).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn frames(bytes: &[u8]) -> Vec<Frame> {
    let mut buffer = FrameBuffer::new(1 << 20);
    buffer.space().extend_from_slice(bytes);
    let mut frames = Vec::new();
    while let Some(frame) = buffer.take().unwrap() {
        frames.push(frame);
    }
    assert!(buffer.space().is_empty());
    frames
}

fn id(gateway: &str) -> GatewayId {
    GatewayId::new(gateway).unwrap()
}

fn me(gateway: &str, incarnation: u64) -> Identity {
    let incarnation = Incarnation(incarnation);
    Identity { fleet: "recorded".into(), gateway: id(gateway), incarnation }
}

fn change(text: &str, members: u32) -> InterestChange {
    let (share, filter) = TopicFilter::parse_subscription(text).unwrap();
    InterestChange { filter, share, members }
}

fn changes(all: &[(&str, u32)]) -> Vec<InterestChange> {
    all.iter().map(|(text, members)| change(text, *members)).collect()
}

fn crew() -> SharedTargets {
    let (share, filter) = TopicFilter::parse_subscription("$share/crew/jobs/#").unwrap();
    [SharedTarget { share: share.unwrap(), filter }].into_iter().collect()
}

fn publication(topic: &str, payload: &str, qos: QoS) -> Publication {
    let retain = qos == QoS::ExactlyOnce;
    let mut publication = Publication::new(topic, &[1, 1], payload.as_bytes(), qos, retain);
    publication.expires_at = (qos == QoS::AtLeastOnce).then_some(Wall(1_900_000_000_000));
    publication
}

fn at(ms: u64) -> Now {
    Now { mono: Duration::from_millis(ms), ..Now::default() }
}
