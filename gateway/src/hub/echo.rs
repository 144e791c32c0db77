//! Publications of gateways to each other that come back: whoever hears its own word again knows that what clients publish
//! elsewhere gets here, and what they publish here gets there.
//!
//! They go as publications of clients do: by the routes of a worker, over the link that the routes name, and to a worker there.
//! Their topics are told to peers as an interest, no table of subscriptions has them, and they go to one peer only. So no client can
//! hear them, nothing is stored of them, and clients may publish nothing under `$` that could be taken for one.

use std::sync::{Mutex, MutexGuard, PoisonError};

use protocol::peer::InterestChange;
use protocol::{GatewayId, Incarnation, Publication, QoS, TopicFilter};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::traffic::dispatch::Forward;
use super::trial::TrialCall;
use super::{Ask, Hub, Outlet};

/// Before the name of the gateway that hears it.
const TOPIC: &str = "$tidegate/echo/";

/// What one gateway says to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub struct EchoWord {
    /// Which round of whoever asks.
    pub round: u64,
    /// The worker that asks.
    pub worker: u8,
    /// Whether it is the answer.
    pub is_answer: bool,
}

/// What gateways say to each other in this way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// Something to be heard again.
    Echo(EchoWord),
    /// A request of a trial.
    Call(TrialCall),
}

/// A word on its way to another gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Echo {
    /// Which gateway hears it.
    pub to: GatewayId,
    /// What it hears.
    pub word: Word,
}

impl Word {
    fn encode(&self) -> Option<Vec<u8>> {
        match self {
            Self::Echo(word) => serde_json::to_vec(word).ok(),
            Self::Call(call) => serde_json::to_vec(call).ok(),
        }
    }
}

/// What peers are told that this gateway is interested in besides what its clients are.
pub fn interest_of(me: &GatewayId) -> Option<InterestChange> {
    let filter = TopicFilter::new(&topic_of(me)).ok()?;
    Some(InterestChange { filter, share: None, members: 1 })
}

fn topic_of(gateway: &GatewayId) -> String {
    format!("{TOPIC}{gateway}")
}

/// Whether no client may subscribe to it: peers would be told that nobody wants it any more when the client leaves it.
pub fn is_reserved(filter: &TopicFilter) -> bool {
    filter.as_str().starts_with(TOPIC)
}

/// Whether a publication of a peer is a word of its own, not of any client.
pub fn is_echo(publication: &Publication) -> bool {
    publication.topic().starts_with(TOPIC)
}

/// What it says; none if it says nothing that this version knows.
pub fn word_of(publication: &Publication) -> Option<Word> {
    let payload = publication.payload();
    let echo = serde_json::from_slice(payload).ok().map(Word::Echo);
    echo.or_else(|| serde_json::from_slice(payload).ok().map(Word::Call))
}

/// The gateway that a word is for.
pub fn listener_of(word: &Publication) -> Option<GatewayId> {
    GatewayId::new(word.topic().strip_prefix(TOPIC)?).ok()
}

impl Hub {
    /// Publishes a word to a peer gateway, if that wants it as far as is known here.
    pub fn say_echo(&mut self, echo: &Echo, out: &mut dyn Outlet) {
        let (topic, level) = (topic_of(&echo.to), QoS::AtLeastOnce);
        let Some(peer) = self.tables.peer_index(&echo.to) else { return };
        let Some(payload) = echo.word.encode() else { return };
        let route = self.cache.look_up(&topic, &self.table, &self.tables);
        // Nobody else, whoever wants it.
        let peers = route.fleet.peers.of(level) & (1 << (peer & 127));
        if peers != 0 {
            let publication = Publication::new(&topic, &[], &payload, level, false);
            let shared = SmallVec::new();
            out.ask(Ask::Peers(peers, Forward { publication, plain: true, shared }));
        }
    }
}

/// Who has answered a worker of this process in the round that goes on.
#[derive(Debug, Default)]
pub struct Echoes(Mutex<Round>);

#[derive(Debug, Default)]
struct Round {
    number: u64,
    heard: Vec<(GatewayId, Incarnation, u8)>,
}

impl Echoes {
    /// Begins another round, in which nobody has answered.
    pub fn begin(&self) -> u64 {
        let mut round = self.lock();
        round.number += 1;
        round.heard.clear();
        round.number
    }

    /// Life `from` has answered.
    pub fn hear(&self, from: (GatewayId, Incarnation), word: EchoWord) {
        let mut round = self.lock();
        let heard = (from.0, from.1, word.worker);
        if word.round == round.number && !round.heard.contains(&heard) {
            round.heard.push(heard);
        }
    }

    /// The workers, of so many, that a life has not answered.
    pub fn silent(&self, from: (&GatewayId, Incarnation), workers: u8) -> Vec<u8> {
        let round = self.lock();
        let heard = |worker: &u8| {
            round.heard.iter().any(|it| it.0 == *from.0 && it.1 == from.1 && it.2 == *worker)
        };
        (0..workers).filter(|worker| !heard(worker)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Round> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::hub::trial::Trials;

    fn id(text: &str) -> GatewayId {
        GatewayId::new(text).unwrap()
    }

    #[test]
    fn a_word_is_read_as_it_was_written_and_nothing_else_is() {
        let topic = topic_of(&id("gw-2"));
        let badge = Arc::new(Trials::default()).begin().unwrap();
        let echo = Word::Echo(EchoWord { round: 7, worker: 3, is_answer: true });
        for word in [echo, Word::Call(badge.badge().call())] {
            let payload = word.encode().unwrap();
            let said = Publication::new(&topic, &[], &payload, QoS::AtLeastOnce, false);
            assert!(is_echo(&said));
            assert_eq!(word_of(&said), Some(word));
            assert_eq!(listener_of(&said), Some(id("gw-2")));
        }
        let other = Publication::new("a/b", &[], b"{}", QoS::AtLeastOnce, false);
        assert!(!is_echo(&other));
        assert_eq!(word_of(&other), None);
        assert_eq!(interest_of(&id("gw-2")).unwrap().filter.as_str(), topic);
    }

    #[test]
    fn only_answers_of_this_round_and_of_that_life_count() {
        let echoes = Echoes::default();
        let (two, first) = (id("gw-2"), echoes.begin());
        let word = |round, worker| EchoWord { round, worker, is_answer: true };
        let hear = |life, word| echoes.hear((two.clone(), Incarnation(life)), word);
        let silent = |life| echoes.silent((&two, Incarnation(life)), 2);
        hear(1, word(first, 0));
        assert_eq!(silent(1), [1]);
        assert_eq!(silent(2), [0, 1]);
        let second = echoes.begin();
        assert_eq!(silent(1), [0, 1]);
        hear(1, word(first, 0));
        assert_eq!(silent(1), [0, 1]);
        hear(1, word(second, 0));
        hear(1, word(second, 1));
        hear(1, word(second, 1));
        assert!(silent(1).is_empty());
    }
}
