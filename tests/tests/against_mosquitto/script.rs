//! What a few clients do, from a seed.

use protocol::QoS;
use protocol::mqtt::{ReasonCode, RetainHandling, SubscribeOptions, Version};
use tests::simulation::Random;

/// A script; topics and client ids begin with the seed, so that many can be played to one broker.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) seed: u64,
    pub(crate) versions: Vec<Version>,
    pub(crate) steps: Vec<Step>,
}

/// What one client does. Others see what comes of it.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Connect {
        who: usize,
        clean: bool,
        expiry_s: u32,
        will: Will,
    },
    Disconnect {
        who: usize,
        reason: ReasonCode,
    },
    /// Closes the connection without a word.
    Kill {
        who: usize,
    },
    Subscribe {
        who: usize,
        filters: Vec<(String, SubscribeOptions)>,
        id: Option<u32>,
    },
    Unsubscribe {
        who: usize,
        filters: Vec<String>,
    },
    Publish {
        who: usize,
        publication: Publication,
    },
    /// From now on it leaves messages as they are, in this way.
    Leave {
        who: usize,
        habit: Habit,
    },
}

/// What a client does with messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Habit {
    /// All steps.
    Acknowledges,
    /// No step.
    Ignores,
    /// At level 2 it says that it has the message, and not that it is done.
    StopsHalfway,
}

#[derive(Debug, Clone)]
pub(crate) struct Will {
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Publication {
    pub(crate) topic: String,
    pub(crate) text: String,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) expires: bool,
    /// The properties that pass unchanged, as they travel.
    pub(crate) properties: Vec<u8>,
}

impl Step {
    /// Who acts.
    pub(crate) const fn who(&self) -> usize {
        match self {
            Self::Connect { who, .. }
            | Self::Disconnect { who, .. }
            | Self::Kill { who }
            | Self::Subscribe { who, .. }
            | Self::Unsubscribe { who, .. }
            | Self::Publish { who, .. }
            | Self::Leave { who, .. } => *who,
        }
    }
}

/// The generator: it knows who is connected.
struct Author {
    random: Random,
    seed: u64,
    versions: Vec<Version>,
    connected: Vec<bool>,
    /// Whose will is retained: nobody takes over from them, since brokers differ in what becomes of the will then.
    retained_wills: Vec<bool>,
    published: usize,
    /// Filters have wildcards.
    overlaps: bool,
    options: Vec<SubscribeOptions>,
    ids: Vec<Option<u32>>,
}

const STEPS: u64 = 40;

impl Script {
    /// The script of a seed.
    pub(crate) fn from_seed(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let clients = random.between(2, 4);
        let version = |random: &mut Random| {
            if random.percent(50) { Version::V5 } else { Version::V311 }
        };
        let versions: Vec<_> = (0..clients).map(|_| version(&mut random)).collect();
        let connected: Vec<_> = versions.iter().map(|_| false).collect();
        let retained_wills = connected.clone();
        let mut author = Author {
            overlaps: random.percent(60),
            random,
            seed,
            versions,
            connected,
            retained_wills,
            published: 0,
            options: Vec::new(),
            ids: Vec::new(),
        };
        for who in 0..author.versions.len() {
            let options = author.options(who);
            author.options.push(options);
            let id = author.subscription_id();
            author.ids.push(id);
        }
        let mut steps: Vec<_> = (0..author.versions.len()).map(|who| author.connect(who)).collect();
        steps.extend((0..STEPS).map(|_| author.step()));
        Self { seed, versions: author.versions, steps }
    }
}

impl Author {
    fn step(&mut self) -> Step {
        let who = self.random.place(self.versions.len());
        if !self.connected.get(who).copied().unwrap_or_default() {
            return self.connect(who);
        }
        match self.random.below(100) {
            0..45 => Step::Publish { who, publication: self.publication() },
            45..68 => self.subscribe(who),
            68..76 => self.unsubscribe(who),
            76..82 => Step::Leave {
                who,
                habit: *self.one_of(&[Habit::Ignores, Habit::StopsHalfway, Habit::Acknowledges]),
            },
            82..88 if !self.retains_will(who) => self.connect(who),
            82..88 => Step::Leave { who, habit: Habit::Acknowledges },
            88..94 => {
                self.set_connected(who, false);
                Step::Kill { who }
            }
            _ => {
                self.set_connected(who, false);
                let with_will = self.is_v5(who) && self.random.percent(30);
                let reason =
                    if with_will { ReasonCode::DisconnectWithWill } else { ReasonCode::Success };
                Step::Disconnect { who, reason }
            }
        }
    }

