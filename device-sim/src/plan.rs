//! A run as it is meant: checked, with every default filled in.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use protocol::{QoS, mqtt::Version};

use crate::{Address, Credentials};

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
    /// Wildcard: filters of each receiver.
    pub filters: usize,
    /// Publications of one publisher that wait for their acknowledgement at most, whatever the window says.
    pub in_flight: usize,
    /// At least 24.
    pub payload_bytes: usize,
    /// Time from the first connection of one device to that of the next; nothing if they connect as fast as they are answered.
    pub connect_every: Option<Duration>,
    /// Of all devices.
    pub credentials: Credentials,
    /// How fast publishers go.
    pub pace: Pace,
    /// Messages per second of all publishers together, as asked for; nothing for a closed loop.
    pub rate_per_s: Option<f64>,
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
    /// As many publishers as receivers, four filters to each topic: exact, with an inner `+`, ending in `+`, ending in `#`.
    /// Each message goes to four receivers, to each by another of the four.
    Wildcard,
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
    /// Messages that were due and never published.
    pub unpublished: Option<u64>,
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
            Pattern::Pairs | Pattern::FanIn | Pattern::Group | Pattern::Wildcard => self.devices,
            Pattern::FanOut | Pattern::Offline => 1,
            Pattern::Idle => 0,
        }
    }

    /// When a device begins to connect, after the run has begun.
    pub(crate) fn connects_after(&self, place: usize) -> Duration {
        let place = u32::try_from(place).unwrap_or(u32::MAX);
        self.connect_every.map_or(Duration::ZERO, |every| every.saturating_mul(place))
    }

    /// The time from one message of a publisher to its next one, in an open loop.
    pub(crate) const fn longest_pause(&self) -> Duration {
        match self.pace {
            Pace::Window(_) => Duration::ZERO,
            Pace::Every(interval_ns) => Duration::from_nanos(interval_ns),
        }
    }

    /// How many receive.
    pub const fn receivers(&self) -> usize {
        match self.pattern {
            Pattern::Pairs
            | Pattern::FanOut
            | Pattern::Offline
            | Pattern::Group
            | Pattern::Wildcard => self.devices,
            Pattern::FanIn => 1,
            Pattern::Idle => 0,
        }
    }

    /// How many copies of each message are expected.
    pub const fn copies(&self) -> usize {
        match self.pattern {
            Pattern::Pairs | Pattern::FanIn | Pattern::Group => 1,
            Pattern::FanOut | Pattern::Offline => self.devices,
            Pattern::Wildcard => KINDS,
            Pattern::Idle => 0,
        }
    }

    /// How many publisher-to-receiver flows there are.
    pub(crate) const fn flows(&self) -> usize {
        match self.pattern {
            Pattern::Wildcard => self.devices.saturating_mul(KINDS),
            Pattern::Pairs
            | Pattern::FanOut
            | Pattern::FanIn
            | Pattern::Group
            | Pattern::Idle
            | Pattern::Offline => self.devices,
        }
    }

    /// Where publisher `number` publishes, in turns.
    pub(crate) fn topics(&self, number: usize) -> Vec<String> {
        if self.pattern == Pattern::Wildcard {
            let topic = |turn| format!("{}/t/{}/v", self.prefix, self.level(number, turn));
            return (0..self.topics_each()).map(topic).collect();
        }
        vec![format!("{}/{number}", self.prefix)]
    }

    /// What receiver `number` subscribes to.
    pub(crate) fn filters(&self, number: usize) -> Vec<String> {
        let prefix = &self.prefix;
        match self.pattern {
            Pattern::Pairs => vec![format!("{prefix}/{number}")],
            Pattern::FanOut | Pattern::Offline | Pattern::Idle => vec![format!("{prefix}/0")],
            Pattern::FanIn => vec![format!("{prefix}/+")],
            Pattern::Group => vec![format!("$share/{}/{prefix}/+", prefix.replace('/', "-"))],
            Pattern::Wildcard => self.wildcard_filters(number),
        }
    }

    fn wildcard_filters(&self, number: usize) -> Vec<String> {
        let prefix = &self.prefix;
        let mut filters = Vec::new();
        for (kind, publisher) in self.heard_by_wildcard(number).into_iter().enumerate() {
            for turn in 0..self.topics_each() {
                let level = self.level(publisher, turn);
                filters.push(match kind {
                    0 => format!("{prefix}/t/{level}/v"),
                    1 => format!("{prefix}/+/{level}/v"),
                    2 => format!("{prefix}/t/{level}/+"),
                    _ => format!("{prefix}/t/{level}/#"),
                });
            }
        }
        filters
    }

    /// How many topics a publisher has: as many as a receiver has filters of each kind.
    const fn topics_each(&self) -> usize {
        let each = self.filters / KINDS;
        if each == 0 { 1 } else { each }
    }

    /// The level that only one topic has.
    const fn level(&self, publisher: usize, turn: usize) -> usize {
        publisher + turn * self.devices
    }

    /// Which publisher a receiver of the wildcard pattern hears by each kind of filter.
    fn heard_by_wildcard(&self, receiver: usize) -> [usize; KINDS] {
        let apart = self.devices / KINDS;
        std::array::from_fn(|kind| (receiver + self.devices - kind * apart) % self.devices.max(1))
    }

    /// The flows of a publisher: a flow is one publisher to one receiver.
    pub(crate) const fn flows_from(&self, publisher: usize) -> Range<usize> {
        match self.pattern {
            Pattern::Pairs | Pattern::FanIn | Pattern::Group => publisher..publisher + 1,
            Pattern::Wildcard => publisher * KINDS..(publisher + 1) * KINDS,
            Pattern::FanOut | Pattern::Offline | Pattern::Idle => 0..self.devices,
        }
    }

    /// The flow between two that have one.
    pub(crate) fn flow(&self, publisher: usize, receiver: usize) -> usize {
        match self.pattern {
            Pattern::Pairs | Pattern::FanOut | Pattern::Offline | Pattern::Idle => receiver,
            Pattern::FanIn | Pattern::Group => publisher,
            Pattern::Wildcard => {
                let kind = (receiver + self.devices - publisher) % self.devices.max(1)
                    / (self.devices / KINDS).max(1);
                publisher * KINDS + kind
            }
        }
    }

    /// Which publishers a receiver may hear.
    pub(crate) const fn heard_by(&self, receiver: usize) -> Range<usize> {
        match self.pattern {
            Pattern::Pairs => receiver..receiver + 1,
            Pattern::FanOut | Pattern::Offline | Pattern::Idle => 0..1,
            Pattern::FanIn | Pattern::Group | Pattern::Wildcard => 0..self.devices,
        }
    }

    /// Whether a receiver hears a publisher.
    pub(crate) fn hears(&self, receiver: usize, publisher: usize) -> bool {
        match self.pattern {
            Pattern::Wildcard => self.heard_by_wildcard(receiver).contains(&publisher),
            Pattern::Pairs
            | Pattern::FanOut
            | Pattern::FanIn
            | Pattern::Group
            | Pattern::Idle
            | Pattern::Offline => self.heard_by(receiver).contains(&publisher),
        }
    }
}

