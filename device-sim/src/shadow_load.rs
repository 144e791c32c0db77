//! Things whose shadows are changed or read as fast as that is answered, and clients that watch one of them.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use clap::Parser;
use hdrhistogram::{CreationError, Histogram};
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::timeout;

use crate::procfs::cpu_time;
use crate::shadow_link::{Link, Word};
use crate::{
    Address, Interrupt, Latency, interrupt::Until, progress::Progress, report::latency,
    run::run_number,
};

/// Arguments of `device-sim shadow`.
#[derive(Debug, Clone, Parser)]
#[command(allow_negative_numbers = true)]
pub struct ShadowArgs {
    /// Brokers of one fleet: things go round them
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', required = true)]
    pub broker: Vec<Address>,
    /// Things, each with a connection of its own
    #[arg(short = 'n', long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub devices: u32,
    /// Ask for the documents instead of changing them
    #[arg(long)]
    pub get: bool,
    /// Requests of one thing that are not answered, at most; a gateway takes 10 of them unless it is told otherwise
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub window: u16,
    /// Length of the text in each document
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    pub payload_bytes: u32,
    /// How long
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub seconds: u64,
    /// Requests of each thing, at most
    #[arg(long)]
    pub count: Option<u64>,
    /// Go on elsewhere when a connection ends, ask again what was not answered, and look at each document in the end
    #[arg(long, conflicts_with_all = ["get", "window", "payload_bytes", "count", "watchers", "watch", "broker_pid"])]
    pub reconnect: bool,
    /// Updates of each thing per second; only with `--reconnect`, as fast as they are answered without it
    #[arg(long, requires = "reconnect", value_parser = per_second)]
    pub rate: Option<f64>,
    /// Clients that watch the shadow of the first thing for what is desired and not reported
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=10_000))]
    pub watchers: u32,
    /// Where they connect [default: the last of the brokers]
    #[arg(long, value_name = "HOST:PORT")]
    pub watch: Option<Address>,
    /// Measure CPU of this process; may be repeated, and is added up
    #[arg(long, value_name = "PID")]
    pub broker_pid: Vec<u32>,
    /// Write there when each thing lost its connection and was served again, for `device-sim moves`
    #[arg(long, value_name = "FILE", requires = "reconnect")]
    pub moves: Option<PathBuf>,
    /// Report as JSON
    #[arg(long)]
    pub json: bool,
    /// No progress lines
    #[arg(long)]
    pub quiet: bool,
}