    fn connect(&mut self, who: usize) -> Step {
        self.set_connected(who, true);
        let expiry_s = if self.random.percent(70) { 3600 } else { 0 };
        let will = Will { qos: self.qos(), retain: self.random.percent(20) };
        if let Some(it) = self.retained_wills.get_mut(who) {
            *it = will.retain;
        }
        Step::Connect { who, clean: self.random.percent(30), expiry_s, will }
    }

    fn subscribe(&mut self, who: usize) -> Step {
        let count = self.random.between(1, 2);
        let filters = (0..count).map(|_| {
            let options = self.options(who);
            (self.filter(), options)
        });
        let filters = filters.collect();
        let fresh = self.subscription_id();
        let id = if self.overlaps { self.ids.get(who).copied().flatten() } else { fresh };
        Step::Subscribe { who, filters, id: id.filter(|_| self.is_v5(who)) }
    }

    /// Where filters overlap, each client has one set of options: mosquitto takes the level and the identifier of one of the
    /// subscriptions that match, not the highest level and all identifiers [MQTT5-3.3.4-2]. No Local and Retain As
    /// Published never change, since it keeps the old ones when a subscription is replaced [MQTT5-3.8.4-3].
    fn options(&mut self, who: usize) -> SubscribeOptions {
        let fresh = SubscribeOptions {
            qos: self.qos(),
            no_local: self.random.percent(20),
            retain_as_published: self.random.percent(30),
            retain_handling: RetainHandling::Send,
        };
        let own = self.options.get(who).copied().unwrap_or(fresh);
        let qos = if self.overlaps { own.qos } else { fresh.qos };
        let chosen = SubscribeOptions { qos, ..own };
        if !self.is_v5(who) {
            return SubscribeOptions { no_local: false, retain_as_published: false, ..chosen };
        }
        SubscribeOptions { retain_handling: self.retain_handling(), ..chosen }
    }

    fn subscription_id(&mut self) -> Option<u32> {
        let id = self.random.between(1, 300);
        self.random.percent(40).then(|| u32::try_from(id).expect("a small number"))
    }

    fn unsubscribe(&mut self, who: usize) -> Step {
        let count = self.random.between(1, 2);
        Step::Unsubscribe { who, filters: (0..count).map(|_| self.filter()).collect() }
    }

    fn publication(&mut self) -> Publication {
        self.published += 1;
        let levels = self.levels(false);
        let retain = self.random.percent(35);
        let empty = retain && self.random.percent(25);
        Publication {
            topic: format!("s{}/{levels}", self.seed),
            text: if empty { String::new() } else { format!("p{}", self.published) },
            qos: self.qos(),
            retain,
            expires: self.random.percent(20),
            properties: self.properties(),
        }
    }

    fn filter(&mut self) -> String {
        let levels = self.levels(self.overlaps);
        format!("s{}/{levels}", self.seed)
    }

    /// A few levels of a few words, so that filters and topics meet.
    fn levels(&mut self, wild: bool) -> String {
        let mut levels = vec![];
        for _ in 0..self.random.between(1, 3) {
            if wild && self.random.percent(12) {
                levels.push("#");
                break;
            }
            let words: &[&str] =
                if wild { &["a", "b", "", "w", "+", "+"] } else { &["a", "b", ""] };
            levels.push(*self.one_of(words));
        }
        levels.join("/")
    }

    fn properties(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if self.random.percent(20) {
            bytes.extend(*b"\x01\x01");
        }
        if self.random.percent(20) {
            bytes.extend(*b"\x03\x00\x04type");
        }
        if self.random.percent(20) {
            bytes.extend(*b"\x08\x00\x06answer");
        }
        if self.random.percent(20) {
            bytes.extend(*b"\x09\x00\x02\xff\x00");
        }
        if self.random.percent(30) {
            bytes.extend(*b"\x26\x00\x01b\x00\x011\x26\x00\x01a\x00\x00\x26\x00\x01b\x00\x011");
        }
        bytes
    }

    fn qos(&mut self) -> QoS {
        *self.one_of(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce])
    }

    fn retain_handling(&mut self) -> RetainHandling {
        *self.one_of(&[
            RetainHandling::Send,
            RetainHandling::Send,
            RetainHandling::SendIfNew,
            RetainHandling::DoNotSend,
        ])
    }

    fn one_of<'b, T>(&mut self, all: &'b [T]) -> &'b T {
        all.get(self.random.place(all.len())).expect("a list with something in it")
    }

    fn retains_will(&self, who: usize) -> bool {
        self.retained_wills.get(who).copied().unwrap_or_default()
    }

    fn is_v5(&self, who: usize) -> bool {
        self.versions.get(who) == Some(&Version::V5)
    }

    fn set_connected(&mut self, who: usize, connected: bool) {
        if let Some(it) = self.connected.get_mut(who) {
            *it = connected;
        }
    }
}
