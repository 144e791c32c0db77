//! A gateway's answer: how it is, and what speaks against a visit of it.

use std::collections::BTreeMap;
use std::time::Duration;

use maintenance::fleet::{Availability, Blocker, Capacity, Load, LoadHistory};
use maintenance::{DrainWishes, Host, HostState};
use protocol::{GatewayId, Incarnation, Now};
use serde::{Deserialize, Serialize};

use crate::config::{DrainDefaults, Settings};
use crate::control::GatewayState;
use crate::service::Member;

use super::documents::VERSION;
use super::own_needs::NeedSources;

/// How often a gateway answers when nothing changes.
const EVERY: Duration = Duration::from_secs(30);
/// How often it answers while what it carries changes by more than a quarter.
const SOON: Duration = Duration::from_secs(2);
/// So many connections more or less are no change.
const FEW: u64 = 50;
/// How long an answer is believed: two may be missed.
const BELIEVED: Duration = Duration::from_secs(90);

/// A gateway's document: what it is, what it answers, and what it has learned of its load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostDocument {
    /// What it is.
    pub host: Host,
    /// What it answers.
    pub answer: Availability,
    /// What it has learned, over all its lives.
    pub history: LoadHistory,
    /// Up to which version it carries out documents of visits.
    #[serde(default)]
    pub version: u32,
}

impl HostDocument {
    /// Where it stands.
    pub fn key(id: &GatewayId) -> String {
        format!("{}{id}", Self::PREFIX)
    }

    /// One of a host that carries nothing, of a version.
    #[cfg(test)]
    pub(super) fn for_tests(host: &Host, version: u32) -> Self {
        let mut document = tests::speaker().answer(tests::AT_REST, tests::at(0));
        (document.answer.host, document.host) = (host.id.clone(), host.clone());
        Self { version, ..document }
    }

    /// Where all of them stand.
    pub const PREFIX: &str = "host/";
}

/// What does not change by itself.
#[derive(Debug, Clone)]
pub struct HostFacts {
    /// Its name.
    pub id: GatewayId,
    /// Its life.
    pub incarnation: Incarnation,
    /// What it is chosen by.
    pub labels: BTreeMap<String, String>,
    /// The name of its time zone.
    pub zone: String,
    /// Connections that it takes at once.
    pub connections: u32,
    /// Publications per second that it is meant to carry; 0 is not known.
    pub messages_per_s: u32,
    /// How it is drained.
    pub drain: DrainDefaults,
    /// Where it is seen what it needs.
    pub needs: NeedSources,
}

/// What is measured when it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Measured {
    pub(super) state: GatewayState,
    pub(super) connections: u64,
    pub(super) sessions: u64,
    /// Publications since the process began.
    pub(super) publications: u64,
    /// Whether somebody else could take the clients.
    pub(super) others_serve: bool,
    /// Peers that live and cannot be reached.
    pub(super) unreachable: usize,
}

/// What nobody should have to wait for: the state, whether others serve, how many cannot be reached.
type Standing = (GatewayState, bool, usize);

/// Writes the answers of one life of a gateway.
#[derive(Debug)]
pub(super) struct Speaker {
    pub(super) facts: HostFacts,
    pub(super) history: LoadHistory,
    seq: u64,
    /// What it said last: how it stood, how many connections it had, when.
    said: Option<(Standing, u64, Duration)>,
    /// Publications, and when they were counted.
    counted: Option<(u64, Duration)>,
}

impl HostFacts {
    /// What the settings say, from now on.
    pub fn set(&mut self, settings: &Settings) {
        self.labels.clone_from(&settings.maintenance.labels);
        self.zone.clone_from(&settings.maintenance.zone);
        self.connections = settings.limits.connections;
        self.messages_per_s = settings.maintenance.messages_per_s;
        self.drain = settings.drain;
        self.needs.reboot.clone_from(&settings.maintenance.reboot_required);
    }
}

impl Speaker {
    pub(super) fn new(facts: HostFacts) -> Self {
        let (history, said, counted) = (LoadHistory::default(), None, None);
        Self { facts, history, seq: 0, said, counted }
    }

