//! A run as it is written on the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Parser, ValueEnum};
use protocol::{QoS, mqtt::Version};

use crate::{
    Address, Amount, ClientKind, ConnectsArgs, CredentialArgs, CredentialsError, MovesArgs, Pace,
    Pattern, Plan, ShadowArgs, Start, TakeoverArgs, Thresholds, TlsFiles, payload::Head,
};

/// Load generator and checker for any MQTT broker.
///
/// Exit code 0: fine; 1: could not run; 2: a threshold (--max-...) was exceeded; 130: ended by Ctrl-C, with a report.
#[derive(Debug, Clone, Parser)]
#[command(name = "device-sim", version)]
pub enum Args {
    /// Connect devices, exchange messages, and check every one of them.
    Run(Box<RunArgs>),
    /// Let clients connect again elsewhere while they are connected, and measure how long that takes.
    Takeover(TakeoverArgs),
    /// Connect and disconnect all the time, and measure what one connection costs.
    Connects(ConnectsArgs),
    /// Change or read shadows as fast as that is answered, and watch one, and measure what a request costs.
    Shadow(ShadowArgs),
    /// Add up when devices of several loads moved, and hold that against the pace that was granted.
    Moves(MovesArgs),
}

/// Arguments of `device-sim run`.
#[derive(Debug, Clone, Parser)]
#[command(allow_negative_numbers = true)]
pub struct RunArgs {
    /// Brokers to use, in order: the first one that answers serves
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', required = true)]
    pub broker: Vec<Address>,
    /// Who publishes to whom
    #[arg(long, value_enum, default_value = "pairs")]
    pub pattern: Pattern,
    /// Pairs, receivers (fan-out, offline), publishers (fan-in), publishers and as many members (group) or receivers (wildcard, a multiple of 4), connections (idle)
    #[arg(short = 'n', long, default_value_t = 1)]
    pub devices: usize,
    /// Short for --pattern pairs --devices N
    #[arg(long, value_name = "N", conflicts_with_all = ["devices", "pattern"])]
    pub pairs: Option<usize>,
    /// Where devices connect first
    #[arg(long, value_enum, default_value = "first")]
    pub start: Start,
    /// Protocol version: 31, 311 or 5
    #[arg(short = 'V', long, default_value = "311", value_parser = ["31", "311", "5"])]
    pub protocol_version: String,
    /// Quality of service of publications and subscriptions
    #[arg(short, long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub qos: u8,
    /// Payload size; at least 24 for publisher, sequence and time
    #[arg(long, default_value_t = 64)]
    pub payload_bytes: usize,
    /// Messages per second of all publishers together; 0 is a closed loop
    #[arg(long, default_value_t = 0.0)]
    pub rate: f64,
    /// Closed loop: messages outstanding per publisher
    #[arg(long, default_value_t = 100, conflicts_with = "rate")]
    pub window: usize,
    /// Publications of one publisher without their acknowledgement at most [default: as --window, or what the broker allows]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub in_flight: Option<u16>,
    /// Wildcard: filters of each receiver [default: 1000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(4..=100_000))]
    pub filters: Option<u32>,
    /// Messages per publisher
    #[arg(long, conflicts_with = "seconds")]
    pub count: Option<u64>,
    /// How long to publish, or to hold idle connections [default: 10]
    #[arg(long)]
    pub seconds: Option<f64>,
    /// Keep sessions over connections: clean start 0, session expiry 1 h
    #[arg(long)]
    pub persistent: bool,
    /// Leave persistent sessions behind at the end, for a later run with the same -i
    #[arg(long)]
    pub resume: bool,
    /// Offline: let the receivers come back and count what they missed
    #[arg(long)]
    pub drain_back: bool,
    /// Every device sets a will; a watcher counts those that are published
    #[arg(long)]
    pub wills: bool,
    /// Keep alive in seconds; 0 switches it off
    #[arg(short = 'k', long, default_value_t = 60)]
    pub keep_alive: u16,
    /// Beginning of client ids and topics
    #[arg(short = 'i', long = "prefix", default_value = "sim")]
    pub prefix: String,
    /// Connections begun per second, all devices together [default: 64 of each worker at the same time, as fast as they are answered]
    #[arg(long, value_name = "N")]
    pub connect_rate: Option<f64>,
    /// User name and password.
    #[command(flatten)]
    pub credentials: CredentialArgs,
    /// TLS: PEM file of the authority that signs brokers
    #[arg(long, value_name = "PEM")]
    pub cafile: Option<PathBuf>,
    /// TLS: PEM file of the devices' certificate
    #[arg(long, value_name = "PEM", requires_all = ["cafile", "key"])]
    pub cert: Option<PathBuf>,
    /// TLS: PEM file of the devices' key
    #[arg(long, value_name = "PEM", requires_all = ["cafile", "cert"])]
    pub key: Option<PathBuf>,
    /// Connect again when a connection ends, with a short back-off
    #[arg(long)]
    pub reconnect: bool,
    /// Go where a server reference points, or to the next --broker
    #[arg(long, default_value = "yes", value_name = "yes|no", action = ArgAction::Set,
          value_parser = clap::builder::BoolishValueParser::new())]
    pub follow_redirects: bool,
    /// Threads
    #[arg(long, default_value_t = 1)]
    pub workers: usize,
    /// Client library
    #[arg(long, value_enum, default_value = "lean")]
    pub client: ClientKind,
    /// Measure CPU and memory of this process; may be repeated
    #[arg(long, value_name = "PID")]
    pub broker_pid: Vec<u32>,
    /// Everybody must be connected and subscribed within so many seconds
    #[arg(long, default_value_t = 60.0)]
    pub ready_seconds: f64,
    /// The run ends when nothing arrives for so many seconds
    #[arg(long, default_value_t = 5.0)]
    pub settle_seconds: f64,
    /// Write there when each device lost its connection and was served again, for `device-sim moves`
    #[arg(long, value_name = "FILE", requires = "reconnect")]
    pub moves: Option<PathBuf>,
    /// Report as JSON
    #[arg(long)]
    pub json: bool,
    /// No progress lines
    #[arg(long)]
    pub quiet: bool,
    /// Fail above so many acknowledged (at qos 0: published) messages that never came
    #[arg(long, value_name = "N")]
    pub max_lost: Option<u64>,
    /// Fail above so many messages that were due and never published
    #[arg(long, value_name = "N")]
    pub max_unpublished: Option<u64>,
    /// Fail above so many messages that came again
    #[arg(long, value_name = "N")]
    pub max_duplicates: Option<u64>,
    /// Fail above so many messages that came after later ones
    #[arg(long, value_name = "N")]
    pub max_reordered: Option<u64>,
    /// Fail if a device was without service for longer
    #[arg(long, value_name = "MS")]
    pub max_gap_ms: Option<u64>,
    /// Fail above so many wills seen
    #[arg(long, value_name = "N")]
    pub max_wills: Option<u64>,
}

