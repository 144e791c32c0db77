//! A run as it is meant: checked, with every default filled in.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use protocol::{QoS, mqtt::Version};

use crate::Address;

/// Everything a run needs to know.
#[derive(Debug, Clone)]
pub struct Plan {
    /// At least one.
    pub brokers: Vec<Address>,
    /// Who publishes to whom.
    pub pattern: Pattern,
    /// Pairs, receivers (fan-out, offline), publishers (fan-in) or connections (idle).
    pub devices: usize,
    /// Of every connection.
    pub version: Version,
    /// Of publications and subscriptions.
    pub qos: QoS,
    /// At least 24.
    pub payload_bytes: usize,
    /// How fast publishers go.
    pub pace: Pace,
    /// When publishers stop.
    pub amount: Amount,
    /// Whether sessions outlive connections.
    pub persistent: bool,
    /// Whether sessions stay behind at the end.
    pub resume: bool,
    /// Seconds; 0 switches it off.
    pub keep_alive_s: u16,
    /// TLS if given.
    pub tls: Option<TlsFiles>,
    /// Begins every client id and topic.
    pub prefix: String,
    /// Whether a server reference is used, or the next address of the list.
    pub follow_redirects: bool,
    /// Whether a lost connection is made again.
    pub reconnect: bool,
    /// Threads.
    pub workers: usize,
    /// Whether every device has a will, and somebody watches.
    pub wills: bool,
    /// Offline only: whether the receivers come back.
    pub drain_back: bool,
    /// Where devices connect first.
    pub start: Start,
    /// Whose client library.
    pub client: ClientKind,
    /// Processes to measure.
    pub broker_pids: Vec<u32>,
    /// Everybody must be connected and subscribed by then.
    pub ready_within: Duration,
    /// A run ends when nothing has arrived for so long.
    pub settle: Duration,
    /// No progress lines.
    pub quiet: bool,
    /// Beyond these the run has failed.
    pub thresholds: Thresholds,
}

/// Who publishes to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Pattern {
    /// Publisher i to receiver i.
    Pairs,
    /// One publisher to all receivers.
    FanOut,
    /// All publishers to one receiver.
    FanIn,
    /// As many publishers as members of one shared group: each message to one of them.
    Group,
    /// Connections without traffic.
    Idle,
    /// Persistent sessions that subscribe and leave; one publisher then publishes to all of them.
    Offline,
}

/// How fast publishers go.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// Closed loop: messages outstanding per publisher, neither seen by its slowest receiver nor acknowledged.
    Window(usize),
    /// Open loop: nanoseconds between two messages of one publisher.
    Every(u64),
}

/// When publishers stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// Messages per publisher.
    Count(u64),
    /// Time since the first message.
    Time(Duration),
}

/// Where devices connect first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Start {
    /// All at the first broker of the list.
    First,
    /// Device i at broker i modulo their number.
    Spread,
    /// Publishers at the first broker, receivers at the second.
    Split,
}

/// Whose client library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ClientKind {
    /// Ours: cheap, and it checks everything.
    Lean,
    /// An independent one, for small runs.
    Rumqttc,
}

/// PEM files.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// Who signs brokers.
    pub ca: PathBuf,
    /// The devices' certificate chain and key, if they have one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Beyond these a run has failed; `None` is never.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Thresholds {
    /// Acknowledged (or `QoS` 0) messages that never came.
    pub lost: Option<u64>,
    /// Messages that came again.
    pub duplicates: Option<u64>,
    /// Messages that came after later ones.
    pub reordered: Option<u64>,
    /// Longest time without service of any device, in milliseconds.
    pub gap_ms: Option<u64>,
    /// Wills seen.
    pub wills: Option<u64>,
}

impl Plan {
    /// How many publish.
    pub const fn publishers(&self) -> usize {
        match self.pattern {
            Pattern::Pairs | Pattern::FanIn | Pattern::Group => self.devices,
            Pattern::FanOut | Pattern::Offline => 1,
            Pattern::Idle => 0,
        }
    }

    /// How many receive.
    pub const fn receivers(&self) -> usize {
        match self.pattern {
            Pattern::Pairs | Pattern::FanOut | Pattern::Offline | Pattern::Group => self.devices,
            Pattern::FanIn => 1,
            Pattern::Idle => 0,
        }
    }

    /// How many copies of each message are expected.
    pub const fn copies(&self) -> usize {
        match self.pattern {
            Pattern::Pairs | Pattern::FanIn | Pattern::Group => 1,
            Pattern::FanOut | Pattern::Offline => self.devices,
            Pattern::Idle => 0,
        }
    }

    /// Where publisher `number` publishes.
    pub(crate) fn topic(&self, number: usize) -> String {
        format!("{}/{number}", self.prefix)
    }

    /// What receiver `number` subscribes to.
    pub(crate) fn filter(&self, number: usize) -> String {
        match self.pattern {
            Pattern::Pairs => self.topic(number),
            Pattern::FanOut | Pattern::Offline | Pattern::Idle => self.topic(0),
            Pattern::FanIn => format!("{}/+", self.prefix),
            Pattern::Group => format!("$share/{}/{}/+", self.prefix.replace('/', "-"), self.prefix),
        }
    }

    /// The flows of a publisher: a flow is one publisher to one receiver.
    pub(crate) const fn flows_from(&self, publisher: usize) -> Range<usize> {
        match self.pattern {
            Pattern::Pairs | Pattern::FanIn | Pattern::Group => publisher..publisher + 1,
            Pattern::FanOut | Pattern::Offline | Pattern::Idle => 0..self.devices,
        }
    }

    /// The flow between two that have one.
    pub(crate) const fn flow(&self, publisher: usize, receiver: usize) -> usize {
        match self.pattern {
            Pattern::Pairs | Pattern::FanOut | Pattern::Offline | Pattern::Idle => receiver,
            Pattern::FanIn | Pattern::Group => publisher,
        }
    }

    /// Which publishers a receiver hears.
    pub(crate) const fn heard_by(&self, receiver: usize) -> Range<usize> {
        match self.pattern {
            Pattern::Pairs => receiver..receiver + 1,
            Pattern::FanOut | Pattern::Offline | Pattern::Idle => 0..1,
            Pattern::FanIn | Pattern::Group => 0..self.devices,
        }
    }
}