    /// Whether it is time to answer again.
    pub(super) fn is_due(&self, measured: Measured, mono: Duration) -> bool {
        let now = measured.standing();
        self.said.is_none_or(|(last, connections, at)| {
            let changed = measured.connections.abs_diff(connections) > FEW.max(connections / 4);
            let waited = mono.saturating_sub(at);
            last != now || waited >= EVERY || changed && waited >= SOON
        })
    }

    /// It shall answer again at once.
    pub(super) const fn forget(&mut self) {
        self.said = None;
    }

    pub(super) fn answer(&mut self, measured: Measured, now: Now) -> HostDocument {
        let load = self.load(measured, now);
        self.history.note(now.wall, load);
        self.seq += 1;
        self.said = Some((measured.standing(), measured.connections, now.mono));
        let (id, incarnation) = (self.facts.id.clone(), self.facts.incarnation);
        let state = host_state(measured.state);
        let gone = measured.state == GatewayState::Stopping;
        let drain = self.facts.drain.own();
        let answer = Availability {
            host: id.clone(),
            incarnation,
            state,
            seq: self.seq,
            issued: now.wall,
            valid_until: if gone { now.wall } else { now.wall.after(BELIEVED) },
            blockers: blockers(measured),
            load,
            forecast: self.history.forecast(),
            drain_estimate: DrainWishes::default().whole(&drain, measured.connections),
            drain,
            sessions: measured.sessions,
            // Nobody counts that; the fleet has both.
            v5_share_percent: None,
            needs: self.facts.needs.needs(now.wall),
            // Operators and programs of the host say it, in documents of their own.
            preferred: Vec::new(),
        };
        let capacity = Capacity {
            connections: u64::from(self.facts.connections),
            messages_per_s: u64::from(self.facts.messages_per_s),
            connects_per_s: u64::from(self.facts.drain.accept_per_s),
        };
        let (labels, zone) = (self.facts.labels.clone(), self.facts.zone.clone());
        let host = Host { id, incarnation, state, labels, capacity, zone };
        HostDocument { host, answer, history: self.history.clone(), version: VERSION }
    }

    fn load(&mut self, measured: Measured, now: Now) -> Load {
        let before = self.counted.replace((measured.publications, now.mono));
        let rate = before.map_or(0, |(count, at)| {
            let millis = now.mono.saturating_sub(at).as_millis().max(1);
            let more = u128::from(measured.publications.saturating_sub(count));
            u64::try_from(more * 1000 / millis).unwrap_or(u64::MAX)
        });
        Load { connections: measured.connections, messages_per_s: rate }
    }
}

impl Measured {
    const fn standing(self) -> Standing {
        (self.state, self.others_serve, self.unreachable)
    }
}

/// What speaks against a visit by what a gateway sees itself.
pub(super) fn blockers(measured: Measured) -> Vec<Blocker> {
    let blocker = |code: &str, hard, detail: String| Blocker {
        code: code.to_owned(),
        until: None,
        hard,
        detail,
    };
    let mut blockers = Vec::new();
    if !measured.others_serve {
        let detail = "no other gateway that serves is seen from here".to_owned();
        blockers.push(blocker("alone", true, detail));
    }
    if measured.unreachable > 0 {
        let detail = format!("{} peers live and cannot be reached", measured.unreachable);
        blockers.push(blocker("peers_unreachable", false, detail));
    }
    blockers
}

/// What a registered gateway does by its lease. One that said goodbye is missed like one that died, until it comes back or is
/// written off, but nobody has to look for it.
pub const fn registered_state(member: &Member, live: bool) -> HostState {
    match (live, member.record.state) {
        (false, GatewayState::Stopping) => HostState::Suspect,
        (false, _) => HostState::Lost,
        (true, state) => host_state(state),
    }
}

/// What maintenance calls the states of a gateway that lives.
const fn host_state(state: GatewayState) -> HostState {
    match state {
        GatewayState::Serving => HostState::Serving,
        GatewayState::Quiesced => HostState::Quiesced,
        GatewayState::Announced => HostState::Announced,
        GatewayState::Refusing | GatewayState::Moving => HostState::Draining,
        GatewayState::Starting => HostState::Joining,
        GatewayState::Stopping => HostState::Suspect,
    }
}