/// Why arguments make no run.
#[derive(Debug, thiserror::Error)]
pub enum InvalidArgs {
    /// The operator's fault.
    #[error("--{name} must be {must}")]
    Range {
        /// The argument.
        name: &'static str,
        /// What it must be.
        must: &'static str,
    },
    /// The operator's fault.
    #[error("{0}")]
    Together(&'static str),
    /// The operator's fault.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
}

impl RunArgs {
    fn check_ranges(&self) -> Result<(), InvalidArgs> {
        let range = |ok: bool, name, must| {
            if ok { Ok(()) } else { Err(InvalidArgs::Range { name, must }) }
        };
        range(
            (1..=1_000_000).contains(&self.pairs.unwrap_or(self.devices)),
            "devices",
            "1 to 1,000,000",
        )?;
        range((1..=60_000).contains(&self.window), "window", "1 to 60,000")?;
        range((1..=64).contains(&self.workers), "workers", "1 to 64")?;
        let payload_fits = (Head::BYTES..=100_000_000).contains(&self.payload_bytes);
        range(payload_fits, "payload-bytes", "24 to 100,000,000")?;
        let ramp_fits = self.connect_rate.is_none_or(|rate| (0.01..=1e6).contains(&rate));
        range(ramp_fits, "connect-rate", "0.01 to 1,000,000")?;
        range(self.count != Some(0), "count", "1 or more")?;
        range(self.seconds != Some(0.0), "seconds", "more than 0")?;
        range(self.settle_seconds > 0.0, "settle-seconds", "more than 0")?;
        range(self.rate >= 0.0 && self.rate <= 1e9, "rate", "0 to 1,000,000,000")?;
        let prefix_fits = !self.prefix.is_empty()
            && self.prefix.len() <= 1_000
            && !self.prefix.contains(['+', '#', '\0', '$']);
        range(prefix_fits, "prefix", "1 to 1,000 bytes without wildcards and $")
    }
}

impl TryFrom<RunArgs> for Plan {
    type Error = InvalidArgs;