/// How often something is done in a second.
fn per_second(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.001..=100_000.0).contains(rate));
    rate.ok_or_else(|| "it must be 0.001 to 100,000".to_owned())
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ShadowError {
    /// The broker's, or there is none.
    #[error("talk to the broker")]
    Connection(#[from] io::Error),
    /// The broker's.
    #[error("the broker broke the standard: {0}")]
    Broke(protocol::Violation),
    /// The broker's: it closed a connection.
    #[error("the broker closed a connection")]
    Closed,
    /// The broker's: it refused a connection or a subscription.
    #[error("the broker refused {0}")]
    Refused(&'static str),
    /// The operator's fault.
    #[error("process {0} to be measured does not exist")]
    NoProcess(u32),
    /// Our own fault.
    #[error("a histogram")]
    Histogram(#[from] CreationError),
    /// Our own fault.
    #[error("a client panicked")]
    Panicked(#[from] tokio::task::JoinError),
}

/// What asking about shadows has shown.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct ShadowReport {
    /// Requests that were accepted.
    pub accepted: u64,
    /// Requests that were rejected.
    pub rejected: u64,
    /// From the first request to the last answer.
    pub seconds: f64,
    /// Accepted per second.
    pub accepted_per_s: f64,
    /// CPU seconds of the brokers meanwhile.
    pub broker_cpu_seconds: Option<f64>,
    /// CPU microseconds of the brokers per accepted request.
    pub broker_cpu_us_each: Option<f64>,
    /// From a request to its answer.
    pub latency: Latency,
    /// Messages that watchers were given.
    pub told: u64,
    /// Watchers that were told of the newest version in the end.
    pub at_newest: u32,
    /// Messages to watchers whose version was not greater than the one before.
    pub went_back: u64,
}

/// An answer comes in this time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug)]
struct Tally {
    accepted: u64,
    rejected: u64,
    newest: u64,
    latency_ns: Histogram<u64>,
}

#[derive(Debug, Default)]
struct Seen {
    told: u64,
    newest: u64,
    went_back: u64,
}

/// Asks about shadows for some time. Blocks.
///
/// # Errors
/// [`ShadowError`] if a broker cannot be reached, breaks the standard or does not answer in 30 s.
pub fn ask_about_shadows(
    args: &ShadowArgs,
    interrupt: &Interrupt,
) -> Result<ShadowReport, ShadowError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, ask_all(Rc::new(args.clone()), interrupt))
}

async fn ask_all(args: Rc<ShadowArgs>, interrupt: &Interrupt) -> Result<ShadowReport, ShadowError> {
    if let Some(pid) = args.broker_pid.iter().find(|pid| cpu_time(**pid).is_none()) {
        return Err(ShadowError::NoProcess(*pid));
    }
    let (run, progress) = (run_number(), Progress::of("accepted"));
    let name = |number: u32| format!("shadow-{run}-{number}");
    let (newest, end) = watch::channel(None);
    let mut watchers = JoinSet::new();
    for number in 0..args.watchers {
        let broker = args.watch.as_ref().or_else(|| args.broker.last());
        let Some(broker) = broker else { break };
        let mut link = Link::open(broker, &format!("watcher-{run}-{number}")).await?;
        link.subscribe(&[&format!("$aws/things/{}/shadow/update/delta", name(0))]).await?;
        watchers.spawn_local(look(link, end.clone()));
    }
    let mut things = Vec::new();
    for (number, broker) in (0..args.devices).zip(args.broker.iter().cycle()) {
        things.push(Thing::open(broker, name(number), &args).await?);
    }
    let of_brokers = || args.broker_pid.iter().filter_map(|pid| cpu_time(*pid)).sum::<Duration>();
    let (begun, before) = (Instant::now(), of_brokers());
    let until = interrupt.until(begun + Duration::from_secs(args.seconds));
    let mut lives = JoinSet::new();
    for thing in things {
        lives.spawn_local(thing.live(Rc::clone(&args), until.clone(), progress.clone()));
    }
    let mut sum = Tally::new()?;
    let all = async {
        while let Some(tally) = lives.join_next().await {
            let tally = tally??;
            sum.accepted += tally.accepted;
            sum.rejected += tally.rejected;
            sum.newest = sum.newest.max(tally.newest);
            // All have the same bounds.
            let _ = sum.latency_ns.add(&tally.latency_ns);
        }
        Ok::<_, ShadowError>(())
    };
    progress.beside(args.quiet, all).await?;
    let seconds = begun.elapsed().as_secs_f64();
    // Nobody may watch.
    let _ = newest.send(Some(sum.newest));
    let (mut told, mut at_newest, mut went_back) = (0, 0, 0);
    while let Some(seen) = watchers.join_next().await {
        let seen = seen??;
        told += seen.told;
        went_back += seen.went_back;
        at_newest += u32::from(seen.newest == sum.newest);
    }
    let broker_cpu = of_brokers().saturating_sub(before).as_secs_f64();
    let broker_cpu_seconds = (!args.broker_pid.is_empty()).then_some(broker_cpu);
    let accepted = f64::from(u32::try_from(sum.accepted).unwrap_or(u32::MAX));
    Ok(ShadowReport {
        accepted: sum.accepted,
        rejected: sum.rejected,
        seconds,
        accepted_per_s: accepted / seconds,
        broker_cpu_seconds,
        broker_cpu_us_each: broker_cpu_seconds.map(|used| used * 1e6 / accepted.max(1.0)),
        latency: latency(&sum.latency_ns),
        told,
        at_newest,
        went_back,
    })
}

/// Reads what a watcher is told, until that is the newest version or nothing more comes.
async fn look(mut link: Link, mut end: watch::Receiver<Option<u64>>) -> Result<Seen, ShadowError> {
    let mut seen = Seen::default();
    loop {
        let newest = *end.borrow_and_update();
        if newest.is_some_and(|newest| seen.newest >= newest) {
            return Ok(seen);
        }
        let word = tokio::select! {
            // Nobody says anything after the end.
            _over = end.changed() => continue,
            word = timeout(PATIENCE, link.hear()) => word,
        };
        // What has not come by now does not come.
        let Ok(word) = word else { return Ok(seen) };
        if let Word::Published { version, id, .. } = word? {
            seen.told += 1;
            seen.went_back += u64::from(version <= seen.newest);
            seen.newest = seen.newest.max(version);
            link.acknowledge(id);
            link.flush().await?;
        }
    }
}

impl Tally {
    fn new() -> Result<Self, CreationError> {
        let latency_ns = Histogram::new_with_max(60_000_000_000, 3)?;
        Ok(Self { accepted: 0, rejected: 0, newest: 0, latency_ns })
    }
}

/// A thing that asks about its own shadow.
struct Thing {
    link: Link,
    topic: String,
    text: String,
    sent: u64,
}

impl Thing {
    /// Connects and subscribes to the answers; with a document to ask for, if that is what it will do.
    async fn open(broker: &Address, name: String, args: &ShadowArgs) -> Result<Self, ShadowError> {
        let link = Link::open(broker, &name).await?;
        let prefix = format!("$aws/things/{name}/shadow");
        let text = "x".repeat(args.payload_bytes as usize);
        let mut this = Self { link, topic: format!("{prefix}/update"), text, sent: 0 };
        this.hear_answers().await?;
        if args.get {
            this.ask(false);
            this.link.flush().await?;
            this.answer().await?;
            this.topic = format!("{prefix}/get");
            this.hear_answers().await?;
        }
        Ok(this)
    }

    async fn hear_answers(&mut self) -> Result<(), ShadowError> {
        let topic = &self.topic;
        self.link.subscribe(&[&format!("{topic}/accepted"), &format!("{topic}/rejected")]).await
    }

    async fn live(
        mut self,
        args: Rc<ShadowArgs>,
        until: Until,
        progress: Progress,
    ) -> Result<Tally, ShadowError> {
        let mut tally = Tally::new()?;
        let mut asked = VecDeque::new();
        let most = args.count.unwrap_or(u64::MAX);
        let mut sent = 0;
        loop {
            while asked.len() < usize::from(args.window) && sent < most && !until.is_over() {
                self.ask(args.get);
                asked.push_back(Instant::now());
                sent += 1;
            }
            let Some(first) = asked.pop_front() else { return Ok(tally) };
            self.link.flush().await?;
            let (accepted, version) = self.answer().await?;
            let took = u64::try_from(first.elapsed().as_nanos()).unwrap_or(u64::MAX);
            tally.latency_ns.saturating_record(took);
            tally.accepted += u64::from(accepted);
            tally.rejected += u64::from(!accepted);
            if accepted {
                progress.done();
            } else {
                progress.failed();
            }
            tally.newest = tally.newest.max(version);
        }
    }

    fn ask(&mut self, gets: bool) {
        self.sent += 1;
        let (sent, text) = (self.sent, &self.text);
        let payload = if gets {
            String::new()
        } else {
            format!("{{\"state\":{{\"desired\":{{\"n\":{sent},\"text\":\"{text}\"}}}}}}")
        };
        self.link.publish(&self.topic, &payload, sent);
    }

    /// Whether the oldest request was accepted, and with which version.
    async fn answer(&mut self) -> Result<(bool, u64), ShadowError> {
        loop {
            let word = timeout(PATIENCE, self.link.hear()).await.map_err(io::Error::from)?;
            if let Word::Published { accepted, version, id } = word? {
                self.link.acknowledge(id);
                return Ok((accepted, version));
            }
        }
    }
}

impl fmt::Display for ShadowReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "  accepted      {} in {:.2} s ({:.0}/s), rejected {}",
            self.accepted, self.seconds, self.accepted_per_s, self.rejected,
        )?;
        writeln!(
            f,
            "  latency       p50 {:.0} us, p99 {:.0} us, max {:.0} us",
            self.latency.p50_us, self.latency.p99_us, self.latency.max_us,
        )?;
        if let (Some(seconds), Some(each)) = (self.broker_cpu_seconds, self.broker_cpu_us_each) {
            writeln!(f, "  CPU           brokers {seconds:.2} s, {each:.1} us per request")?;
        }
        writeln!(
            f,
            "  watchers      {} messages, {} at the newest version, {} went back",
            self.told, self.at_newest, self.went_back,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_meant_is_taken() {
        let parsed = |args: &str| {
            let all = "shadow --broker localhost:1883".split(' ').chain(args.split(' '));
            ShadowArgs::try_parse_from(all)
        };
        for good in ["--reconnect --rate 2", "--reconnect --rate 0.001", "--get --window 3"] {
            assert!(parsed(good).is_ok(), "{good}");
        }
        for bad in ["0", "-1", "nan", "inf", "1e-30", "1e300", "x"] {
            assert!(parsed(&format!("--reconnect --rate {bad}")).is_err(), "{bad}");
        }
        for bad in ["--get", "--window 2", "--count 4", "--watchers 1", "--broker-pid 1"] {
            assert!(parsed(&format!("--reconnect {bad}")).is_err(), "{bad}");
        }
    }
}