/// Kinds of filters in the wildcard pattern.
pub(crate) const KINDS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_connect_one_after_the_other_if_so_told() {
        use clap::Parser;
        let after = |args: &[&str]| {
            let all = ["device-sim", "run", "--broker", "localhost:1883"].iter().chain(args);
            let crate::Args::Run(run) = crate::Args::try_parse_from(all).unwrap() else {
                panic!("a run")
            };
            Plan::try_from(*run).unwrap().connects_after(15_000)
        };
        assert_eq!(after(&["-n", "20000"]), Duration::ZERO);
        assert_eq!(after(&["-n", "20000", "--connect-rate", "500"]), Duration::from_secs(30));
        assert_eq!(after(&["--connect-rate", "0.01"]), Duration::from_secs(1_500_000));
    }

    #[test]
    fn each_topic_of_the_wildcard_pattern_matches_four_filters_of_four_receivers() {
        use clap::Parser;
        let all = ["device-sim", "run", "--broker", "localhost:1883", "--pattern", "wildcard"];
        let all = all.iter().chain(&["-n", "8", "--filters", "12"]);
        let crate::Args::Run(run) = crate::Args::try_parse_from(all).unwrap() else {
            panic!("a run")
        };
        let plan = Plan::try_from(*run).unwrap();
        let filters: Vec<Vec<String>> = (0..8).map(|number| plan.filters(number)).collect();
        assert!(filters.iter().all(|of_one| of_one.len() == 12));
        for publisher in 0..8 {
            let heard: Vec<usize> = (0..8).filter(|r| plan.hears(*r, publisher)).collect();
            let mut flows: Vec<usize> = heard.iter().map(|r| plan.flow(publisher, *r)).collect();
            flows.sort_unstable();
            assert!(plan.flows_from(publisher).eq(flows));
            for topic in plan.topics(publisher) {
                let matching = |of_one: &Vec<String>| {
                    of_one.iter().filter(|filter| protocol::matches(filter, &topic)).count()
                };
                let each: Vec<usize> = filters.iter().map(matching).collect();
                for (receiver, count) in each.into_iter().enumerate() {
                    assert_eq!(count, usize::from(heard.contains(&receiver)), "{topic}");
                }
            }
        }
    }
}