    fn try_from(args: RunArgs) -> Result<Self, InvalidArgs> {
        args.check_ranges()?;
        args.check_together()?;
        let mut plan = Self {
            pattern: args.pattern,
            devices: args.pairs.unwrap_or(args.devices),
            version: match args.protocol_version.as_str() {
                "5" => Version::V5,
                "31" => Version::V31,
                _ => Version::V311,
            },
            qos: QoS::from_bits(args.qos).unwrap_or(QoS::AtMostOnce),
            payload_bytes: args.payload_bytes,
            filters: usize::try_from(args.filters.unwrap_or(1_000)).unwrap_or(usize::MAX),
            in_flight: args.in_flight.map_or(usize::MAX, usize::from),
            connect_every: args.connect_rate.map(|rate| Duration::from_secs_f64(1.0 / rate)),
            credentials: args.credentials.read()?,
            pace: Pace::Window(args.window),
            rate_per_s: None,
            amount: match (args.count, args.seconds) {
                (Some(count), _) => Amount::Count(count),
                (None, seconds) => Amount::Time(duration("seconds", seconds.unwrap_or(10.0))?),
            },
            persistent: args.persistent || args.pattern == Pattern::Offline,
            resume: args.resume,
            keep_alive_s: args.keep_alive,
            tls: args.cafile.map(|ca| TlsFiles { ca, identity: args.cert.zip(args.key) }),
            prefix: args.prefix,
            follow_redirects: args.follow_redirects,
            reconnect: args.reconnect,
            workers: args.workers,
            wills: args.wills,
            drain_back: args.drain_back,
            start: args.start,
            client: args.client,
            broker_pids: args.broker_pid,
            ready_within: duration("ready-seconds", args.ready_seconds)?,
            settle: duration("settle-seconds", args.settle_seconds)?,
            quiet: args.quiet,
            brokers: args.broker,
            thresholds: Thresholds {
                lost: args.max_lost,
                unpublished: args.max_unpublished,
                duplicates: args.max_duplicates,
                reordered: args.max_reordered,
                gap_ms: args.max_gap_ms,
                wills: args.max_wills,
            },
        };
        if args.rate > 0.0 && plan.publishers() > 0 {
            plan.pace = Pace::Every(interval_ns(args.rate, plan.publishers()));
            plan.rate_per_s = Some(args.rate);
        }
        Ok(plan)
    }
}

fn duration(name: &'static str, seconds: f64) -> Result<Duration, InvalidArgs> {
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|duration| duration.as_secs() <= 1_000_000)
        .ok_or(InvalidArgs::Range { name, must: "0 to 1,000,000" })
}

/// Nanoseconds between two messages of one publisher; at least 1.
fn interval_ns(rate: f64, publishers: usize) -> u64 {
    let publishers = u32::try_from(publishers).unwrap_or(u32::MAX);
    let seconds = f64::from(publishers) / rate;
    let interval = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
    u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX).max(1)
}

/// The name of a value as it is written on the command line.
pub(crate) fn name_of(value: impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(args: &[&str]) -> Result<Plan, InvalidArgs> {
        let all = ["device-sim", "run", "--broker", "localhost:1883"].iter().chain(args);
        let Args::Run(run) = Args::try_parse_from(all).unwrap() else { panic!("a run") };
        Plan::try_from(*run)
    }

    #[test]
    fn the_arguments_are_consistent() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }

    #[test]
    fn rates_are_shared_by_publishers() {
        let pace = |args: &[&str]| plan(args).unwrap().pace;
        assert_eq!(pace(&["--pairs", "50", "--rate", "500"]), Pace::Every(100_000_000));
        assert_eq!(
            pace(&["--pattern", "fan-out", "-n", "9", "--rate", "10"]),
            Pace::Every(100_000_000)
        );
        assert_eq!(pace(&["--window", "7"]), Pace::Window(7));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for bad in [
            &["--payload-bytes", "23"][..],
            &["--devices", "0"],
            &["--window", "0"],
            &["--rate", "-1"],
            &["--prefix", "a/#"],
            &["--seconds", "-1"],
            &["--seconds", "0"],
            &["--count", "0"],
            &["--settle-seconds", "0"],
            &["--ready-seconds", "-0.5"],
            &["--connect-rate", "0"],
            &["--connect-rate", "nan"],
        ] {
            let refused = plan(bad).unwrap_err().to_string();
            assert!(refused.starts_with(&format!("{} must be ", bad[0])), "{refused}");
        }
    }
}