#[cfg(test)]
mod tests {
    use protocol::Wall;

    use super::*;

    pub(super) fn speaker() -> Speaker {
        Speaker::new(HostFacts {
            id: GatewayId::new("gw-1").unwrap(),
            incarnation: Incarnation(7),
            labels: BTreeMap::new(),
            zone: "UTC".to_owned(),
            connections: 1000,
            messages_per_s: 700,
            drain: DrainDefaults {
                per_s: 100,
                announce: Duration::from_secs(5),
                timeout: Duration::from_secs(60),
                accept_per_s: 500,
                connect_p99: Duration::ZERO,
                flush: Duration::ZERO,
                takeover_wait: None,
            },
            needs: NeedSources::default(),
        })
    }

    pub(super) const AT_REST: Measured = Measured {
        state: GatewayState::Serving,
        connections: 1000,
        sessions: 1200,
        publications: 0,
        others_serve: true,
        unreachable: 0,
    };

    pub(super) fn at(second: u64) -> Now {
        Now { mono: Duration::from_secs(second), wall: Wall(second * 1000) }
    }

    #[test]
    fn it_answers_every_half_minute_and_at_once_when_something_speaks_against_a_visit() {
        let mut speaker = speaker();
        assert!(speaker.is_due(AT_REST, at(0).mono));
        let first = speaker.answer(AT_REST, at(0));
        assert_eq!((first.answer.seq, first.answer.valid_until), (1, Wall(90_000)));
        let Capacity { connections, messages_per_s, connects_per_s } = first.host.capacity;
        assert_eq!((connections, messages_per_s), (1000, 700), "what headroom is a part of");
        assert_eq!(connects_per_s, 500, "what it takes of those that are drained");
        let busy = Measured { connections: 1007, publications: 9, ..AT_REST };
        assert!(!speaker.is_due(busy, at(29).mono));
        assert!(speaker.is_due(busy, at(30).mono));
        let full = Measured { connections: 1300, ..AT_REST };
        assert!(!speaker.is_due(full, at(1).mono), "not with every connection");
        assert!(speaker.is_due(full, at(2).mono), "who plans by it should know");
        let moving = Measured { state: GatewayState::Moving, ..AT_REST };
        assert!(speaker.is_due(moving, at(1).mono));
        assert!(speaker.is_due(Measured { unreachable: 1, ..AT_REST }, at(1).mono));
        let second = speaker.answer(Measured { publications: 300, ..AT_REST }, at(30));
        assert_eq!(second.answer.load, Load { connections: 1000, messages_per_s: 10 });
        assert_eq!(second.answer.drain_estimate.p50, Duration::from_secs(16));
        let stopping = Measured { state: GatewayState::Stopping, ..AT_REST };
        let last = speaker.answer(stopping, at(31)).answer;
        assert!(!last.is_fresh(at(31).wall, Incarnation(7)), "it is gone at once");
    }

    #[test]
    fn a_gateway_that_nobody_could_follow_is_hard_to_visit() {
        let alone = Measured { others_serve: false, unreachable: 2, ..AT_REST };
        let answer = speaker().answer(alone, at(0)).answer;
        assert_eq!(answer.hard_blocker(at(0).wall).map(|b| b.code.as_str()), Some("alone"));
        assert_eq!(answer.blockers.len(), 2);
        assert!(speaker().answer(AT_REST, at(0)).answer.blockers.is_empty());
    }

    #[test]
    fn who_said_goodbye_is_missed_like_one_that_died() {
        let member = |state: &str| -> Member {
            let record = serde_json::json!({
                "id": "gw-2", "state": state, "incarnation": 1, "peer": "", "http": "",
                "addresses": [], "mqtt": "", "mqtts": "", "until_ms": 0,
            });
            serde_json::from_value(record).unwrap()
        };
        for (state, live, expected) in [
            ("serving", true, HostState::Serving),
            ("serving", false, HostState::Lost),
            ("stopping", true, HostState::Suspect),
            ("stopping", false, HostState::Suspect),
        ] {
            assert_eq!(registered_state(&member(state), live), expected, "{state} {live}");
        }
    }
}
